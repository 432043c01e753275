"""Headers that callers give."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jobwire.exceptions import ArgumentError

__all__ = ("lower",)

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")


def lower(headers: Mapping[Any, Any]) -> dict[str, str]:
    """Return headers with their names in lower case, so that one replaces another.

    Raises:
        ArgumentError: A name or a value cannot be sent.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str) or not _HEADER.match(name):
            raise ArgumentError(
                f"header {name!r}: names and values are strings without line breaks",
                parameter="headers",
            )
        if any(character in value for character in "\r\n\0"):
            raise ArgumentError(f"header {name!r} has a line break in it", parameter="headers")
    return {name.lower(): value for name, value in headers.items()}
