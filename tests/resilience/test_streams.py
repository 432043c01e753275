"""Event streams that break, stall or stutter at every place that there is."""

from collections.abc import Callable

import pytest

import jobwire
from chaos import ChaosProxy, Fault, Kind, answer, on
from conftest import Eventually
from faults import LAST_CHUNK, event_stream, response
from resilience.conftest import Opening, lost

STREAM = "queue/data"
EVENTS = ("estimation", "process_starts", "process_generating", "process_completed")


def message(name: str) -> bytes:
    return b'data: {"msg":"%s"' % name.encode()


def expected(tag: str, n: int = 4) -> list[str]:
    return [f"{tag}:{i}" for i in range(n)]


@pytest.mark.parametrize("kind", ["cut", "reset", "half-close"])
@pytest.mark.parametrize(("where", "offset"), [("before", -2), ("in", 20)])
@pytest.mark.parametrize("name", EVENTS)
def test_break_before_the_end(
    opened: Opening,
    tag: str,
    runs: Callable[[str], int],
    name: str,
    where: str,
    offset: int,
    kind: Kind,
) -> None:
    fault = Fault(kind, at=message(name), offset=offset)
    with opened(on(STREAM, fault)) as client:
        job = client.submit(tag, 4, 0.02, api_name="/count")
        error = lost(job)
        kept = job.outputs()
        assert kept == expected(tag)[: len(kept)]
        assert error.outputs == kept
        assert len(kept) == (4 if name == "process_completed" else 0)
        assert runs(tag) <= 1


@pytest.mark.parametrize("kind", ["cut", "reset", "half-close"])
def test_break_after_the_end_of_the_job_harms_nobody(
    opened: Opening, tag: str, eventually: Eventually, kind: Kind
) -> None:
    with opened(on(STREAM, Fault(kind, at=message("close_stream")))) as client:
        job = client.submit(tag, 4, 0.02, api_name="/count")
        assert job.result(timeout=10) == f"{tag}:3"
        assert job.outputs() == expected(tag)
        # Else the next job may join what is about to break.
        eventually(lambda: client._client._sessions.damaged)


@pytest.mark.parametrize("kind", ["cut", "reset", "half-close", "stall"])
@pytest.mark.parametrize("at", [0, 40], ids=["before the head", "in the head"])
def test_break_before_the_first_event(opened: Opening, tag: str, kind: Kind, at: int) -> None:
    with opened(on(STREAM, Fault(kind, at=at)), idle_timeout=1.5) as client:
        assert lost(client.submit(tag, 4, 0.02, api_name="/count")).outputs == []


@pytest.mark.parametrize(
    ("at", "offset"),
    [
        (b"\r\n\r\n", 4),
        (message("process_generating"), -2),
        (message("process_generating"), 20),
        (message("process_completed"), 0),
    ],
    ids=["after the head", "in the head of a chunk", "in an event", "before the end"],
)
def test_stall_without_end_is_noticed(opened: Opening, tag: str, at: bytes, offset: int) -> None:
    with opened(on(STREAM, Fault("stall", at=at, offset=offset)), idle_timeout=1.5) as client:
        error = lost(client.submit(tag, 4, 0.02, api_name="/count"))
        assert "nothing was heard" in str(error)
        assert error.outputs == expected(tag)[: len(error.outputs)]


def test_stall_after_the_farewell_is_soon_noticed(
    opened: Opening, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobwire.protocol.session.END_TIMEOUT", 0.5)
    with opened(on(STREAM, Fault("stall", at=b"\r\n0\r\n\r\n"))) as client:
        assert client.predict(tag, 4, 0, api_name="/count") == f"{tag}:3"
        lost(client.submit("joins what has ended", api_name="/echo"), timeout=5)


def test_job_that_joins_a_stream_which_stalls_is_lost_by_name(opened: Opening, tag: str) -> None:
    stall = Fault("stall", at=message("process_completed"))
    with opened(on(STREAM, stall), idle_timeout=1.5) as client:
        first = client.submit(tag, api_name="/echo")
        second = client.submit(tag, 0.5, api_name="/slow")
        lost(first)
        lost(second)


@pytest.mark.parametrize("kind", ["split", "delay"])
def test_stutter_changes_nothing(opened: Opening, tag: str, kind: Kind) -> None:
    with opened(on(STREAM, Fault(kind, at=10, seconds=0.3 if kind == "delay" else 0))) as client:
        job = client.submit(tag, 20, 0, api_name="/count")
        assert list(job) == expected(tag, 20)


def test_drip_is_no_end_and_can_be_cancelled(opened: Opening, tag: str) -> None:
    # The server says within the time that it has the job; an output takes it longer by far.
    drip = Fault("drip", at=b"\r\n\r\n", offset=4, seconds=0.002)
    with opened(on(STREAM, drip), idle_timeout=1.5) as client:
        job = client.submit(tag * 100, 4, 0, api_name="/count")
        with pytest.raises(TimeoutError):
            job.result(timeout=3)
        assert not job.done()
        assert job.status().code is jobwire.Status.PROCESSING
        assert job.cancel()
        with pytest.raises(jobwire.JobCancelledError):
            job.result(timeout=1)
        client.reset_session()  # or the next job would join that stream


HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
NONSENSE = {
    "not HTTP": b"\x00\xff\x17\x03 nothing that anybody speaks\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "huge header": f"HTTP/1.1 200 OK\r\nx-long: {'x' * 100_000}\r\n\r\n".encode(),
    "huge chunk": f"{HEAD}transfer-encoding: chunked\r\n\r\n{'f' * 40}\r\n".encode(),
    "broken chunk": event_stream(b"data: {") + b"zz\r\n",
    "truncated chunk": event_stream() + b"ff\r\ndata: {" + b"",
    "broken compression": response(
        b"\x1f\x8b\x08 not really", headers="content-encoding: gzip\r\n"
    ),
    "unknown compression": response(b"data: 1\n\n", headers="content-encoding: rot13\r\n"),
    "page with 200": response("<html><h1>It works!</h1></html>"),
    "nothing at all": response(b"", content_type="text/event-stream"),
    "no JSON": event_stream(b"data: {nonsense}\n\n") + LAST_CHUNK,
    "JSON of another kind": event_stream(b"data: [1]\n\n") + LAST_CHUNK,
    "unannounced end": event_stream(b'data: {"msg":"heartbeat"}\n\n') + LAST_CHUNK,
    "page with 403": response("<html>Forbidden</html>", 403),
    "page with 404": response("<html>Not Found</html>", 404),
    "redirect": response("", 302, headers="location: http://127.0.0.1:9/\r\n"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_in_place_of_a_stream(opened: Opening, tag: str, name: str) -> None:
    with opened(on(STREAM, answer(NONSENSE[name])), idle_timeout=1.5) as client:
        job = client.submit(tag, api_name="/echo")
        with pytest.raises((jobwire.ConnectionLostError, jobwire.RemoteProtocolError)) as caught:
            job.result(timeout=10)
        assert getattr(caught.value, "event_id", None) == job.event_id is not None
        assert len(str(caught.value)) < 1000


def test_noise_in_a_stream(opened: Opening, tag: str) -> None:
    noise = Fault("insert", at=message("process_generating"), data=b"\xff\x00noise\r\n")
    with opened(on(STREAM, noise)) as client:
        job = client.submit(tag, 4, 0.02, api_name="/count")
        with pytest.raises((jobwire.ConnectionLostError, jobwire.RemoteProtocolError)):
            job.result(timeout=10)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_proxy_whose_server_is_away_for_a_moment(
    opened: Opening, proxy: ChaosProxy, tag: str, status: int
) -> None:
    away = answer(response("<html>busy</html>", status))
    with opened(on(STREAM, away, away)) as client:
        assert client.predict(tag, 4, 0, api_name="/count") == f"{tag}:3"
        assert sum(STREAM in path for path in proxy.requests) == 3


@pytest.mark.parametrize("towards", ["client", "server"])
def test_other_clients_and_their_jobs_go_on(
    opened: Opening, proxy: ChaosProxy, tag: str, towards: str
) -> None:
    fault = Fault("reset", at=message("process_generating"))
    if towards == "server":
        fault = Fault("half-close", at=20, towards="server")
    with opened() as other, opened(on(STREAM, None, fault)) as client:
        unharmed = other.submit(tag, 30, 0.05, api_name="/count")
        outputs = iter(unharmed)
        next(outputs)
        lost(client.submit("lost", 30, 0.05, api_name="/count"))
        assert [next(outputs) for _ in range(29)] == expected(tag, 30)[1:]


def test_break_takes_every_job_of_the_session_and_none_of_the_next(
    opened: Opening, tag: str, runs: Callable[[str], int]
) -> None:
    fault = Fault("reset", at=message("process_completed"))
    with opened(on(STREAM, fault)) as client:
        jobs = [client.submit(f"{tag}{i}", 0.3, api_name="/slow") for i in range(5)]
        for job in jobs:
            lost(job)
        again = [client.submit(f"{tag}again{i}", api_name="/echo") for i in range(5)]
        assert [job.result(timeout=10) for job in again] == [f"{tag}again{i}" for i in range(5)]
    assert {runs(f"{tag}{i}") for i in range(5)} <= {0, 1}
