"""One execution of a function on the server: what it does becomes the events of its jobs.

Executors drive a run; they know nothing of messages, and a run knows nothing of threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from msgspec import Raw

from jobwire.exceptions import JobCancelledError
from jobwire.protocol.messages import (
    Failure,
    Log,
    Output,
    ProcessCompleted,
    ProcessGenerating,
    ProcessStarts,
    encode_message,
)
from jobwire.server.context import Level
from jobwire.server.execution import Execution, Inputs, failure_of
from jobwire.server.stores.base import JobNotFoundError, LogFullError, Store
from jobwire.types import ProgressUnit

if TYPE_CHECKING:
    from jobwire.server.executors.base import Executor
    from jobwire.server.job import Job

__all__ = ("Outcome", "Run", "cancelled_event", "failed_event")

Outcome = str
"""How a job ended: ``completed``, ``failed`` or ``cancelled``."""


class Run(Execution):
    """One execution of a function, for one job or for a batch of them.

    It can be executed here, or followed from here while another process executes the
    function and says what it does.

    Args:
        jobs: The jobs, all of one endpoint.
        executor: Where it runs.
        store: Where its events go.
        on_end: Called with a job and its outcome when this run ended it; any thread.
        on_progress: Called with a job's id when its progress changed; any thread.
        on_start: Called when the function is about to run; any thread.

    Attributes:
        stopped: Its outcome is settled; the function should end.
        units: The progress bars, outermost first; None if the function shows none.
        elapsed: Seconds that the function took.
        over: It has ended, or will not start.
        succeeded: The function came to its end.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        executor: Executor,
        store: Store,
        on_end: Callable[[Job, Outcome], None],
        on_progress: Callable[[str], None],
        on_start: Callable[[Run], None],
    ) -> None:
        super().__init__(jobs[0].endpoint)
        self.jobs = list(jobs)
        self.endpoint = jobs[0].endpoint
        self.executor = executor
        self.units: list[ProgressUnit] | None = None
        self.elapsed = 0.0
        self.over = False
        self.succeeded = False
        self._store = store
        self._on_end = on_end
        self._on_progress = on_progress
        self._on_start = on_start
        # Those that follow are told as changes of it.
        self.last = jobs[0].last

    def stop(self) -> None:
        """Tell the function that its outcome is settled. Any thread may call it."""
        self.stopped = True
        if self.stop_event is not None:
            self.stop_event.set()
        self.executor.stop(self)

    # -- what the function does ------------------------------------------------------

    def begin(self) -> bool:
        self.started = time.monotonic()
        eta = self.endpoint.durations.mean
        # Those that were cancelled between being claimed and now are not run.
        self.jobs = [
            job
            for job in self.jobs
            if self._append(job, encode_message(ProcessStarts(job.id, eta)))
        ]
        if not self.jobs:
            return False
        self._on_start(self)
        return True

    def inputs(self) -> Inputs:
        job = self.jobs[0]
        return Inputs(
            [job.args for job in self.jobs],
            job.request,
            job.session,
            [job.files for job in self.jobs],
        )

    def tell_progress(self, units: list[ProgressUnit]) -> None:
        self.units = units
        for job in self.jobs:
            self._on_progress(job.id)

    def say(
        self, message: str, level: Level, title: str, duration: float | None, visible: bool
    ) -> None:
        for job in self.jobs:
            event = Log(job.id, message, level, duration, visible, title)
            self._append(job, encode_message(event))

    def give(self, data: bytes, duration: float) -> bool:
        (job,) = self.jobs  # generators are not batched
        output = Output(Raw(data), duration=duration, is_generating=True)
        return self._append(job, encode_message(ProcessGenerating(job.id, output, success=True)))

    def succeed(self, outputs: Sequence[bytes], duration: float) -> None:
        self.succeeded = True
        for job, data in zip(self.jobs, outputs, strict=True):
            output = Output(Raw(data), duration=duration, is_generating=False)
            try:
                self._finish(job, ProcessCompleted(job.id, output, success=True), "completed")
            except LogFullError as error:
                self._finish(job, failed_event(job.id, error, show=True), "failed")

    def fail(self, error: BaseException) -> None:
        if isinstance(error, JobCancelledError):
            self.give_up()
        else:
            self.fail_with(failure_of(error, show=self.endpoint.show_errors))

    def fail_with(self, failure: Failure) -> None:
        """It failed, and this is what callers are told."""
        for job in self.jobs:
            self._finish(job, _failed(job.id, failure), "failed")

    def give_up(self) -> None:
        """The function says that the job is cancelled."""
        for job in self.jobs:
            self._finish(job, cancelled_event(job.id), "cancelled")

    def end(self) -> None:
        self.elapsed = time.monotonic() - self.started if self.started else 0.0
        self.over = True

    # -- inside ---------------------------------------------------------------------

    def _append(self, job: Job, event: bytes) -> bool:
        try:
            return self._store.append(job.id, event)
        except JobNotFoundError:  # it was stopped so long ago that it has expired
            return False

    def _finish(self, job: Job, message: ProcessCompleted, outcome: Outcome) -> None:
        try:
            ended = self._store.finish(job.id, encode_message(message))
        except JobNotFoundError:
            return
        if ended:
            self._on_end(job, outcome)


def cancelled_event(id: str) -> ProcessCompleted:
    """Return the outcome of a cancelled job: as stock servers have it, a success with nothing."""
    return ProcessCompleted(id, Output(), success=True)


class _Retryable(Failure):
    """Fails for a reason that is not the function's."""

    retryable: bool = True


def failed_event(
    id: str, error: BaseException, *, show: bool, retryable: bool = False
) -> ProcessCompleted:
    """Return the outcome of a failed job.

    Args:
        id: The job.
        error: As for `failure_of`.
        show: As for `failure_of`.
        retryable: Say that it was not for the function, so that to submit the job again may help.
    """
    failure = failure_of(error, show=show)
    if retryable:
        failure = _Retryable(failure.error, failure.duration, failure.visible, failure.title)
    return _failed(id, failure)


def _failed(id: str, failure: Failure) -> ProcessCompleted:
    return ProcessCompleted(id, cast("Output", failure), success=False, title=failure.title)
