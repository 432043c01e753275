"""Text of an app, made fit to be shown: it may say anything."""

from __future__ import annotations

__all__ = ("one_line",)


def one_line(text: str) -> str:
    """Return a text on one line, without what a terminal would take for a command."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(c if c.isprintable() else "?" for c in line)
