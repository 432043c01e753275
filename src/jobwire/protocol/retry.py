"""Which failures may be tried again, and after how long.

Nothing is ever tried again once a server may have accepted it, unless the caller says so: a
prediction can cost money, and running it twice is for the caller to decide.
"""

from __future__ import annotations

from typing import NamedTuple

from jobwire.exceptions import (
    AddressError,
    ConnectError,
    JobwireError,
    QueueFullError,
    RateLimitedError,
    ServerError,
)

__all__ = ("RetryPolicy", "is_refusal")

# Answers of a proxy whose server is away for a moment, and of a server that asks for
# patience.
_PASSING = frozenset({429, 502, 503, 504})

# Answers of a proxy that may have passed the request on. From 520 on they are Cloudflare's.
_UNSURE = frozenset({408, 502, 503, 504})
_UNSURE_FROM = 520


def is_refusal(error: JobwireError) -> bool:
    """Whether a server that was sent a job, with this outcome, has surely not accepted it."""
    if isinstance(error, ServerError):
        sure = error.status not in _UNSURE and error.status < _UNSURE_FROM
        return sure or error.retry_after is not None or isinstance(error, QueueFullError)
    return isinstance(error, ConnectError)


class RetryPolicy(NamedTuple):
    """Exponential back-off with jitter.

    Attributes:
        attempts: Tries in all, the first included; 1 never tries again.
        base: Seconds before the second try; doubles with each further one.
        cap: The longest wait, in seconds, that nobody has asked for.
        patience: The longest, in seconds, that a server may ask for (``Retry-After``). One
            that asks for more is not waited for.
    """

    attempts: int = 4
    base: float = 0.1
    cap: float = 5.0
    patience: float = 60.0

    def backoff(self, attempt: int, *, jitter: float) -> float:
        """Return the seconds to wait after so many failures, if nobody asks for more.

        Args:
            attempt: How many tries failed so far, from 1.
            jitter: A random number from 0 to 1; spreads clients that failed together.
        """
        return min(self.cap, self.base * 2.0 ** min(attempt - 1, 64)) * (0.5 + jitter / 2)

    def delay(
        self, attempt: int, failure: JobwireError, *, jitter: float, repeatable: bool = False
    ) -> float | None:
        """Return the seconds to wait before trying again, or None to give up.

        What was surely not accepted may be tried again: there was no connection, or the
        server limits how often it is asked, or says when to come back.

        Args:
            attempt: How many tries failed so far, from 1.
            failure: The last failure.
            jitter: As for `backoff`.
            repeatable: The request may reach the server twice without harm.
        """
        # Who gave no answer for as long as a connection may take gives none a moment later.
        hopeless = isinstance(failure, ConnectError) and (
            isinstance(failure, AddressError) or isinstance(failure.__cause__, TimeoutError)
        )
        if attempt >= self.attempts or hopeless:
            return None
        wait = self.backoff(attempt, jitter=jitter)
        if isinstance(failure, ServerError):
            asked = failure.retry_after
            if failure.status not in _PASSING:
                return None
            if asked is None:
                return wait if repeatable or isinstance(failure, RateLimitedError) else None
            # Whoever came back too early would be sent away again.
            return max(wait, asked * (1 + jitter / 10)) if asked <= self.patience else None
        return wait if repeatable or isinstance(failure, ConnectError) else None
