"""Having the server stop the jobs that were cancelled here, and no others.

``/cancel`` stops *all* running jobs of a function in the session, and those others are never
heard of again. It is sent in a way, or at a time, that spares them: `Stopping` keeps a job that
cannot be stopped yet, and hears what the stream tells of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import UnsetType

from jobwire.protocol.dialects import Dialect
from jobwire.protocol.job import JobMachine, State
from jobwire.protocol.messages import Message, ProcessCompleted, ProcessGenerating, ProcessStarts

__all__ = ("NO_FUNCTION", "StopJob", "Stopping")

NO_FUNCTION = -1
"""A function index that no server has. With it, ``/cancel`` of a recent server takes
the one job out of the queue or closes its generator, and leaves other jobs alone; but
it does not interrupt an ``async def``."""


@dataclass(frozen=True, slots=True)
class StopJob:
    """Tell the server to stop a job.

    Attributes:
        event_id: The job.
        fn_index: What to send as its function: the real one where every running job
            of it may be stopped, else `NO_FUNCTION`.
    """

    event_id: str
    fn_index: int


@dataclass(slots=True)
class _Abandoned:
    """A job that was cancelled here, but perhaps not stopped on the server.

    Attributes:
        fn_index: Its function.
        running: It runs, as far as we have heard.
        closing: The server was asked to close its generator. Should that come between two
            steps, the server starts the function from its beginning (6.14 to 6.31).
        closed: The server has said that it did.
    """

    fn_index: int
    running: bool
    closing: bool = False
    closed: bool = False


class Stopping:
    """The jobs of a session that were cancelled here, until the server has been told.

    Where a method returns `StopJob`, that is what the server is to be told now.

    Args:
        dialect: How the server speaks.
        awaited: Whether somebody waits for a job of a function, given its index, other than
            this one.
    """

    def __init__(self, dialect: Dialect, awaited: Callable[[int, JobMachine | None], bool]) -> None:
        self._dialect = dialect
        self._awaited = awaited
        self._running: Counter[int] = Counter()  # of the jobs that are waited for, by function
        self._abandoned: dict[str, _Abandoned] = {}  # by event id

    def __contains__(self, event_id: str) -> bool:
        """Whether `receive` is to hear of a job."""
        return event_id in self._abandoned

    @property
    def listening(self) -> bool:
        """Whether it takes the stream to know when a job can be stopped."""
        return any(not job.closing for job in self._abandoned.values())

    def started(self, fn_index: int) -> None:
        """Note that a job that is waited for runs; `ended` must follow."""
        self._running[fn_index] += 1

    def ended(self, fn_index: int) -> None:
        """Note that it does not any more, or is not waited for; see `stop_the_rest`."""
        self._running[fn_index] -= 1

    def fate(self, job: JobMachine) -> str:
        """Return what to say of a job that is cancelled now: what the server will do with it."""
        told = self._dialect.cancel == "cancel"
        if not job.sent:
            fate = "before it was sent"
        elif job.state is State.SUBMITTING:
            fate = "the server is told to stop it as soon as it has confirmed it"
        elif self._dialect.durable:
            fate = "the server is told to stop it, whatever it does"
        elif job.state is not State.RUNNING and self._dialect.precise_cancel:
            fate = "the server is told to take it out of its queue"
        elif job.state is not State.RUNNING:
            what = "it" if told else "it, if it is a generator,"
            fate = f"the server keeps it queued, and is told to stop {what} when its turn comes"
        elif not told:
            fate = "the server stops it at its next output, and cannot stop what is no generator"
        elif not self._awaited(job.fn_index, job):
            fate = (
                "the server stops a generator at its next output and an async function where it "
                "awaits; a plain function runs to its end"
            )
        elif self._dialect.precise_cancel:
            fate = (
                "the server stops a generator at its next output; any other function runs to its "
                "end, for other jobs of it would be stopped too"
            )
        else:
            fate = "it runs until other jobs of its function are over, which would be stopped too"
        return f"the job was cancelled; {fate}" if job.sent else f"the job was cancelled {fate}"

    def stop(
        self, event_id: str, fn_index: int, *, running: bool, yielded: bool = False
    ) -> list[StopJob]:
        """Stop a job that nobody waits for now, or remember to do it when it can be done.

        Args:
            event_id: The job.
            fn_index: Its function.
            running: It runs, as far as we have heard.
            yielded: It has given an output, so that it is a generator, and the server
                has got hold of it.
        """
        everything, alone = StopJob(event_id, fn_index), StopJob(event_id, NO_FUNCTION)
        stops: list[StopJob] = []
        if self._dialect.cancel == "job":
            return [alone]
        if self._dialect.cancel == "reset":
            if running:
                return [everything]
        elif running and not self._awaited(fn_index, None):
            return [everything]
        elif self._dialect.precise_cancel:
            if not running or yielded:
                stops = [alone]
            # If it was just about to start, that came too late; we shall hear of it.
        elif running and not self._running[fn_index]:
            return [everything]
        # else: it runs all the same when its turn comes; then it can be stopped.
        closing = self._dialect.precise_cancel and yielded
        self._abandoned[event_id] = _Abandoned(fn_index, running, closing)
        return stops

    def stop_the_rest(self, fn_index: int) -> list[StopJob]:
        """Stop the jobs that ran on for the sake of others of the function, if those are over."""
        if not self._abandoned or self._running[fn_index]:
            return []
        running = {id: job for id, job in self._abandoned.items() if job.fn_index == fn_index}
        running = {id: job for id, job in running.items() if job.running}
        if running and not self._awaited(fn_index, None):
            # Whatever is sent for one stops all; also the generator that was to be closed,
            # of which nobody can tell whether it was.
            for event_id in running:
                del self._abandoned[event_id]
            return [StopJob(next(iter(running)), fn_index)]
        stops: list[StopJob] = []
        for event_id, job in running.items():
            if not job.closing:
                del self._abandoned[event_id]
                stops += self.stop(event_id, fn_index, running=True)
        return stops

    def receive(self, message: Message, event_id: str) -> list[StopJob]:
        """Take a message for a job that is to be stopped."""
        job = self._abandoned[event_id]
        if isinstance(message, ProcessCompleted):
            output = message.output
            empty = isinstance(output.data, UnsetType) and isinstance(output.error, UnsetType)
            if not (empty and message.success is not False):
                del self._abandoned[event_id]
            # The answer to a cancel is a success without data; what runs, runs on.
            elif job.closing:
                job.closed = True
            elif not job.running:
                del self._abandoned[event_id]
        elif isinstance(message, (ProcessStarts, ProcessGenerating)):
            if job.closing and not job.closed:
                return []  # it was on its way
            del self._abandoned[event_id]
            yielded = isinstance(message, ProcessGenerating)
            return self.stop(event_id, job.fn_index, running=True, yielded=yielded)
        return []

    def forget(self) -> None:
        """Forget every job: the session is over."""
        self._abandoned.clear()
        self._running.clear()
