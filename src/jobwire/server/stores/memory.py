"""The store for servers that may forget: everything in memory."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import RLock

from msgspec.structs import replace

from jobwire.server.line import Place
from jobwire.server.stores.base import (
    Events,
    FileIndex,
    JobNotFoundError,
    Position,
    Ticket,
    Wake,
    first_number,
)
from jobwire.server.stores.logs import check_log, cut
from jobwire.server.stores.waiting import Lines, check_size

__all__ = ("MemoryStore",)


class _Entry:
    __slots__ = ("data_size", "ended", "events", "numbers", "place", "size", "ticket")

    ready = True

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.events: list[bytes] = []
        self.numbers: list[int] = []
        self.size = 0
        self.data_size = len(ticket.data)
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

    file_index: FileIndex | None = None
    file_root: Path | None = None
    durable = False

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
        self._keys: dict[str, str] = {}
        self._sessions: dict[tuple[str | None, str], dict[str, None]] = {}
        self._lines = Lines()
        self._last = first_number()  # that of the last event
        self._size = 0  # bytes of all logs and arguments
        self._expired: list[str] = []  # since `expire` was called last
        self._ended: deque[tuple[float, str]] = deque()  # when it ended; oldest first
        # Held while news are told, so that they are told in order; who is told may read.
        self._lock = RLock()
        self._on_news: Wake = lambda news, last: None

    def open(self, on_news: Wake, groups: Mapping[str, str]) -> None:
        self._on_news = on_news

    def close(self) -> None:
        with self._lock:
            self._entries.clear()
            self._keys.clear()
            self._sessions.clear()
            self._lines.clear()
            self._ended.clear()

    def flush(self) -> None:
        pass

    def interrupted(self) -> list[Ticket]:
        return []

    def lines(self) -> list[str]:
        with self._lock:
            return self._lines.names()

    def holds(self) -> dict[str, list[str]]:
        return {}

    def hold(self, id: str, path: str) -> None:
        pass

    async def enqueue(self, ticket: Ticket, *, max_waiting: int | None) -> str:
        with self._lock:
            if ticket.key is not None and (id := self._keys.get(ticket.key)) is not None:
                self._entries[id].ticket.check_same_call(ticket)
                return id
            self._lines.check_room(max_waiting)
            self._make_room(len(ticket.data))
            entry = self._entries[ticket.id] = _Entry(ticket)
            self._size += len(ticket.data)
            if ticket.key is not None:
                self._keys[ticket.key] = ticket.id
            if ticket.told and ticket.session is not None:
                of_session = self._sessions.setdefault((ticket.user, ticket.session), {})
                of_session[ticket.id] = None
            self._lines.join(entry)
            return ticket.id

    def requeue(self, id: str) -> None:
        raise JobNotFoundError(event_id=id)  # nothing outlives the server

    def claim(self, group: str) -> list[Ticket]:
        with self._lock:
            return [entry.ticket for entry in self._lines.take(group)]

    def withdraw(self, id: str) -> bool:
        with self._lock:
            entry = self._entries.get(id)
            return entry is not None and self._lines.leave(entry)

    def position(self, id: str) -> Position | None:
        with self._lock:
            entry = self._entries.get(id)
            return None if entry is None else self._lines.position(entry)

    def waiting(self) -> int:
        return self._lines.size

    def append(self, id: str, event: bytes) -> bool:
        with self._lock:
            entry = self._entry(id)
            if entry.ended:
                return False
            check_log(entry.size, event, limit=self._max_log_size)
            self._add(entry, event)
        return True

    def finish(self, id: str, event: bytes) -> bool:
        with self._lock:
            entry = self._entry(id)
            if entry.ended:
                return False
            check_log(entry.size, event, limit=self._max_log_size, outcome=True)
            self._size -= entry.data_size
            entry.data_size = 0
            # Who has a key may come again with the same call, to be compared with this one.
            if entry.ticket.key is not None:
                entry.data_size = len(entry.ticket.data)
                self._size += entry.data_size
            elif entry.ticket.data:
                entry.ticket = replace(entry.ticket, data=b"")
            entry.ended = True
            self._ended.append((self._clock(), id))
            self._add(entry, event)
        return True

    def read(
        self, id: str, after: int = 0, *, until: int | None = None, max_size: int = 256 * 1024
    ) -> Events:
        with self._lock:
            entry = self._entry(id)
            return cut(
                entry.events, entry.numbers, len(entry.events), entry.ended, after, until, max_size
            )

    def ticket(self, id: str) -> Ticket:
        with self._lock:
            return self._entry(id).ticket

    def outcome(self, id: str) -> tuple[int, bytes] | None:
        with self._lock:
            entry = self._entry(id)
            return (entry.numbers[-1], entry.events[-1]) if entry.ended else None

    def of_session(self, session: str, user: str | None, *, after: int | None) -> dict[str, int]:
        if after is None:
            return {}
        with self._lock:
            found: dict[str, int] = {}
            for id in self._sessions.get((user, session), ()):
                entry = self._entries[id]
                index = bisect_right(entry.numbers, after)
                if index < len(entry.numbers):
                    found[id] = entry.numbers[index]
                elif not entry.ended:
                    found[id] = 0
            return found

    def latest(self, user: str | None, *, limit: int) -> list[Ticket]:
        with self._lock:
            found: list[Ticket] = []
            for entry in reversed(self._entries.values()):
                if len(found) == limit:
                    break
                if entry.ticket.user == user:
                    found.append(entry.ticket)
            return found

    def forget(self, id: str) -> bool:
        with self._lock:
            if not self._entry(id).ended:
                return False
            self._ended = deque(each for each in self._ended if each[1] != id)
            self._forget(id)
            return True

    def expire(self) -> tuple[list[str], float | None]:
        with self._lock:
            due = self._clock() - self._result_ttl
            while self._ended and self._ended[0][0] <= due:
                self._forget(self._ended.popleft()[1])
            expired, self._expired = self._expired, []
            return expired, self._ended[0][0] - due if self._ended else None

    def _add(self, entry: _Entry, event: bytes) -> None:
        self._last += 1
        entry.events.append(event)
        entry.numbers.append(self._last)
        entry.size += len(event)
        self._size += len(event)
        self._on_news({entry.ticket.id: self._last}, self._last)

    def _make_room(self, size: int) -> None:
        if self._max_size is None:
            return
        while self._size + size > self._max_size and self._ended:
            self._forget(self._ended.popleft()[1])
        check_size(self._size, size, self._max_size)

    def _forget(self, id: str) -> None:
        entry = self._entries.pop(id)
        ticket = entry.ticket
        self._size -= entry.size + entry.data_size
        self._expired.append(id)
        if ticket.key is not None:
            del self._keys[ticket.key]
        if ticket.told and ticket.session is not None:
            of_session = self._sessions[ticket.user, ticket.session]
            del of_session[id]
            if not of_session:
                del self._sessions[ticket.user, ticket.session]

    def _entry(self, id: str) -> _Entry:
        try:
            return self._entries[id]
        except KeyError:
            raise JobNotFoundError(event_id=id) from None
