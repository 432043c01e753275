"""Files in values: how they are found, named and addressed on the wire.

A file travels beside the values: it is uploaded, or downloaded, by requests of its own, and
a value holds a *FileData* in its place, a dict with the file's ``path`` on the server.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote

__all__ = (
    "FILE_META",
    "FILE_TYPE",
    "FileInput",
    "FileKey",
    "clean_name",
    "file_key",
    "file_name",
    "file_path",
    "holds_files",
    "is_file",
    "is_url",
    "replace_values",
    "server_path",
)

FILE_TYPE = "gradio.FileData"
"""What ``meta._type`` of a FileData is, since 4.21; servers since 5.5 want it in inputs."""

FILE_META = {"_type": FILE_TYPE}
"""The ``meta`` of a FileData."""

MAX_NAME_SIZE = 200
"""Bytes of a file's name, as in Gradio: file systems allow 255."""

MAX_SUFFIX_SIZE = 32
"""Bytes of a suffix that is kept when a name is cut; what is longer is no suffix."""

FileKey = tuple[str, str | None]
"""What tells one file of an app from another: its path and its URL."""


class FileInput(dict[str, Any]):
    """A file that a caller wants to be sent: a FileData whose ``path`` is on this side.

    A class of its own, so that a dict which merely looks like one, as it may come from
    somebody else's JSON, never makes a client read a file of this machine.
    """


def is_file(value: Any) -> bool:
    """Whether an output, or a part of it, is a FileData.

    Ask only about values of components whose schema says that they hold files: servers
    before 4.21 do not mark a FileData, and an app's own dict may have a ``path`` too.
    """
    if not isinstance(value, dict) or not isinstance(value.get("path"), str):
        return False
    if not value["path"]:
        return False
    meta = value.get("meta")
    if isinstance(meta, dict):
        return meta.get("_type") == FILE_TYPE
    return "orig_name" in value or "url" in value


def file_key(data: Mapping[str, Any]) -> FileKey:
    """Return what identifies the file of a FileData."""
    url = data.get("url")
    return data["path"], url if isinstance(url, str) else None


def file_name(data: Mapping[str, Any]) -> str:
    """Return what to call the file of a FileData on this side, fit for any file system.

    As in ``gradio_client``, the last part of its path: servers sanitise that one, and what
    an upload was called comes back in it.
    """
    return clean_name(str(data.get("path") or data.get("orig_name") or ""))


def file_path(path: str) -> str:
    """Return where a file of the server lies below its API."""
    return f"file={quote(path, safe='/')}"


def server_path(url: str, api: str) -> str | None:
    """Return the path of the file that a URL names; None if it is none of this app.

    Args:
        url: Any URL.
        api: Where the app's API lies, with a trailing slash.
    """
    if not url.startswith(f"{api}file="):
        return None
    return unquote(re.split("[?#]", url.removeprefix(f"{api}file="), maxsplit=1)[0])


def is_url(path: str) -> bool:
    """Whether the path of a FileData is an address that a server is to fetch."""
    return path.lower().startswith(("http://", "https://"))


def replace_values(value: Any, chosen: Callable[[Any], bool], new: Callable[[Any], Any]) -> Any:
    """Return ``value`` with everything in it that is ``chosen`` replaced by ``new`` of it.

    Looks into lists, tuples and dicts, from the outside in and in order. What holds nothing
    that was chosen is not copied.
    """
    if chosen(value):
        return new(value)
    if isinstance(value, (list, tuple)):
        items = [replace_values(item, chosen, new) for item in value]
        if all(item is old for item, old in zip(items, value, strict=True)):
            return value
        return items
    if isinstance(value, dict):
        fields = {key: replace_values(item, chosen, new) for key, item in value.items()}
        if all(item is old for item, old in zip(fields.values(), value.values(), strict=True)):
            return value
        return fields
    return value


def holds_files(schema: Any) -> bool:
    """Whether a component's JSON schema says that its values may hold a FileData."""
    if not isinstance(schema, dict):
        return False
    definitions = schema.get("$defs")
    return _says_file(schema, definitions if isinstance(definitions, dict) else {}, set())


def _says_file(schema: Any, definitions: Mapping[str, Any], seen: set[str]) -> bool:
    if isinstance(schema, list):
        return any(_says_file(item, definitions, seen) for item in schema)
    if not isinstance(schema, dict):
        return False
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        if name in seen:  # a recursive type
            return False
        seen.add(name)
        return _says_file(definitions.get(name), definitions, seen)
    properties = schema.get("properties")
    # ``meta`` since 4.21, ``orig_name`` in all.
    if (
        isinstance(properties, dict)
        and "path" in properties
        and ("meta" in properties or "orig_name" in properties)
    ):
        return True
    return any(
        _says_file(item, definitions, seen) for key, item in schema.items() if key != "$defs"
    )


def clean_name(name: str) -> str:
    """Return the last part of a name that somebody gave, fit for any file system."""
    name = name.replace("\\", "/").rpartition("/")[2]
    # Control characters, halves of surrogate pairs, line separators.
    name = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp"))
    name = re.sub(r"^[\s.]+", "", name).rstrip()
    if len(name.encode()) > MAX_NAME_SIZE:
        stem, dot, suffix = name.rpartition(".")
        if not stem or len(suffix.encode()) >= MAX_SUFFIX_SIZE:
            stem, dot, suffix = name, "", ""
        room = MAX_NAME_SIZE - len((dot + suffix).encode())
        stem = stem.encode()[:room].decode(errors="ignore")
        name = (stem + dot + suffix).rstrip()
    return name or "file"
