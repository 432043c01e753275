"""From a job's log to whoever follows it.

A log is written in any thread; those who read it live in the event loop. What passes
between them is a wake-up: "this job has news". Readers then read the log from where they
are, so news that come faster than somebody reads cost no memory.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
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
    """Somebody who reads jobs' logs."""

    def notify(self, id: str, *, progress: bool) -> None:
        """A job's log has news; or, with ``progress``, its progress changed."""

    def forget(self, id: str) -> None:
        """A job's log is no more."""


class Delivery:
    """Tells followers of their jobs' news. For one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._followers: dict[str, list[Follower]] = {}
        self._news: OrderedDict[tuple[str, bool], None] = OrderedDict()
        self._scheduled = False

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

    def wake(self, id: str) -> None:
        """A job's log has news. Any thread may call it."""
        self._post(id, False)

    def wake_for_progress(self, id: str) -> None:
        """A job's progress changed. Any thread may call it."""
        self._post(id, True)

    def forget(self, id: str) -> None:
        """A job's log is no more."""
        for follower in self._followers.pop(id, ()):
            follower.forget(id)

    def _post(self, id: str, progress: bool) -> None:
        self._news[id, progress] = None
        # Set to false before the news are read, so none is left lying. At worst two
        # threads both schedule it.
        if not self._scheduled:
            self._scheduled = True
            with suppress(RuntimeError):  # the loop was closed: nobody follows any more
                self._loop.call_soon_threadsafe(self._distribute)

    def _distribute(self) -> None:
        self._scheduled = False
        # No more than there are now: others may write faster than this reads.
        for _ in range(len(self._news)):
            (id, progress), _none = self._news.popitem(last=False)
            for follower in self._followers.get(id, ()):
                follower.notify(id, progress=progress)
        if self._news and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._distribute)
