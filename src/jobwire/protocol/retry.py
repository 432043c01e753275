"""Which failures may be tried again, and after how long.

Nothing is ever tried again once a server may have accepted it: a prediction can cost
money, and running it twice is for the caller to decide.
"""

from __future__ import annotations

from typing import NamedTuple

from jobwire.exceptions import ConnectError, JobwireError, ServerError, TooManyRequestsError

__all__ = ("RetryPolicy",)

# Answers of a proxy whose server is away for a moment, and of a server that asks for
# patience. 503 from Gradio itself means that the queue is full and is QueueFullError.
_PASSING = frozenset({429, 502, 503, 504})


class RetryPolicy(NamedTuple):
    """Exponential back-off with jitter.

    Attributes:
        attempts: Tries in all, the first included; 1 never tries again.
        base: Seconds before the second try; doubles with each further one.
        cap: The longest wait, in seconds. A server that asks for more is not waited
            for.
    """

    attempts: int = 4
    base: float = 0.1
    cap: float = 5.0

    def delay(
        self, attempt: int, failure: JobwireError, *, jitter: float, repeatable: bool = False
    ) -> float | None:
        """Return the seconds to wait before trying again, or None to give up.

        Args:
            attempt: How many tries failed so far, from 1.
            failure: The last failure.
            jitter: A random number from 0 to 1; spreads clients that failed together.
            repeatable: The request may reach the server twice without harm.
        """
        if attempt >= self.attempts or not (isinstance(failure, ConnectError) or repeatable):
            return None
        wait = min(self.cap, self.base * 2.0 ** min(attempt - 1, 64)) * (0.5 + jitter / 2)
        if isinstance(failure, ServerError):
            if failure.status not in _PASSING:
                return None
            if isinstance(failure, TooManyRequestsError) and failure.retry_after is not None:
                wait = max(wait, failure.retry_after)
        return wait if wait <= self.cap else None
