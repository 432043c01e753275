"""One job on one connection: what is answered, when it is dropped, how the job ends."""

import json
from typing import Any

import pytest
from wire import HEARTBEAT, completed, estimation, failed, generating, message, starts

from jobwire.exceptions import (
    AppError,
    ClientClosedError,
    ConnectError,
    ConnectionLostError,
    JobCancelledError,
    JobwireError,
    QueueFullError,
    RemoteProtocolError,
    ServerError,
    TransportTimeoutError,
)
from jobwire.protocol.connection import (
    AnswerData,
    AnswerHash,
    CloseConnection,
    ConnectionAction,
    ConnectionProtocol,
)
from jobwire.protocol.job import JobMachine, State
from jobwire.protocol.outputs import OutputLog
from jobwire.protocol.stopping import StopJob
from jobwire.types import Status

NOW = 100.0
CLOSE = CloseConnection()


class Conversation:
    """A job, its protocol, and what a server says; without ids as 3.x, or with, as 4.0."""

    def __init__(self, event_id: str | None = None, **options: Any) -> None:
        outputs = OutputLog(diffs=False, present=lambda values: values[0])
        self.job = JobMachine(3, outputs, NOW)
        self.event_id = event_id
        options.setdefault("answer_timeout", 60.0)
        self.protocol = ConnectionProtocol(self.job, **options)
        self.protocol.connecting(NOW)

    def hear(self, msg: str, **fields: Any) -> list[ConnectionAction]:
        data = {"msg": msg, **fields}
        self.protocol.receive_message(json.dumps(data).encode(), NOW)
        return self.protocol.actions()

    def feed(self, *events: bytes) -> list[ConnectionAction]:
        for event in events:
            self.protocol.receive_data(event, NOW)
        return self.protocol.actions()

    def come_to(self, stage: str) -> "Conversation":
        """Have the job at a stage: new, greeted, queued, asked, running, yielded."""
        stages = ["new", "greeted", "queued", "asked", "running", "yielded"]
        said: list[dict[str, Any]] = [
            {"msg": "send_hash"},
            {"msg": "estimation", "rank": 1, "queue_size": 2},
            {"msg": "send_data", "event_id": self.event_id},
            {"msg": "process_starts"},
            {"msg": "process_generating", "output": {"data": ["one"]}, "success": True},
        ]
        for fields in said[: stages.index(stage)]:
            self.hear(**fields)
        return self


STAGES = ("new", "greeted", "queued", "asked", "running", "yielded")
each_stage = pytest.mark.parametrize("stage", STAGES)
each_id = pytest.mark.parametrize("event_id", [None, "e1"], ids=["3.x", "4.0"])


# -- the conversation --


@each_id
def test_job_goes_from_the_greeting_to_its_result(event_id: str | None) -> None:
    talk = Conversation(event_id)
    job = talk.job
    assert talk.hear("send_hash") == [AnswerHash()]
    assert job.state is State.SUBMITTING
    assert talk.hear("estimation", rank=2, queue_size=3, rank_eta=1.5) == []
    assert (job.state, job.code) == (State.QUEUED, Status.IN_QUEUE)
    assert (job.rank, job.queue_size, job.eta) == (2, 3, 1.5)
    assert talk.hear("send_data", event_id=event_id) == [AnswerData(event_id)]
    assert (job.state, job.code, job.event_id) == (State.QUEUED, Status.SENDING_DATA, event_id)
    assert talk.hear("process_starts") == []
    assert talk.hear("progress", progress_data=[{"index": 1, "length": 2}]) == []
    assert talk.hear("log", log="hello", level="info") == []
    assert talk.hear("process_generating", output={"data": ["one"]}) == []
    assert talk.hear("heartbeat") == []
    assert talk.hear("something_new", answer=42) == []
    assert not talk.protocol.closed
    assert talk.hear("process_completed", output={"data": ["two"]}, success=True) == [CLOSE]
    assert talk.protocol.closed
    assert job.state is State.COMPLETED
    assert job.outputs.outputs() == ["one"]
    assert job.outputs.result == "two"
    assert job.progress is not None
    assert not talk.protocol.abandoned


def test_outputs_are_whole_values() -> None:
    talk = Conversation().come_to("running")
    edits = [[["append", [], " more"]]]
    talk.hear("process_generating", output={"data": ["text"]})
    talk.hear("process_generating", output={"data": edits})
    assert talk.job.outputs.outputs() == ["text", edits[0]]


def test_events_of_a_stream_say_the_same() -> None:
    talk = Conversation()
    asked = message("send_data", "e1")
    assert talk.feed(estimation("e1"), HEARTBEAT, asked) == [AnswerData("e1")]
    assert talk.feed(starts("e1"), generating("e1", "one")) == []
    assert talk.feed(completed("e1", "two")) == [CLOSE]
    assert talk.job.outputs.result == "two"


def test_events_of_a_stream_may_be_cut_anywhere() -> None:
    stream = estimation("e1") + message("send_data", "e1") + completed("e1", "naïve ✓")
    for size in (1, 2, 7, len(stream)):
        talk = Conversation()
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert talk.feed(*pieces) == [AnswerData("e1"), CLOSE]
        assert talk.job.outputs.result == "naïve ✓"


def test_arguments_are_sent_once() -> None:
    talk = Conversation().come_to("asked")
    assert talk.hear("send_data", event_id="e2") == []


def test_arguments_are_not_sent_for_a_job_that_has_ended() -> None:
    talk = Conversation("e1").come_to("queued")
    talk.protocol.cancel(NOW)
    talk.protocol.actions()
    assert talk.hear("send_data", event_id="e1") == []


# -- the ways to end --


def test_full_queue_refuses_the_job() -> None:
    for stage in ("new", "greeted"):
        talk = Conversation().come_to(stage)
        assert talk.hear("queue_full") == [CLOSE]
        assert isinstance(talk.job.error, QueueFullError)
        assert talk.job.state is State.FAILED


@each_stage
def test_error_of_the_app_ends_the_job(stage: str) -> None:
    talk = Conversation("e1").come_to(stage)
    assert talk.feed(failed("e1", "bad thing")) == [CLOSE]
    assert isinstance(talk.job.error, AppError)
    assert talk.job.error.message == "bad thing"
    assert not talk.protocol.abandoned


@each_stage
@pytest.mark.parametrize(
    "nonsense",
    [
        b"{",
        b"[]",
        b"\xff",
        b'{"msg": 5}',
        b'{"msg": "process_completed", "output": 5}',
        b'{"msg": "process_completed", "output": {"data": ["\xff"]}}',
        b'{"msg": "process_completed", "success": true, "output": {"data": 5}}',
    ],
)
def test_nonsense_fails_the_job_and_drops_the_connection(stage: str, nonsense: bytes) -> None:
    talk = Conversation().come_to(stage)
    talk.protocol.receive_message(nonsense, NOW)
    assert talk.protocol.actions() == [CLOSE]
    assert isinstance(talk.job.error, RemoteProtocolError)


def test_event_that_is_too_large_fails_the_job() -> None:
    talk = Conversation("e1", max_event_size=100).come_to("running")
    assert talk.feed(b"data: " + b"x" * 200) == [CLOSE]
    assert isinstance(talk.job.error, RemoteProtocolError)
    assert talk.protocol.abandoned


@each_stage
@each_id
def test_end_by_the_server_before_the_jobs_own_loses_it(stage: str, event_id: str | None) -> None:
    talk = Conversation(event_id).come_to(stage)
    talk.protocol.receive_eof(NOW)
    assert talk.protocol.actions() == [CLOSE]
    assert isinstance(talk.job.error, ConnectionLostError)
    assert talk.job.error.event_id == talk.job.event_id
    assert talk.job.error.outputs == (["one"] if stage == "yielded" else [])
    assert ("took longer to arrive" in str(talk.job.error)) is (stage == "asked")
    assert talk.protocol.abandoned is (stage in ("asked", "running", "yielded"))


@each_stage
def test_broken_connection_loses_the_job(stage: str) -> None:
    talk = Conversation().come_to(stage)
    talk.protocol.receive_error(ConnectionLostError("reset"), NOW)
    assert talk.protocol.actions() == [CLOSE]
    assert isinstance(talk.job.error, ConnectionLostError)
    assert "reset" in str(talk.job.error)
    assert talk.job.error.outputs == (["one"] if stage == "yielded" else [])


@each_stage
@pytest.mark.parametrize(
    "error", [ConnectError("nobody there"), ServerError("no", status=502)], ids=repr
)
def test_refusal_is_told_as_it_is_only_before_the_job_was_accepted(
    stage: str, error: JobwireError
) -> None:
    talk = Conversation().come_to(stage)
    talk.protocol.receive_error(error, NOW)
    if stage in ("new", "greeted"):
        assert talk.job.error is error
    else:
        assert isinstance(talk.job.error, ConnectionLostError)


@each_stage
def test_what_breaks_the_protocol_is_told_as_it_is(stage: str) -> None:
    talk = Conversation().come_to(stage)
    error = RemoteProtocolError("no such opcode")
    talk.protocol.receive_error(error, NOW)
    assert talk.job.error is error


def test_arguments_that_are_refused_fail_the_job() -> None:
    talk = Conversation("e1").come_to("asked")
    error = ServerError("unknown event", status=500)
    talk.protocol.rejected(error, NOW)
    assert talk.protocol.actions() == [CLOSE]
    assert talk.job.error is error


def test_nothing_matters_after_the_end() -> None:
    talk = Conversation("e1").come_to("running")
    talk.feed(completed("e1", "done"))
    before = talk.job.version
    talk.feed(completed("e1", "again"), generating("e1", "more"), b"\xff\xff\n\n")
    talk.protocol.receive_eof(NOW)
    talk.protocol.receive_error(ConnectionLostError("reset"), NOW)
    talk.protocol.rejected(ServerError("late"), NOW)
    talk.protocol.handle_timer(NOW + 1e6)
    assert not talk.protocol.cancel(NOW)
    talk.protocol.close(NOW)
    assert talk.protocol.actions() == []
    assert talk.job.version == before
    assert talk.job.outputs.result == "done"


# -- giving up --


@each_stage
def test_cancel_on_3x_drops_the_connection(stage: str) -> None:
    talk = Conversation().come_to(stage)
    assert talk.protocol.cancel(NOW)
    assert talk.protocol.actions() == [CLOSE]
    assert isinstance(talk.job.error, JobCancelledError)
    assert not talk.protocol.cancel(NOW)
    assert talk.protocol.actions() == []


@pytest.mark.parametrize("stage", ["new", "queued", "asked"])
def test_cancel_on_4x_of_what_does_not_run_drops_the_connection(stage: str) -> None:
    talk = Conversation("e1").come_to(stage)
    assert talk.protocol.cancel(NOW)
    assert talk.protocol.actions() == [CLOSE]


def test_cancel_on_4x_of_a_generator_tells_the_server() -> None:
    talk = Conversation("e1").come_to("yielded")
    assert talk.protocol.cancel(NOW)
    assert talk.protocol.actions() == [StopJob("e1", 3), CLOSE]


@pytest.mark.parametrize(
    ("then", "actions"),
    [
        (generating("e1", "one"), [StopJob("e1", 3), CLOSE]),
        (completed("e1", "done"), [CLOSE]),
        (failed("e1", "bad"), [CLOSE]),
    ],
    ids=["generator", "plain function", "function that fails"],
)
def test_cancel_on_4x_before_the_first_output_waits_for_what_can_be_stopped(
    then: bytes, actions: list[ConnectionAction]
) -> None:
    talk = Conversation("e1").come_to("running")
    assert talk.protocol.cancel(NOW)
    assert talk.job.state is State.CANCELLED
    assert talk.protocol.actions() == []
    assert talk.protocol.abandoned
    version = talk.job.version
    assert talk.feed(message("progress", "e1", progress_data=[]), HEARTBEAT) == []
    assert talk.feed(then) == actions
    assert talk.protocol.closed
    assert talk.job.version == version


def test_connection_of_a_cancelled_job_may_end_in_any_way() -> None:
    for end in ("receive_eof", "receive_error", "close"):
        talk = Conversation("e1").come_to("running")
        talk.protocol.cancel(NOW)
        args = (ConnectionLostError("reset"), NOW) if end == "receive_error" else (NOW,)
        getattr(talk.protocol, end)(*args)
        assert talk.protocol.actions() == [CLOSE]
        assert talk.job.state is State.CANCELLED


def test_giving_up_for_another_reason_says_which() -> None:
    talk = Conversation().come_to("yielded")
    reason = JobwireError("the disk is full")
    assert talk.protocol.cancel(NOW, reason)
    assert talk.job.error is reason
    assert talk.job.state is State.FAILED


@each_stage
@each_id
def test_closing_fails_the_job_and_tells_the_server_what_it_can_stop(
    stage: str, event_id: str | None
) -> None:
    talk = Conversation(event_id).come_to(stage)
    talk.protocol.close(NOW)
    told = event_id is not None and stage in ("running", "yielded")
    assert talk.protocol.actions() == ([StopJob("e1", 3)] if told else []) + [CLOSE]
    assert isinstance(talk.job.error, ClientClosedError)


# -- time --


def test_server_has_so_long_to_accept_the_job() -> None:
    for stage in ("new", "greeted"):
        talk = Conversation(answer_timeout=5.0).come_to(stage)
        assert talk.protocol.next_timer() == NOW + 5
        talk.protocol.handle_timer(NOW + 4.9)
        assert talk.job.state is State.SUBMITTING
        talk.protocol.handle_timer(NOW + 5)
        assert talk.protocol.actions() == [CLOSE]
        assert isinstance(talk.job.error, TransportTimeoutError)
        assert "within 5 s" in str(talk.job.error)
        assert talk.protocol.next_timer() is None


@pytest.mark.parametrize("stage", ["queued", "asked", "running", "yielded"])
def test_accepted_job_may_take_any_time(stage: str) -> None:
    talk = Conversation(answer_timeout=5.0).come_to(stage)
    assert talk.protocol.next_timer() is None
    talk.protocol.handle_timer(NOW + 1e6)
    assert not talk.job.state.ended


def test_no_deadline_before_the_first_try_and_without_a_timeout() -> None:
    assert Conversation(answer_timeout=None).protocol.next_timer() is None
    job = Conversation().job
    assert ConnectionProtocol(job, answer_timeout=5.0).next_timer() is None


# -- jobs that may be submitted again ------------------------------------------


@pytest.mark.parametrize(("stage", "ran"), [("queued", False), ("asked", True), ("running", True)])
def test_lost_job_that_may_be_repeated_is_given_back(stage: str, ran: bool) -> None:
    talk = Conversation("a").come_to(stage)
    talk.job.repeats = 1
    talk.protocol.receive_error(ConnectionLostError("cut"), NOW)
    assert talk.protocol.actions()[-1] == CLOSE
    assert talk.job.lost
    assert talk.job.state is State.SUBMITTING
    assert talk.protocol.closed
    assert talk.protocol.next_timer() is None
    # The server may still run it, under the name that it was given.
    assert talk.protocol.abandoned is ran
    # It is another connection's by now.
    talk.hear("process_completed", output={"data": ["x"]}, success=True)
    talk.protocol.receive_eof(NOW)
    assert talk.job.state is State.SUBMITTING


@pytest.mark.parametrize(("stage", "ran"), [("new", False), ("queued", False), ("asked", True)])
def test_job_may_have_run_once_its_arguments_were_asked_for(stage: str, ran: bool) -> None:
    talk = Conversation("a").come_to(stage)
    talk.protocol.receive_error(ConnectionLostError("cut"), NOW)
    assert isinstance(talk.job.error, ConnectionLostError)
    assert talk.job.error.may_have_run is ran


def test_direct_call_may_have_run_once_it_is_sent() -> None:
    talk = Conversation()
    talk.protocol.sending()
    talk.protocol.receive_error(ConnectionLostError("cut"), NOW)
    assert isinstance(talk.job.error, ConnectionLostError)
    assert talk.job.error.may_have_run
    assert "not submitted again" in str(talk.job.error)


def test_no_answer_is_due_until_the_connection_is_tried_again() -> None:
    talk = Conversation()
    talk.feed(b'data: {"msg": "half')
    talk.protocol.unconnected()
    assert talk.protocol.next_timer() is None
    talk.protocol.connecting(NOW + 100)
    assert talk.protocol.next_timer() == NOW + 160
    talk.feed(estimation("a"))  # and nothing is left of what came before
    assert talk.job.state is State.QUEUED
