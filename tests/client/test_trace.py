"""What a client tells of its jobs: to a hook, to OpenTelemetry, and to the log."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace as otel_trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from wire import CLOSE_STREAM, completed, starts

from conftest import running
from faults import LAST_CHUNK, Cut, config, event_stream, raw_server, response
from hosts.programs import run
from jobwire import AppError, AsyncClient, Client, ConnectError, JobCancelledError
from jobwire.otel import JobSpans
from jobwire.trace import (
    JobAccepted,
    JobEnded,
    JobOutput,
    JobRetried,
    JobStarted,
    JobSubmitted,
    TraceEvent,
)
from networks import http_proxy


def app() -> dict[str, Any]:
    return {
        "/config": response(config()),
        "/gradio_api/queue/join": response({"event_id": "a"}),
        "/gradio_api/queue/data": event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK,
    }


# -- the hook ------------------------------------------------------------------


def test_events_of_a_generator(url: str) -> None:
    events: list[TraceEvent] = []
    before = time.time()
    with Client(url, trace=events.append) as client:
        job = client.submit(3, 0.01, api_name="/count")
        assert job.result() == "2"
        event_id = job.event_id
    assert [type(event) for event in events] == [
        JobSubmitted,
        JobAccepted,
        JobStarted,
        *[JobOutput] * 3,
        JobEnded,
    ]
    submitted, accepted, _, *outputs, ended = events
    assert isinstance(submitted, JobSubmitted)
    assert (submitted.src, submitted.api_name) == (url, "/count")
    assert isinstance(accepted, JobAccepted)
    assert accepted.event_id == event_id
    told = [(event.index, event.size) for event in outputs if isinstance(event, JobOutput)]
    assert told == [(0, len('["0"]')), (1, told[1][1]), (2, told[2][1])]
    assert all(size for _, size in told)
    number = submitted.number
    assert ended == JobEnded(number, ended.time, event_id, "completed", 3, None)
    assert {event.number for event in events} == {number}
    times = [before, *(event.time for event in events), time.time()]
    assert times == sorted(times)


async def test_events_of_a_function(url: str) -> None:
    events: list[TraceEvent] = []
    async with AsyncClient(url, trace=events.append) as client:
        await client.predict("four", api_name="/echo")
        await client.predict("four", api_name="/direct")
    for few in (events[:5], events[5:]):
        kinds = [type(event) for event in few]
        assert kinds == [JobSubmitted, JobAccepted, JobStarted, JobOutput, JobEnded]
        assert isinstance(few[3], JobOutput)
        assert (few[3].index, few[3].size) == (0, len('["four"]'))
    assert events[0].number != events[5].number


def test_outcomes(url: str) -> None:
    events: list[TraceEvent] = []
    with Client(url, trace=events.append) as client:
        with pytest.raises(AppError) as failed:
            client.predict("titled", api_name="/fail")
        job = client.submit(1000, 0.05, api_name="/count")
        next(job)
        job.cancel()
        client.submit(30, "x", api_name="/slow_wide")
    ends = [event for event in events if isinstance(event, JobEnded)]
    assert [end.outcome for end in ends] == ["failed", "cancelled", "failed"]
    assert str(ends[0].error) == str(failed.value)
    assert isinstance(ends[1].error, JobCancelledError)
    assert ends[1].outputs >= 1
    assert type(ends[2].error).__name__ == "ClientClosedError"


def test_job_that_no_server_took() -> None:
    events: list[TraceEvent] = []
    with raw_server({"/config": response(config())}) as server:
        client = Client(server.url, trace=events.append)
    with client, pytest.raises(ConnectError):
        client.predict("x", api_name="/echo")
    assert [type(event) for event in events] == [JobSubmitted, *[JobRetried] * 3, JobEnded]
    assert isinstance(events[-1], JobEnded)
    assert events[-1].event_id is None


def turns(*answers: Any) -> Callable[[bytes], Any]:
    left = list(answers)
    return lambda _: left.pop(0)


def test_submission_that_is_refused_for_a_moment() -> None:
    events: list[TraceEvent] = []
    busy = response({"detail": "slow down"}, 429, headers="retry-after: 0\r\n")
    join = turns(busy, busy, response({"event_id": "a"}))
    with raw_server({**app(), "/gradio_api/queue/join": join}) as server:
        with Client(server.url, trace=events.append) as client:
            client.predict("x", api_name="/echo")
    kinds = [type(event) for event in events]
    assert kinds == [
        JobSubmitted,
        *[JobRetried] * 2,
        JobAccepted,
        JobStarted,
        JobOutput,
        JobEnded,
    ]
    first, second = events[1:3]
    assert isinstance(first, JobRetried)
    assert isinstance(second, JobRetried)
    assert (first.attempt, second.attempt) == (2, 3)
    assert "slow down" in first.reason
    assert second.time - first.time >= first.delay > 0
    assert [event.time for event in events] == sorted(event.time for event in events)


def test_lost_job_is_told_anew() -> None:
    events: list[TraceEvent] = []
    broken = Cut(event_stream(starts("a")))
    fine = event_stream(completed("b", "x"), CLOSE_STREAM) + LAST_CHUNK
    routes = {
        **app(),
        "/gradio_api/queue/join": turns(response({"event_id": "a"}), response({"event_id": "b"})),
        "/gradio_api/queue/data": turns(broken, fine),
    }
    with raw_server(routes) as server:
        with Client(server.url, trace=events.append, retries=1) as client:
            client.predict("x", api_name="/echo")
    kinds = [type(event) for event in events]
    attempt = [JobAccepted, JobStarted]
    assert kinds == [JobSubmitted, *attempt, JobRetried, *attempt, JobOutput, JobEnded]
    ids = [event.event_id for event in events if isinstance(event, (JobAccepted, JobEnded))]
    assert ids == ["a", "b", "b"]
    assert isinstance(events[3], JobRetried)
    assert events[3].reason == "its connection was lost"


def test_headers_go_with_the_job_and_with_nothing_else() -> None:
    def trace(event: TraceEvent) -> None:
        if isinstance(event, JobSubmitted):
            event.headers.update({"X-Trace": "mine", "X-Call": "trace"})

    with raw_server(app()) as server:
        with Client(server.url, trace=trace) as client:
            client.submit("x", api_name="/echo", headers={"x-call": "call"}).result()
        seen = [(path, headers.get("x-trace")) for _, path, headers, _ in server.requests]
        assert [path for path, value in seen if value] == ["/gradio_api/queue/join"]
        [joined] = [headers for _, path, headers, _ in server.requests if "join" in path]
        assert (joined["x-trace"], joined["x-call"]) == ("mine", "call")


@pytest.mark.parametrize(
    "bad", [lambda event: 1 / 0, lambda event: event.headers.update({"a\n": ""})]
)
def test_trace_that_fails_harms_no_job(
    url: str, bad: Callable[[Any], object], caplog: pytest.LogCaptureFixture
) -> None:
    with Client(url, trace=bad) as client:
        assert client.predict("x", api_name="/echo") == "x"
    assert "trace" in caplog.text


def test_nobody_is_told_where_nobody_listens(client: Client) -> None:
    job = client.submit("x", api_name="/echo")
    assert job.result() == "x"
    assert job._job._observer is None


# -- OpenTelemetry -------------------------------------------------------------


@pytest.fixture
def spans() -> Iterator[tuple[TracerProvider, Callable[[], tuple[ReadableSpan, ...]]]]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider, exporter.get_finished_spans
    provider.shutdown()


def test_span_of_a_job(url: str, spans: Any) -> None:
    provider, finished = spans
    with Client(url, trace=JobSpans(provider)) as client:
        with provider.get_tracer("test").start_as_current_span("outer") as outer:
            job = client.submit(2, 0, api_name="/count")
            job.result()
    span, _ = finished()
    assert span.name == "/count"
    assert span.kind is SpanKind.CLIENT
    assert span.parent == outer.get_span_context()
    assert [event.name for event in span.events] == ["accepted", "started", "output", "output"]
    assert span.events[2].attributes == {"index": 0, "size": 5}
    assert span.attributes["jobwire.event_id"] == job.event_id
    assert span.attributes["jobwire.outcome"] == "completed"
    assert span.attributes["jobwire.outputs"] == 2
    assert span.attributes["server.address"] == "127.0.0.1"
    assert span.status.status_code is StatusCode.UNSET
    assert span.start_time < span.events[0].timestamp < span.end_time


def test_spans_of_failures_and_of_jobs_side_by_side(url: str, spans: Any) -> None:
    provider, finished = spans
    jobs_of = JobSpans(provider)
    with Client(url, trace=jobs_of) as one, Client(url, trace=jobs_of) as two:
        jobs = [client.submit(3, 0.01, api_name="/count") for client in (one, two) * 3]
        jobs.append(one.submit("titled", api_name="/fail"))
        endless = two.submit(1000, 0.05, api_name="/count")
        for job in jobs:
            job.exception()
        next(endless)
        endless.cancel()
    by_outcome: dict[str, list[ReadableSpan]] = {}
    for span in finished():
        by_outcome.setdefault(span.attributes["jobwire.outcome"], []).append(span)
    assert len(by_outcome["completed"]) == 6
    ids = {(span.attributes or {})["jobwire.event_id"] for span in by_outcome["completed"]}
    assert len(ids) == 6
    [failed], [cancelled] = by_outcome["failed"], by_outcome["cancelled"]
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "AppError"
    assert cancelled.status.status_code is StatusCode.UNSET
    assert not jobs_of._spans


def test_span_of_a_job_that_was_tried_again(spans: Any) -> None:
    provider, finished = spans
    busy = response({"detail": "slow down"}, 429, headers="retry-after: 0\r\n")
    join = turns(busy, response({"event_id": "a"}))
    with raw_server({**app(), "/gradio_api/queue/join": join}) as server:
        with Client(server.url, trace=JobSpans(provider)) as client:
            client.predict("x", api_name="/echo")
    [span] = finished()
    assert [event.name for event in span.events] == ["retried", "accepted", "started", "output"]
    told = span.events[0].attributes
    assert told["attempt"] == 2
    assert 0 < told["delay"] < 1
    assert "slow down" in told["reason"]


def test_context_goes_to_the_server_as_traceparent(spans: Any) -> None:
    provider, finished = spans
    with raw_server(app()) as server:
        with Client(server.url, trace=JobSpans(provider)) as client:
            client.predict("x", api_name="/echo")
        [joined] = [headers for _, path, headers, _ in server.requests if "join" in path]
    [span] = finished()
    context = span.get_span_context()
    assert joined["traceparent"].split("-")[1:3] == [
        otel_trace.format_trace_id(context.trace_id),
        otel_trace.format_span_id(context.span_id),
    ]


def test_without_the_api_it_says_what_to_install() -> None:
    done = run(
        """
        import sys
        sys.modules["opentelemetry"] = None
        import jobwire
        try:
            import jobwire.otel
        except jobwire.MissingDependencyError as error:
            print("jobwire[otel]" in str(error), isinstance(error, ImportError))
        """
    )
    assert (done.stdout, done.stderr) == ("True True\n", "")


# -- the log -------------------------------------------------------------------


def test_ordinary_life_is_quiet(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="jobwire"):
        with Client(url) as client:
            client.predict("x", api_name="/echo")
            with pytest.raises(AppError):
                client.predict("titled", api_name="/fail")
            job = client.submit(1000, 0.05, api_name="/count")
            next(job)
            job.cancel()
            client.submit(1000, 0.05, api_name="/count")
    ours = [record for record in caplog.records if record.name.startswith("jobwire")]
    assert [(record.levelname, record.getMessage()[:6]) for record in ours] == [("INFO", "loaded")]


def test_program_that_configures_no_logging_still_hears_of_its_callback(url: str) -> None:
    done = run(
        """
        import sys, jobwire
        with jobwire.Client(sys.argv[1]) as client:
            job = client.submit("x", api_name="/echo")
            job.result()
            job.add_done_callback(lambda _: 1 / 0)
            job.add_done_callback(lambda _: print("called"))
            import threading
            done = threading.Event()
            job.add_done_callback(lambda _: done.set())
            done.wait()
        """,
        url,
    )
    assert (done.stdout, done.returncode) == ("called\n", 0)
    assert done.stderr.startswith("a callback failed\nTraceback")


def test_life_of_a_job_at_debug(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="jobwire"):
        with Client(url) as client:
            client.predict("four", api_name="/echo")
    for name in ("JobSubmitted", "JobAccepted", "JobStarted", "JobOutput", "JobEnded"):
        assert f"{name}(number=" in caplog.text
    assert "four" not in caplog.text


def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)  # everybody's
    secrets = ["USER-PASS", "TOKEN", "COOKIE", "HEADER", "CALL-HEADER", "PROXY-PASS", "BASIC-PASS"]
    secrets += ["ARGUMENT", "OAUTH"]

    def use(proxy: str, src: str, password: str) -> str:
        try:
            with Client(
                src,
                token="TOKEN",
                auth=("user", password),
                headers={"x-secret": "HEADER"},
                httpx_kwargs={"proxy": proxy, "cookies": {"c": "COOKIE"}, "timeout": 5},
                oauth_token="OAUTH",
            ) as client:
                job = client.submit("ARGUMENT", api_name="/echo", headers={"x-call": "CALL-HEADER"})
                job.result(10)
                secrets.append(client.session_hash)
                with pytest.raises(AppError):
                    client.predict("titled", api_name="/fail")
                job = client.submit(1000, 0.05, api_name="/count")
                next(job)
                job.cancel()
        except Exception:
            logging.getLogger("program").exception("as programs log errors")
            return "failed"
        return "worked"

    with running("--auth") as server, http_proxy(credentials="me:PROXY-PASS") as proxy:
        address = proxy.url.replace("//", "//me:PROXY-PASS@")
        src = server.url.replace("//", "//u:BASIC-PASS@")
        assert use(address, src, "pass") == "worked"
        assert use(address, src, "USER-PASS") == "failed"
        assert use(address.replace("PROXY-PASS", "PROXY-PASS-2"), src, "pass") == "failed"
        assert use("http://me:PROXY-PASS@127.0.0.1:1", src, "pass") == "failed"
        assert use("socks5://me:PROXY-PASS@127.0.0.1:1", src, "pass") == "failed"
        lost = server.url
    assert use(address, lost.replace("//", "//u:BASIC-PASS@"), "pass") == "failed"
    assert "JobEnded" in caplog.text
    assert [secret for secret in secrets if secret in caplog.text] == []


def test_threads_of_the_trace(url: str) -> None:
    threads = set()
    with Client(url, trace=lambda _: threads.add(threading.current_thread().name)) as client:
        client.predict("x", api_name="/echo")
    assert threads == {"jobwire"}
