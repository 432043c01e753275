"""From a job's log to whoever follows it.

A log is written in any thread; those who read it live in the event loop. What passes
between them is a wake-up: "this job has news". Readers then read the log from where they
are, so news that come faster than somebody reads cost no memory.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

__all__ = ("Bell", "Delivery", "Follower")


class Bell:
    """Wakes one waiting task of the event loop."""

    __slots__ = ("_loop", "_rung", "_waiter")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake the waiting task; if none waits, the next one does not have to."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, timeout: float | None) -> None:
        """Wait for the bell, ``timeout`` seconds at most; None is without end."""
        if not self._rung:
            waiter = self._waiter = self._loop.create_future()
            timer = None
            if timeout is not None:
                timer = self._loop.call_later(max(0.0, timeout), self.ring)
            try:
                await waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        self._rung = False


class Follower(Protocol):
    """Somebody who reads jobs' logs.

    Attributes:
        listens: Whether there is a client who hears what it reads.
    """

    @property
    def listens(self) -> bool: ...

    def notify(self, id: str, *, progress: bool, number: int = 0) -> None:
        """A job's log has news, from that event on; or, with ``progress``, its progress
        changed."""

    def forget(self, id: str) -> None:
        """A job's log is no more."""


class Delivery:
    """Tells followers of their jobs' news. For one event loop.

    Attributes:
        announced: The number of an event; of all up to it, followers have been told.
        closed: There will be no more news.
    """

    def __init__(self) -> None:
        self.announced = 0
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._followers: dict[str, list[Follower]] = {}
        self._news: dict[str, int] = {}
        self._progress: dict[str, None] = {}
        self._last = 0
        self._scheduled = False
        self._lock = threading.Lock()

    def follow(self, id: str, follower: Follower) -> None:
        """Tell a follower of a job's news from now on."""
        self._followers.setdefault(id, []).append(follower)

    def unfollow(self, id: str, follower: Follower) -> None:
        """Stop that."""
        followers = self._followers.get(id)
        if followers is not None and follower in followers:
            followers.remove(follower)
            if not followers:
                del self._followers[id]

    def has_listener(self, id: str) -> bool:
        """Whether a client hears of a job now."""
        return any(follower.listens for follower in self._followers.get(id, ()))

    def wake(self, news: Mapping[str, int], last: int) -> None:
        """Logs have news; see `stores.base.Wake`. Any thread may call it."""
        with self._lock:
            for id, number in news.items():
                self._news.setdefault(id, number)
            self._last = last
            self._schedule()

    def wake_for_progress(self, id: str) -> None:
        """A job's progress changed. Any thread may call it."""
        with self._lock:
            self._progress[id] = None
            self._schedule()

    def forget(self, id: str) -> None:
        """A job's log is no more."""
        for follower in self._followers.pop(id, ()):
            follower.forget(id)

    def close(self) -> None:
        """Let who waits for news see that there will be none."""
        self._distribute()
        self.closed = True
        for id, followers in self._followers.items():
            for follower in followers:
                follower.notify(id, progress=False)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            with suppress(RuntimeError):  # the loop was closed: nobody follows any more
                self._loop.call_soon_threadsafe(self._distribute)

    def _distribute(self) -> None:
        with self._lock:
            self._scheduled = False
            news, self._news = self._news, {}
            progress, self._progress = self._progress, {}
            last = self._last
        for id, number in news.items():
            for follower in self._followers.get(id, ()):
                follower.notify(id, progress=False, number=number)
        self.announced = last
        for id in progress:
            for follower in self._followers.get(id, ()):
                follower.notify(id, progress=True)
