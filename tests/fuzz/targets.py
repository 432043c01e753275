"""What is fuzzed: each takes any bytes, and fails if anything but a documented error comes out."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

from jobwire.exceptions import JobwireError, RemoteProtocolError
from jobwire.protocol.description import describe
from jobwire.protocol.dialects import select_dialect
from jobwire.protocol.diff import apply_edits, make_edits
from jobwire.protocol.job import JobMachine
from jobwire.protocol.media import parse_playlist
from jobwire.protocol.messages import decode_message, decode_value
from jobwire.protocol.outputs import OutputLog
from jobwire.protocol.schema import parse_config
from jobwire.protocol.session import SessionProtocol
from jobwire.protocol.sse import SSEParser

DIALECTS = [
    select_dialect(*known)
    for known in (("sse_v1", "4.10.0"), ("sse_v2", "4.20.1"), ("sse_v3", "4.44.1"), ("sse_v3", "6"))
]
DIALECTS.append(select_dialect("sse_v3", "6.31.0", durable=True))


def sse(data: bytes) -> None:
    """The cuts do not matter: the first byte says where they are."""
    size = data[0] + 1 if data else 1
    text = data[1:]

    def events(pieces: list[bytes]) -> list[Any]:
        parser = SSEParser(max_event_size=1 << 20)
        return [event for piece in pieces for event in parser.feed(piece)]

    assert events([text]) == events([text[i : i + size] for i in range(0, len(text), size)])


def messages(data: bytes) -> None:
    """Every event is a message, if only a malformed one."""
    message = decode_message(data)
    repr(message)
    job = JobMachine(0, OutputLog(diffs=True, present=tuple), 0.0)
    job.accept("id", 0.0)
    job.receive(message, 1.0)
    with contextlib.suppress(RemoteProtocolError):
        job.outputs.outputs()


def diffs(data: bytes) -> None:
    """Edits are made or refused, and leave the old value as it was."""
    values = _json(data)
    if not isinstance(values, list) or len(values) != 2:
        return
    old, other = values
    before = json.dumps(old)
    assert json.dumps(apply_edits(old, make_edits(old, other))) == json.dumps(other)
    with contextlib.suppress(RemoteProtocolError):
        apply_edits(old, other)
    assert json.dumps(old) == before


def schema(data: bytes) -> None:
    """A config is read or refused, and can be described if it is read."""
    config = _json(data)
    try:
        app = parse_config(config, url="http://host/")
        info = config.get("info") if isinstance(config, dict) else None
        describe(app.with_info(info))
    except JobwireError:
        pass


def playlists(data: bytes) -> None:
    """A playlist is read or refused; how long to wait is a sensible number."""
    try:
        playlist = parse_playlist(data)
    except RemoteProtocolError:
        return
    assert playlist.duration >= 0


def sessions(data: bytes) -> None:
    """Whatever happens, in whatever order: each job ends, once, and says nothing after it."""
    data = data or b"\0"
    protocol = SessionProtocol(DIALECTS[data[0] % len(DIALECTS)], idle_timeout=9.0)
    jobs: list[JobMachine] = []
    sending: list[JobMachine] = []
    ended: dict[JobMachine, int] = {}
    now = 0.0

    def send(job: JobMachine) -> None:
        protocol.submit(job)
        protocol.sending(job)
        sending.append(job)

    def settle() -> None:
        protocol.actions()
        for job in protocol.changed():
            assert job in jobs
            if job.lost:
                job.lost = False
                send(job)
            if job.state.ended:
                # After its end a job may be named again, but has nothing new to say.
                assert ended.setdefault(job, job.version) == job.version

    for number, step in enumerate(data[1:]):
        now += (step >> 5) / 2
        argument = step >> 3
        match step & 7:
            case 0:
                log = OutputLog(diffs=True, present=tuple)
                jobs.append(JobMachine(argument % 2, log, now, repeats=argument // 2 % 3))
                send(jobs[-1])
            case 1 if sending:
                protocol.accepted(sending.pop(0), f"e{argument % 6}", now)
            case 2 if sending:
                protocol.rejected(sending.pop(0), JobwireError("refused"), now)
            case 3 if jobs:
                protocol.cancel(jobs[argument % len(jobs)], now)
            case 4:
                protocol.stream_opened(now)
            case 5:
                event = b"id: %d\n" % number + EVENTS[argument % len(EVENTS)]
                protocol.receive_data(event, now)
            case 6 if argument % 4 == 0:
                protocol.receive_error(JobwireError("broken"), now)
            case 6 if argument % 4 == 1:
                protocol.receive_eof(now)
            case _:
                protocol.handle_timer(now)
        settle()
    for job in sending:
        protocol.accepted(job, f"late{id(job)}", now)
    settle()
    protocol.close(now)
    settle()
    assert all(job.state.ended for job in jobs)
    assert protocol.idle
    assert protocol.next_timer() is None


def _message(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


EVENTS = [
    *(
        _message(msg=msg, event_id=f"e{number}", **fields)
        for number in range(3)
        for msg, fields in (
            ("estimation", {"rank": 1}),
            ("process_starts", {}),
            ("process_generating", {"output": {"data": ["a"]}, "success": True}),
            ("process_completed", {"output": {"data": ["a"]}, "success": True}),
            ("process_completed", {"output": {}, "success": True}),
            ("process_completed", {"output": {"error": "no"}, "success": False}),
            ("process_completed", {"output": {"error": "", "retryable": True}, "success": False}),
        )
    ),
    _message(msg="heartbeat"),
    _message(msg="close_stream", event_id=None),
    _message(msg="unexpected_error", message="Session not found", session_not_found=True),
    _message(msg="unexpected_error", message="Server stopped unexpectedly."),
    _message(msg="unexpected_error", message="'e1'"),
    b"data: {nonsense}\n\n",
    b"data: [",
]


def _json(data: bytes) -> Any:
    try:
        return decode_value(data)
    except RemoteProtocolError:
        return None


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (sse, messages, diffs, schema, playlists, sessions)
}
