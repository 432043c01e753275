"""What a person is shown of a job, whatever it is shown on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any

from jobwire.protocol.text import one_line
from jobwire.types import OutputUpdate, ProgressUnit, Status, StatusUpdate, Update

__all__ = ("INTERVAL", "JobView", "fraction_of", "gathered", "progress_text", "text_of", "where")

INTERVAL = 0.1
"""Seconds between two drawings: more often, eyes do not see and screens slow down."""

_MAX_LOGS = 50
"""Log lines that are kept to be shown: more than fit on a screen tell nobody anything."""


class JobView:
    """The state of a job, as its updates tell it.

    Attributes:
        status: Where it is; None before the first update.
        logs: ``(text, level)`` of its last log lines, oldest first.
        dropped: How many lines were logged before those.
        output: The last output.
        outputs: How many outputs there were; a result that repeats one is none.
    """

    __slots__ = ("dropped", "logs", "output", "outputs", "status")

    def __init__(self) -> None:
        self.status: StatusUpdate | None = None
        self.logs: deque[tuple[str, str]] = deque(maxlen=_MAX_LOGS)
        self.dropped = 0
        self.output: Any = None
        self.outputs = 0

    def take(self, updates: Iterable[Update]) -> None:
        """Take in what happened."""
        for update in updates:
            if isinstance(update, OutputUpdate):
                self.output = update.outputs
                self.outputs += not (update.final and self.outputs)
                continue
            self.status = update
            if update.log is not None:
                self.dropped += len(self.logs) == self.logs.maxlen
                self.logs.append(update.log)

    @property
    def line(self) -> str:
        """Where the job is, on one line."""
        if self.status is None:
            return "submitted"
        if self.status.success is not None:
            return where(self.status)
        units = map(progress_text, self.status.progress_data or ())
        return ", ".join(filter(None, [where(self.status), *units]))


async def gathered(updates: AsyncIterator[Update], interval: float) -> AsyncGenerator[list[Update]]:
    """Gather a job's updates, for what is to be drawn now and then.

    The first comes at once, and so does the end; in between, what came together.

    Args:
        updates: ``AsyncJob.updates()``, which loses nothing when a wait is cancelled.
        interval: Seconds from one list to the next, at least.
    """
    clock = asyncio.get_running_loop().time
    due = clock()
    async for first in updates:
        found = [first]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                async for update in updates:
                    found.append(update)  # noqa: PERF401 - kept when the time is over
        due = clock() + interval
        yield found


def where(status: StatusUpdate) -> str:
    """Return where a job is: in a few words, with its place in the queue and its ETA."""
    match status.code:
        case Status.STARTING:
            return "submitted"
        case Status.JOINING_QUEUE:
            return "accepted"
        case Status.SENDING_DATA:
            return "sending files" if status.progress_data else "sending arguments"
        case Status.IN_QUEUE:
            text = "queued"
            if status.rank is not None:
                text += ", next" if status.rank == 0 else f", {status.rank} ahead"
                text += f" of {status.queue_size} waiting" if status.queue_size else ""
            return text + (f", {status.eta:.1f} s to go" if status.eta is not None else "")
        case Status.FINISHED:
            return "finished" if status.success else "failed"
        case Status.CANCELLED:
            return "cancelled"
        case _:
            eta = f", takes {status.eta:.1f} s" if status.eta is not None else ""
            return "running" + ("" if status.progress_data else eta)


def progress_text(unit: ProgressUnit) -> str:
    """Return what a progress bar tells, without the bar; empty if it tells nothing."""
    if unit.index is not None:
        done = f"{unit.index}/{unit.length}" if unit.length else f"{unit.index}"
        done += f" {unit.unit}" if unit.unit else ""
    elif unit.fraction is not None:
        done = f"{unit.fraction:.0%}"
    else:
        done = ""
    return one_line(f"{unit.desc}: {done}" if unit.desc and done else unit.desc or done)


def fraction_of(unit: ProgressUnit) -> float | None:
    """Return how long a progress bar is, 0 to 1 whatever an app says; None if it has none."""
    return None if unit.fraction is None else min(1.0, max(0.0, unit.fraction))


def text_of(value: Any) -> str:
    """Return a value as text: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
