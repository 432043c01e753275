"""Event streams over real sockets: order, replay, reuse, takeover, cuts, slow readers."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import IncompleteRead
from typing import Any

import pytest

from faults import cutting_proxy
from jobwire.protocol.diff import apply_edits
from jobwire.server import channels, service, streams
from server.http_app import API, Http, Stage, Stream, eventually

NOT_FOUND = {
    "msg": "unexpected_error",
    "event_id": None,
    "message": "404: Not Found",
    "session_not_found": True,
    "success": False,
}


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Stage, Http]]:
    stage = Stage()
    with stage.shared() as http_:
        yield stage, http_


@pytest.fixture
def stage(shared: tuple[Stage, Http]) -> Stage:
    shared[0].reset()
    return shared[0]


@pytest.fixture
def http_(shared: tuple[Stage, Http], stage: Stage) -> Http:
    return shared[1].as_new()


def kinds(messages: list[Any]) -> list[str]:
    return [message["msg"] for message in messages]


def outputs(messages: list[Any]) -> list[Any]:
    """Put the outputs of one generator together, as clients do."""
    values: list[Any] = []
    for message in messages:
        if message["msg"] == "process_generating":
            data = message["output"]["data"]
            values.append(apply_edits(values[-1], data[0]) if values else data[0])
    return values


CLOSE = "close_stream"


# -- one stream for all jobs of a session -------------------------------------------


def test_the_messages_of_a_job_that_runs_at_once(http_: Http) -> None:
    id = http_.join("echo", "x")
    with http_.stream() as stream:
        starts, completed, close = stream.messages()
    assert (starts["msg"], starts["event_id"]) == ("process_starts", id)
    assert (completed["msg"], completed["event_id"]) == ("process_completed", id)
    assert completed["success"] is True
    assert completed["output"]["data"] == ["x"]
    assert completed["output"]["is_generating"] is False
    assert close["msg"] == "close_stream"


def test_the_messages_of_a_job_that_waits(stage: Stage, http_: Http) -> None:
    first = http_.join("hold", "first", session="other")
    assert stage.started["first"].wait(10)
    id = http_.join("hold", "second")
    with http_.stream() as stream:
        estimation = stream.message()
        assert estimation["msg"] == "estimation"
        assert estimation["event_id"] == id
        assert (estimation["rank"], estimation["queue_size"]) == (0, 1)
        stage.gates["second"].set()
        stage.gates["first"].set()
        rest = stream.messages()
    assert kinds(rest) == ["process_starts", "process_completed", "close_stream"]
    with http_.stream("other") as stream:
        assert {m["event_id"] for m in stream.messages()} == {first, None}


def test_the_messages_of_a_generator(http_: Http) -> None:
    http_.join("grow", 5)
    with http_.stream() as stream:
        messages = stream.messages()
    assert kinds(messages) == [
        "process_starts",
        *["process_generating"] * 5,
        "process_completed",
        "close_stream",
    ]
    assert outputs(messages) == ["ab" * n for n in range(1, 6)]
    # Whole at first and at the end, changes in between.
    assert messages[1]["output"]["data"] == ["ab"]
    assert messages[2]["output"]["data"] == [[["append", [], "ab"]]]
    assert messages[6]["output"]["data"] == ["ab" * 5]


def test_several_jobs_over_one_stream(stage: Stage, http_: Http) -> None:
    ids = {tag: http_.join("feed", tag) for tag in "abc"}
    with http_.stream() as stream:
        for number in range(3):
            for tag in "cab":
                stage.feeds[tag].put(f"{tag}{number}")
        for tag in "bca":
            stage.feeds[tag].put(None)
        messages = stream.messages()
    assert kinds(messages).count("close_stream") == 1
    assert messages[-1]["msg"] == "close_stream"
    for tag, id in ids.items():
        mine = [message for message in messages if message.get("event_id") == id]
        assert kinds(mine) == [
            "process_starts", *["process_generating"] * 3, "process_completed"
        ]  # fmt: skip
        assert outputs(mine) == [f"{tag}{number}" for number in range(3)]


def test_sessions_hear_of_their_own_jobs_only(http_: Http) -> None:
    one, two = http_.join("echo", "1", session="one"), http_.join("echo", "2", session="two")
    for session, id in (("one", one), ("two", two)):
        with http_.stream(session) as stream:
            assert {message["event_id"] for message in stream.messages()} == {id, None}


def test_a_stream_that_comes_late_gets_everything(http_: Http) -> None:
    http_.join("grow", 3)
    http_.join("echo", "x")
    eventually(lambda: not http_.service.queue.jobs)
    with http_.stream() as stream:
        messages = stream.messages()
    assert sorted(kinds(messages)) == sorted(
        ["process_starts", "process_completed"] * 2
        + ["process_generating"] * 3
        + ["close_stream"]
    )  # fmt: skip
    assert outputs(messages)[-1] == "ababab"


def test_a_stream_ends_cleanly(http_: Http) -> None:
    http_.join("echo", "x")
    connection = http_.open("GET", f"{API}/queue/data?session_hash={http_.session}")
    with contextlib.closing(connection):
        body = connection.getresponse().read()  # raises if the end is missing
        assert json.loads(body.rpartition(b"data: ")[2])["msg"] == "close_stream"
        # The connection is as good as before.
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b'{"status":"ok"}'


def test_a_session_without_jobs_has_nothing_to_tell(http_: Http) -> None:
    http_.join("echo", "x")
    with http_.stream() as stream:
        stream.messages()
    with http_.stream() as stream:
        assert kinds(stream.messages()) == ["close_stream"]


def test_a_second_stream_takes_over(stage: Stage, http_: Http) -> None:
    http_.join("feed", "t")
    with http_.stream() as first:
        stage.feeds["t"].put("a")
        before = [first.message(), first.message()]
        with http_.stream() as second:
            assert kinds(first.messages()) == ["close_stream"]
            stage.feeds["t"].put("ab")
            stage.feeds["t"].put(None)
            after = second.messages()
    assert kinds(before) == ["process_starts", "process_generating"]
    # What the first was told may not have been read: all of it comes again.
    assert kinds(after) == [*kinds(before), "process_generating", "process_completed", CLOSE]
    assert outputs(after) == ["a", "ab"]


def test_many_streams_of_one_session_leave_one(stage: Stage, http_: Http) -> None:
    http_.join("feed", "t")
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: http_.stream(), range(8)))
        for stream in opened:
            stack.enter_context(stream)
        stage.feeds["t"].put("a")
        stage.feeds["t"].put(None)
        told = list(pool.map(Stream.messages, opened))
    everything = [message for messages in told for message in messages]
    assert kinds(everything).count("close_stream") == 8
    assert kinds(everything).count("process_completed") == 1


def test_head_takes_no_events(http_: Http) -> None:
    http_.join("echo", "x")
    assert http_.ask("HEAD", f"{API}/queue/data?session_hash={http_.session}").status in (
        200,
        404,
        405,
    )
    with http_.stream() as stream:
        assert stream.until("process_completed")["output"]["data"] == ["x"]


# -- streams that break -------------------------------------------------------------


def test_a_cut_stream_is_told_anew(stage: Stage, http_: Http) -> None:
    http_.join("feed", "t")
    stream = http_.stream()
    stage.feeds["t"].put("a")
    texts = ["a"]
    stream.message(), stream.message()
    for text in ("ab", "abc", "abcd"):
        stream.reset()
        stream = http_.stream()
        stage.feeds["t"].put(text)
        texts.append(text)
        messages = [stream.message() for _ in range(1 + len(texts))]
        assert outputs(messages) == texts
    stage.feeds["t"].put(None)
    with stream:
        messages = stream.messages()
    assert kinds(messages) == ["process_completed", CLOSE]
    assert messages[0]["output"]["data"] == ["abcd"]


def test_what_happens_between_two_streams_is_kept(stage: Stage, http_: Http) -> None:
    http_.join("feed", "t")
    stream = http_.stream()
    stage.feeds["t"].put("a")
    stream.message(), stream.message()
    stream.reset()
    eventually(lambda: not http_.channel.bell)
    for text in ("ab", "abc", None):
        stage.feeds["t"].put(text)
    eventually(lambda: not http_.service.queue.jobs)
    with http_.stream() as stream:
        assert outputs(stream.messages()) == ["a", "ab", "abc"]


def test_what_was_sent_but_not_read_is_told_again(stage: Stage, http_: Http) -> None:
    http_.join("feed", "t")
    stream = http_.stream()
    starts = stream.message()
    assert starts["msg"] == "process_starts"
    channel = http_.channel
    stage.feeds["t"].put("a")
    eventually(lambda: max(channel._jobs.values()) > starts["seq"])  # written, and not read
    stream.reset()
    with http_.stream() as stream:
        stage.feeds["t"].put("ab")
        stage.feeds["t"].put(None)
        assert outputs(stream.messages()) == ["a", "ab"]


def test_an_outcome_that_was_not_read_is_told_again(stage: Stage, http_: Http) -> None:
    http_.join("feed", "t")
    other = http_.join("wait", "w")
    stream = http_.stream()
    assert stream.message()["msg"] == "process_starts"
    stage.feeds["t"].put(None)
    eventually(lambda: bool(http_.channel._told))  # written, and not read
    stream.reset()
    with http_.stream() as stream:
        ended = [stream.until("process_completed")]
        http_.cancel(other)
        ended += [m for m in stream.messages() if m["msg"] == "process_completed"]
    assert len(ended) == 2


def test_generators_of_a_lost_session_are_stopped() -> None:
    stage = Stage(abandon_after=0.05)
    with stage.serving() as http_:
        generator, plain = http_.join("feed", "t"), http_.join("wait", "w")
        stream = http_.stream()
        assert stage.started["t"].wait(10)
        assert stage.started["w"].wait(10)
        stream.reset()
        eventually(lambda: generator not in http_.service.queue.jobs)
        stage.feeds["t"].put("unwanted")
        eventually(lambda: stage.closed == ["t"])
        assert plain in http_.service.queue.jobs  # it runs to its end
        with http_.stream() as stream:
            told = stream.until("process_completed")
            assert told["event_id"] == generator
            assert told["success"] is True
            assert "data" not in told["output"]
            assert http_.cancel(plain)["outcome"] == "told"


def test_a_session_that_comes_back_keeps_its_generators() -> None:
    stage = Stage(abandon_after=0.1)
    with stage.serving() as http_:
        http_.join("feed", "t")
        http_.stream().reset()
        with http_.stream() as stream:
            time.sleep(0.2)  # longer than it would have been kept
            stage.feeds["t"].put("a")
            stage.feeds["t"].put(None)
            assert stream.until("process_completed")["output"]["data"] == ["a"]
    assert not stage.closed


def test_each_loss_gives_the_whole_time() -> None:
    stage = Stage(abandon_after=0.5)
    with stage.serving() as http_:
        id = http_.join("feed", "t")
        assert stage.started["t"].wait(10)
        stream = http_.stream()
        channel = http_.channel
        lost = time.monotonic()
        stream.reset()
        eventually(lambda: not channel.bell)
        stream = http_.stream()
        time.sleep(lost + 0.45 - time.monotonic())
        stream.reset()
        eventually(lambda: not channel.bell)
        time.sleep(lost + 0.6 - time.monotonic())
        try:
            assert id in http_.service.queue.jobs
        finally:
            stage.feeds["t"].put("x")
            stage.feeds["t"].put(None)


def test_nothing_is_stopped_if_the_app_says_so() -> None:
    stage = Stage(abandon_after=None)
    with stage.serving() as http_:
        http_.join("feed", "t")
        http_.stream().reset()
        eventually(lambda: not http_.channel.bell)
        stage.feeds["t"].put("a")
        stage.feeds["t"].put(None)
        with http_.stream() as stream:
            assert outputs(stream.messages()) == ["a"]


def test_a_half_open_connection_is_taken_over(stage: Stage, http_: Http) -> None:
    """The network is gone, and no end of the old connection ever comes."""
    http_.join("feed", "t")
    with cutting_proxy(http_.url) as proxy:
        with Http(proxy.url.rstrip("/")).stream(http_.session) as lost:
            stage.feeds["t"].put("a")
            messages = [lost.message(), lost.message()]
            proxy.freeze()
            with http_.stream() as stream:
                stage.feeds["t"].put("ab")
                stage.feeds["t"].put(None)
                messages = stream.messages()
    assert outputs(messages) == ["a", "ab"]


# -- sessions that are not there ----------------------------------------------------


def test_an_unknown_session_is_told_so_in_the_stream(http_: Http) -> None:
    with http_.stream("nobody") as stream:
        assert stream.messages() == [NOT_FOUND]


def test_a_stream_without_a_session(http_: Http) -> None:
    answer = http_.get(f"{API}/queue/data")
    assert answer.status == 422
    assert answer.detail[0]["loc"] == ["query", "session_hash"]


def test_a_session_expires_with_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "HOUSEKEEPING_INTERVAL", 0.02)
    stage = Stage(session_ttl=0.05, result_ttl=0.05)
    with stage.serving() as http_:
        assert http_.run("visits", session="s").json["data"] == [1]
        eventually(lambda: not len(http_.service.channels))
        assert http_.run("visits", session="s").json["data"] == [1]
        eventually(lambda: not len(http_.service.channels))
        with http_.stream() as stream:
            assert stream.messages() == [NOT_FOUND]


# -- signs of life ------------------------------------------------------------------


def test_heartbeats(stage: Stage, http_: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_INTERVAL", 0.05)
    http_.join("feed", "t")
    with http_.stream() as stream:
        assert stream.message()["msg"] == "process_starts"
        begun = time.monotonic()
        for _ in range(3):
            assert stream.message()["msg"] == "heartbeat"
        assert time.monotonic() - begun < 5
        stage.feeds["t"].put(None)
        assert stream.until("process_completed")["success"]


def test_heartbeats_of_a_call(stage: Stage, http_: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_INTERVAL", 0.05)
    with http_.follow("feed", http_.call("feed", "t")) as stream:
        for _ in range(3):
            assert stream.event() == ("heartbeat", "null")
        stage.feeds["t"].put("a")
        stage.feeds["t"].put(None)
        kinds = [kind for kind, _ in stream.events() if kind != "heartbeat"]
    assert kinds == ["generating", "complete"]


def test_the_heartbeat_of_a_session(http_: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_INTERVAL", 0.05)
    connection = http_.open("GET", f"{API}/heartbeat/{http_.session}")
    with contextlib.closing(connection):
        response = connection.getresponse()
        assert response.status == 200
        for _ in range(3):
            assert response.readline() == b"data: ALIVE\n"
            assert response.readline() == b"\n"
        with http_.stream() as stream:  # it is known by now
            assert kinds(stream.messages())[-1] == "close_stream"
        response.close()
    eventually(lambda: not http_.connections)


def test_a_heartbeat_keeps_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_INTERVAL", 0.02)
    monkeypatch.setattr(service, "HOUSEKEEPING_INTERVAL", 0.02)
    stage = Stage(session_ttl=0.2)
    with stage.serving() as http_:
        assert http_.run("visits", session="s").json["data"] == [1]
        with Heartbeat(http_, "s") as beat:
            begun = time.monotonic()
            while time.monotonic() < begun + 0.5:
                beat.read()
            assert http_.run("visits", session="s").json["data"] == [2]
        eventually(lambda: not len(http_.service.channels))


class Heartbeat:
    def __init__(self, http_: Http, session: str) -> None:
        self._connection = http_.open("GET", f"{API}/heartbeat/{session}")
        self._response = self._connection.getresponse()

    def __enter__(self) -> Heartbeat:
        return self

    def read(self) -> bytes:
        return self._response.readline()

    def __exit__(self, *exc_info: object) -> None:
        self._response.close()
        self._connection.close()


# -- clients that read slowly -------------------------------------------------------

OUTPUTS, SIZE = 400, 64 * 1024


def buffered(http_: Http) -> int:
    return sum(connection.transport.get_write_buffer_size() for connection in http_.connections)


def test_a_slow_reader_costs_little_memory_and_nobody_time(http_: Http) -> None:
    http_.join("heavy", OUTPUTS, SIZE, session="slow")
    with http_.stream("slow", buffer=4096) as stream:
        stream.message()
        eventually(lambda: not http_.service.queue.jobs)  # the function does not wait for it
        for _ in range(20):
            begun = time.monotonic()
            http_.join("echo", "x", session="quick")
            with http_.stream("quick") as other:
                assert other.until("process_completed")["output"]["data"] == ["x"]
            assert time.monotonic() - begun < 1
            # One chunk, the output that passes its bound, and what the transport holds back.
            assert buffered(http_) <= channels.CHUNK_SIZE + 2 * SIZE + 128 * 1024
        messages = stream.messages()  # and now it reads
    texts = outputs(messages)
    assert len(texts) == OUTPUTS
    assert [len(text) for text in texts] == [SIZE + len(f"{n} ") for n in range(OUTPUTS)]


def test_a_reader_that_stands_still_is_cut(http_: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "WRITE_TIMEOUT", 0.1)
    http_.join("heavy", OUTPUTS, SIZE)
    with http_.stream(buffer=4096) as stream:
        stream.message()
        channel = http_.channel
        eventually(lambda: not channel.bell)
        assert channel.pending
        with pytest.raises(IncompleteRead):
            stream.response.read()


def test_a_reader_that_stands_still_keeps_no_connection(
    http_: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "WRITE_TIMEOUT", 0.1)
    http_.join("heavy", OUTPUTS, SIZE)
    with http_.stream(buffer=4096) as stream:
        stream.message()
        channel = http_.channel
        eventually(lambda: not channel.bell)
        deadline = time.monotonic() + 2
        while http_.connections and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not http_.connections


def test_a_half_closed_client_keeps_no_stream(stage: Stage, http_: Http) -> None:
    """Who says that nothing more will come from it has left, as far as HTTP servers know."""
    http_.join("feed", "t")
    with http_.stream() as stream:
        assert stream.message()["msg"] == "process_starts"
        stream.connection.sock.shutdown(socket.SHUT_WR)
        eventually(lambda: not http_.channel.bell)
    stage.feeds["t"].put("a")
    stage.feeds["t"].put(None)
    with http_.stream() as stream:
        assert outputs(stream.messages()) == ["a"]


# -- after the end of a stream ------------------------------------------------------


def test_gradio_client_learns_of_a_job_after_the_end_of_a_stream(
    http_: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it takes the job for one of that stream's, and gives it up."""
    monkeypatch.setattr(service, "CONFIRM_DELAY", 0.3)
    stock = http_.as_new({"User-Agent": "gradio_client/2.7.2; python/3.11"}, http_.session)
    for client, slow in ((http_, False), (stock, True)):
        client.join("echo", "x")
        with client.stream() as stream:
            stream.until(CLOSE)
            begun = time.monotonic()
            client.join("echo", "y")
            assert (time.monotonic() - begun > 0.2) is slow
        with client.stream() as stream:
            stream.messages()


def test_gradio_client_hears_of_a_job_after_it_learned_of_it(
    http_: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "NEWS_DELAY", 0.3)
    stock = http_.as_new({"User-Agent": "gradio_client/1.14.0"}, http_.session)
    stock.join("wait", "w")
    with stock.stream() as stream:
        id = stock.join("echo", "y")
        begun = time.monotonic()
        assert stream.until("process_completed")["event_id"] == id
        assert time.monotonic() - begun > 0.2


# -- the simple API -----------------------------------------------------------------


def test_a_call_is_told_in_whole_values(http_: Http) -> None:
    with http_.follow("grow", http_.call("grow", 3)) as stream:
        assert stream.events() == [
            ("generating", ["ab"]),
            ("generating", ["abab"]),
            ("generating", ["ababab"]),
            ("complete", ["ababab"]),
        ]


def test_a_call_can_be_read_again_and_by_many_at_once(stage: Stage, http_: Http) -> None:
    id = http_.call("feed", "t")
    with http_.follow("feed", id) as one, http_.follow("feed", id) as two:
        stage.feeds["t"].put([1])
        assert one.event() == two.event() == ("generating", "[[1]]")
        with http_.follow("feed", id) as late:
            assert late.event() == ("generating", "[[1]]")
            stage.feeds["t"].put([1, 2])
            stage.feeds["t"].put(None)
            rest = [("generating", [[1, 2]]), ("complete", [[1, 2]])]
            assert one.events() == two.events() == late.events() == rest
    for _ in range(2):
        with http_.follow("feed", id) as again:
            assert again.events() == [("generating", [[1]]), *rest]


def test_a_reader_that_leaves_takes_nothing_from_the_others(stage: Stage, http_: Http) -> None:
    id = http_.call("feed", "t")
    with http_.follow("feed", id) as stays:
        leaves = http_.follow("feed", id)
        stage.feeds["t"].put("a")
        assert leaves.event() == stays.event() == ("generating", '["a"]')
        leaves.reset()
        stage.feeds["t"].put("b")
        stage.feeds["t"].put(None)
        assert stays.events() == [("generating", ["b"]), ("complete", ["b"])]
    eventually(lambda: id not in http_.service.delivery._followers)


def test_a_call_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "HOUSEKEEPING_INTERVAL", 0.02)
    stage = Stage(result_ttl=0.3)
    with stage.serving() as http_:
        id = http_.call("echo", "x")
        with http_.follow("echo", id) as stream:
            assert stream.events() == [("complete", ["x"])]
        with http_.follow("echo", id) as stream:
            assert stream.events() == [("complete", ["x"])]
        eventually(lambda: http_.service.store.expire()[1] is None)
        with http_.follow("echo", id) as stream:
            assert stream.events() == [("error", "404: Not Found")]


def test_an_unknown_call(http_: Http) -> None:
    with http_.follow("echo", "0" * 32) as stream:
        assert stream.events() == [("error", "404: Not Found")]


def test_a_failed_call(http_: Http) -> None:
    with http_.follow("fail", http_.call("fail")) as stream:
        ((kind, data),) = stream.events()
    assert kind == "error"
    assert data == {"error": "it went wrong", "title": "Oops", "duration": 3, "visible": True}


def test_a_cancelled_call(stage: Stage, http_: Http) -> None:
    id = http_.call("wait", "w")
    assert stage.started["w"].wait(10)
    with http_.follow("wait", id) as stream:
        assert http_.cancel(id) == {"success": True, "outcome": "told"}
        assert stream.events() == [("complete", None)]


def test_a_cancelled_job_in_a_session(stage: Stage, http_: Http) -> None:
    id = http_.join("feed", "t")
    with http_.stream() as stream:
        stage.feeds["t"].put("a")
        stream.until("process_generating")
        assert http_.cancel(id) == {"success": True, "outcome": "closing"}
        completed = stream.until("process_completed")
        assert completed["success"] is True
        assert "data" not in completed["output"]
        stage.feeds["t"].put("b")
        assert kinds(stream.messages()) == ["close_stream"]
    eventually(lambda: stage.closed == ["t"])


def test_a_failed_job_in_a_session(http_: Http) -> None:
    http_.join("fail")
    with http_.stream() as stream:
        completed = stream.until("process_completed")
    assert completed["success"] is False
    assert completed["output"]["error"] == "it went wrong"
    assert completed["title"] == completed["output"]["title"] == "Oops"
