"""What real servers before 4.9 sent, cut in every way, gives what their functions gave."""

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from recorded import OLD_RECORDINGS, OLD_VERSIONS, Recording, read_recording, read_schema
from strategies import cut_at
from test_vectors import check

from jobwire.exceptions import AppError, ConnectionLostError, RemoteProtocolError
from jobwire.protocol.connection import (
    AnswerData,
    AnswerHash,
    CloseConnection,
    ConnectionAction,
    ConnectionProtocol,
)
from jobwire.protocol.job import JobMachine, State
from jobwire.protocol.messages import Malformed, UnknownMessage, decode_message
from jobwire.protocol.outputs import OutputLog
from jobwire.protocol.payload import bind_arguments, presenter

SCHEMAS = {version: read_schema(version) for version in OLD_VERSIONS}
NOW = 100.0

each_recording = pytest.mark.parametrize("recording", OLD_RECORDINGS, ids=str)
each_version = pytest.mark.parametrize("version", OLD_VERSIONS)


def is_stream(recording: Recording) -> bool:
    return recording.version >= "4"


def messages(recording: Recording) -> list[bytes]:
    lines = recording.stream.split(b"\n")
    return [line.removeprefix(b"data: ") for line in lines if line]


class Player:
    """Plays a recording to a job's protocol, as a transport would."""

    def __init__(self, recording: Recording) -> None:
        (self.job,) = recording.jobs
        self.recording = recording
        outputs = OutputLog(diffs=SCHEMAS[recording.version].dialect.diffs, present=list)
        self.machine = JobMachine(self.job.fn_index, outputs, NOW)
        self.protocol = ConnectionProtocol(self.machine, answer_timeout=60.0)
        self.protocol.connecting(NOW)
        self.actions: list[ConnectionAction] = []

    def feed(self, pieces: Iterable[bytes], receive: Callable[[bytes, float], None]) -> None:
        for piece in pieces:
            receive(piece, NOW)
            self.actions += self.protocol.actions()

    def check(self) -> None:
        check(self.machine, self.job, str(self.recording))
        asked = AnswerData(self.job.event_id)
        if is_stream(self.recording):
            assert self.actions == [asked, CloseConnection()]
        else:
            assert self.actions == [AnswerHash(), asked, CloseConnection()]
        assert self.protocol.closed
        assert not self.protocol.abandoned
        assert self.protocol.next_timer() is None


def play(recording: Recording) -> Player:
    player = Player(recording)
    player.feed(messages(recording), player.protocol.receive_message)
    return player


def play_stream(recording: Recording, pieces: Iterable[bytes]) -> Player:
    player = Player(recording)
    player.feed(pieces, player.protocol.receive_data)
    return player


def test_there_are_recordings_of_every_version() -> None:
    wanted = {"echo", "two", "count", "grow", "tables", "frames", "mixed", "logs", "steps"}
    for version in OLD_VERSIONS:
        assert wanted <= {r.name for r in OLD_RECORDINGS if r.version == version}


@each_recording
def test_every_message_is_known(recording: Recording) -> None:
    for data in messages(recording):
        assert not isinstance(decode_message(data), (UnknownMessage, Malformed))


@each_recording
def test_messages_give_every_output_and_the_outcome(recording: Recording) -> None:
    player = play(recording)
    player.check()
    player.protocol.receive_eof(NOW)
    player.check()


@pytest.mark.parametrize("recording", [r for r in OLD_RECORDINGS if is_stream(r)], ids=str)
def test_stream_that_is_cut_gives_the_same(recording: Recording) -> None:
    stream = recording.stream
    play_stream(recording, [stream]).check()
    play_stream(recording, (bytes([byte]) for byte in stream)).check()
    play_stream(recording, [stream.replace(b"\n", b"\r\n")]).check()
    random_cuts = random.Random(str(recording))
    for count in (1, 3, 10, 50):
        places = sorted(random_cuts.randrange(len(stream)) for _ in range(count))
        play_stream(recording, cut_at(stream, places)).check()


@each_recording
def test_connection_that_ends_early_loses_the_job_with_its_outputs(recording: Recording) -> None:
    whole = messages(recording)
    for count in range(len(whole)):
        player = Player(recording)
        player.feed(whole[:count], player.protocol.receive_message)
        given = sum(b'"process_generating"' in data for data in whole[:count])
        player.protocol.receive_eof(NOW)
        error = player.machine.error
        assert isinstance(error, ConnectionLostError)
        assert error.outputs == player.job.outputs[:given]
        assert error.event_id in (None, player.job.event_id)


@each_recording
def test_job_can_be_cancelled_between_any_messages(recording: Recording) -> None:
    whole = messages(recording)
    for count in range(len(whole)):
        player = Player(recording)
        player.feed(whole[:count], player.protocol.receive_message)
        assert player.protocol.cancel(NOW)
        player.feed(whole[count:], player.protocol.receive_message)
        assert player.machine.state is State.CANCELLED
        assert player.protocol.closed
        assert player.actions[-1] == CloseConnection()


@each_version
def test_damaged_result_fails_the_job(version: str) -> None:
    player = Player(read_recording(version, "echo"))
    whole = [data.replace(b"text ", b"text \xff") for data in messages(player.recording)]
    player.feed(whole, player.protocol.receive_message)
    assert isinstance(player.machine.error, RemoteProtocolError)


@each_recording
def test_arguments_make_the_data_that_was_sent(recording: Recording) -> None:
    (job,) = recording.jobs
    endpoint = SCHEMAS[recording.version].find(job.api_name)
    assert endpoint.id == job.fn_index
    pairs = zip(job.data, endpoint.inputs, strict=True)
    given: list[Any] = [value for value, component in pairs if not component.skipped]
    assert bind_arguments(endpoint, given, {}) == job.data


@each_version
def test_callers_see_values_without_the_skipped_ones(version: str) -> None:
    for name, result in {"two": ("ABC", 3), "none": (), "remember": "a"}.items():
        (job,) = read_recording(version, name).jobs
        endpoint = SCHEMAS[version].find(job.api_name)
        assert presenter(endpoint)(job.outputs[-1]) == result


@each_version
def test_app_says_why_it_failed(version: str) -> None:
    error = play(read_recording(version, "fail_value")).machine.error
    assert isinstance(error, AppError)
    assert (error.message, error.title) == ("plain value error", "Error")
