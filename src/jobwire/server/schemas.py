"""What callers are told of a type: its JSON schema, its name in words, its component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time
from pathlib import Path
from typing import Any, get_origin

import msgspec

from jobwire.server.annotations import not_none
from jobwire.server.values import is_pydantic, pydantic_adapter

__all__ = (
    "FILE_SCHEMA",
    "UnsupportedError",
    "check",
    "component_of",
    "schema_of",
    "words_of",
)

_Json = dict[str, Any]


def _nullable(type: str) -> _Json:
    return {"anyOf": [{"type": type}, {"type": "null"}]}


FILE_SCHEMA: _Json = {
    "title": "FileData",
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "url": _nullable("string"),
        "size": _nullable("integer"),
        "orig_name": _nullable("string"),
        "mime_type": _nullable("string"),
        "is_stream": {"type": "boolean"},
        "meta": {"type": "object", "properties": {"_type": {"const": "gradio.FileData"}}},
    },
    "required": ["path"],
}
"""A file on the wire. The stock clients recognise it by these properties, in this order."""


class UnsupportedError(TypeError):
    """A type that has no form on the wire."""


# -- which types there are --------------------------------------------------------


def check(annotation: Any, *, output: bool) -> None:
    """Refuse a type that cannot be converted.

    Args:
        annotation: The type.
        output: It is returned: then only its way to the wire matters.

    Raises:
        UnsupportedError: Its text says which part of the type it is, and why.
    """
    if is_pydantic(annotation):
        try:
            _check_pydantic(pydantic_adapter(annotation).json_schema())
        except UnsupportedError:
            raise
        except Exception as error:  # pydantic's own, and we do not import it
            raise UnsupportedError(str(error)) from error
        return
    try:
        info = msgspec.inspect.type_info(annotation)
    except (TypeError, NameError) as error:
        raise UnsupportedError(str(error)) from error
    _check_info(info, output, set())


def _check_info(node: Any, output: bool, seen: set[int]) -> None:
    if isinstance(node, (tuple, list)):
        for part in node:
            _check_info(part, output, seen)
    if not isinstance(node, (msgspec.inspect.Type, msgspec.inspect.Field)) or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, (msgspec.inspect.RawType, msgspec.inspect.ExtType)):
        raise UnsupportedError(f"{type(node).__name__} is for messages of msgspec's own")
    if isinstance(node, msgspec.inspect.CustomType):
        _check_custom(node.cls, output)
    elif isinstance(node, msgspec.inspect.DataclassType) and is_pydantic(node.cls):
        raise UnsupportedError(
            f"{node.cls.__name__} is a dataclass of pydantic's inside a type that is not; make "
            "the outer type one as well, or use a plain dataclass"
        )
    for name in node.__struct_fields__:
        _check_info(getattr(node, name), output, seen)


def _check_custom(cls: Any, output: bool) -> None:
    if cls is Path or (output and hasattr(get_origin(cls) or cls, "tolist")):
        return
    if is_pydantic(cls):
        _check_pydantic(cls.model_json_schema())
        return
    is_path = hasattr(cls, "__fspath__")
    hint = "; for a file, use pathlib.Path" if is_path else ""
    name = getattr(cls, "__qualname__", None) or str(cls)
    raise UnsupportedError(f"{name} has no form on the wire{hint}")


def _check_pydantic(schema: Any) -> None:
    # A path in a model would be any that the caller likes, not a file that it uploaded.
    if isinstance(schema, dict):
        if str(schema.get("format")) in ("path", "file-path", "directory-path"):
            raise UnsupportedError(
                "a file cannot be a field of a pydantic model; use a dataclass or a "
                "msgspec.Struct with a pathlib.Path"
            )
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            _check_pydantic(part)


# -- the schema ------------------------------------------------------------------


_INTEGER = "^-?(0|[1-9][0-9]*)$"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?$"
_DECIMAL = r"^[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,17})?|Infinity|NaN)$"
_HOURS, _MINUTES, _SECONDS = "[0-9]{1,9}H", "[0-9]{1,9}M", r"[0-9]{1,9}(\.[0-9]+)?S"
_TIME = f"T({_HOURS}({_MINUTES})?({_SECONDS})?|{_MINUTES}({_SECONDS})?|{_SECONDS})"
_DURATION = f"^[+-]?P([0-9]{{1,9}}D({_TIME})?|{_TIME})$"
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"

_FORMATS: tuple[tuple[type, str], ...] = ((datetime, "date-time"), (time, "time"))


def schema_of(annotation: Any, *, output: bool) -> _Json:
    """Return the JSON schema of a type's wire form, which stands alone.

    Raises:
        UnsupportedError: There is none.
    """
    if is_pydantic(annotation):
        mode = "serialization" if output else "validation"
        schema: _Json = pydantic_adapter(annotation).json_schema(mode=mode)
        return schema
    try:
        schema = msgspec.json.schema(annotation, schema_hook=_custom_schema)
    except TypeError as error:
        # Of what `check` lets pass, only defaults of fields are refused.
        raise UnsupportedError(
            f"JSON cannot express the default of a field: {error}; use None"
        ) from error
    # msgspec names no format for those that may lack a time zone; an example needs one.
    for kind, form in _FORMATS:
        if not_none(annotation) is kind:
            for part in schema.get("anyOf", [schema]):
                if part.get("type") == "string":
                    part["format"] = form
    definitions: _Json = {}
    _hoist(schema, definitions)
    _name_keys(msgspec.inspect.type_info(annotation), schema, definitions, set())
    if definitions:
        schema["$defs"] = definitions
    return schema


def _custom_schema(cls: Any) -> _Json:
    if cls is Path:
        return FILE_SCHEMA
    if is_pydantic(cls):
        schema: _Json = cls.model_json_schema()
        return schema
    return {"title": getattr(cls, "__name__", "array")}  # could be anything


def _hoist(part: Any, definitions: _Json) -> None:
    """Move the definitions of parts to the whole, where their references lead.

    On the way, say what text looks like whose format says too little: no validator knows a
    decimal, and msgspec reads no durations in years, months and weeks.
    """
    if isinstance(part, list):
        for item in part:
            _hoist(item, definitions)
    elif isinstance(part, dict) and part is not FILE_SCHEMA:
        own = part.pop("$defs", {})
        definitions.update(own)
        if part.get("format") == "decimal":
            part["pattern"] = _DECIMAL
        elif part.get("format") == "duration":
            part["pattern"] = _DURATION
        elif part.get("contentEncoding") == "base64":
            part["pattern"] = _BASE64
        for item in (*part.values(), *own.values()):
            _hoist(item, definitions)


# -- the keys of objects ----------------------------------------------------------

_KEYS: tuple[tuple[type[msgspec.inspect.Type], _Json], ...] = (
    (msgspec.inspect.IntType, {"pattern": _INTEGER}),
    (msgspec.inspect.FloatType, {"pattern": _NUMBER}),
    (msgspec.inspect.DecimalType, {"format": "decimal", "pattern": _DECIMAL}),
    (msgspec.inspect.DateTimeType, {"format": "date-time"}),
    (msgspec.inspect.DateType, {"format": "date"}),
    (msgspec.inspect.UUIDType, {"format": "uuid"}),
)


def _name_keys(info: Any, schema: Any, definitions: _Json, seen: set[str]) -> None:
    """Say what the keys of objects look like, which msgspec says only of text.

    Args:
        info: What msgspec knows of a type.
        schema: The schema that it made of it.
        definitions: Where its references lead.
        seen: Names of those that are done.
    """
    info = _without_metadata(info)
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in seen:
            return
        seen.add(name)
        schema = definitions[name]
    parts: list[tuple[Any, Any]] = []
    match info:
        case msgspec.inspect.DictType():
            if key := _key_schema(_without_metadata(info.key_type)):
                schema["propertyNames"] = key
            parts = [(info.value_type, schema.get("additionalProperties"))]
        case msgspec.inspect.CollectionType():
            parts = [(info.item_type, schema.get("items"))]
        case msgspec.inspect.TupleType():
            parts = list(zip(info.item_types, schema.get("prefixItems", ()), strict=True))
        case msgspec.inspect.UnionType():
            # In the order of the schema: structs come late, and None last of all.
            types = sorted(map(_without_metadata, info.types), key=_place)
            parts = list(zip(types, _options(schema), strict=True))
        case (
            msgspec.inspect.StructType()
            | msgspec.inspect.DataclassType()
            | msgspec.inspect.TypedDictType()
        ) if "properties" in schema:
            parts = [(field.type, schema["properties"][field.encode_name]) for field in info.fields]
        case msgspec.inspect.StructType() | msgspec.inspect.NamedTupleType():
            types = [field.type for field in info.fields]
            parts = list(zip(reversed(types), reversed(schema["prefixItems"]), strict=False))
    for inner, part in parts:
        _name_keys(inner, part, definitions, seen)


def _without_metadata(info: Any) -> Any:
    while isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    return info


def _key_schema(key: Any) -> _Json | None:
    if isinstance(key, msgspec.inspect.LiteralType):
        return {"enum": [str(value) for value in key.values]}
    if isinstance(key, msgspec.inspect.EnumType):
        return {"enum": [str(member.value) for member in key.cls]}
    return next((dict(schema) for kind, schema in _KEYS if isinstance(key, kind)), None)


def _place(option: Any) -> int:
    if isinstance(option, msgspec.inspect.NoneType):
        return 2
    return int(isinstance(option, msgspec.inspect.StructType) and not option.array_like)


def _options(schema: _Json) -> list[Any]:
    """Return the parts of a union, also of one of structs inside."""
    return [
        option
        for part in schema["anyOf"]
        for option in (part["anyOf"] if "discriminator" in part else [part])
    ]


# -- in words --------------------------------------------------------------------

_WORDS = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
}


def words_of(schema: Mapping[str, Any], choices: Sequence[Any] | None = None) -> str:
    """Return what to give for a schema, in Python's words.

    Args:
        schema: The schema.
        choices: What may be chosen, in their order; the schema has lost it.
    """
    return _words(schema, schema.get("$defs", {}), (), choices)


def _words(
    schema: Any,
    definitions: Mapping[str, Any],
    inside: tuple[str, ...],
    choices: Sequence[Any] | None = None,
) -> str:
    def inner(part: Any) -> str:
        return _words(part, definitions, inside, choices)

    if not isinstance(schema, Mapping):
        return "Any"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        target = definitions.get(name, {})
        if name in inside:  # the type contains itself
            return "list" if target.get("type") == "array" else "dict"
        return _words(target, definitions, (*inside, name), choices)
    if _is_file(schema):
        return "filepath"
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        if choices is not None and set(choices) == set(values) - {None}:
            values = [*choices, *([None] if None in values else [])]
        return f"Literal[{', '.join(map(repr, values))}]"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " | ".join(dict.fromkeys(map(inner, schema[key])))
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return f"tuple[{', '.join(map(inner, schema['prefixItems']))}]"
        case "array":
            return f"list[{inner(schema['items'])}]" if schema.get("items") else "list"
        case "object" if schema.get("properties"):
            fields = (f"{name}: {inner(part)}" for name, part in schema["properties"].items())
            return f"dict({', '.join(fields)})"
        case "object":
            values = schema.get("additionalProperties")
            return f"dict[str, {inner(values)}]" if isinstance(values, Mapping) else "dict"
        case "string":
            form = schema.get("format") or schema.get("contentEncoding")
            return f"str ({form})" if form else "str"
        case type:
            return _WORDS.get(str(type), "Any")


# -- the component ---------------------------------------------------------------

_COMPONENTS = {
    "string": "textbox",
    "integer": "number",
    "number": "number",
    "boolean": "checkbox",
}


def component_of(schema: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the component that shows a value of a schema, and whether it holds several."""
    return _component(schema, schema.get("$defs", {}), ())


def _component(
    schema: Any, definitions: Mapping[str, Any], inside: tuple[str, ...]
) -> tuple[str, bool]:
    if not isinstance(schema, Mapping):
        return "json", False
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in inside:
            return "json", False
        return _component(definitions.get(name), definitions, (*inside, name))
    if _is_file(schema):
        return "file", False
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ("dropdown" if _are_choices(values) else "json"), False
    for key in ("anyOf", "oneOf"):
        if key in schema:
            found = {
                _component(part, definitions, inside)
                for part in schema[key]
                if part != {"type": "null"}
            }
            return found.pop() if len(found) == 1 else ("json", False)
    if schema.get("type") == "array" and "prefixItems" not in schema:
        kind, several = _component(schema.get("items"), definitions, inside)
        if kind in ("file", "dropdown") and not several:
            return kind, True
    return _COMPONENTS.get(str(schema.get("type")), "json"), False


def _is_file(schema: Mapping[str, Any]) -> bool:
    meta = schema.get("properties", {}).get("meta")
    return bool(meta == FILE_SCHEMA["properties"]["meta"])


def _are_choices(values: Sequence[Any]) -> bool:
    values = [value for value in values if value is not None]
    return bool(values) and all(type(value) in (str, int) for value in values)
