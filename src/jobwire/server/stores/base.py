"""The seam between the server and what keeps its jobs.

A store holds two things: the waiting lines, and for each job an ordered log of events,
which ends with the job's one outcome. Every event has a number, which grows over all jobs
of the store and is never used again, also after a restart. Readers follow logs by number,
so they can stop, come back and read on; the wake-up that a store gives only says that
there is something new to read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from msgspec import Struct

from jobwire.exceptions import JobNotFoundError, JobwireError

__all__ = (
    "Events",
    "FileIndex",
    "JobNotFoundError",
    "KeyReusedError",
    "LogFullError",
    "Position",
    "Store",
    "StoreError",
    "Ticket",
    "Wake",
    "first_number",
)

Wake = Callable[[Mapping[str, int], int], None]
"""Told of news: by job, the number of the first new event; and the number up to which every
event has been told of. Called in the order of the numbers, from any thread; must not block."""


def first_number() -> int:
    """Return a number after which the events of a store that was just opened are counted.

    A client remembers the last one that it has had, for longer than a store may last: in
    memory, or put back from a copy. Counting begins with the time, so that it is never behind
    another store that was there before, unless that had a million events a second.
    """
    return time.time_ns() // 1_000_000 << 10


class LogFullError(JobwireError):
    """A job has written more events than its log may hold.

    Attributes:
        limit: The limit in bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the outputs of the job are more than {limit} bytes, which is all that "
            "App(max_output_size=...) lets one job give"
        )
        self.limit = limit


class StoreError(JobwireError):
    """The store cannot be opened, or cannot keep what it was given."""


class KeyReusedError(JobwireError):
    """An idempotency key came again with another call than before.

    Attributes:
        id: The job that it belongs to.
    """

    def __init__(self, id: str) -> None:
        super().__init__("this Idempotency-Key was sent before, with another call; use a new one")
        self.id = id


class Ticket(Struct, frozen=True, gc=False):
    """A job as a store knows it: enough to run it, also after a restart.

    Attributes:
        id: Unguessable; ``event_id`` on the wire.
        endpoint: The name of the function to run.
        data: Its arguments: the JSON that the caller sent.
        group: The waiting line that it stands in.
        batch: How many jobs of this endpoint may be claimed together.
        priority: Higher goes first.
        sharer: Whose job it is, for taking turns.
        session: The caller's session; None if the call had none.
        user: Who is logged in; None without authentication.
        told: Whether the session's stream tells of it.
        caller: The request that brought it, as JSON; empty if it is not kept.
        files: The paths of the uploaded files that it uses.
        key: Jobs with the same one are the same job; None if it has none.
        created: When it was accepted, in seconds since 1970; 0 if that is not kept.
        starts: How often it was started before.
        recovered: It was accepted by a server before this one.
    """

    id: str
    endpoint: str
    data: bytes
    group: str
    batch: int = 1
    priority: int = 0
    sharer: str = ""
    session: str | None = None
    user: str | None = None
    told: bool = False
    caller: bytes = b""
    files: tuple[str, ...] = ()
    key: str | None = None
    created: float = 0.0
    starts: int = 0
    recovered: bool = False

    def check_same_call(self, other: Ticket) -> None:
        """Refuse another one with the same key that asks for something else.

        Raises:
            KeyReusedError: It does.
        """
        if self.endpoint != other.endpoint or self.data != other.data:
            raise KeyReusedError(self.id)


class Events(NamedTuple):
    """A piece of a job's log.

    Attributes:
        events: Encoded messages, oldest first.
        ended: The last of them is the job's outcome.
        numbers: Their numbers.
        following: The number of the next one; 0 if there is none yet.
    """

    events: list[bytes]
    ended: bool
    numbers: list[int]
    following: int = 0


class Position(NamedTuple):
    """Where a waiting job stands.

    Attributes:
        rank: How many are ahead of it.
        size: How many wait in its line, itself included.
    """

    rank: int
    size: int


class FileIndex(Protocol):
    """What a store keeps of the server's files. Any thread may call it; it does not wait."""

    def add_file(self, token: str, name: str, owner: str | None) -> None:
        """Keep that there is a file."""
        ...

    def remove_file(self, token: str) -> None:
        """Keep that it is no more."""
        ...

    def load_files(self) -> list[tuple[str, str, str | None]]:
        """Return token, name and owner of each file that there is."""
        ...


class Store(Protocol):
    """Keeps jobs. Every method may be called from any thread, and none waits for long.

    What `read` gives is visible for good: a durable store shows an event only once it
    cannot be lost any more.
    """

    file_index: FileIndex | None
    """Where the server's files are noted; None if files need not outlive the server."""

    file_root: Path | None
    """The directory for those files; None if any will do."""

    durable: bool
    """Whether jobs outlive the server."""

    def open(self, on_news: Wake, groups: Mapping[str, str]) -> None:
        """Begin.

        Args:
            on_news: See `Wake`.
            groups: The waiting line of each endpoint that there is. Jobs that were kept of
                another one stay where they were.

        Raises:
            StoreError: It cannot be used; it says why, and what to do.
        """
        ...

    def close(self) -> None:
        """Keep what is left to be kept, and release everything. Harmless when repeated."""
        ...

    def flush(self) -> None:
        """Wait until what was done so far can be read; some seconds at most. Blocks."""
        ...

    def interrupted(self) -> list[Ticket]:
        """Return the jobs that had been started when the server before this one died."""
        ...

    def lines(self) -> list[str]:
        """Return the lines in which jobs wait."""
        ...

    def holds(self) -> dict[str, list[str]]:
        """Return the paths of the files of each job that a server before this one kept."""
        ...

    def hold(self, id: str, path: str) -> None:
        """Keep that a job has given a file."""
        ...

    async def enqueue(self, ticket: Ticket, *, max_waiting: int | None) -> str:
        """Accept a job. When this returns, the job cannot be lost.

        Args:
            ticket: The job.
            max_waiting: How many jobs may wait in all lines; None is no limit.

        Returns:
            The id of the job: another one's, if that has the same key.

        Raises:
            QueueFullError: So many wait already, or there is no room for more.
            KeyReusedError: The job with the same key is another call.
            StoreError: It could not be kept. Nothing of it was.
        """
        ...

    def requeue(self, id: str) -> None:
        """Let a job that was interrupted wait again, before those that came after it."""
        ...

    def claim(self, group: str) -> list[Ticket]:
        """Take who is next in a line: one job, or several of one batch; empty if none.

        From then on they count as started, also if the server dies at once.
        """
        ...

    def withdraw(self, id: str) -> bool:
        """Take a waiting job out of its line; False if it does not wait."""
        ...

    def position(self, id: str) -> Position | None:
        """Return where a job stands; None if it does not wait."""
        ...

    def waiting(self) -> int:
        """Return how many jobs wait, in all lines."""
        ...

    def append(self, id: str, event: bytes) -> bool:
        """Add an event to a job's log; False, and nothing is added, if it has ended.

        Raises:
            JobNotFoundError: There is no such job.
            LogFullError: The log would grow too large.
        """
        ...

    def finish(self, id: str, event: bytes) -> bool:
        """Add a job's outcome; False, and nothing is added, if it has one already.

        Raises:
            JobNotFoundError: There is no such job.
            LogFullError: The log would grow far too large. There is always room for the
                outcome of a job that failed.
        """
        ...

    def read(
        self, id: str, after: int = 0, *, until: int | None = None, max_size: int = 256 * 1024
    ) -> Events:
        """Return the events of a job whose number is greater than ``after``.

        Args:
            id: The job.
            after: The number of the last event that the reader has had.
            until: The last number that is wanted; None is no limit.
            max_size: Stop after so many bytes; at least one event is returned, if any.

        Raises:
            JobNotFoundError: There is no such job.
        """
        ...

    def ticket(self, id: str) -> Ticket:
        """Return what is known of a job. The arguments of one that has ended may be gone.

        Raises:
            JobNotFoundError: There is no such job.
        """
        ...

    def outcome(self, id: str) -> tuple[int, bytes] | None:
        """Return the outcome of a job and its number; None if there is none to be read yet.

        Raises:
            JobNotFoundError: There is no such job.
        """
        ...

    def of_session(self, session: str, user: str | None, *, after: int | None) -> dict[str, int]:
        """Return the jobs that a session's stream tells of, in the order they were accepted.

        Args:
            session: The session.
            user: Whose.
            after: Leave out those that have ended, if no event of them has a greater number.
                None is all that are left from a server before this one.

        Returns:
            By job, the number of its first event after that one; 0 if there is none yet.
        """
        ...

    def latest(self, user: str | None, *, limit: int) -> list[Ticket]:
        """Return the latest jobs of a user, the newest first."""
        ...

    def forget(self, id: str) -> bool:
        """Forget a job that has ended; False if it has not.

        Raises:
            JobNotFoundError: There is no such job.
        """
        ...

    def expire(self) -> tuple[list[str], float | None]:
        """Forget the jobs whose results have been kept long enough.

        Returns:
            Their ids and those of `forget`, and the seconds until the next is due, None if
            there is none.
        """
        ...
