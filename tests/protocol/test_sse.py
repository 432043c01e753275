"""Server-sent events: every way to write and to cut a stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import cuts

from jobwire.exceptions import RemoteProtocolError
from jobwire.protocol.limits import MAX_EVENT_SIZE
from jobwire.protocol.sse import ServerSentEvent, SSEParser, encode_event

BOM = b"\xef\xbb\xbf"


def parse(*pieces: bytes) -> list[ServerSentEvent]:
    parser = SSEParser()
    return [event for piece in pieces for event in parser.feed(piece)]


def byte_by_byte(stream: bytes) -> list[ServerSentEvent]:
    return parse(*(bytes([byte]) for byte in stream))


def data_of(stream: bytes) -> list[bytes]:
    """Return the events' data, after checking that the way of cutting does not matter."""
    events = parse(stream)
    assert byte_by_byte(stream) == events
    return [event.data for event in events]


# -- lines --


@pytest.mark.parametrize(
    "stream",
    [
        b"data: a\n\ndata: b\n\n",
        b"data: a\r\rdata: b\r\r",
        b"data: a\r\n\r\ndata: b\r\n\r\n",
        b"data: a\n\r\ndata: b\r\r\n",
        b"data: a\r\n\ndata: b\n\r",
        b"data: a\r\n\rdata: b\r\n\n",
    ],
    ids=["LF", "CR", "CRLF", "LF CRLF", "CRLF LF", "CRLF CR"],
)
def test_lines_end_in_any_way(stream: bytes) -> None:
    assert data_of(stream) == [b"a", b"b"]


@pytest.mark.parametrize("end", [b"\x0b", b"\x0c", b"\x1c", b"\xc2\x85", b"\xe2\x80\xa8"])
def test_nothing_else_ends_a_line(end: bytes) -> None:
    assert data_of(b"data: a" + end + b"data: b\n\n") == [b"a" + end + b"data: b"]


def test_lf_in_the_next_piece_belongs_to_the_cr() -> None:
    assert parse(b"data: a\r", b"\n", b"\r", b"\ndata: b\r\n\r\n") == parse(
        b"data: a\n\ndata: b\n\n"
    )


def test_empty_pieces_between_cr_and_lf_change_nothing() -> None:
    assert [event.data for event in parse(b"data: a\r", b"", b"\n", b"", b"\n")] == [b"a"]


def test_event_without_its_blank_line_is_not_given() -> None:
    assert data_of(b"data: a\n") == []
    assert data_of(b"data: a\n\ndata: b\n") == [b"a"]


def test_blank_lines_alone_are_no_events() -> None:
    assert data_of(b"\n\n\r\r\r\n\r\n") == []


# -- the byte order mark --


def test_byte_order_mark_at_the_start_is_no_part_of_the_stream() -> None:
    assert data_of(BOM + b"data: a\n\n") == [b"a"]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_byte_order_mark_can_be_cut(cut: int) -> None:
    stream = BOM + b"data: a\n\n"
    assert parse(stream[:cut], b"", stream[cut:]) == [ServerSentEvent(b"a")]


def test_only_the_first_byte_order_mark_counts() -> None:
    assert data_of(BOM + BOM + b"data: a\n\ndata: b\n\n") == [b"b"]
    assert data_of(b"data: a\n\n" + BOM + b"data: b\n\n") == [b"a"]


@pytest.mark.parametrize("start", [BOM[:1], BOM[:2]])
def test_half_a_byte_order_mark_is_a_name_that_nobody_knows(start: bytes) -> None:
    assert data_of(start + b"data: a\ndata: b\n\n") == [b"b"]


def test_stream_that_starts_with_nothing() -> None:
    assert parse(b"", b"", b"data: a\n\n") == [ServerSentEvent(b"a")]


# -- fields --


def test_comments_are_passed_over() -> None:
    assert data_of(b": ping\ndata: a\n:\n:data: b\n\n: ping\n\n") == [b"a"]


def test_data_lines_are_joined_by_lf() -> None:
    assert data_of(b"data: a\r\ndata: b\rdata:\ndata: c\n\n") == [b"a\nb\n\nc"]


@pytest.mark.parametrize("line", [b"data:", b"data: ", b"data"])
def test_empty_data_is_an_event(line: bytes) -> None:
    assert data_of(line + b"\n\n") == [b""]


def test_two_empty_data_lines_are_one_line_break() -> None:
    assert data_of(b"data\ndata\n\n") == [b"\n"]


@pytest.mark.parametrize(
    ("line", "data"),
    [(b"data:a", b"a"), (b"data: a", b"a"), (b"data:  a", b" a"), (b"data:\ta ", b"\ta ")],
)
def test_one_space_after_the_colon_is_dropped(line: bytes, data: bytes) -> None:
    assert data_of(line + b"\n\n") == [data]


def test_colons_in_values_are_kept() -> None:
    assert data_of(b'data: {"a": "b: c"}\n\n') == [b'{"a": "b: c"}']


@pytest.mark.parametrize("line", [b"Data: a", b" data: a", b"data : a", b"dataa: a", b"x"])
def test_unknown_fields_are_passed_over(line: bytes) -> None:
    assert data_of(line + b"\n\n") == []


def test_event_type_is_of_one_event_only() -> None:
    stream = b"event: a\nevent: b\ndata: 1\n\ndata: 2\n\n"
    assert parse(stream) == [ServerSentEvent(b"1", "b"), ServerSentEvent(b"2", "")]


def test_event_type_without_data_is_forgotten() -> None:
    assert parse(b"event: a\n\ndata: 1\n\n") == [ServerSentEvent(b"1", "")]


def test_id_stays_until_the_next() -> None:
    stream = b"id: 1\ndata: a\n\ndata: b\n\nid: 2\n\ndata: c\n\nid\ndata: d\n\n"
    assert [event.id for event in parse(stream)] == ["1", "1", "2", ""]


def test_id_with_a_nul_is_ignored() -> None:
    assert parse(b"id: 1\nid: 2\0\ndata: a\n\n") == [ServerSentEvent(b"a", "", "1")]


def test_names_that_are_no_utf8_are_mended() -> None:
    assert parse(b"event: a\xff\nid: \xfe\ndata: \xff\n\n") == [
        ServerSentEvent(b"\xff", "a\ufffd", "\ufffd")
    ]


@pytest.mark.parametrize(
    ("value", "retry"),
    [
        (b"1500", 1500),
        (b"0", 0),
        (b"", None),
        (b"-1", None),
        (b"1.5", None),
        (b"1 ", None),
        (b"soon", None),
        ("٣".encode(), None),
    ],
)
def test_retry_is_digits_or_nothing(value: bytes, retry: int | None) -> None:
    parser = SSEParser()
    assert parser.retry is None
    assert parser.feed(b"retry: " + value + b"\n\n") == []
    assert parser.retry == retry


def test_retry_of_absurd_length_does_no_harm() -> None:
    assert parse(b"retry: " + b"9" * 5000 + b"\ndata: a\n\n") == [ServerSentEvent(b"a")]


# -- the limit --


def limited(size: int) -> SSEParser:
    return SSEParser(max_event_size=size)


def test_limit_leaves_room_for_large_results() -> None:
    assert MAX_EVENT_SIZE >= 2**24
    data = b"x" * 2**20
    assert SSEParser().feed(b"data: " + data + b"\n\n")[0].data == data


def test_event_of_the_limits_size_passes() -> None:
    assert limited(10).feed(b"data: 0123456789\n\n") == [ServerSentEvent(b"0123456789")]


def test_event_of_the_limits_size_passes_cut_anywhere() -> None:
    parser = limited(10)
    stream = b"data: 0123456789\n\n"
    events = [event for byte in stream for event in parser.feed(bytes([byte]))]
    assert events == [ServerSentEvent(b"0123456789")]


@pytest.mark.parametrize(
    "pieces",
    [
        (b"data: 0123456789a\n\n",),
        (b"data: 0123456789a",),
        (b"data: 0123456789a\n",),
        (b"data: 01234\ndata: 56789a\n\n",),
        (b"data: 01234\n", b"data: 56789a\n"),
        (b"data: 0123", b"456789abcde"),
        (b"data: 012\n", b"data", b": 345678901"),
        (b"data\n" * 4, b"data: 0123456789a\n"),
    ],
    ids=[
        "in one piece",
        "without an end",
        "without a blank line",
        "in two lines",
        "in lines",
        "in pieces",
        "in lines and pieces",
        "after empty lines",
    ],
)
def test_event_over_the_limit_is_an_error_for_good(pieces: tuple[bytes, ...]) -> None:
    parser = limited(10)
    for piece in pieces[:-1]:
        assert parser.feed(piece) == []
    with pytest.raises(RemoteProtocolError, match=r"larger than 10 bytes.*max_event_size"):
        parser.feed(pieces[-1])
    with pytest.raises(RemoteProtocolError, match="larger than 10 bytes"):
        parser.feed(b"data: a\n\n")


@pytest.mark.parametrize(
    "tail",
    [b"data: 0123456789a\n\ndata: c\n\n", b"data: 0123456789a\n", b"data: 0123456789a"],
    ids=["whole", "a line", "part of a line"],
)
def test_events_before_one_over_the_limit_are_given_first(tail: bytes) -> None:
    parser = limited(10)
    assert parser.feed(b"data: a\n\ndata: b\n\n" + tail) == [
        ServerSentEvent(b"a"),
        ServerSentEvent(b"b"),
    ]
    with pytest.raises(RemoteProtocolError, match="larger than 10 bytes"):
        parser.feed(b"")


def test_limit_is_for_one_event_not_for_the_stream() -> None:
    parser = limited(10)
    for _ in range(20):
        assert parser.feed(b"data: 012345\n\n") == [ServerSentEvent(b"012345")]
        assert parser.feed(b"data: 0") == []
        assert parser.feed(b"12") == []
        assert parser.feed(b"34\n\n") == [ServerSentEvent(b"01234")]


def test_limit_does_not_depend_on_how_much_arrives_together() -> None:
    """The events of a piece count one by one, and so does what is still to be ended."""
    parser = limited(16)
    assert parser.feed(b"data: 0123456789\n\ndata: 012") == [ServerSentEvent(b"0123456789")]
    assert parser.feed(b"3\n\n") == [ServerSentEvent(b"0123")]


def test_limit_holds_for_a_line_that_is_no_data() -> None:
    parser = limited(10)
    with pytest.raises(RemoteProtocolError, match="larger than 10 bytes"):
        parser.feed(b": a comment without an end")


def test_limit_holds_for_lines_without_data() -> None:
    parser = limited(10)
    lines = b"data\n" * 1000
    with pytest.raises(RemoteProtocolError, match="larger than 10 bytes"):
        parser.feed(lines)


# -- encoding --


def test_encoded_event_is_what_gradio_sends() -> None:
    assert encode_event(b'{"msg":"heartbeat"}') == b'data: {"msg":"heartbeat"}\n\n'


def test_encoded_event_has_its_fields_in_order() -> None:
    assert (
        encode_event("a\nb", event="generating", id="7", retry=1500)
        == b"event: generating\nid: 7\nretry: 1500\ndata: a\ndata: b\n\n"
    )


def test_encoded_event_of_nothing_is_an_event() -> None:
    assert parse(encode_event()) == [ServerSentEvent(b"")]


def test_encoded_retry_of_zero_is_sent() -> None:
    parser = SSEParser()
    parser.feed(encode_event(retry=0))
    assert parser.retry == 0


@pytest.mark.parametrize("value", ["a\nb", "a\r", "\r\n", "\0"])
@pytest.mark.parametrize("field", ["event", "id"])
def test_names_with_line_breaks_cannot_be_encoded(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must not have a line break"):
        encode_event("data", **{field: value})  # type: ignore[arg-type]


names = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


@given(st.text(st.sampled_from("a: \r\n\x0b\u2028\ufeff✓")) | st.text(), names, names)
def test_encoded_events_are_read_back(text: str, event: str, id: str) -> None:
    stream = encode_event(text, event=event, id=id)
    expected = text.replace("\r\n", "\n").replace("\r", "\n").encode()
    assert parse(stream) == [ServerSentEvent(expected, event, id)]
    assert encode_event(text.encode(), event=event, id=id) == stream


# -- any stream, cut anywhere --

streams = st.lists(
    st.sampled_from(
        [
            *(b"data", b"event", b"id", b"retry", b":", b": ", b" ", b"\n", b"\r", b"\r\n"),
            *(b"\n\n", BOM, BOM[:1], BOM[1:], b"\0", b"1", b"a", b"\xff", "✓".encode()),
        ]
    ),
    max_size=40,
).map(b"".join)


@given(st.data(), streams | st.binary())
def test_cuts_do_not_matter(data: st.DataObject, stream: bytes) -> None:
    events = parse(stream)
    assert byte_by_byte(stream) == events
    assert parse(*data.draw(cuts(stream))) == events


@given(streams)
def test_line_ends_do_not_matter(stream: bytes) -> None:
    stream = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events = parse(stream)
    assert parse(stream.replace(b"\n", b"\r\n")) == events
    assert parse(stream.replace(b"\n", b"\r")) == events


@given(st.data(), streams)
def test_events_never_hold_more_than_the_limit(data: st.DataObject, stream: bytes) -> None:
    parser = limited(8)
    events: list[ServerSentEvent] = []
    expected = parse(stream)
    try:
        for piece in data.draw(cuts(stream)):
            events += parser.feed(piece)
    except RemoteProtocolError:
        pass
    assert events == expected[: len(events)]
    assert all(len(event.data) <= 8 + event.data.count(b"\n") for event in events)
