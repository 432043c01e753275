"""Functions of every kind, in processes of their own, which can be killed."""

from __future__ import annotations

import asyncio
import logging
import pickle
import signal
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from jobwire.exceptions import JobCancelledError, JobwireError
from jobwire.server.context import CancelToken, Request, Session
from jobwire.server.endpoint import Endpoint
from jobwire.server.errors import DeclarationError, WorkerError
from jobwire.server.execution import Callee
from jobwire.server.executors.base import Cancellation, NextRun
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
    Prepare,
    Publish,
    Ready,
    Report,
    Said,
    Seen,
    Shown,
    Stop,
    Succeeded,
)
from jobwire.server.executors.spawning import WorkerProcess
from jobwire.server.executors.worker import EXIT_TIME
from jobwire.server.run import Run
from jobwire.server.stores.base import LogFullError

__all__ = ("STOP_TIME", "ProcessExecutor")

STOP_TIME = 5.0
"""Seconds that a function which was told to end may take to do so, before it is killed."""

_LOG = "the server's log says more"

_logger = logging.getLogger("jobwire.server")


class ProcessExecutor:
    """Runs functions in worker processes, one at a time in each.

    The workers are started at once and kept. Each has a thread here, which hands it a run,
    and does for the run what the worker reports until it is over.

    A plain function is stopped by killing its worker, unless it takes a `CancelToken`; that
    one, and functions of other kinds, are told, and killed if they have not ended after
    `STOP_TIME`. A worker that was killed or that crashed is replaced.

    Args:
        endpoints: Those whose functions the workers import when they start.
        next_run: See `NextRun`.
        max_processes: How many workers there are.
        max_jobs: How many calls a worker gets before it is replaced; None is no limit.

    Raises:
        DeclarationError: A function cannot be called in another process.
    """

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        next_run: NextRun,
        *,
        max_processes: int,
        max_jobs: int | None,
    ) -> None:
        self.max_jobs = max_jobs
        self.functions = {endpoint.api_name: _function(endpoint) for endpoint in endpoints}
        self.closed = False
        self._next_run = next_run
        self._lock = threading.Lock()
        self._backlog: deque[Run] = deque()
        self._working: dict[Run, _Keeper] = {}
        self._idle: list[_Keeper] = []
        self._reasons: set[str] = set()
        self._ready: Future[None] = Future()
        self._ready.set_running_or_notify_cancel()  # who waits can leave it, not cancel it
        self._starting = max_processes
        self._keepers = [_Keeper(self, number) for number in range(1, max_processes + 1)]

    async def ready(self) -> None:
        """Wait until every worker can work.

        Raises:
            WorkerError: One cannot: the app cannot be imported there, or it crashed.
        """
        await asyncio.wrap_future(self._ready)

    def start(self, run: Run) -> None:
        with self._lock:
            if self.closed:
                return
            if not self._idle:
                self._backlog.append(run)
                return
            # The one that worked last: what it needs is still in the caches.
            keeper = self._idle.pop()
            self._working[run] = keeper
        keeper.assign(run)

    def stop(self, run: Run) -> None:
        with self._lock:
            keeper = self._working.get(run)
        if keeper is not None:
            keeper.stop(run)

    def means(self, callee: Callee) -> Cancellation:
        if callee.signature.kind == "function":
            return "killed" if _is_killed(callee) else "told"
        return "closing" if callee.signature.kind == "generator" else "cancelled"

    def close(self) -> None:
        with self._lock:
            self.closed = True
            self._backlog.clear()
        for keeper in self._keepers:
            keeper.close()

    # -- for keepers ------------------------------------------------------------------

    def function(self, endpoint: Endpoint) -> Function:
        """Return how a worker finds a function."""
        function = self.functions.get(endpoint.api_name)
        if function is None:  # declared after the start
            function = self.functions[endpoint.api_name] = _function(endpoint)
        return function

    def started(self, error: BaseException | None) -> None:
        """A keeper has its first worker, or an error instead."""
        with self._lock:
            self._starting -= 1
            if self._ready.done():
                return  # the first error is enough
            if error is not None:
                self._ready.set_exception(error)
            elif not self._starting:
                self._ready.set_result(None)

    def take(self, keeper: _Keeper) -> Run | None:
        """Give a keeper something to do; None, and it will be assigned something."""
        with self._lock:
            if self._backlog:
                run = self._backlog.popleft()
                self._working[run] = keeper
                return run
            self._idle.append(keeper)
            return None

    def is_new(self, reason: str) -> bool:
        """Whether a worker that cannot import a function is the first to give this reason."""
        with self._lock:
            known = reason in self._reasons
            self._reasons.add(reason)
        return not known

    def over(self, run: Run, *, fit: bool) -> None:
        """A run is over: its slot is the next one's.

        Args:
            run: The run.
            fit: Whether its keeper has a worker that could do the next.
        """
        with self._lock:
            self._working.pop(run, None)
        try:
            following = self._next_run(run)
        except Exception:
            _logger.exception("the next job could not be started")
            return
        if following is None:
            return
        if following.executor is not self or not fit:
            following.executor.start(following)
            return
        with self._lock:
            if not self.closed:
                # For its keeper, unless others wait: a long line takes turns with them.
                self._backlog.append(following)


class _Keeper:
    """A thread, and the worker process that it keeps."""

    def __init__(self, executor: ProcessExecutor, number: int) -> None:
        self._executor = executor
        self._assigned: Run | None = None
        self._bell, self._button = Pipe(duplex=False)
        self._lock = threading.Lock()
        """Of what follows, so that no other run than the one that is meant is stopped."""
        self._worker: WorkerProcess | None = None
        self._hiring = False
        self._run: Run | None = None
        self._called = False
        self._timer: threading.Timer | None = None
        self._closed = False
        self._number = 0
        self._hopeful = True  # that it is of use to start a worker before it has something to do
        # A daemon: it waits for functions that may never return.
        threading.Thread(target=self._keep, name=f"jobwire-keeper-{number}", daemon=True).start()

    # -- any thread -----------------------------------------------------------------

    def assign(self, run: Run) -> None:
        self._assigned = run
        self._ring()

    def stop(self, run: Run) -> None:
        with self._lock:
            worker = self._worker
            # One that has not begun finds out that nobody wants it when it does.
            if self._run is not run or worker is None or not run.started:
                return
            if not self._called or _is_killed(run.callee):
                worker.kill()
                return
            self._timer = threading.Timer(STOP_TIME, self._kill, [run])
            self._timer.daemon = True
            self._timer.start()
            with suppress(OSError):
                worker.send(Stop(self._number))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._worker is not None and self._hiring:
                self._worker.kill()
        self._ring()

    def _kill(self, run: Run) -> None:
        with self._lock:
            if self._run is run and self._worker is not None:
                self._worker.kill()

    def _ring(self) -> None:
        with suppress(OSError):  # the thread has ended
            self._button.send_bytes(b"!")

    # -- the thread -------------------------------------------------------------------

    def _keep(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # Workers inherit it: until they have left this process's group, Ctrl-C is not theirs.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            try:
                self._hire()
            except BaseException as error:
                self._executor.started(error)
            else:
                self._executor.started(None)
            while not self._closed:
                # Before it takes something: others may have a worker for it already.
                self._renew()
                run = self._executor.take(self) or self._wait()
                if run is not None:
                    self._do(run)
        finally:
            self._let_go(EXIT_TIME)
            self._bell.close()
            self._button.close()

    def _wait(self) -> Run | None:
        """Wait for something to do; None if there will be nothing more."""
        while not self._closed:
            if self._assigned is not None:
                run, self._assigned = self._assigned, None
                return run
            worker = self._worker
            news = wait([self._bell] if worker is None else [self._bell, worker.connection])
            if self._bell in news:
                self._bell.recv_bytes()
                continue
            assert worker is not None  # noqa: S101
            try:
                self._note(worker.receive())
            except (EOFError, OSError):
                # One that ended before it did anything would do so again and again.
                self._hopeful = worker.calls > 0
                _logger.error("%s while it had nothing to do", _ended(self._let_go()))
                self._renew()
        return None

    def _do(self, run: Run) -> None:
        # Whatever happens, such as an error of the store, the thread goes on and the slot is
        # given back.
        self._run = run
        try:
            self._call(run)
        except (EOFError, OSError):
            self._fail(run, _ended(self._let_go()))
        except (DeclarationError, WorkerError) as error:
            self._fail(run, error, WorkerError("no worker process could do it; " + _LOG))
        except BaseException as error:
            self._let_go()
            self._fail(run, error, error)
        finally:
            with self._lock:
                self._run = None
                self._called = False
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
                worker = self._worker
            run.end()
            # It may have been killed after it had said how the run ended.
            if worker is not None and worker.dead:
                self._let_go()
            self._executor.over(run, fit=self._worker is not None)

    def _fail(self, run: Run, error: BaseException, shown: BaseException | None = None) -> None:
        """Fail a run that was not stopped, with what callers may be shown."""
        if run.stopped:
            return
        try:
            _logger.error(
                "%s: %s",
                run.endpoint.label,
                error,
                exc_info=None if isinstance(error, JobwireError) else error,
            )
            run.fail(shown or error)
        except Exception:
            with suppress(Exception):
                _logger.exception("%s has no outcome", run.endpoint.label)

    def _call(self, run: Run) -> None:
        worker = self._worker or self._hire()
        function = self._executor.function(run.endpoint)
        if function.name not in worker.prepared:
            self._prepare(worker, [function])
        if not run.begin():
            return
        self._number += 1
        worker.calls += 1
        worker.send(self._order(run, function))
        with self._lock:
            self._called = True
        while self._follow(run, worker, worker.receive()):
            pass

    def _order(self, run: Run, function: Function) -> Call:
        inputs = run.inputs()
        request = inputs.request
        request = Request(
            dict(request.headers),
            dict(request.query),
            request.client,
            request.username,
            request.session_hash,
        )
        try:
            pickled = pickle.dumps(
                (inputs.args, request, run.last), protocol=pickle.HIGHEST_PROTOCOL
            )
        except Exception as error:
            raise WorkerError(
                f"the arguments of {run.endpoint.label} cannot be sent to a worker process: {error}"
            ) from error
        show = run.endpoint.show_errors
        return Call(self._number, function.name, len(run.jobs), pickled, show)

    def _follow(self, run: Run, worker: WorkerProcess, report: Report) -> bool:
        """Do what a report means for the run; False if it was the last."""
        match report:
            case Shown():
                worker.send(Seen())
            case Publish(job, path):
                worker.send(Answer(_published(run, job, path)))
            case Logged():
                self._note(report)
                return True
        if run.stopped:
            return not isinstance(report, Succeeded | Failed | GaveUp | Dropped)
        try:
            match report:
                case Given(data, duration):
                    run.give(data, duration)
                case Shown(number, units) if number == self._number:
                    run.tell_progress(units)
                case Said(number, message, level, title, duration, visible):
                    if number == self._number:
                        run.say(message, level, title, duration, visible)
                case Succeeded(outputs, duration):
                    run.succeed(outputs, duration)
                    return False
                case Failed(failure):
                    run.fail_with(failure)
                    return False
                case GaveUp():
                    run.give_up()
                    return False
                case Dropped():
                    return False
        except LogFullError as error:
            run.fail(error)
            run.stop()
        return True

    # -- its worker ---------------------------------------------------------------------

    def _renew(self) -> None:
        """Have a worker that can do something more, if it can be had."""
        if self._worker is not None and self._worker.calls == self._executor.max_jobs:
            self._let_go(EXIT_TIME)
        if self._worker is None and self._hopeful:
            try:
                self._hire()
            except WorkerError as error:
                if not self._closed:
                    _logger.error("%s; the next job will try again", error)

    def _hire(self) -> WorkerProcess:
        self._hopeful = False  # unless it goes well
        worker = WorkerProcess()
        with self._lock:
            self._worker = worker
            self._hiring = True
            if self._closed:
                worker.kill()
        try:
            self._prepare(worker, list(self._executor.functions.values()))
        finally:
            self._hiring = False
        self._hopeful = True
        return worker

    def _prepare(self, worker: WorkerProcess, functions: Sequence[Function]) -> None:
        try:
            worker.send(Prepare(list(functions)))
            while not isinstance(report := worker.receive(), Ready | Broken):
                self._note(report)
        except (EOFError, OSError):
            code = self._let_go()
            raise WorkerError(
                f"{_ended(code)} before it had imported the app", exit_code=code
            ) from None
        if isinstance(report, Broken):
            self._let_go()
            what = "the app" if report.name is None else f"/{report.name}"
            error = WorkerError(f"a worker process could not import {what}: {report.reason}")
            if self._executor.is_new(report.reason):
                _logger.error("%s\n%s", error, report.traceback)
            raise error
        worker.prepared |= {function.name for function in functions}

    def _let_go(self, grace: float = 0.0) -> int | None:
        with self._lock:
            worker, self._worker = self._worker, None
        return None if worker is None else worker.reap(grace)

    def _note(self, report: Report) -> None:
        """Put a worker's record into the log. Whatever else is late is of no use."""
        if isinstance(report, Logged):
            logger = logging.getLogger(report.logger)
            if logger.isEnabledFor(report.level):
                record = logger.makeRecord(
                    report.logger, report.level, "", 0, report.message, (), None
                )
                record.exc_text = report.traceback
                with suppress(Exception):
                    logger.handle(record)


def _is_killed(callee: Callee) -> bool:
    """Whether a function is stopped by no other means."""
    signature = callee.signature
    return signature.kind == "function" and CancelToken not in signature.injected.values()


def _ended(code: int | None) -> WorkerError:
    what = "lost its connection" if code is None else f"ended with exit code {code}"
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        what = f"was killed by {name}"
        if name == "SIGKILL":
            what += ", as the system does it when memory runs out"
    return WorkerError(f"the worker process {what}", exit_code=code)


def _published(run: Run, job: int, path: str) -> bytes:
    answer: Any
    try:
        if run.stopped:
            raise JobCancelledError("the job was cancelled")
        answer = run.jobs[job].files.publish(Path(path))
    except Exception as error:
        answer = error
    try:
        return pickle.dumps(answer)
    except Exception:  # an error that cannot be sent
        return pickle.dumps(OSError(str(answer)))


def _function(endpoint: Endpoint) -> Function:
    if Session in endpoint.signature.injected.values():
        raise DeclarationError(
            f"{endpoint.label} takes the Session, whose state is in the server's process and "
            "cannot be had in a worker process; declare it with executor='thread'"
        )
    try:
        pickled = pickle.dumps(endpoint.function)
    except Exception as error:
        raise DeclarationError(
            f"{endpoint.label} cannot be called in a worker process, which imports functions by "
            f"name: {error}; define it at the top of a module, or declare it with "
            "executor='thread'"
        ) from error
    return Function(endpoint.api_name, pickled, endpoint.batch)
