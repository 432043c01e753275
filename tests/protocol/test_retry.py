"""What is tried again, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwire.exceptions import (
    AppError,
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    JobwireError,
    QueueFullError,
    RemoteProtocolError,
    ServerError,
    TooManyRequestsError,
    TransportTimeoutError,
)
from jobwire.protocol.retry import RetryPolicy

REFUSED = ConnectError("connection refused")
POLICY = RetryPolicy(attempts=4, base=0.1, cap=5.0)


def delays(policy: RetryPolicy, failure: JobwireError, **options: bool) -> list[float | None]:
    return [
        policy.delay(attempt, failure, jitter=1.0, **options)
        for attempt in range(1, policy.attempts + 1)
    ]


def test_waits_double_until_the_attempts_are_used_up() -> None:
    assert delays(POLICY, REFUSED) == pytest.approx([0.1, 0.2, 0.4, None])


def test_waits_do_not_grow_beyond_the_cap() -> None:
    policy = RetryPolicy(attempts=8, base=1.0, cap=5.0)
    assert delays(policy, REFUSED) == [1, 2, 4, 5, 5, 5, 5, None]


def test_many_attempts_are_no_problem() -> None:
    policy = RetryPolicy(attempts=100_000, base=0.1, cap=5.0)
    assert policy.delay(5_000, REFUSED, jitter=1.0) == 5.0


def test_one_attempt_is_never_repeated() -> None:
    assert RetryPolicy(attempts=1).delay(1, REFUSED, jitter=0.5) is None


@pytest.mark.parametrize(("jitter", "wait"), [(0.0, 0.2), (0.5, 0.3), (1.0, 0.4)])
def test_jitter_takes_up_to_half_of_the_wait(jitter: float, wait: float) -> None:
    assert POLICY.delay(3, REFUSED, jitter=jitter) == pytest.approx(wait)


@pytest.mark.parametrize(
    "failure",
    [
        ConnectionLostError("reset"),
        TransportTimeoutError("no answer"),
        RemoteProtocolError("nonsense"),
        AppError("failed"),
        ServerError("bad gateway", status=502),
        TooManyRequestsError("slow down", retry_after=0.1),
        QueueFullError("full", status=503),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_what_a_server_may_have_accepted_is_not_repeated(failure: JobwireError) -> None:
    assert POLICY.delay(1, failure, jitter=1.0) is None


@pytest.mark.parametrize(
    "failure",
    [
        REFUSED,
        ConnectionLostError("reset"),
        TransportTimeoutError("no answer"),
        ServerError("bad gateway", status=502),
        ServerError("unavailable", status=503),
        ServerError("gateway timeout", status=504),
        TooManyRequestsError("slow down"),
    ],
    ids=lambda failure: f"{type(failure).__name__} {getattr(failure, 'status', '')}",
)
def test_harmless_requests_are_repeated_after_what_passes(failure: JobwireError) -> None:
    assert delays(POLICY, failure, repeatable=True) == pytest.approx([0.1, 0.2, 0.4, None])


@pytest.mark.parametrize(
    "failure",
    [
        ServerError("not found", status=404),
        ServerError("internal error", status=500),
        ServerError("unknown"),
        AuthenticationError("who are you", status=401),
    ],
    ids=lambda failure: f"{type(failure).__name__} {failure.status}",
)
def test_harmless_requests_are_not_repeated_after_what_stays(failure: ServerError) -> None:
    assert POLICY.delay(1, failure, jitter=1.0, repeatable=True) is None


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [(None, 0.1), (0.0, 0.1), (0.05, 0.1), (2.0, 2.0), (5.0, 5.0), (5.1, None), (1e9, None)],
)
def test_server_that_asks_for_patience_gets_it_up_to_the_cap(
    retry_after: float | None, wait: float | None
) -> None:
    failure = TooManyRequestsError("slow down", retry_after=retry_after)
    delay = POLICY.delay(1, failure, jitter=1.0, repeatable=True)
    assert delay == (wait if wait is None else pytest.approx(wait))


def test_default_policy_waits_less_than_a_second_in_all() -> None:
    waits = delays(RetryPolicy(), REFUSED)
    assert waits[-1] is None
    assert 0 < sum(wait for wait in waits if wait is not None) < 1


@given(
    st.builds(
        RetryPolicy,
        attempts=st.integers(1, 50),
        base=st.floats(0, 100),
        cap=st.floats(0, 100),
    ),
    st.integers(1, 60),
    st.floats(0, 1),
)
def test_waits_are_never_negative_nor_beyond_the_cap(
    policy: RetryPolicy, attempt: int, jitter: float
) -> None:
    delay = policy.delay(attempt, REFUSED, jitter=jitter)
    if attempt >= policy.attempts:
        assert delay is None
    else:
        assert delay is not None
        assert 0 <= delay <= policy.cap
