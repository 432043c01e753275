"""A function's parameters and outputs, as callers see them."""

import functools
import math
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta
from typing_extensions import TypeAliasType

from jobwire.server.errors import DeclarationError, InputError, OutputError
from jobwire.server.signature import Slot
from server import late_names
from server.declaring import (
    FILES,
    Attached,
    Color,
    Order,
    Photo,
    Point,
    Progress,
    Request,
    Shelf,
    User,
    declaration_error,
    encode,
    giving,
    inspect,
    taking,
)

# -- how many, and by which name -----------------------------------------------------


def three(a: int, b: str = "b", *, c: float | None = 1.5) -> None: ...


def test_too_few_are_filled_up() -> None:
    signature = inspect(three)
    assert signature.decode([1], files=FILES) == [1, "b", 1.5]
    assert signature.decode([1, "x"], files=FILES) == [1, "x", 1.5]
    with pytest.raises(
        InputError, match=r"no value for 'a'; it takes 3: a, b \(optional"
    ) as caught:
        signature.decode([], files=FILES)
    assert caught.value.parameter == "a"


def test_only_what_is_required_is_missed() -> None:
    def apart(a: int = 1, *, b: int, c: int) -> None: ...

    with pytest.raises(InputError, match="no value for 'b', 'c';") as caught:
        inspect(apart).decode([], files=FILES)
    assert caught.value.parameter == "b"


def test_too_many_are_refused() -> None:
    with pytest.raises(InputError, match="three: 4 values were sent, but it takes 3") as caught:
        inspect(three).decode([1, "b", 2, 3], files=FILES)
    assert caught.value.parameter is None
    with pytest.raises(InputError, match="1 values were sent, but it takes none"):
        giving().decode([1], files=FILES)


def test_null_is_the_default_where_none_is_not_a_value() -> None:
    signature = inspect(three)
    assert signature.decode([1, None, None], files=FILES) == [1, "b", None]
    with pytest.raises(InputError, match="expected int, got null"):
        signature.decode([None], files=FILES)


def test_names() -> None:
    signature = inspect(three)
    assert signature.decode_named({"c": 2, "a": 1}) == [1, "b", 2]
    assert signature.decode_named({"a": "wire values are not looked at"})[1:] == ["b", 1.5]
    with pytest.raises(InputError, match="three: no value for 'a'") as missing:
        signature.decode_named({})
    assert missing.value.parameter == "a"
    with pytest.raises(InputError, match="three has no parameter 'd'; it takes 3: a, b") as unknown:
        signature.decode_named({"a": 1, "d": 2})
    assert unknown.value.parameter == "d"


def test_a_near_name_is_offered() -> None:
    def paint(color: str) -> None: ...

    with pytest.raises(InputError, match=r"no parameter 'colour'; did you mean 'color'\?"):
        inspect(paint).decode_named({"colour": "red"})


def test_names_that_clients_keep_for_themselves() -> None:
    def take(api_name: str, param_0: int, fn_index: int, *, headers: str = "h") -> None: ...

    signature = inspect(take)
    assert [slot.name for slot in signature.inputs] == ["param_0_", "param_0", "param_2", "param_3"]
    args = signature.decode_named({"param_0_": "a", "param_0": 1, "param_2": 2})
    assert signature.bind(args, {}) == (["a", 1, 2], {"headers": "h"})


# -- defaults --------------------------------------------------------------------


def test_a_default_is_told_as_a_wire_value() -> None:
    for annotation, default, wire in (
        (str, "a", "a"),
        (int, 0, 0),
        (float, 1, 1),
        (Color, Color.BLUE, "blue"),
        (set[int], {1}, [1]),
        (tuple[int, str], (1, "a"), [1, "a"]),
        (date | None, date(2026, 1, 31), "2026-01-31"),
        (Order, Order("a"), {"item": "a", "count": 1}),
        (User, User(name="a"), {"name": "a", "born": None, "friends": []}),
        (int | None, None, None),
    ):
        signature = taking(annotation, default=default)
        (slot,) = signature.inputs
        assert slot.has_default
        assert slot.default == wire
        assert signature.decode([], files=FILES) == [default]
        assert signature.decode([wire], files=FILES) == [default]
        assert signature.decode(signature.decode_named({}), files=FILES) == [default]


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (int, None),
        (int, "not an int"),
        (Path, Path("sample.png")),
        (Path | None, Path("sample.png")),
        (Any, (1, 2)),
        (Any, date(2026, 1, 31)),
        pytest.param(Any, object(), id="an object"),
        (Any, np.arange(3)),
        (float | None, math.nan),
        (list[Path], [Path("a")]),
        (Path, {"path": "a"}),
    ],
    ids=str,
)
def test_a_default_that_json_cannot_express_is_null(annotation: Any, default: Any) -> None:
    signature = taking(annotation, default=default)
    (slot,) = signature.inputs
    assert slot.has_default
    assert slot.default is None
    for values in ([], [None], signature.decode_named({})):
        (value,) = signature.decode(values, files=FILES)
        assert value is default


def test_a_default_on_the_wire_is_not_shared() -> None:
    signature = taking(list[Any], default=[1])
    (first,) = signature.decode_named({})
    first.append(2)
    assert signature.decode_named({}) == [[1]]
    assert signature.inputs[0].default == [1]


def test_no_default_is_known_as_such() -> None:
    (slot,) = taking(int | None).inputs
    assert (slot.has_default, slot.default) == (False, None)
    with pytest.raises(InputError, match="no value for 'x'"):
        taking(int | None).decode([], files=FILES)


def test_without_an_annotation_a_plain_default_is_the_type() -> None:
    def take(a, b=1, c="c", d=True, e=None, f=(1,)) -> None:  # type: ignore[no-untyped-def]
        ...

    words = [slot.python_type for slot in inspect(take).inputs]
    assert words == ["Any", "int", "str", "bool", "Any", "Any"]
    assert inspect(take).decode([None], files=FILES) == [None, 1, "c", True, None, (1,)]


# -- calling ---------------------------------------------------------------------


def test_bind_calls_every_kind_of_parameter() -> None:
    def take(a: int, p: Progress, /, b: int, r: Request | None, *, c: int, q: Progress) -> str:
        return f"{a}{p}{b}{r}{c}{q}"

    signature = inspect(take)
    assert [slot.name for slot in signature.inputs] == ["a", "b", "c"]
    assert signature.injected == {"p": Progress, "r": Request, "q": Progress}
    args, kwargs = signature.bind([1, 2, 3], {"p": "P", "r": "R", "q": "Q"})
    assert take(*args, **kwargs) == "1P2R3Q"
    args, kwargs = signature.bind([1, 2, 3], {"p": "P", "q": "Q"})
    assert take(*args, **kwargs) == "1P2None3Q"


def test_bind_without_anything_special() -> None:
    def take(a: int, b: int = 2) -> None: ...

    assert inspect(take).bind([1, 3], {}) == ([1, 3], {})


def test_a_parameter_is_injected_for_its_default() -> None:
    default = Progress()

    def take(a: int, progress=default, other: Any = default) -> None:  # type: ignore[no-untyped-def]
        ...

    signature = inspect(take)
    assert signature.injected == {"progress": Progress, "other": Progress}
    assert signature.bind([1], {"other": "O"}) == ([1, default, "O"], {})


def test_an_injected_parameter_may_be_annotated_in_every_way() -> None:
    def take(
        a: Annotated[Progress, "bar"], b: Request | None, c: "Progress | None" = None
    ) -> None: ...

    assert inspect(take).injected == {"a": Progress, "b": Request, "c": Progress}


# -- what can be an endpoint ---------------------------------------------------------


def test_kinds() -> None:
    def plain() -> int: ...  # type: ignore[empty-body]

    async def coroutine() -> int: ...  # type: ignore[empty-body]

    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    def makes_generator() -> Iterator[int]:
        return generator()

    def makes_async_generator() -> AsyncGenerator[int, None]:
        return async_generator()  # type: ignore[return-value]

    def makes_coroutine() -> Awaitable[int]:
        return coroutine()

    class Callable_:  # noqa: N801
        async def __call__(self, x: int) -> int:
            """Call it."""
            return x

        def method(self) -> Generator[int, None, str]:
            yield 1
            return ""

    for fn, kind in (
        (plain, "function"),
        (coroutine, "coroutine"),
        (generator, "generator"),
        (async_generator, "async_generator"),
        (makes_generator, "generator"),
        (makes_async_generator, "async_generator"),
        (makes_coroutine, "coroutine"),
        (Callable_(), "coroutine"),
        (Callable_().method, "generator"),
        (functools.partial(generator), "generator"),
        (functools.lru_cache(plain), "function"),
    ):
        signature = inspect(fn)
        assert signature.kind == kind, fn
        assert [slot.python_type for slot in signature.outputs] == ["int"], fn

    assert inspect(Callable_()).name == "Callable_"
    assert inspect(Callable_()).description == "Call it."
    assert [slot.name for slot in inspect(Callable_()).inputs] == ["x"]


@pytest.mark.parametrize(
    "annotation",
    [
        *(Iterator[str], Iterable[str], Generator[str, None, None], Generator[str, int, bool]),
        *(Annotated[Iterator[str], "text"], "Iterator[str]"),
    ],
    ids=str,
)
def test_what_a_generator_gives(annotation: Any) -> None:
    def give() -> Any:
        yield ""

    async def give_async() -> Any:
        yield ""

    give.__annotations__["return"] = annotation
    assert [slot.python_type for slot in inspect(give).outputs] == ["str"]
    assert [slot.python_type for slot in inspect(give_async).outputs] == ["Any"]
    give.__annotations__["return"] = Iterator
    assert [slot.python_type for slot in inspect(give).outputs] == ["Any"]
    for annotation in (AsyncIterator[int], AsyncIterable[int], AsyncGenerator[int, None]):
        give_async.__annotations__["return"] = annotation
        assert [slot.python_type for slot in inspect(give_async).outputs] == ["int"]


def test_a_plain_function_may_return_an_iterable() -> None:
    text = declaration_error(giving_unsupported(Iterable[int]))
    assert text.startswith("the return annotation: collections.abc.Iterable[int] is not")


def giving_unsupported(annotation: Any) -> Callable[..., Any]:
    def give() -> Any: ...

    give.__annotations__["return"] = annotation
    return give


def test_a_generator_says_what_it_yields() -> None:
    def text() -> str:  # type: ignore[misc]
        yield ""

    async def wrong() -> Iterator[str]:  # type: ignore[misc]
        yield ""

    assert "has to be Iterator[...] of what it yields, not str" in declaration_error(text)
    assert "has to be AsyncIterator[...]" in declaration_error(wrong)


def test_a_partial_and_a_wrapped_function() -> None:
    def add(a: int, b: int, c: int = 3) -> int:
        """Add."""
        return a + b + c

    @functools.wraps(add)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return add(*args, **kwargs)

    signature = inspect(functools.partial(add, 1, c=5))
    assert [(slot.name, slot.default) for slot in signature.inputs] == [("b", None), ("c", 5)]
    assert (signature.name, signature.description) == ("add", "Add.")
    args, kwargs = signature.bind(signature.decode([2], files=FILES), {})
    assert functools.partial(add, 1, c=5)(*args, **kwargs) == 8
    assert [slot.name for slot in inspect(wrapper).inputs] == ["a", "b", "c"]
    assert inspect(wrapper).name == "add"


def test_its_name() -> None:
    assert inspect(lambda x: x).name == "lambda"
    assert inspect(lambda x: x, name="double").name == "double"


def test_what_cannot_be_called() -> None:
    with pytest.raises(DeclarationError, match="is no function"):
        inspect(Color)
    with pytest.raises(DeclarationError, match="is no function"):
        inspect(SimpleNamespace())  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="Python cannot tell its parameters"):
        inspect(dict.fromkeys([1]).update)


def test_open_ended_parameters_are_refused() -> None:
    def args(*values: int) -> None: ...

    def kwargs(**values: int) -> None: ...

    assert declaration_error(args).startswith("*values: int cannot be: callers have to know")
    assert declaration_error(kwargs).startswith("**values: int cannot be")


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (object, "object is not supported"),
        (complex, "complex has no form on the wire; use str, int"),
        (Callable[[int], int], "Callable has no form on the wire"),
        (PurePath, "PurePath has no form on the wire; for a file, use pathlib.Path"),
        (list[Progress], "Progress has no form on the wire"),
        (Progress | Request, "custom type"),
        (str | Path, "custom type"),
        (Photo | Order, "more than one dict-like type"),
        (msgspec.Raw, "RawType is for messages of msgspec's own"),
        (Attached, "a file cannot be a field of a pydantic model; use a dataclass"),
        (list[Attached], "a file cannot be a field of a pydantic model"),
        (Annotated[Path, pydantic.Field()], "a file cannot be a field of a pydantic model"),
        (Shelf, "Box is a dataclass of pydantic's inside a type that is not"),
        (User | Progress, "Progress"),
        (np.ndarray, "ndarray has no form on the wire"),
        (3, "3 is not supported"),
    ],
    ids=str,
)
def test_what_no_value_can_be_sent_for(annotation: Any, text: str) -> None:
    def take(x: Any) -> None: ...

    take.__annotations__["x"] = annotation
    message = declaration_error(take)
    assert text in message
    assert message.startswith("parameter 'x': ")


def test_a_default_inside_a_type_has_to_be_json() -> None:
    @dataclass
    class Picture:
        image: Path = Path("a.png")

    def take(x: Picture) -> None: ...

    assert "JSON cannot express the default of a field" in declaration_error(take)


def test_names_in_annotations() -> None:
    used, during = late_names.make(inspect)
    assert [slot.python_type for slot in late_names.make_early(inspect).inputs] == ["int"]
    assert [slot.python_type for slot in inspect(used).inputs] == ["dict(b: str)"]
    assert [slot.python_type for slot in during.inputs] == ["dict(a: int)", "Literal['x']"]
    text = declaration_error(late_names.unknown)
    assert text.startswith("the annotation of parameter 'b' names 'Nowhere', which is not known")
    text = declaration_error(late_names.returns_unknown)
    assert text.startswith("its return annotation names 'Nowhere'")
    text = declaration_error(late_names.broken)
    assert text.startswith("an annotation is no type: ")


# -- outputs ---------------------------------------------------------------------


def names(fn: Callable[..., Any]) -> list[str]:
    return [slot.name for slot in inspect(fn).outputs]


def test_how_many_outputs_there_are() -> None:
    for annotation, expected in (
        (None, []),
        (tuple[()], []),
        (int, ["value"]),
        (Any, ["value"]),
        (tuple, ["value"]),
        (tuple[int, ...], ["value"]),
        (tuple[int], ["value"]),
        (Point, ["value"]),
        (tuple[int, str], ["value_1", "value_2"]),
        (Annotated[tuple[int, str], "both"], ["value_1", "value_2"]),
        (TypeAliasType("Both", tuple[int, str]), ["value_1", "value_2"]),
    ):
        assert names(giving_unsupported(annotation)) == expected, annotation

    def generator() -> Iterator[tuple[int, str]]:
        yield 1, ""

    def silent() -> Iterator[None]:
        yield None

    assert names(generator) == ["value_1", "value_2"]
    assert names(silent) == []
    assert names(lambda: 1) == ["value"]


def test_labels_and_descriptions_in_annotations() -> None:
    def paint(
        a: Annotated[int, Meta(title="Width", description="In pixels.")],
        b: Annotated[int, "In lines."],
        c: int,
    ) -> tuple[Annotated[str, Meta(title="Area")], int]:
        return "", a + b + c

    signature = inspect(paint)
    assert [(slot.label, slot.description) for slot in signature.inputs] == [
        ("Width", "In pixels."),
        ("b", "In lines."),
        ("c", ""),
    ]
    assert [slot.label for slot in signature.outputs] == ["Area", "value_2"]


def test_several_outputs_are_a_tuple() -> None:
    signature = giving(tuple[int, str])
    assert signature.encode((1, "a"), files=FILES) == [1, "a"]
    for result, got in (
        ((1,), "1 of them"),
        ((1, "a", 2), "3 of them"),
        (None, "None"),
    ):
        with pytest.raises(OutputError, match=f"give has to give a tuple of 2, .* it gave {got}"):
            signature.encode(result, files=FILES)


def test_an_output_alone_may_be_a_tuple() -> None:
    assert encode((1, 2)) == [1, 2]
    assert giving(tuple[int]).encode((1,), files=FILES) == [1]
    assert giving(None).encode("ignored", files=FILES) == []


# -- batches ---------------------------------------------------------------------


def test_a_batch_endpoint_takes_lists() -> None:
    def batch(a: list[int], b: Sequence[str], r: Request) -> tuple[list[str], list[float]]:
        return list(b), [float(number) for number in a]

    signature = inspect(batch, batch=True)
    assert signature.batch
    assert [slot.python_type for slot in signature.inputs] == ["int", "str"]
    assert [slot.python_type for slot in signature.outputs] == ["str", "float"]
    assert signature.decode([1, "a"], files=FILES) == [1, "a"]
    assert signature.bind([[1], ["a"]], {"r": "R"}) == ([[1], ["a"], "R"], {})
    assert signature.encode(("a", 1.5), files=FILES) == ["a", 1.5]


def test_a_batch_endpoint_may_say_less() -> None:
    def bare(a: list) -> list:  # type: ignore[type-arg]
        return a

    async def silent(a: list[int]) -> None: ...

    def untold(a: list[int]): ...  # type: ignore[no-untyped-def]

    assert [slot.python_type for slot in inspect(bare, batch=True).outputs] == ["Any"]
    assert inspect(silent, batch=True).outputs == ()
    assert [slot.python_type for slot in inspect(untold, batch=True).outputs] == ["Any"]


def test_a_batch_endpoint_that_takes_no_lists() -> None:
    def one(a: int) -> list[int]: ...  # type: ignore[empty-body]

    def untold(a) -> list[int]: ...  # type: ignore[no-untyped-def, empty-body]

    def returns(a: list[int]) -> int: ...  # type: ignore[empty-body]

    def several(a: list[int]) -> tuple[list[int], int]: ...  # type: ignore[empty-body]

    def default(a: list[int] = []) -> list[int]: ...  # type: ignore[empty-body]  # noqa: B006

    def generator(a: list[int]) -> Iterator[list[int]]:
        yield a

    for fn, text in (
        (one, "parameter 'a': a batch endpoint takes and returns lists, .* not int"),
        (untold, "parameter 'a': a batch endpoint .* not nothing"),
        (returns, "the return annotation: a batch endpoint .* not int"),
        (several, "output 2: a batch endpoint"),
        (default, "parameter 'a' has a default"),
        (generator, "a generator cannot be a batch endpoint"),
    ):
        with pytest.raises(DeclarationError, match=f"^{fn.__name__}: {text}"):
            inspect(fn, batch=True)


# -- docstrings ------------------------------------------------------------------


def described(doc: str) -> tuple[str, list[str], str]:
    def take(a: int, b: int = 1, *, c: str = "") -> str: ...  # type: ignore[empty-body]

    take.__doc__ = doc
    signature = inspect(take)
    return (
        signature.description,
        [slot.description for slot in signature.inputs],
        signature.outputs[0].description,
    )


def test_google_style() -> None:
    assert described(
        """Make it.

        More about it:
            indented.

        Args:
            a: First.
            b (int, optional): Second,
                on two lines: with a colon.
            **c: Third.

        Returns:
            What was
            made.

        Raises:
            ValueError: Never.

        Example:
            a: not a parameter
        """
    ) == (
        "Make it.\n\nMore about it:\n    indented.",
        ["First.", "Second, on two lines: with a colon.", "Third."],
        "What was made.",
    )


def test_rest_style() -> None:
    assert described(
        """Make it.

        :param a: First,
            on two lines.
        :param int b: Second.
        :type b: int
        :raises ValueError: Never.
        :return: What was made.
        """
    ) == ("Make it.", ["First, on two lines.", "Second.", ""], "What was made.")


def test_docstrings_without_sections() -> None:
    assert described("") == ("", ["", "", ""], "")
    assert described("One line: of text.") == ("One line: of text.", ["", "", ""], "")
    assert described("Args:\n    a: First.\n\n    c: Third.") == ("", ["First.", "", "Third."], "")
    assert described("Make.\n\nYields:\n    Text.")[2] == "Text."
    assert described("Make.\n\nArgs:\n    no entry at all")[1] == ["", "", ""]


def test_the_docstring_wins_over_the_annotation() -> None:
    def take(a: Annotated[int, "from the annotation"]) -> None:
        """Take.

        Args:
            a: from the docstring
        """

    assert inspect(take).inputs[0].description == "from the docstring"


@given(st.text(st.sampled_from("Args:\n a(*)ReturnsYield:param "), max_size=60))
def test_every_docstring_can_be_read(doc: str) -> None:
    description, parameters, returns = described(doc)
    assert all(isinstance(text, str) for text in (description, *parameters, returns))


def test_a_slot() -> None:
    (slot,) = taking(int, default=3).inputs
    assert slot == Slot(
        name="x",
        label="x",
        component="number",
        schema={"type": "integer"},
        python_type="int",
        description="",
        has_default=True,
        default=3,
        choices=None,
        multiple=False,
    )
