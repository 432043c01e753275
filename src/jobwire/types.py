"""Frozen values that callers see: the status of a job and its updates.

Names and fields are those of ``gradio_client``'s, so code that reads them moves
over unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Literal, NotRequired, TypedDict

__all__ = ("FileData", "OutputUpdate", "ProgressUnit", "Status", "StatusUpdate", "Update")


class Status(Enum):
    """Where a job is. Compares in the order in which a job goes through them."""

    STARTING = "STARTING"
    """Submitted; the server has not answered yet."""
    JOINING_QUEUE = "JOINING_QUEUE"
    """The server confirmed the job."""
    QUEUE_FULL = "QUEUE_FULL"
    """Never reported: a job that a full queue refused is FINISHED without success."""
    IN_QUEUE = "IN_QUEUE"
    """Waiting; ``rank`` says for how many others."""
    SENDING_DATA = "SENDING_DATA"
    """Files among its arguments are being sent, before anything else; ``progress_data`` says
    how much. Before gradio 4.9 also, without that: its turn has come, and the server asked
    for the arguments."""
    PROCESSING = "PROCESSING"
    """Running."""
    PROGRESS = "PROGRESS"
    """Running, and the last that it said was its progress."""
    LOG = "LOG"
    """Running, and the last that it said was a log line."""
    ITERATING = "ITERATING"
    """Running, and it has given at least one output."""
    FINISHED = "FINISHED"
    """Ended, well or not: ``success`` tells."""
    CANCELLED = "CANCELLED"
    """Cancelled, by this side or by the server."""

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Status):
            return NotImplemented
        return _ORDER[self] < _ORDER[other]


_ORDER = {status: position for position, status in enumerate(Status)}


@dataclass(frozen=True, slots=True)
class ProgressUnit:
    """One progress bar of a running job; nested bars are several units, outermost first.

    Attributes:
        index: Steps done, or None if the app gave a fraction.
        length: Steps in all, or None if unknown.
        unit: What a step is called, such as ``"steps"``.
        progress: Fraction done, 0 to 1, or None if the app counts steps.
        desc: What is being done.
    """

    index: int | float | None = None
    length: int | float | None = None
    unit: str | None = None
    progress: float | None = None
    desc: str | None = None

    @property
    def fraction(self) -> float | None:
        """The fraction done, 0 to 1; None if it cannot be known."""
        if self.progress is not None:
            return self.progress
        if self.index is not None and self.length:
            return self.index / self.length
        return None


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """A snapshot of where a job is.

    Attributes:
        code: The last thing that happened to the job.
        rank: Jobs ahead of it in the queue, 0 if it is next. None before the server
            said so and while the job runs; 0 once it has ended.
        queue_size: Jobs that wait in the same queue, this one included. None when
            not waiting.
        eta: Seconds to the *result*, as estimated by the server when it last said
            so (it does not count down). None if unknown or ended.
        success: True or False once the job has ended, None before.
        time: When this was so: local time, without a time zone, as in
            ``gradio_client``.
        progress_data: The last progress that the app reported, outermost bar first;
            None if it never did. It stays after the end.
        log: ``(text, level)`` if this update is a log line, else None.
        type: Always ``"status"``; tells it from an `OutputUpdate`.
    """

    code: Status
    rank: int | None
    queue_size: int | None
    eta: float | None
    success: bool | None
    time: datetime | None
    progress_data: list[ProgressUnit] | None
    log: tuple[str, str] | None = None
    type: Literal["status", "output"] = "status"


@dataclass(frozen=True, slots=True)
class OutputUpdate:
    """An output of a job.

    Attributes:
        outputs: The value, as ``Job.outputs()`` holds it: bare if the endpoint has
            one output, else a tuple.
        success: Always True; a failed call has no outputs.
        type: Always ``"output"``; tells it from a `StatusUpdate`.
        final: True for the job's result, which comes last.
    """

    outputs: Any
    success: bool = True
    type: Literal["output"] = "output"
    final: bool = False


class FileData(TypedDict):
    """A file as values on the wire name it, since gradio 4.

    Attributes:
        path: The file's path on the server, or a URL that the server is to fetch.
        url: Where the server says that it can be fetched; behind proxies often wrong.
        size: Its bytes; None if unknown.
        orig_name: What it was called where it came from.
        mime_type: Its media type; None if unknown.
        is_stream: Its ``url`` is the playlist of a stream.
        meta: ``{"_type": "gradio.FileData"}``, since 4.21.
    """

    path: str
    url: NotRequired[str | None]
    size: NotRequired[int | None]
    orig_name: NotRequired[str | None]
    mime_type: NotRequired[str | None]
    is_stream: NotRequired[bool]
    meta: NotRequired[dict[str, Any]]


Update = StatusUpdate | OutputUpdate
"""What ``job.updates()`` gives."""
