"""What the logs of jobs have in common, wherever they are kept."""

from __future__ import annotations

from bisect import bisect_right

from jobwire.server.stores.base import Events, LogFullError

__all__ = ("check_log", "cut")

OUTCOME_SIZE = 256 * 1024
"""Bytes that a log may be too long by with a job's outcome: a failure can always be told."""


def check_log(size: int, event: bytes, *, limit: int, outcome: bool = False) -> None:
    """Refuse an event for which a log has no room.

    Args:
        size: Bytes of the log.
        event: What is to be added.
        limit: Bytes that a log may have.
        outcome: It is the job's outcome.

    Raises:
        LogFullError: The log would grow too large.
    """
    if size + len(event) > limit + (OUTCOME_SIZE if outcome else 0):
        raise LogFullError(limit)


def cut(
    events: list[bytes],
    numbers: list[int],
    visible: int,
    ended: bool,
    after: int,
    until: int | None,
    max_size: int,
) -> Events:
    """Return the piece of a log that a reader wants.

    Args:
        events: The log.
        numbers: The events' numbers.
        visible: How many of them may be read.
        ended: The last of these is the outcome.
        after: See `Store.read`, as for the rest.
        until: Likewise.
        max_size: Likewise.
    """
    start = bisect_right(numbers, after, 0, visible) if after else 0
    stop = visible
    if until is not None and (not visible or numbers[visible - 1] > until):
        stop = bisect_right(numbers, until, start, visible)
    end, size = start, 0
    while end < stop and (end == start or size < max_size):
        size += len(events[end])
        end += 1
    return Events(
        events[start:end],
        ended and end == visible,
        numbers[start:end],
        numbers[end] if end < visible else 0,
    )
