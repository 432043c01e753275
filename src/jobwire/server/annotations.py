"""What a function's annotations say: the types, how it is called, the words for people."""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections import abc
from collections.abc import Callable, Iterator
from enum import Enum
from types import FrameType, NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin

import msgspec

from jobwire.server.errors import DeclarationError

__all__ = ("Kind", "bare", "choices_of", "kind_of", "not_none", "said", "type_hints")

Kind = Literal["function", "coroutine", "generator", "async_generator"]


def bare(annotation: Any) -> Any:
    """Return the type in an ``Annotated`` or behind an alias, else the annotation itself."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif type(annotation).__name__ == "TypeAliasType":  # of `type X = ...`
            annotation = annotation.__value__
        else:
            return annotation


def not_none(annotation: Any) -> Any:
    """Return X for ``X | None``, and else the annotation; without ``Annotated``."""
    inner = bare(annotation)
    if get_origin(inner) in (Union, UnionType):
        others = [bare(arg) for arg in get_args(inner) if arg is not NoneType]
        return others[0] if len(others) == 1 else inner
    return inner


def said(annotation: Any) -> tuple[str, str]:
    """Return the title and the description in an ``Annotated``; each may be empty."""
    title = text = ""
    for item in getattr(annotation, "__metadata__", ()):
        if isinstance(item, str):
            text = text or item
        elif isinstance(item, msgspec.Meta):
            title, text = title or item.title or "", text or item.description or ""
    return title, text


def choices_of(annotation: Any) -> tuple[Any, ...] | None:
    """Return the wire values of a Literal or Enum, of a list of one, or of one or None."""
    annotation = not_none(annotation)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return tuple(value for value in args if value is not None) or None
    if isinstance(origin, type) and origin is not tuple and len(args) == 1:
        return choices_of(args[0])
    if origin is tuple and len(args) == 2 and args[1] is ...:
        return choices_of(args[0])
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return tuple(member.value for member in annotation)
    if isinstance(annotation, NewType):
        return choices_of(annotation.__supertype__)
    return None


# -- how a function is called ------------------------------------------------------

_KINDS: tuple[tuple[Callable[[Any], bool], Kind], ...] = (
    (inspect.isasyncgenfunction, "async_generator"),
    (inspect.isgeneratorfunction, "generator"),
    (inspect.iscoroutinefunction, "coroutine"),
)
_RETURNED: dict[Any, Kind] = {
    abc.Iterator: "generator",
    abc.Generator: "generator",
    abc.AsyncIterator: "async_generator",
    abc.AsyncIterable: "async_generator",
    abc.AsyncGenerator: "async_generator",
    abc.Awaitable: "coroutine",
    abc.Coroutine: "coroutine",
}
_STREAMS: dict[Kind, tuple[Any, ...]] = {
    "generator": (abc.Iterator, abc.Iterable, abc.Generator),
    "async_generator": (abc.AsyncIterator, abc.AsyncIterable, abc.AsyncGenerator),
}


def kind_of(fn: Any, returned: Any) -> tuple[Kind, Any]:
    """Return how a function is called, and the type of what it gives each time.

    Args:
        fn: The function.
        returned: Its return annotation; Any if it has none.

    Raises:
        DeclarationError: The two do not fit; the text does not name the function.
    """
    inner = bare(returned)
    origin, args = get_origin(inner) or inner, get_args(inner)
    own: Kind | None = next((kind for is_kind, kind in _KINDS if is_kind(fn)), None)
    # A plain function may return what another one made.
    kind: Kind = own or _RETURNED.get(origin, "function")
    if kind in _STREAMS and inner is not Any:
        if origin not in _STREAMS[kind]:
            example = "Iterator" if kind == "generator" else "AsyncIterator"
            raise DeclarationError(
                f"it yields, so its return annotation has to be {example}[...] of what it "
                f"yields, not {inspect.formatannotation(returned)}"
            )
        return kind, args[0] if args else Any
    if kind == "coroutine" and own is None:
        return kind, args[-1] if args else Any
    return kind, returned


# -- names in annotations ----------------------------------------------------------


def type_hints(fn: Any) -> dict[str, Any]:
    """Return a function's annotations, with those that are written as text resolved.

    Raises:
        DeclarationError: One cannot be resolved; the text does not name the function.
    """
    try:
        return typing.get_type_hints(fn, localns=dict(_local_names(fn)), include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{_subject(fn, str(error.name))} names {error.name!r}, which is not known where the "
            "function was written; import it there, outside of `if TYPE_CHECKING`"
        ) from error
    except (TypeError, SyntaxError) as error:
        raise DeclarationError(f"an annotation is no type: {error}") from error


def _subject(fn: Any, name: str) -> str:
    """Say which annotation a name is in."""
    try:
        texts = inspect.get_annotations(inspect.unwrap(fn))
    except NameError:  # Python 3.14 has no texts
        texts = {}
    pattern = re.compile(rf"\b{re.escape(name)}\b")
    for parameter, text in texts.items():
        if pattern.search(str(text)):
            if parameter == "return":
                return "its return annotation"
            return f"the annotation of parameter {parameter!r}"
    return "an annotation"


def _local_names(fn: Any) -> Iterator[tuple[str, Any]]:
    """What the functions around this one know, inner ones after outer ones.

    As far as it can be found out: from their frames, while they are being executed, and
    from what this function uses of it.
    """
    inner = inspect.unwrap(fn)
    if "<locals>" in getattr(inner, "__qualname__", ""):
        frames: list[FrameType] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_globals is getattr(inner, "__globals__", None):
                frames.append(frame)
            frame = frame.f_back
        for frame in reversed(frames):
            yield from frame.f_locals.items()
    names = getattr(getattr(inner, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(inner, "__closure__", None) or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
