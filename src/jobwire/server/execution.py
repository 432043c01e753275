"""A function at work, in whatever process: how it is called, what it gives and raises.

Executors drive an execution. It turns what the function gives into wire data, and leaves to
those that derive from it where the data go: a `Run` writes them to the jobs' logs; in a
worker process they are sent to the server.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import NoneType
from typing import Any, NamedTuple, Protocol, TypeVar

from jobwire.exceptions import AppError, JobCancelledError
from jobwire.protocol.diff import make_edits
from jobwire.protocol.messages import Failure, encode_value
from jobwire.server.context import (
    Bar,
    CancelToken,
    Level,
    Progress,
    Request,
    Session,
    current_run,
)
from jobwire.server.errors import WorkerError
from jobwire.server.signature import Signature
from jobwire.server.stores.base import LogFullError
from jobwire.server.values import FileWriter, well_formed
from jobwire.types import ProgressUnit

__all__ = ("INJECTABLE", "Callee", "Execution", "Inputs", "failure_of", "sendable")

T = TypeVar("T")

MAX_TEXT = 20_000
"""Characters of a log line or an error: enough for a traceback, for whoever sends one."""

_PLAIN = (str, int, float, NoneType)

_logger = logging.getLogger("jobwire.server")

INJECTABLE = (Progress, Request, Session, CancelToken)
"""The types of parameters that are filled here."""


class Callee(Protocol):
    """What has to be known of a function to call it. See `Endpoint`."""

    @property
    def label(self) -> str: ...
    @property
    def function(self) -> Callable[..., Any]: ...
    @property
    def signature(self) -> Signature: ...
    @property
    def batch(self) -> bool: ...
    @property
    def track_tqdm(self) -> bool: ...


class Inputs(NamedTuple):
    """What a function is called with.

    Attributes:
        args: For each job, its arguments.
        request: The request that brought the first of them.
        session: The session of the first; None where there are no sessions.
        files: For each job, what takes in the files that it gives.
    """

    args: Sequence[list[Any]]
    request: Request
    session: Session | None
    files: Sequence[FileWriter]


class Execution(ABC):
    """One execution of a function, for one job or for a batch of them.

    Attributes:
        callee: The function.
        stopped: Nobody wants its result any more; the function should end.
        started: Monotonic seconds; 0 before.
        last: The last output, on the wire; the next is told as what differs from it.
    """

    def __init__(self, callee: Callee) -> None:
        self.callee = callee
        self.stopped = False
        self.stop_event: threading.Event | None = None
        self.track_tqdm = False
        self.bars: list[Bar[Any]] = []
        self.started = 0.0
        self._files: Sequence[FileWriter] = ()
        self.last: list[Any] | None = None
        self._step = 0.0  # when the current step began

    # -- for executors -----------------------------------------------------------

    def execute(self) -> None:
        """Run a plain function or generator, in this thread. Does not raise."""
        try:
            if not self._begin():
                return
            args, kwargs = self._arguments()
            if self.callee.signature.kind == "function":
                self._succeed(self.callee.function(*args, **kwargs))
                return
            outputs = self.callee.function(*args, **kwargs)
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
            self.end()

    async def execute_async(self) -> None:
        """Run a coroutine function or asynchronous generator.

        Cancelling the task cancels the function. Raises nothing but the cancellation of one
        that was not stopped.
        """
        try:
            if not self._begin():
                return
            args, kwargs = self._arguments()
            if self.callee.signature.kind == "coroutine":
                result = await self.callee.function(*args, **kwargs)
                await self._off_loop(self._succeed, result)
                return
            outputs = self.callee.function(*args, **kwargs)
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
            self.end()

    # -- for the things a function uses -------------------------------------------

    @abstractmethod
    def tell_progress(self, units: list[ProgressUnit]) -> None:
        """Show the latest progress."""

    def tell_log(
        self, message: str, level: Level, title: str, duration: float | None, visible: bool
    ) -> None:
        """Write a line to the callers."""
        self.say(sendable(message), level, sendable(title), duration, visible)

    # -- where what it does goes -----------------------------------------------------

    @abstractmethod
    def begin(self) -> bool:
        """The function is about to be called; False if nobody wants it any more."""

    @abstractmethod
    def inputs(self) -> Inputs:
        """Return what to call the function with."""

    @abstractmethod
    def say(
        self, message: str, level: Level, title: str, duration: float | None, visible: bool
    ) -> None:
        """Write a line to the callers, whose texts can be sent."""

    @abstractmethod
    def give(self, data: bytes, duration: float) -> bool:
        """Take an output of a generator; False if nobody wants more.

        Args:
            data: As JSON: the first as it is, of the others the edits of the one before.
            duration: Seconds since the one before.
        """

    @abstractmethod
    def succeed(self, outputs: Sequence[bytes], duration: float) -> None:
        """Take what it gave in the end, as JSON, for each job, after so many seconds."""

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """It raised. `JobCancelledError` means that it gave up by itself."""

    @abstractmethod
    def end(self) -> None:
        """It is over, whatever came of it."""

    # -- inside ---------------------------------------------------------------------

    def _begin(self) -> bool:
        current_run.set(self)
        if not self.begin():
            return False
        self._step = self.started
        return True

    def _arguments(self) -> tuple[list[Any], dict[str, Any]]:
        inputs = self.inputs()
        self._files = inputs.files
        args = inputs.args[0]
        if self.callee.batch:
            args = [list(column) for column in zip(*inputs.args, strict=True)]
        signature = self.callee.signature
        injected = {name: self._inject(kind, inputs) for name, kind in signature.injected.items()}
        if self.callee.track_tqdm:
            self.track_tqdm = True
        return signature.bind(args, injected)

    def _inject(self, kind: type, inputs: Inputs) -> Any:
        if kind is Progress:
            return Progress().bound(self)
        if kind is CancelToken:
            return CancelToken(self)
        return inputs.session if kind is Session else inputs.request

    async def _off_loop(self, send: Callable[[Any], T], result: Any) -> T:
        # Files are copied; that must not keep the loop from all else.
        if self.callee.signature.may_give_files and not isinstance(result, _PLAIN):
            return await asyncio.to_thread(send, result)
        return send(result)

    def _give(self, result: Any) -> bool:
        """Send an output; False if nobody wants more."""
        (files,) = self._files  # generators are not batched
        now = time.monotonic()
        values = self.callee.signature.encode(result, files=files)
        if self.last is None:
            data: Any = values
        else:
            data = [make_edits(old, new) for old, new in zip(self.last, values, strict=True)]
        self.last = values
        duration = now - self._step
        self._step = now
        return self.give(encode_value(data), duration)

    def _succeed(self, result: Any = None) -> None:
        if self.stopped:
            return  # what nobody gets need not be converted
        signature = self.callee.signature
        if self.callee.batch:
            samples = _split(result, len(self._files), len(signature.outputs))
        else:
            samples = [result]
        duration = time.monotonic() - self.started
        # All of a batch is converted before any of it is told, so that it fails as a whole.
        outputs = []
        for files, sample in zip(self._files, samples, strict=True):
            if signature.kind in ("function", "coroutine"):
                values = signature.encode(sample, files=files)
            else:
                # A generator ends with what it gave last; what it returns is not an output.
                values = self.last if self.last is not None else [None] * len(signature.outputs)
            outputs.append(encode_value(values))
        self.succeed(outputs, duration)

    def _fail(self, error: BaseException) -> None:
        if self.stopped:
            if not isinstance(error, (JobCancelledError, asyncio.CancelledError, GeneratorExit)):
                _logger.warning("%s raised when it was stopped", self.callee.label, exc_info=error)
            return
        if not isinstance(error, (AppError, LogFullError, JobCancelledError)):
            with suppress(Exception):  # a handler of the log may fail; the job must end
                _logger.error("%s failed", self.callee.label, exc_info=error)
        self.fail(error)


def failure_of(error: BaseException, *, show: bool) -> Failure:
    """Return what callers are told of an error.

    Args:
        error: Why a job failed. What an `AppError` says is for the caller; of others, the
            caller is told no more than the kind, since their text may hold secrets.
        show: Show the text of all errors.
    """
    title, visible = "Error", True
    duration: float | None = 10.0
    if isinstance(error, AppError):
        text, title, visible = error.message, error.title, error.visible
        duration = error.duration if isinstance(error.duration, int | float) else None
    elif isinstance(error, (LogFullError, WorkerError)) or show:
        text = _text(error)
    else:
        text = f"the function raised {type(error).__name__}; the server's log says more"
    return Failure(sendable(text), duration, bool(visible), sendable(title))


def _text(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:  # whoever wrote the error's class did not try this
        return type(error).__name__


def sendable(text: object) -> str:
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
