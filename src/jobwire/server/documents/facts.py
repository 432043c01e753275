"""What the documents are made of, and the few things that all of them say alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobwire.server.signature import Slot

__all__ = ("Facts", "example")


@dataclass(frozen=True, slots=True)
class Facts:
    """What an app says about itself.

    Attributes:
        title: Its name.
        description: What it is for; may be empty.
        app_id: Differs between processes; 64 bits, unsigned.
        max_file_size: Of an upload, in bytes; None if there is no limit.
        show_errors: Callers read the text of any exception.
        auth: Callers have to log in.
    """

    title: str
    description: str
    app_id: int
    max_file_size: int | None
    show_errors: bool
    auth: bool = False


_FILE = {"path": "/path/to/file", "meta": {"_type": "gradio.FileData"}}
_BY_COMPONENT: dict[str, Any] = {"textbox": "Hello!!", "number": 3, "checkbox": True}
_BY_TYPE: dict[str, Any] = {
    "string": "text",
    "integer": 3,
    "number": 1.5,
    "boolean": True,
    "null": None,
}
_BY_FORMAT = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00",
    "duration": "PT90S",
    "uuid": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "decimal": "1.50",
}
_DEEPEST = 6
"""A type that contains itself has no end, and nobody reads an example further down."""


def example(slot: Slot) -> Any:
    """Return a value that a caller could give for an input."""
    if slot.has_default and slot.default is not None:
        return slot.default
    if slot.choices:
        return [slot.choices[0]] if slot.multiple else slot.choices[0]
    if slot.component == "file":
        return [_FILE] if slot.multiple else _FILE
    if slot.component in _BY_COMPONENT and slot.schema.keys() <= {"type", "description"}:
        return _BY_COMPONENT[slot.component]
    return _from_schema(slot.schema, slot.schema.get("$defs", {}), 0)


def _from_schema(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> Any:
    if depth > _DEEPEST:
        return None

    def inner(part: Mapping[str, Any]) -> Any:
        return _from_schema(part, definitions, depth + 1)

    if "$ref" in schema:
        return inner(definitions.get(schema["$ref"].rpartition("/")[2], {}))
    if schema.get("title") == "FileData":
        return _FILE
    for key in ("default", "const"):
        if key in schema:
            return schema[key]
    if schema.get("examples") or schema.get("enum"):
        return (schema.get("examples") or schema["enum"])[0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return inner(schema[key][0])
    if "format" in schema and schema["format"] in _BY_FORMAT:
        return _BY_FORMAT[schema["format"]]
    kind = schema.get("type")
    if kind == "object":
        names = schema.get("required", schema.get("properties", ()))
        return {name: inner(schema.get("properties", {}).get(name, {})) for name in names}
    if kind == "array":
        items = schema.get("items")
        return [
            *map(inner, schema.get("prefixItems", ())),
            *([inner(items)] if isinstance(items, Mapping) else ()),
        ]
    if kind in ("integer", "number"):
        return schema.get("minimum", _BY_TYPE[kind])
    return _BY_TYPE.get(kind) if isinstance(kind, str) else {}
