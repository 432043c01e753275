"""Spans of OpenTelemetry, one for each job: ``pip install 'jobwire[otel]'``.

::

    from jobwire.otel import JobSpans

    client = Client(url, trace=JobSpans())
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from jobwire.exceptions import MissingDependencyError
from jobwire.trace import (
    JobAccepted,
    JobEnded,
    JobOutput,
    JobRetried,
    JobStarted,
    JobSubmitted,
    TraceEvent,
)

try:
    from opentelemetry import propagate, trace
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ModuleNotFoundError as error:
    raise MissingDependencyError(
        "tracing with OpenTelemetry takes its API: pip install 'jobwire[otel]'",
        name="opentelemetry",
    ) from error

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider
    from opentelemetry.util.types import Attributes

__all__ = ("JobSpans",)


class JobSpans:
    """Makes a span of each job, from being submitted to its outcome.

    The span is a child of the one in whose context the job is submitted, and its context goes
    to the server with the job, in the headers of the global propagator (``traceparent``). It
    has an event for each step: ``accepted``, ``started``, each ``output`` with its ``index``
    and ``size``, and ``retried`` with ``attempt``, ``delay`` and ``reason``. (The SDK keeps the
    last 128 events of a span.) Arguments, outputs and headers are not recorded. A job that
    failed has the status ERROR and the error's class and text; one that was cancelled has
    neither.

    May be given to any number of clients.

    Args:
        provider: Makes the tracer; None means the global one.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("jobwire", tracer_provider=provider)
        self._spans: dict[int, Span] = {}  # of the jobs that are in flight

    def __call__(self, event: TraceEvent) -> None:
        """Take an event of a job."""
        if isinstance(event, JobSubmitted):
            self._start(event)
            return
        span = self._spans[event.number]
        at = _nanoseconds(event.time)
        match event:
            case JobRetried():
                span.add_event(
                    "retried",
                    {"attempt": event.attempt, "delay": event.delay, "reason": event.reason},
                    at,
                )
            case JobAccepted():
                span.add_event("accepted", _known({"jobwire.event_id": event.event_id}), at)
            case JobStarted():
                span.add_event("started", timestamp=at)
            case JobOutput():
                span.add_event("output", _known({"index": event.index, "size": event.size}), at)
            case JobEnded():
                del self._spans[event.number]
                self._end(span, event)

    def _start(self, event: JobSubmitted) -> None:
        parts = urlsplit(event.src)
        name = event.api_name or f"fn_index {event.fn_index}"
        span = self._tracer.start_span(
            name,
            kind=SpanKind.CLIENT,
            attributes=_known(
                {
                    "server.address": parts.hostname,
                    "server.port": parts.port,
                    "jobwire.src": event.src,
                    "jobwire.api_name": event.api_name,
                    "jobwire.fn_index": event.fn_index,
                }
            ),
            start_time=_nanoseconds(event.time),
        )
        self._spans[event.number] = span
        propagate.inject(event.headers, trace.set_span_in_context(span))

    def _end(self, span: Span, event: JobEnded) -> None:
        found = {
            "jobwire.event_id": event.event_id,
            "jobwire.outcome": event.outcome,
            "jobwire.outputs": event.outputs,
        }
        if event.outcome == "failed":
            found["error.type"] = type(event.error).__name__
            span.set_status(Status(StatusCode.ERROR, str(event.error)))
        span.set_attributes(_known(found) or {})
        span.end(_nanoseconds(event.time))


def _known(attributes: dict[str, str | int | None]) -> Attributes:
    return {name: value for name, value in attributes.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
