"""Plain functions and generators, in threads."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from contextvars import Context
from queue import Empty, SimpleQueue

from jobwire.server.execution import Callee
from jobwire.server.executors.base import Cancellation, NextRun, looks_at_its_end
from jobwire.server.run import Run

__all__ = ("ThreadExecutor",)


_logger = logging.getLogger("jobwire.server")


class ThreadExecutor:
    """Runs functions in at most ``max_threads`` threads, made as they are needed.

    A thread that has ended a run takes the next of the same line itself. Going back to
    the event loop for it would make each job wait for a change of the thread that holds
    the interpreter lock, which takes up to 5 ms when the loop is busy.

    Nothing can end a function in a thread from outside: a generator is closed after its
    next output, and a plain function has to look at its `CancelToken`.

    Args:
        max_threads: See above.
        next_run: See `NextRun`.
    """

    def __init__(self, max_threads: int, next_run: NextRun) -> None:
        self._max_threads = max_threads
        self._next_run = next_run
        self._ready: SimpleQueue[Run | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._backlog = 0  # runs that wait for a thread
        self._threads = 0
        self._idle = 0  # threads that nothing was put aside for
        self._closed = False

    def start(self, run: Run) -> None:
        with self._lock:
            if self._closed:
                return
            self._ready.put(run)
            if self._idle:
                self._idle -= 1
                return
            if self._threads == self._max_threads:
                self._backlog += 1
                return
            self._threads += 1
            number = self._threads
        # A daemon: a function that never returns must not keep the interpreter from ending.
        threading.Thread(target=self._work, name=f"jobwire-worker-{number}", daemon=True).start()

    def stop(self, run: Run) -> None:
        pass  # the run looks at `stopped` after each step

    def means(self, callee: Callee) -> Cancellation:
        if callee.signature.kind == "generator":
            return "closing"
        return "told" if looks_at_its_end(callee) else "unstoppable"

    def close(self) -> None:
        with self._lock:
            self._closed = True
            with suppress(Empty):
                while True:
                    self._ready.get_nowait()
            for _ in range(self._threads):
                self._ready.put(None)

    def _run(self, run: Run) -> Run | None:
        # Whatever happens, such as an error in a handler of the log, the thread goes on and the
        # slot is given back.
        try:
            # In a context of its own, so that a function's variables do not leak.
            Context().run(run.execute)
        except BaseException:
            with suppress(Exception):
                _logger.exception("%s could not be run", run.endpoint.label)
        try:
            return self._next_run(run)
        except Exception:
            _logger.exception("the next job could not be started")
            return None

    def _work(self) -> None:
        while (run := self._ready.get()) is not None:
            following: Run | None = run
            while following is not None:
                following = self._run(following)
                # Others that wait for a thread come first: a long line takes turns with them.
                if following is not None and (following.executor is not self or self._backlog):
                    following.executor.start(following)
                    following = None
            with self._lock:
                if self._backlog:
                    self._backlog -= 1
                else:
                    self._idle += 1
