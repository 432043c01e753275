"""The log of a job's outputs: any number of readers, each sees everything, cheaply."""

import gc
import json
import tracemalloc
from typing import Any

import pytest
from msgspec import Raw

from jobwire.exceptions import RemoteProtocolError
from jobwire.protocol.messages import Log, ProcessGenerating, decode_message
from jobwire.protocol.outputs import OutputCursor, OutputLog
from jobwire.types import OutputUpdate

INFO = Log("id", "hello", "info")
WARNING = Log("id", "careful", "warning")


def bare(values: list[Any]) -> Any:
    return values[0]


def make_log(*steps: Any, diffs: bool = True) -> OutputLog:
    """Return a log of an endpoint with one output; steps are what the wire carries."""
    log = OutputLog(diffs=diffs, present=bare)
    for step in steps:
        if isinstance(step, Log):
            log.append_log(step)
        else:
            log.append(step)
    return log


def growing(steps: int) -> list[Any]:
    return [["a"], *[[[["append", [], "a"]]]] * (steps - 1)]


def read(log: OutputLog, *, with_result: bool = False) -> list[Any]:
    return read_on(OutputCursor(log, with_result=with_result))


def read_on(cursor: OutputCursor) -> list[Any]:
    entries = []
    while (entry := cursor.next()) is not None:
        entries.append(entry)
    return entries


def values(entries: list[Any]) -> list[Any]:
    return [entry.outputs for entry in entries if isinstance(entry, OutputUpdate)]


# -- readers --


def test_new_log_is_empty_and_open() -> None:
    log = make_log()
    assert read(log) == []
    assert log.outputs() == []
    assert log.result is None
    assert log.last_log is None


def test_outputs_and_log_lines_come_in_order() -> None:
    log = make_log(INFO, ["a"], WARNING, [[["append", [], "b"]]])
    assert read(log) == [INFO, OutputUpdate("a"), WARNING, OutputUpdate("ab")]
    assert log.outputs() == ["a", "ab"]
    assert log.last_log == ("careful", "warning")


def test_readers_do_not_disturb_each_other() -> None:
    log = make_log(*growing(3))
    first, second = OutputCursor(log), OutputCursor(log)
    assert first.next() == OutputUpdate("a")
    assert first.next() == OutputUpdate("aa")
    assert second.next() == OutputUpdate("a")
    assert first.next() == OutputUpdate("aaa")
    assert first.next() is None
    assert second.next() == OutputUpdate("aa")
    assert values(read_on(second)) == ["aaa"]


def test_reader_goes_on_when_more_comes() -> None:
    log = make_log(["a"])
    cursor = OutputCursor(log)
    assert values(read_on(cursor)) == ["a"]
    log.append([[["append", [], "b"]]])
    log.append_log(INFO)
    assert read_on(cursor) == [OutputUpdate("ab"), INFO]
    log.finish(["ab"])
    assert read_on(cursor) == []
    assert cursor.next() is None


def test_late_reader_sees_everything_from_the_first_on() -> None:
    log = make_log(*growing(3))
    log.finish(["aaa"])
    assert values(read(log)) == ["a", "aa", "aaa"]
    assert log.outputs() == ["a", "aa", "aaa"]


@pytest.mark.parametrize("kind", [bytes, Raw])
def test_raw_outputs_are_decoded_when_they_are_read(kind: Any) -> None:
    log = make_log(kind(b'["na\xc3\xafve"]'), kind(b'[[["append",[],"!"]]]'))
    log.finish(kind(b'["na\xc3\xafve!"]'))
    assert log.outputs() == ["naïve", "naïve!"]
    assert log.result == "naïve!"


def test_values_are_presented_as_callers_see_them() -> None:
    log = OutputLog(diffs=True, present=lambda values: tuple(values[1:]))
    log.append(["hidden", "a", 1])
    log.append([[], [["append", [], "b"]], []])
    log.finish(["hidden", "ab", 2])
    assert log.outputs() == [("a", 1), ("ab", 1)]
    assert log.result == ("ab", 2)


def test_values_share_what_an_edit_did_not_touch() -> None:
    log = make_log([{"kept": [1], "changed": []}], [[["add", ["changed", 0], 2]]])
    first, second = log.outputs()
    assert first == {"kept": [1], "changed": []}
    assert second == {"kept": [1], "changed": [2]}
    assert first["kept"] is second["kept"]


# -- the result --


def test_result_of_a_generator_is_left_out_for_it_was_an_output() -> None:
    log = make_log(["a"], ["b"], diffs=False)
    log.finish(["b"])
    assert read(log) == [OutputUpdate("a"), OutputUpdate("b")]
    assert log.result == "b"


def test_result_is_given_to_readers_that_want_it() -> None:
    log = make_log(["a"], WARNING, diffs=False)
    log.finish(["b"])
    assert read(log, with_result=True) == [
        OutputUpdate("a"),
        WARNING,
        OutputUpdate("b", final=True),
    ]


@pytest.mark.parametrize("with_result", [False, True])
def test_result_alone_is_the_only_output(with_result: bool) -> None:
    log = make_log(INFO)
    cursor = OutputCursor(log, with_result=with_result)
    assert read_on(cursor) == [INFO]
    log.finish(["a"])
    assert read_on(cursor) == [OutputUpdate("a", final=True)]
    assert read_on(cursor) == []
    assert log.outputs() == ["a"]


def test_null_is_a_result() -> None:
    log = make_log()
    log.finish([None])
    assert log.outputs() == [None]


@pytest.mark.parametrize("data", [b"[1", b"[\xff]", b"{}", b"5", None, "text", {"a": 1}], ids=repr)
def test_result_that_is_no_list_is_refused_and_the_log_stays_open(data: Any) -> None:
    log = make_log(["a"])
    with pytest.raises(RemoteProtocolError):
        log.finish(data)
    assert log.result is None
    assert log.outputs() == ["a"]


def test_job_that_ends_without_a_result_keeps_its_outputs() -> None:
    log = make_log(*growing(2))
    assert read(log, with_result=True) == [OutputUpdate("a"), OutputUpdate("aa")]


# -- edits --


def test_first_output_is_whole_even_if_it_looks_like_edits() -> None:
    log = make_log([[["append", [], "x"]]], [[["replace", [0], "y"]]])
    assert log.outputs() == [[["append", [], "x"]], ["y"]]


def test_servers_without_edits_send_values_that_look_like_edits() -> None:
    value = [["append", [], "x"]]
    assert make_log([value], [value], diffs=False).outputs() == [value, value]


def test_streamed_values_are_never_edits() -> None:
    value = [["append", [], "x"]]
    log = OutputLog(diffs=True, present=bare)
    log.append(["a"], whole=True)
    log.append([value], whole=True)
    assert log.outputs() == ["a", value]


def test_outputs_that_an_app_gained_are_edits_to_null() -> None:
    log = OutputLog(diffs=True, present=tuple)
    log.append(["a"])
    log.append([[], [["replace", [], 5]]])
    log.append([[["append", [], "b"]], []])
    assert log.outputs() == [("a",), ("a", 5), ("ab", 5)]


def test_outputs_that_an_app_lost_are_gone() -> None:
    log = OutputLog(diffs=True, present=tuple)
    log.append(["a", 1])
    log.append([[["append", [], "b"]]])
    assert log.outputs() == [("a", 1), ("ab",)]


IMPOSSIBLE = [
    [[["replace", [5], 1]]],
    [5],
    [None],
    [[5]],
    {"no": "list"},
    None,
    b"[1",
    b'["\xff"]',
]


@pytest.mark.parametrize("step", IMPOSSIBLE, ids=repr)
def test_outputs_after_an_impossible_edit_are_left_out_and_the_result_ends(step: Any) -> None:
    log = make_log(["a"], step, INFO, [[["append", [], "b"]]])
    cursor = OutputCursor(log)
    assert read_on(cursor) == [OutputUpdate("a"), INFO]
    log.finish(["abc"])
    assert read_on(cursor) == [OutputUpdate("abc", final=True)]
    assert log.outputs() == ["a", "abc"]
    assert read(log, with_result=True) == [
        OutputUpdate("a"),
        INFO,
        OutputUpdate("abc", final=True),
    ]


def test_outputs_after_a_first_one_that_cannot_be_read_are_left_out() -> None:
    log = make_log(b"[1", [[["append", [], "b"]]])
    assert log.outputs() == []
    log.finish(["ab"])
    assert log.outputs() == ["ab"]


def test_impossible_edit_without_a_result_leaves_the_outputs_before_it() -> None:
    log = make_log(["a"], [[["replace", [5], 1]]], ["b"])
    assert log.outputs() == ["a"]


# -- memory --

STEPS = 8000


def growing_text_events(padding: str = "") -> list[bytes]:
    """The events of a generator that adds a word at each step; 45 kB of text at the end."""
    head = b'{"msg":"process_generating","event_id":"id","render_config":"%s",' % padding.encode()
    events = [head + b'"output":{"data":["word0 "],"is_generating":true}}']
    for step in range(1, STEPS):
        edit = json.dumps([[["append", [], f"word{step} "]]]).encode()
        events.append(head + b'"output":{"data":%s,"is_generating":true}}' % edit)
    return events


def test_memory_is_that_of_the_pieces() -> None:
    pieces = sum(len(f'[[["append", [], "word{step} "]]]') for step in range(STEPS))
    log = OutputLog(diffs=True, present=bare)
    gc.collect()
    tracemalloc.start()
    try:
        for event in growing_text_events("x" * 1000):
            message = decode_message(event)
            assert isinstance(message, ProcessGenerating)
            assert isinstance(message.output.data, Raw)
            log.append(message.output.data)
        del event, message
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Without the rest of the events (8 MB), and far from all the texts (180 MB); a
    # bytes object and its place in a list take about 50 bytes.
    assert kept < 2 * pieces + STEPS * 100


def test_reader_keeps_one_value() -> None:
    log = OutputLog(diffs=True, present=bare)
    for event in growing_text_events():
        message = decode_message(event)
        assert isinstance(message, ProcessGenerating)
        assert isinstance(message.output.data, Raw)
        log.append(message.output.data)
    cursor = OutputCursor(log)
    length = 0
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(STEPS):
            entry = cursor.next()
            assert isinstance(entry, OutputUpdate)
            assert len(entry.outputs) > length
            length = len(entry.outputs)
        del entry
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert length == sum(len(f"word{step} ") for step in range(STEPS))
    assert kept < 2 * length
    assert peak < 20 * length


# -- holding back --


def make_held(*steps: Any) -> OutputLog:
    log = OutputLog(diffs=False, present=bare, held=True)
    for step in steps:
        if isinstance(step, Log):
            log.append_log(step)
        else:
            log.append(step)
    return log


def test_readers_of_a_log_that_holds_get_what_was_released() -> None:
    log = make_held(["a"], INFO, ["b"])
    cursor = OutputCursor(log)
    assert (log.size, log.readable) == (3, 0)
    assert read_on(cursor) == []
    log.release(2)
    assert read_on(cursor) == [OutputUpdate("a"), INFO]
    log.release(1)  # never takes anything back
    assert log.readable == 2
    log.finish(["c"])
    log.release(3)
    assert read_on(cursor) == [OutputUpdate("b")]
    assert log.result is None
    log.release(4)
    assert log.result == "c"
    assert read(log, with_result=True)[-1] == OutputUpdate("c", final=True)


def test_whoever_reads_ahead_gets_everything_as_the_server_sent_it() -> None:
    log = make_held(["a"], INFO)
    log.finish(["b"])
    cursor = OutputCursor(log, with_result=True, ahead=True)
    assert read_on(cursor) == [OutputUpdate(["a"]), INFO, OutputUpdate(["b"], final=True)]
    assert cursor.position == log.size == 3


def test_result_is_made_once() -> None:
    log = OutputLog(diffs=False, present=tuple)
    log.finish([1, 2])
    assert log.result is log.result
