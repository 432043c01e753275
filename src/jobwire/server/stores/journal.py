"""The tables of the SQLite store: what is written in one go, and what is read back.

Whole batches go into single statements: Python's sqlite3 gives up the interpreter lock for
each step of one, and to get it back from a busy thread can take 5 ms.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from msgspec import json

from jobwire.server.stores.base import JobNotFoundError, StoreError, Ticket

__all__ = ("Batch", "Journal", "Log", "Stored", "Synchronous")

Log = tuple[list[bytes], list[int]]
"""All events of a job that has ended, and their numbers."""

Synchronous = Literal["off", "normal", "full"]
"""What survives a loss of power; `docs/serving.md` says what each level promises."""

APPLICATION_ID = 0x6A6F6277  # "jobw"
VERSION = 1
"""Of the tables. A store of a later version is refused."""

NUMBERS_AT_ONCE = 1_000_000
"""Numbers of events that are reserved by one note: after a crash, counting goes on behind
them, so that none is used twice."""

CACHE_SIZE = 16 * 1024  # KiB of pages
CHECKPOINT_PAGES = 4000
"""Pages of the log after which they are moved into the database: 16 MB."""

_SCHEMA = f"""
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    endpoint TEXT NOT NULL,
    line TEXT NOT NULL,
    batch INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    sharer TEXT NOT NULL,
    session TEXT,
    user TEXT,
    told INTEGER NOT NULL,
    key TEXT,
    created REAL NOT NULL,
    files TEXT,
    caller BLOB NOT NULL,
    data BLOB NOT NULL,
    state INTEGER NOT NULL,
    starts INTEGER NOT NULL DEFAULT 0,
    ended REAL,
    last INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL
);
CREATE UNIQUE INDEX jobs_by_key ON jobs (key) WHERE key IS NOT NULL;
CREATE INDEX jobs_by_session ON jobs (session) WHERE session IS NOT NULL;
CREATE INDEX jobs_by_end ON jobs (ended) WHERE ended IS NOT NULL;
CREATE INDEX jobs_open ON jobs (state) WHERE state < 2;
CREATE TABLE events (
    job INTEGER NOT NULL,
    number INTEGER NOT NULL,
    event BLOB NOT NULL,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE files (token TEXT PRIMARY KEY, name TEXT NOT NULL, owner TEXT) WITHOUT ROWID;
CREATE TABLE holds (
    job INTEGER NOT NULL,
    path TEXT NOT NULL,
    PRIMARY KEY (job, path)
) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""

WAITING, STARTED, ENDED = range(3)
"""The states of a job."""

_JOB = (
    "number", "id", "endpoint", "line", "batch", "priority", "turn", "sharer", "session", "user",
    "told", "key", "created", "files", "caller", "data", "state", "size",
)  # fmt: skip
_TICKET = (
    "id, endpoint, data, line, batch, priority, sharer, session, user, told, caller, files, key, "
    "created, starts"
)

_SIZES = (256, 32, 4, 1)
"""Rows of one statement: few sizes, so that each is prepared once."""


class Stored:
    """A job as it lies in the database."""

    __slots__ = ("ended", "last", "number", "size", "state", "ticket", "turn")

    def __init__(self, row: Sequence[Any]) -> None:
        (self.number, self.state, self.turn, self.last, self.size, self.ended), rest = (
            row[:6],
            row[6:],
        )
        (id, endpoint, data, line, batch, priority, sharer, session, user, told, caller, files,
         key, created, starts) = rest  # fmt: skip
        self.ticket = Ticket(
            id, endpoint, data, line, batch, priority, sharer, session, user, bool(told), caller,
            tuple(json.decode(files)) if files else (), key, created, starts, True,
        )  # fmt: skip


_NUMBERS = 2**62  # greater than any

_EVENTS = """
WITH piece AS (
    SELECT number, event FROM events
    WHERE job = :job AND number > :after AND number <= :until
    ORDER BY number LIMIT 2048
), sizes AS (
    SELECT number, sum(length(event)) OVER (ORDER BY number) - length(event) AS ahead FROM piece
), ends AS (
    SELECT max(number) AS number FROM sizes WHERE ahead < :size OR ahead = 0
)
SELECT
    group_concat(number),
    CAST(group_concat(event, x'0a') AS BLOB),
    (SELECT coalesce(min(number), 0) FROM events
     WHERE job = :job AND number > coalesce((SELECT number FROM ends), :after))
FROM (SELECT number, event FROM events WHERE job = :job AND number > :after
      AND number <= (SELECT number FROM ends) ORDER BY number)
"""
"""One row, and so one step, however many events: see above. They have no line feeds in them."""

_LOGS = """
WITH page AS (
    SELECT number, id, sum(size) OVER (ORDER BY number) AS size FROM jobs
    WHERE session = :session AND state = 2 AND number >= :number
    ORDER BY number LIMIT :count
), chosen AS (
    SELECT number, id FROM page WHERE size <= :size
)
SELECT
    group_concat(job),
    group_concat(number),
    CAST(group_concat(event, x'0a') AS BLOB),
    (SELECT json_group_object(number, id) FROM chosen)
FROM (SELECT job, events.number AS number, event FROM chosen CROSS JOIN events
      ON job = chosen.number ORDER BY job, events.number)
"""
"""Likewise, of several jobs."""

_STORED = f"number, state, turn, last, size, ended, {_TICKET}"


class Batch:
    """What is to be written in one transaction. All or nothing of it is."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Any, ...]] = []
        self.events: list[tuple[int, int, bytes]] = []
        self.started: list[int] = []
        self.requeued: list[int] = []
        self.ended: list[tuple[int, float, int, int]] = []
        """Number, when, the last event, bytes that it takes."""
        self.forgotten: list[int] = []
        self.files: list[tuple[str, str, str | None]] = []
        self.removed_files: list[str] = []
        self.holds: list[tuple[int, str]] = []
        self.reserved = 0
        """The numbers of events up to which are reserved from now on; 0 leaves it."""

    def add_job(self, number: int, ticket: Ticket, turn: int) -> None:
        """Add an accepted job."""
        files = json.encode(ticket.files).decode() if ticket.files else None
        self.jobs.append(
            (
                number, ticket.id, ticket.endpoint, ticket.group, ticket.batch, ticket.priority,
                turn, _text(ticket.sharer), _text(ticket.session), _text(ticket.user), ticket.told,
                ticket.key,
                ticket.created, files, ticket.caller, ticket.data, WAITING, len(ticket.data),
            )
        )  # fmt: skip
        self.holds += [(number, path) for path in ticket.files]


class Journal:
    """One database. Opens it, or makes it; every method may be called from one thread at a time,
    those that read from another one than those that write.

    Args:
        path: The file.
        synchronous: See `Synchronous`.
        read_only: Only read, beside whoever has it open.

    Raises:
        StoreError: It cannot be used.
    """

    def __init__(
        self, path: Path, *, synchronous: Synchronous = "full", read_only: bool = False
    ) -> None:
        self._path = path
        if not read_only and not path.exists():
            # Nobody else may read what callers send.
            with contextlib.suppress(OSError):
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        try:
            self._writer = self._connect(read_only)
            try:
                self._check()
                if not read_only:
                    self._prepare(synchronous)
                self._reader = self._connect(read_only=True)
            except BaseException:
                self._writer.close()
                raise
        except sqlite3.Error as error:
            raise _refusal(path, error) from error

    def close(self) -> None:
        """Close it. What the log holds goes into the database first, if nobody reads."""
        self._reader.close()
        self._writer.close()

    def backup(self, target: Path) -> None:
        """Copy the database as it is at one moment, while it is in use."""
        with contextlib.closing(sqlite3.connect(target)) as copy:
            self._reader.backup(copy)

    # -- writing ------------------------------------------------------------------------

    def write(self, batch: Batch) -> None:
        """Write a batch. When this returns, it cannot be lost.

        Raises:
            sqlite3.Error: Nothing of it was written.
        """
        cursor = self._writer.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        try:
            self._write(cursor, batch)
            cursor.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                cursor.execute("ROLLBACK")
            raise
        finally:
            cursor.close()

    def _write(self, cursor: sqlite3.Cursor, batch: Batch) -> None:
        if batch.reserved:
            cursor.execute("REPLACE INTO counters VALUES ('events', ?)", [batch.reserved])
        # What is forgotten was written before; its keys may be used again by what is new.
        if batch.forgotten:
            gone = _list(batch.forgotten)
            for table, column in (("events", "job"), ("holds", "job"), ("jobs", "number")):
                cursor.execute(
                    f"DELETE FROM {table} "  # noqa: S608
                    f"WHERE {column} IN (SELECT value FROM json_each(?))",
                    [gone],
                )
        for sql, width, rows in (
            (f"INSERT INTO jobs ({', '.join(_JOB)}) VALUES", len(_JOB), batch.jobs),
            ("INSERT INTO events VALUES", 3, batch.events),
            ("INSERT OR REPLACE INTO files VALUES", 3, batch.files),
            ("INSERT OR IGNORE INTO holds VALUES", 2, batch.holds),
        ):
            for part, marks in _parts(rows, width):
                cursor.execute(f"{sql} {marks}", list(chain.from_iterable(part)))
        for numbers, change in (
            (batch.requeued, f"state = {WAITING}"),
            (batch.started, f"state = {STARTED}, starts = starts + 1"),
        ):
            if numbers:
                cursor.execute(
                    f"UPDATE jobs SET {change} "  # noqa: S608
                    "WHERE number IN (SELECT value FROM json_each(?))",
                    [_list(numbers)],
                )
        for part, marks in _parts(batch.ended, 4):
            # Who has a key may come again, to be compared with this call.
            cursor.execute(
                f"WITH ends (number, ended, last, size) AS (VALUES {marks}) "  # noqa: S608
                f"UPDATE jobs SET state = {ENDED}, data = CASE WHEN key IS NULL THEN x'' ELSE "
                "data END, ended = ends.ended, last = ends.last, size = ends.size "
                "FROM ends WHERE jobs.number = ends.number",
                list(chain.from_iterable(part)),
            )
        if batch.removed_files:
            cursor.execute(
                "DELETE FROM files WHERE token IN (SELECT value FROM json_each(?))",
                [_list(batch.removed_files)],
            )

    # -- reading ------------------------------------------------------------------------

    def reserved(self) -> int:
        """Return the number of an event after which none was given away."""
        found = self._reader.execute("SELECT value FROM counters WHERE name = 'events'").fetchone()
        return found[0] if found else 0

    def last_job(self) -> int:
        """Return the greatest number of a job."""
        return self._one("SELECT coalesce(max(number), 0) FROM jobs")

    def size(self) -> int:
        """Return the bytes that all jobs take."""
        return self._one("SELECT coalesce(sum(size), 0) FROM jobs")

    def open_jobs(self, max_data_size: int) -> Iterator[Stored]:
        """Yield the jobs without an outcome, in the order in which they were accepted.

        Args:
            max_data_size: Bytes of arguments; larger ones are left out, as None.
        """
        columns = _STORED.replace(
            "data", f"CASE WHEN length(data) <= {max_data_size} THEN data END"
        )
        # In this order, nothing has to be sorted.
        found = self._reader.execute(
            f"SELECT {columns} FROM jobs WHERE state < 2 "  # noqa: S608
            "ORDER BY priority DESC, turn, number"
        )
        found.arraysize = 10_000
        while rows := found.fetchmany():
            yield from map(Stored, rows)

    def log_size(self, number: int) -> int:
        """Return the bytes of a job's events."""
        found = self._reader.execute(
            "SELECT coalesce(sum(length(event)), 0) FROM events WHERE job = ?", [number]
        )
        size: int = found.fetchone()[0]
        return size

    def find(self, id: str) -> Stored:
        """Return a job.

        Raises:
            JobNotFoundError: There is none.
        """
        found = self._reader.execute(f"SELECT {_STORED} FROM jobs WHERE id = ?", [_text(id)])  # noqa: S608
        if (row := found.fetchone()) is None:
            raise JobNotFoundError(event_id=id)
        return Stored(row)

    def find_key(self, key: str) -> Stored | None:
        """Return the job with an idempotency key."""
        found = self._reader.execute(f"SELECT {_STORED} FROM jobs WHERE key = ?", [key])  # noqa: S608
        row = found.fetchone()
        return None if row is None else Stored(row)

    def data(self, number: int) -> bytes:
        """Return the arguments of a job."""
        found = self._reader.execute("SELECT data FROM jobs WHERE number = ?", [number]).fetchone()
        return bytes(found[0])

    def events(
        self, number: int, after: int, until: int | None, max_size: int
    ) -> tuple[list[bytes], list[int], int]:
        """Return a piece of a job's log, the numbers, and that of the event that follows."""
        numbers, events, following = self._reader.execute(
            _EVENTS,
            {
                "job": number,
                "after": after,
                "until": _NUMBERS if until is None else until,
                "size": max_size,
            },
        ).fetchone()
        if numbers is None:
            return [], [], following
        return bytes(events).split(b"\n"), list(map(int, numbers.split(","))), following

    def event(self, job: int, number: int) -> bytes:
        """Return one event."""
        found = self._reader.execute(
            "SELECT event FROM events WHERE job = ? AND number = ?", [job, number]
        )
        return bytes(found.fetchone()[0])

    def logs(self, number: int, session: str, count: int, max_size: int) -> dict[str, Log]:
        """Return the logs of a session's jobs that have ended, by id, from one of them on.

        Args:
            number: That job's.
            session: The session.
            count: How many jobs, at most.
            max_size: Bytes of all of them, at most.
        """
        found = self._reader.execute(
            _LOGS,
            {"number": number, "session": _text(session), "count": count, "size": max_size},
        )
        jobs, numbers, events, ids = found.fetchone()
        if jobs is None:
            return {}
        by_job: dict[str, Log] = {job: ([], []) for job in json.decode(ids)}
        for job, event, number in zip(
            jobs.split(","), bytes(events).split(b"\n"), numbers.split(","), strict=True
        ):
            log = by_job[job]
            log[0].append(event)
            log[1].append(int(number))
        return {id: by_job[job] for job, id in json.decode(ids).items()}

    def of_session(
        self, session: str, user: str | None, *, after: int, before: int | None
    ) -> list[tuple[str, int]]:
        """Return a session's jobs that are not over, or ended after an event: their ids, and
        the numbers of their first events after that one, 0 where there is none yet.

        Args:
            session: The session.
            user: Whose.
            after: The number of that event.
            before: Only jobs with a smaller number; None is all.
        """
        found = self._reader.execute(
            "SELECT json_group_array(json_array(id, first)) FROM (SELECT id, (SELECT "
            "coalesce(min(events.number), 0) FROM events WHERE job = jobs.number AND "
            "events.number > :after) AS first FROM jobs WHERE session = :session AND user IS :user "
            "AND told AND number < :before AND (state < 2 OR last > :after) ORDER BY number)",
            {
                "session": _text(session),
                "user": _text(user),
                "before": _NUMBERS if before is None else before,
                "after": after,
            },
        )
        return json.decode(found.fetchone()[0], type=list[tuple[str, int]])

    def latest(self, user: str | None, *, everybody: bool, limit: int) -> list[Stored]:
        """Return the latest jobs, the newest first."""
        where = "" if everybody else "WHERE user IS :user"
        found = self._reader.execute(
            f"SELECT {_STORED} FROM jobs {where} ORDER BY number DESC LIMIT :limit",  # noqa: S608
            {"user": _text(user), "limit": limit},
        )
        return [Stored(row) for row in found]

    def ended(self, before: float, limit: int) -> list[tuple[int, str, int]]:
        """Return number, id and size of the jobs that ended first, no later than a time."""
        found = self._reader.execute(
            "SELECT json_group_array(json_array(number, id, size)) FROM (SELECT number, id, size "
            "FROM jobs WHERE ended <= ? ORDER BY ended, number LIMIT ?)",
            [before, limit],
        )
        return json.decode(found.fetchone()[0], type=list[tuple[int, str, int]])

    def first_end(self, after: float) -> float | None:
        """Return when the first job ended after a time; None if none did."""
        found = self._reader.execute("SELECT min(ended) FROM jobs WHERE ended > ?", [after])
        end: float | None = found.fetchone()[0]
        return end

    def files(self) -> list[tuple[str, str, str | None]]:
        """Return token, name and owner of each file."""
        return self._reader.execute("SELECT token, name, owner FROM files").fetchall()

    def holds(self) -> list[tuple[str, str]]:
        """Return the files of jobs: each job's id, and a path."""
        return self._reader.execute(
            "SELECT id, path FROM holds JOIN jobs ON jobs.number = holds.job"
        ).fetchall()

    # -- inside -------------------------------------------------------------------------

    def _one(self, sql: str) -> int:
        value: int = self._reader.execute(sql).fetchone()[0]
        return value

    def _connect(self, read_only: bool) -> sqlite3.Connection:
        mode = "ro" if read_only else "rw"
        return sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=10.0,
        )

    def _check(self) -> None:
        """Refuse what is no store, or one of a later version."""
        tables = self._writer.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        application = self._writer.execute("PRAGMA application_id").fetchone()[0]
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if tables and application != APPLICATION_ID:
            raise StoreError(
                f"{self._path} is a database, but no store of jobwire; name another file"
            )
        if version > VERSION:
            raise StoreError(
                f"{self._path} was made by a later version of jobwire (its tables are of version "
                f"{version}, this jobwire knows {VERSION}); update jobwire, or name another file"
            )

    def _prepare(self, synchronous: Synchronous) -> None:
        writer = self._writer
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute(f"PRAGMA synchronous = {synchronous}")
        writer.execute(f"PRAGMA cache_size = -{CACHE_SIZE}")
        writer.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        writer.execute(f"PRAGMA journal_size_limit = {2 * 4096 * CHECKPOINT_PAGES}")
        # That it can be written is tried now, not when the first job comes.
        writer.execute("BEGIN IMMEDIATE")
        if not writer.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                writer.execute(statement)
        writer.execute("INSERT OR IGNORE INTO counters VALUES ('events', 0)")
        writer.execute("REPLACE INTO counters SELECT 'opened', coalesce(max(value), 0) + 1 "
                       "FROM counters WHERE name = 'opened'")  # fmt: skip
        writer.execute("COMMIT")


def _refusal(path: Path, error: sqlite3.Error) -> StoreError:
    text = str(error)
    if "unable to open" in text:
        text = "it cannot be opened; does its directory exist, and may it be written to?"
    elif "readonly" in text or "read-only" in text:
        text = "it cannot be written to"
    elif "malformed" in text or "not a database" in text or "corrupt" in text:
        text = f"it is damaged, or no store of jobwire ({error}); name another file, or a backup"
    elif "full" in text:
        text = "the disk is full"
    return StoreError(f"the store {path} cannot be used: {text}")


def _parts(
    rows: Sequence[tuple[Any, ...]], width: int
) -> Iterator[tuple[Sequence[tuple[Any, ...]], str]]:
    """Cut rows into pieces, each with the placeholders for its values."""
    row = f"({', '.join('?' * width)})"
    start = 0
    for size in _SIZES:
        marks = ", ".join([row] * size) if len(rows) - start >= size else ""
        while len(rows) - start >= size:
            yield rows[start : start + size], marks
            start += size


def _text(text: str | None) -> str | None:
    """Return a text as SQLite can keep it: callers may send halves of surrogate pairs."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def _list(values: Iterable[int] | Iterable[str]) -> str:
    return json.encode(list(values)).decode()
