"""What a client tells of its jobs to whoever traces them.

Pass a function as ``trace=`` to a client and it is called with each of these, in order::

    Client(url, trace=print)

It is called in the event loop's thread, `JobSubmitted` in the context (``contextvars``) of
the caller who submits, so it must not block, nor call the client. What it raises is logged,
and harms no job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from jobwire.exceptions import JobwireError

__all__ = (
    "JobAccepted",
    "JobEnded",
    "JobOutput",
    "JobRetried",
    "JobStarted",
    "JobSubmitted",
    "Trace",
    "TraceEvent",
)


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """A job was made; it is sent to the server next.

    Attributes:
        number: Tells the jobs of this process apart, from the first to the last event.
        time: When, in seconds since the epoch.
        src: The app's address, without credentials.
        api_name: The endpoint's name, such as ``"/predict"``; None if it has none.
        fn_index: The endpoint's number.
        headers: Empty. What is put in is sent with the job, for a trace to be continued on
            the server; the headers of the call and of the client win over it.
    """

    number: int
    time: float
    src: str
    api_name: str | None
    fn_index: int
    headers: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class JobRetried:
    """The job could not be submitted, or was lost, and is submitted again after a moment.

    What follows is told anew: another `JobAccepted`, with another id, and `JobStarted`.

    Attributes:
        number: As in `JobSubmitted`.
        time: When, in seconds since the epoch.
        attempt: Which submission follows: 2 for the first that is no longer the first.
        delay: Seconds until then. It does not come to it if the job is cancelled meanwhile.
        reason: What went wrong, for people.
    """

    number: int
    time: float
    attempt: int
    delay: float
    reason: str


@dataclass(frozen=True, slots=True)
class JobAccepted:
    """The server took the job.

    Attributes:
        number: As in `JobSubmitted`.
        time: When, in seconds since the epoch.
        event_id: The server's id of the job; None if it gave none (gradio 3).
    """

    number: int
    time: float
    event_id: str | None


@dataclass(frozen=True, slots=True)
class JobStarted:
    """The job's function runs, or gave its result without that being told.

    Attributes:
        number: As in `JobSubmitted`.
        time: When, in seconds since the epoch.
    """

    number: int
    time: float


@dataclass(frozen=True, slots=True)
class JobOutput:
    """The job gave an output.

    Attributes:
        number: As in `JobSubmitted`.
        time: When, in seconds since the epoch.
        index: Which, from 0. The result, which repeats a generator's last output, is none
            of its own.
        size: Its bytes on the wire: of an output that is told as the difference to the one
            before, those of the difference. None if it was decoded already.
    """

    number: int
    time: float
    index: int
    size: int | None


@dataclass(frozen=True, slots=True)
class JobEnded:
    """The job came to its outcome; nothing follows.

    Attributes:
        number: As in `JobSubmitted`.
        time: When, in seconds since the epoch.
        event_id: The server's id of the job; None if it never had one.
        outcome: Which of the three.
        outputs: How many outputs it gave.
        error: Why it failed or was cancelled; None if it was completed.
    """

    number: int
    time: float
    event_id: str | None
    outcome: Literal["completed", "failed", "cancelled"]
    outputs: int
    error: JobwireError | None


TraceEvent = JobSubmitted | JobRetried | JobAccepted | JobStarted | JobOutput | JobEnded

Trace = Callable[[TraceEvent], object]
"""What ``trace=`` takes."""
