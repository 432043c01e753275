"""What real servers sent, cut in every way, gives what their functions gave."""

import random
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from recorded import RECORDINGS, VERSIONS, RecordedJob, Recording, read_recording, read_schema
from strategies import cut_at

from jobwire.exceptions import (
    AppError,
    ConnectionLostError,
    JobCancelledError,
    RemoteProtocolError,
)
from jobwire.protocol.job import JobMachine, State
from jobwire.protocol.messages import Log, Malformed, UnknownMessage, decode_message
from jobwire.protocol.outputs import OutputCursor, OutputLog
from jobwire.protocol.payload import bind_arguments, presenter
from jobwire.protocol.replies import read_event_id
from jobwire.protocol.session import CloseEventStream, OpenEventStream, SessionProtocol
from jobwire.protocol.sse import SSEParser
from jobwire.types import OutputUpdate, ProgressUnit

SCHEMAS = {version: read_schema(version) for version in VERSIONS}
JOB_STREAMS = [recording for recording in RECORDINGS if recording.jobs]
NOW = 100.0

PARTIAL = b'data: {"msg":"process_completed","event_id":"'

each_recording = pytest.mark.parametrize("recording", JOB_STREAMS, ids=str)
each_version = pytest.mark.parametrize("version", VERSIONS)


def of_version(version: str) -> Iterator[Recording]:
    return (recording for recording in JOB_STREAMS if recording.version == version)


def make_machine(recording: Recording, job: RecordedJob) -> JobMachine:
    schema = SCHEMAS[recording.version]
    outputs = OutputLog(diffs=schema.dialect.diffs, present=list)
    return JobMachine(schema.find(job.api_name).id, outputs, NOW)


class Player:
    """Plays a recording to a session, as a transport would."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.session = SessionProtocol(SCHEMAS[recording.version].dialect)
        self.machines = [make_machine(recording, job) for job in recording.jobs]
        for machine in self.machines:
            self.session.submit(machine)
            self.session.sending(machine)

    def accept(self) -> None:
        for machine, job in zip(self.machines, self.recording.jobs, strict=True):
            self.session.accepted(machine, job.event_id, NOW)

    def open(self) -> None:
        assert self.session.actions() == [OpenEventStream()]
        self.session.stream_opened(NOW)

    def feed(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.session.receive_data(piece, NOW)

    def check(self) -> None:
        for machine, job in zip(self.machines, self.recording.jobs, strict=True):
            check(machine, job, str(self.recording))


def play(recording: Recording, pieces: Iterable[bytes]) -> Player:
    player = Player(recording)
    player.accept()
    player.open()
    player.feed(pieces)
    return player


def entries(machine: JobMachine) -> tuple[list[Any], list[list[str]]]:
    """Return what a reader of the outputs finds, and the log lines between them."""
    outputs: list[Any] = []
    logs: list[list[str]] = []
    cursor = OutputCursor(machine.outputs)
    while (entry := cursor.next()) is not None:
        if isinstance(entry, OutputUpdate):
            outputs.append(entry.outputs)
        else:
            logs.append([entry.log, entry.level])
    return outputs, logs


def check(machine: JobMachine, job: RecordedJob, where: str) -> None:
    """Compare a job that has ended with what the recording says must come of it."""
    outputs, logs = entries(machine)
    assert outputs == job.outputs, where
    assert machine.outputs.outputs() == job.outputs, where
    assert logs == job.logs, where
    if job.progress is not None:
        assert machine.progress, where
        (unit,) = machine.progress
        assert unit == ProgressUnit(index=unit.index, **job.progress), where
    else:
        assert machine.progress is None, where
    outcome, error = job.outcome, machine.error
    match outcome["kind"]:
        case "completed":
            assert machine.state is State.COMPLETED, where
            assert error is None, where
            assert machine.outputs.result == outcome["result"], where
        case "failed":
            assert machine.state is State.FAILED, where
            assert isinstance(error, AppError), where
            shown = {"message", "title", "duration", "visible"}
            assert {name: getattr(error, name) for name in shown} == {
                name: outcome[name] for name in shown
            }, where
            assert error.event_id == job.event_id, where
        case kind:
            assert kind == "cancelled", where
            assert machine.state is State.CANCELLED, where
            assert isinstance(error, JobCancelledError), where


def test_there_are_recordings_of_every_version() -> None:
    common = {"echo", "two", "count", "grow", "tables", "frames", "mixed", "multiplexed", "logs"}
    for version in VERSIONS:
        names = {recording.name for recording in of_version(version)}
        assert common <= names
        assert ("cancelled" in names) == (version >= "4.31")


# -- the parts on their own --


@each_version
def test_every_event_is_a_known_message(version: str) -> None:
    for recording in of_version(version):
        messages = [decode_message(event.data) for event in SSEParser().feed(recording.stream)]
        assert messages
        for message in messages:
            assert not isinstance(message, (UnknownMessage, Malformed)), str(recording)


@each_version
def test_machines_take_the_messages_one_by_one(version: str) -> None:
    for recording in of_version(version):
        machines = {job.event_id: make_machine(recording, job) for job in recording.jobs}
        for event_id, machine in machines.items():
            machine.accept(event_id, NOW)
        for event in SSEParser().feed(recording.stream):
            message = decode_message(event.data)
            if message.event_id is not None:
                machines[message.event_id].receive(message, NOW)
        for job in recording.jobs:
            check(machines[job.event_id], job, str(recording))


# -- through a session --


@each_recording
def test_whole_stream_gives_every_output_and_the_outcome(recording: Recording) -> None:
    player = play(recording, [recording.stream])
    player.check()
    player.session.receive_eof(NOW)
    player.check()
    assert player.session.idle
    assert not player.session.damaged
    assert player.session.actions() == []
    assert player.session.next_timer() is None


@each_version
def test_stream_byte_by_byte_gives_the_same(version: str) -> None:
    for recording in of_version(version):
        play(recording, (bytes([byte]) for byte in recording.stream)).check()


@each_version
def test_stream_cut_at_random_gives_the_same(version: str) -> None:
    random_cuts = random.Random(version)
    for recording in of_version(version):
        size = len(recording.stream)
        for count in (1, 3, 10, 50):
            places = sorted(random_cuts.randrange(size) for _ in range(count))
            play(recording, cut_at(recording.stream, places)).check()


@each_version
@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"], ids=["CRLF", "CR"])
def test_stream_with_the_line_ends_of_others_gives_the_same(version: str, line_end: bytes) -> None:
    for recording in of_version(version):
        stream = recording.stream.replace(b"\n", line_end)
        play(recording, [stream]).check()
        play(recording, (bytes([byte]) for byte in stream)).check()


@each_version
def test_partial_event_at_the_end_changes_nothing(version: str) -> None:
    for recording in of_version(version):
        tail = PARTIAL + recording.jobs[0].event_id.encode()
        player = play(recording, [recording.stream + tail])
        player.session.receive_eof(NOW)
        player.check()


@each_version
def test_messages_before_the_reply_to_the_submission_give_the_same(version: str) -> None:
    for recording in of_version(version):
        player = Player(recording)
        # Something must have opened the stream: a job that was confirmed before.
        other = make_machine(recording, recording.jobs[0])
        player.session.submit(other)
        player.session.sending(other)
        player.session.accepted(other, "other", NOW)
        player.open()
        player.feed([recording.stream])
        assert all(machine.state is State.SUBMITTING for machine in player.machines)
        player.accept()
        player.check()
        assert other.state is State.ACCEPTED


@each_version
def test_messages_of_which_half_come_before_the_reply_give_the_same(version: str) -> None:
    for recording in of_version(version):
        player = Player(recording)
        other = make_machine(recording, recording.jobs[0])
        player.session.submit(other)
        player.session.sending(other)
        player.session.accepted(other, "other", NOW)
        player.open()
        half = len(recording.stream) // 2
        player.feed([recording.stream[:half]])
        player.accept()
        player.feed([recording.stream[half:]])
        player.check()


@each_version
def test_stream_that_breaks_off_leaves_the_outputs_so_far(version: str) -> None:
    dialect = SCHEMAS[version].dialect
    for name in ("count", "grow", "frames", "tables", "mixed"):
        recording = read_recording(version, name)
        (job,) = recording.jobs
        end = recording.stream.index(b"process_completed")
        player = play(recording, [recording.stream[:end]])
        (machine,) = player.machines
        assert not machine.state.ended
        assert machine.outputs.outputs() == job.outputs
        player.session.receive_error(ConnectionLostError("reset"), NOW)
        assert machine.state is (State.RUNNING if dialect.resumable else State.FAILED)
        if not dialect.resumable:
            assert isinstance(machine.error, ConnectionLostError)
            assert machine.error.outputs == job.outputs
            assert player.session.damaged


@each_version
def test_stream_that_ends_early_is_taken_up_again_where_any_end_may_be_ordinary(
    version: str,
) -> None:
    recording = read_recording(version, "count")
    (job,) = recording.jobs
    *head, tail = recording.stream.split(b"\n\n", 3)
    player = play(recording, [event + b"\n\n" for event in head])
    player.session.receive_eof(NOW)
    (machine,) = player.machines
    if SCHEMAS[version].dialect.announces_close:
        assert isinstance(machine.error, ConnectionLostError)
        assert machine.error.outputs == job.outputs[:1]
    else:
        player.open()
        player.feed([tail])
        player.check()


@pytest.mark.parametrize("version", [v for v in VERSIONS if SCHEMAS[v].dialect.resumable])
def test_resumed_stream_tells_no_edits_of_what_may_be_lost(version: str) -> None:
    for name in ("count", "grow", "frames", "tables", "mixed"):
        recording = read_recording(version, name)
        events = recording.stream.split(b"\n\n")
        for cut in range(1, len(events) - 1):
            first, second = b"\n\n".join(events[:cut]) + b"\n\n", b"\n\n".join(events[cut:])
            player = play(recording, [first + PARTIAL])
            player.session.receive_error(ConnectionLostError("reset"), NOW)
            due = player.session.next_timer()
            assert due is not None
            player.session.handle_timer(due)
            player.open()
            player.feed([second])
            if b"process_starts" not in first:
                player.check()
                continue
            (machine,), (job,) = player.machines, recording.jobs
            outputs, logs = entries(machine)
            assert logs == job.logs
            assert outputs[:-1] == job.outputs[: len(outputs) - 1]
            assert outputs[-1] == job.outputs[-1]
            assert machine.outputs.result == job.outputs[-1]


@each_version
def test_unknown_session_loses_its_jobs(version: str) -> None:
    stream = read_recording(version, "session_not_found").stream
    player = play(read_recording(version, "echo"), [stream])
    (machine,) = player.machines
    assert machine.state is State.FAILED
    assert isinstance(machine.error, ConnectionLostError)
    assert player.session.actions() == [CloseEventStream()]
    assert player.session.damaged


# -- shrinking tables, which servers describe wrongly --


@each_version
def test_shrinking_tables_are_right_at_each_step(version: str) -> None:
    for name in ("frames", "tables"):
        recording = read_recording(version, name)
        (job,) = recording.jobs
        machine = make_machine(recording, job)
        machine.accept(job.event_id, NOW)
        steps = 0
        for event in SSEParser().feed(recording.stream):
            machine.receive(decode_message(event.data), NOW)
            steps += b"process_generating" in event.data
            assert machine.outputs.outputs() == job.outputs[:steps]
        assert steps == len(job.outputs)


def test_recordings_hold_deletes_with_wrong_indices() -> None:
    """So that the tests above test what they are for."""
    assert b'"delete", ["data", 0, 2]' in read_recording("4.20.1", "frames").stream
    assert b'["delete",["data",1,-2],null]' in read_recording("6.31.0", "frames").stream


# -- from the arguments to the reply --


def jobs_of_version(version: str) -> Iterator[RecordedJob]:
    return (job for recording in of_version(version) for job in recording.jobs)


@each_version
def test_arguments_make_the_data_that_was_sent(version: str) -> None:
    for job in jobs_of_version(version):
        endpoint = SCHEMAS[version].find(job.api_name)
        assert endpoint.id == job.fn_index
        given = [
            value
            for value, component in zip(job.data, endpoint.inputs, strict=True)
            if not component.skipped
        ]
        assert bind_arguments(endpoint, given, {}) == job.data


@each_version
def test_replies_give_the_ids_of_the_jobs(version: str) -> None:
    for job in jobs_of_version(version):
        status, body = job.reply["status"], job.reply["body"].encode()
        assert read_event_id(status, {}, body, url="http://test/queue/join") == job.event_id


@each_version
def test_callers_see_values_without_the_skipped_ones(version: str) -> None:
    expected = {"two": ("ABC", 3), "none": (), "remember": "a", "echo": None}
    for name, result in expected.items():
        (job,) = read_recording(version, name).jobs
        endpoint = SCHEMAS[version].find(job.api_name)
        assert presenter(endpoint)(job.outputs[-1]) == (
            result if result is not None else job.data[0]
        )


# -- damage on the way --


@each_version
def test_damaged_result_fails_the_job_and_never_completes_it(version: str) -> None:
    recording = read_recording(version, "echo")
    stream = recording.stream.replace(b"text \\\\ ", b"text \xff\xfe ")
    assert stream != recording.stream
    player = play(recording, [stream])
    (machine,) = player.machines
    assert machine.state is State.FAILED
    assert isinstance(machine.error, RemoteProtocolError)
    assert machine.error.event_id == recording.jobs[0].event_id


def test_log_lines_come_between_the_outputs() -> None:
    recording = read_recording("6.31.0", "logs")
    (machine,) = play(recording, [recording.stream]).machines
    cursor = OutputCursor(machine.outputs)
    assert isinstance(cursor.next(), Log)
    assert isinstance(cursor.next(), Log)
    result = cursor.next()
    assert isinstance(result, OutputUpdate)
    assert result.final
    assert machine.outputs.last_log == ("warning x", "warning")
