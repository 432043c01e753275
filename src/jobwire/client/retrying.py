"""Sends requests again that failed, as `RetryPolicy` has it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from jobwire.exceptions import JobwireError, ServerError
from jobwire.protocol.job import State
from jobwire.protocol.retry import RetryPolicy, is_refusal

if TYPE_CHECKING:
    from jobwire.client.job import AsyncJob

__all__ = ("LOADING", "is_passing", "retrying", "submitting", "until_known")

logger = logging.getLogger("jobwire")

T = TypeVar("T")

LOADING = RetryPolicy(patience=5.0)
"""For what the app says of itself: whoever waits for that has no status to look at."""

Judge = Callable[[JobwireError], bool]


def is_passing(error: JobwireError) -> bool:
    """Whether a request that changes nothing is worth another try: something answers."""
    return isinstance(error, ServerError)


async def retrying(
    send: Callable[[], Awaitable[T]],
    what: str,
    *,
    repeatable: Judge = is_passing,
    policy: RetryPolicy = RetryPolicy(),  # noqa: B008
) -> T:
    """Send a request that is no job's; send it again if that may help.

    Args:
        send: Called for each try.
        what: What it is about, for the log.
        repeatable: Whether, after a failure, it may reach the server again.
        policy: How often, and after how long.

    Raises:
        JobwireError: The last failure.
    """
    for attempt in itertools.count(1):
        try:
            return await send()
        except JobwireError as error:
            delay = policy.delay(
                attempt,
                error,
                jitter=random.random(),  # noqa: S311
                repeatable=repeatable(error),
            )
            if delay is None:
                raise
            logger.info("%s failed: %s; trying again in %.2g s", what, error, delay)
        await asyncio.sleep(delay)
    raise AssertionError("unreachable")


async def until_known(send: Callable[[], Awaitable[T]], job: AsyncJob, patience: float | None) -> T:
    """Send a job under a key, so that it does no harm to send it again; find out what became of it.

    What was surely not accepted is not sent again; nor is a job that has ended.

    Args:
        send: Called for each try, with the same key.
        job: The job.
        patience: Seconds for which it is tried, after the first failure; None without end.

    Raises:
        JobwireError: The first failure that left it open whether the server has the job, or the
            refusal.
    """
    now = asyncio.get_running_loop().time
    first: JobwireError | None = None
    since = 0.0
    for attempt in itertools.count(1):
        try:
            return await send()
        except JobwireError as error:
            if first is None:
                if is_refusal(error):
                    raise
                first, since = error, now()
            delay = RetryPolicy().backoff(attempt, jitter=random.random())  # noqa: S311
            if isinstance(error, ServerError):
                if error.status < 500 and error.status not in (408, 429):
                    raise first from error
                delay = max(delay, error.retry_after or 0.0)
            if patience is not None and now() + delay > since + patience:
                raise first from error
            if not await job._wait_to_retry(delay, str(error)):
                raise first from error
    raise AssertionError("unreachable")


async def submitting(
    send: Callable[[], Awaitable[T]],
    job: AsyncJob,
    *,
    repeatable: Judge = lambda _: False,
) -> T:
    """Send a job; send it again if that is sure to do no harm, or the job's caller says so.

    The wait is seen in the job's status. It ends when the job does, and is not begun if the
    job's deadline would pass first.

    Args:
        send: Called for each try.
        job: The job.
        repeatable: Whether, after a failure, the job may reach the server again for other
            reasons.

    Raises:
        JobwireError: The last failure.
    """
    policy = RetryPolicy()
    for attempt in itertools.count(1):
        try:
            return await send()
        except JobwireError as error:
            if job._machine.state is not State.SUBMITTING:  # it had been accepted, or has ended
                raise
            jitter = random.random()  # noqa: S311
            delay = policy.delay(attempt, error, jitter=jitter, repeatable=repeatable(error))
            if delay is None and not is_refusal(error) and job._repeat():
                delay = policy.backoff(attempt, jitter=jitter)
            if delay is None or not await job._wait_to_retry(delay, str(error)):
                raise
    raise AssertionError("unreachable")
