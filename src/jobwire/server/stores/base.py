"""The seam between the server and what keeps its jobs.

A store holds two things: the waiting lines, and for each job an ordered log of events,
which ends with the job's one outcome. Readers follow a log by position, so they can
stop, come back and read again; the wake-up that a store gives only says that there is
something new to read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from msgspec import Struct

from jobwire.exceptions import JobwireError

__all__ = ("Events", "JobNotFoundError", "LogFullError", "Position", "Store", "Ticket")


class JobNotFoundError(JobwireError):
    """The store has no such job: it never had, or the job's results have expired.

    Attributes:
        id: What was asked for.
    """

    def __init__(self, id: str) -> None:
        super().__init__("there is no such job, or its results have expired")
        self.id = id


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


class Events(NamedTuple):
    """A piece of a job's log.

    Attributes:
        events: Encoded messages, oldest first.
        ended: The last of them is the job's outcome.
    """

    events: list[bytes]
    ended: bool


class Position(NamedTuple):
    """Where a waiting job stands.

    Attributes:
        rank: How many are ahead of it.
        size: How many wait in its line, itself included.
    """

    rank: int
    size: int


class Store(Protocol):
    """Keeps jobs. Every method may be called from any thread, and none waits for long.

    What `read` gives is visible for good: a durable store shows an event only once it
    cannot be lost any more.
    """

    def open(self, on_event: Callable[[str], None]) -> None:
        """Begin.

        Args:
            on_event: Called with a job's id when its log has something new to read, from
                any thread; it must not block.
        """
        ...

    def close(self) -> None:
        """Release everything."""
        ...

    async def enqueue(self, ticket: Ticket, *, max_waiting: int | None) -> None:
        """Accept a job. When this returns, the job cannot be lost.

        Args:
            ticket: The job.
            max_waiting: How many jobs may wait in all lines; None is no limit.

        Raises:
            QueueFullError: So many wait already, or there is no room for more.
        """
        ...

    def claim(self, group: str) -> list[Ticket]:
        """Take who is next in a line: one job, or several of one batch; empty if none."""
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

    def read(self, id: str, after: int = 0, *, max_size: int = 256 * 1024) -> Events:
        """Return the events of a job from position ``after`` on.

        Args:
            id: The job.
            after: How many events the reader has had.
            max_size: Stop after so many bytes; at least one event is returned, if any.

        Raises:
            JobNotFoundError: There is no such job.
        """
        ...

    def ticket(self, id: str) -> Ticket:
        """Return what is known of a job.

        Raises:
            JobNotFoundError: There is no such job.
        """
        ...

    def expire(self) -> tuple[list[str], float | None]:
        """Forget the jobs whose results have been kept long enough.

        Returns:
            Their ids, and the seconds until the next is due, None if there is none.
        """
        ...
