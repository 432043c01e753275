"""Files that travel within values, as ``data:`` URLs, rather than beside them (RFC 2397)."""

from __future__ import annotations

import binascii
import re
from urllib.parse import unquote_to_bytes

from jobwire.exceptions import RemoteProtocolError, shown

__all__ = ("inline_content", "inline_name", "inline_size", "inline_type", "inline_url", "is_inline")

_NO_TYPE = "application/octet-stream"


def is_inline(url: object) -> bool:
    """Whether a value is a URL that is its own content."""
    return isinstance(url, str) and url[:5].lower() == "data:"


def inline_url(content: bytes, mime_type: str | None = None) -> str:
    """Return the URL that has some content in it."""
    text = binascii.b2a_base64(content, newline=False).decode()
    return f"data:{mime_type or _NO_TYPE};base64,{text}"


def inline_type(url: str) -> str:
    """Return the media type that a URL gives for its content; one that says nothing if none."""
    return re.split("[;,]", url[5:256], maxsplit=1)[0].strip().lower() or _NO_TYPE


def inline_name(url: str) -> str:
    """Return what to call the content of a URL, for it has no name: ``image.png``."""
    kind, _, suffix = inline_type(url).partition("/")
    suffix = re.split("[^a-z0-9]", suffix, maxsplit=1)[0]
    return f"{kind}.{suffix}" if kind.isalpha() and suffix and kind != "application" else "file"


def inline_size(url: str) -> int | None:
    """Return how many bytes the content of a URL has, without decoding it; None if unsure."""
    head, _, text = url.partition(",")
    return len(text.rstrip("=")) * 3 // 4 if head.endswith(";base64") else None


def inline_content(url: str) -> bytes:
    """Return the content of a URL.

    Raises:
        RemoteProtocolError: It is damaged.
    """
    head, comma, text = url.partition(",")
    if comma and not head.endswith(";base64"):
        return unquote_to_bytes(text)
    try:
        if comma:
            return binascii.a2b_base64(text)
    except ValueError:
        pass
    raise RemoteProtocolError(f"a file that came within a value is damaged: {shown(url)}")
