"""One execution of a function: what it does becomes the events of its jobs.

Executors drive a run; they know nothing of messages, and a run knows nothing of threads.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from msgspec import Raw

from jobwire.exceptions import AppError, JobCancelledError
from jobwire.protocol.diff import make_edits
from jobwire.protocol.messages import (
    Failure,
    Log,
    Output,
    ProcessCompleted,
    ProcessGenerating,
    ProcessStarts,
    encode_message,
    encode_value,
)
from jobwire.server.context import (
    Bar,
    CancelToken,
    Level,
    Progress,
    Request,
    Session,
    current_run,
)
from jobwire.server.stores.base import JobNotFoundError, LogFullError, Store
from jobwire.server.values import well_formed
from jobwire.types import ProgressUnit

if TYPE_CHECKING:
    from jobwire.server.executors.base import Executor
    from jobwire.server.job import Job

__all__ = ("INJECTABLE", "Outcome", "Run", "cancelled_event", "failed_event")

T = TypeVar("T")

MAX_TEXT = 20_000
"""Characters of a log line or an error: enough for a traceback, for whoever sends one."""

_PLAIN = (str, int, float, NoneType)

_logger = logging.getLogger("jobwire.server")

INJECTABLE = (Progress, Request, Session, CancelToken)
"""The types of parameters that a run fills."""

Outcome = str
"""How a job ended: ``completed``, ``failed`` or ``cancelled``."""


class Run:
    """One execution of a function, for one job or for a batch of them.

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
        started: Monotonic seconds; 0 before.
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
        self.jobs = list(jobs)
        self.endpoint = jobs[0].endpoint
        self.executor = executor
        self.stopped = False
        self.stop_event: threading.Event | None = None
        self.track_tqdm = False
        self.bars: list[Bar[Any]] = []
        self.units: list[ProgressUnit] | None = None
        self.started = 0.0
        self.elapsed = 0.0
        self.over = False
        self.succeeded = False
        self._store = store
        self._on_end = on_end
        self._on_progress = on_progress
        self._on_start = on_start
        # The last output, on the wire: those that follow are told as changes of it.
        self._last: list[Any] | None = jobs[0].last
        self._step = 0.0  # when the current step began

    # -- for executors -----------------------------------------------------------

    def execute(self) -> None:
        """Run a plain function or generator, in this thread. Does not raise."""
        try:
            if not self._begin():
                return
            args, kwargs = self._arguments()
            if self.endpoint.signature.kind == "function":
                self._succeed(self.endpoint.function(*args, **kwargs))
                return
            outputs = self.endpoint.function(*args, **kwargs)
            try:
                for output in outputs:
                    if self.stopped or not self._give(output):
                        return
            finally:
                # By name: an error's traceback would keep the generator from being closed.
                if (close := getattr(outputs, "close", None)) is not None:
                    close()
            self._succeed()
        except BaseException as error:
            self._fail(error)
        finally:
            self.elapsed = time.monotonic() - self.started
            self.over = True

    async def execute_async(self) -> None:
        """Run a coroutine function or asynchronous generator.

        Cancelling the task cancels the function. Raises nothing but the cancellation of a run
        that was not stopped.
        """
        try:
            if not self._begin():
                return
            args, kwargs = self._arguments()
            if self.endpoint.signature.kind == "coroutine":
                result = await self.endpoint.function(*args, **kwargs)
                await self._off_loop(self._succeed, result)
                return
            outputs = self.endpoint.function(*args, **kwargs)
            try:
                async for output in outputs:
                    if self.stopped or not await self._off_loop(self._give, output):
                        return
                    # A generator that never waits must not keep the loop from all else.
                    await asyncio.sleep(0)
            finally:
                if (close := getattr(outputs, "aclose", None)) is not None:
                    await close()
            self._succeed()
        except BaseException as error:
            self._fail(error)
            task = asyncio.current_task()
            if not self.stopped and task is not None and task.cancelling():
                raise  # not ours: the loop is being closed
        finally:
            self.elapsed = time.monotonic() - self.started
            self.over = True

    async def _off_loop(self, send: Callable[[Any], T], result: Any) -> T:
        # Files are copied; that must not keep the loop from all else.
        if self.endpoint.may_give_files and not isinstance(result, _PLAIN):
            return await asyncio.to_thread(send, result)
        return send(result)

    def stop(self) -> None:
        """Tell the function that its outcome is settled. Any thread may call it."""
        self.stopped = True
        if self.stop_event is not None:
            self.stop_event.set()
        self.executor.stop(self)

    # -- for the things a function uses -------------------------------------------

    def tell_progress(self, units: list[ProgressUnit]) -> None:
        self.units = units
        for job in self.jobs:
            self._on_progress(job.id)

    def tell_log(
        self, message: str, level: Level, title: str, duration: float | None, visible: bool
    ) -> None:
        for job in self.jobs:
            event = Log(job.id, _sendable(message), level, duration, visible, _sendable(title))
            self._append(job, encode_message(event))

    # -- inside ---------------------------------------------------------------------

    def _begin(self) -> bool:
        current_run.set(self)
        self.started = self._step = time.monotonic()
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

    def _arguments(self) -> tuple[list[Any], dict[str, Any]]:
        job = self.jobs[0]
        args = job.args
        if self.endpoint.batch:
            args = [list(column) for column in zip(*(job.args for job in self.jobs), strict=True)]
        signature = self.endpoint.signature
        injected = {name: self._inject(kind) for name, kind in signature.injected.items()}
        if self.endpoint.track_tqdm:
            self.track_tqdm = True
        return signature.bind(args, injected)

    def _inject(self, kind: type) -> Any:
        if kind is Progress:
            return Progress().bound(self)
        if kind is CancelToken:
            return CancelToken(self)
        return self.jobs[0].session if kind is Session else self.jobs[0].request

    def _give(self, result: Any) -> bool:
        """Send an output; False if nobody wants more."""
        (job,) = self.jobs  # generators are not batched
        now = time.monotonic()
        values = self.endpoint.signature.encode(result, files=job.files)
        if self._last is None:
            data: Any = values
        else:
            data = [make_edits(old, new) for old, new in zip(self._last, values, strict=True)]
        self._last = values
        output = Output(Raw(encode_value(data)), duration=now - self._step, is_generating=True)
        self._step = now
        return self._append(job, encode_message(ProcessGenerating(job.id, output, success=True)))

    def _append(self, job: Job, event: bytes) -> bool:
        try:
            return self._store.append(job.id, event)
        except JobNotFoundError:  # it was stopped so long ago that it has expired
            return False

    def _succeed(self, result: Any = None) -> None:
        if self.stopped:
            return  # what nobody gets need not be converted
        signature = self.endpoint.signature
        if self.endpoint.batch:
            samples = _split(result, len(self.jobs), len(signature.outputs))
        else:
            samples = [result]
        duration = time.monotonic() - self.started
        # All of a batch is converted before any of it is told, so that it fails as a whole.
        outputs = []
        for job, sample in zip(self.jobs, samples, strict=True):
            if signature.kind in ("function", "coroutine"):
                values = signature.encode(sample, files=job.files)
            else:
                # A generator ends with what it gave last; what it returns is not an output.
                values = self._last if self._last is not None else [None] * len(signature.outputs)
            outputs.append(
                Output(Raw(encode_value(values)), duration=duration, is_generating=False)
            )
        self.succeeded = True
        for job, output in zip(self.jobs, outputs, strict=True):
            try:
                self._finish(job, ProcessCompleted(job.id, output, success=True), "completed")
            except LogFullError as error:
                self._finish(job, failed_event(job.id, error, show=True), "failed")

    def _fail(self, error: BaseException) -> None:
        if self.stopped:
            if not isinstance(error, (JobCancelledError, asyncio.CancelledError, GeneratorExit)):
                _logger.warning(
                    "%s raised when it was stopped", self.endpoint.label, exc_info=error
                )
            return
        if not isinstance(error, (AppError, LogFullError, JobCancelledError)):
            with suppress(Exception):  # a handler of the log may fail; the job must end
                _logger.error("%s failed", self.endpoint.label, exc_info=error)
        for job in self.jobs:
            if isinstance(error, JobCancelledError):  # the function gave up by itself
                self._finish(job, cancelled_event(job.id), "cancelled")
            else:
                event = failed_event(job.id, error, show=self.endpoint.show_errors)
                self._finish(job, event, "failed")

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
        error: Why it failed. What an `AppError` says is for the caller; of others, the
            caller is told no more than the kind, since their text may hold secrets.
        show: Show the text of all errors.
        retryable: Say that it was not for the function, so that to submit the job again may help.
    """
    title, visible = "Error", True
    duration: float | None = 10.0
    if isinstance(error, AppError):
        text, title, visible = error.message, error.title, error.visible
        duration = error.duration if isinstance(error.duration, int | float) else None
    elif isinstance(error, LogFullError) or show:
        text = _text(error)
    else:
        text = f"the function raised {type(error).__name__}; the server's log says more"
    title = _sendable(title)
    kind = _Retryable if retryable else Failure
    failure = kind(_sendable(text), duration, bool(visible), title)
    return ProcessCompleted(id, cast("Output", failure), success=False, title=title)


def _text(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:  # whoever wrote the error's class did not try this
        return type(error).__name__


def _sendable(text: object) -> str:
    """Return what an app gave as a text, such that it can be sent."""
    if not isinstance(text, str):
        try:
            text = repr(text)
        except Exception:
            text = type(text).__name__
    return well_formed(str(text))[:MAX_TEXT]


def _split(result: Any, jobs: int, outputs: int) -> list[Any]:
    """Cut what a batch function returned, a list for each output, into one result a job."""
    columns = [result] if outputs == 1 else result
    if not outputs:
        return [None] * jobs
    for column in columns:
        if not isinstance(column, (list, tuple)) or len(column) != jobs:
            raise TypeError(
                f"a batch function returns, for each output, a list with one value for each of "
                f"its {jobs} jobs; this one returned {type(column).__name__}"
                + (f" of {len(column)}" if isinstance(column, (list, tuple)) else "")
            )
    samples = list(zip(*columns, strict=True))
    return [sample[0] for sample in samples] if outputs == 1 else samples
