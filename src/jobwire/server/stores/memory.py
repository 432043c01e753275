"""The store for servers that may forget: everything in memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import Lock

from msgspec.structs import replace

from jobwire.exceptions import QueueFullError
from jobwire.server.line import Line, Place
from jobwire.server.stores.base import (
    Events,
    JobNotFoundError,
    LogFullError,
    Position,
    Ticket,
)

__all__ = ("MemoryStore",)

OUTCOME_SIZE = 256 * 1024
"""Bytes that a log may be too long by with a job's outcome: a failure can always be told."""


class _Entry:
    __slots__ = ("ended", "events", "place", "size", "ticket")

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.events: list[bytes] = []
        self.size = 0
        self.ended = False
        self.place: Place | None = None


class MemoryStore:
    """Keeps jobs in this process.

    Args:
        result_ttl: Seconds for which a job's log is kept after its outcome.
        max_log_size: Bytes of one job's log.
        max_size: Bytes of all logs and arguments. Beyond it, the oldest logs of jobs that have
            ended are forgotten early, and then new jobs are refused; None is no limit.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        result_ttl: float,
        max_log_size: int,
        max_size: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._result_ttl = result_ttl
        self._max_log_size = max_log_size
        self._max_size = max_size
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._lines: dict[str, Line[_Entry]] = {}
        self._waiting = 0
        self._size = 0  # bytes of all logs and arguments
        self._expired: list[str] = []  # since `expire` was called last
        self._ended: deque[tuple[float, str]] = deque()  # when it ended; oldest first
        self._lock = Lock()
        self._on_event: Callable[[str], None] = lambda _: None

    def open(self, on_event: Callable[[str], None]) -> None:
        self._on_event = on_event

    def close(self) -> None:
        with self._lock:
            self._entries.clear()
            self._lines.clear()
            self._ended.clear()
            self._waiting = 0

    async def enqueue(self, ticket: Ticket, *, max_waiting: int | None) -> None:
        with self._lock:
            if max_waiting is not None and self._waiting >= max_waiting:
                # In the words that stock servers have for it.
                raise QueueFullError(
                    f"Queue is full. Max size is {max_waiting} and size is {self._waiting}.",
                    status=503,
                )
            self._make_room(len(ticket.data))
            entry = self._entries[ticket.id] = _Entry(ticket)
            self._size += len(ticket.data)
            line = self._lines.get(ticket.group)
            if line is None:
                line = self._lines[ticket.group] = Line()
            entry.place = line.join(entry, sharer=ticket.sharer, priority=ticket.priority)
            self._waiting += 1

    def claim(self, group: str) -> list[Ticket]:
        claimed: list[Ticket] = []
        with self._lock:
            line = self._lines.get(group)
            if not line:
                return claimed
            head = line.peek()
            while (
                head is not None
                and (not claimed or head.ticket.endpoint == claimed[0].endpoint)
                and len(claimed) < head.ticket.batch
            ):
                line.take().place = None
                claimed.append(head.ticket)
                head = line.peek()
            self._waiting -= len(claimed)
        return claimed

    def withdraw(self, id: str) -> bool:
        with self._lock:
            entry = self._entries.get(id)
            if entry is None or entry.place is None:
                return False
            self._lines[entry.ticket.group].leave(entry.place)
            entry.place = None
            self._waiting -= 1
            return True

    def position(self, id: str) -> Position | None:
        with self._lock:
            entry = self._entries.get(id)
            if entry is None or entry.place is None:
                return None
            line = self._lines[entry.ticket.group]
            return Position(line.rank(entry.place), len(line))

    def waiting(self) -> int:
        return self._waiting

    def append(self, id: str, event: bytes) -> bool:
        with self._lock:
            entry = self._entry(id)
            if entry.ended:
                return False
            if entry.size + len(event) > self._max_log_size:
                raise LogFullError(self._max_log_size)
            entry.size += len(event)
            entry.events.append(event)
            self._size += len(event)
        self._on_event(id)
        return True

    def finish(self, id: str, event: bytes) -> bool:
        with self._lock:
            entry = self._entry(id)
            if entry.ended:
                return False
            if entry.size + len(event) > self._max_log_size + OUTCOME_SIZE:
                raise LogFullError(self._max_log_size)
            entry.size += len(event)
            entry.events.append(event)
            entry.ended = True
            self._size += len(event) - len(entry.ticket.data)
            if entry.ticket.data:
                entry.ticket = replace(entry.ticket, data=b"")
            self._ended.append((self._clock(), id))
        self._on_event(id)
        return True

    def read(self, id: str, after: int = 0, *, max_size: int = 256 * 1024) -> Events:
        with self._lock:
            entry = self._entry(id)
            if entry.size <= max_size:
                return Events(entry.events[after:], entry.ended)
            end, size = after, 0
            while end < len(entry.events) and (end == after or size < max_size):
                size += len(entry.events[end])
                end += 1
            return Events(entry.events[after:end], entry.ended and end == len(entry.events))

    def ticket(self, id: str) -> Ticket:
        with self._lock:
            return self._entry(id).ticket

    def expire(self) -> tuple[list[str], float | None]:
        with self._lock:
            due = self._clock() - self._result_ttl
            while self._ended and self._ended[0][0] <= due:
                self._forget_oldest()
            expired, self._expired = self._expired, []
            return expired, self._ended[0][0] - due if self._ended else None

    def _make_room(self, size: int) -> None:
        if self._max_size is None:
            return
        while self._size + size > self._max_size and self._ended:
            self._forget_oldest()
        if self._size + size > self._max_size:
            raise QueueFullError(
                f"Queue is full. Max size is {self._max_size} bytes and size is {self._size}.",
                status=503,
            )

    def _forget_oldest(self) -> None:
        id = self._ended.popleft()[1]
        self._size -= self._entries.pop(id).size
        self._expired.append(id)

    def _entry(self, id: str) -> _Entry:
        try:
            return self._entries[id]
        except KeyError:
            raise JobNotFoundError(id) from None
