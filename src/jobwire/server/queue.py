"""The queue: which job runs when, and what a waiting job can expect.

Each ``concurrency_id`` has a waiting line, in the store, and a number of slots. A job that
joins, starts or ends costs the same whatever the lines' lengths: nobody is told of it who
does not ask.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from jobwire.exceptions import AppError
from jobwire.protocol.messages import ProcessCompleted, encode_message
from jobwire.server.endpoint import Endpoint
from jobwire.server.executors.base import Cancellation, Executor
from jobwire.server.executors.loop import LoopExecutor
from jobwire.server.executors.thread import ThreadExecutor
from jobwire.server.job import Job
from jobwire.server.run import Outcome, Run, cancelled_event, failed_event
from jobwire.server.stores.base import JobNotFoundError, Store, Ticket

if TYPE_CHECKING:
    from jobwire.server.executors.process import ProcessExecutor

__all__ = ("Cancellation", "Estimate", "Queue", "Workers")

_logger = logging.getLogger("jobwire.server")

_STOPPED = AppError("the server was stopped before the job was over", title="Stopped")
_CRASHED = AppError(
    "the server stopped while the job ran, so it has no result, but may have had effects; submit "
    "it again if that does no harm",
    title="Interrupted",
)
_GONE = AppError(
    "the server was started again with an app that has no such endpoint any more", title="Gone"
)

Revive = Callable[[Ticket], Job]
"""Makes a job of what is left of it after a restart; raises an error if it cannot be run."""


class Workers(NamedTuple):
    """What runs in worker processes, and in how many.

    Attributes:
        default: Whether functions do of which the endpoint does not say.
        max_processes: How many there are.
        max_jobs: How many calls each gets before it is replaced; None is no limit.
    """

    default: bool = False
    max_processes: int = 1
    max_jobs: int | None = None

    def want(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint's function runs in a worker process."""
        if endpoint.executor is None:
            return self.default
        return endpoint.executor == "process"


class Estimate:
    """What a waiting job can expect.

    Attributes:
        rank: How many are ahead of it.
        size: How many wait in its line, itself included.
        eta: Seconds until its result, by the mean of past calls; None if there are none.
    """

    __slots__ = ("eta", "rank", "size")

    def __init__(self, rank: int, size: int, eta: float | None) -> None:
        self.rank = rank
        self.size = size
        self.eta = eta


class _Group:
    """The slots of one waiting line."""

    __slots__ = ("limit", "name", "running")

    def __init__(self, name: str, limit: int | None) -> None:
        self.name = name
        self.limit = limit
        self.running: dict[Run, float] = {}  # and when it got its slot; oldest first

    @property
    def free(self) -> bool:
        return self.limit is None or len(self.running) < self.limit


class Queue:
    """Accepts jobs and runs them.

    Belongs to one event loop; `end` and what executors call may come from any thread.

    Args:
        endpoints: By name; more may be added later.
        store: Where jobs wait and their events go.
        max_size: How many jobs may wait; None is no limit.
        max_threads: How many plain functions run at the same time, of all endpoints.
        workers: How to run functions in worker processes.
        on_end: Called with each job that ended; any thread.
        on_progress: Called with a job's id when its progress changed; any thread.
        revive: See `Revive`; any thread.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        store: Store,
        *,
        max_size: int | None,
        max_threads: int,
        workers: Workers,
        on_end: Callable[[Job], None],
        on_progress: Callable[[str], None],
        revive: Revive | None = None,
    ) -> None:
        self.jobs: dict[str, Job] = {}
        """Those without an outcome, by id. Those that wait since before a restart are not there
        until they run."""
        self._revive = revive
        self._endpoints = endpoints
        self._store = store
        self._max_size = max_size
        self._max_threads = max_threads
        self._loop = asyncio.get_running_loop()
        self._on_end = on_end
        self._on_progress = on_progress
        self._groups: dict[str, _Group] = {}
        self._joined: dict[_Group, None] = {}  # lines that jobs have joined a moment ago
        self._lock = threading.Lock()
        self._limited: dict[Endpoint, dict[Run, None]] = {}  # those with a time limit, oldest first
        self._timed: set[Endpoint] = set()  # of these, those with a timer
        self._closed = False
        self._at_rest = asyncio.Event()  # once it is closed
        self._threads = ThreadExecutor(max_threads, self._next)
        self._tasks = LoopExecutor(self._loop, self._next)
        self._workers = workers
        self._processes: ProcessExecutor | None = None
        if any(map(workers.want, endpoints.values())):
            self._started_processes()

    async def ready(self) -> None:
        """Wait until jobs can run at once.

        Raises:
            WorkerError: The worker processes cannot be started.
        """
        if self._processes is not None:
            await self._processes.ready()

    async def submit(
        self,
        job: Job,
        data: bytes,
        *,
        priority: int,
        sharer: str,
        told: bool = False,
        caller: bytes = b"",
        key: str | None = None,
    ) -> str:
        """Accept a job; it runs as soon as there is a slot.

        Args:
            job: The job.
            data: Its arguments, as JSON.
            priority: Higher goes first.
            sharer: Whose it is, for taking turns.
            told: Whether its session's stream tells of it.
            caller: The request that brought it, as the store is to keep it.
            key: Jobs with the same one are the same job; None if it has none.

        Returns:
            The id of the job: another one's, if that has the same key.

        Raises:
            QueueFullError: Too many wait.
            KeyReusedError: The job with the same key is another call.
            StoreError: The store cannot keep it.
        """
        endpoint = job.endpoint
        ticket = Ticket(
            job.id,
            endpoint.api_name,
            data,
            endpoint.concurrency_id,
            endpoint.max_batch_size if endpoint.batch else 1,
            priority,
            sharer,
            job.session.id,
            job.session.username,
            told,
            caller,
            job.files.paths,
            key,
            time.time(),
        )
        group = self._group(endpoint)
        self.jobs[job.id] = job  # before a thread can claim it
        try:
            # What does not wait is not refused because others do.
            max_waiting = self._max_size if endpoint.queue else None
            id = await self._store.enqueue(ticket, max_waiting=max_waiting)
        except asyncio.CancelledError:
            raise  # it may be accepted all the same, and is run then
        except BaseException:
            self.jobs.pop(job.id, None)
            raise
        if id != job.id:
            self.jobs.pop(job.id, None)
            return id
        if self._closed:
            if not self._store.durable:
                self.end(job, failed_event(job.id, _STOPPED, show=True), "failed")
            return id
        self._fill_soon(group)
        return id

    def recover(self) -> None:
        """Go on where the server before this one stopped."""
        for ticket in self._store.interrupted():
            endpoint = self._endpoints.get(ticket.endpoint)
            if (
                endpoint is not None
                and endpoint.on_crash == "retry"
                and ticket.starts <= endpoint.max_retries
            ):
                self._store.requeue(ticket.id)
            else:
                self._refuse(ticket, _CRASHED, retryable=True)
        by_line = {endpoint.concurrency_id: endpoint for endpoint in self._endpoints.values()}
        for line in self._store.lines():
            if (endpoint := by_line.get(line)) is not None:
                self._fill_soon(self._group(endpoint))
                continue
            while tickets := self._store.claim(line):
                for ticket in tickets:
                    self._refuse(ticket, _GONE)

    def _refuse(self, ticket: Ticket, error: Exception, *, retryable: bool = False) -> None:
        event = failed_event(ticket.id, error, show=True, retryable=retryable)
        self._store.finish(ticket.id, encode_message(event))
        if (endpoint := self._endpoints.get(ticket.endpoint)) is not None:
            endpoint.counts["failed"] += 1

    def _group(self, endpoint: Endpoint) -> _Group:
        group = self._groups.get(endpoint.concurrency_id)
        if group is None:
            group = self._groups[endpoint.concurrency_id] = self._make_group(endpoint)
        return group

    def _fill_soon(self, group: _Group) -> None:
        if not self._joined:
            # Once for all that join in this turn of the loop: a thread that is woken for each
            # of them would take the interpreter lock as often.
            self._loop.call_soon(self._fill)
        self._joined[group] = None

    def _fill(self) -> None:
        joined, self._joined = self._joined, {}
        for group in joined:
            try:
                while (run := self._claim(group)) is not None:
                    run.executor.start(run)
            except Exception:  # the other lines need not suffer for it
                _logger.exception("the next job of %s could not be started", group.name)

    def cancel(self, id: str) -> Cancellation:
        """Cancel a job. Its outcome is settled when this returns.

        Raises:
            JobNotFoundError: The store has no such job.
        """
        removed = self._store.withdraw(id)
        job = self.jobs.get(id)
        if job is None and removed:  # it waited since before a restart
            ticket = self._store.ticket(id)
            self._store.finish(id, encode_message(cancelled_event(id)))
            if (endpoint := self._endpoints.get(ticket.endpoint)) is not None:
                endpoint.counts["cancelled"] += 1
            return "removed"
        if job is None or not self.end(job, cancelled_event(id), "cancelled"):
            self._store.ticket(id)
            return "ended"
        if removed or job.run is None or not job.run.started:
            return "removed"
        if not job.run.stopped:
            return "unstoppable"  # others of its batch are still wanted
        return job.run.executor.means(job.endpoint)

    def end(self, job: Job, event: ProcessCompleted, outcome: Outcome) -> bool:
        """Settle a job's outcome from outside of its run; False if it has one."""
        try:
            if not self._store.finish(job.id, encode_message(event)):
                return False
        except JobNotFoundError:
            return False
        self._ended(job, outcome)
        run = job.run
        # The others of a batch still want theirs.
        if run is not None and all(job.id not in self.jobs for job in run.jobs):
            run.stop()
        return True

    def estimate(self, id: str) -> Estimate | None:
        """Return what a waiting job can expect; None if it does not wait, or runs in a moment."""
        position = self._store.position(id)
        if position is None:
            return None
        endpoint = self._endpoints.get(self._store.ticket(id).endpoint)
        if endpoint is None:
            return None
        group = self._group(endpoint)
        with self._lock:
            if group.limit is None or len(group.running) < group.limit:
                return None
            oldest, since = next(iter(group.running.items()))
        own = endpoint.durations.mean
        if own is None:
            return Estimate(*position, None)
        mean = oldest.endpoint.durations.mean or own
        turns = position.rank // (endpoint.max_batch_size if endpoint.batch else 1)
        free_in = max(0.0, since + mean - time.monotonic())
        return Estimate(*position, own + free_in + turns * own / group.limit)

    @property
    def running(self) -> int:
        """How many functions run."""
        return sum(len(group.running) for group in self._groups.values())

    async def drain(self, grace: float) -> None:
        """Start no more jobs, and wait until none runs, ``grace`` seconds at most."""
        self._closed = True
        if self.running:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._at_rest.wait()

    def close(self) -> None:
        """Start no more jobs, and stop what can be stopped.

        In a durable store, jobs that have no outcome are left as a crash would leave them.
        """
        self._closed = True
        if self._store.durable:
            with self._lock:
                runs = [run for group in self._groups.values() for run in group.running]
            for run in runs:
                run.stop()
        self._threads.close()
        self._tasks.close()
        if self._processes is not None:
            self._processes.close()
        if self._store.durable:
            return
        for job in list(self.jobs.values()):
            self.end(job, failed_event(job.id, _STOPPED, show=True), "failed")

    # -- slots --------------------------------------------------------------------

    def _make_group(self, endpoint: Endpoint) -> _Group:
        name = endpoint.concurrency_id
        # Of several limits for one line, the smallest counts, as in gradio.
        sharing = [each for each in self._endpoints.values() if each.concurrency_id == name]
        limits = [each.concurrency_limit for each in sharing]
        for each in sharing:
            if self._workers.want(each):
                limits.append(self._workers.max_processes)
            elif not each.is_async:
                limits.append(self._max_threads)
        return _Group(name, min((limit for limit in limits if limit is not None), default=None))

    def _executor(self, endpoint: Endpoint) -> Executor:
        if self._workers.want(endpoint):
            return self._processes or self._started_processes()
        return self._tasks if endpoint.is_async else self._threads

    def _started_processes(self) -> ProcessExecutor:
        # Imported at use: it is much, and most apps have no use for it.
        from jobwire.server.executors.process import ProcessExecutor

        self._processes = ProcessExecutor(
            filter(self._workers.want, self._endpoints.values()),
            self._next,
            max_processes=self._workers.max_processes,
            max_jobs=self._workers.max_jobs,
        )
        return self._processes

    def _claim(self, group: _Group) -> Run | None:
        """Give a free slot to who is next in a line."""
        with self._lock:
            if self._closed or not group.free:
                return None
            jobs: list[Job] = []
            while not jobs:
                tickets = self._store.claim(group.name)
                if not tickets:
                    return None
                # One that was cancelled in this very moment has gone from the table.
                jobs = [job for ticket in tickets if (job := self._find(ticket))]
            run = Run(
                jobs,
                executor=self._executor(jobs[0].endpoint),
                store=self._store,
                on_end=self._ended,
                on_progress=self._on_progress,
                on_start=self._started,
            )
            group.running[run] = time.monotonic()
        for job in jobs:
            job.run = run
        return run

    def _find(self, ticket: Ticket) -> Job | None:
        """Return a job that is to run; None if it cannot."""
        job = self.jobs.get(ticket.id)
        if job is None and ticket.recovered and self._revive is not None:
            try:
                job = self.jobs[ticket.id] = self._revive(ticket)
            except Exception as error:
                self._refuse(ticket, error)
        return job

    def _next(self, run: Run) -> Run | None:
        endpoint = run.endpoint
        group = self._groups[endpoint.concurrency_id]
        with self._lock:
            group.running.pop(run, None)
            if endpoint in self._limited:
                self._limited[endpoint].pop(run, None)
            endpoint.seconds += run.elapsed
            if run.succeeded:
                endpoint.durations.add(run.elapsed)
            if self._closed and not self.running:
                with suppress(RuntimeError):  # the loop is closed, too
                    self._loop.call_soon_threadsafe(self._at_rest.set)
        return self._claim(group)

    def _ended(self, job: Job, outcome: Outcome) -> None:
        if self.jobs.pop(job.id, None) is not None:
            job.endpoint.counts[outcome] += 1
        self._on_end(job)

    # -- time limits ----------------------------------------------------------------

    def _started(self, run: Run) -> None:
        if run.endpoint.time_limit is not None:
            self._loop.call_soon_threadsafe(self._watch, run, run.endpoint.time_limit)

    def _watch(self, run: Run, limit: float) -> None:
        # All runs of an endpoint have the same limit, so the oldest is due first, and one
        # timer will do.
        with self._lock:
            if run.over:
                return
            self._limited.setdefault(run.endpoint, {})[run] = None
        if run.endpoint not in self._timed:
            self._timed.add(run.endpoint)
            self._loop.call_later(limit, self._expire, run.endpoint, limit)

    def _expire(self, endpoint: Endpoint, limit: float) -> None:
        now = time.monotonic()
        with self._lock:
            runs = self._limited[endpoint]
            due = [run for run in runs if run.started + limit <= now]
            for run in due:
                del runs[run]
            oldest = next(iter(runs), None)
        if oldest is None:
            self._timed.discard(endpoint)
        else:
            self._loop.call_later(oldest.started + limit - now, self._expire, endpoint, limit)
        error = AppError(
            f"{endpoint.label} took longer than its time limit of {limit:g} s", title="Time limit"
        )
        for run in due:
            for job in run.jobs:
                self.end(job, failed_event(job.id, error, show=True), "failed")
