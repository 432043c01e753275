"""Back-pressure: how many jobs of a client may be in flight."""

from __future__ import annotations

import asyncio
from typing import Any

from jobwire.exceptions import ArgumentError

__all__ = ("PendingLimit",)


class PendingLimit:
    """Lets so many jobs be in flight; others wait for their turn, first come, first served.

    Args:
        limit: How many; None for any number.

    Raises:
        ArgumentError: It is no number of jobs.
    """

    def __init__(self, limit: int | None) -> None:
        given: Any = limit
        if given is not None and (
            isinstance(given, bool) or not isinstance(given, int) or given < 1
        ):
            raise ArgumentError(
                f"max_pending={limit!r}: it takes a number of jobs, 1 or more, or None",
                parameter="max_pending",
            )
        self._places = None if limit is None else asyncio.Semaphore(limit)

    async def enter(self) -> None:
        """Wait for a place and take it; `leave` must follow. Cancelling takes none."""
        if self._places is not None:
            await self._places.acquire()

    def leave(self) -> None:
        """Give a place back."""
        if self._places is not None:
            self._places.release()
