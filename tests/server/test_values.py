"""Values between the wire and the types of a function's parameters and outputs."""

import math
import re
import string
from collections import deque
from collections.abc import (
    Iterator,
    Sequence,
)
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Annotated, Any, Literal, NewType, Optional
from uuid import UUID

import msgspec
import numpy as np
import pydantic
import pytest
from annotated_types import Ge
from gradio_client.utils import json_schema_to_python_type, value_is_file
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta
from strategies import json_values

from jobwire.exceptions import ArgumentError, JobwireError
from jobwire.server.errors import DeclarationError, InputError, OutputError
from server.declaring import (
    FILES,
    Account,
    Box,
    Cat,
    Circle,
    Color,
    Dog,
    Files,
    Level,
    Options,
    Order,
    Photo,
    Point,
    Size,
    Square,
    Tree,
    User,
    UserId,
    decode,
    encode,
    file,
    giving,
    input_error,
    taking,
)

# -- types -----------------------------------------------------------------------


NOW = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)

ROUND_TRIPS: list[tuple[Any, Any, Any]] = [
    (str, "text", "text"),
    (int, -3, -3),
    (int, 2**70, 2**70),
    (float, 1.5, 1.5),
    (bool, True, True),
    (bytes, b"hi", "aGk="),
    (None, None, None),
    (Any, {"a": [1, None]}, {"a": [1, None]}),
    (Literal["a", 2, None], 2, 2),
    (Color, Color.BLUE, "blue"),
    (Level, Level.HIGH, 9),
    (Size, Size.SMALL, "s"),
    (Color | None, None, None),
    (list[Color], [Color.RED], ["red"]),
    (dict[Color, int], {Color.RED: 1}, {"red": 1}),
    (dict[int, str], {1: "a"}, {"1": "a"}),
    (tuple[int, str], (1, "a"), [1, "a"]),
    (list[tuple[int, ...]], [(1, 2), ()], [[1, 2], []]),
    (set[int], {7}, [7]),
    (frozenset[str], frozenset({"a"}), ["a"]),
    (Sequence[int], [1, 2], [1, 2]),
    (int | str, "a", "a"),
    (Optional[int], 1, 1),  # noqa: UP045 -- people write it
    (date, date(2026, 1, 31), "2026-01-31"),
    (datetime, NOW, "2026-01-31T12:30:00Z"),
    (datetime, NOW.replace(tzinfo=None), "2026-01-31T12:30:00"),
    (time, time(12, 30), "12:30:00"),
    (timedelta, timedelta(seconds=90), "PT90S"),
    (Decimal, Decimal("1.50"), "1.50"),
    (UUID, UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (Point, Point(1), [1, 0.5]),
    (Options, {"fast": True}, {"fast": True}),
    (Tree, Tree("a", [Tree("b")]), {"name": "a", "children": [{"name": "b", "children": []}]}),
    (Order, Order("pen", 2), {"item": "pen", "count": 2}),
    (Cat | Dog, Dog("Rex"), {"type": "dog", "name": "Rex"}),
    (UserId, UserId(4), 4),
    (Annotated[int, Meta(ge=0)], 3, 3),
    (User, User(name="Ann", born=date(2000, 1, 2)), {"name": "Ann", "born": "2000-01-02"}),
    (list[User] | None, [User(name="Ann")], [{"name": "Ann"}]),
    (Circle | Square, Square(shape="square", side=2), {"shape": "square", "side": 2.0}),
    (Box, Box(3), {"width": 3}),
    (dict[str, Box], {"a": Box(3)}, {"a": {"width": 3}}),
    (Annotated[int, pydantic.Field(ge=2)], 2, 2),
    (Account, Account(User(name="Ann")), {"user": {"name": "Ann"}}),
]


class Nested(pydantic.RootModel[list["Nested"]]):
    pass


COLOR_OR_SIZE = "Literal['red', 'blue', 'amber'] | Literal['s']"
ANYTHING = "json", "list[Any]"


def contains(whole: Any, part: Any) -> bool:
    """Whether the one is the other, but for fields that it has on top."""
    if isinstance(part, dict):
        return part.keys() <= whole.keys() and all(contains(whole[k], part[k]) for k in part)
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return bool(whole == part) and type(whole) is type(part)


@pytest.mark.parametrize(("annotation", "value", "wire"), ROUND_TRIPS, ids=str)
def test_a_value_goes_to_the_wire_and_back(annotation: Any, value: Any, wire: Any) -> None:
    decoded = decode(annotation, wire)
    assert decoded == value
    assert type(decoded) is type(value)
    assert contains(encode(value), wire)


@pytest.mark.parametrize(
    ("annotation", "component", "words"),
    [
        (str, "textbox", "str"),
        (int, "number", "int"),
        (float, "number", "float"),
        (int | float, "number", "int | float"),
        (bool, "checkbox", "bool"),
        (bytes, "textbox", "str (base64)"),
        (int | None, "number", "int | None"),
        (int | str, "json", "int | str"),
        (None, "json", "None"),
        (Any, "json", "Any"),
        (Literal["b", "a"], "dropdown", "Literal['b', 'a']"),
        (Literal["b", "a"] | None, "dropdown", "Literal['b', 'a'] | None"),
        (Literal["a", None], "dropdown", "Literal['a', None]"),
        (Literal[True], "json", "Literal[True]"),
        (Color, "dropdown", "Literal['red', 'blue', 'amber']"),
        (Level, "dropdown", "Literal[1, 9]"),
        (list[Color], "dropdown", "list[Literal['red', 'blue', 'amber']]"),
        (tuple[Literal["b", "a"], ...], "dropdown", "list[Literal['b', 'a']]"),
        (set[Color] | None, "dropdown", "list[Literal['red', 'blue', 'amber']] | None"),
        (list[list[Color]], "json", "list[list[Literal['amber', 'blue', 'red']]]"),
        (list, "json", "list"),
        (list[int], "json", "list[int]"),
        (tuple[int, str], "json", "tuple[int, str]"),
        (dict, "json", "dict"),
        (dict[str, list[int]], "json", "dict[str, list[int]]"),
        (date, "textbox", "str (date)"),
        (datetime, "textbox", "str (date-time)"),
        (datetime | None, "textbox", "str (date-time) | None"),
        (Annotated[time, "when"], "textbox", "str (time)"),
        (timedelta, "textbox", "str (duration)"),
        (Decimal, "textbox", "str (decimal)"),
        (UUID, "textbox", "str (uuid)"),
        (Path, "file", "filepath"),
        (Path | None, "file", "filepath | None"),
        (Annotated[Path, Meta(title="Photo")], "file", "filepath"),
        (list[Path], "file", "list[filepath]"),
        (dict[str, Path], "json", "dict[str, filepath]"),
        (Photo, "json", "dict(image: filepath, tags: list[str], thumbnail: filepath | None)"),
        (Tree, "json", "dict(name: str, children: list[dict])"),
        (Options, "json", "dict(fast: bool)"),
        (Point, "json", "tuple[int, float]"),
        (Order, "json", "dict(item: str, count: int)"),
        (UserId, "number", "int"),
        (Annotated[int, Meta(ge=0)], "number", "int"),
        (Nested, "json", "list[list]"),
        (Circle, "json", "dict(shape: Literal['circle'], radius: float)"),
        (User, "json", "dict(name: str, born: str (date) | None, friends: list[dict])"),
        (Annotated[Literal["b", "a"], pydantic.Field()], "dropdown", "Literal['b', 'a']"),
        (Annotated[Color | Size, pydantic.Field()], "json", COLOR_OR_SIZE),
        (Annotated[int, pydantic.WithJsonSchema({"type": "array", "items": True})], *ANYTHING),
    ],
    ids=str,
)
def test_how_a_type_is_shown(annotation: Any, component: str, words: str) -> None:
    (slot,) = taking(annotation).inputs
    assert (slot.component, slot.python_type) == (component, words)
    outputs = giving(annotation).outputs
    if len(outputs) == 1:
        assert (outputs[0].component, outputs[0].python_type) == (component, words)


def test_choices_and_several() -> None:
    def shown(annotation: Any) -> tuple[Any, bool]:
        (slot,) = taking(annotation).inputs
        return slot.choices, slot.multiple

    colors = ("red", "blue", "amber")
    assert shown(Color) == (colors, False)
    assert shown(list[Color]) == (colors, True)
    assert shown(Annotated[list[Color], "some"]) == (colors, True)
    assert shown(Literal["b", "a", None]) == (("b", "a"), False)
    assert shown(NewType("Shade", Color)) == (colors, False)
    assert shown(list[Path]) == (None, True)
    assert shown(Path) == shown(str) == shown(list[str]) == (None, False)


# -- schemas ---------------------------------------------------------------------


def test_schemas() -> None:
    def schema(annotation: Any) -> Any:
        return taking(annotation).inputs[0].schema

    assert schema(str) == {"type": "string"}
    assert schema(Annotated[int, Meta(ge=0, le=9)]) == {
        "type": "integer",
        "minimum": 0,
        "maximum": 9,
    }
    assert schema(Annotated[int, pydantic.Field(ge=2)]) == {"type": "integer", "minimum": 2}
    assert schema(datetime | None)["anyOf"][0] == {"type": "string", "format": "date-time"}
    assert schema(Tree)["$ref"] == "#/$defs/Tree"
    assert schema(Path)["required"] == ["path"]


@pytest.mark.parametrize("kind", [Decimal, bytes, timedelta])
@given(data=st.data())
def test_text_of_which_the_schema_gives_the_form(kind: Any, data: st.DataObject) -> None:
    pattern = taking(kind).inputs[0].schema["pattern"]
    # Python's $ is also before a line's end, which that of JSON schemas is not.
    text = data.draw(st.from_regex(pattern.replace("$", r"\Z")))
    value = decode(kind, text)
    assert isinstance(value, kind)
    assert re.search(pattern, encode(value))
    other = data.draw(st.text(string.printable).filter(lambda text: not re.search(pattern, text)))
    if kind is not Decimal:  # which comes with spaces and underscores as well
        with pytest.raises(InputError):
            decode(kind, other)


@pytest.mark.parametrize("kind", [int, float, Decimal, date, UUID, Color, Level, Literal["a", 2]])
def test_keys_of_which_the_schema_gives_the_form(kind: Any) -> None:
    names = taking(dict[kind, str]).inputs[0].schema["propertyNames"]
    right = {
        int: "-12",
        float: "1.5e3",
        Decimal: "-1.50",
        date: "2026-01-31",
        UUID: f"{UUID(int=5)}",
    }
    key = right.get(kind) or names["enum"][0]
    assert list(decode(dict[kind, str], {key: "x"}).values()) == ["x"]
    if "pattern" in names:
        assert re.search(names["pattern"], key)
        assert not re.search(names["pattern"], "x")
    else:
        assert names.get("format") in ("date", "uuid") or key in names["enum"]
    with pytest.raises(InputError):
        decode(dict[kind, str], {"x": "x"})
    assert "propertyNames" not in taking(dict[str, str]).inputs[0].schema


class Crate(msgspec.Struct, tag=True):
    by_number: dict[int, str]
    inner: "Crate | Pallet | None" = None


class Pallet(msgspec.Struct, tag=True):
    crates: list[dict[UUID, Crate]]


class Row(msgspec.Struct, array_like=True):
    pair: tuple[str, dict[Level, str]]


def test_keys_anywhere() -> None:
    def names(annotation: Any) -> list[Any]:
        return list(found(taking(annotation).inputs[0].schema))

    def found(part: Any) -> Iterator[Any]:
        if isinstance(part, dict):
            if "propertyNames" in part:
                yield part["propertyNames"]
            part = list(part.values())
        if isinstance(part, list):
            for item in part:
                yield from found(item)

    number = {"pattern": "^-?(0|[1-9][0-9]*)$"}
    assert names(list[dict[int, dict[UUID, str]]]) == [number, {"format": "uuid"}]
    assert names(Crate) == [number, {"format": "uuid"}]
    assert names(str | Pallet | list[dict[int, str]] | None) == [number, {"format": "uuid"}, number]
    assert names(Row | None) == [{"enum": ["1", "9"]}]


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            yield from references(item)


@pytest.mark.parametrize("annotation", [Tree, User, Account, list[Account], Color | None, Photo])
def test_a_schema_stands_alone(annotation: Any) -> None:
    for slot in (*taking(annotation).inputs, *giving(annotation).outputs):
        found = list(references(slot.schema))
        assert found or annotation is Photo
        for reference in found:
            assert reference.removeprefix("#/$defs/") in slot.schema["$defs"]
        inner = {k: v for k, v in slot.schema.items() if k != "$defs"}
        assert "$defs" not in repr(inner).replace("#/$defs", "")
        assert all("$defs" not in part for part in slot.schema.get("$defs", {}).values())


def test_the_official_client_knows_files_by_their_schema() -> None:
    for annotation in (Path, Path | None, list[Path]):
        schema = taking(annotation).inputs[0].schema
        assert value_is_file(schema)
        assert "filepath" in json_schema_to_python_type(schema)
    assert not value_is_file(taking(dict[str, str]).inputs[0].schema)


# -- numbers ---------------------------------------------------------------------


def test_numbers_of_json() -> None:
    assert decode(int, 3.0) == 3
    assert type(decode(int, 3.0)) is int
    assert decode(int, 1e20) == 10**20
    assert decode(list[dict[str, int]], [{"a": 1.0}, {"a": 2}]) == [{"a": 1}, {"a": 2}]
    assert type(decode(float, 3)) is float
    assert type(decode(Any, 3.0)) is float
    assert math.isnan(decode(float, math.nan))
    assert decode(float, -math.inf) == -math.inf
    assert type(decode(int | float, 3.0)) is float


# -- what does not fit -------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (int, "3", "expected int, got str"),
        (int, 3.5, "expected int, got float"),
        (int, math.nan, "expected int, got float"),
        (int, True, "expected int, got bool"),
        (int, None, "expected int, got null"),
        (bool, 1, "expected bool, got int"),
        (str, 1, "expected str, got int"),
        (int | None, "a", "expected int | null, got str"),
        (list[int], [1, "a"], "expected int, got str at x[1]"),
        (list[int], [1.0, "a"], "expected int, got str at x[1]"),
        (list[int], {}, "expected array, got object"),
        (dict[str, int], {"a": "b"}, "expected int, got str at x[...]"),
        (dict[int, int], {"a": 1}, "expected int, got str at x (a key)"),
        (tuple[int, str], [1], "expected array of length 2, got 1"),
        (bytes, "!", "invalid base64 encoded string"),
        (date, "soon", "invalid RFC3339 encoded date"),
        (UUID, "x", "invalid UUID"),
        (Literal["b", "a"], "c", "invalid enum value 'c'; choose from 'b', 'a'"),
        (Color, "c", "invalid enum value 'c'; choose from 'red', 'blue', 'amber'"),
        (
            list[Color],
            ["red", "c"],
            "invalid enum value 'c'; choose from 'red', 'blue', 'amber' at x[1]",
        ),
        (Annotated[int, Meta(ge=0)], -1, "expected int >= 0"),
        (Order, {}, "object missing required field 'item'"),
        (Order, {"item": "a", "x": 1}, "object contains unknown field 'x'"),
        (Tree, {"name": "a", "children": [{}]}, "object missing required field 'name' at x.child"),
        (User, {}, "field required, got object at x.name"),
        (User, {"name": "a", "friends": [{"name": 1}]}, "got int at x.friends[0].name"),
        (Account, {"user": {"name": 1}}, "input should be a valid string, got int at x.user.name"),
        (Account, {"user": 1}, "got int at x.user"),
        (Annotated[int, pydantic.Field(ge=2)], 1, "input should be greater than or equal to 2"),
        (Box, {"width": 0}, "input should be greater than 0, got int at x.width"),
        (set[Any], [[1]], "unhashable type: 'list'"),
        (timedelta, 1e300, "expected duration, got float"),
        (Path, "a.txt", "expected a file, as an object with its path, got str"),
        (Path, None, "expected a file, as an object with its path, got null"),
        (Path, {"path": None, "url": "data:,"}, "the file has no path; upload it first"),
        (Path, file("missing"), "File not allowed: missing."),
        (list[Path], [file("a"), file("missing")], "File not allowed: missing. at x[1]"),
        (Photo, {"image": 1}, "expected a file, as an object with its path, got int at x.image"),
    ],
    ids=str,
)
def test_what_does_not_fit(annotation: Any, value: Any, text: str) -> None:
    message = input_error(annotation, value)
    assert text in message
    if " at x" not in text:
        assert " at x" not in message


def test_what_callers_sent_is_quoted_briefly_and_can_be_sent() -> None:
    assert len(input_error(Literal["a"], "x" * 100_000)) < 500
    with pytest.raises(InputError) as caught:
        taking(int).decode_named({"\ud800" * 1000: 1})
    assert len(caught.value.message.encode()) < 1000
    assert caught.value.parameter is not None
    assert len(caught.value.parameter.encode()) < 1000


def test_errors_are_in_the_tree() -> None:
    assert issubclass(InputError, ArgumentError)
    for error in (DeclarationError, OutputError):
        assert issubclass(error, JobwireError)
        assert issubclass(error, TypeError)


@given(json_values(nan=True))
def test_any_takes_every_value_of_json(value: Any) -> None:
    assert decode(Any, value) is value


@given(st.sampled_from(ROUND_TRIPS), json_values(nan=True))
def test_whatever_is_sent_is_accepted_or_refused(case: tuple[Any, Any, Any], value: Any) -> None:
    try:
        (decoded,) = taking(case[0]).decode([value], files=FILES)
    except InputError:
        return
    assert builtin(encode(decoded))


def test_constraints_of_annotated_types_are_checked() -> None:
    assert "greater than or equal to 3" in input_error(Annotated[int, Ge(3)], 2)


def test_what_is_nested_without_end() -> None:
    value: dict[str, Any] = {"name": "a", "children": []}
    for _ in range(10_000):
        value = {"name": "a", "children": [value]}
    assert input_error(Tree, value) == "it is nested too deeply"


def test_a_validator_that_raises() -> None:
    def refuse(value: Any) -> Any:
        raise ValueError("not today")

    class Refusing(msgspec.Struct):
        def __post_init__(self) -> None:
            raise ValueError("not today")

    assert input_error(Refusing, {}) == "not today"
    text = input_error(Annotated[int, pydantic.AfterValidator(refuse)], 1)
    assert text == "value error, not today, got int"


def test_text_that_is_no_text() -> None:
    assert decode(str, "\ud800") == "\ud800"
    assert input_error(Literal["a"], "\ud800") == "the text has half of a surrogate pair"


# -- what is returned ---------------------------------------------------------------


def test_outputs_are_not_validated() -> None:
    assert encode("text", int) == "text"
    assert encode(None, Color) is None


class Text(str):
    def __str__(self) -> str:
        return self


class Count(int):
    pass


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (math.nan, None),
        (math.inf, None),
        ([1.5, -math.inf, {"a": math.nan}], [1.5, None, {"a": None}]),
        ("\ud800x", "\ufffdx"),
        ("\ud83d\ude00", "\U0001f600"),
        ("é\U0001f600", "é\U0001f600"),
        ({"\udfff": ["\ud800", 1, math.nan]}, {"\ufffd": ["\ufffd", 1, None]}),
        (Text("a"), "a"),
        ([Text("a"), Count(1)], ["a", 1]),
        (Level.LOW, 1),
        (np.float64(1.5), 1.5),
        (np.float64(math.nan), None),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array([1.0, math.nan]), [1.0, None]),
        ({np.int64(1): 2}, {"1": 2}),
        ({1: 2, 1.5: 3}, {"1": 2, "1.5": 3}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (range(3), [0, 1, 2]),
        (deque([1]), [1]),
        ({"a": 1}.keys(), ["a"]),
        (pydantic.RootModel[list[int]]([1]), [1]),
        pytest.param(SimpleNamespace(item=lambda: 5), 5, id="item"),
    ],
    ids=repr,
)
def test_what_becomes_json(value: Any, wire: Any) -> None:
    encoded = encode(value)
    assert contains(encoded, wire)
    assert contains(encode([value]), [wire])
    msgspec.json.encode(encoded)


def test_what_cannot_become_json() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    for value, text in (
        (object(), "give: output 'value': it holds a builtins.object, which cannot be sent"),
        ([{"a": iter([])}], "it holds a builtins.list_iterator"),
        (cycle, "it is nested too deeply, or contains itself"),
        ({(1, 2): 3}, "it has a dict with a key of type tuple"),
        (SimpleNamespace(tolist=lambda: len(5)), "it cannot be sent as JSON: .* has no len"),  # type: ignore[arg-type]
        ({None: 3}, "it has a dict with a key of type NoneType"),
    ):
        with pytest.raises(OutputError, match=text):
            encode(value)
    with pytest.raises(OutputError, match="output 'value_2'"):
        giving(tuple[int, Any]).encode((1, object()), files=FILES)


def test_arrays_may_be_declared_as_outputs() -> None:
    (slot,) = giving(np.ndarray).outputs
    assert (slot.component, slot.python_type) == ("json", "Any")
    assert encode(np.arange(2), np.ndarray) == [0, 1]


def builtin(value: Any) -> bool:
    if type(value) is list:
        return all(map(builtin, value))
    if type(value) is dict:
        return all(type(key) is str and builtin(item) for key, item in value.items())
    return value is None or type(value) in (str, int, float, bool)


@given(json_values(nan=True, text=st.text(st.characters(), max_size=4)))
def test_what_is_encoded_is_a_copy_that_can_be_sent(value: Any) -> None:
    encoded = encode(value)
    assert builtin(encoded)
    assert encoded is not value or not isinstance(value, (list, dict))
    again = msgspec.json.decode(msgspec.json.encode(encoded))
    assert again == encoded


@given(st.text(st.characters(exclude_categories=())))
def test_every_text_can_be_sent(text: str) -> None:
    encoded = encode(text)
    encoded.encode()
    assert encode([text]) == [encoded]
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert encoded == text


def test_an_output_does_not_change_with_what_was_yielded() -> None:
    signature = giving(dict[str, list[int]])
    value = {"a": [1]}
    (encoded,) = signature.encode(value, files=FILES)
    value["a"].append(2)
    value["b"] = []
    assert encoded == {"a": [1]}


# -- files -----------------------------------------------------------------------


def test_files_that_callers_send() -> None:
    assert decode(Path, file("a/b.txt")) == Path("/uploads/a/b.txt")
    assert decode(Path, {"path": "a"}) == Path("/uploads/a")
    assert decode(Path | None, None) is None
    assert decode(list[Path], [file("a"), file("b")]) == [Path("/uploads/a"), Path("/uploads/b")]
    assert decode(dict[str, Path], {"k": file("a")}) == {"k": Path("/uploads/a")}
    assert decode(Photo, {"image": file("a")}) == Photo(Path("/uploads/a"))
    assert decode(Any, file("a")) == file("a")


def test_files_that_a_function_returns() -> None:
    for annotation, value, wire in (
        (Path, Path("/out/a.png"), file("a.png")),
        (Path, "/out/a.png", file("a.png")),
        (Path | None, "/out/a.png", file("a.png")),
        (Path | None, None, None),
        (list[Path], ["/out/a.png", Path("b")], [file("a.png"), file("b")]),
        (Any, Path("a"), file("a")),
        (Any, {"k": [Path("a")]}, {"k": [file("a")]}),
        (str, "/out/a.png", "/out/a.png"),
        (Photo, Photo(Path("a")), {"image": file("a"), "tags": [], "thumbnail": None}),
    ):
        assert encode(value, annotation) == wire


def test_a_file_that_occurs_twice_is_published_once() -> None:
    files = Files()
    signature = giving(Any)
    signature.encode([Path("a"), {"b": Path("a")}, "\ud800"], files=files)
    assert files.published == [Path("a")]


def test_errors_of_the_store_are_its_own() -> None:
    class Full(Files):
        def publish(self, path: Path) -> dict[str, Any]:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        giving(Path).encode(Path("a"), files=Full())
