"""Many jobs over one stream: what a server does, and what the session makes of it."""

import random
from typing import Any

import pytest
from wire import (
    CLOSE_STREAM,
    HEARTBEAT,
    SERVER_STOPPED,
    SESSION_NOT_FOUND,
    completed,
    estimation,
    failed,
    generating,
    message,
    starts,
    stopped,
)

from jobwire.exceptions import (
    AppError,
    ClientClosedError,
    ConnectError,
    ConnectionLostError,
    JobCancelledError,
    QueueFullError,
    RemoteProtocolError,
    ServerError,
    TransportTimeoutError,
)
from jobwire.protocol.dialects import select_dialect
from jobwire.protocol.job import JobMachine, State
from jobwire.protocol.limits import END_TIMEOUT, IDLE_TIMEOUT
from jobwire.protocol.outputs import OutputLog
from jobwire.protocol.session import (
    Action,
    CloseEventStream,
    OpenEventStream,
    SessionProtocol,
)
from jobwire.protocol.stopping import NO_FUNCTION, StopJob

V1 = select_dialect("sse_v1", "4.10.0")
V21 = select_dialect("sse_v2.1", "4.21.0")
V3_RESUMABLE = select_dialect("sse_v3", "4.22.0")
V3_OLD = select_dialect("sse_v3", "4.44.1")
V3 = select_dialect("sse_v3", "6.31.0")

OPEN = OpenEventStream()
CLOSE = CloseEventStream()


class Session(SessionProtocol):
    """A session with a clock of its own and jobs that are made in passing."""

    now = 100.0

    def start(self, *event_ids: str, fn_index: int = 0) -> list[JobMachine]:
        """Submit jobs and have them accepted."""
        jobs = [self.send(fn_index) for _ in event_ids]
        for job, event_id in zip(jobs, event_ids, strict=True):
            self.accepted(job, event_id, self.now)
        return jobs

    def send(self, fn_index: int = 0) -> JobMachine:
        outputs = OutputLog(diffs=self._dialect.diffs, present=lambda values: values[0])
        job = JobMachine(fn_index, outputs, self.now)
        self.submit(job)
        self.sending(job)
        return job

    def opened(self) -> None:
        assert self.actions() == [OPEN]
        self.stream_opened(self.now)

    def feed(self, *data: bytes) -> None:
        self.receive_data(b"".join(data), self.now)

    def wait(self, seconds: float) -> list[Action]:
        """Let time pass, keeping every timer on the way."""
        end = self.now + seconds
        while (due := self.next_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            self.handle_timer(self.now)
        self.now = end
        return self.actions()


@pytest.fixture
def session() -> Session:
    return Session(V3)


# -- the ordinary way ----------------------------------------------------------


def test_stream_is_opened_once_a_job_was_accepted(session: Session) -> None:
    job = session.send()
    assert session.actions() == []
    session.accepted(job, "a", session.now)
    session.accepted(session.send(), "b", session.now)
    assert session.actions() == [OPEN]


def test_job_runs_to_its_result_and_the_stream_ends(session: Session) -> None:
    [job] = session.start("a")
    session.opened()
    session.feed(estimation("a"), starts("a"), completed("a", "hi"), CLOSE_STREAM)
    session.receive_eof(session.now)
    assert (job.state, job.outputs.result) == (State.COMPLETED, "hi")
    assert session.actions() == []
    assert session.next_timer() is None
    assert session.idle
    assert not session.damaged


def test_next_job_opens_the_next_stream(session: Session) -> None:
    session.start("a")
    session.opened()
    session.feed(completed("a", 1), CLOSE_STREAM)
    session.receive_eof(session.now)
    [job] = session.start("b")
    session.opened()
    session.feed(completed("b", 2))
    assert job.outputs.result == 2


def test_changed_names_each_job_once_in_order(session: Session) -> None:
    a, b = session.start("a", "b")
    assert session.changed() == [a, b]
    session.opened()
    session.feed(estimation("b"), estimation("a"), starts("b"), HEARTBEAT)
    assert session.changed() == [b, a]
    assert session.changed() == []


def test_many_jobs_share_the_stream_cut_anywhere() -> None:
    rng = random.Random(7)
    session = Session(V3)
    names = [f"j{i}" for i in range(30)]
    jobs = session.start(*names)
    session.opened()
    scripts = [
        [estimation(n), starts(n), generating(n, "x"), generating(n, [["append", [], n]]),
         completed(n, f"x{n}")]
        for n in names
    ]  # fmt: skip
    stream = b""
    while scripts:
        script = rng.choice(scripts)
        stream += script.pop(0)
        if not script:
            scripts.remove(script)
    while stream:
        cut = rng.randint(1, 40)
        session.receive_data(stream[:cut], session.now)
        stream = stream[cut:]
    assert [job.outputs.outputs() for job in jobs] == [["x", f"x{n}"] for n in names]


def test_rejected_job_fails_and_opens_nothing(session: Session) -> None:
    job = session.send()
    error = QueueFullError("full")
    session.rejected(job, error, session.now)
    assert job.error is error
    assert session.changed() == [job]
    assert session.actions() == []


# -- messages before the reply to the submission --------------------------------


def test_messages_before_the_reply_are_kept(session: Session) -> None:
    session.start("a")
    session.opened()
    late = session.send()
    session.feed(estimation("b"), starts("b"), completed("b", "fast"))
    assert late.state is State.SUBMITTING
    session.accepted(late, "b", session.now)
    assert (late.state, late.outputs.result) == (State.COMPLETED, "fast")


def test_messages_of_nobody_are_dropped(session: Session) -> None:
    session.start("a")
    session.opened()
    session.feed(generating("stranger", "x"), completed("stranger", "x"))
    late = session.send()
    session.accepted(late, "stranger", session.now)
    assert late.state is State.ACCEPTED


def test_unclaimed_messages_are_forgotten_when_all_replies_are_in(session: Session) -> None:
    session.start("a")
    session.opened()
    one = session.send()
    session.feed(completed("b", "x"))
    session.rejected(one, QueueFullError("full"), session.now)
    two = session.send()
    session.accepted(two, "b", session.now)
    assert two.state is State.ACCEPTED


def test_unclaimed_messages_are_bounded() -> None:
    session = Session(V3, max_unclaimed_size=1000)
    session.start("a")
    session.opened()
    late = session.send()
    for _ in range(20):
        session.feed(generating("b", "x" * 100))
    session.accepted(late, "b", session.now)
    assert isinstance(late.error, RemoteProtocolError)
    assert "1000 bytes" in str(late.error)


def test_messages_that_were_claimed_make_room_for_others() -> None:
    session = Session(V3, max_unclaimed_size=1000)
    session.start("a")
    session.opened()
    waiting = session.send()  # so that something is always on its way
    for name in map(str, range(20)):
        job = session.send()
        session.feed(generating(name, "x" * 300))
        session.accepted(job, name, session.now)
        assert job.outputs.outputs() == ["x" * 300]
    session.accepted(waiting, "w", session.now)
    assert waiting.state is State.ACCEPTED


def test_id_that_the_server_gives_twice_fails_the_second_job(session: Session) -> None:
    first, second = session.start("a", "a")
    assert isinstance(second.error, RemoteProtocolError)
    session.opened()
    session.feed(completed("a", 1))
    assert first.outputs.result == 1


def test_job_that_is_withdrawn_is_no_business_of_the_session(session: Session) -> None:
    job = session.send()
    session.rejected(job, ConnectError("refused"), session.now)
    other = JobMachine(0, OutputLog(diffs=True, present=lambda values: values), session.now)
    session.submit(other)
    session.withdraw(other)
    assert session.idle
    session.close(session.now)
    assert not other.state.ended


# -- how streams end -----------------------------------------------------------


def test_job_accepted_while_the_stream_ends_gets_a_stream_of_its_own(session: Session) -> None:
    session.start("a")
    session.opened()
    late = session.send()
    session.feed(completed("a", 1), CLOSE_STREAM)
    session.accepted(late, "b", session.now)
    assert session.actions() == []  # the old stream must end first
    session.receive_eof(session.now)
    session.opened()
    session.feed(completed("b", 2))
    assert late.outputs.result == 2


def test_job_accepted_after_the_stream_ended_gets_a_stream(session: Session) -> None:
    session.start("a")
    session.opened()
    late = session.send()
    session.feed(completed("a", 1), CLOSE_STREAM)
    session.receive_eof(session.now)
    assert session.actions() == []
    session.accepted(late, "b", session.now)
    session.opened()


def test_stream_without_announcement_ends_in_the_ordinary_way_on_v1() -> None:
    session = Session(V1)
    session.start("a")
    session.opened()
    late = session.send()
    session.feed(completed("a", 1))
    session.receive_eof(session.now)
    session.accepted(late, "b", session.now)
    session.opened()
    assert not session.damaged


def test_stream_that_ends_on_v1_with_jobs_is_opened_again_but_not_without_end() -> None:
    session = Session(V1)
    [job] = session.start("a")
    opened = 0
    for _ in range(20):
        if OPEN in session.actions() + session.wait(10):
            opened += 1
            session.stream_opened(session.now)
            session.receive_eof(session.now)
    assert 2 <= opened <= 6
    assert isinstance(job.error, ConnectionLostError)


def test_stream_that_ends_unannounced_on_v3_loses_its_jobs(session: Session) -> None:
    [job] = session.start("a")
    session.opened()
    session.feed(generating("a", "so far"))
    session.receive_eof(session.now)
    assert isinstance(job.error, ConnectionLostError)
    assert job.error.outputs == ["so far"]
    assert session.damaged


def test_announced_end_that_does_not_come_is_not_waited_for(session: Session) -> None:
    session.start("a")
    session.opened()
    late = session.send()
    session.feed(completed("a", 1), CLOSE_STREAM)
    session.accepted(late, "b", session.now)
    assert session.wait(END_TIMEOUT - 0.1) == []
    assert CLOSE in session.wait(0.2)
    assert isinstance(late.error, ConnectionLostError)


def test_nothing_after_the_announcement_is_read(session: Session) -> None:
    [job] = session.start("a")
    session.opened()
    session.feed(CLOSE_STREAM, completed("a", 1))
    assert job.state is State.ACCEPTED


def test_stream_with_nothing_pending_stays_open(session: Session) -> None:
    session.start("a")
    session.opened()
    session.feed(completed("a", 1))  # and no close_stream, as after a broken stream
    assert session.wait(3600) == []
    [job] = session.start("b")
    assert session.actions() == []
    session.feed(completed("b", 2))
    assert job.outputs.result == 2


# -- broken streams ------------------------------------------------------------


def test_broken_stream_loses_the_jobs_of_servers_that_forget(session: Session) -> None:
    a, b = session.start("a", "b")
    session.opened()
    session.feed(generating("a", "half"))
    session.receive_error(ConnectionLostError("reset by peer"), session.now)
    for job, outputs in ((a, ["half"]), (b, [])):
        assert isinstance(job.error, ConnectionLostError)
        assert job.error.event_id == job.event_id
        assert job.error.outputs == outputs
        assert "reset by peer" in str(job.error)
    assert session.damaged
    assert session.actions() == []


@pytest.mark.parametrize("dialect", [V21, V3_RESUMABLE], ids=["v2.1", "v3"])
def test_broken_stream_is_resumed_on_servers_that_remember(dialect: Any) -> None:
    session = Session(dialect)
    [job] = session.start("a")
    session.opened()
    session.feed(generating("a", "x"))
    session.receive_error(ConnectionLostError("cut"), session.now)
    assert session.wait(10) == [OPEN]
    session.stream_opened(session.now)
    session.feed(generating("a", [["append", [], "y"]]), completed("a", "xy"))
    assert job.outputs.outputs() == ["x", "xy"]
    assert not session.damaged


def test_half_an_event_before_the_break_is_dropped_on_resume() -> None:
    session = Session(V21)
    [job] = session.start("a")
    session.opened()
    session.feed(generating("a", "lost")[:-10])
    session.receive_error(ConnectionLostError("cut"), session.now)
    session.wait(10)
    session.stream_opened(session.now)
    # Whether it was an edit of the one that was lost cannot be told.
    session.feed(generating("a", "unknown"), completed("a", "whole"))
    assert job.outputs.outputs() == ["whole"]


def test_job_that_starts_after_the_break_has_lost_nothing() -> None:
    session = Session(V21)
    [job] = session.start("a")
    session.opened()
    session.receive_error(ConnectionLostError("cut"), session.now)
    session.wait(10)
    session.stream_opened(session.now)
    session.feed(starts("a"), generating("a", "first"))
    assert job.outputs.outputs() == ["first"]


def test_job_of_which_nothing_is_heard_after_a_break_is_lost() -> None:
    session = Session(V21)
    told, untold = session.start("told", "untold")
    session.opened()
    session.feed(starts("told"), starts("untold"), generating("untold", "kept"))
    session.receive_error(ConnectionLostError("cut"), session.now)
    assert session.wait(10) == [OPEN]
    session.stream_opened(session.now)
    session.feed(generating("told", "x"))
    for _ in range(5):
        assert session.wait(15) == []
        session.feed(HEARTBEAT)
    assert session.wait(16) == [StopJob("untold", 0)]
    assert isinstance(untold.error, ConnectionLostError)
    assert "nothing was heard of it for 90 s" in str(untold.error)
    assert untold.error.event_id == "untold"
    assert untold.error.outputs == ["kept"]
    assert untold.error.may_have_run
    assert not told.state.ended
    assert not session.damaged
    session.feed(completed("told", "y"))
    assert told.outputs.result == "y"


def test_job_of_which_nothing_is_heard_after_a_break_is_repeated_if_it_may_be() -> None:
    session = Session(V21)
    [job] = session.start("a")
    job.repeats = 1
    session.opened()
    session.feed(starts("a"))
    session.receive_error(ConnectionLostError("cut"), session.now)
    session.wait(10)
    session.stream_opened(session.now)
    for _ in range(6):
        session.feed(HEARTBEAT)
        session.wait(15)
    assert job.lost
    assert session.idle


def test_resuming_is_given_up_in_the_end() -> None:
    session = Session(V21)
    [job] = session.start("a")
    session.opened()
    for _ in range(20):
        session.receive_error(ConnectionLostError("cut"), session.now)
        if OPEN not in session.wait(60):
            break
        session.stream_opened(session.now)
    assert isinstance(job.error, ConnectionLostError)


@pytest.mark.parametrize(
    "error",
    [ConnectError("refused"), ServerError("502", status=502)],
    ids=["refused", "bad gateway"],
)
def test_stream_that_cannot_be_opened_is_tried_again(session: Session, error: Any) -> None:
    [job] = session.start("a")
    assert session.actions() == [OPEN]
    session.receive_error(error, session.now)
    assert job.state is State.ACCEPTED
    assert session.wait(1) == [OPEN]
    session.stream_opened(session.now)
    session.feed(completed("a", 1))
    assert job.outputs.result == 1


def test_stream_that_can_never_be_opened_loses_the_job(session: Session) -> None:
    [job] = session.start("a")
    tries = 0
    while OPEN in session.actions() + session.wait(60):
        tries += 1
        session.receive_error(ConnectError("refused"), session.now)
    assert tries == 4
    assert isinstance(job.error, ConnectionLostError)
    assert "refused" in str(job.error)
    assert job.error.event_id == "a"


@pytest.mark.parametrize(
    "error", [ServerError("forbidden", status=403), TransportTimeoutError("slow")]
)
def test_stream_that_is_refused_for_good_is_not_tried_again(session: Session, error: Any) -> None:
    [job] = session.start("a")
    session.actions()
    session.receive_error(error, session.now)
    assert isinstance(job.error, ConnectionLostError)
    assert session.wait(60) == []


def test_job_on_its_way_when_the_stream_breaks_is_lost_too(session: Session) -> None:
    session.start("a")
    session.opened()
    late = session.send()
    session.receive_error(ConnectionLostError("cut"), session.now)
    assert not late.state.ended
    session.accepted(late, "b", session.now)
    assert isinstance(late.error, ConnectionLostError)
    assert late.error.event_id == "b"
    assert session.changed()[-1] is late


def test_idle_stream_that_breaks_damages_the_session_and_no_job(session: Session) -> None:
    [job] = session.start("a")
    session.opened()
    session.feed(completed("a", 1))
    session.receive_error(ConnectionLostError("cut"), session.now)
    assert job.state is State.COMPLETED
    assert session.damaged


def test_late_news_of_a_given_up_stream_is_ignored(session: Session) -> None:
    [job] = session.start("a")
    session.opened()
    session.feed(SERVER_STOPPED)
    error = job.error
    session.feed(completed("a", 1))
    session.receive_eof(session.now)
    session.receive_error(ConnectionLostError("cut"), session.now)
    assert job.error is error
    assert session.actions() == [CLOSE]


# -- silence ---------------------------------------------------------------------


def test_silence_loses_the_jobs(session: Session) -> None:
    [job] = session.start("a")
    session.opened()
    assert session.wait(IDLE_TIMEOUT - 1) == []
    assert session.wait(2) == [CLOSE]
    assert isinstance(job.error, ConnectionLostError)
    assert "90 s" in str(job.error)


def test_heartbeats_are_no_silence(session: Session) -> None:
    [job] = session.start("a")
    session.opened()
    session.feed(estimation("a"))
    for _ in range(100):
        assert session.wait(15) == []
        session.feed(HEARTBEAT)
    assert not job.state.ended


def test_job_that_a_living_stream_never_tells_of_is_lost(session: Session) -> None:
    # A load balancer sent its submission to one server and the stream to another.
    told, untold = session.start("told", "untold")
    session.opened()
    session.feed(estimation("told"))
    for _ in range(5):
        assert session.wait(15) == []
        session.feed(HEARTBEAT)
    later = session.send()
    session.accepted(later, "later", session.now)
    assert session.wait(14) == []
    session.feed(HEARTBEAT)
    assert session.wait(2) == [StopJob("untold", NO_FUNCTION)]
    assert isinstance(untold.error, ConnectionLostError)
    assert untold.error.event_id == "untold"
    assert "load balancer" in str(untold.error)
    session.feed(estimation("later"))
    for _ in range(10):
        assert session.wait(15) == []
        session.feed(HEARTBEAT)
    assert not told.state.ended
    assert not later.state.ended


def test_without_an_idle_timeout_no_word_is_no_sign() -> None:
    session = Session(V3, idle_timeout=None)
    [job] = session.start("a")
    session.opened()
    assert session.wait(10_000) == []
    assert not job.state.ended


def test_silence_without_jobs_is_golden(session: Session) -> None:
    session.start("a")
    session.opened()
    session.feed(completed("a", 1))
    assert session.next_timer() is None


def test_silence_counts_from_the_acceptance_of_a_job(session: Session) -> None:
    session.start("a")
    session.opened()
    session.feed(completed("a", 1))
    session.wait(10 * IDLE_TIMEOUT)
    [job] = session.start("b")
    assert session.wait(IDLE_TIMEOUT - 1) == []
    assert not job.state.ended


def test_silence_is_noticed_though_jobs_are_submitted_meanwhile(session: Session) -> None:
    [job] = session.start("a")
    session.opened()
    for name in map(str, range(12)):
        session.wait(10)
        if not job.state.ended:
            session.start(name)
    assert isinstance(job.error, ConnectionLostError)


def test_silence_can_be_allowed() -> None:
    session = Session(V3, idle_timeout=None)
    session.start("a")
    session.opened()
    assert session.next_timer() is None


def test_silence_is_a_break_that_some_servers_resume() -> None:
    session = Session(V21)
    [job] = session.start("a")
    session.opened()
    actions = session.wait(IDLE_TIMEOUT + 10)
    assert actions == [CLOSE, OPEN]
    session.stream_opened(session.now)
    session.feed(completed("a", 1))
    assert job.outputs.result == 1


# -- errors of the stream itself -----------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param({"message": "404: Not Found", "session_not_found": True}, id="since 5.38"),
        pytest.param({"message": "404: Session not found."}, id="before"),
    ],
)
def test_evicted_session_loses_its_jobs(session: Session, text: dict[str, Any]) -> None:
    [job] = session.start("a")
    session.opened()
    session.feed(message("unexpected_error", None, success=False, **text))
    assert isinstance(job.error, ConnectionLostError)
    assert "session" in str(job.error)
    assert session.damaged
    assert session.actions() == [CLOSE]


def test_stopped_server_is_left_at_its_first_notice(session: Session) -> None:
    [job] = session.start("a")
    session.opened()
    session.feed(*[SERVER_STOPPED] * 1000)
    assert isinstance(job.error, ConnectionLostError)
    assert "stopped" in str(job.error)
    assert session.actions() == [CLOSE]


def test_crashed_stream_is_opened_again() -> None:
    # 4.44 ends the stream so when a cancelled job completes a second time.
    session = Session(V3_OLD)
    [job] = session.start("a")
    session.opened()
    session.feed(
        message(
            "unexpected_error", None, message="'5d9653fe7b46470aadf383cb886325a4'", success=False
        )
    )
    assert session.wait(5) == [CLOSE, OPEN]
    session.stream_opened(session.now)
    session.feed(completed("a", 1))
    assert job.outputs.result == 1


def test_message_that_the_server_could_not_send_fails_the_jobs_that_run(session: Session) -> None:
    # Whatever it was, it will not come again.
    running, waiting = session.start("a", "b")
    session.opened()
    session.feed(
        starts("a"),
        estimation("b"),
        message("unexpected_error", None, message="surrogates not allowed", success=False),
    )
    assert isinstance(running.error, RemoteProtocolError)
    assert running.error.event_id == "a"
    assert "surrogates" in str(running.error)
    assert session.wait(5) == [CLOSE, OPEN]
    session.stream_opened(session.now)
    session.feed(completed("b", 1))
    assert waiting.outputs.result == 1


def test_stream_that_crashes_again_and_again_is_given_up() -> None:
    session = Session(V3_OLD)
    [job] = session.start("a")
    session.opened()
    for _ in range(20):
        session.feed(
            message(
                "unexpected_error",
                None,
                message="'5d9653fe7b46470aadf383cb886325a4'",
                success=False,
            )
        )
        if OPEN not in session.wait(60):
            break
        session.stream_opened(session.now)
    assert isinstance(job.error, ConnectionLostError)


def test_unexpected_error_of_one_job_leaves_the_others(session: Session) -> None:
    a, b = session.start("a", "b")
    session.opened()
    session.feed(message("unexpected_error", "a", message="boom", success=False))
    assert isinstance(a.error, RemoteProtocolError)
    session.feed(completed("b", 1))
    assert b.outputs.result == 1


# -- nonsense ------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"data: {not json\n\n", id="no JSON"),
        pytest.param(b"data: [1]\n\n", id="no object"),
        pytest.param(b'data: {"event_id":"a"}\n\n', id="no msg"),
        pytest.param(b"data: \xff\xfe\n\n", id="no UTF-8"),
    ],
)
def test_event_that_could_have_been_for_any_job_fails_all(session: Session, data: bytes) -> None:
    a, b = session.start("a", "b")
    session.opened()
    session.feed(data)
    for job in (a, b):
        assert isinstance(job.error, RemoteProtocolError)
    assert session.actions() == [CLOSE]
    assert session.damaged


def test_nonsense_for_one_job_fails_that_one(session: Session) -> None:
    a, b = session.start("a", "b")
    session.opened()
    session.feed(message("process_completed", "a", output="what?", success=True))
    assert isinstance(a.error, RemoteProtocolError)
    session.feed(completed("b", 1))
    assert b.outputs.result == 1


def test_oversized_event_fails_all() -> None:
    session = Session(V3, max_event_size=10_000)
    a, b = session.start("a", "b")
    session.opened()
    session.feed(completed("b", 1))
    for _ in range(20):
        session.feed(b"data: " if _ == 0 else b"x" * 1000)
    assert isinstance(a.error, RemoteProtocolError)
    assert "10000 bytes" in str(a.error)
    assert b.outputs.result == 1


def test_unknown_messages_and_comments_are_passed_over(session: Session) -> None:
    [job] = session.start("a")
    session.opened()
    session.feed(b": ping\n\n", message("news", "a", x=1), message("more_news"), completed("a", 1))
    assert job.outputs.result == 1


def test_edit_that_cannot_be_made_does_not_fail_the_job(session: Session) -> None:
    [job] = session.start("a")
    session.opened()
    session.feed(
        generating("a", [1]),
        generating("a", [["replace", [5], 0]]),
        generating("a", [["add", [0], 0]]),
        completed("a", [0, 9]),
    )
    assert job.state is State.COMPLETED
    assert job.outputs.outputs() == [[1], [0, 9]]


def test_app_error_after_outputs_keeps_them(session: Session) -> None:
    [job] = session.start("a")
    session.opened()
    session.feed(starts("a"), generating("a", "x"), failed("a", "boom mid"))
    assert isinstance(job.error, AppError)
    assert job.outputs.outputs() == ["x"]


# -- cancelling ----------------------------------------------------------------


def test_cancelled_job_ends_at_once_and_the_server_is_told(session: Session) -> None:
    [job] = session.start("a", fn_index=5)
    session.opened()
    session.feed(starts("a"))
    assert session.cancel(job, session.now)
    assert isinstance(job.error, JobCancelledError)
    assert session.actions() == [StopJob("a", 5)]
    session.feed(stopped("a"), CLOSE_STREAM)  # changes nothing any more
    session.receive_eof(session.now)
    assert session.idle


STATES: dict[str, tuple[bytes, ...]] = {
    "accepted": (),
    "waits": (estimation("a"),),
    "runs": (starts("a"),),
    "runs among others": (starts("a"), starts("b")),
}


@pytest.mark.parametrize(
    ("dialect", "state", "words"),
    [
        (V3, "accepted", "take it out of its queue"),
        (V3, "waits", "take it out of its queue"),
        (V3, "runs", "a plain function runs to its end"),
        (V3, "runs among others", "other jobs of it would be stopped"),
        (V3_OLD, "waits", "told to stop it when its turn comes"),
        (V3_OLD, "runs", "a plain function runs to its end"),
        (V3_OLD, "runs among others", "until other jobs of its function are over"),
        (V21, "waits", "if it is a generator, when its turn comes"),
        (V21, "runs", "cannot stop what is no generator"),
    ],
)
def test_cancel_says_what_becomes_of_the_job(dialect: Any, state: str, words: str) -> None:
    session = Session(dialect)
    [job, *_] = session.start(*("ab" if "others" in state else "a"))
    session.opened()
    session.feed(*STATES[state])
    assert session.cancel(job, session.now)
    assert isinstance(job.error, JobCancelledError)
    assert words in str(job.error)


def test_cancel_before_the_reply_says_what_becomes_of_the_job() -> None:
    session = Session(V3)
    sent, waits = session.send(), session.send()
    waits.sent = False
    session.cancel(sent, session.now)
    session.cancel(waits, session.now)
    assert "as soon as it has confirmed it" in str(sent.error)
    assert str(waits.error) == "the job was cancelled before it was sent"


def test_cancelling_a_job_that_ended_changes_nothing(session: Session) -> None:
    [job] = session.start("a")
    session.opened()
    session.feed(completed("a", 1))
    session.changed()
    assert not session.cancel(job, session.now)
    assert (job.state, session.actions(), session.changed()) == (State.COMPLETED, [], [])


def test_waiting_job_is_taken_out_of_the_queue_alone(session: Session) -> None:
    running, waiting = session.start("a", "b", fn_index=5)
    session.opened()
    session.feed(starts("a"), estimation("b"))
    session.cancel(waiting, session.now)
    assert session.actions() == [StopJob("b", NO_FUNCTION)]
    session.feed(completed("a", 1))
    assert running.outputs.result == 1


def test_cancel_spares_other_jobs_of_the_function(session: Session) -> None:
    a, _b = session.start("a", "b", fn_index=5)
    session.opened()
    session.feed(starts("a"), generating("a", 1), starts("b"))
    session.cancel(a, session.now)
    assert session.actions() == [StopJob("a", NO_FUNCTION)]


def test_generator_among_others_is_stopped_at_its_first_output(session: Session) -> None:
    # Before that, the server has nothing to get hold of.
    a, b = session.start("a", "b", fn_index=5)
    session.opened()
    session.feed(starts("a"), starts("b"))
    session.cancel(a, session.now)
    assert session.actions() == []
    session.feed(generating("a", 1))
    assert session.actions() == [StopJob("a", NO_FUNCTION)]
    session.feed(generating("a", []))  # was on its way
    assert session.actions() == []
    session.feed(stopped("a"), completed("b", 1))
    # Now that it harms nobody, to be sure.
    assert session.actions() == [StopJob("a", 5)]
    assert b.outputs.result == 1


def test_generator_that_the_server_starts_anew_is_stopped_again(session: Session) -> None:
    # Its cancel came between two steps.
    a, _b = session.start("a", "b", fn_index=5)
    session.opened()
    session.feed(starts("a"), generating("a", 1))
    session.cancel(a, session.now)
    assert session.actions() == [StopJob("a", NO_FUNCTION)]
    session.feed(generating("a", 2), stopped("a"))
    assert session.actions() == []
    for _ in range(2):
        session.feed(generating("a", 1))
        assert session.actions() == [StopJob("a", NO_FUNCTION)]
        session.feed(generating("a", 2), stopped("a"))
    session.feed(completed("a", 3), generating("a", 4))  # it came to its own end
    assert session.actions() == []


def test_one_request_stops_what_many_cancels_may_have_left(session: Session) -> None:
    jobs = session.start(*"abcdef", fn_index=5)
    session.opened()
    for event_id in "abcd":
        session.feed(starts(event_id), generating(event_id, 1))
    for job in jobs:
        session.cancel(job, session.now)
    stops = session.actions()
    wide = [stop for stop in stops if isinstance(stop, StopJob) and stop.fn_index == 5]
    assert wide == [StopJob("a", 5)]
    session.feed(*map(stopped, "abcdef"), CLOSE_STREAM)
    session.receive_eof(session.now)
    assert session.actions() == []  # nobody waits for a stream


def test_function_among_others_is_stopped_when_they_ended(session: Session) -> None:
    a, b = session.start("a", "b", fn_index=5)
    session.opened()
    session.feed(starts("a"), starts("b"))
    session.cancel(a, session.now)
    session.feed(completed("b", 1))
    assert session.actions() == [StopJob("a", 5)]
    assert b.outputs.result == 1


def test_cancel_spares_a_job_of_the_function_that_is_on_its_way(session: Session) -> None:
    [job] = session.start("a", fn_index=5)
    session.opened()
    session.feed(starts("a"), generating("a", 1))
    session.send(fn_index=5)
    session.cancel(job, session.now)
    assert session.actions() == [StopJob("a", NO_FUNCTION)]


def test_job_that_started_while_it_was_taken_out_of_the_queue_is_stopped(session: Session) -> None:
    [job] = session.start("a", fn_index=5)
    session.opened()
    session.cancel(job, session.now)
    assert session.actions() == [StopJob("a", NO_FUNCTION)]
    session.feed(starts("a"), stopped("a"))
    assert session.actions() == [StopJob("a", 5)]


def test_job_that_started_unheard_among_others_is_stopped_at_its_first_output(
    session: Session,
) -> None:
    a, _b = session.start("a", "b", fn_index=5)
    session.opened()
    session.cancel(a, session.now)
    session.feed(starts("a"), stopped("a"), starts("b"))
    assert session.actions() == [StopJob("a", NO_FUNCTION)]
    session.feed(generating("a", 1))
    assert session.actions() == [StopJob("a", NO_FUNCTION)]


def test_cancel_takes_no_notice_of_other_functions(session: Session) -> None:
    [job] = session.start("a", fn_index=5)
    session.start("b", fn_index=6)
    session.opened()
    session.feed(starts("a"), starts("b"))
    session.cancel(job, session.now)
    assert session.actions() == [StopJob("a", 5)]


def test_old_server_is_told_once_no_other_job_of_the_function_runs() -> None:
    session = Session(V3_OLD)
    a, b = session.start("a", "b", fn_index=5)
    session.opened()
    session.feed(starts("a"), starts("b"))
    session.cancel(a, session.now)
    assert session.actions() == []
    session.feed(completed("b", 1))
    assert b.outputs.result == 1
    assert session.actions() == [StopJob("a", 5)]


def test_old_server_is_told_when_the_last_sibling_is_cancelled_too() -> None:
    session = Session(V3_OLD)
    a, b = session.start("a", "b", fn_index=5)
    session.opened()
    session.feed(starts("a"), starts("b"))
    session.cancel(a, session.now)
    session.cancel(b, session.now)
    assert set(session.actions()) == {StopJob("a", 5), StopJob("b", 5)}


def test_old_server_is_told_when_the_waiting_job_starts() -> None:
    # It would run the job all the same, and then break the session's stream.
    session = Session(V3_OLD)
    [job] = session.start("a", fn_index=5)
    session.opened()
    session.feed(estimation("a"))
    session.cancel(job, session.now)
    assert session.actions() == []
    session.feed(starts("a"))
    assert session.actions() == [StopJob("a", 5)]


def test_cancelled_job_that_an_old_server_finished_needs_no_stop() -> None:
    session = Session(V3_OLD)
    a, b = session.start("a", "b", fn_index=5)
    session.opened()
    session.feed(starts("a"), starts("b"))
    session.cancel(a, session.now)
    session.feed(completed("a", 1), completed("b", 2))
    assert session.actions() == []
    assert isinstance(a.error, JobCancelledError)
    assert b.outputs.result == 2


def test_cancelled_job_that_failed_on_an_old_server_needs_no_stop() -> None:
    session = Session(V3_OLD)
    a, _b = session.start("a", "b", fn_index=5)
    session.opened()
    session.feed(starts("a"), starts("b"))
    session.cancel(a, session.now)
    session.feed(failed("a", "boom"), completed("b", 2))
    assert session.actions() == []


def test_oldest_servers_are_told_by_reset_when_the_job_runs() -> None:
    session = Session(V1)
    a, b = session.start("a", "b", fn_index=5)
    session.opened()
    session.feed(starts("a"), starts("b"))
    session.cancel(a, session.now)
    assert session.actions() == [StopJob("a", 5)]
    session.feed(completed("b", 1))
    assert b.outputs.result == 1


def test_job_cancelled_on_its_way_is_stopped_when_it_is_confirmed(session: Session) -> None:
    job = session.send(fn_index=5)
    session.cancel(job, session.now)
    assert isinstance(job.error, JobCancelledError)
    assert session.actions() == []
    session.accepted(job, "a", session.now)
    assert session.actions() == [StopJob("a", NO_FUNCTION), OPEN]
    assert job.event_id is None
    session.stream_opened(session.now)
    session.feed(stopped("a"), CLOSE_STREAM)
    session.receive_eof(session.now)
    assert session.actions() == []


def test_old_server_keeps_a_stream_for_a_job_that_is_still_to_be_stopped() -> None:
    session = Session(V3_OLD)
    job = session.send(fn_index=5)
    session.cancel(job, session.now)
    session.accepted(job, "a", session.now)
    session.opened()
    session.feed(estimation("a"), starts("a"))
    assert session.actions() == [StopJob("a", 5)]


def test_job_cancelled_on_the_server_is_cancelled_here(session: Session) -> None:
    [job] = session.start("a")
    session.opened()
    session.feed(starts("a"), stopped("a"))
    assert isinstance(job.error, JobCancelledError)
    assert session.actions() == []


# -- closing -------------------------------------------------------------------


def test_closing_fails_what_is_in_flight(session: Session) -> None:
    [a] = session.start("a")
    session.opened()
    b = session.send()
    session.close(session.now)
    for job, event_id in ((a, "a"), (b, None)):
        assert isinstance(job.error, ClientClosedError)
        assert job.error.event_id == event_id
    assert session.actions() == [CLOSE]
    session.accepted(b, "b", session.now)
    assert session.actions() == [StopJob("b", 0)]
    session.close(session.now)
    assert session.actions() == []


def test_closing_before_the_stream_is_open_stops_each_job(session: Session) -> None:
    # Nothing else would: a server runs what nobody listens to.
    session.start("a", fn_index=5)
    assert session.actions() == [OPEN]
    session.close(session.now)
    assert session.actions() == [StopJob("a", 5), CLOSE]


def test_closing_stops_each_job_where_breaking_the_stream_does_not() -> None:
    session = Session(V21)
    session.start("a", fn_index=5)
    session.opened()
    session.close(session.now)
    assert session.actions() == [StopJob("a", 5), CLOSE]


def test_timer_that_comes_early_or_for_nothing_is_harmless(session: Session) -> None:
    session.handle_timer(session.now)
    [job] = session.start("a")
    session.opened()
    session.handle_timer(session.now + 1)
    assert session.actions() == []
    assert not job.state.ended


def test_session_with_an_evicted_stream_is_not_opened_again(session: Session) -> None:
    session.start("a")
    session.opened()
    session.feed(SESSION_NOT_FOUND)
    assert session.wait(600) == [CLOSE]


# -- jobs that may be submitted again ------------------------------------------


def test_lost_jobs_that_may_be_repeated_are_given_back() -> None:
    session = Session(V3)
    kept, lost, late = (*session.start("a", "b"), session.send())
    session.opened()
    kept.repeats = late.repeats = 1
    session.feed(starts("a"), starts("b"))
    session.changed()
    session.receive_error(ConnectionLostError("cut"), session.now)
    assert session.changed() == [kept, lost]
    assert kept.lost
    assert kept.state is State.SUBMITTING
    assert lost.state is State.FAILED
    # One whose confirmation comes after that was lost with the others.
    session.accepted(late, "c", session.now)
    assert session.changed() == [late]
    assert late.lost
    assert session.damaged
    assert session.idle
    # Nothing here knows them any more.
    session.feed(completed("a", "x"), completed("c", "x"))
    assert session.changed() == []


def test_repeated_job_goes_on_in_another_session() -> None:
    first, second = Session(V3), Session(V3)
    (job,) = first.start("a")
    job.repeats = 1
    first.opened()
    first.receive_error(ConnectionLostError("cut"), first.now)
    second.submit(job)
    second.sending(job)
    second.accepted(job, "b", second.now)
    second.opened()
    second.feed(completed("a", "old"), completed("b", "new"))
    assert job.state is State.COMPLETED
    assert job.outputs.result == "new"


def test_reply_that_is_lost_says_that_nothing_was_repeated() -> None:
    session = Session(V3)
    job = session.send()
    session.rejected(job, TransportTimeoutError("no answer"), session.now)
    assert isinstance(job.error, TransportTimeoutError)
    assert job.error.may_have_run
    assert "not submitted again" in str(job.error)


def test_job_that_was_not_sent_has_not_run() -> None:
    session = Session(V3)
    job = JobMachine(0, OutputLog(diffs=True, present=list), 0.0)
    session.submit(job)
    session.close(session.now)
    assert isinstance(job.error, ClientClosedError)
    assert not job.error.may_have_run


def test_end_that_came_before_the_reply_survives_a_break(session: Session) -> None:
    session.start("a")
    session.opened()
    late, other = session.send(), session.send()
    session.feed(generating("b", 1), completed("b", 2))
    session.receive_error(ConnectionLostError("cut"), session.now)
    session.accepted(late, "b", session.now)
    assert (late.state, late.outputs.outputs()) == (State.COMPLETED, [1])
    assert late.outputs.result == 2
    session.accepted(other, "c", session.now)
    assert isinstance(other.error, ConnectionLostError)
    assert {late, other} <= set(session.changed())
