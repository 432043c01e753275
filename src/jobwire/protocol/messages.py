"""What a server says of its jobs: one struct for each message.

Servers of every version add fields and messages, so unknown fields are ignored, an
unknown message is an `UnknownMessage`, and a field of an unexpected type does not
hide the end of a job. Wire reference: gradio's ``server_messages.py``.

Output values are left as raw JSON until somebody wants them. Routing a message then
costs the same whether it carries ten bytes or ten megabytes.
"""

from __future__ import annotations

import json
import reprlib
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from jobwire.exceptions import RemoteProtocolError, shown
from jobwire.types import ProgressUnit

__all__ = (
    "CloseStream",
    "Estimation",
    "Failure",
    "Heartbeat",
    "Log",
    "Malformed",
    "Message",
    "Output",
    "ProcessCompleted",
    "ProcessGenerating",
    "ProcessStarts",
    "ProcessStreaming",
    "Progress",
    "QueueFull",
    "SendData",
    "SendHash",
    "UnexpectedError",
    "UnknownMessage",
    "decode_message",
    "decode_value",
    "encode_message",
    "encode_value",
)

Value: TypeAlias = Raw | bytes | list[Any] | dict[str, Any] | str | float | bool | None
"""JSON that is still to be decoded, or what it decodes to."""


class Output(Struct, omit_defaults=True):
    """The ``output`` of a message: values, or an error.

    Attributes:
        data: One value for each of the endpoint's outputs, as raw JSON for
            `decode_value`; UNSET if the message has none, as a cancelled job's.
        error: The app's error text, None if the app hides it, UNSET if there was no
            error.
        duration: Seconds of this step; for an app's error, seconds to show it.
        visible: For an error: whether the web page shows it.
        title: For an error: its heading.
        retryable: For an error: it was not the function's, which the server could not bring
            to its end (jobwire's own servers, after a crash).
        is_generating: Whether more outputs may follow.
        render_config: What the function has rendered anew, as raw JSON: components and
            endpoints of its own (since 4.31); null or UNSET for most.
    """

    data: Raw | UnsetType = UNSET
    error: Any = UNSET
    duration: float | None = None
    visible: bool = True
    title: str | None = None
    retryable: bool = False
    is_generating: bool | None = None
    render_config: Raw | UnsetType = UNSET


class Failure(Struct):
    """The ``output`` of a failed job, as a server writes it: every field is there.

    Fields as those of `Output`.
    """

    error: str | None
    duration: float | None
    visible: bool
    title: str | None


class _Message(Struct, tag_field="msg"):
    event_id: str | None = None


class Estimation(_Message, tag="estimation"):
    """The job waits: ``rank`` others are ahead of it in a queue of ``queue_size``."""

    rank: int | None = None
    queue_size: int | None = None
    rank_eta: float | None = None


class ProcessStarts(_Message, tag="process_starts"):
    """The job runs. ``eta``: mean seconds that the function took so far."""

    eta: float | None = None


class Progress(_Message, tag="progress"):
    """The app's progress bars, outermost first."""

    progress_data: list[ProgressUnit] | None = None


class Log(_Message, tag="log"):
    """A line that the app wrote for its caller; may hold HTML or Markdown."""

    log: str = ""
    level: str = "info"
    duration: float | None = None
    visible: bool = True
    title: str | None = None


class ProcessGenerating(_Message, tag="process_generating"):
    """An output. From the second on, servers since 4.17 send edits (see `diff`)."""

    output: Output = msgspec.field(default_factory=Output)
    success: bool | None = None
    time_limit: float | None = None


class ProcessStreaming(_Message, tag="process_streaming"):
    """An output of an endpoint that takes a stream of inputs; never edits."""

    output: Output = msgspec.field(default_factory=Output)
    success: bool | None = None
    time_limit: float | None = None


class ProcessCompleted(_Message, tag="process_completed"):
    """The end of the job. Its values are whole, never edits.

    A `Failure` is only written; what is read is an `Output`.
    """

    output: Output = msgspec.field(default_factory=Output)
    success: bool | None = None
    title: str | None = None


class SendHash(_Message, tag="send_hash"):
    """Before 4.0: who is there, and for which function?"""


class SendData(_Message, tag="send_data"):
    """Before 4.9: it is the job's turn, and the server wants its arguments."""


class QueueFull(_Message, tag="queue_full"):
    """Before 4.9: the queue takes no more; the connection ends."""


class Heartbeat(_Message, tag="heartbeat"):
    """The connection lives; nothing else happened."""


class CloseStream(_Message, tag="close_stream"):
    """The server is about to end the stream in the ordinary way."""


class UnexpectedError(_Message, tag="unexpected_error"):
    """Something went wrong outside any function; usually concerns the whole stream."""

    message: str | None = None
    session_not_found: bool = False
    success: bool | None = None


class UnknownMessage(Struct):
    """A message that this version does not know, or whose fields make no sense."""

    msg: str
    event_id: str | None = None


class Malformed(Struct):
    """Something that could not be understood, though a job's end may hang on it.

    Attributes:
        error: What is wrong with it.
        event_id: The job that it was for; None if not even that could be read.
    """

    error: RemoteProtocolError
    event_id: str | None = None


_Known: TypeAlias = (
    Estimation
    | ProcessStarts
    | Progress
    | Log
    | ProcessGenerating
    | ProcessStreaming
    | ProcessCompleted
    | SendHash
    | SendData
    | QueueFull
    | Heartbeat
    | CloseStream
    | UnexpectedError
)
Message: TypeAlias = _Known | UnknownMessage | Malformed

# The jobs' values live in these; a message of another kind that cannot be read is
# only news, and does no harm when it is passed over.
_CARRIERS = frozenset({"process_generating", "process_streaming", "process_completed"})

# What msgspec raises, for lone surrogates and for nesting deeper than the stack, too.
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)

_decoder: msgspec.json.Decoder[_Known] = msgspec.json.Decoder(_Known)
_encoder = msgspec.json.Encoder()


def decode_message(data: bytes) -> Message:
    """Decode one message: the data of an event, or what a WebSocket carried.

    Never raises: what cannot be decoded is returned as `UnknownMessage` or
    `Malformed`.
    """
    try:
        return _decoder.decode(data)
    except _UNREADABLE as error:
        return _decode_leniently(data, error)


def _decode_leniently(data: bytes, error: Exception) -> Message:
    # Reached by messages that are new or odd, and by JSON that Python writes and
    # strict parsers refuse: NaN, Infinity, lone surrogates. ``json`` reads all those.
    try:
        fields = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as exc:
        return Malformed(
            RemoteProtocolError(f"an event of the stream is no JSON ({exc}): {shown(data)}")
        )
    name = fields.get("msg") if isinstance(fields, dict) else None
    if not isinstance(name, str):
        return Malformed(RemoteProtocolError(f"an event of the stream has no 'msg': {shown(data)}"))
    event_id = fields.get("event_id")
    if not isinstance(event_id, str):
        event_id = None
    if name in _CARRIERS and not _is_utf8(data):
        return Malformed(_invalid_utf8(name, event_id), event_id)
    values: Any = UNSET
    output = fields.get("output")
    if name in _CARRIERS and isinstance(output, dict):
        values = output.pop("data", UNSET)
    message = _convert(fields)
    if message is None and (essentials := _essentials(fields, name, event_id)):
        message = _convert(essentials)
    if message is None:
        if name in _CARRIERS:
            return Malformed(
                RemoteProtocolError(f"cannot read {name} ({error}): {shown(data)}"), event_id
            )
        return UnknownMessage(name, event_id)
    if values is not UNSET and isinstance(
        message, (ProcessGenerating, ProcessStreaming, ProcessCompleted)
    ):
        message.output.data = values
    return message


def _convert(fields: dict[str, Any]) -> _Known | None:
    try:
        message: _Known = msgspec.convert(fields, _Known, strict=False)
    except _UNREADABLE:
        return None
    return message


def _essentials(fields: dict[str, Any], name: str, event_id: str | None) -> dict[str, Any]:
    """Return what counts of a message that ends something; empty for all others."""
    same = {"msg": name, "event_id": event_id}
    if name == "unexpected_error":
        return same | {
            "message": shown(reprlib.repr(fields.get("message"))),
            "session_not_found": fields.get("session_not_found") is True,
        }
    output = fields.get("output")
    if name in _CARRIERS and isinstance(output, dict):
        return same | {
            "success": fields.get("success") is not False,
            "output": {key: output[key] for key in ("error",) if key in output},
        }
    return {}


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _invalid_utf8(name: str, event_id: str | None) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"the values of {name} are not valid UTF-8; the app, or a proxy on the way, "
        "has damaged them",
        event_id=event_id,
    )


def decode_value(value: Value) -> Any:
    """Decode raw JSON from a message; what is decoded already is returned as it is.

    NaN and infinities become floats, lone surrogates stay as they are.

    Raises:
        RemoteProtocolError: It is no JSON, or not UTF-8.
    """
    if not isinstance(value, (bytes, Raw)):
        return value
    try:
        return msgspec.json.decode(value)
    except _UNREADABLE as error:
        data = bytes(value)
        try:
            return json.loads(data.decode())
        except UnicodeDecodeError:
            raise _invalid_utf8("the message", None) from None
        except (ValueError, RecursionError):
            raise RemoteProtocolError(
                f"the values of a message are no JSON ({error}): {shown(data)}"
            ) from None


def encode_message(message: _Known) -> bytes:
    """Encode a message as a server does: compact JSON, ready for an event's data."""
    return _encoder.encode(message)


def encode_value(value: Any) -> bytes:
    """Encode a JSON value: compact; NaN and infinities become null.

    Raises:
        TypeError: It is no JSON value.
    """
    try:
        return _encoder.encode(value)
    except OverflowError:  # integers of more than 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
