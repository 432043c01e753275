"""What runs in a worker process: functions, and a thread that listens to the server.

The main thread calls the functions, as libraries expect that want signals or a thread of
their own. What it needs of the server it gets from the thread that listens.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextvars import Context
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from jobwire.exceptions import JobCancelledError
from jobwire.server.context import Level
from jobwire.server.declaration import inspect_endpoint
from jobwire.server.execution import Callee, Execution, Inputs, failure_of
from jobwire.server.executors.messages import (
    Answer,
    Broken,
    Call,
    Dropped,
    Failed,
    Function,
    GaveUp,
    Given,
    Logged,
    Order,
    Prepare,
    Publish,
    Ready,
    Report,
    Said,
    Seen,
    Shown,
    Stop,
    Succeeded,
    decode_order,
    encode,
)
from jobwire.server.modules import load_file_as
from jobwire.types import ProgressUnit

__all__ = ("EXIT_TIME", "main")

EXIT_TIME = 5.0
"""Seconds that a worker may take to end once it has nothing to do: its threads and exit
handlers are waited for."""

PAUSE = 0.02
"""Seconds between two reports of progress: callers are told 20 times a second at most."""


def main(connection: Connection, files: dict[str, str], level: int) -> None:
    """Do what the server says until it closes the connection.

    Args:
        connection: To the server.
        files: Modules that are not imported by name: where their files are.
        level: Of the records that the server's log wants.
    """
    _stand_alone()
    faulthandler.enable()  # says where it crashed
    worker = _Worker(connection, files)
    root = logging.getLogger()
    root.addHandler(_LogHandler(worker.report))
    root.setLevel(level)
    threading.Thread(target=worker.listen, name="jobwire-listener", daemon=True).start()
    worker.work()


def _stand_alone() -> None:
    """Leave the server's group of processes: Ctrl-C is for the server, which says what to do.

    What the functions start belongs to the new group, and is killed with it.
    """
    if hasattr(os, "setsid"):
        os.setsid()
        # Held back until now by the server; one that has come meanwhile is forgotten.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _kill_all() -> None:
    """End this process and all that it started."""
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


class _Worker:
    def __init__(self, connection: Connection, files: dict[str, str]) -> None:
        self._connection: Connection | None = connection
        self._lock = threading.Lock()  # for who writes
        self._files = files
        self._functions: dict[str, Callee] = {}
        self._orders: SimpleQueue[Prepare | _Errand | None] = SimpleQueue()
        self._errand: _Errand | None = None  # what is to be done, or being done
        self._runner = asyncio.Runner()
        self.answers: SimpleQueue[bytes] = SimpleQueue()
        self.progress = _Progress(self.report)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._detach)

    # -- the main thread ----------------------------------------------------------

    def work(self) -> None:
        with self._runner:
            while (order := self._orders.get()) is not None:
                if isinstance(order, Prepare):
                    self.report(self._prepare(order.functions))
                else:
                    outcome = self._do(order)
                    # Before the server hears of it, which may then close the connection.
                    self._errand = None
                    self.report(outcome)

    def _prepare(self, functions: Sequence[Function]) -> Ready | Broken:
        name: str | None = None
        try:
            for module, path in self._files.items():
                load_file_as(module, Path(path))
            self._files = {}
            for function in functions:
                name = function.name
                self._functions[name] = _Imported(function)
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"
            return Broken(name, reason, "".join(traceback.format_exception(error)))
        return Ready()

    def _do(self, errand: _Errand) -> Report:
        if errand.callee.signature.kind in ("function", "generator"):
            Context().run(errand.execute)
        else:
            self._runner.run(errand.execute_in(self._runner.get_loop()), context=Context())
        return errand.outcome

    # -- the thread that listens ----------------------------------------------------

    def listen(self) -> None:
        connection = self._connection
        assert connection is not None  # noqa: S101
        pause_until: float | None = None
        try:
            while True:
                timeout = None if pause_until is None else max(0, pause_until - time.monotonic())
                if not connection.poll(timeout):
                    pause_until = None
                    self.progress.flush()
                    continue
                order = decode_order(connection.recv_bytes())
                if isinstance(order, Seen):
                    pause_until = time.monotonic() + PAUSE
                else:
                    self._take(order)
        except (EOFError, OSError):
            if self._errand is None:
                self._orders.put(None)
                time.sleep(EXIT_TIME)
        finally:
            _kill_all()  # nobody else is left to do it

    def _take(self, order: Order) -> None:
        errand = self._errand
        if isinstance(order, Call):
            self.progress.reset()
            self._errand = _Errand(order, self._functions[order.name], self)
            self._orders.put(self._errand)
        elif isinstance(order, Prepare):
            self._orders.put(order)
        elif isinstance(order, Answer):
            self.answers.put(order.pickled)
        elif isinstance(order, Stop) and errand is not None and errand.number == order.number:
            errand.stop()

    # -- any thread -------------------------------------------------------------------

    def report(self, report: Report) -> None:
        frame = encode(report)
        connection = self._connection
        if connection is None:
            return
        try:
            with self._lock:
                connection.send_bytes(frame)
        except OSError:
            _kill_all()  # the server is gone; who listens may be kept from noticing

    def _detach(self) -> None:
        """Keep a process that a function forked away from the server."""
        self._lock = threading.Lock()
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Imported:
    """A function as it is called here. See `Callee`."""

    def __init__(self, function: Function) -> None:
        self.function: Callable[..., Any] = pickle.loads(function.pickled)  # noqa: S301
        self.label = f"/{function.name}"
        self.batch = function.batch
        self.signature, self.track_tqdm = inspect_endpoint(
            self.function, batch=function.batch, name=function.name
        )


class _Progress:
    """Sends the latest progress whenever the server has seen the one before.

    A loop that shows progress at each step, however quick, costs the server nothing.
    """

    def __init__(self, report: Callable[[Report], None]) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._busy = False  # one was sent, and the pause after it is not over
        self._next: Shown | None = None

    def show(self, shown: Shown) -> None:
        with self._lock:
            if self._busy:
                self._next = shown
                return
            self._busy = True
        self._report(shown)

    def flush(self) -> None:
        with self._lock:
            following, self._next = self._next, None
            self._busy = following is not None
        if following is not None:
            self._report(following)

    def reset(self) -> None:
        with self._lock:
            self._next = None


class _Files:
    """Takes in the files of one job of a call, by way of the server."""

    def __init__(self, worker: _Worker, job: int) -> None:
        self._worker = worker
        self._job = job

    def publish(self, path: Path) -> dict[str, Any]:
        self._worker.report(Publish(self._job, os.path.abspath(path)))
        answer: Any = pickle.loads(self._worker.answers.get())  # noqa: S301
        if isinstance(answer, BaseException):
            raise answer
        return dict(answer)


class _Errand(Execution):
    """A call, here."""

    def __init__(self, call: Call, callee: Callee, worker: _Worker) -> None:
        super().__init__(callee)
        self.number = call.number
        self.outcome: Report = Dropped()
        self._call = call
        self._worker = worker
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    async def execute_in(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._task = loop, asyncio.current_task()
        await self.execute_async()

    def stop(self) -> None:
        self.stopped = True
        if self.stop_event is not None:
            self.stop_event.set()
        if self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)

    def begin(self) -> bool:
        self.started = time.monotonic()
        return not self.stopped

    def inputs(self) -> Inputs:
        args, request, self.last = pickle.loads(self._call.pickled)  # noqa: S301
        self._call.pickled = b""  # it can be large
        files = [_Files(self._worker, job) for job in range(self._call.jobs)]
        return Inputs(args, request, None, files)

    def tell_progress(self, units: list[ProgressUnit]) -> None:
        self._worker.progress.show(Shown(self.number, units))

    def say(
        self, message: str, level: Level, title: str, duration: float | None, visible: bool
    ) -> None:
        self._worker.report(Said(self.number, message, level, title, duration, visible))

    def give(self, data: bytes, duration: float) -> bool:
        self._worker.report(Given(data, duration))
        return not self.stopped

    def succeed(self, outputs: Sequence[bytes], duration: float) -> None:
        self.outcome = Succeeded(list(outputs), duration)

    def fail(self, error: BaseException) -> None:
        if isinstance(error, JobCancelledError):
            self.outcome = GaveUp()
        else:
            self.outcome = Failed(failure_of(error, show=self._call.show_errors))

    def end(self) -> None:
        pass  # the outcome says it


class _LogHandler(logging.Handler):
    """Hands records to the server's log."""

    def __init__(self, report: Callable[[Report], None]) -> None:
        super().__init__()
        self._report = report
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.exc_text
            if record.exc_info and not text:
                text = self._formatter.formatException(record.exc_info)
            self._report(Logged(record.name, record.levelno, record.getMessage(), text))
        except Exception:
            self.handleError(record)
