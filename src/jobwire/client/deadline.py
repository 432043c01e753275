"""How long a job may take, all in all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

from jobwire.exceptions import ArgumentError, JobTimeoutError, JobwireError

__all__ = ("Deadline", "check_retries", "check_timeout")


class Deadline(NamedTuple):
    """When a job is given up.

    Attributes:
        timeout: Seconds that it may take; None for as long as it takes.
        at: When they have passed, by the loop's clock; None for never.
    """

    timeout: float | None
    at: float | None

    @classmethod
    def after(cls, timeout: float | None, start: float) -> Self:
        """Return the deadline of what began at ``start``."""
        return cls(timeout, None if timeout is None else start + timeout)

    def passes_within(self, seconds: float) -> bool:
        """Whether it will have passed in so many seconds."""
        return self.at is not None and self.at <= asyncio.get_running_loop().time() + seconds

    @asynccontextmanager
    async def limiting(self, what: str) -> AsyncGenerator[None]:
        """Limit what is done for a job before there is one.

        Raises:
            JobTimeoutError: It passed meanwhile.
        """
        try:
            async with asyncio.timeout_at(self.at):
                yield
        except TimeoutError as error:
            if isinstance(error, JobwireError):
                raise
            raise JobTimeoutError(
                f"{what} took longer than the {self.timeout:g} s that the job may take; nothing "
                "was submitted"
            ) from None


def check_timeout(value: Any) -> float | None:
    """Return a ``timeout`` as it is used: None for infinity.

    Raises:
        ArgumentError: It is none.
    """
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0
    ):
        raise ArgumentError(
            f"timeout={value!r}: it takes seconds, 0 or more, or None", parameter="timeout"
        )
    return None if value is None or value == float("inf") else float(value)


def check_retries(value: Any) -> int:
    """Return ``retries``.

    Raises:
        ArgumentError: It is no number of times.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ArgumentError(
            f"retries={value!r}: it takes a number of times, 0 or more", parameter="retries"
        )
    return value
