"""The store that forgets nothing: everything in an SQLite database.

What happens is done in memory first and put into a batch; a thread of the store's own writes
one batch after the other, each in a transaction. Who waits for a commit gets it, and readers
are shown what it holds. So a lone job waits for one commit, and many share it.

In memory stay the jobs that have no outcome and what was read or written lately.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from msgspec.structs import replace

from jobwire.server.stores.base import (
    Events,
    FileIndex,
    JobNotFoundError,
    Position,
    StoreError,
    Ticket,
    Wake,
    first_number,
)
from jobwire.server.stores.commits import Commits, Pending
from jobwire.server.stores.entries import Entry, Tail, answer
from jobwire.server.stores.journal import (
    ENDED,
    NUMBERS_AT_ONCE,
    STARTED,
    Batch,
    Journal,
    Log,
    Stored,
    Synchronous,
)
from jobwire.server.stores.logs import check_log, cut
from jobwire.server.stores.marks import Marks
from jobwire.server.stores.waiting import Lines, check_size

__all__ = ("SqliteStore", "files_of", "marks_of")

CACHE_SIZE = 32 * 1024 * 1024
"""Bytes of logs of jobs that have ended that stay in memory: most are read at once."""

CACHE_COUNT = 10_000
"""Jobs that have ended that stay in memory."""

AHEAD_COUNT = 128
"""Jobs whose logs are read together, if they are of one session and not in memory."""

AHEAD_SIZE = 128 * 1024
"""Bytes of them."""

MAX_DATA_SIZE = 4096
"""Bytes of a waiting job's arguments that are read when the store is opened."""

MAX_BATCH = 1000
"""Jobs that may be claimed together."""

EXPIRED_AT_ONCE = 10_000

_logger = logging.getLogger("jobwire.server")


def marks_of(path: Path) -> Path:
    """Return the file beside a store that says which jobs were started."""
    return path.with_name(f"{path.name}-run")


def files_of(path: Path) -> Path:
    """Return the directory beside a store where its files lie."""
    return path.with_name(f"{path.name}-files")


class SqliteStore:
    """Keeps jobs in a file.

    Args:
        path: The database. Beside it lie its log (``-wal``), its index (``-shm``), the notes
            of what runs (``-run``) and a directory for files (``-files``).
        result_ttl: Seconds for which a job's log is kept after its outcome.
        max_log_size: Bytes of one job's log.
        max_size: Bytes of all logs and arguments. Beyond it, the oldest logs of jobs that have
            ended are forgotten early, and then new jobs are refused; None is no limit.
        synchronous: What survives a loss of power.
        clock: Seconds since 1970.
    """

    durable = True

    def __init__(
        self,
        path: Path,
        *,
        result_ttl: float,
        max_log_size: int,
        max_size: int | None = None,
        synchronous: Synchronous = "full",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.file_root: Path | None = files_of(path)
        self.file_index: FileIndex | None = self
        self._path = path
        self._result_ttl = result_ttl
        self._max_log_size = max_log_size
        self._max_size = max_size
        self._synchronous: Synchronous = synchronous
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._keys: dict[str, Entry] = {}
        self._lines = Lines()
        self._interrupted: list[Ticket] = []
        self._cached: OrderedDict[str, Entry] = OrderedDict()  # of those that have ended
        self._cached_size = 0
        self._ending: dict[str, float] = {}  # not written yet, and when they ended
        self._dead: set[str] = set()  # forgotten, but not in the database yet
        self._ahead: Mapping[str, Log] = {}  # what is likely to be read next of the database
        self._forgotten = 0  # how many
        self._expired: list[str] = []
        self._last_job = 0
        self._first_job = 0  # of this server
        self._last_event = 0
        self._reserved = 0
        self._size = 0
        self._on_news: Wake = lambda news, last: None
        self._lock = threading.Lock()
        self._reading = _Reading(path)  # taken after the other one, if both
        self._commits = Commits(path, self._lock, on_commit=self._show, on_refusal=self._refuse)
        self._journal: Journal | None = None
        self._marks: Marks | None = None

    # -- beginning and end --------------------------------------------------------------

    def open(self, on_news: Wake, groups: Mapping[str, str]) -> None:
        self._on_news = on_news
        try:
            self._marks = Marks(marks_of(self._path))
        except OSError as error:
            raise StoreError(f"the store {self._path} cannot be used: {error.strerror}") from error
        try:
            self._journal = Journal(self._path, synchronous=self._synchronous)
            try:
                with _without_collector():
                    self._recover(self._journal, self._marks, groups)
            except BaseException:
                self._journal.close()
                raise
        except sqlite3.Error as error:
            self._marks.close()
            raise StoreError(
                f"the store {self._path} cannot be read ({error}); name another file, or put a "
                "backup in its place"
            ) from error
        except BaseException:
            self._marks.close()
            raise
        on_news({}, self._last_event)  # of what there is already, nobody else will tell
        self._commits.start(self._journal)

    def _recover(self, journal: Journal, marks: Marks, groups: Mapping[str, str]) -> None:
        marked = marks.read()
        batch = Batch()
        for stored in journal.open_jobs(MAX_DATA_SIZE):
            ticket = stored.ticket
            if (group := groups.get(ticket.endpoint, ticket.group)) != ticket.group:
                ticket = replace(ticket, group=group)
            entry = Entry(ticket, stored.number, stored.size, ready=True)
            self._entries[ticket.id] = entry
            if ticket.key is not None:
                self._keys[ticket.key] = entry
            if ticket.starts:
                entry.size = journal.log_size(stored.number)
                entry.tail = Tail(journal.reserved())
            if stored.state == STARTED or stored.number in marked:
                if stored.state != STARTED:
                    batch.started.append(stored.number)
                    entry.ticket = replace(ticket, starts=ticket.starts + 1)
                self._interrupted.append(entry.ticket)
            else:
                self._lines.rejoin(entry, stored.turn)
        self._last_job = journal.last_job()
        self._first_job = self._last_job + 1
        self._size = journal.size()
        self._last_event = max(journal.reserved(), first_number())
        self._reserved = batch.reserved = self._last_event + NUMBERS_AT_ONCE
        journal.write(batch)
        marks.clear()

    def close(self) -> None:
        with self._lock:
            if self._commits.closing:
                return
            self._commits.close()
        self._commits.join()
        with self._lock, self._reading:
            self._entries.clear()
            self._keys.clear()
            self._lines.clear()
            if self._journal is not None:
                self._journal.close()
            if self._marks is not None:
                self._marks.close()

    def flush(self) -> None:
        self._commits.flush()

    def interrupted(self) -> list[Ticket]:
        interrupted, self._interrupted = self._interrupted, []
        return interrupted

    # -- waiting ------------------------------------------------------------------------

    def lines(self) -> list[str]:
        with self._lock:
            return self._lines.names()

    async def enqueue(self, ticket: Ticket, *, max_waiting: int | None) -> str:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._commits.closing:
                raise StoreError("the store is closed")
            known = None if ticket.key is None else self._find_key(ticket.key, ticket)
            if known is not None:
                if isinstance(known, str):
                    return known
                entry = known
            else:
                self._lines.check_room(max_waiting)
                self._make_room(len(ticket.data))
                entry = self._accept(ticket)
            if entry.ready:
                return entry.ticket.id
            entry.waiters = [*(entry.waiters or ()), waiter]
        await waiter
        return entry.ticket.id

    def _find_key(self, key: str, ticket: Ticket) -> Entry | str | None:
        entry = self._keys.get(key)
        if entry is None:
            with self._reading:
                stored = self._open_journal().find_key(key)
            if stored is None or stored.ticket.id in self._dead:
                return None
            known = stored.ticket
        else:
            known = self._whole(entry)
        known.check_same_call(ticket)
        return entry or known.id

    def _accept(self, ticket: Ticket) -> Entry:
        self._last_job += 1
        size = len(ticket.data)
        entry = self._entries[ticket.id] = Entry(ticket, self._last_job, size, ready=False)
        place = self._lines.join(entry)
        self._size += size
        if ticket.key is not None:
            self._keys[ticket.key] = entry
        pending = self._commits.pending
        pending.add_job(entry.number, ticket, turn=place[1])
        pending.accepted.append(entry)
        self._commits.add(size + len(ticket.caller))
        return entry

    def requeue(self, id: str) -> None:
        with self._lock:
            entry = self._entries.get(id)
            if entry is None:
                raise JobNotFoundError(event_id=id)
            self._lines.rejoin(entry, turn=0)
            self._commits.pending.requeued.append(entry.number)
            self._commits.add(0)

    def claim(self, group: str) -> list[Ticket]:
        with self._lock:
            # If so many were started that could not be noted, the disk is full.
            if self._commits.closing or self._marks is None or self._marks.room < MAX_BATCH:
                return []
            taken: list[Any] = self._lines.take(group)
            for entry in taken:
                self._commits.pending.slots.append(self._marks.set(entry.number))
                self._commits.pending.started.append(entry.number)
                entry.ticket = self._whole(entry)
            if taken:
                self._commits.add(0)
            return [entry.ticket for entry in taken]

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

    # -- logs ---------------------------------------------------------------------------

    def append(self, id: str, event: bytes) -> bool:
        with self._lock:
            self._commits.throttle()
            entry = self._unended(id)
            if entry is None:
                return False
            check_log(entry.size, event, limit=self._max_log_size)
            self._add_event(entry, event)
        return True

    def finish(self, id: str, event: bytes) -> bool:
        with self._lock:
            entry = self._unended(id)
            if entry is None:
                return False
            check_log(entry.size, event, limit=self._max_log_size, outcome=True)
            entry.ended = True
            self._add_event(entry, event)
            size = entry.size
            if entry.ticket.key is None:
                self._size -= entry.data_size
                entry.ticket = replace(entry.ticket, data=b"")
            else:
                size += entry.data_size
            now = self._ending[id] = self._clock()
            self._commits.pending.ended.append((entry.number, now, self._last_event, size))
        return True

    def _add_event(self, entry: Entry, event: bytes) -> None:
        self._last_event += 1
        pending = self._commits.pending
        if self._last_event > self._reserved:
            self._reserved = self._last_event + NUMBERS_AT_ONCE
            pending.reserved = self._reserved
        entry.add(self._last_event, event)
        self._size += len(event)
        pending.events.append((entry.number, self._last_event, event))
        pending.touched[entry] = self._last_event
        self._commits.add(len(event))

    def read(
        self, id: str, after: int = 0, *, until: int | None = None, max_size: int = 256 * 1024
    ) -> Events:
        with self._lock:
            entry = self._entries.get(id)
            if entry is not None and (found := entry.read(after, until, max_size)) is not None:
                return found
            if (log := self._ahead.get(id)) is not None:
                return cut(*log, len(log[0]), True, after, until, max_size)
            if entry is None or entry.settled:
                number, ended = None, True
            else:
                number, ended = entry.number, False
            if id in self._dead:
                raise JobNotFoundError(event_id=id)
            # What was forgotten meanwhile, or is in the database yet, must not be kept.
            forgotten = -1 if self._dead else self._forgotten
        ahead: Mapping[str, Log] = {}
        with self._reading:
            journal = self._open_journal(id)
            if number is None:
                stored = journal.find(id)
                number, ended = stored.number, stored.state == ENDED
                if ended and stored.ticket.session is not None and stored.size <= AHEAD_SIZE:
                    # A stream that comes back reads its jobs one after the other.
                    ahead = journal.logs(number, stored.ticket.session, AHEAD_COUNT, AHEAD_SIZE)
            if id not in ahead:
                events, numbers, following = journal.events(number, after, until, max_size)
                return Events(events, ended and not following, numbers, following)
        with self._lock:
            if forgotten == self._forgotten:
                self._ahead = ahead
        log = ahead[id]
        return cut(*log, len(log[0]), True, after, until, max_size)

    def ticket(self, id: str) -> Ticket:
        with self._lock:
            if (entry := self._entries.get(id)) is not None:
                return entry.ticket
        return self._stored(id).ticket

    def outcome(self, id: str) -> tuple[int, bytes] | None:
        with self._lock:
            if (entry := self._entries.get(id)) is not None:
                return entry.outcome()
        stored = self._stored(id)
        if stored.state != ENDED:
            return None
        with self._reading:
            return stored.last, self._open_journal(id).event(stored.number, stored.last)

    def of_session(self, session: str, user: str | None, *, after: int | None) -> dict[str, int]:
        with self._reading:
            found = self._open_journal().of_session(
                session, user, after=after or 0, before=self._first_job if after is None else None
            )
        return {id: first for id, first in found if id not in self._dead}

    def latest(self, user: str | None, *, limit: int) -> list[Ticket]:
        with self._reading:
            found = self._open_journal().latest(user, everybody=False, limit=limit)
        return [stored.ticket for stored in found if stored.ticket.id not in self._dead]

    # -- forgetting ---------------------------------------------------------------------

    def forget(self, id: str) -> bool:
        with self._lock:
            entry = self._entries.get(id)
            if entry is not None and not entry.settled:
                return False
        stored = self._stored(id)
        if stored.state != ENDED:
            return False
        with self._lock:
            self._forget(stored.number, id, stored.size)
        return True

    def expire(self) -> tuple[list[str], float | None]:
        with self._lock:
            due = self._clock() - self._result_ttl
            with self._reading:
                journal = self._open_journal()
                over = journal.ended(due, EXPIRED_AT_ONCE)
                following = journal.first_end(due)
            for number, id, size in over:
                self._forget(number, id, size)
            expired, self._expired = self._expired, []
            if len(over) == EXPIRED_AT_ONCE:
                return expired, 0.0
            ends = [*self._ending.values()][:1] if following is None else [following]
            return expired, max(0.0, ends[0] - due) if ends else None

    def _forget(self, number: int, id: str, size: int) -> None:
        if id in self._dead:
            return
        self._dead.add(id)
        self._forgotten += 1
        self._ahead = {}
        self._expired.append(id)
        self._size -= size
        self._evict(id)
        self._commits.pending.forgotten.append(number)
        self._commits.pending.dead.append(id)
        self._commits.add(0)

    def _evict(self, id: str) -> None:
        entry = self._entries.pop(id, None)
        if entry is None:
            return
        if self._cached.pop(id, None) is not None:
            self._cached_size -= entry.tail.held
        if entry.ticket.key is not None:
            self._keys.pop(entry.ticket.key, None)

    def _make_room(self, size: int) -> None:
        if self._max_size is None or self._size + size <= self._max_size:
            return
        with self._reading:
            oldest = self._open_journal().ended(float("inf"), EXPIRED_AT_ONCE)
        for number, id, its_size in oldest:
            if self._size + size <= self._max_size:
                return
            self._forget(number, id, its_size)
        check_size(self._size, size, self._max_size)

    # -- files --------------------------------------------------------------------------

    def holds(self) -> dict[str, list[str]]:
        held: dict[str, list[str]] = {}
        with self._reading:
            for id, path in self._open_journal().holds():
                held.setdefault(id, []).append(path)
        return held

    def hold(self, id: str, path: str) -> None:
        with self._lock:
            if (entry := self._entries.get(id)) is not None:
                self._commits.pending.holds.append((entry.number, path))
                self._commits.add(0)

    def add_file(self, token: str, name: str, owner: str | None) -> None:
        with self._lock:
            self._commits.pending.files.append((token, name, owner))
            self._commits.add(0)

    def remove_file(self, token: str) -> None:
        with self._lock:
            self._commits.pending.removed_files.append(token)
            self._commits.add(0)

    def load_files(self) -> list[tuple[str, str, str | None]]:
        with self._reading:
            return self._open_journal().files()

    # -- writing ------------------------------------------------------------------------

    def _show(self, batch: Pending) -> None:
        """Show what was written."""
        news: dict[str, int] = {}
        with self._lock:
            if self._marks is not None:
                for slot in batch.slots:
                    self._marks.erase(slot)
            self._dead.difference_update(batch.dead)
            for entry, last in batch.touched.items():
                id, tail = entry.ticket.id, entry.tail
                news[id] = tail.show(last)
                if entry.ended and tail.is_visible:
                    entry.settled = True
                    self._ending.pop(id, None)
                    if id not in self._entries:
                        continue  # it was forgotten as soon as it was written
                    self._cached[id] = entry
                    self._cached_size += tail.held
                else:
                    tail.shorten()
            while self._cached_size > CACHE_SIZE or len(self._cached) > CACHE_COUNT:
                self._evict(next(iter(self._cached)))
        answer(batch.accepted, None, lock=self._lock)
        if batch.events:
            self._on_news(news, batch.events[-1][1])

    def _refuse(self, entries: list[Entry], failure: StoreError) -> None:
        """Take back what could not be accepted."""
        with self._lock:
            for entry in entries:
                self._lines.leave(entry)
                self._size -= len(entry.ticket.data)
                self._evict(entry.ticket.id)
        answer(entries, failure, lock=self._lock)

    # -- inside -------------------------------------------------------------------------

    def _open_journal(self, id: str = "") -> Journal:
        if self._journal is None or self._commits.over:
            raise JobNotFoundError(event_id=id)
        return self._journal

    def _stored(self, id: str) -> Stored:
        if id in self._dead:
            raise JobNotFoundError(event_id=id)
        with self._reading:
            return self._open_journal(id).find(id)

    def _whole(self, entry: Entry) -> Ticket:
        """Return a job's ticket with its arguments."""
        data: Any = entry.ticket.data
        if data is None:  # it was too large to be read at the start
            with self._reading:
                data = self._open_journal().data(entry.number)
            entry.ticket = replace(entry.ticket, data=data)
        return entry.ticket

    def _unended(self, id: str) -> Entry | None:
        """Return a job that has no outcome; None if it has one. With the lock."""
        if self._commits.closing:
            return None
        entry = self._entries.get(id)
        if entry is None:
            self._stored(id)
            return None
        return None if entry.ended else entry


class _Reading:
    """The lock of who reads from the database. What goes wrong there becomes a `StoreError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()
        if isinstance(error, sqlite3.Error):
            _logger.error("the store %s cannot be read: %s", self._path, error)
            raise StoreError(f"the store cannot be read: {error}") from error


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Have the collector wait while much is read that stays: it would look through all that
    was read before, again and again, for as long as the reading itself takes."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
