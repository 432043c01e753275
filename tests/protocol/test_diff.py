"""Edits of outputs: made as told, sharing what they do not touch, refused if impossible."""

import contextlib
import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

import pytest
from gradio_client.utils import apply_diff
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import Json, json_values

from jobwire.exceptions import RemoteProtocolError
from jobwire.protocol.diff import apply_edits, make_edits

# -- each operation --

POSSIBLE: dict[str, tuple[Any, list[Any], Any]] = {
    "no edits": ({"a": [1]}, [], {"a": [1]}),
    "replace all": ({"a": 1}, [["replace", [], [2]]], [2]),
    "replace null": (None, [["replace", [], "x"]], "x"),
    "replace with null": ("x", [["replace", [], None]], None),
    "replace in a list": ([1, 2, 3], [["replace", [1], "x"]], [1, "x", 3]),
    "replace in an object": ({"a": 1, "b": 2}, [["replace", ["a"], None]], {"a": None, "b": 2}),
    "replace deep": (
        {"a": [{"b": [1, 2]}, 3]},
        [["replace", ["a", 0, "b", 1], "x"]],
        {"a": [{"b": [1, "x"]}, 3]},
    ),
    "append": ("ab", [["append", [], "cd"]], "abcd"),
    "append to the empty text": ("", [["append", [], "a"]], "a"),
    "append nothing": ("a", [["append", [], ""]], "a"),
    "append in a list": (["a", "b"], [["append", [1], "c"]], ["a", "bc"]),
    "append in an object": ({"a": "b"}, [["append", ["a"], "c"]], {"a": "bc"}),
    "append deep": ([[{"a": "b"}]], [["append", [0, 0, "a"], "✓"]], [[{"a": "b✓"}]]),
    "add at the end": ([1], [["add", [1], 2]], [1, 2]),
    "add in front": ([1, 2], [["add", [0], 0]], [0, 1, 2]),
    "add between": ([1, 3], [["add", [1], 2]], [1, 2, 3]),
    "add to the empty list": ([], [["add", [0], []]], [[]]),
    "add to an object": ({}, [["add", ["a"], 1]], {"a": 1}),
    "add a key that is there": ({"a": 1}, [["add", ["a"], 2]], {"a": 2}),
    "add deep": ({"a": [[]]}, [["add", ["a", 0, 0], 1]], {"a": [[1]]}),
    "add to an object deep": ([{"a": {}}], [["add", [0, "a", "b"], 1]], [{"a": {"b": 1}}]),
    "delete the last": ([1, 2], [["delete", [1], None]], [1]),
    "delete in an object": ({"a": 1, "b": 2}, [["delete", ["a"], None]], {"b": 2}),
    "delete deep": ({"a": [[1, 2]]}, [["delete", ["a", 0, 1], None]], {"a": [[1]]}),
    "delete in an object deep": ([{"a": {"b": 1}}], [["delete", [0, "a", "b"], None]], [{"a": {}}]),
    "delete, indices ascending": (
        [1, 2, 3, 4],
        [["delete", [index], None] for index in (1, 2, 3)],
        [1],
    ),
    "delete, indices repeated": ([1, 2, 3, 4], [["delete", [1], None]] * 3, [1]),
    "delete, indices negative": (
        [[1, 2, 3], [4, 5, 6]],
        [["delete", [row, index], None] for row, index in ((0, 1), (0, 0), (1, -1), (1, -2))],
        [[1], [4]],
    ),
    "numbers as keys": ({"1": {"0": "a"}}, [["append", ["1", "0"], "b"]], {"1": {"0": "ab"}}),
    "one after the other": (
        {"a": "x"},
        [
            ["add", ["b"], []],
            ["add", ["b", 0], "y"],
            ["append", ["b", 0], "z"],
            ["delete", ["a"], None],
        ],
        {"b": ["yz"]},
    ),
    "into what was just put there": (
        "x",
        [["replace", [], {"a": []}], ["add", ["a", 0], "y"], ["append", ["a", 0], "z"]],
        {"a": ["yz"]},
    ),
}


@pytest.mark.parametrize(("value", "edits", "expected"), POSSIBLE.values(), ids=POSSIBLE)
def test_edit_is_made_and_the_old_value_stays(value: Any, edits: list[Any], expected: Any) -> None:
    before, edits_before = copy.deepcopy((value, edits))
    assert apply_edits(value, edits) == expected
    assert value == before
    assert edits == edits_before


# -- what is shared, and what is copied --


def test_no_edits_give_the_value_itself() -> None:
    value = {"a": [1]}
    assert apply_edits(value, []) is value


def test_untouched_parts_are_shared() -> None:
    value: Any = {"a": {"b": [1], "c": [2]}, "d": [3], "e": [[4], [5]]}
    edited = apply_edits(value, [["add", ["a", "b", 1], 9], ["replace", ["e", 0, 0], 9]])
    assert edited == {"a": {"b": [1, 9], "c": [2]}, "d": [3], "e": [[9], [5]]}
    assert edited["a"]["c"] is value["a"]["c"]
    assert edited["d"] is value["d"]
    assert edited["e"][1] is value["e"][1]
    for changed in ("a", "e"):
        assert edited[changed] is not value[changed]
    assert edited["a"]["b"] is not value["a"]["b"]
    assert edited["e"][0] is not value["e"][0]


def test_operands_are_not_changed_by_later_edits() -> None:
    operand: Any = {"inner": []}
    edits = [
        ["add", ["new"], operand],
        ["add", ["new", "inner", 0], 1],
        ["add", ["again"], operand],
        ["add", ["again", "inner", 0], 2],
    ]
    assert apply_edits({}, edits) == {"new": {"inner": [1]}, "again": {"inner": [2]}}
    assert operand == {"inner": []}


def test_parts_that_are_shared_within_the_value_are_told_apart() -> None:
    row: list[Any] = ["x"]
    assert apply_edits([row, row], [["append", [0, 0], "y"]]) == [["xy"], ["x"]]
    assert row == ["x"]


class Counted(list[Any]):
    """A list that counts how often it was copied."""

    copies = 0

    def copy(self) -> "Counted":
        type(self).copies += 1
        return Counted(self)


def test_container_edited_many_times_is_copied_once() -> None:
    Counted.copies = 0
    value = {"a": Counted(["x"] * 10)}
    edited = apply_edits(value, [["append", ["a", index], "y"] for index in range(10)])
    assert edited == {"a": ["xy"] * 10}
    assert value == {"a": ["x"] * 10}
    assert Counted.copies == 1


# -- impossible edits --

IMPOSSIBLE: dict[str, tuple[Any, Any]] = {
    "edits are null": ([1], None),
    "edits are an object": ([1], {}),
    "edits are text": ("x", "replace"),
    "edits are a number": (1, 5),
    "edit is a number": ([1], [5]),
    "edit is null": ([1], [None]),
    "edit is empty": ([1], [[]]),
    "edit has two parts": ([1], [["delete", [0]]]),
    "edit has four parts": ([1], [["replace", [], 1, 2]]),
    "edit is text": ([1], ["abc"]),
    "edit is an object": ([1], [{"op": 1, "path": 2, "value": 3}]),
    "path is text": ({"a": 1}, [["replace", "a", 2]]),
    "path is null": ([1], [["replace", None, 2]]),
    "path is a number": ([1], [["replace", 0, 2]]),
    "unknown operation": ([1], [["move", [], 1]]),
    "unknown operation below": ([1], [["move", [0], 1]]),
    "operation is a list": ([1], [[[], [0], 1]]),
    "operation is null": ([1], [[None, [], 1]]),
    "add to the whole": ([1], [["add", [], 1]]),
    "delete the whole": ([1], [["delete", [], None]]),
    "append to a list": ([1], [["append", [], "a"]]),
    "append to null": (None, [["append", [], "a"]]),
    "append to a number": (5, [["append", [], "a"]]),
    "append to an object": ({}, [["append", [], "a"]]),
    "append a number": ("a", [["append", [], 1]]),
    "append a list": ("a", [["append", [], ["b"]]]),
    "append null": ("a", [["append", [], None]]),
    "append to a number below": ([1], [["append", [0], "a"]]),
    "append a number below": (["a"], [["append", [0], 1]]),
    "append beyond the end": (["a"], [["append", [1], "b"]]),
    "append to no key": ({}, [["append", ["a"], "b"]]),
    "enter text": ("abc", [["replace", [0], "x"]]),
    "enter a number": (5, [["replace", ["a"], "x"]]),
    "enter null": (None, [["add", ["a"], "x"]]),
    "enter text below": ({"a": "abc"}, [["replace", ["a", 0], "x"]]),
    "enter null below": ([None], [["add", [0, "a"], "x"]]),
    "enter no key": ({}, [["replace", ["a", "b"], 1]]),
    "enter beyond the end": ([[1]], [["replace", [1, 0], 1]]),
    "enter a negative index": ([[1]], [["replace", [-1, 0], 1]]),
    "enter a list by text": ([[1]], [["replace", ["0", 0], 1]]),
    "enter a list by a truth": ([[1], [2]], [["replace", [True, 0], 1]]),
    "enter a list by a fraction": ([[1]], [["replace", [0.0, 0], 1]]),
    "enter a list by a list": ([[1]], [["replace", [[0], 0], 1]]),
    "enter an object by a number": ({"0": [1]}, [["replace", [0, 0], 1]]),
    "enter an object by null": ({"a": [1]}, [["replace", [None, 0], 1]]),
    "enter an object by a list": ({"a": [1]}, [["replace", [["a"], 0], 1]]),
    "replace beyond the end": ([1], [["replace", [1], 1]]),
    "replace a negative index": ([1], [["replace", [-1], 1]]),
    "replace by a truth": ([1, 2], [["replace", [True], 1]]),
    "replace by text": ([1], [["replace", ["0"], 1]]),
    "replace no key": ({"a": 1}, [["replace", ["b"], 1]]),
    "replace a number as a key": ({"1": 1}, [["replace", [1], 1]]),
    "add beyond the end": ([1], [["add", [2], 1]]),
    "add at a negative index": ([1], [["add", [-1], 1]]),
    "add by a truth": ([1], [["add", [True], 1]]),
    "add by text": ([1], [["add", ["0"], 1]]),
    "add a number as a key": ({}, [["add", [1], 1]]),
    "add null as a key": ({}, [["add", [None], 1]]),
    "add a list as a key": ({}, [["add", [[]], 1]]),
    "delete from the empty list": ([], [["delete", [0], None]]),
    "delete more than there is": ([1], [["delete", [0], None]] * 2),
    "delete no key": ({"a": 1}, [["delete", ["b"], None]]),
    "delete a number as a key": ({"1": 1}, [["delete", [1], None]]),
    "delete a list as a key": ({"a": 1}, [["delete", [["a"]], None]]),
    "second edit is impossible": ([1], [["add", [1], 2], ["replace", [5], 1]]),
    "second edit enters what was deleted": (
        {"a": [1]},
        [["delete", ["a"], None], ["add", ["a", 0], 1]],
    ),
}


@pytest.mark.parametrize(("value", "edits"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_impossible_edit_is_the_servers_fault_and_changes_nothing(value: Any, edits: Any) -> None:
    before = copy.deepcopy(value)
    with pytest.raises(RemoteProtocolError, match="an edit that cannot be made"):
        apply_edits(value, edits)
    assert value == before


def test_long_edits_are_quoted_in_part() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        apply_edits([], [["append", [], "x" * 10_000]])
    assert "['append', [], 'xxx" in str(caught.value)
    assert len(str(caught.value)) < 300


# -- whatever comes --

keys = st.sampled_from(["a", "b", "0"])
small_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.text("ab", max_size=3) | st.just(0.5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=14,
)
plausible_edits = st.lists(
    st.tuples(
        st.sampled_from(["replace", "append", "add", "delete", "move"]),
        st.lists(keys | st.integers(-2, 4), max_size=3),
        small_values,
    ).map(list),
    max_size=6,
)


def edited_or_refused(value: Json, edits: Any) -> None:
    before = copy.deepcopy((value, edits))
    with contextlib.suppress(RemoteProtocolError):
        apply_edits(value, edits)
    assert (value, edits) == before


@given(small_values, plausible_edits)
def test_plausible_edits_are_made_or_refused(value: Json, edits: list[Any]) -> None:
    edited_or_refused(value, edits)


few_values = json_values(leaves=5)


@given(few_values, few_values | st.lists(st.lists(few_values, min_size=3, max_size=3), max_size=3))
def test_any_edits_are_made_or_refused(value: Json, edits: Any) -> None:
    edited_or_refused(value, edits)


# -- what servers make --

Indices = Literal["right", "ascending", "lowered at each level"]


def server_diff(old: Any, new: Any, indices: Indices) -> list[list[Any]]:
    """Compare two values as Gradio servers do, with the indices of their versions.

    ``ascending`` (4.17 to 5.29.0): the indices that the elements had in the old list.
    ``lowered at each level`` (5.29.1 to 6.31): lowered by the deletes before them, once
    for each list around them, which is once too often wherever lists lie in lists.
    """

    def compare(old: Any, new: Any, path: list[Any]) -> Iterator[list[Any]]:
        if old == new:
            return
        if type(old) is not type(new):
            yield ["replace", path, new]
        elif isinstance(old, str) and new.startswith(old):
            yield ["append", path, new[len(old) :]]
        elif isinstance(old, list):
            edits = [
                edit
                for index, (before, after) in enumerate(zip(old, new, strict=False))
                for edit in compare(before, after, [*path, index])
            ]
            edits += (
                ["delete", [*path, len(new) if indices == "right" else index], None]
                for index in range(len(new), len(old))
            )
            edits += (["add", [*path, index], new[index]] for index in range(len(old), len(new)))
            yield from lowered(edits) if indices == "lowered at each level" else edits
        elif isinstance(old, dict):
            for key in old:
                if key in new:
                    yield from compare(old[key], new[key], [*path, key])
                else:
                    yield ["delete", [*path, key], None]
            for key in new:
                if key not in old:
                    yield ["add", [*path, key], new[key]]
        else:
            yield ["replace", path, new]

    return list(compare(old, new, []))


def lowered(edits: list[list[Any]]) -> Iterator[list[Any]]:
    seen = 0
    for operation, path, value in edits:
        if operation == "delete" and isinstance(path[-1], int):
            yield [operation, [*path[:-1], path[-1] - seen], value]
            seen += 1
        else:
            yield [operation, path, value]


each_generation = pytest.mark.parametrize(
    "indices", ["right", "ascending", "lowered at each level"], ids=lambda name: name
)

TABLE = {"headers": ["a", "b", "c"], "data": [[1, 2, 3], [4, 5, 6]]}
NARROW = {"headers": ["a"], "data": [[1], [4]]}


def test_servers_describe_a_shrinking_table_as_recorded() -> None:
    """The diff of this test makes the mistakes that servers were seen to make."""
    assert server_diff(TABLE, NARROW, "ascending") == [
        ["delete", ["headers", 1], None],
        ["delete", ["headers", 2], None],
        ["delete", ["data", 0, 1], None],
        ["delete", ["data", 0, 2], None],
        ["delete", ["data", 1, 1], None],
        ["delete", ["data", 1, 2], None],
    ]
    assert server_diff(TABLE, NARROW, "lowered at each level") == [
        ["delete", ["headers", 1], None],
        ["delete", ["headers", 1], None],
        ["delete", ["data", 0, 1], None],
        ["delete", ["data", 0, 0], None],
        ["delete", ["data", 1, -1], None],
        ["delete", ["data", 1, -2], None],
    ]


@each_generation
def test_shrinking_table_is_right_from_every_server(indices: Indices) -> None:
    assert apply_edits(TABLE, server_diff(TABLE, NARROW, indices)) == NARROW
    assert apply_edits(NARROW, server_diff(NARROW, TABLE, indices)) == TABLE


@each_generation
@given(old=small_values, new=small_values)
def test_edits_of_every_server_give_its_value(indices: Indices, old: Json, new: Json) -> None:
    before = copy.deepcopy(old)
    assert apply_edits(old, server_diff(old, new, indices)) == new
    assert old == before


def shrunk(value: Any, keep: int) -> Any:
    if isinstance(value, list):
        return [shrunk(item, keep) for item in value[:keep]]
    if isinstance(value, dict):
        return {key: shrunk(item, keep) for key, item in value.items()}
    return value


nested = st.recursive(
    st.integers(0, 3),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=5) | st.dictionaries(keys, inner, min_size=1)
    ),
    max_leaves=25,
)


@each_generation
@given(old=nested, keep=st.integers(0, 4))
def test_lists_that_shrink_at_every_level_are_right(indices: Indices, old: Json, keep: int) -> None:
    new = shrunk(old, keep)
    assert apply_edits(old, server_diff(old, new, indices)) == new
    assert apply_edits(new, server_diff(new, old, indices)) == old


@each_generation
@given(st.lists(small_values, min_size=2, max_size=6))
def test_sequence_of_values_stays_right(indices: Indices, values: list[Json]) -> None:
    current = values[0]
    for old, new in pairwise(values):
        current = apply_edits(current, server_diff(old, new, indices))
        assert current == new


# -- what is made here --


def typed(value: Any) -> Any:
    """The same, so that 1, 1.0 and True differ, as they do in JSON."""
    if isinstance(value, list):
        return [typed(item) for item in value]
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    return type(value), value


def edited_by_all(old: Any, new: Any) -> list[list[Any]]:
    """Make edits, have all who may read them make them, and return them."""
    before = copy.deepcopy((old, new))
    edits = make_edits(old, new)
    assert typed(apply_edits(old, edits)) == typed(new)
    assert typed(apply_diff(old, edits)) == typed(new)  # as a stock client does
    assert (old, new) == before
    return edits


MADE: dict[str, tuple[Any, Any, list[Any]]] = {
    "the same": ({"a": [1, "x", None]}, {"a": [1, "x", None]}, []),
    "growing text": ("some", "something", [["append", [], "thing"]]),
    "text from nothing": ("", "a", [["append", [], "a"]]),
    "growing text deep": ([{"a": ["✓"]}], [{"a": ["✓✓"]}], [["append", [0, "a", 0], "✓"]]),
    "other text": ("abc", "abd", [["replace", [], "abd"]]),
    "shrinking text": ("abc", "ab", [["replace", [], "ab"]]),
    "text to null": ("a", None, [["replace", [], None]]),
    "another type": ([1], {"0": 1}, [["replace", [], {"0": 1}]]),
    "one becomes true": ([1], [True], [["replace", [0], True]]),
    "one becomes a fraction": ({"a": 1}, {"a": 1.0}, [["replace", ["a"], 1.0]]),
    "false becomes null": ([False], [None], [["replace", [0], None]]),
    "false becomes the empty text": (False, "", [["replace", [], ""]]),
    "growing list": ([1], [1, 2, 3], [["add", [1], 2], ["add", [2], 3]]),
    "shrinking list": ([1, 2, 3], [1], [["delete", [2], None], ["delete", [1], None]]),
    "list to the empty list": ([[1]], [[]], [["delete", [0, 0], None]]),
    "new key": ({}, {"a": 1}, [["add", ["a"], 1]]),
    "lost key": ({"a": 1, "b": 2}, {"b": 2}, [["delete", ["a"], None]]),
    "new name": ({"a": 1}, {"b": 1}, [["delete", ["a"], None], ["add", ["b"], 1]]),
}


@pytest.mark.parametrize(("old", "new", "edits"), MADE.values(), ids=MADE)
def test_edits_are_made(old: Any, new: Any, edits: list[Any]) -> None:
    assert edited_by_all(old, new) == edits


@given(small_values, small_values)
def test_made_edits_give_the_new_value(old: Json, new: Json) -> None:
    edited_by_all(old, new)


@given(json_values(), json_values())
def test_made_edits_of_any_values_give_the_new_value(old: Json, new: Json) -> None:
    edited_by_all(old, new)


lookalikes = st.recursive(
    st.sampled_from([0, 1, True, False, None, 0.0, 1.0, "", "1", "0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=2),
    max_leaves=8,
)


@given(lookalikes, lookalikes)
@example([1], [True])
@example({"a": 1.0}, {"a": 1})
def test_values_that_python_takes_for_equal_are_told_apart(old: Json, new: Json) -> None:
    edited_by_all(old, new)


@given(nested, st.integers(0, 4))
def test_made_edits_are_right_where_lists_shrink_or_grow(old: Json, keep: int) -> None:
    new = shrunk(old, keep)
    edited_by_all(old, new)
    edited_by_all(new, old)


@given(st.lists(small_values, min_size=2, max_size=6))
def test_sequence_of_made_edits_stays_right(values: list[Json]) -> None:
    ours = stock = values[0]
    for old, new in pairwise(values):
        edits = make_edits(old, new)
        ours, stock = apply_edits(ours, edits), apply_diff(stock, edits)
        assert typed(ours) == typed(stock) == typed(new)


@given(small_values)
def test_copy_of_a_value_needs_no_edits(value: Json) -> None:
    assert make_edits(value, value) == []
    assert make_edits(value, copy.deepcopy(value)) == []


@given(st.text(max_size=30), st.text(min_size=1, max_size=30))
def test_growing_text_is_one_append_of_the_suffix(text: str, suffix: str) -> None:
    assert make_edits(text, text + suffix) == [["append", [], suffix]]
    assert make_edits([{"a": text}], [{"a": text + suffix}]) == [
        ["append", [0, "a"], suffix],
    ]


MANY: dict[str, tuple[Any, Any]] = {
    "changed elements": ([0] * 101, [1] * 101),
    "new elements": ([], [0] * 101),
    "lost elements": ([0] * 101, []),
    "new keys": ({}, {str(n): n for n in range(101)}),
    "lost keys": ({str(n): n for n in range(101)}, {}),
    "changed keys": ({str(n): n for n in range(101)}, {str(n): -n - 1 for n in range(101)}),
    "some of each": (
        [[0] * 60, {str(n): n for n in range(60)}],
        [[1] * 60, {str(n): n for n in range(1)}],
    ),
    "some in each list": ([[0]] * 101, [[1]] * 101),
    "elements of many lists": ([[]] * 30, [[1, 2, 3, 4]] * 30),
    "deep": ({"a": [{"b": [0] * 101}]}, {"a": [{"b": [1] * 101}]}),
}


@pytest.mark.parametrize(("old", "new"), MANY.values(), ids=MANY)
def test_too_many_edits_are_one_that_replaces_all(old: Any, new: Any) -> None:
    assert edited_by_all(old, new) == [["replace", [], new]]


@pytest.mark.parametrize(
    ("old", "new"),
    [([0] * 100, [1] * 100), ([], [0] * 100), ([0] * 100, []), ([0] * 500, [0] * 499 + [1])],
)
def test_edits_up_to_the_limit_are_made(old: Any, new: Any) -> None:
    edits = edited_by_all(old, new)
    assert 1 <= len(edits) <= 100
    assert all(path for _, path, _ in edits)
