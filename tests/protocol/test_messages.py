"""Server messages: read tolerantly, whatever comes; values decoded only when asked."""

import contextlib
import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw, UnsetType
from strategies import Json, json_values

from jobwire.exceptions import RemoteProtocolError
from jobwire.protocol import messages
from jobwire.protocol.messages import (
    CloseStream,
    Estimation,
    Heartbeat,
    Log,
    Malformed,
    Message,
    Output,
    ProcessCompleted,
    ProcessGenerating,
    ProcessStarts,
    ProcessStreaming,
    Progress,
    QueueFull,
    SendData,
    SendHash,
    UnexpectedError,
    UnknownMessage,
    decode_message,
    decode_value,
    encode_message,
)
from jobwire.types import ProgressUnit

DATA = Raw(b'["a",{"b":[1,null]}]')

EXAMPLES: dict[str, Any] = {
    "estimation": Estimation("id", rank=2, queue_size=5, rank_eta=1.5),
    "estimation without eta": Estimation("id", rank=0, queue_size=1),
    "process_starts": ProcessStarts("id", eta=0.5),
    "progress": Progress(
        "id",
        [
            ProgressUnit(index=1, length=3, unit="steps", desc="outer"),
            ProgressUnit(progress=0.25),
        ],
    ),
    "log": Log("id", "<b>text</b>", "warning", duration=10.0, visible=False, title="Title"),
    "process_generating": ProcessGenerating(
        "id", Output(data=DATA, duration=0.5, is_generating=True), success=True, time_limit=1.0
    ),
    "process_streaming": ProcessStreaming("id", Output(data=DATA), success=True, time_limit=9.5),
    "process_completed": ProcessCompleted(
        "id", Output(data=DATA, is_generating=False), success=True
    ),
    "completed with an error": ProcessCompleted(
        "id",
        Output(error="it failed", duration=7.0, visible=False, title="Oops"),
        success=False,
        title="Oops",
    ),
    "completed with a hidden error": ProcessCompleted("id", Output(error=None), success=False),
    "completed as cancelled": ProcessCompleted("id", Output(), success=True),
    "heartbeat": Heartbeat(),
    "close_stream": CloseStream(),
    "send_hash": SendHash(),
    "send_data": SendData(event_id="e1"),
    "queue_full": QueueFull(),
    "unexpected_error": UnexpectedError(
        None, message="404: Not Found", session_not_found=True, success=False
    ),
}


CARRIERS = (ProcessGenerating, ProcessStreaming, ProcessCompleted)


def decode(**fields: Any) -> Message:
    return decode_message(json.dumps(fields).encode())


def values_of(message: Message) -> Any:
    assert isinstance(message, CARRIERS)
    assert not isinstance(message.output.data, UnsetType)
    return decode_value(message.output.data)


# -- every message there and back --


@pytest.mark.parametrize("message", EXAMPLES.values(), ids=EXAMPLES)
def test_message_is_read_back_as_it_was_written(message: Any) -> None:
    encoded = encode_message(message)
    assert b"\n" not in encoded
    assert decode_message(encoded) == message
    # Python's own writer spaces it out and orders it otherwise; that is the same.
    fields = json.loads(encoded)
    assert fields["msg"] == type(message).__struct_config__.tag
    again = decode_message(json.dumps(dict(reversed(fields.items()))).encode())
    if isinstance(message, CARRIERS):
        assert isinstance(again, type(message))
        if message.output.data is not UNSET:
            assert values_of(again) == values_of(message)
            again.output.data = message.output.data
        assert again == message
    else:
        assert again == message


def test_every_known_message_has_an_example() -> None:
    known = {
        value
        for value in vars(messages).values()
        if isinstance(value, type) and issubclass(value, msgspec.Struct)
        if value.__struct_config__.tag is not None and not value.__name__.startswith("_")
    }
    assert known == {type(example) for example in EXAMPLES.values()}


def test_unset_fields_are_not_written() -> None:
    assert b"error" not in encode_message(EXAMPLES["process_completed"])
    assert b'"data"' not in encode_message(EXAMPLES["completed as cancelled"])


# -- what servers of other versions send --


def test_missing_fields_have_defaults() -> None:
    assert decode(msg="estimation") == Estimation(None, None, None, None)
    assert decode(msg="process_starts", event_id="id") == ProcessStarts("id", None)
    assert decode(msg="log", log="x", level="info") == Log(None, "x", "info", None, True, None)
    completed = decode(msg="process_completed", event_id="id")
    assert completed == ProcessCompleted("id", Output(), None, None)
    assert isinstance(completed, ProcessCompleted)
    assert completed.output.data is UNSET
    assert completed.output.error is UNSET


@pytest.mark.parametrize(
    "extra",
    [{"new": 1}, {"new": {"msg": "heartbeat"}}, {"new": [None]}, {"nan": math.nan}],
    ids=str,
)
def test_unknown_fields_are_passed_over(extra: dict[str, Any]) -> None:
    assert decode(msg="process_starts", event_id="id", eta=1.5, **extra) == ProcessStarts("id", 1.5)
    completed = decode(
        msg="process_completed", event_id="id", output={"data": ["a"], **extra}, **extra
    )
    assert isinstance(completed, ProcessCompleted)
    assert values_of(completed) == ["a"]


def test_hidden_error_is_not_the_same_as_no_error() -> None:
    hidden = decode(msg="process_completed", output={"error": None}, success=False)
    assert isinstance(hidden, ProcessCompleted)
    assert hidden.output.error is None


@pytest.mark.parametrize("error", ["text", {"a": 1}, 5, ["x"]], ids=str)
def test_error_may_be_anything(error: object) -> None:
    message = decode(msg="process_completed", event_id="id", output={"error": error})
    assert isinstance(message, ProcessCompleted)
    assert message.output.error == error


def test_unknown_message_keeps_its_name_and_job() -> None:
    assert decode(msg="process_paused", event_id="id", more=1) == UnknownMessage(
        "process_paused", "id"
    )
    assert decode(msg="news") == UnknownMessage("news", None)
    assert decode(msg="news", event_id=5) == UnknownMessage("news", None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"msg": "estimation", "rank": "3"}, Estimation(rank=3)),
        ({"msg": "estimation", "rank": 3.0}, Estimation(rank=3)),
        ({"msg": "process_starts", "eta": "0.5"}, ProcessStarts(eta=0.5)),
        ({"msg": "process_starts", "eta": 2}, ProcessStarts(eta=2.0)),
        (
            {"msg": "unexpected_error", "session_not_found": "true"},
            UnexpectedError(session_not_found=True),
        ),
    ],
    ids=str,
)
def test_fields_of_a_wrong_type_are_read_where_they_make_sense(
    fields: dict[str, Any], message: Message
) -> None:
    assert decode(**fields) == message


@pytest.mark.parametrize(
    "fields",
    [
        {"msg": "estimation", "rank": "many"},
        {"msg": "estimation", "rank": 0.5},
        {"msg": "estimation", "rank": math.nan},
        {"msg": "process_starts", "eta": {}},
        {"msg": "progress", "progress_data": 1},
        {"msg": "progress", "progress_data": [{"index": "x"}]},
        {"msg": "log", "log": ["x"]},
        {"msg": "heartbeat", "event_id": {}},
    ],
    ids=str,
)
def test_news_that_make_no_sense_are_passed_over(fields: dict[str, Any]) -> None:
    assert decode(**fields) == UnknownMessage(fields["msg"], None)
    named = {**fields, "event_id": "id"}
    if "event_id" not in fields:
        assert decode(**named) == UnknownMessage(fields["msg"], "id")


@pytest.mark.parametrize("name", ["process_generating", "process_streaming", "process_completed"])
@pytest.mark.parametrize(
    "fields",
    [
        {"output": 5},
        {"output": ["a"]},
        {"success": "perhaps"},
    ],
    ids=str,
)
def test_values_that_make_no_sense_are_malformed_and_not_passed_over(
    name: str, fields: dict[str, Any]
) -> None:
    message = decode(msg=name, event_id="id", **fields)
    assert isinstance(message, Malformed)
    assert message.event_id == "id"
    assert isinstance(message.error, RemoteProtocolError)
    assert f"cannot read {name}" in str(message.error)


# -- JSON that is not quite JSON --


def test_values_stay_raw_until_they_are_asked_for() -> None:
    message = decode_message(b'{"msg":"process_completed","output":{"data": [1,  2 ] }}')
    assert isinstance(message, ProcessCompleted)
    assert message.output.data == Raw(b"[1,  2 ]")


def test_nan_and_infinities_are_read() -> None:
    message = decode(
        msg="process_completed",
        event_id="id",
        output={"data": [math.nan, math.inf, -math.inf, "a"], "duration": 0.5},
        success=True,
    )
    assert isinstance(message, ProcessCompleted)
    assert message.event_id == "id"
    assert message.output.duration == 0.5
    values = values_of(message)
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf, "a"]


def test_lone_surrogates_are_read() -> None:
    for name in ("process_generating", "process_streaming", "process_completed"):
        message = decode(msg=name, event_id="id", output={"data": ["\ud83d", {"\udc00": 1}]})
        assert isinstance(message, CARRIERS)
        assert values_of(message) == ["\ud83d", {"\udc00": 1}]
    assert decode(msg="log", log="\ud83d") == Log(log="\ud83d")
    error = decode(msg="process_completed", output={"error": "\ud83d"})
    assert isinstance(error, ProcessCompleted)
    assert error.output.error == "\ud83d"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"msg": "\ud83d", "event_id": "id"}, UnknownMessage("\ud83d", "id")),
        ({"msg": "estimation", "rank": "\ud83d"}, UnknownMessage("estimation")),
        ({"msg": "log", "log": "x", "event_id": "\ud83d"}, Log("\ud83d", "x")),
    ],
    ids=["name", "number", "event id"],
)
def test_lone_surrogates_in_odd_places_do_no_harm(fields: dict[str, Any], message: Message) -> None:
    assert decode(**fields) == message


def test_lone_surrogate_as_an_unknown_field_does_no_harm() -> None:
    assert decode(**{"msg": "heartbeat", "\ud83d": 1}) in (
        Heartbeat(),
        UnknownMessage("heartbeat"),
    )


@pytest.mark.parametrize(
    "name", [b"process_generating", b"process_streaming", b"process_completed"]
)
@pytest.mark.parametrize("damage", [b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xe2\x9c"])
def test_values_that_are_no_utf8_are_malformed_with_their_job(name: bytes, damage: bytes) -> None:
    event = b'{"msg":"%s","event_id":"id","other":"%s","output":{"data":["a"]}}' % (name, damage)
    message = decode_message(event)
    if not isinstance(message, Malformed):
        # Where nobody looks, damage does no harm; what was meant for callers is intact.
        assert isinstance(message, CARRIERS)
        assert values_of(message) == ["a"]
    event = b'{"msg":"%s","event_id":"id","output":{"error":"a%s"}}' % (name, damage)
    message = decode_message(event)
    assert isinstance(message, Malformed)
    assert message.event_id == "id"
    assert message.error.event_id == "id"
    assert "not valid UTF-8" in str(message.error)


@pytest.mark.parametrize("damage", [b"\xff", b"\xc3(", b"\xed\xa0\x80"])
def test_damaged_values_are_found_at_the_latest_when_they_are_decoded(damage: bytes) -> None:
    event = b'{"msg":"process_completed","event_id":"id","output":{"data":["a%s"]}}' % damage
    message = decode_message(event)
    if isinstance(message, ProcessCompleted):
        with pytest.raises(RemoteProtocolError, match="not valid UTF-8"):
            values_of(message)
    else:
        assert isinstance(message, Malformed)
        assert message.event_id == "id"


def test_damage_in_news_is_mended() -> None:
    assert decode_message(b'{"msg":"log","event_id":"id","log":"a\xff"}') == Log("id", "a\ufffd")


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"no json", b'{"msg":"heartbeat"', b'{"msg":"heartbeat"} x', b"\xff\xfe"),
        *(b"\0", b"9" * 5000),
    ],
    ids=["empty", "brace", "words", "cut", "more", "UTF-16", "NUL", "a number too long to read"],
)
def test_what_is_no_json_is_malformed(data: bytes) -> None:
    message = decode_message(data)
    assert isinstance(message, Malformed)
    assert message.event_id is None
    assert "no JSON" in str(message.error)


@pytest.mark.parametrize("value", [None, True, 5, "heartbeat", [], ["msg"], {}], ids=repr)
def test_json_without_a_message_is_malformed(value: object) -> None:
    message = decode_message(json.dumps(value).encode())
    assert isinstance(message, Malformed)
    assert "no 'msg'" in str(message.error)


@pytest.mark.parametrize("name", [None, 5, True, ["heartbeat"], {}], ids=repr)
def test_name_that_is_no_text_is_malformed(name: object) -> None:
    message = decode(msg=name, event_id="id")
    assert isinstance(message, Malformed)
    assert "no 'msg'" in str(message.error)


@pytest.mark.parametrize("depth", [500, 5_000, 200_000])
def test_deep_nesting_is_an_answer_like_any_other(depth: int) -> None:
    nest = b"[" * depth + b"]" * depth
    for event in (
        nest,
        b'{"msg":"heartbeat","x":%s}' % nest,
        b'{"msg":"process_completed","event_id":"id","output":{"error":%s}}' % nest,
        b'{"msg":"process_completed","event_id":"id","output":{"data":%s}}' % nest,
        b'{"msg":"process_completed","event_id":"id","output":{"data":[NaN,%s]}}' % nest,
    ):
        message = decode_message(event)
        if isinstance(message, ProcessCompleted):
            assert message.event_id == "id"
        else:
            assert isinstance(message, (Malformed, Heartbeat))


def test_long_events_are_quoted_in_part() -> None:
    message = decode_message(b"x" * 10_000)
    assert isinstance(message, Malformed)
    assert len(str(message.error)) < 500


# -- decoding values --


@pytest.mark.parametrize("kind", [bytes, Raw])
def test_raw_values_are_decoded(kind: type[bytes] | type[Raw]) -> None:
    assert decode_value(kind(b'["a", {"b": [1, null, true, 2.5]}]')) == [
        "a",
        {"b": [1, None, True, 2.5]},
    ]
    assert decode_value(kind(b'["\\ud83d", 1e999, -Infinity]')) == ["\ud83d", math.inf, -math.inf]
    assert decode_value(kind(b"[123456789012345678901234567890]")) == [
        123456789012345678901234567890
    ]


@pytest.mark.parametrize("value", [None, True, 5, "[1]", ["a"], {"b": 1}], ids=repr)
def test_decoded_values_are_returned_as_they_are(value: Any) -> None:
    assert decode_value(value) is value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "no JSON"),
        (b"[1,", "no JSON"),
        (b"words", "no JSON"),
        (b"9" * 5000, "no JSON"),
        (b"[" * 200_000 + b"]" * 200_000, "no JSON"),
        (b'"\xff"', "not valid UTF-8"),
        (b"\xff\xfe[\0]\0", "not valid UTF-8"),
    ],
    ids=["empty", "cut", "words", "too long", "too deep", "no UTF-8", "UTF-16"],
)
def test_values_that_cannot_be_decoded_are_the_servers_fault(value: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why) as caught:
        decode_value(value)
    assert len(str(caught.value)) < 500


# -- whatever comes --


@given(json_values(nan=True), st.booleans())
def test_any_value_is_read_back(value: Json, escaped: bool) -> None:
    encoded = json.dumps(value, ensure_ascii=escaped).encode()
    assert repr(decode_value(encoded)) == repr(value)
    message = decode_message(b'{"msg":"process_completed","output":{"data":%s}}' % encoded)
    assert isinstance(message, ProcessCompleted)
    assert repr(values_of(message)) == repr(value)


FIELDS = [
    *("event_id", "rank", "queue_size", "rank_eta", "eta", "progress_data", "log", "level"),
    *("duration", "visible", "title", "output", "success", "time_limit", "message"),
    *("session_not_found", "data", "error", "is_generating", "index"),
]

wild_text = st.text(st.sampled_from("a1\u00e9\ud83d\udc00"), max_size=4)

odd_values = json_values(text=wild_text, nan=True, leaves=6) | st.sampled_from(
    [{"data": [1]}, {"error": "x"}, [{"index": 1}], {"is_generating": 1}]
)
odd_messages = st.builds(
    lambda name, fields: {"msg": name, **fields},
    st.sampled_from([type(example).__struct_config__.tag for example in EXAMPLES.values()])
    | odd_values,
    st.dictionaries(st.sampled_from(FIELDS) | wild_text, odd_values, max_size=5),
)


@given(odd_messages, st.booleans())
def test_any_fields_of_any_message_are_answered(fields: dict[str, Any], escaped: bool) -> None:
    event = json.dumps(fields, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    message = decode_message(event)
    name, event_id = fields["msg"], fields.get("event_id")
    if not isinstance(name, str):
        assert isinstance(message, Malformed)
    elif escaped and isinstance(event_id, str):
        assert message.event_id == event_id
    if isinstance(name, str) and name.startswith("process_") and name != "process_starts":
        # The end of a job may hang on it.
        assert escaped is False or not isinstance(message, UnknownMessage)


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.lists(
        st.sampled_from([b'{"msg":"', b"process_completed", b'","output":{"data":', b"[", b"]"])
        | st.sampled_from([b"{", b"}", b'"', b",", b"NaN", b"\\ud800", b"\xff", b"1", b" "]),
        max_size=12,
    ).map(b"".join)
)
def test_any_bytes_are_answered(data: bytes) -> None:
    message = decode_message(data)
    assert isinstance(message, msgspec.Struct)
    with contextlib.suppress(RemoteProtocolError):
        decode_value(data)


@given(json_values().filter(lambda value: isinstance(value, list)))
def test_lenient_reading_gives_the_same_as_strict_reading(value: Json) -> None:
    """An unknown NaN beside them must not change what values are."""
    fields: dict[str, Any] = {"msg": "process_completed", "event_id": "id"}
    strict = decode(**fields, output={"data": value})
    lenient = decode(**fields, output={"data": value}, rank=math.nan)
    assert isinstance(strict, ProcessCompleted)
    assert isinstance(lenient, ProcessCompleted)
    assert isinstance(strict.output.data, Raw)
    assert not isinstance(lenient.output.data, Raw)
    assert values_of(strict) == values_of(lenient)


@pytest.mark.parametrize(
    ("output", "data", "error"),
    [
        ({"data": ["x"], "duration": "long"}, ["x"], UNSET),
        ({"data": ["x"], "visible": None, "title": 7}, ["x"], UNSET),
        ({"error": "boom", "visible": None, "duration": "long"}, UNSET, "boom"),
    ],
)
def test_odd_trimmings_do_not_hide_the_end_of_a_job(
    output: dict[str, object], data: object, error: object
) -> None:
    fields = {"msg": "process_completed", "event_id": "a", "output": output, "success": True}
    message = decode_message(json.dumps(fields).encode())
    assert isinstance(message, ProcessCompleted)
    assert message.event_id == "a"
    assert message.output.data == data
    assert message.output.error == error


def test_odd_trimmings_do_not_hide_the_end_of_a_stream() -> None:
    fields = {"msg": "unexpected_error", "message": {"a": 1}, "session_not_found": None}
    message = decode_message(json.dumps(fields).encode())
    assert isinstance(message, UnexpectedError)
    assert "a" in (message.message or "")
    assert not message.session_not_found
