"""A job, for asynchronous code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from jobwire.client.tasks import run_soon
from jobwire.exceptions import (
    ClientClosedError,
    DownloadError,
    JobTimeoutError,
    JobwireError,
    LocalProtocolError,
    UnsupportedProtocolError,
)
from jobwire.protocol.job import JobMachine, State
from jobwire.protocol.messages import Estimation, Log
from jobwire.protocol.outputs import OutputCursor
from jobwire.types import OutputUpdate, Status, StatusUpdate, Update

if TYPE_CHECKING:
    from jobwire.client.client import AsyncClient
    from jobwire.client.deadline import Deadline
    from jobwire.client.fetch import Fetch
    from jobwire.client.observer import Observer
    from jobwire.client.sessions import JobSession
    from jobwire.protocol.replies import KnownJob

__all__ = ("AsyncJob",)

logger = logging.getLogger("jobwire")


class AsyncJob:
    """A call to an app's endpoint, from being submitted to its one outcome.

    Made by `AsyncClient.submit`. Awaiting it gives the result; iterating over it gives
    each output as it arrives; `updates` gives everything. Any number of tasks may do
    any of these at once: each sees every output, from the first on.

    A job belongs to the event loop of its client. Cancelling a task that waits for a
    job leaves the job alone; `cancel` ends it.
    """

    def __init__(
        self,
        client: AsyncClient,
        machine: JobMachine,
        session: JobSession,
        deadline: Deadline,
        fetch: Fetch | None = None,
    ) -> None:
        # Holding the client keeps it from being closed as garbage before its jobs end.
        self._client = client
        self._machine = machine
        self._session = session
        self._loop = asyncio.get_running_loop()
        # Monotonic seconds to wall-clock seconds.
        self._wall = datetime.now().timestamp() - self._loop.time()
        self._fetch = fetch
        self._fetching: asyncio.Task[None] | None = None
        self._observer: Observer | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._callbacks: list[Callable[[AsyncJob], object]] = []
        # Submits the job once more after it was lost; None if it has ended, or must not be.
        self._again: Callable[[], Coroutine[Any, Any, None]] | None = None
        self._deadline = deadline
        self._timer = None if deadline.at is None else self._loop.call_at(deadline.at, self._expire)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self._machine.event_id or 'without id'} "
            f"{self._machine.code.name}>"
        )

    @property
    def event_id(self) -> str | None:
        """The server's id of the job; None until the server gave it one.

        It does so when it confirms the job, from gradio 4.0 to 4.8 when the job's turn
        has come, and never before 4.0.
        """
        return self._machine.event_id

    def __await__(self) -> Generator[Any, None, Any]:
        return self.result().__await__()

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for the job to end and return its result.

        Args:
            timeout: Seconds to wait; None for as long as it takes, 0 not at all. The
                job goes on when they have passed.

        Returns:
            The value of the endpoint's output; a tuple if it has several, or none. Of
            a generator endpoint: the last.

        Raises:
            TimeoutError: ``timeout`` passed first.
            JobTimeoutError: The timeout that the job was given passed; also a
                TimeoutError, but of a job that has ended.
            AppError: The app's function failed.
            JobCancelledError: The job was cancelled.
            ConnectionLostError: The connection broke, and the job with it.
            QueueFullError, ValidationError, AuthenticationError, RateLimitedError,
            ServerError: The server refused the job.
            ConnectError, TransportTimeoutError: The server could not be reached.
            FileError: A file among the arguments could not be read.
            DownloadError: A file of the outputs could not be fetched.
            RemoteProtocolError: The server sent nonsense.
            ClientClosedError: The client was closed.
        """
        await self._wait_for_end(timeout)
        if self._machine.error is not None:
            raise _fresh(self._machine.error)
        return self._machine.outputs.result

    async def exception(self, timeout: float | None = None) -> JobwireError | None:
        """Wait for the job to end and return why it failed; None if it succeeded.

        Args:
            timeout: As for `result`.

        Raises:
            TimeoutError: ``timeout`` passed first.
            JobCancelledError: The job was cancelled.
        """
        await self._wait_for_end(timeout)
        if self.cancelled() and self._machine.error is not None:
            raise _fresh(self._machine.error)
        return self._machine.error

    async def _wait_for_end(self, timeout: float | None) -> None:
        if self._machine.state.ended:
            return
        try:
            async with asyncio.timeout(timeout):
                while not self._machine.state.ended:
                    await self._wait_for_change()
        except TimeoutError:
            if not self._machine.state.ended:
                raise TimeoutError(f"the job did not end within {timeout} s") from None

    async def _wait_for_change(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise LocalProtocolError(
                "a job is waited for in the event loop of its client; it runs in another one"
            )
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def _catch_up(self, known: KnownJob, timeout: float | None) -> None:
        """Wait until the job is as far as the server is known to have been with it.

        Args:
            known: What the server said.
            timeout: Seconds to wait at most; None for as long as it takes.
        """
        machine = self._machine
        if known.status == "waiting":
            position = Estimation(None, known.rank, known.queue_size, known.rank_eta)
            machine.receive(position, self._loop.time())
            self._notify()
            return
        try:
            async with asyncio.timeout(timeout):
                while machine.state is State.ACCEPTED or (known.ended and not machine.state.ended):
                    await self._wait_for_change()
        except TimeoutError:
            logger.info("the events of %s take long to come", machine.event_id)

    def _notify(self) -> None:
        """Wake whoever waits for a change. Called by the session, after each."""
        if self._machine.rendered is not None:
            self._client._take_rendered(self._session, self._machine.rendered)
            self._machine.rendered = None
        if self._observer is not None:
            self._observer.look()
        if self._waiters:
            waiters, self._waiters = self._waiters, set()
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
        if self._machine.state.ended:
            self._again = None
            if self._timer is not None:
                self._timer.cancel()
            if self._fetching is not None:
                self._fetching.cancel()
            callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                self._loop.call_soon(self._call, callback)
        elif (
            self._fetch is not None
            and self._fetching is None
            and (self._fetch.behind(self._machine.outputs) or self._machine.state.settled)
        ):
            self._fetching = run_soon(self._client._fetches, self._bring_files(self._fetch))

    # -- time, and trying again --

    def _expire(self) -> None:
        machine = self._machine
        error = JobTimeoutError(
            f"the job {machine.event_id or '(without an id)'} did not end within "
            f"{self._deadline.timeout:g} s, and was cancelled; it was {machine.code.name}",
            event_id=machine.event_id,
            outputs=machine.outputs.outputs,
        )
        run_soon(self._client._tasks, self._session.cancel(self, machine, error))

    async def _wait_to_retry(self, delay: float, why: str) -> bool:
        """Wait before the job is sent again; False if it has ended, or would have by then."""
        if self._machine.state.ended or self._deadline.passes_within(delay):
            return False
        text = f"trying again in {delay:.2g} s: {why}"
        logger.info("a job could not be submitted; %s", text)
        self._machine.wait(text, self._loop.time())
        if self._observer is not None:
            self._observer.retry(delay, why)
        self._notify()
        try:
            await self._wait_for_end(delay)
        except TimeoutError:
            return True
        return False

    def _repeat(self) -> bool:
        """Use up one of the times that the job may be sent again; False if there is none."""
        return self._machine.repeat(self._loop.time())

    def _submit_again(self) -> None:
        """Have the job submitted once more. Called by the session that has lost it."""
        self._machine.lost = False
        self._notify()
        if self._again is not None:
            run_soon(self._client._tasks, self._again())

    async def _bring_files(self, fetch: Fetch) -> None:
        """Fetch the files of what has come by now; end the job if it only waits for that."""
        machine = self._machine
        failure: DownloadError | None = None
        try:
            while fetch.behind(machine.outputs):
                await fetch.run(machine.outputs)
                self._notify()
        except DownloadError as error:
            failure = error
            failure.event_id = machine.event_id
        except Exception as error:
            logger.exception("a job's files could not be fetched")
            failure = DownloadError(
                f"the job's files could not be fetched: {error!r}", event_id=machine.event_id
            )
        except asyncio.CancelledError:
            # Of a job that has ended; else the client is being closed.
            self._fetching = None
            closed = ClientClosedError(
                "the client was closed while the job's files were fetched",
                event_id=machine.event_id,
            )
            if machine.fail(closed, self._loop.time()):
                self._notify()
            raise
        finally:
            self._fetching = None
        if failure is not None and not machine.failing:
            await self._session.cancel(self, machine, failure)
        elif machine.state.settled:
            machine.fetched(self._loop.time())
            self._notify()

    def add_done_callback(self, fn: Callable[[AsyncJob], object]) -> None:
        """Have ``fn(job)`` called by the event loop once the job has ended, or soon if it has.

        Args:
            fn: Must not block. Those of one job are called in the order in which they were
                added. What one raises is logged, and harms neither the job nor the others.
        """
        if self._machine.state.ended:
            self._loop.call_soon(self._call, fn)
        else:
            self._callbacks.append(fn)

    def _call(self, fn: Callable[[AsyncJob], object]) -> None:
        try:
            fn(self)
        except Exception:
            logger.exception("a callback failed")

    def done(self) -> bool:
        """Whether the job has ended, in whatever way. Does not block."""
        return self._machine.state.ended

    def running(self) -> bool:
        """Whether the server is running the job's function. Does not block."""
        return self._machine.state is State.RUNNING

    def cancelled(self) -> bool:
        """Whether the job was cancelled, here or on the server. Does not block."""
        return self._machine.state is State.CANCELLED

    def outputs(self) -> list[Any]:
        """Return the outputs so far, oldest first. Does not block.

        A bare value for each if the endpoint has one output, else a tuple. The result
        of an endpoint that is no generator is its one output. The values share
        structure with each other: read them, do not change them.
        """
        return self._machine.outputs.outputs()

    def status(self) -> StatusUpdate:
        """Return where the job is now. Does not block."""
        machine = self._machine
        return StatusUpdate(
            code=machine.code,
            rank=machine.rank,
            queue_size=machine.queue_size,
            eta=machine.eta,
            success=machine.state is State.COMPLETED if machine.state.ended else None,
            time=datetime.fromtimestamp(self._wall + machine.changed_at),
            progress_data=list(machine.progress) if machine.progress is not None else None,
            log=machine.outputs.last_log if machine.code is Status.LOG else None,
        )

    async def cancel(self) -> bool:
        """End the job now, and have the server stop it.

        A job that waits is taken out of the server's queue (before gradio 6.14: stopped
        when its turn comes; before 4.9: not run then). A generator is stopped at its
        next step, an ``async`` function where it awaits. A plain function runs to its
        end, and what it returns is thrown away. While other jobs of the same function
        run in this session, the server can stop all of them or none; then the job runs
        on until they ended, or, since 6.14, only its generator is stopped.

        Returns:
            True if the job was in flight: its outcome is now `JobCancelledError`, and
            the server was told if it could be reached. False if it had ended before;
            nothing changes then.
        """
        return await self._session.cancel(self, self._machine)

    async def detach(self) -> str:
        """Leave the job to the server: it goes on there when this client is closed.

        Waits until the server has taken the job. It can be followed here as before, and by
        its id from everywhere (`AsyncClient.job`). A generator that nobody follows is stopped
        after a while, if its endpoint does not say otherwise.

        Returns:
            The server's id of the job.

        Raises:
            UnsupportedProtocolError: The server keeps no jobs, as none of Gradio's does.
            JobwireError: What `result` would raise, if the job has ended without an id.
        """
        if not self._session.durable:
            raise UnsupportedProtocolError(
                "the server keeps no jobs to come back to; only those of jobwire do"
            )
        self._machine.detached = True
        while self._machine.event_id is None:
            if self._machine.error is not None:
                raise _fresh(self._machine.error)
            await self._wait_for_change()
        return self._machine.event_id

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate over the outputs, from the first on, as they arrive.

        Cancelling a wait for the next one loses nothing: ask again.

        Raises:
            As `result`, after the last output, if the job does not succeed.
        """
        return _Outputs(self)

    def updates(self) -> AsyncIterator[Update]:
        """Iterate over everything that happens to the job, as it happens.

        Every output and every log line is given, in order, from the first on. Of rank,
        ETA and progress, a reader that is slower than the server gets the latest. The
        result comes as an `OutputUpdate` that is ``final``, and a `StatusUpdate` of the
        end comes last. Never raises for the job's failure: the last status has
        ``success`` False, and `result` tells why.
        """
        return _Updates(self)

    def _log_update(self, line: Log) -> StatusUpdate:
        now = self.status()
        return StatusUpdate(
            code=Status.LOG,
            rank=now.rank,
            queue_size=now.queue_size,
            eta=now.eta,
            success=None,
            time=now.time,
            progress_data=now.progress_data,
            log=(line.log, line.level),
        )


class _Outputs:
    """Iterates over a job's outputs. A class, since a generator ends when it is cancelled."""

    def __init__(self, job: AsyncJob) -> None:
        self._job = job
        self._cursor = OutputCursor(job._machine.outputs)
        self._raised = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while True:
            entry = self._cursor.next()
            if isinstance(entry, OutputUpdate):
                return entry.outputs
            if entry is None:
                if self._job._machine.state.ended:
                    break
                await self._job._wait_for_change()
        error = self._job._machine.error
        if error is None or self._raised:
            raise StopAsyncIteration
        self._raised = True
        raise _fresh(error)


class _Updates:
    """Iterates over everything that happens to a job."""

    def __init__(self, job: AsyncJob) -> None:
        self._job = job
        self._cursor = OutputCursor(job._machine.outputs, with_result=True)
        self._seen = -1
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update:
        machine = self._job._machine
        while not self._ended:
            entry = self._cursor.next()
            if isinstance(entry, OutputUpdate):
                return entry
            if isinstance(entry, Log):
                return self._job._log_update(entry)
            if self._seen != machine.version:
                self._seen = machine.version
                if machine.code is not Status.LOG:  # told by its own update
                    self._ended = machine.state.ended
                    return self._job.status()
            else:
                await self._job._wait_for_change()
        raise StopAsyncIteration


def _fresh(error: JobwireError) -> JobwireError:
    # Raised perhaps many times: each raise would add its frames to one traceback.
    return error.with_traceback(None)
