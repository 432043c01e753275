"""Functions whose annotations are text, with names that are hard to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias


def make(inspect: Callable[[Callable[..., Any]], Any]) -> tuple[Callable[..., Any], Any]:
    """Return a function that uses a local name, and what is found out of one that does not."""

    @dataclass
    class Unused:
        a: int

    @dataclass
    class Used:
        b: str

    Choice: TypeAlias = Literal["x"]

    def used(x: Used) -> None:
        Used("")

    def unused(u: Unused, c: Choice) -> None: ...

    return used, inspect(unused)


def make_early(inspect: Callable[[Callable[..., Any]], Any]) -> Any:
    """Return what is found out of a function that uses a name before it has a value."""

    def early(x: int) -> None:
        print(later)

    found = inspect(early)
    later = 1
    return found


def unknown(a: int, b: list[Nowhere]) -> None:  # type: ignore[name-defined] # noqa: F821
    pass


def returns_unknown(a: int) -> Nowhere:  # type: ignore[name-defined] # noqa: F821
    pass


def broken(a: int[str]) -> None:  # type: ignore[type-arg]
    pass
