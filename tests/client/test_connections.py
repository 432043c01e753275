"""Servers before 4.9, played over raw sockets: each job has a connection of its own."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from wire import completed, estimation, generating, message, starts

import jobwire
from conftest import Eventually
from faults import (
    HANG,
    LAST_CHUNK,
    TEXT,
    Cut,
    RawConnection,
    RawServer,
    config,
    event_stream,
    raw_server,
    response,
)
from jobwire import Client
from jobwire.client import connections

Script = Callable[[RawConnection], Coroutine[Any, Any, None]]

STATE = {"id": 2, "type": "state", "props": {}}
TEXTBOX = {"id": 1, "type": "textbox", "props": {"label": "text"}}
COMPLETED = {"msg": "process_completed", "output": {"data": ["done"]}, "success": True}


def dependency(name: str, **fields: Any) -> dict[str, Any]:
    return {"api_name": name, "inputs": [1], "outputs": [1], "backend_fn": True, **fields}


def old_config(version: str, **fields: Any) -> bytes:
    fields = {"components": [TEXTBOX, STATE], "dependencies": [dependency("echo")]} | fields
    protocol = "ws" if version < "4" else "sse"
    return response(config(protocol, version, api_prefix="", **fields))


@contextlib.contextmanager
def playing(script: Any, **fields: Any) -> Iterator[RawServer]:
    """A server of 3.x whose WebSockets are answered by a script."""
    with raw_server({"/config": old_config("3.50.2", **fields), "/queue/join": script}) as server:
        yield server


async def accept(connection: RawConnection) -> dict[str, Any]:
    """Greet a job and take it; return what it said of itself."""
    await connection.upgrade()
    await connection.send({"msg": "send_hash"})
    job: dict[str, Any] = await connection.receive_json()
    await connection.send({"msg": "estimation", "rank": 0, "queue_size": 1})
    return job


async def start(connection: RawConnection) -> dict[str, Any]:
    """Come to where the job runs; return the arguments."""
    await connection.send({"msg": "send_data"})
    data: dict[str, Any] = await connection.receive_json()
    await connection.send({"msg": "process_starts"})
    return data


async def yield_one(connection: RawConnection) -> None:
    await connection.send({"msg": "process_generating", "output": {"data": ["one"]}})


class Jobs:
    """Holds each job that comes until it is told to go on, and knows what they said."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.ends: list[str] = []
        self._go = threading.Semaphore(0)

    async def __call__(self, connection: RawConnection) -> None:
        self.said.append(await accept(connection))
        await start(connection)
        closed = asyncio.ensure_future(connection.receive())
        try:
            while not closed.done() and not self._go.acquire(blocking=False):
                await asyncio.sleep(0.005)
            if closed.done():
                self.ends.append("closed")
                return
            await connection.send(COMPLETED)
            self.ends.append("completed")
            await closed
        finally:
            closed.cancel()
            with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError):
                await closed

    def script(self) -> Script:
        async def script(connection: RawConnection) -> None:
            await self(connection)

        return script

    def release(self, count: int = 1) -> None:
        self._go.release(count)

    @property
    def names(self) -> list[str]:
        return [job["session_hash"] for job in self.said]


# -- WebSockets --


def test_conversation() -> None:
    heard: list[Any] = []

    async def script(connection: RawConnection) -> None:
        heard.append(connection.headers["x-call"])
        heard.append(await accept(connection))
        heard.append(await start(connection))
        await yield_one(connection)
        await connection.send(COMPLETED)
        await connection.close()

    with playing(script) as server, Client(server.url) as client:
        job = client.submit("naïve ✓", api_name="/echo", headers={"X-Call": "7"})
        assert job.result(timeout=5) == "done"
        assert job.outputs() == ["one"]
        session = {"fn_index": 0, "session_hash": client.session_hash}
        assert heard == ["7", session, session | {"data": ["naïve ✓"]}]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, jobwire.AuthenticationError),
        (403, jobwire.AuthenticationError),
        (404, jobwire.ServerError),
        (500, jobwire.ServerError),
    ],
)
def test_server_that_opens_no_websocket_refuses(status: int, error: type[Exception]) -> None:
    with playing(response("no", status)) as server, Client(server.url) as client:
        with pytest.raises(error) as caught:
            client.predict("x")
        assert isinstance(caught.value, jobwire.ServerError)
        assert caught.value.status == status
        assert server.paths().count("/queue/join") == 1


def test_proxy_that_refuses_for_a_moment_is_asked_again() -> None:
    async def script(connection: RawConnection) -> None:
        if server.paths().count("/queue/join") < 3:
            await connection.write(response("wait", 502))
            return
        await accept(connection)
        await start(connection)
        await connection.send(COMPLETED)
        await connection.receive()

    with playing(script) as server, Client(server.url) as client:
        assert client.predict("x") == "done"


@pytest.mark.parametrize("status", [429, 503])
def test_refusal_that_asks_for_patience_gets_it(status: int) -> None:
    async def script(connection: RawConnection) -> None:
        if server.paths().count("/queue/join") == 1:
            await connection.write(response("wait", status, headers="retry-after: 1\r\n"))
            return
        await accept(connection)
        await start(connection)
        await connection.send(COMPLETED)
        await connection.receive()

    with playing(script) as server, Client(server.url) as client:
        began = time.monotonic()
        assert client.predict("x") == "done"
        assert time.monotonic() - began >= 1


@pytest.mark.parametrize("status", [429, 503])
def test_refusal_that_asks_for_more_patience_than_there_is(status: int) -> None:
    refusal = response("wait", status, headers="retry-after: 20\r\n")
    with playing(refusal) as server, Client(server.url) as client:
        began = time.monotonic()
        with pytest.raises(jobwire.ServerError) as caught:
            client.predict("x", timeout=10)
        assert time.monotonic() - began < 5
        assert isinstance(caught.value, jobwire.RateLimitedError) == (status == 429)
        assert (caught.value.status, caught.value.retry_after) == (status, 20)
        assert not caught.value.may_have_run
        assert server.paths().count("/queue/join") == 1


@pytest.mark.parametrize("greeted", [False, True])
def test_server_that_does_not_accept_is_given_up(greeted: bool) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.upgrade()
        if greeted:
            await connection.send({"msg": "send_hash"})
        await connection.wait_for_eof()

    with playing(script) as server, Client(server.url, read_timeout=0.3) as client:
        with pytest.raises(jobwire.TransportTimeoutError, match="did not accept"):
            client.predict("x")


def test_accepted_job_may_wait_longer_than_answers_may_take() -> None:
    async def script(connection: RawConnection) -> None:
        await accept(connection)
        await asyncio.sleep(0.5)
        await start(connection)
        await connection.send(COMPLETED)
        await connection.receive()

    with playing(script) as server, Client(server.url, read_timeout=0.2) as client:
        assert client.predict("x") == "done"


@pytest.mark.parametrize("how", ["reset", "eof", "close"])
@pytest.mark.parametrize("when", ["accepted", "yielded"])
def test_connection_that_breaks_loses_its_job_and_no_other(how: str, when: str) -> None:
    async def script(connection: RawConnection) -> None:
        await accept(connection)
        if server.paths().count("/queue/join") > 1:
            await start(connection)
            await connection.send(COMPLETED)
            await connection.receive()
            return
        if when == "yielded":
            await start(connection)
            await yield_one(connection)
        if how == "reset":
            await asyncio.sleep(0.1)  # a reset overtakes what was sent
            connection.cut()
        elif how == "close":
            await connection.close(1001)

    with playing(script) as server, Client(server.url) as client:
        job = client.submit("x")
        with pytest.raises(jobwire.ConnectionLostError) as caught:
            job.result(timeout=5)
        assert caught.value.outputs == (["one"] if when == "yielded" else [])
        assert caught.value.event_id is None
        assert client.predict("y") == "done"


def test_nonsense_and_messages_that_are_too_large() -> None:
    async def script(connection: RawConnection) -> None:
        await accept(connection)
        await start(connection)
        join = server.paths().count("/queue/join")
        await connection.send(b"x" * 2000 if join == 1 else b"\xff", TEXT)
        await connection.wait_for_eof()

    with playing(script) as server, Client(server.url, max_event_size=1000) as client:
        for _ in range(2):
            with pytest.raises(jobwire.RemoteProtocolError):
                client.predict("x")


def test_full_queue() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.upgrade()
        await connection.send({"msg": "send_hash"})
        await connection.receive()
        await connection.send({"msg": "queue_full"})
        await connection.close()

    with playing(script) as server, Client(server.url) as client:
        with pytest.raises(jobwire.QueueFullError, match="full"):
            client.predict("x")
        assert server.paths().count("/queue/join") == 1


def test_cancel_and_close_say_goodbye(eventually: Eventually) -> None:
    jobs = Jobs()
    with playing(jobs.script()) as server:
        with Client(server.url) as client:
            first, second = client.submit("x"), client.submit("y")
            eventually(lambda: first.running() and second.running())
            assert first.cancel()
            with pytest.raises(jobwire.JobCancelledError):
                first.result()
            eventually(lambda: jobs.ends == ["closed"])
        with pytest.raises(jobwire.ClientClosedError):
            second.result()
        eventually(lambda: jobs.ends == ["closed", "closed"])


def test_silent_connection_is_noticed() -> None:
    async def script(connection: RawConnection) -> None:
        await accept(connection)
        await start(connection)
        await yield_one(connection)
        await connection.wait_for_eof()  # reads pings, and answers none

    with playing(script) as server, Client(server.url, idle_timeout=0.3) as client:
        started = time.monotonic()
        with pytest.raises(jobwire.ConnectionLostError, match="not even the answer") as caught:
            client.predict("x")
        assert caught.value.outputs == ["one"]
        assert time.monotonic() - started < 5


# -- whose name a job has on 3.x --


def test_jobs_of_a_function_that_run_at_once_have_names_of_their_own(
    eventually: Eventually,
) -> None:
    jobs = Jobs()
    functions = [dependency("echo"), dependency("other")]
    with playing(jobs.script(), dependencies=functions) as server, Client(server.url) as client:
        running = [client.submit("x", api_name="/echo") for _ in range(3)]
        eventually(lambda: len(jobs.said) == 3)
        assert len(set(jobs.names)) == 3
        assert client.session_hash in jobs.names
        other = client.submit("x", api_name="/other")
        eventually(lambda: len(jobs.said) == 4)
        assert jobs.names[3] == client.session_hash
        jobs.release(4)
        for job in [*running, other]:
            job.result(timeout=5)
        # A name is free once its connection has been closed.
        session = running[0]._job._session
        assert isinstance(session, connections.ConnectionSession)
        eventually(lambda: len(session._names[0]) == 3)
        jobs.release(3)
        for _ in range(3):
            client.predict("x", api_name="/echo")
        # Names are used again, so the server need not remember one for each call.
        assert set(jobs.names[4:]) <= set(jobs.names[:3])


def test_name_under_which_a_job_may_still_run_is_not_used_again(eventually: Eventually) -> None:
    jobs = Jobs()
    with playing(jobs.script()) as server, Client(server.url) as client:
        job = client.submit("x")
        eventually(job.running)
        job.cancel()
        eventually(lambda: jobs.ends == ["closed"])
        jobs.release()
        client.predict("x")
        assert jobs.names[0] != jobs.names[1]


def test_jobs_that_share_state_wait_for_each_other(eventually: Eventually) -> None:
    jobs = Jobs()
    stateful = dependency("echo", inputs=[1, 2], outputs=[1, 2])
    with playing(jobs.script(), dependencies=[stateful]) as server, Client(server.url) as client:
        first, second, third = (client.submit(text) for text in "xyz")
        eventually(first.running)
        assert second.status().code is jobwire.Status.STARTING
        assert second.cancel()
        jobs.release()
        first.result(timeout=5)
        eventually(third.running)
        assert second.cancelled()
        jobs.release()
        third.result(timeout=5)
        assert jobs.names == [client.session_hash] * 2


def test_stateful_generator_gets_time_to_stop(
    eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SETTLE_TIME", 0.4)
    jobs = Jobs()
    stateful = dependency("echo", inputs=[1, 2], types={"generator": True})
    with playing(jobs.script(), dependencies=[stateful]) as server, Client(server.url) as client:
        first = client.submit("x")
        eventually(first.running)
        first.cancel()
        cancelled = time.monotonic()
        eventually(lambda: jobs.ends == ["closed"])
        jobs.release()
        client.predict("y")
        assert 0.35 < time.monotonic() - cancelled < 5
        jobs.release()
        client.predict("y")  # which ended as it should, so there is nothing to wait for
        assert time.monotonic() - cancelled < 5


def test_connections_at_once_are_bounded(
    eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    jobs = Jobs()
    with playing(jobs.script()) as server, Client(server.url) as client:
        submitted = [client.submit(str(i)) for i in range(6)]
        eventually(lambda: len(jobs.said) == 2)
        time.sleep(0.1)
        assert len(jobs.said) == 2
        assert submitted[-1].cancel()
        jobs.release(5)
        for job in submitted[:-1]:
            assert job.result(timeout=5) == "done"
        assert len(jobs.said) == 5


@pytest.mark.parametrize(
    "answer", [HANG, "talk", response("wait", 502)], ids=["silence", "talk", "proxy"]
)
async def test_closing_ends_every_task_whatever_its_job_waits_for(
    answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    stateful = dependency("state", inputs=[1, 2])
    script = Jobs().script() if answer == "talk" else answer
    with playing(script, dependencies=[dependency("echo"), stateful]) as server:
        client = await jobwire.AsyncClient(server.url).connect()
        names = ("/state", "/state", "/echo", "/echo", "/echo")
        jobs = [await client.submit("x", api_name=name) for name in names]
        async with asyncio.timeout(5):
            while server.paths().count("/queue/join") < 2:
                await asyncio.sleep(0.01)
            await client.aclose()
        for job in jobs:
            assert isinstance(await job.exception(timeout=0), jobwire.ClientClosedError)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}


# -- event streams, one for each job --


NULL = response("null", 200, "application/json")


def stream_server(*routes: tuple[str, Any], **fields: Any) -> Any:
    return raw_server(dict(routes) | {"/config": old_config("4.0.2", **fields)})


def asking(*events: bytes, then: bytes = LAST_CHUNK) -> bytes:
    return event_stream(estimation("e1"), message("send_data", "e1"), *events) + then


async def say(connection: RawConnection, *events: bytes) -> None:
    await connection.write(b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events))


def test_conversation_on_a_stream() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.write(asking(then=b""))
        while not data_came.is_set():
            await asyncio.sleep(0.005)
        await say(connection, starts("e1"), generating("e1", "one"), completed("e1", "done"))
        await connection.wait_for_eof()

    def take(body: bytes) -> bytes:
        data_came.set()
        return NULL

    data_came = threading.Event()
    routes = ("/queue/join", script), ("/queue/data", take)
    with stream_server(*routes) as server, Client(server.url) as client:
        job = client.submit("naïve ✓", headers={"X-Call": "7"})
        assert job.result(timeout=5) == "done"
        assert job.event_id == "e1"
        join, data = server.requests[-2:]
        assert join[1] == f"/queue/join?fn_index=0&session_hash={client.session_hash}"
        assert join[2]["accept"] == "text/event-stream"
        assert (join[2]["x-call"], data[2]["x-call"]) == ("7", "7")
        assert json.loads(data[3]) == {
            "data": ["naïve ✓"],
            "fn_index": 0,
            "session_hash": client.session_hash,
            "event_id": "e1",
        }


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(response("no", 500), jobwire.ServerError, id="500"),
        pytest.param(response({"detail": "no"}, 401), jobwire.AuthenticationError, id="401"),
        pytest.param(HANG, jobwire.TransportTimeoutError, id="silence"),
        pytest.param(Cut(), jobwire.ConnectionLostError, id="closed"),
        pytest.param(
            event_stream(message("queue_full")) + LAST_CHUNK, jobwire.QueueFullError, id="full"
        ),
        pytest.param(
            event_stream(estimation("e1")) + LAST_CHUNK, jobwire.ConnectionLostError, id="end"
        ),
        pytest.param(Cut(event_stream(estimation("e1"))), jobwire.ConnectionLostError, id="cut"),
        pytest.param(event_stream(b"data: {\n\n"), jobwire.RemoteProtocolError, id="nonsense"),
    ],
)
def test_stream_that_fails(answer: Any, error: type[Exception]) -> None:
    with stream_server(("/queue/join", answer)) as server:
        with Client(server.url, read_timeout=0.5) as client, pytest.raises(error):
            client.predict("x")


def test_arguments_that_the_server_does_not_take() -> None:
    routes = ("/queue/join", asking(then=b"")), ("/queue/data", response("no", 500))
    with stream_server(*routes) as server, Client(server.url) as client:
        with pytest.raises(jobwire.ServerError) as caught:
            client.predict("x")
        assert caught.value.status == 500


def test_arguments_that_came_too_late() -> None:
    routes = ("/queue/join", asking()), ("/queue/data", NULL)
    with stream_server(*routes) as server, Client(server.url) as client:
        with pytest.raises(jobwire.ConnectionLostError, match="took longer to arrive"):
            client.predict("x")


def test_cancel_of_a_generator_is_told() -> None:
    stream = asking(starts("e1"), generating("e1", "one"), then=b"")
    routes = (
        ("/queue/join", stream),
        ("/queue/data", NULL),
        ("/reset", response({"success": True})),
    )
    with stream_server(*routes) as server, Client(server.url) as client:
        job = client.submit("x")
        assert next(iter(job)) == "one"
        assert job.cancel()
        (_, path, _, body) = server.requests[-1]
        assert (path, json.loads(body)) == ("/reset", {"event_id": "e1"})


def test_cancel_before_the_first_output_is_told_with_that(eventually: Eventually) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.write(asking(starts("e1"), then=b""))
        while not cancelled.is_set():
            await asyncio.sleep(0.005)
        await say(connection, generating("e1", "one"))
        await connection.wait_for_eof()

    cancelled = threading.Event()
    routes = (
        ("/queue/join", script),
        ("/queue/data", NULL),
        ("/reset", response({"success": True})),
    )
    with stream_server(*routes) as server, Client(server.url) as client:
        job = client.submit("x")
        eventually(job.running)
        assert job.cancel()
        assert "/reset" not in server.paths()
        cancelled.set()
        eventually(lambda: "/reset" in server.paths())
        assert job.outputs() == []


# -- direct calls --

DIRECT = {"dependencies": [dependency("echo", queue=False)]}


def direct_server(answer: Any, **fields: Any) -> Any:
    routes = {"/config": old_config("3.50.2", **(DIRECT | fields)), "/run/predict": answer}
    return raw_server(routes)


@pytest.mark.parametrize(
    "fields", [{}, {"dependencies": [dependency("echo")], "enable_queue": False}]
)
def test_call_past_the_queue(fields: dict[str, Any]) -> None:
    with direct_server(response({"data": ["done"]}), **fields) as server:
        with Client(server.url) as client:
            job = client.submit("x", headers={"X-Call": "7"})
            assert job.result(timeout=5) == "done"
            (_, _, headers, body) = server.requests[-1]
            assert headers["x-call"] == "7"
            session = {"session_hash": client.session_hash}
            assert json.loads(body) == {"data": ["x"], "fn_index": 0} | session


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(response({"error": "bad thing"}, 500), jobwire.AppError, id="app"),
        pytest.param(response({"error": None}, 500), jobwire.AppError, id="hidden"),
        pytest.param(response("no", 500), jobwire.ServerError, id="500"),
        pytest.param(response("<html>"), jobwire.RemoteProtocolError, id="page"),
        pytest.param(response({"data": 5}), jobwire.RemoteProtocolError, id="no list"),
        pytest.param(Cut(), jobwire.ConnectionLostError, id="cut"),
    ],
)
def test_direct_call_that_fails_is_not_repeated(answer: bytes, error: type[Exception]) -> None:
    with direct_server(answer) as server, Client(server.url) as client:
        with pytest.raises(error):
            client.predict("x")
        assert server.paths().count("/run/predict") == 1


def test_direct_call_may_take_any_time_and_can_be_cancelled() -> None:
    with direct_server(HANG) as server, Client(server.url, read_timeout=0.1) as client:
        job = client.submit("x")
        with pytest.raises(TimeoutError):
            job.result(timeout=0.4)
        assert job.cancel()
        assert job.cancelled()


@pytest.mark.parametrize(("protocol", "version"), [("sse", "4.0.2"), ("sse_v1", "4.10.0")])
def test_batch_that_would_stop_the_queue_is_called_past_it(protocol: str, version: str) -> None:
    settings = config(
        protocol,
        version,
        api_prefix="",
        components=[TEXTBOX],
        dependencies=[dependency("pair", inputs=[1, 1], outputs=[1, 1], batch=True)],
    )
    routes = {
        "/config": response(settings),
        "/run/predict": response({"data": [["a"], [2]], "is_generating": None}),
    }
    with raw_server(routes) as server, Client(server.url) as client:
        assert client.predict("x", "y") == ("a", 2)
        sent = json.loads(server.requests[-1][3])
        assert sent["data"] == [["x"], ["y"]]
        assert sent["batched"] is True
        assert not any("queue" in path for path in server.paths())
