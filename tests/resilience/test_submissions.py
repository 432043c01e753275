"""Submissions, uploads and downloads that go wrong on the way."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import jobwire
from chaos import ChaosProxy, Fault, Kind, always, answer, on
from conftest import Eventually
from faults import event_stream, response
from jobwire import Client
from resilience.conftest import Opening, assert_usable

JOIN = "queue/join"
PAGE = "<html><head><title>Bad Gateway</title></head><body>nginx</body></html>"


UNKNOWN = {
    "reset before the request is read": Fault("reset", towards="server"),
    "cut in the request": Fault("cut", at=30, towards="server"),
    "half-closed in the request": Fault("half-close", at=30, towards="server"),
    "cut before the answer": Fault("cut"),
    "reset before the answer": Fault("reset"),
    "half-closed before the answer": Fault("half-close"),
    "cut in the head": Fault("cut", at=25),
    "reset in the body": Fault("reset", at=b"\r\n\r\n", offset=10),
    "cut in the body": Fault("cut", at=b"\r\n\r\n", offset=10),
    "stalled before the request is read": Fault("stall", towards="server"),
    "stalled before the answer": Fault("stall"),
    "stalled in the body": Fault("stall", at=b"\r\n\r\n", offset=10),
    "truncated chunk": answer(event_stream() + b"ff\r\n{"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_submission_whose_answer_is_lost_is_not_repeated(
    opened: Opening, proxy: ChaosProxy, tag: str, runs: Callable[[str], int], name: str
) -> None:
    with opened(on(JOIN, None, UNKNOWN[name]), read_timeout=1.5) as client:
        unharmed = client.submit(f"{tag}-other", 20, 0.02, api_name="/count")
        next(iter(unharmed))
        job = client.submit(tag, api_name="/echo")
        with pytest.raises(
            (jobwire.ConnectionLostError, jobwire.TransportTimeoutError),
            match="not submitted again",
        ) as caught:
            job.result(timeout=10)
        assert caught.value.may_have_run
        assert job.event_id is None
        assert unharmed.result(timeout=20) == f"{tag}-other:19"
        assert len(unharmed.outputs()) == 20
        assert sum(JOIN in path for path in proxy.requests) == 2
        assert runs(tag) <= 1


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_submission_whose_answer_is_lost_is_repeated_where_that_is_said_to_be_safe(
    opened: Opening,
    proxy: ChaosProxy,
    tag: str,
    runs: Callable[[str], int],
    eventually: Eventually,
    kind: Kind,
) -> None:
    with opened(on(JOIN, Fault(kind))) as client:
        job = client.submit(tag, api_name="/echo", retries=1)
        assert job.result(timeout=10) == tag
        assert job.outputs() == [tag]
        assert sum(JOIN in path for path in proxy.requests) == 2
        eventually(lambda: runs(tag) == 2)  # the first was not lost, but its answer


def test_job_lost_with_its_stream_is_repeated_where_that_is_said_to_be_safe(
    opened: Opening, proxy: ChaosProxy, tag: str
) -> None:
    with opened(on("queue/data", Fault("reset", at=b"process_starts"))) as client:
        first = client.submit(tag, 0.5, api_name="/slow", retries=1)
        other = client.submit(f"{tag}-other", 0.5, api_name="/slow")
        assert first.result(timeout=10) == tag
        with pytest.raises(jobwire.ConnectionLostError):
            other.result(timeout=10)


REFUSED: dict[str, tuple[bytes, type[Exception] | tuple[type[Exception], ...]]] = {
    "page with 500": (response(PAGE, 500), jobwire.ServerError),
    "page with 502": (response(PAGE, 502), jobwire.ServerError),
    "page with 200": (response(PAGE), jobwire.RemoteProtocolError),
    "page with 403": (response(PAGE, 403), jobwire.ServerError),
    "nothing with 200": (response(""), jobwire.RemoteProtocolError),
    "not HTTP": (b"\x00\xff\x17 nothing that anybody speaks\r\n\r\n", jobwire.RemoteProtocolError),
    "huge header": (
        f"HTTP/1.1 200 OK\r\nx-long: {'x' * 100_000}\r\n\r\n".encode(),
        jobwire.RemoteProtocolError,
    ),
    "broken compression": (
        response(b"\x1f\x8b\x08 not really", headers="content-encoding: gzip\r\n"),
        (jobwire.RemoteProtocolError, jobwire.ConnectionLostError),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_in_place_of_an_answer(opened: Opening, tag: str, name: str) -> None:
    data, error = REFUSED[name]
    with opened(on(JOIN, None, answer(data))) as client:
        unharmed = client.submit(tag, 20, 0.02, api_name="/count")
        next(iter(unharmed))
        with pytest.raises(error) as caught:
            client.submit(tag, api_name="/echo").result(timeout=10)
        assert len(str(caught.value)) < 1000
        assert unharmed.result(timeout=20) == f"{tag}:19"


@pytest.mark.parametrize("kind", ["split", "delay"])
def test_slow_answer_changes_nothing(opened: Opening, tag: str, kind: str) -> None:
    fault = Fault("split") if kind == "split" else Fault("delay", seconds=0.5)
    with opened(on(JOIN, fault)) as client:
        assert client.predict(tag, 3, 0, api_name="/count") == f"{tag}:2"


@pytest.mark.parametrize("route", ["config", "queue/join", "queue/data", "upload", "file="])
def test_page_of_a_proxy_at_a_route(
    proxy: ChaosProxy, tmp_path: Path, tag: str, route: str
) -> None:
    note = tmp_path / "note.txt"
    note.write_text(tag)
    page = always(route, answer(response(PAGE, 502)))
    if route == "config":
        proxy.plan = page
        with pytest.raises(jobwire.ServerError, match="502"):
            jobwire.Client(proxy.url)
        proxy.plan = None
        with jobwire.Client(proxy.url) as client:
            assert_usable(client)
        return
    with jobwire.Client(proxy.url, download_files=tmp_path / "fetched") as client:
        proxy.plan = page
        job = client.submit(tag, jobwire.handle_file(str(note)), api_name="/shout")
        with pytest.raises(jobwire.JobwireError, match="502") as caught:
            job.result(timeout=20)
        assert isinstance(
            caught.value,
            jobwire.DownloadError
            if route == "file="
            else jobwire.ConnectionLostError
            if route == "queue/data"
            else jobwire.ServerError,
        )
        proxy.plan = None
        assert_usable(client)


BROKEN = {
    "stalled after the head": Fault("stall", at=b"\r\n\r\n", offset=4),
    "stalled in the head": Fault("stall", at=20),
    "dripping": Fault("drip", at=b"\r\n\r\n", offset=4, seconds=0.05),
    "not HTTP": answer(b"\x00\xff\x17 nothing that anybody speaks\r\n\r\n"),
    "no JSON": answer(response("{nonsense", content_type="application/json")),
    "500": answer(response("Internal Server Error", 500)),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("route", ["config", "info", "upload"])
def test_route_that_is_broken(
    proxy: ChaosProxy, tmp_path: Path, tag: str, route: str, name: str
) -> None:
    note = tmp_path / "note.txt"
    note.write_text(tag * 10)
    broken = always(route, BROKEN[name])
    proxy.plan = broken if route == "config" else None
    began = time.monotonic()
    if route == "config":
        with pytest.raises(jobwire.JobwireError):
            Client(proxy.url, read_timeout=1.0)
        assert time.monotonic() - began < 10
        return
    with Client(proxy.url, read_timeout=1.0) as client:
        proxy.plan = broken
        if route == "info" and name != "500":
            with pytest.raises(jobwire.JobwireError):
                client.predict(tag=tag, api_name="/echo")
        elif route == "upload" and name != "dripping":  # it is short, so that it comes in time
            job = client.submit(tag, jobwire.handle_file(str(note)), api_name="/shout")
            with pytest.raises(jobwire.JobwireError):
                job.result(timeout=20)
        assert time.monotonic() - began < 20
        proxy.plan = None
        assert_usable(client)


TRANSFERS = {
    "cut": Fault("cut", at=b"\r\n\r\n", offset=5000),
    "reset": Fault("reset", at=b"\r\n\r\n", offset=5000),
    "half-close": Fault("half-close", at=b"\r\n\r\n", offset=5000),
    "cut before the answer": Fault("cut"),
}


@pytest.mark.parametrize("name", TRANSFERS)
@pytest.mark.parametrize("way", ["upload", "file="])
def test_transfer_that_breaks_is_taken_up_again(
    opened: Opening,
    proxy: ChaosProxy,
    tmp_path: Path,
    tag: str,
    runs: Callable[[str], int],
    way: str,
    name: str,
) -> None:
    note = tmp_path / "note.txt"
    note.write_text(f"{tag} " * 10_000)
    fault = TRANSFERS[name]
    if way == "upload":
        fault = Fault(fault.kind, fault.at, fault.offset, "server" if fault.at else "client")
    with opened(on(way, fault), download_files=tmp_path / "fetched") as client:
        job = client.submit(tag, jobwire.handle_file(str(note)), api_name="/shout")
        assert Path(job.result(timeout=20)).read_text() == f"{tag.upper()} " * 10_000
        assert sum(way in path for path in proxy.requests) == 2
        assert runs(tag) == 1
    assert [path.suffix for path in (tmp_path / "fetched").rglob("*") if path.is_file()] == [".txt"]


@pytest.mark.parametrize("way", ["upload", "file="])
def test_transfer_that_always_stalls_ends(
    opened: Opening, tmp_path: Path, tag: str, way: str
) -> None:
    note = tmp_path / "note.txt"
    note.write_text(tag)
    stall = always(way, Fault("stall"))
    with opened(stall, read_timeout=1.0, download_files=tmp_path / "fetched") as client:
        job = client.submit(tag, jobwire.handle_file(str(note)), api_name="/shout")
        with pytest.raises((jobwire.TransportTimeoutError, jobwire.DownloadError)):
            job.result(timeout=20)


def test_cancel_while_a_submission_is_stalled(
    opened: Opening, proxy: ChaosProxy, tag: str, eventually: Eventually
) -> None:
    with opened(on(JOIN, Fault("stall"))) as client:
        job = client.submit(tag, api_name="/echo")
        eventually(lambda: any(JOIN in path for path in proxy.requests))
        assert job.cancel()
        with pytest.raises(jobwire.JobCancelledError):
            job.result(timeout=1)


def test_cancel_while_the_stream_is_cut(opened: Opening, proxy: ChaosProxy, tag: str) -> None:
    with opened() as client:
        job = client.submit(tag, 1000, 0.02, api_name="/count")
        next(iter(job))
        proxy.reset()
        job.cancel()
        with pytest.raises((jobwire.JobCancelledError, jobwire.ConnectionLostError)):
            job.result(timeout=5)
        kept = job.outputs()
        assert kept == [f"{tag}:{i}" for i in range(len(kept))] != []


@pytest.mark.parametrize(
    "fault",
    [
        Fault("reset", towards="server"),
        Fault("cut"),
        answer(response(PAGE, 502)),
        answer(b"nonsense\r\n\r\n"),
    ],
    ids=["reset", "lost answer", "page", "nonsense"],
)
def test_cancel_that_does_not_come_through(
    opened: Opening, tag: str, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(always("cancel", fault)) as client:
        job = client.submit(tag, 30, 0.02, api_name="/count")
        next(iter(job))
        other = client.submit(f"{tag}-other", 5, 0.02, api_name="/count")
        assert job.cancel()
        with pytest.raises(jobwire.JobCancelledError):
            job.result(timeout=5)
        assert other.result(timeout=10) == f"{tag}-other:4"
    assert "could not be told to stop" in caplog.text


PASSING = {
    "reset": Fault("reset", towards="server"),
    "lost answer": Fault("cut"),
    "page": answer(response(PAGE, 502)),
    "too many": answer(response({"detail": "slow down"}, 429)),
    "failure": answer(response("Internal Server Error", 500)),
}


@pytest.mark.parametrize("name", PASSING)
def test_cancel_that_goes_wrong_once_is_sent_again(
    opened: Opening,
    proxy: ChaosProxy,
    tag: str,
    runs: Callable[[str], int],
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    with opened(on("cancel", PASSING[name])) as client:
        job = client.submit(tag, 1000, 0.02, api_name="/count")
        next(iter(job))
        assert job.cancel()
        assert sum("cancel" in path for path in proxy.requests) == 2
        eventually(lambda: runs(f"{tag} was stopped") == 1)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_generators_cancelled_among_others_stop_and_harm_none(
    opened: Opening,
    tag: str,
    runs: Callable[[str], int],
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with opened() as client:
        kept = client.submit(f"{tag}-kept", 60, 0.02, api_name="/count")
        # Some of these end while the server waits to close them, which it answers with 500.
        brief = [client.submit(f"{tag}-{i}", 4 + i, 0.02, api_name="/count") for i in range(8)]
        long = [client.submit(f"{tag}-long{i}", 3000, 0.02, api_name="/count") for i in range(4)]
        for job in brief + long:
            next(iter(job))
        for job in brief + long:
            job.cancel()
        assert kept.result(timeout=20) == f"{tag}-kept:59"
        assert kept.outputs() == [f"{tag}-kept:{i}" for i in range(60)]
        # The server may have begun some anew, and those were stopped too.
        names = [f"{tag}-long{i}" for i in range(4)]
        eventually(lambda: all(runs(name) == runs(f"{name} was stopped") for name in names))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("route", ["queue/join", "queue/data"])
def test_close_while_the_server_says_nothing(proxy: ChaosProxy, tag: str, route: str) -> None:
    client = jobwire.Client(proxy.url)
    proxy.plan = always(route, Fault("stall"))
    job = client.submit(tag, api_name="/echo")
    with pytest.raises(TimeoutError):
        job.result(timeout=0.3)
    client.close()
    with pytest.raises(jobwire.ClientClosedError):
        job.result(timeout=1)


def test_close_while_the_stream_is_opened_again(
    proxy: ChaosProxy, tag: str, eventually: Eventually
) -> None:
    client = jobwire.Client(proxy.url)
    proxy.plan = always("queue/data", answer(response(PAGE, 503)))
    job = client.submit(tag, api_name="/echo")
    eventually(lambda: sum("queue/data" in path for path in proxy.requests) >= 2)
    client.close()
    with pytest.raises((jobwire.ClientClosedError, jobwire.ConnectionLostError)):
        job.result(timeout=1)
