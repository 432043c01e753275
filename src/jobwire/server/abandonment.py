"""Jobs that nobody listens to, and when they are given up."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

__all__ = ("Abandonment",)


class Abandonment:
    """Gives up jobs that had no listener for a time. For one event loop.

    One timer for each length of that time, however many jobs there are.

    Args:
        has_listener: Whether somebody listens to a job now.
        give_up: Called with a job's id.
    """

    def __init__(
        self, *, has_listener: Callable[[str], bool], give_up: Callable[[str], object]
    ) -> None:
        self._has_listener = has_listener
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._due: dict[float, OrderedDict[str, float]] = {}  # by seconds; soonest first

    def leave(self, ids: Iterable[str], after: float) -> None:
        """Say that a listener of some jobs is gone, or was not there yet.

        Args:
            ids: The jobs.
            after: Seconds in which one has to come.
        """
        jobs = self._due.get(after)
        due = time.monotonic() + after
        is_new = not jobs
        if jobs is None:
            jobs = self._due[after] = OrderedDict()
        for id in ids:
            jobs[id] = due
            jobs.move_to_end(id)
        if is_new and jobs:
            self._loop.call_later(after, self._look, after)

    def _look(self, after: float) -> None:
        jobs = self._due[after]
        now = time.monotonic()
        while jobs:
            id, due = next(iter(jobs.items()))
            if due > now:
                self._loop.call_later(due - now, self._look, after)
                return
            del jobs[id]
            if not self._has_listener(id):  # else its leaving will be told in its turn
                self._give_up(id)
        del self._due[after]
