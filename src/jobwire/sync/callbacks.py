"""Calls users' functions, in order for each job, in as many threads as it takes."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable

__all__ = ("CallbackThreads",)

logger = logging.getLogger("jobwire")

MAX_THREADS = 32
"""Callbacks that may be slow at once before they hold up others; as many as Python's own
executors have threads on a large machine."""

PATIENCE = 0.02
"""Seconds that callbacks wait for a thread to be free before one more is started. Most are
quick, and then one thread does for thousands of jobs."""

KEEP = 1.0
"""Seconds for which a thread with nothing to do is kept."""


class CallbackThreads:
    """Calls functions in threads of its own; those with the same key one after another.

    A function that blocks holds up what has its key, and nothing else while fewer than
    `MAX_THREADS` do. The threads are daemons, unlike those of an executor: a callback that
    blocks must not keep a program from ending, nor an ending program lose callbacks that
    its other threads wait for. Every method may be called from any thread.

    Args:
        later: Has a function called after so many seconds; must not block.
    """

    def __init__(self, later: Callable[[float, Callable[[], object]], object]) -> None:
        self._later = later
        self._changed = threading.Condition()
        # What is to be called, by key. A key is here until its last function has returned.
        self._calls: dict[Hashable, deque[Callable[[], object]]] = {}
        self._ready: deque[Hashable] = deque()  # keys that no thread has taken
        self._threads = 0
        self._idle = 0
        self._watching = False  # whether more threads are needed

    def call(self, key: Hashable, fn: Callable[[], object]) -> None:
        """Have ``fn()`` called after what was given before with this key. Does not block.

        What it raises is logged.
        """
        with self._changed:
            if key in self._calls:
                self._calls[key].append(fn)
                return
            self._calls[key] = deque([fn])
            self._ready.append(key)
            self._changed.notify()
            if self._threads == 0:
                self._start()
            watch = not self._watching and len(self._ready) > self._idle
            self._watching |= watch
        if watch:
            self._later(PATIENCE, self._watch)

    def _watch(self) -> None:
        """Start another thread if every one has been busy for a while."""
        with self._changed:
            if self._ready and not self._idle and self._threads < MAX_THREADS:
                self._start()
            self._watching = bool(self._ready) and self._threads < MAX_THREADS
            watch = self._watching
        if watch:
            self._later(PATIENCE, self._watch)

    def _start(self) -> None:
        self._threads += 1
        threading.Thread(target=self._run, name="jobwire-callbacks", daemon=True).start()

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            key, fn = taken
            try:
                fn()
            except BaseException:
                # SystemExit as well: it would end this thread, and nothing else.
                logger.exception("a callback failed")
            del fn, taken  # or the last job would live until the next
            self._give_back(key)
            del key

    def _take(self) -> tuple[Hashable, Callable[[], object]] | None:
        """Wait for a key with something to call; None if this thread is not needed any more."""
        with self._changed:
            if not self._ready:
                self._idle += 1
                self._changed.wait_for(lambda: self._ready, KEEP)
                self._idle -= 1
            if not self._ready:
                self._threads -= 1
                return None
            key = self._ready.popleft()
            return key, self._calls[key].popleft()

    def _give_back(self, key: Hashable) -> None:
        with self._changed:
            if self._calls[key]:
                self._ready.append(key)  # at the end: one busy job must not starve others
            else:
                del self._calls[key]
