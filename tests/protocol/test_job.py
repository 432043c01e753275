"""The life of one job: every signal in every state, and what callers see of it."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobwire.exceptions import (
    AppError,
    ConnectError,
    ConnectionLostError,
    JobCancelledError,
    LocalProtocolError,
    QueueFullError,
    RemoteProtocolError,
)
from jobwire.protocol.job import TRANSITIONS, JobMachine, Signal, State
from jobwire.protocol.messages import (
    Estimation,
    Log,
    Malformed,
    Message,
    ProcessCompleted,
    ProcessStarts,
    Progress,
    SendData,
    UnexpectedError,
    UnknownMessage,
    decode_message,
)
from jobwire.protocol.outputs import OutputLog
from jobwire.types import ProgressUnit, Status


def first(values: list[Any]) -> Any:
    return values[0] if values else ()


def make_job(state: State = State.ACCEPTED) -> JobMachine:
    """Return a job that has come to ``state`` by the shortest way."""
    held = state is State.FETCHING
    job = JobMachine(3, OutputLog(diffs=True, present=first, held=held), 0.0)
    if state is State.SUBMITTING:
        return job
    job.accept("e1", 1.0)
    if state is State.QUEUED:
        job.receive(Estimation(rank=2, queue_size=5, rank_eta=7.5), 2.0)
    elif state is State.RUNNING:
        job.receive(ProcessStarts(), 2.0)
    elif state in (State.COMPLETED, State.FETCHING):
        job.receive(parse(completed(["done"])), 2.0)
    elif state is State.FAILED:
        job.fail(RemoteProtocolError("broken"), 2.0)
    elif state is State.CANCELLED:
        job.cancel("cancelled", 2.0)
    assert job.state is state
    return job


def parse(fields: dict[str, Any]) -> Message:
    return decode_message(json.dumps(fields).encode())


def completed(data: Any) -> dict[str, Any]:
    return {"msg": "process_completed", "event_id": "e1", "output": {"data": data}, "success": True}


def generating(data: Any) -> dict[str, Any]:
    return {"msg": "process_generating", "event_id": "e1", "output": {"data": data}}


def settle(job: JobMachine) -> bool:
    if not job.state.ended:
        job.outputs.held = True
    return job.receive(parse(completed(["x"])), 9.0)


def complete(job: JobMachine) -> bool:
    if job.state is State.FETCHING:
        return job.fetched(9.0)
    return job.receive(parse(completed(["x"])), 9.0)


SIGNALS: dict[Signal, Callable[[JobMachine], bool]] = {
    Signal.ESTIMATE: lambda job: job.receive(Estimation(rank=1, queue_size=2), 9.0),
    Signal.SEND: lambda job: job.receive(SendData(), 9.0),
    Signal.START: lambda job: job.receive(ProcessStarts(eta=1.0), 9.0),
    Signal.SETTLE: settle,
    Signal.COMPLETE: complete,
    Signal.FAIL: lambda job: job.fail(RemoteProtocolError("broken"), 9.0),
    Signal.CANCEL: lambda job: job.cancel("cancelled", 9.0),
}


@pytest.mark.parametrize(
    ("state", "signal"),
    list(itertools.product(State, SIGNALS)),
    ids=lambda value: value.name,
)
def test_every_signal_in_every_state(state: State, signal: Signal) -> None:
    job = make_job(state)
    before = (job.version, job.code, job.error, job.outputs.outputs())
    expected = TRANSITIONS[state].get(signal)

    changed = SIGNALS[signal](job)

    if expected is None:
        assert not changed
        assert job.state is state
        assert (job.version, job.code, job.error, job.outputs.outputs()) == before
    else:
        assert changed
        assert job.state is expected
        assert job.version > before[0]
        assert job.changed_at == 9.0


@pytest.mark.parametrize("state", [s for s in State if s is not State.SUBMITTING])
def test_accepting_twice_or_after_the_end_is_the_callers_fault(state: State) -> None:
    with pytest.raises(LocalProtocolError):
        make_job(state).accept("other", 9.0)


def test_nothing_leaves_an_end() -> None:
    assert {state for state in State if not TRANSITIONS[state]} == {
        state for state in State if state.ended
    }


def test_every_state_can_end_in_every_way() -> None:
    for state in State:
        if not state.ended and state is not State.SUBMITTING:
            assert {s for s in TRANSITIONS[state].values() if s.ended} == {
                State.COMPLETED,
                State.FAILED,
                State.CANCELLED,
            }


def test_estimation_tells_the_place_in_the_queue() -> None:
    job = make_job(State.QUEUED)
    assert (job.code, job.rank, job.queue_size, job.eta) == (Status.IN_QUEUE, 2, 5, 7.5)


def test_start_ends_the_place_in_the_queue() -> None:
    job = make_job(State.QUEUED)
    job.receive(ProcessStarts(eta=3.0), 3.0)
    assert (job.code, job.rank, job.queue_size, job.eta) == (Status.PROCESSING, None, None, 3.0)


def test_late_estimation_changes_nothing() -> None:
    job = make_job(State.RUNNING)
    assert not job.receive(Estimation(rank=4, queue_size=9), 9.0)
    assert job.rank is None


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING])
def test_log_erases_neither_rank_nor_eta_nor_progress(state: State) -> None:
    job = make_job(state)
    job.progress = [ProgressUnit(1, 4, "steps", None, "loop")]
    job.eta = 7.5
    before = (job.rank, job.queue_size, job.eta, job.progress)
    job.receive(Log(log="hello", level="warning"), 9.0)
    assert job.code is Status.LOG
    assert job.outputs.last_log == ("hello", "warning")
    assert (job.rank, job.queue_size, job.eta, job.progress) == before


def test_progress_stays_after_the_end() -> None:
    job = make_job(State.RUNNING)
    units = [ProgressUnit(2, 3, "steps", None, "loop")]
    job.receive(Progress(progress_data=units), 3.0)
    assert (job.code, job.progress) == (Status.PROGRESS, units)
    job.receive(parse(completed(["x"])), 4.0)
    assert (job.code, job.progress, job.rank) == (Status.FINISHED, units, 0)


def test_cached_answer_comes_without_start() -> None:
    job = make_job(State.ACCEPTED)
    job.receive(parse(completed(["cached"])), 2.0)
    assert (job.state, job.outputs.result) == (State.COMPLETED, "cached")


def test_cancelled_elsewhere_looks_like_a_success_without_data() -> None:
    job = make_job(State.RUNNING)
    job.receive(parse({"msg": "process_completed", "event_id": "e1", "output": {}}), 9.0)
    assert job.state is State.CANCELLED
    assert isinstance(job.error, JobCancelledError)
    assert job.error.event_id == "e1"


@pytest.mark.parametrize(
    ("output", "outer_title", "expected"),
    [
        pytest.param(
            {"error": "gr <b>x</b>", "duration": 7, "visible": False, "title": "Oops"},
            "Oops",
            ("gr <b>x</b>", "Oops", 7, False),
            id="gr.Error",
        ),
        pytest.param({"error": "boom"}, None, ("boom", "Error", None, True), id="late"),
        pytest.param({"error": "boom"}, "Outer", ("boom", "Outer", None, True), id="outer title"),
        pytest.param({"error": {"a": 1}}, None, ("{'a': 1}", "Error", None, True), id="odd"),
    ],
)
def test_app_error_carries_what_the_app_said(
    output: dict[str, Any], outer_title: str | None, expected: tuple[Any, ...]
) -> None:
    job = make_job(State.RUNNING)
    fields = {"msg": "process_completed", "output": output, "success": False, "title": outer_title}
    job.receive(parse(fields), 9.0)
    error = job.error
    assert isinstance(error, AppError)
    assert (error.message, error.title, error.duration, error.visible) == expected
    assert error.event_id == "e1"


@pytest.mark.parametrize("output", [{"error": None}, {}], ids=["null", "absent"])
def test_hidden_error_says_how_to_see_it(output: dict[str, Any]) -> None:
    job = make_job(State.RUNNING)
    job.receive(parse({"msg": "process_completed", "output": output, "success": False}), 9.0)
    assert isinstance(job.error, AppError)
    assert "show_error=True" in job.error.message


@pytest.mark.parametrize("data", ["text", {"a": 1}, None, 3])
def test_result_that_is_no_list_fails_the_job(data: Any) -> None:
    job = make_job(State.RUNNING)
    job.receive(parse(completed(data)), 9.0)
    assert job.state is State.FAILED
    assert isinstance(job.error, RemoteProtocolError)
    assert job.error.event_id == "e1"


def test_result_that_is_no_utf8_fails_the_job() -> None:
    job = make_job(State.RUNNING)
    data = json.dumps(completed(["x?x"])).encode().replace(b"?", b"\xff")
    job.receive(decode_message(data), 9.0)
    assert job.state is State.FAILED
    assert "UTF-8" in str(job.error)


def test_malformed_message_for_the_job_fails_it() -> None:
    job = make_job(State.RUNNING)
    error = RemoteProtocolError("nonsense")
    job.receive(Malformed(error, "e1"), 9.0)
    assert job.error is error


def test_unexpected_error_for_the_job_fails_it() -> None:
    job = make_job(State.RUNNING)
    job.receive(UnexpectedError(event_id="e1", message="KeyError"), 9.0)
    assert isinstance(job.error, RemoteProtocolError)
    assert "KeyError" in str(job.error)


def test_unknown_message_changes_nothing() -> None:
    job = make_job(State.QUEUED)
    assert not job.receive(UnknownMessage("news", "e1"), 9.0)


def test_output_without_data_changes_nothing() -> None:
    job = make_job(State.RUNNING)
    assert not job.receive(parse({"msg": "process_generating", "output": {}}), 9.0)
    assert job.outputs.outputs() == []


def test_outputs_arrive_in_order_and_the_result_repeats_the_last() -> None:
    job = make_job(State.RUNNING)
    job.receive(parse(generating(["a"])), 3.0)
    job.receive(parse(generating([[["append", [], "b"]]])), 4.0)
    assert job.code is Status.ITERATING
    job.receive(parse(completed(["ab"])), 5.0)
    assert job.outputs.outputs() == ["a", "ab"]
    assert job.outputs.result == "ab"


def test_streaming_outputs_are_never_edits() -> None:
    job = make_job(State.RUNNING)
    for value in ([], [["append", [], "x"]]):
        fields = {"msg": "process_streaming", "event_id": "e1", "output": {"data": [value]}}
        job.receive(parse(fields), 3.0)
    assert job.outputs.outputs() == [[], [["append", [], "x"]]]


def test_lost_job_tells_its_id_and_the_outputs_so_far() -> None:
    job = make_job(State.RUNNING)
    job.receive(parse(generating(["a"])), 3.0)
    assert job.lose("cut", 4.0)
    assert isinstance(job.error, ConnectionLostError)
    assert (job.error.event_id, job.error.outputs) == ("e1", ["a"])
    assert not job.lose("again", 5.0)


def test_second_completion_changes_nothing() -> None:
    job = make_job(State.COMPLETED)
    assert not job.receive(parse(completed(["other"])), 9.0)
    assert job.outputs.result == "done"


def test_turn_of_a_job_ends_its_waiting_and_may_tell_its_id() -> None:
    job = make_job(State.SUBMITTING)
    job.accept(None, 1.0)
    job.receive(Estimation(rank=3, queue_size=4, rank_eta=2.0), 2.0)
    assert job.receive(SendData(event_id="e1"), 3.0)
    assert (job.state, job.code, job.event_id) == (State.QUEUED, Status.SENDING_DATA, "e1")
    assert (job.rank, job.queue_size, job.eta) == (None, None, 2.0)
    job.receive(SendData(), 4.0)
    assert job.event_id == "e1"


@pytest.mark.parametrize(
    ("state", "words"),
    [(State.SUBMITTING, "not confirmed by the server"), (State.ACCEPTED, "gave no id")],
)
def test_lost_job_without_an_id_says_why_it_has_none(state: State, words: str) -> None:
    job = make_job(State.SUBMITTING)
    if state is State.ACCEPTED:
        job.accept(None, 1.0)
    job.lose("cut", 2.0)
    assert isinstance(job.error, ConnectionLostError)
    assert words in str(job.error)
    assert job.error.event_id is None


def test_completion_with_unset_fields_is_a_success() -> None:
    job = make_job(State.RUNNING)
    message = ProcessCompleted()
    message.output.data = msgspec.Raw(b'["x"]')
    job.receive(message, 3.0)
    assert job.outputs.result == "x"


# -- files --


def test_job_whose_files_are_fetched_ends_when_they_are_there() -> None:
    job = make_job(State.FETCHING)
    assert (job.state.settled, job.state.ended, job.error) == (True, False, None)
    assert job.code is Status.PROCESSING or job.code is Status.JOINING_QUEUE
    assert job.outputs.outputs() == []
    assert job.outputs.result is None
    job.outputs.release(1)
    assert job.fetched(3.0)
    assert job.state.ended
    assert job.outputs.result == "done"
    assert not job.fetched(4.0)


def test_failure_waits_for_the_files_of_earlier_outputs() -> None:
    job = JobMachine(3, OutputLog(diffs=True, present=first, held=True), 0.0)
    job.accept("e1", 1.0)
    job.receive(parse(generating(["a"])), 2.0)
    failure = {"msg": "process_completed", "output": {"error": "no"}, "success": False}
    assert job.receive(parse(failure), 3.0)
    assert (job.state, job.error, job.failing) == (State.FETCHING, None, True)
    job.outputs.release(1)
    assert job.fetched(4.0)
    assert job.state is State.FAILED
    assert isinstance(job.error, AppError)
    assert job.outputs.outputs() == ["a"]


def test_lost_job_does_not_wait_for_its_files() -> None:
    job = JobMachine(3, OutputLog(diffs=True, present=first, held=True), 0.0)
    job.accept("e1", 1.0)
    job.receive(parse(generating(["a"])), 2.0)
    assert job.lose("cut", 3.0)
    assert isinstance(job.error, ConnectionLostError)
    assert job.error.outputs == []


def test_job_that_was_not_settled_is_not_fetched() -> None:
    job = make_job(State.RUNNING)
    assert not job.fetched(3.0)
    assert not job.failing


def test_sending_files_is_progress_until_the_job_is_accepted() -> None:
    job = make_job(State.SUBMITTING)
    unit = ProgressUnit(1, 2, "bytes")
    job.send([unit], 0.5)
    seen = [(job.code, job.progress)]
    job.accept("e1", 1.0)
    seen.append((job.code, job.progress))
    job.send([unit], 2.0)
    seen.append((job.code, job.progress))
    assert [code for code, _ in seen] == [Status.SENDING_DATA, *2 * [Status.JOINING_QUEUE]]
    assert [progress for _, progress in seen] == [[unit], None, None]


def test_diagram_in_the_docs_is_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text()
    drawn = set(re.findall(r"^ +(\w+) --> (\w+): (\w+)$", text, re.MULTILINE))
    assert drawn == {
        (state.name, new.name, signal.name)
        for state, signals in TRANSITIONS.items()
        for signal, new in signals.items()
        if new is not state
    }


# -- what may run, and what may be submitted again -----------------------------


def make_repeatable(state: State, repeats: int = 1, *, sent: bool = True) -> JobMachine:
    job = make_job(state)
    job.repeats = repeats
    job.sent = sent
    return job


REPEATABLE = [State.SUBMITTING, State.ACCEPTED, State.QUEUED, State.RUNNING]


@pytest.mark.parametrize("state", State)
def test_job_is_repeated_where_nobody_knows_what_became_of_it(state: State) -> None:
    job = make_repeatable(state)
    version = job.version
    assert job.repeat(5.0) is (state in REPEATABLE)
    if state in REPEATABLE:
        assert (job.state, job.code) == (State.SUBMITTING, Status.STARTING)
        told = (job.event_id, job.rank, job.queue_size, job.eta, job.progress)
        assert told == (None,) * 5
        assert job.repeats == 0
        assert job.changed_at == 5.0
        assert job.version == version + 1
        assert not job.repeat(6.0)  # it was the last time
        job.accept("e2", 7.0)
        assert job.event_id == "e2"
    else:
        assert (job.state, job.version) == (state, version)


@pytest.mark.parametrize("state", REPEATABLE)
def test_lost_job_is_to_be_submitted_again_as_often_as_it_may(state: State) -> None:
    job = make_repeatable(state)
    assert job.lose("cut", 5.0)
    assert job.lost
    assert job.state is State.SUBMITTING
    job.lost = False
    job.accept("e2", 6.0)
    assert job.lose("cut", 7.0)
    assert not job.lost
    assert isinstance(job.error, ConnectionLostError)
    assert job.error.may_have_run
    assert "may have run" in str(job.error)


def test_job_that_gave_an_output_is_not_repeated() -> None:
    job = make_repeatable(State.RUNNING)
    job.receive(parse(generating(["a"])), 3.0)
    assert not job.repeat(4.0)
    assert job.lose("cut", 5.0)
    assert not job.lost
    assert isinstance(job.error, ConnectionLostError)
    assert job.error.outputs == ["a"]


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize(
    ("end", "ran"),
    [
        (lambda job: job.fail(QueueFullError("full", status=503), 9.0), False),
        (lambda job: job.fail(ConnectError("refused"), 9.0), False),
        (lambda job: job.reject(ConnectionLostError("cut"), 9.0), True),
        (lambda job: job.lose("cut", 9.0), True),
        (lambda job: job.cancel("enough", 9.0), True),
    ],
    ids=["full", "refused", "reply lost", "lost", "cancelled"],
)
def test_error_tells_whether_the_job_may_have_run(
    end: Callable[[JobMachine], bool], ran: bool, sent: bool
) -> None:
    job = make_repeatable(State.SUBMITTING, 0, sent=sent)
    assert end(job)
    assert job.error is not None
    assert job.error.may_have_run is (ran and sent)
    # Had it been submitted before, without an answer, no refusal would take that back.
    job = make_repeatable(State.SUBMITTING, 1, sent=sent)
    assert job.repeat(5.0)
    assert end(job)
    assert job.error is not None
    assert job.error.may_have_run is sent


@pytest.mark.parametrize("sent", [False, True])
def test_rejected_job_says_what_is_not_known(sent: bool) -> None:
    job = make_repeatable(State.SUBMITTING, 0, sent=sent)
    assert job.reject(ConnectionLostError("cut"), 9.0)
    assert ("nobody knows" in str(job.error)) is sent
    assert not job.reject(ConnectionLostError("cut"), 10.0)


def test_wait_for_the_next_try_is_seen_until_the_job_is_confirmed() -> None:
    job = make_job(State.SUBMITTING)
    job.wait("trying again", 1.0)
    assert job.code is Status.STARTING
    assert job.progress == [ProgressUnit(desc="trying again")]
    job.accept("e1", 2.0)
    assert job.progress is None
    version = job.version
    job.wait("trying again", 3.0)
    assert job.version == version
