"""A session with a server that keeps jobs: its stream goes on wherever it was cut."""

import json
import random
from typing import Any

import pytest
from test_session import CLOSE, Session
from wire import CLOSE_STREAM, HEARTBEAT, SESSION_NOT_FOUND, estimation, failed, message

from jobwire.exceptions import (
    AppError,
    AuthenticationError,
    ClientClosedError,
    ConnectError,
    ConnectionLostError,
    ServerError,
    TransportError,
)
from jobwire.protocol.dialects import select_dialect
from jobwire.protocol.job import State
from jobwire.protocol.limits import IDLE_TIMEOUT
from jobwire.protocol.session import AskForJob, OpenEventStream
from jobwire.protocol.sse import encode_event
from jobwire.protocol.stopping import NO_FUNCTION, StopJob

DURABLE = select_dialect("sse_v3", "6.31.0", durable=True)
BROKEN = TransportError("broken")


def numbered(number: int, msg: str, event_id: str, **fields: Any) -> bytes:
    body = {"msg": msg, "event_id": event_id, **fields, "seq": number}
    return encode_event(json.dumps(body), id=str(number))


def output(number: int, event_id: str, *data: Any) -> bytes:
    return numbered(number, "process_generating", event_id, output={"data": data}, success=True)


def end(number: int, event_id: str, *data: Any) -> bytes:
    return numbered(number, "process_completed", event_id, output={"data": data}, success=True)


@pytest.fixture
def session() -> Session:
    return Session(DURABLE)


def opened(session: Session, after: int) -> None:
    assert session.actions() == [OpenEventStream(after)]
    session.stream_opened(session.now)


def test_a_broken_stream_goes_on_after_the_last_event(session: Session) -> None:
    [job] = session.start("a")
    opened(session, 0)
    session.feed(estimation("a"), output(5, "a", "x"), output(7, "a", [["append", [], "y"]])[:-1])
    session.receive_error(BROKEN, session.now)
    assert not job.state.ended
    assert session.wait(5) == [OpenEventStream(5)]
    session.stream_opened(session.now)
    session.feed(output(7, "a", [["append", [], "y"]]), end(8, "a", "xy"), CLOSE_STREAM)
    session.receive_eof(session.now)
    assert job.outputs.outputs() == ["x", "xy"]
    assert job.state is State.COMPLETED
    assert not session.damaged
    session.start("b")
    opened(session, 8)


def test_an_early_end_is_a_break(session: Session) -> None:
    [job] = session.start("a")
    opened(session, 0)
    session.feed(output(5, "a", "x"), message("server_stopping"))
    session.receive_eof(session.now)
    assert session.wait(5) == [OpenEventStream(5)]
    session.stream_opened(session.now)
    session.feed(end(6, "a", "x"))
    assert job.state is State.COMPLETED


def test_silence_is_a_break(session: Session) -> None:
    [job] = session.start("a")
    opened(session, 0)
    session.feed(output(5, "a", "x"))
    assert session.wait(IDLE_TIMEOUT + 5) == [CLOSE, OpenEventStream(5)]
    assert job.state is State.RUNNING


@pytest.mark.parametrize(
    "error", [ConnectError("refused"), BROKEN, ServerError("away", status=502), TimeoutError()]
)
def test_a_server_may_be_away_for_as_long_as_it_may_be_silent(
    session: Session, error: Exception
) -> None:
    if isinstance(error, TimeoutError):
        cause, error = error, ConnectError("no answer")
        error.__cause__ = cause
    assert isinstance(error, (TransportError, ServerError))
    [job] = session.start("a")
    opened(session, 0)
    session.receive_error(BROKEN, session.now)
    began, tries = session.now, 0
    while not job.state.ended:
        if session.wait(1):
            tries += 1
            session.receive_error(error, session.now)
    assert IDLE_TIMEOUT - 10 <= session.now - began <= IDLE_TIMEOUT + 1
    assert 15 < tries < 40
    assert isinstance(job.error, ConnectionLostError)
    assert session.damaged


def test_patience_begins_anew_with_each_message(session: Session) -> None:
    [job] = session.start("a")
    opened(session, 0)
    for number in range(10):
        session.receive_error(BROKEN, session.now)
        session.wait(5)
        for _ in range(3):
            session.receive_error(ConnectError("refused"), session.now)
            session.wait(10)
        session.stream_opened(session.now)
        session.feed(HEARTBEAT if number % 2 else output(number + 1, "a", number))
    assert job.state is State.RUNNING


def test_a_stream_that_opens_and_breaks_without_a_word_is_not_opened_for_ever(
    session: Session,
) -> None:
    [job] = session.start("a")
    opened(session, 0)
    for _ in range(100):
        session.receive_error(BROKEN, session.now)
        if job.state.ended:
            break
        assert session.wait(5) == [OpenEventStream(0)]
        session.stream_opened(session.now)
    assert isinstance(job.error, ConnectionLostError)


@pytest.mark.parametrize(
    "error", [ServerError("gone", status=404), AuthenticationError("who?", status=401)]
)
def test_a_refusal_is_final(session: Session, error: ServerError) -> None:
    [job] = session.start("a")
    opened(session, 0)
    session.receive_error(BROKEN, session.now)
    assert session.wait(1)
    session.receive_error(error, session.now)
    assert isinstance(job.error, ConnectionLostError)


def test_a_server_that_forgot_loses_the_jobs(session: Session) -> None:
    [job] = session.start("a")
    opened(session, 0)
    session.receive_error(BROKEN, session.now)
    assert session.wait(1)
    session.stream_opened(session.now)
    session.feed(SESSION_NOT_FOUND)
    assert isinstance(job.error, ConnectionLostError)
    assert session.damaged


def test_each_job_is_stopped_alone(session: Session) -> None:
    a, b, c = session.start("a", "b", "c")
    opened(session, 0)
    session.feed(numbered(1, "process_starts", "a"), numbered(2, "process_starts", "b"))
    for job, id in ((a, "a"), (c, "c")):
        assert session.cancel(job, session.now)
        assert session.actions() == [StopJob(id, NO_FUNCTION)]
    session.feed(end(3, "b", "x"))
    assert b.outputs.result == "x"


def test_jobs_that_were_left_are_not_stopped_when_the_client_is_closed(session: Session) -> None:
    a, b = session.start("a", "b")
    late = session.send()
    opened(session, 0)
    b.detached = late.detached = True
    session.close(session.now)
    assert session.actions() == [StopJob("a", 0), CLOSE]
    session.accepted(late, "c", session.now)
    assert session.actions() == []
    assert all(isinstance(job.error, ClientClosedError) for job in (a, b, late))


@pytest.mark.parametrize("repeats", [0, 1])
def test_a_crash_of_the_server_is_worth_another_try(session: Session, repeats: int) -> None:
    [job] = session.start("a")
    job.repeats = repeats
    opened(session, 0)
    session.feed(
        numbered(1, "process_starts", "a"),
        failed("a", "it was interrupted", retryable=True, title="Interrupted"),
    )
    assert session.changed() == [job]
    assert job.lost is bool(repeats)
    if repeats:
        assert job.state is State.SUBMITTING
        assert session.idle
    else:
        assert isinstance(job.error, AppError)
        assert job.error.retryable


def test_nothing_is_lost_or_doubled_wherever_it_is_cut() -> None:
    all_breaks = 0
    for seed in range(50):
        rng = random.Random(seed)
        session = Session(DURABLE)
        ids = [f"job{i}" for i in range(5)]
        jobs = session.start(*ids)
        log: list[tuple[int, bytes]] = []
        number = 0
        left = {id: rng.randrange(1, 20) for id in ids}
        told = dict.fromkeys(ids, 0)
        while left:
            number += rng.randrange(1, 5)
            id = rng.choice(list(left))
            if told[id] < left[id]:
                edits = [["append", [], f"{told[id]} "]] if told[id] else f"{told[id]} "
                log.append((number, output(number, id, edits)))
                told[id] += 1
            else:
                text = "".join(f"{i} " for i in range(left.pop(id)))
                log.append((number, end(number, id, text)))
        breaks = 0
        while not session.idle:
            [action] = session.actions() or session.wait(5)
            assert isinstance(action, OpenEventStream)
            assert action.after is not None
            session.stream_opened(session.now)
            rest = b"".join(event for n, event in log if n > action.after)
            cut = rng.choice([rng.randrange(len(rest)), rng.randrange(len(rest)), len(rest)])
            for start in range(0, cut, 7):
                session.receive_data(rest[start : min(cut, start + 7)], session.now)
            if not session.idle:
                session.receive_error(BROKEN, session.now)
                breaks += 1
        all_breaks += breaks
        for id, job in zip(ids, jobs, strict=True):
            texts = ["".join(f"{i} " for i in range(n + 1)) for n in range(told[id])]
            assert job.error is None, (seed, job.error)
            assert job.outputs.outputs() == texts
            assert job.outputs.result == texts[-1]
    assert all_breaks > 50


def test_patience_is_not_used_up_by_jobs_that_are_over(session: Session) -> None:
    [job] = session.start("a")
    opened(session, 0)
    session.receive_error(BROKEN, session.now)
    session.cancel(job, session.now)
    session.wait(10 * IDLE_TIMEOUT)
    [job] = session.start("b")
    assert session.actions() == [OpenEventStream(0)]
    session.receive_error(ConnectError("refused"), session.now)
    assert not job.state.ended


@pytest.mark.parametrize("broken", [False, True])
def test_a_job_that_was_left_and_cancelled_is_stopped(session: Session, broken: bool) -> None:
    late = session.send()
    late.detached = True
    session.start("a")
    session.cancel(late, session.now)
    if broken:
        session.stream_opened(session.now)
        session.feed(SESSION_NOT_FOUND)
    else:
        session.close(session.now)
    session.actions()
    session.accepted(late, "b", session.now)
    assert session.actions() == [StopJob("b", 0)]


def test_what_may_be_gone_of_a_job_is_known() -> None:
    session = Session(DURABLE, max_unclaimed_size=100)
    first, second = session.send(), session.send()
    session.start("a")
    opened(session, 0)
    assert not session.misses(first)
    session.feed(output(1, "b", "x" * 100))
    assert session.misses(first)
    assert session.misses(second)
    session.hand_over(first)
    session.hand_over(second)
    third = session.send()
    assert not session.misses(third)
    session.feed(SESSION_NOT_FOUND)
    assert session.misses(third)


def test_a_server_is_asked_for_jobs_that_it_does_not_tell_of_after_a_break(
    session: Session,
) -> None:
    a, b = session.start("a", "b")
    opened(session, 0)
    session.feed(numbered(1, "process_starts", "a"), numbered(2, "process_starts", "b"))
    session.receive_error(BROKEN, session.now)
    assert session.wait(5) == [OpenEventStream(2)]
    session.stream_opened(session.now)
    session.feed(output(3, "b", "x"))
    for _ in range(4):
        session.wait(20)
        session.feed(HEARTBEAT)
    assert session.wait(15) == [AskForJob("a")]
    assert not a.state.ended
    session.forgotten("a", session.now)
    assert isinstance(a.error, ConnectionLostError)
    assert a in session.changed()
    session.feed(end(4, "b", "x"))
    assert b.state is State.COMPLETED


def test_a_job_that_nothing_is_told_of_is_not_stopped_but_asked_for(session: Session) -> None:
    [job] = session.start("a")
    opened(session, 0)
    for _ in range(4):
        session.wait(20)
        session.feed(HEARTBEAT)
    assert session.wait(15) == [AskForJob("a")]
    assert job.state is State.ACCEPTED


def test_a_server_that_has_nothing_to_tell_is_asked_why(session: Session) -> None:
    [job] = session.start("a")
    opened(session, 0)
    session.feed(numbered(1, "process_starts", "a"))
    for asked in ([], [AskForJob("a")]):
        session.feed(CLOSE_STREAM)
        session.receive_eof(session.now)
        assert [each for each in session.wait(5) if isinstance(each, AskForJob)] == asked
        session.stream_opened(session.now)
    session.forgotten("a", session.now)
    assert isinstance(job.error, ConnectionLostError)
    assert session.idle
