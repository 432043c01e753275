"""The parts of a docstring: what a function does, takes and gives."""

from __future__ import annotations

import re
from inspect import cleandoc
from typing import NamedTuple

__all__ = ("Docstring", "parse_docstring")

_SECTION = re.compile(
    r"(Args|Arguments|Parameters|Params|Other Parameters|Keyword Args|Keyword Arguments|Returns?|"
    r"Yields?|Raises|Attributes|Examples?|Notes?|Warnings?|Warns|See Also|References|Todo):\s*"
)
_PARAMETERS = {"Args", "Arguments", "Parameters", "Params", "Other Parameters"} | {
    "Keyword Args",
    "Keyword Arguments",
}
_RESULTS = {"Return", "Returns", "Yield", "Yields"}
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_FIELD = re.compile(r":(\w+)(?:\s+([^:]*))?:\s*(.*)")


class Docstring(NamedTuple):
    """A docstring's parts, each with its lines joined except for the description.

    Attributes:
        description: What comes before the first section or field.
        parameters: By name.
        returns: What is returned or yielded.
    """

    description: str
    parameters: dict[str, str]
    returns: str


def parse_docstring(text: str | None) -> Docstring:
    """Read a docstring of Google's style, or with reST's ``:param name:`` fields."""
    description: list[str] = []
    parameters: dict[str, list[str]] = {}
    returns: list[str] = []
    taking: list[str] | None = description  # where the next line goes; None drops it
    section = ""
    indent = -1  # of the entries of a section
    for line in cleandoc(text or "").splitlines():
        bare = line.strip()
        depth = len(line) - len(line.lstrip())
        if not depth and (heading := _SECTION.fullmatch(bare)):
            section, indent = heading[1], -1
            taking = returns if section in _RESULTS else None
        elif not depth and (field := _FIELD.fullmatch(bare)):
            section, taking = ":", None
            kind, names, rest = field[1], field[2] or "", field[3]
            if kind in ("param", "parameter", "arg", "argument", "key") and names.split():
                taking = parameters.setdefault(names.split()[-1].lstrip("*"), [])
            elif kind in ("return", "returns", "yield", "yields"):
                taking = returns
            if taking is not None:
                taking.append(rest)
        elif section in _PARAMETERS and bare:
            indent = depth if indent < 0 else indent
            if depth <= indent:
                entry = _ENTRY.fullmatch(bare)
                taking = parameters.setdefault(entry[1], []) if entry else None
                bare = entry[2] if entry else ""
            if taking is not None:
                taking.append(bare)
        elif taking is description:
            description.append(line)
        elif taking is not None and bare:
            taking.append(bare)
    return Docstring(
        "\n".join(description).strip(),
        {name: " ".join(filter(None, lines)) for name, lines in parameters.items()},
        " ".join(filter(None, returns)),
    )
