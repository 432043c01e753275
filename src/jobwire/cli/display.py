"""What a person, or a machine, sees of a job while it runs: on standard error."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any, Protocol, Self

from jobwire.types import OutputUpdate, ProgressUnit, Status, StatusUpdate, Update

__all__ = ("Display", "make_display", "render")


def render(value: Any) -> str:
    """Return a value as text: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


class Display(Protocol):
    """Shows a job's updates."""

    def show(self, update: Update) -> None:
        """Show one update."""


class _Quiet:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def show(self, update: Update) -> None:
        pass


class _JsonLines(_Quiet):
    """A line of JSON for each update."""

    def show(self, update: Update) -> None:
        fields = asdict(update)
        if isinstance(update, StatusUpdate):
            fields["code"] = update.code.value
            fields["time"] = update.time.isoformat() if update.time else None
        print(json.dumps(fields, ensure_ascii=False), file=sys.stderr, flush=True)


class _Lines(_Quiet):
    """A plain line for each update that tells something new."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, update: Update) -> None:
        if isinstance(update, OutputUpdate):
            line = "" if update.final else f"output: {_one_line(update.outputs)}"
        elif update.log is not None:
            line = f"{update.log[1]}: {update.log[0]}"
        elif update.code in (Status.ITERATING, Status.FINISHED, Status.CANCELLED):
            line = ""  # told by the output, or by the result
        else:
            line = ", ".join(filter(None, [_where(update), *map(_bar, update.progress_data or ())]))
        if line and line != self._last:
            print(line, file=sys.stderr, flush=True)
            self._last = line


class _Live(_Quiet):
    """A status line with a progress bar that changes in place; all else above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("connected", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._progress.stop()

    def show(self, update: Update) -> None:
        if isinstance(update, OutputUpdate):
            if not update.final:
                # Cut to the line: the result follows in full.
                self._above(_one_line(update.outputs), "dim")
            return
        if update.log is not None:
            text, level = update.log
            self._above(f"{level}: {text}", _COLOURS.get(level, ""))
        units = update.progress_data or []
        description = ", ".join(filter(None, [_where(update), *map(_bar, units)]))
        fraction = units[0].fraction if units else None
        self._progress.update(
            self._task,
            description=description,
            total=None if fraction is None else 1.0,
            completed=fraction or 0.0,
        )

    def _above(self, text: str, style: str) -> None:
        from rich.text import Text

        line = Text(text, style=style, no_wrap=True, overflow="ellipsis")
        self._progress.console.print(line)


_COLOURS = {"warning": "yellow", "error": "red", "success": "green", "info": "cyan"}


def make_display(*, as_json: bool, quiet: bool) -> AbstractContextManager[Display]:
    """Return the display that fits: for machines, for a terminal, or plain lines."""
    if as_json:
        return _Quiet() if quiet else _JsonLines()
    if quiet:
        return _Quiet()
    return _Live() if sys.stderr.isatty() else _Lines()


def _where(update: StatusUpdate) -> str:
    match update.code:
        case Status.STARTING:
            return "submitted"
        case Status.JOINING_QUEUE:
            return "accepted"
        case Status.IN_QUEUE:
            rank = "next" if update.rank == 0 else f"{update.rank} ahead"
            text = f"queued, {rank} of {update.queue_size} waiting"
            return text + (f", {update.eta:.1f} s to go" if update.eta is not None else "")
        case Status.FINISHED:
            return "finished" if update.success else "failed"
        case Status.CANCELLED:
            return "cancelled"
        case _:
            eta = f", takes {update.eta:.1f} s" if update.eta is not None else ""
            return "running" + ("" if update.progress_data else eta)


def _bar(unit: ProgressUnit) -> str:
    if unit.index is not None:
        done = f"{unit.index}/{unit.length}" if unit.length else f"{unit.index}"
        done += f" {unit.unit}" if unit.unit else ""
    elif unit.fraction is not None:
        done = f"{unit.fraction:.0%}"
    else:
        done = ""
    return f"{unit.desc}: {done}" if unit.desc and done else unit.desc or done


def _one_line(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.split())
