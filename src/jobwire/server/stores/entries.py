"""A job as the SQLite store has it in memory."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from threading import Lock

from jobwire.server.line import Place
from jobwire.server.stores.base import Events, StoreError, Ticket
from jobwire.server.stores.logs import cut

__all__ = ("Entry", "Tail", "answer")

TAIL_SIZE = 1024 * 1024
"""Bytes of a running job's log that stay in memory."""


class Tail:
    """The end of a job's log, which is in memory. Not thread-safe.

    Args:
        dropped: The number of the last event that is in the database only; 0 if none is.

    Attributes:
        events: As they are written.
        numbers: Theirs.
        dropped: See above.
        visible: How many of them are in the database, too.
        held: Bytes of them.
    """

    __slots__ = ("dropped", "events", "held", "numbers", "visible")

    def __init__(self, dropped: int = 0) -> None:
        self.events: list[bytes] = []
        self.numbers: list[int] = []
        self.dropped = dropped
        self.visible = 0
        self.held = 0

    @property
    def is_visible(self) -> bool:
        """Whether all of it is in the database."""
        return self.visible == len(self.events)

    def add(self, number: int, event: bytes) -> None:
        """Add an event, which is yet to be written."""
        self.events.append(event)
        self.numbers.append(number)
        self.held += len(event)

    def show(self, last: int) -> int:
        """Take note that the events up to a number were written; return the first one's."""
        first = self.numbers[self.visible]
        self.visible = bisect_right(self.numbers, last, self.visible)
        return first

    def shorten(self) -> None:
        """Leave the older half to the database, if it has grown long."""
        if self.held <= TAIL_SIZE:
            return
        sizes = list(accumulate(map(len, self.events[: self.visible])))
        count = bisect_right(sizes, TAIL_SIZE // 2)
        if count:
            self.dropped = self.numbers[count - 1]
            self.held -= sizes[count - 1]
            self.visible -= count
            del self.events[:count], self.numbers[:count]


_EMPTY = Tail()
"""Of all jobs without an event, as those that wait: there can be many. Nothing is added to it."""


class Entry:
    """A job.

    Attributes:
        ticket: What is known of it. Its data is None if that was too large to be read when
            the store was opened.
        number: By which the database knows it.
        place: Where it waits; None if it does not.
        ready: It is accepted.
        waiters: Of those who want to know when it is; None if nobody does.
        tail: The end of its log.
        size: Bytes of its whole log.
        data_size: Bytes of its arguments.
        ended: It has an outcome.
        settled: That is in the database.
    """

    __slots__ = (
        "data_size", "ended", "number", "place", "ready", "settled", "size", "tail", "ticket",
        "waiters",
    )  # fmt: skip

    def __init__(self, ticket: Ticket, number: int, data_size: int, *, ready: bool) -> None:
        self.ticket = ticket
        self.number = number
        self.data_size = data_size
        self.ready = ready
        self.place: Place | None = None
        self.waiters: list[asyncio.Future[None]] | None = None
        self.tail = _EMPTY
        self.size = 0
        self.ended = False
        self.settled = False

    def add(self, number: int, event: bytes) -> None:
        """Add an event to its log."""
        if self.tail is _EMPTY:
            self.tail = Tail()
        self.tail.add(number, event)
        self.size += len(event)

    def read(self, after: int, until: int | None, max_size: int) -> Events | None:
        """Return a piece of its log, as `Store.read`; None if that is not in memory."""
        tail = self.tail
        if after < tail.dropped:
            return None
        return cut(tail.events, tail.numbers, tail.visible, self.settled, after, until, max_size)

    def outcome(self) -> tuple[int, bytes] | None:
        """Return its outcome, as `Store.outcome`."""
        return (self.tail.numbers[-1], self.tail.events[-1]) if self.settled else None


def answer(entries: Iterable[Entry], failure: StoreError | None, *, lock: Lock) -> None:
    """Tell those who wait for it that jobs were accepted, or not.

    Args:
        entries: The jobs.
        failure: Why not; None if they were.
        lock: Held by who adds waiters.
    """
    waiters: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for entry in entries:
        with lock:
            entry.ready = failure is None
            mine, entry.waiters = entry.waiters, None
        for waiter in mine or ():
            waiters.setdefault(waiter.get_loop(), []).append(waiter)
    for loop, of_loop in waiters.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, of_loop, failure)


def _resolve(waiters: list[asyncio.Future[None]], failure: StoreError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if failure is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(StoreError(str(failure)))
