"""Timeouts of whole jobs, what is tried again, and how many jobs may be in flight."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import jobwire
from faults import HANG, LAST_CHUNK, Cut, RawServer, config, event_stream, raw_server, response
from jobwire import AsyncClient, Client, Status

JOIN, DATA, INFO = "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/info"
LOST = Cut(b"")
"""A reply that never comes: the request has arrived, and the connection is closed."""


def message(**fields: Any) -> bytes:
    return f"data: {json.dumps(fields)}\n\n".encode()


def completed(id: str, value: str) -> bytes:
    output = {"data": [value]}
    return message(msg="process_completed", event_id=id, output=output, success=True)


def done(id: str, value: str) -> bytes:
    return event_stream(completed(id, value), message(msg="close_stream")) + LAST_CHUNK


def in_turn(*answers: Any) -> Any:
    """One answer for each request; the last for all that follow."""
    left = list(answers)

    def answer(_: bytes) -> Any:
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


def accepted(id: str = "a") -> bytes:
    return response({"event_id": id})


def refused(status: int, headers: str = "", detail: str = "no") -> bytes:
    return response({"detail": detail}, status, headers=headers)


def app(join: Any, data: Any = HANG, **routes: Any) -> Any:
    return raw_server(
        {
            JOIN: join,
            DATA: data,
            **routes,
            "/gradio_api/cancel": response({"success": True}),
            "/config": response(config()),
        }
    )


def joins(server: RawServer) -> int:
    return server.paths().count(JOIN)


# -- the timeout of a job ------------------------------------------------------


def test_job_in_time_has_no_timer_left() -> None:
    with app(accepted(), done("a", "x")) as server, Client(server.url, timeout=30) as client:
        job = client.submit("x")
        assert job.result(10) == "x"
        assert job._job._timer is not None
        assert job._job._timer.cancelled()


@pytest.mark.parametrize("how", ["client", "call"])
def test_running_job_is_stopped_on_the_server_when_its_time_is_up(how: str) -> None:
    output = {"data": ["half"]}
    events = event_stream(
        message(msg="process_starts", event_id="a"),
        message(msg="process_generating", event_id="a", output=output, success=True),
    )

    async def data(connection: Any) -> None:
        await connection.write(events)
        await connection.wait_for_eof()

    options: dict[str, Any] = {"timeout": 0.4}
    with (
        app(accepted(), data) as server,
        Client(server.url, **(options if how == "client" else {})) as client,
    ):
        job = client.submit("x", **({} if how == "client" else options))
        with pytest.raises(jobwire.JobTimeoutError, match=r"0\.4 s") as caught:
            job.result()
        assert isinstance(caught.value, TimeoutError)
        assert (caught.value.event_id, caught.value.outputs) == ("a", ["half"])
        assert caught.value.may_have_run
        assert job.status().success is False
        deadline = time.monotonic() + 10
        while "/gradio_api/cancel" not in server.paths():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        sent = next(body for _, path, _, body in server.requests if path == "/gradio_api/cancel")
        assert json.loads(sent)["event_id"] == "a"


def test_waiting_for_a_result_alone_leaves_the_job() -> None:
    go = threading.Event()

    async def data(connection: Any) -> None:
        await asyncio.to_thread(go.wait, 10)
        await connection.write(done("a", "x"))

    with app(accepted(), data) as server, Client(server.url) as client:
        job = client.submit("x")
        with pytest.raises(TimeoutError) as caught:
            job.result(timeout=0.05)
        assert not isinstance(caught.value, jobwire.JobwireError)
        go.set()
        assert job.result(10) == "x"


def test_timeout_covers_the_submission() -> None:
    with app(HANG) as server, Client(server.url) as client:
        with pytest.raises(jobwire.JobTimeoutError) as caught:
            client.predict("x", timeout=0.3)
        assert caught.value.event_id is None
        assert caught.value.may_have_run  # the request has arrived, for all we know


def test_timeout_of_nothing_sends_nothing() -> None:
    with app(accepted()) as server, Client(server.url) as client:
        with pytest.raises(jobwire.JobTimeoutError) as caught:
            client.predict("x", timeout=0)
        assert not caught.value.may_have_run
        assert joins(server) == 0


async def test_timeout_covers_loading_the_app() -> None:
    with raw_server({"/config": HANG}) as server:
        async with aclosing(AsyncClient(server.url)) as client:
            with pytest.raises(jobwire.JobTimeoutError, match="nothing was submitted") as caught:
                await client.predict("x", timeout=0.2)
            assert not caught.value.may_have_run


def test_timeout_covers_sending_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")
    routes = {
        "/gradio_api/upload": HANG,
        JOIN: accepted(),
        "/config": response(config()),
    }
    with raw_server(routes) as server, Client(server.url) as client:
        with pytest.raises(jobwire.JobTimeoutError) as caught:
            client.predict(jobwire.handle_file(path), timeout=0.3)
        assert not caught.value.may_have_run
        assert joins(server) == 0


def test_timeout_covers_fetching_files(tmp_path: Path) -> None:
    file = {"path": "/there/a.txt", "orig_name": "a.txt", "meta": {"_type": "gradio.FileData"}}
    end = message(msg="process_completed", event_id="a", output={"data": [file]}, success=True)
    kind = {
        "type": "object",
        "title": "FileData",
        "properties": {"path": {}, "orig_name": {}, "meta": {}},
    }
    component = {"id": 1, "type": "file", "props": {}, "skip_api": False, "api_info": kind}
    routes = {
        JOIN: accepted(),
        DATA: event_stream(end, message(msg="close_stream")) + LAST_CHUNK,
        "/gradio_api/file": HANG,
        "/config": response(config(components=[component])),
    }
    with raw_server(routes) as server, Client(server.url, download_files=tmp_path) as client:
        with pytest.raises(jobwire.JobTimeoutError) as caught:
            client.predict(None, timeout=0.5)
        assert caught.value.may_have_run
        assert any(path.startswith("/gradio_api/file") for path in server.paths())


@pytest.mark.parametrize("value", [-1, float("nan"), "5", True])
def test_timeout_that_makes_no_sense(value: Any) -> None:
    with pytest.raises(jobwire.ArgumentError) as caught:
        AsyncClient("http://127.0.0.1:1", timeout=value)
    assert caught.value.parameter == "timeout"
    with app(accepted()) as server, Client(server.url) as client:
        with pytest.raises(jobwire.ArgumentError):
            client.submit("x", timeout=value)


@pytest.mark.parametrize("value", [-1, 1.5, "2", True])
def test_retries_that_make_no_sense(value: Any) -> None:
    with pytest.raises(jobwire.ArgumentError) as caught:
        AsyncClient("http://127.0.0.1:1", retries=value)
    assert caught.value.parameter == "retries"


def test_call_can_lift_the_timeout_of_the_client() -> None:
    with app(accepted(), done("a", "x")) as server, Client(server.url, timeout=0) as client:
        with pytest.raises(jobwire.JobTimeoutError):
            client.predict("x")
        assert client.predict("x", timeout=float("inf")) == "x"


@pytest.mark.parametrize("name", ["timeout", "retries", "event_data"])
def test_parameter_of_the_endpoint_that_has_the_name_gets_the_value(name: str) -> None:
    parameter = {
        "label": "text",
        "parameter_name": name,
        "parameter_has_default": False,
        "type": {"type": "string"},
        "python_type": {"type": "str"},
        "component": "Textbox",
    }
    info = {"named_endpoints": {"/echo": {"parameters": [parameter], "returns": []}}}
    given: dict[str, Any] = {name: "none of ours"}
    routes = {INFO: response({**info, "unnamed_endpoints": {}})}
    with app(accepted(), done("a", "x"), **routes) as server, Client(server.url) as client:
        assert client.predict(**given) == "x"
        bodies = [json.loads(body) for _, path, _, body in server.requests if path == JOIN]
        assert bodies[0]["data"] == ["none of ours"]


# -- a submission whose reply is lost ------------------------------------------


def test_lost_reply_is_not_repeated_and_says_so() -> None:
    with app(LOST) as server, Client(server.url) as client:
        with pytest.raises(jobwire.ConnectionLostError, match="not submitted again") as caught:
            client.predict("x")
        assert caught.value.may_have_run
        assert joins(server) == 1


def test_late_reply_is_not_repeated_and_says_so() -> None:
    with app(HANG) as server, Client(server.url, read_timeout=0.2) as client:
        with pytest.raises(jobwire.TransportTimeoutError, match="not submitted again") as caught:
            client.predict("x")
        assert caught.value.may_have_run
        assert joins(server) == 1


@pytest.mark.parametrize("status", [502, 503, 504, 524])
def test_answer_of_a_proxy_is_not_repeated_and_says_so(status: int) -> None:
    with app(refused(status)) as server, Client(server.url) as client:
        with pytest.raises(jobwire.ServerError, match="not submitted again") as caught:
            client.predict("x")
        assert caught.value.may_have_run
        assert joins(server) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 422, 500])
def test_refusal_has_surely_not_run(status: int) -> None:
    with app(refused(status)) as server, Client(server.url, retries=3) as client:
        with pytest.raises(jobwire.ServerError) as caught:
            client.predict("x")
        assert not caught.value.may_have_run
        assert "submitted" not in str(caught.value)
        assert joins(server) == 1


@pytest.mark.parametrize("answer", [LOST, refused(502), response("<p>hello")])
def test_lost_reply_is_repeated_if_the_caller_says_so(answer: bytes) -> None:
    with app(in_turn(answer, answer, accepted()), done("a", "x")) as server:
        with Client(server.url) as client:
            job = client.submit("x", retries=2)
            assert job.result(10) == "x"
        assert joins(server) == 3


def test_what_was_repeated_may_have_run_though_the_last_try_was_refused() -> None:
    with app(in_turn(LOST, refused(422))) as server, Client(server.url, retries=5) as client:
        with pytest.raises(jobwire.ServerError) as caught:
            client.predict("x")
        assert caught.value.status == 422
        assert caught.value.may_have_run
        assert joins(server) == 2


def test_retries_are_counted() -> None:
    with app(LOST) as server, Client(server.url, retries=9) as client:
        with pytest.raises(jobwire.ConnectionLostError):
            client.predict("x", retries=1)
        assert joins(server) == 2


# -- a job that is lost with its connection ------------------------------------

STARTED = Cut(event_stream(message(msg="process_starts", event_id="a")))


def test_lost_job_is_repeated_if_the_caller_says_so() -> None:
    with app(in_turn(accepted("a"), accepted("b")), in_turn(STARTED, done("b", "x"))) as server:
        with Client(server.url) as client:
            job = client.submit("x", retries=1)
            assert job.result(10) == "x"
            assert job.event_id == "b"
            assert job.outputs() == ["x"]
        sessions = [
            json.loads(body)["session_hash"] for _, p, _, body in server.requests if p == JOIN
        ]
        assert len(set(sessions)) == 2  # the old one may still get messages


def test_lost_job_is_lost_without_retries_and_after_them() -> None:
    with app(accepted("a"), STARTED) as server, Client(server.url) as client:
        for retries in (0, 2):
            before = joins(server)
            with pytest.raises(jobwire.ConnectionLostError, match="may have run") as caught:
                client.predict("x", retries=retries)
            assert caught.value.may_have_run
            assert joins(server) - before == 1 + retries


def test_job_that_gave_an_output_is_not_repeated() -> None:
    output = {"data": ["half"]}
    half = message(msg="process_generating", event_id="a", output=output, success=True)
    with app(accepted("a"), Cut(event_stream(half))) as server, Client(server.url) as client:
        with pytest.raises(jobwire.ConnectionLostError) as caught:
            client.predict("x", retries=5)
        assert caught.value.outputs == ["half"]
        assert joins(server) == 1


def _waits_to_be_repeated(update: Any) -> bool:
    return bool(update.progress_data) and "trying again" in update.progress_data[0].desc


def test_lost_job_that_waits_to_be_repeated_can_be_cancelled() -> None:
    with app(accepted("a"), STARTED) as server, Client(server.url, retries=1000) as client:
        job = client.submit("x")
        updates = job.updates()
        while not _waits_to_be_repeated(next(updates)):
            pass
        assert job.cancel()
        with pytest.raises(jobwire.JobCancelledError) as caught:
            job.result(10)
        assert caught.value.may_have_run


def test_client_can_be_closed_while_a_lost_job_waits_to_be_repeated() -> None:
    with app(accepted("a"), STARTED) as server, Client(server.url, retries=1000) as client:
        job = client.submit("x")
        while joins(server) < 3:
            time.sleep(0.01)
        client.close()
        with pytest.raises(jobwire.ClientClosedError):
            job.result(10)


# -- what was surely not accepted ----------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(refused(429), id="429"),
        pytest.param(refused(429, "retry-after: 0\r\n"), id="429, now"),
        pytest.param(refused(503, "retry-after: 0\r\n"), id="503, now"),
        pytest.param(
            refused(503, "retry-after: 0\r\n", "Queue is full. Max size is 1."), id="full, now"
        ),
        pytest.param(
            refused(
                429,
                "date: Wed, 25 Nov 2026 10:00:00 GMT\r\n"
                "retry-after: Wed, 25 Nov 2026 10:00:00 GMT\r\n",
            ),
            id="429, a date",
        ),
    ],
)
def test_server_that_asks_for_patience_gets_it(answer: bytes) -> None:
    with app(in_turn(answer, answer, accepted()), done("a", "x")) as server:
        with Client(server.url) as client:
            assert client.predict("x") == "x"
        assert joins(server) == 3


def test_wait_is_seen_in_the_status_and_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "jobwire")
    answer = refused(429, "retry-after: 30\r\n")
    with app(in_turn(answer, accepted())) as server, Client(server.url) as client:
        job = client.submit("x")
        for update in job.updates():
            assert isinstance(update, jobwire.StatusUpdate)
            if update.progress_data:
                break
        status = job.status()
        assert status.code is Status.STARTING
        assert status.progress_data is not None
        assert "trying again in 3" in str(status.progress_data[0].desc)
        assert "trying again in 3" in caplog.text
        started = time.monotonic()
        assert job.cancel()  # ends the wait, too
        assert time.monotonic() - started < 5
    assert joins(server) == 1


@pytest.mark.parametrize("asked", [20, 3600])
def test_patience_that_cannot_be_had_is_told_at_once(asked: int) -> None:
    with app(refused(429, f"retry-after: {asked}\r\n")) as server, Client(server.url) as client:
        started = time.monotonic()
        with pytest.raises(jobwire.RateLimitedError) as caught:
            client.predict("x", timeout=10)
        assert time.monotonic() - started < 5
        assert caught.value.retry_after == asked
        assert not caught.value.may_have_run
        assert joins(server) == 1
    assert jobwire.TooManyRequestsError is jobwire.RateLimitedError


def test_full_queue_is_told_at_once() -> None:
    with app(refused(503, detail="Queue is full. Max size is 1.")) as server:
        with Client(server.url) as client, pytest.raises(jobwire.QueueFullError) as caught:
            client.predict("x")
        assert caught.value.retry_after is None
        assert not caught.value.may_have_run
        assert joins(server) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_config_is_asked_for_again(status: int) -> None:
    routes = {"/config": in_turn(refused(status), response(config()))}
    with raw_server(routes) as server, Client(server.url) as client:
        assert client.schema is not None
        assert server.paths() == ["/config"] * 2


def test_lost_connection_says_that_nothing_was_sent() -> None:
    with app(accepted()) as server:
        client = Client(server.url)
    with client, pytest.raises(jobwire.ConnectError) as caught:
        client.predict("x", retries=5)
    assert not caught.value.may_have_run


# -- how many jobs may be in flight --------------------------------------------


@pytest.fixture
def silent() -> Iterator[RawServer]:
    """An app that accepts every job, and says nothing of it any more."""

    async def data(connection: Any) -> None:
        await connection.write(event_stream(message(msg="heartbeat")))
        await connection.wait_for_eof()

    ids = iter(range(1000))
    with app(lambda _: accepted(f"id{next(ids)}"), data) as server:
        yield server


async def test_submissions_beyond_the_limit_wait_in_order(silent: RawServer) -> None:
    async with AsyncClient(silent.url, max_pending=2) as client:
        jobs = [await client.submit("x") for _ in range(2)]
        order: list[int] = []

        async def submit(number: int) -> jobwire.AsyncJob:
            job = await client.submit("x")
            order.append(number)
            return job

        waiting = [asyncio.create_task(submit(number)) for number in range(3)]
        await asyncio.sleep(0.1)
        assert order == []
        waiting[1].cancel()  # whoever waited does not count
        await jobs[0].cancel()
        third = await asyncio.wait_for(waiting[0], 10)
        assert order == [0]
        await jobs[1].cancel()
        await asyncio.wait_for(waiting[2], 10)
        assert order == [0, 2]
        await third.cancel()
        await asyncio.wait_for(client.submit("x"), 10)


async def test_wait_for_a_place_is_bounded_by_the_timeout(silent: RawServer) -> None:
    async with AsyncClient(silent.url, max_pending=1) as client:
        job = await client.submit("x")
        with pytest.raises(jobwire.JobTimeoutError, match="max_pending") as caught:
            await client.submit("x", timeout=0.1)
        assert not caught.value.may_have_run
        await job.cancel()
        await asyncio.wait_for(client.submit("x"), 10)


async def test_wait_for_a_place_ends_with_the_client(silent: RawServer) -> None:
    client = AsyncClient(silent.url, max_pending=1)
    await client.submit("x")
    waiting = [asyncio.create_task(client.submit("x")) for _ in range(3)]
    await asyncio.sleep(0.05)
    await client.aclose()
    for task in waiting:
        with pytest.raises(jobwire.ClientClosedError):
            await asyncio.wait_for(task, 10)


def test_plain_face_blocks_for_a_place(silent: RawServer) -> None:
    with Client(silent.url, max_pending=1) as client:
        first = client.submit("x")
        timer = threading.Timer(0.2, first.cancel)
        timer.start()
        second = client.submit("x")
        assert first.cancelled()
        assert not second.done()
        timer.join()


async def test_call_that_cannot_be_sent_takes_no_place(silent: RawServer) -> None:
    async with AsyncClient(silent.url, max_pending=1) as client:
        for _ in range(3):
            with pytest.raises(jobwire.ArgumentError):
                await client.submit("x", "y", "z")
        await asyncio.wait_for(client.submit("x"), 10)


@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_limit_that_makes_no_sense(value: Any) -> None:
    with pytest.raises(jobwire.ArgumentError) as caught:
        AsyncClient("http://127.0.0.1:1", max_pending=value)
    assert caught.value.parameter == "max_pending"


# -- a real server -------------------------------------------------------------


def test_gradio_stops_a_job_whose_time_is_up(client: Client) -> None:
    job = client.submit(1000, 0.05, api_name="/count", timeout=1.5)
    with pytest.raises(jobwire.JobTimeoutError) as caught:
        job.result()
    assert caught.value.event_id == job.event_id is not None
    assert caught.value.outputs[:2] == ["0", "1"]
    # It really did: the function takes one call at a time.
    assert client.submit(1, api_name="/count").result(20) == "0"


async def test_callback_that_fails_is_logged_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    got: list[str] = []
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    with app(accepted(), done("a", "x")) as server:
        async with AsyncClient(server.url) as client:

            def fail(value: str) -> None:
                got.append(value)
                raise ZeroDivisionError

            job = await client.submit("x", result_callbacks=[fail, got.append])
            assert await job == "x"
            ended = asyncio.Event()
            job.add_done_callback(lambda _: 1 // 0)
            job.add_done_callback(lambda _: ended.set())
            await asyncio.wait_for(ended.wait(), 10)
    assert got == ["x", "x"]
    assert failures == []
    assert caplog.text.count("a callback failed") == 2


# -- servers that want a connection for each job -------------------------------

PROPOSE = message(msg="send_data", event_id="a")
OLD = config("sse", "4.0.2", api_prefix="")


def old_app(*streams: Any) -> Any:
    return raw_server(
        {
            "/queue/join": in_turn(*streams),
            "/queue/data": response("null", content_type="application/json"),
            "/config": response(OLD),
        }
    )


def test_lost_connection_of_a_job_is_made_again_if_the_caller_says_so() -> None:
    lost = Cut(event_stream(PROPOSE, message(msg="process_starts")))
    output = {"data": ["x"]}
    end = message(msg="process_completed", output=output, success=True)

    async def fine(connection: Any) -> None:
        await connection.write(event_stream(PROPOSE))
        while server.paths().count("/queue/data") < 2:  # its arguments, again
            await asyncio.sleep(0.01)
        rest = event_stream(message(msg="process_starts"), end)
        await connection.write(rest.partition(b"\r\n\r\n")[2] + LAST_CHUNK)

    with old_app(lost, fine, lost) as server, Client(server.url) as client:
        assert client.predict("x", retries=1) == "x"
        assert server.paths().count("/queue/join") == 2
        with pytest.raises(jobwire.ConnectionLostError, match="may have run") as caught:
            client.predict("x")
        assert caught.value.may_have_run
        assert server.paths().count("/queue/join") == 3


def test_job_whose_arguments_were_not_asked_for_has_not_run() -> None:
    waiting = message(msg="estimation", rank=1, queue_size=2)
    with old_app(Cut(event_stream(waiting))) as server, Client(server.url) as client:
        with pytest.raises(jobwire.ConnectionLostError, match="has not run") as caught:
            client.predict("x")
        assert not caught.value.may_have_run


@pytest.mark.parametrize("retries", [0, 1])
def test_direct_call_whose_reply_is_lost(retries: int) -> None:
    app_config = config("sse", "4.0.2", api_prefix="")
    app_config["dependencies"][0]["queue"] = False
    routes = {
        "/run": in_turn(LOST, response({"data": ["x"]})),
        "/config": response(app_config),
    }
    with raw_server(routes) as server, Client(server.url, retries=retries) as client:
        if retries:
            assert client.predict("x") == "x"
        else:
            with pytest.raises(jobwire.ConnectionLostError, match="not submitted again") as caught:
                client.predict("x")
            assert caught.value.may_have_run
        assert server.paths().count("/run/predict") == 1 + retries
