"""Streamed audio and video: the playlists of HTTP Live Streaming, as far as Gradio has them.

Source: RFC 8216; gradio's ``route_utils.MediaStream``. A playlist grows while the app sends,
and its segments, one after the other, are the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from jobwire.exceptions import RemoteProtocolError, shown
from jobwire.protocol.files import clean_name

__all__ = ("Playlist", "is_media_stream", "media_name", "parse_playlist")

_VIDEO = frozenset({"avi", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ogv", "ts", "webm"})


class Playlist(NamedTuple):
    """What a playlist says.

    Attributes:
        segments: Where the segments are, in order; relative to the playlist.
        ended: No more will come.
        duration: Seconds that a segment lasts at most.
    """

    segments: tuple[str, ...]
    ended: bool
    duration: float


def is_media_stream(data: Mapping[str, Any]) -> bool:
    """Whether a FileData is that of a stream: its ``path`` is a playlist's, below ``stream/``.

    Servers before 5.0 stream the bytes themselves, which can be read only once.
    """
    return data.get("is_stream") is True and str(data.get("path")).endswith(".m3u8")


def media_name(data: Mapping[str, Any]) -> str:
    """Return what to call a stream's content: its segments have a format of their own."""
    name = clean_name(str(data.get("orig_name") or ""))
    stem, dot, suffix = name.rpartition(".")
    return f"{stem if dot else name}.{'ts' if suffix.lower() in _VIDEO else 'aac'}"


def parse_playlist(body: bytes) -> Playlist:
    """Read a playlist.

    Raises:
        RemoteProtocolError: It is none.
    """
    lines = [line.strip() for line in body.decode("utf-8", "replace").splitlines()]
    if not lines or lines[0] != "#EXTM3U":
        raise RemoteProtocolError(f"a stream's playlist is no playlist: {shown(body)}")
    duration = 1.0
    for line in lines:
        name, _, value = line.partition(":")
        if name == "#EXT-X-TARGETDURATION" and value.isascii() and value.isdigit():
            duration = float(value)
    return Playlist(
        segments=tuple(line for line in lines if line and not line.startswith("#")),
        ended="#EXT-X-ENDLIST" in lines,
        duration=duration,
    )
