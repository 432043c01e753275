"""From a call's arguments to what is sent, and from the wire to what callers get."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import OLD_VERSIONS, VERSIONS, read_schema
from strategies import Json, json_values

from jobwire.exceptions import ArgumentError
from jobwire.protocol.payload import (
    batch_body,
    bind_arguments,
    encode_body,
    extend_body,
    needs_info,
    presenter,
)
from jobwire.protocol.schema import Component, Endpoint, Parameter


def components(spec: str) -> tuple[Component, ...]:
    """``"a b -s"``: inputs labelled a and b, and one that callers do not give."""
    return tuple(
        Component(id, "state" if name[0] == "-" else "textbox", name.strip("-_"), name[0] == "-")
        for id, name in enumerate(spec.split())
    )


def parameters(spec: str) -> tuple[Parameter, ...]:
    """``"a b=3"``: a required parameter, and one with a default."""
    return tuple(
        Parameter(name, "Textbox", "str", "", bool(equals), json.loads(default or "null"))
        for name, equals, default in (item.partition("=") for item in spec.split())
    )


def make_endpoint(
    inputs: str = "", names: str | None = None, outputs: str = "", api_name: str | None = "/f"
) -> Endpoint:
    return Endpoint(
        id=7,
        api_name=api_name,
        visibility="public",
        runs=True,
        inputs=components(inputs),
        outputs=components(outputs),
        generator=False,
        batch=False,
        parameters=None if names is None else parameters(names),
    )


def refusal(endpoint: Endpoint, args: Sequence[Any] = (), **kwargs: Any) -> ArgumentError:
    with pytest.raises(ArgumentError) as caught:
        bind_arguments(endpoint, args, kwargs)
    assert isinstance(caught.value, TypeError)
    assert caught.value.endpoint == endpoint.label
    return caught.value


THREE = make_endpoint("x y z", 'first second=2 third="c"')


# -- arguments by position and by name --


@pytest.mark.parametrize(
    ("args", "kwargs", "data"),
    [
        ([1], {}, [1, 2, "c"]),
        ([1, 5], {}, [1, 5, "c"]),
        ([1, 5, 6], {}, [1, 5, 6]),
        ([], {"first": 1}, [1, 2, "c"]),
        ([1], {"third": 6}, [1, 2, 6]),
        ([], {"third": 6, "first": 4, "second": 5}, [4, 5, 6]),
        ([None], {"second": None}, [None, None, "c"]),
    ],
    ids=str,
)
def test_arguments_are_bound_as_pythons_are(
    args: list[Any], kwargs: dict[str, Any], data: list[Any]
) -> None:
    assert bind_arguments(THREE, args, kwargs) == data


def test_endpoint_without_inputs_takes_nothing() -> None:
    assert bind_arguments(make_endpoint("", ""), [], {}) == []
    assert bind_arguments(make_endpoint(), [], {}) == []


def test_default_of_null_is_a_default() -> None:
    assert bind_arguments(make_endpoint("x", "a=null"), [], {}) == [None]


def test_missing_argument_is_named_with_the_signature() -> None:
    error = refusal(THREE, third=1)
    assert str(error) == "missing argument 'first': the signature is /f(first, second=2, third='c')"
    assert error.parameter == "first"


def test_surplus_arguments_are_counted() -> None:
    error = refusal(THREE, [1, 2, 3, 4])
    assert "too many arguments: 4 given, /f(first, second=2, third='c') takes 3" in str(error)
    assert error.parameter is None
    assert "1 given, /f() takes 0" in str(refusal(make_endpoint("", ""), [1]))


def test_unknown_argument_gets_a_suggestion() -> None:
    error = refusal(THREE, [1], secnd=2)
    assert "unknown argument 'secnd'" in str(error)
    assert str(error).endswith("; did you mean 'second'?")
    assert error.parameter == "secnd"


def test_unknown_argument_that_is_near_nothing_gets_none() -> None:
    error = refusal(THREE, [1], qqqq=2)
    assert "did you mean" not in str(error)
    assert "/f(first, second=2, third='c')" in str(error)


def test_argument_given_twice_is_refused() -> None:
    error = refusal(THREE, [1, 2], second=3)
    assert "argument 'second' is given twice, by position and by name" in str(error)
    assert error.parameter == "second"


def test_unknown_argument_is_reported_before_a_missing_one() -> None:
    assert refusal(THREE, frist=1).parameter == "frist"


# -- inputs that callers do not give --


@pytest.mark.parametrize(
    ("inputs", "data"),
    [
        ("x -state y", [1, None, 2]),
        ("-state x y", [None, 1, 2]),
        ("x y -state", [1, 2, None]),
        ("-s x -button -s y", [None, 1, None, None, 2]),
    ],
)
def test_skipped_inputs_get_null_at_their_place(inputs: str, data: list[Any]) -> None:
    assert bind_arguments(make_endpoint(inputs, "a b"), [1, 2], {}) == data
    assert bind_arguments(make_endpoint(inputs), [1, 2], {}) == data
    assert bind_arguments(make_endpoint(inputs, "a b"), [], {"b": 2, "a": 1}) == data


@pytest.mark.parametrize("version", OLD_VERSIONS + VERSIONS)
def test_state_in_the_middle_of_a_real_endpoint(version: str) -> None:
    endpoint = read_schema(version).find("between")
    assert bind_arguments(endpoint, ["x", "y"], {}) == ["x", None, "y"]


@pytest.mark.parametrize("version", OLD_VERSIONS + VERSIONS)
def test_names_and_defaults_of_a_real_endpoint(version: str) -> None:
    plain = read_schema(version).find("plain")
    assert bind_arguments(plain, [], {"b": "y", "a": "x"}) == ["x", "y"]
    if version >= "4.23":
        assert bind_arguments(plain, ["x"], {}) == ["x", "3"]
    else:
        # These tell no defaults.
        assert refusal(plain, ["x"]).parameter == "b"


# -- endpoints whose parameters are not known --


@pytest.mark.parametrize("names", [None, "a", "a b c"], ids=["unknown", "fewer", "more"])
def test_without_names_arguments_go_by_position(names: str | None) -> None:
    endpoint = make_endpoint("x -s y", names)
    assert bind_arguments(endpoint, [1, 2], {}) == [1, None, 2]
    for args in ([], [1], [1, 2, 3]):
        error = refusal(endpoint, args)
        assert f"/f takes 2 arguments, not {len(args)}; in order: x, y" in str(error)
        assert error.parameter is None
    error = refusal(endpoint, [1], y=2)
    assert "/f takes its 2 arguments by position only" in str(error)
    assert "In order: x, y" in str(error)
    assert error.parameter == "y"


def test_inputs_without_labels_are_called_by_their_kind() -> None:
    endpoint = make_endpoint("x __", api_name=None)._replace(
        inputs=(
            Component(0, "textbox", "", False),
            Component(1, "", "", False),
            Component(2, "number", "n", False),
        )
    )
    assert "fn_index=7 takes 3 arguments, not 0; in order: textbox, value, n" in str(
        refusal(endpoint)
    )


def test_endpoint_without_inputs_and_names_says_so() -> None:
    assert str(refusal(make_endpoint(), [1])).endswith(
        "/f takes 0 arguments, not 1; in order: none"
    )
    assert "In order: none" in str(refusal(make_endpoint(), x=1))


@pytest.mark.parametrize(
    ("inputs", "args", "kwargs", "needed"),
    [
        ("x y", [1, 2], {}, False),
        ("x -s y", [1, 2], {}, False),
        ("", [], {}, False),
        ("x y", [1], {}, True),
        ("x y", [1, 2, 3], {}, True),
        ("x -s y", [1, None, 2], {}, True),
        ("x y", [1], {"b": 2}, True),
        ("x", [1], {"b": 2}, True),
    ],
    ids=str,
)
def test_info_is_needed_for_names_and_defaults_only(
    inputs: str, args: list[Any], kwargs: dict[str, Any], needed: bool
) -> None:
    assert needs_info(make_endpoint(inputs), args, kwargs) is needed


@given(st.text("xs", max_size=8), st.data())
def test_given_values_stay_in_order_around_skipped_ones(spec: str, data: st.DataObject) -> None:
    endpoint = make_endpoint(" ".join("-s" if kind == "s" else "x" for kind in spec))
    count = spec.count("x")
    values = data.draw(st.lists(json_values(leaves=3), min_size=count, max_size=count))
    bound = bind_arguments(endpoint, values, {})
    assert len(bound) == len(spec)
    assert [value for value, kind in zip(bound, spec, strict=True) if kind == "x"] == values
    assert all(value is None for value, kind in zip(bound, spec, strict=True) if kind == "s")


# -- the body --


def test_body_has_data_and_function_and_is_extended() -> None:
    body = encode_body(make_endpoint("x"), ["naïve ✓"])
    assert json.loads(body) == {"data": ["naïve ✓"], "fn_index": 7}
    body = encode_body(make_endpoint("x"), ["naïve ✓"], event_data={"a": 1})
    assert json.loads(extend_body(body, session_hash="s", event_id=None)) == {
        "data": ["naïve ✓"],
        "fn_index": 7,
        "event_data": {"a": 1},
        "session_hash": "s",
        "event_id": None,
    }


def test_batch_of_one_has_a_list_for_each_input() -> None:
    body = extend_body(encode_body(make_endpoint("xx"), ["a", [1, math.nan]]), session_hash="s")
    fields = json.loads(batch_body(body))
    assert math.isnan(fields["data"][1][0].pop())
    assert fields == {
        "data": [["a"], [[1]]],
        "fn_index": 7,
        "session_hash": "s",
        "batched": True,
    }


def test_nan_and_infinities_are_sent_as_python_reads_them() -> None:
    body = encode_body(make_endpoint("x"), [[math.nan, math.inf, -math.inf]])
    assert b"[NaN, Infinity, -Infinity]" in body
    values = json.loads(body)["data"][0]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf]


def test_lone_surrogates_are_sent() -> None:
    body = encode_body(make_endpoint("x"), ["\ud83d"])
    assert json.loads(body)["data"] == ["\ud83d"]
    body.decode("ascii")


@given(json_values(text=st.text(st.characters(exclude_categories=[]), max_size=8)))
def test_any_json_is_sent_as_it_is(value: Json) -> None:
    assert json.loads(encode_body(make_endpoint("x"), [value]))["data"] == [value]


def circle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"bytes", "bytes"),
        ({1, 2}, "set"),
        ({(1, 2): 3}, "dict"),
        (1j, "complex"),
        (object(), "object"),
        ([[{"a": b"deep"}]], "list"),
        (circle(), "list"),
    ],
    ids=["bytes", "set", "tuple as a key", "complex", "object", "deep", "circle"],
)
def test_value_that_is_no_json_is_named(value: object, kind: str) -> None:
    endpoint = make_endpoint("x -s y z")
    with pytest.raises(ArgumentError) as caught:
        encode_body(endpoint, [1, None, value, b"too"])
    assert f"/f: the value for 'y' ({kind}) cannot be sent as JSON: " in str(caught.value)
    assert caught.value.endpoint == "/f"
    assert caught.value.parameter == "y"


def test_value_that_is_nested_too_deep_is_named() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ArgumentError, match="the value for 'x'"):
        encode_body(make_endpoint("x"), [value])


def test_value_of_an_input_without_a_label_is_called_by_its_kind() -> None:
    endpoint = make_endpoint()._replace(inputs=(Component(0, "number", "", False),))
    with pytest.raises(ArgumentError, match="the value for 'number'"):
        encode_body(endpoint, [b"x"])


def test_other_field_that_is_no_json_is_an_error_too() -> None:
    with pytest.raises(ArgumentError, match="not JSON serializable") as caught:
        encode_body(make_endpoint("x"), [1], event_data=b"x")
    assert caught.value.parameter is None


# -- what callers get --


@pytest.mark.parametrize(
    ("outputs", "values", "seen"),
    [
        ("x", ["a"], "a"),
        ("x", [["a"]], ["a"]),
        ("x", [None], None),
        ("x y", ["a", 1], ("a", 1)),
        ("", [], ()),
        ("x -s", ["a", None], "a"),
        ("-s x", [None, "a"], "a"),
        ("-s x -s y", [None, "a", None, "b"], ("a", "b")),
        ("-s", [None], ()),
        ("-s -s", [None, None], ()),
    ],
)
def test_one_value_is_bare_and_others_are_a_tuple(
    outputs: str, values: list[Any], seen: object
) -> None:
    assert presenter(make_endpoint(outputs=outputs))(values) == seen


def test_values_that_are_missing_or_too_many_do_no_harm() -> None:
    one, two = presenter(make_endpoint(outputs="-s x")), presenter(make_endpoint(outputs="x y"))
    assert one([]) is None
    assert one([1]) is None
    assert one([1, 2, 3]) == 2
    assert two([]) == (None, None)
    assert two([1]) == (1, None)
    assert two([1, 2, 3]) == (1, 2)
