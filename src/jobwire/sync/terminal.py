"""A job on a terminal, or in whatever standard error goes to."""

from __future__ import annotations

import io
import os
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Protocol, Self, TextIO

from jobwire.protocol.text import one_line
from jobwire.sync.view import JobView, fraction_of, progress_text, text_of, where
from jobwire.types import OutputUpdate, ProgressUnit, Status, Update

__all__ = ("Display", "Lines", "Live", "make_display")

_BAR_WIDTH = 30
_MAX_BARS = 8
"""What scrolled out of a low terminal cannot be erased any more."""

_MIN_COLUMNS = 20
"""Less is a terminal that does not know its width, or one of no use."""

_PAUSE = 5.0
"""Seconds between two plain lines, which stay, but for each tenth of the way."""

_COLOURS = {"error": "31", "success": "32", "warning": "33", "info": "36"}


class Display(Protocol):
    """Shows a job's updates."""

    def show(self, updates: Iterable[Update]) -> None:
        """Show what happened."""


class Lines:
    """A plain line for each update that tells something new, but not for each step.

    Args:
        stream: Where to write.
        outputs: Whether outputs are told.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        outputs: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._outputs = outputs
        self._clock = clock
        self._last = ""
        self._stage: object = None
        self._told_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def show(self, updates: Iterable[Update]) -> None:
        """Write what is new."""
        for update in updates:
            if line := self._line(update):
                print(line, file=self._stream, flush=True)

    def _line(self, update: Update) -> str:
        if isinstance(update, OutputUpdate):
            # The result is told by whoever asked for it.
            return (
                ""
                if update.final or not self._outputs
                else f"output: {one_line(text_of(update.outputs))}"
            )
        if update.log is not None:
            return one_line(f"{update.log[1]}: {update.log[0]}")
        if self._outputs and update.code in (Status.ITERATING, Status.FINISHED, Status.CANCELLED):
            return ""  # told by the output, or by the result
        view = JobView()
        view.take([update])
        unit = next(iter(update.progress_data or ()), ProgressUnit())
        tenths = int(10 * (fraction_of(unit) or 0.0))
        stage = (where(update).partition(",")[0], unit.desc, tenths)
        now = self._clock()
        if view.line == self._last or (stage == self._stage and now - self._told_at < _PAUSE):
            return ""
        self._last, self._stage, self._told_at = view.line, stage, now
        return view.line


class Live:
    """Lines at the bottom of a terminal that change in place; all else goes above them.

    The first says where the job is, and each progress bar has one more. Leaving the
    display erases them.

    Args:
        stream: The terminal.
        outputs: Whether outputs are shown.
    """

    def __init__(self, stream: TextIO, *, outputs: bool = False) -> None:
        self._stream = stream
        self._outputs = outputs
        self._view = JobView()
        self._drawn = 0
        self._colours = "NO_COLOR" not in os.environ
        self._bar = ("━", "─") if _can_write(stream, "━─") else ("#", "-")

    def __enter__(self) -> Self:
        self._stream.write("\x1b[?25l")  # no cursor, which would jump about
        self._draw([])
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stream.write(self._erased() + "\x1b[?25h")
        self._stream.flush()

    def show(self, updates: Iterable[Update]) -> None:
        """Draw where the job is now."""
        above = []
        for update in updates:
            self._view.take([update])
            if isinstance(update, OutputUpdate):
                if self._outputs and not update.final:
                    above.append(self._coloured(one_line(text_of(update.outputs)), "2"))
            elif update.log is not None:
                text, level = update.log
                above.append(self._coloured(one_line(f"{level}: {text}"), _COLOURS.get(level, "")))
        self._draw(above)

    def _draw(self, above: list[str]) -> None:
        status = self._view.status
        first = where(status) if status is not None else "submitted"
        lines = [_cut(first, self._columns)]
        if status is not None and status.success is None:
            lines += map(self._progress, (status.progress_data or ())[:_MAX_BARS])
        # In one piece: half a drawing flickers.
        self._stream.write(self._erased() + "".join(f"{line}\n" for line in [*above, *lines]))
        self._stream.flush()
        self._drawn = len(lines)

    @property
    def _columns(self) -> int:
        # One column less: many terminals go on below when the last one is filled.
        return max(_MIN_COLUMNS, _columns(self._stream)) - 1

    def _erased(self) -> str:
        return f"\x1b[{self._drawn}F\x1b[J" if self._drawn else "\r\x1b[J"

    def _progress(self, unit: ProgressUnit) -> str:
        text = progress_text(unit)
        fraction = fraction_of(unit)
        if fraction is None:
            return _cut(f"  {text}", self._columns)
        width = min(_BAR_WIDTH, self._columns // 2)
        done = round(width * fraction)
        full, empty = self._bar
        return _cut(f"  {full * done}{empty * (width - done)} {text}", self._columns)

    def _coloured(self, line: str, code: str) -> str:
        line = _cut(line, self._columns)
        return f"\x1b[{code}m{line}\x1b[0m" if code and self._colours else line


def make_display(
    stream: TextIO | None = None, *, outputs: bool = False
) -> AbstractContextManager[Display]:
    """Return the display that fits: for a terminal of known width, or for anything else.

    Args:
        stream: Where to show it; None means standard error.
        outputs: Whether the outputs are shown too.
    """
    # A program without a console has no standard error.
    shown: TextIO = stream or sys.stderr or io.StringIO()
    return (Live if _is_terminal(shown) else Lines)(shown, outputs=outputs)


def _is_terminal(stream: TextIO) -> bool:
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return False
    if _columns(stream) < _MIN_COLUMNS:
        return False
    # Consoles of Windows do not obey unless they are told to; newer terminals say who they are.
    return os.name != "nt" or "WT_SESSION" in os.environ or "TERM" in os.environ


def _columns(stream: TextIO) -> int:
    """Return how wide a terminal is; 0 if it does not say."""
    told = os.environ.get("COLUMNS", "")
    if told.isascii() and told.isdigit():
        return int(told)
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 0


def _can_write(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def _cut(line: str, columns: int) -> str:
    """Return as much of a line as fits: one that is longer would not be erased whole."""
    width = 0
    for index, character in enumerate(line):
        if not unicodedata.combining(character):
            width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if width > columns:
            return line[: max(0, index - 3)] + "..."
    return line
