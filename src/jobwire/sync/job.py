"""A job, for plain code."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from jobwire.client.job import AsyncJob
from jobwire.exceptions import JobCancelledError, JobwireError
from jobwire.types import StatusUpdate, Update

if TYPE_CHECKING:
    from jobwire.sync.client import Client
    from jobwire.sync.loop import LoopThread

__all__ = ("Job",)

T = TypeVar("T")

_END: Any = object()


class Job(concurrent.futures.Future[Any]):
    """A call to an app's endpoint, from being submitted to its one outcome.

    Made by `Client.submit`. It is a `concurrent.futures.Future`, so
    ``concurrent.futures.wait`` and ``as_completed`` work with it, and iterating over
    it gives each output as it arrives. Any number of threads may use it at once; each
    iterator sees every output, from the first on.

    Waiting takes no thread but the one that waits.
    """

    def __init__(self, client: Client, job: AsyncJob) -> None:
        super().__init__()
        # Holding the client keeps it from being closed as garbage before its jobs end.
        self._client = client
        self._loop = client._loop
        self._job = job
        self._own_iterator = iter(self)
        job.add_done_callback(self._finish)

    def __repr__(self) -> str:
        return repr(self._job).replace("AsyncJob", "Job")

    def _finish(self, job: AsyncJob) -> None:
        """Take over the outcome. Runs in the loop's thread."""
        error = job._machine.error
        if job.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
        elif error is not None:
            self.set_exception(error)
        else:
            self.set_result(job._machine.outputs.result)

    @property
    def event_id(self) -> str | None:
        """The server's id of the job; None until the server confirmed it."""
        return self._job.event_id

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the job to end and return its result. See `AsyncJob.result`.

        Args:
            timeout: Seconds to wait; None for as long as it takes, 0 not at all. The
                job goes on when they have passed.

        Raises:
            TimeoutError: ``timeout`` passed first.
            JobCancelledError: The job was cancelled; a
                ``concurrent.futures.CancelledError``.
            JobwireError: The job failed.
        """
        self._loop.check()
        try:
            return super().result(timeout)
        except concurrent.futures.CancelledError:
            raise self._cancelled_error() from None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the job to end and return why it failed. See `AsyncJob.exception`."""
        self._loop.check()
        try:
            return super().exception(timeout)
        except concurrent.futures.CancelledError:
            raise self._cancelled_error() from None

    def _cancelled_error(self) -> JobwireError:
        error = self._job._machine.error or JobCancelledError("the job was cancelled")
        return error.with_traceback(None)

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[Any]], object]) -> None:
        """Have ``fn(job)`` called once the job has ended, or soon if it has.

        Args:
            fn: Called in a thread for callbacks, never in that of the event loop. Those
                of one job are called one after another, in the order in which they were
                added; those of another job do not wait for them. (32 that block at once
                hold up the others.) What one raises is logged, and harms neither the job
                nor the others.
        """
        super().add_done_callback(lambda _: self._loop.callbacks.call(self, partial(fn, self)))

    def running(self) -> bool:
        """Whether the server is running the job's function. Does not block."""
        return self._job.running()

    def outputs(self) -> list[Any]:
        """Return the outputs so far, oldest first. See `AsyncJob.outputs`."""
        return self._loop.run(_do(self._job.outputs))

    def status(self) -> StatusUpdate:
        """Return where the job is now. See `AsyncJob.status`."""
        return self._loop.run(_do(self._job.status))

    def cancel(self) -> bool:
        """End the job now, and have the server stop it. See `AsyncJob.cancel`.

        Blocks until the server was told, 15 seconds at most.
        """
        return self._loop.run(self._job.cancel())

    def detach(self) -> str:
        """Leave the job to the server, and return its id. See `AsyncJob.detach`.

        Blocks until the server has taken the job.
        """
        return self._loop.run(self._job.detach())

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the outputs, from the first on, as they arrive; blocks for each.

        Raises:
            As `result`, after the last output, if the job does not succeed.
        """
        return _Blocking(self._loop, aiter(self._job))

    def __next__(self) -> Any:
        """Return the next output that ``next(job)`` has not returned yet."""
        return next(self._own_iterator)

    def updates(self) -> Iterator[Update]:
        """Iterate over everything that happens to the job. See `AsyncJob.updates`."""
        return _Blocking(self._loop, self._job.updates())

    def progress_bar(self) -> Any:
        """Wait for the job to end, showing how it goes on standard error.

        ::

            text = client.submit("talk.mp3", api_name="/transcribe").progress_bar()

        On a terminal: where the job is, its place in the queue, its ETA and its progress
        bars, which change in place and are erased at the end; what it logs, above them.
        Elsewhere: a plain line now and then. In a notebook: what the job itself shows
        there. Blocks without a limit. Ctrl-C ends the showing and leaves the job alone,
        as it does with `result`; `cancel` ends the job.

        Returns:
            The result, so that a failure cannot be overlooked.

        Raises:
            As `result`.
        """
        from jobwire.sync import notebook

        if notebook.is_live():
            notebook.show(self)
        else:
            from jobwire.sync.terminal import make_display

            with make_display() as display:
                for updates in self._gathered():
                    display.show(updates)
        return self.result()

    def _gathered(self) -> Iterator[list[Update]]:
        """Iterate over the updates, those together that came nearly at once."""
        from jobwire.sync.view import INTERVAL, gathered

        return _Blocking(self._loop, gathered(self._job.updates(), INTERVAL))

    def _ipython_display_(self) -> None:
        """Show the job in a notebook, where it goes on being shown until it has ended."""
        from jobwire.sync import notebook

        if not notebook.is_live():
            raise NotImplementedError  # IPython asks for what comes next
        notebook.show(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """How the job is now, for whatever cannot show it live."""
        from jobwire.sync import notebook

        return notebook.bundle_of(self)

    async def __aiter__(self) -> AsyncGenerator[Update]:
        """Iterate over everything that happens, from asynchronous code, as `updates`.

        For programs written for ``gradio_client``; in new ones, use `AsyncClient`.
        """
        updates = self._job.updates()
        while True:
            future = self._loop.start(_next(updates))
            if (update := await asyncio.wrap_future(future)) is _END:
                return
            yield update


class _Blocking:
    """Iterates over what arrives in the loop. Threads that share one get each item once."""

    def __init__(self, loop: LoopThread, source: AsyncIterator[Any]) -> None:
        self._loop = loop
        self._source = source
        self._lock = threading.Lock()
        # Outlives a wait that Ctrl-C ends: what comes of it is for the next one.
        self._next: concurrent.futures.Future[Any] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        with self._lock:
            if self._next is None:
                self._next = self._loop.start(_next(self._source))
            self._loop.check()
            self._next.exception()  # waits
            done, self._next = self._next, None
            if (item := done.result()) is _END:
                raise StopIteration
            return item


async def _do(fn: Callable[[], T]) -> T:
    return fn()


async def _next(source: AsyncIterator[Any]) -> Any:
    return await anext(source, _END)
