"""What is tried again, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwire.exceptions import (
    AddressError,
    AppError,
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    JobwireError,
    QueueFullError,
    RateLimitedError,
    RemoteProtocolError,
    ServerError,
    TransportTimeoutError,
    ValidationError,
)
from jobwire.protocol.retry import RetryPolicy, is_refusal

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
        ServerError("bad gateway", status=502, retry_after=None),
        ServerError("unavailable", status=503),
        QueueFullError("full", status=503),
        AddressError("no address"),
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
        ServerError("unavailable", status=503, retry_after=0.0),
        RateLimitedError("slow down"),
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
    "failure",
    [
        RateLimitedError("slow down"),
        RateLimitedError("slow down", retry_after=0.0),
        ServerError("unavailable", status=503, retry_after=0.0),
        QueueFullError("full", status=503, retry_after=0.0),
    ],
    ids=lambda failure: f"{type(failure).__name__} {failure.retry_after}",
)
def test_what_was_surely_not_accepted_is_repeated(failure: ServerError) -> None:
    assert delays(POLICY, failure) == pytest.approx([0.1, 0.2, 0.4, None])


@pytest.mark.parametrize("repeatable", [False, True])
@pytest.mark.parametrize("kind", [RateLimitedError, QueueFullError])
@pytest.mark.parametrize(
    ("retry_after", "jitter", "wait"),
    [
        (0.0, 1, 0.1), (0.05, 1, 0.1), (2.0, 0, 2.0), (2.0, 1, 2.2), (60.0, 0, 60.0),
        (60.0, 1, 66.0), (60.1, 0, None), (1e9, 0, None), (float("inf"), 0, None),
    ],
)  # fmt: skip
def test_server_that_asks_for_patience_gets_it_up_to_a_limit(
    retry_after: float,
    jitter: float,
    wait: float | None,
    kind: type[ServerError],
    repeatable: bool,
) -> None:
    failure = kind("slow down", status=503, retry_after=retry_after)
    delay = POLICY.delay(1, failure, jitter=jitter, repeatable=repeatable)
    assert delay == (wait if wait is None else pytest.approx(wait))


def test_who_gave_no_answer_is_not_asked_again() -> None:
    failure = ConnectError("no answer in time")
    failure.__cause__ = TimeoutError()
    assert POLICY.delay(1, failure, jitter=1.0, repeatable=True) is None


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (ConnectError("refused"), True),
        (AddressError("no address"), True),
        (ConnectionLostError("reset"), False),
        (TransportTimeoutError("no answer"), False),
        (RemoteProtocolError("nonsense"), False),
        (AppError("failed"), False),
        (JobwireError("what"), False),
        (AuthenticationError("who", status=401), True),
        (ValidationError("no"), True),
        (RateLimitedError("slow down"), True),
        (QueueFullError("full", status=503), True),
        (QueueFullError("full"), True),
        *((ServerError("x", status=status), True) for status in (400, 403, 404, 422, 500, 501)),
        *((ServerError("x", status=status), False) for status in (408, 502, 503, 504, 520, 524)),
        (ServerError("x", status=503, retry_after=1.0), True),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'status', '')}",
)
def test_what_tells_that_a_job_was_not_accepted(error: JobwireError, refusal: bool) -> None:
    assert is_refusal(error) is refusal


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
