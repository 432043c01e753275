"""Coroutines and asynchronous generators, in the server's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from functools import partial

from jobwire.server.execution import Callee
from jobwire.server.executors.base import Cancellation, NextRun
from jobwire.server.run import Run

__all__ = ("LoopExecutor",)


class LoopExecutor:
    """Runs each function as a task of the event loop. Stopping it cancels the task.

    Args:
        loop: The loop.
        next_run: See `NextRun`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, next_run: NextRun) -> None:
        self._loop = loop
        self._next_run = next_run
        self._tasks: dict[Run, asyncio.Task[None]] = {}
        self._closed = False

    def start(self, run: Run) -> None:
        self._in_loop(self._start, run)

    def stop(self, run: Run) -> None:
        self._in_loop(self._stop, run)

    def means(self, callee: Callee) -> Cancellation:
        return "cancelled"

    def close(self) -> None:
        self._closed = True
        if self._loop.is_closed():
            return
        for task in self._tasks.values():
            task.cancel()

    def _in_loop(self, do: Callable[[Run], None], run: Run) -> None:
        if asyncio._get_running_loop() is self._loop:
            do(run)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(do, run)

    def _start(self, run: Run) -> None:
        if not self._closed:
            # In a context of its own, not in that of whoever happens to start it.
            task = self._loop.create_task(run.execute_async(), context=Context())
            self._tasks[run] = task
            # Not within the task: one that is cancelled before its first step runs nothing.
            task.add_done_callback(partial(self._done, run))

    def _stop(self, run: Run) -> None:
        if (task := self._tasks.get(run)) is not None:
            task.cancel()

    def _done(self, run: Run, task: asyncio.Task[None]) -> None:
        del self._tasks[run]
        if task.cancelled() and not run.stopped:
            return  # not by us: the loop is being closed
        following = self._next_run(run)
        if following is not None:
            following.executor.start(following)
