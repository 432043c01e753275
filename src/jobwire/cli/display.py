"""What a person, or a machine, sees of a job while it runs: on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any, Self

from jobwire.sync import terminal
from jobwire.sync.terminal import Display
from jobwire.types import StatusUpdate, Update

__all__ = ("Display", "make_display", "render")


def render(value: Any) -> str:
    """Return a value as text: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


class _Quiet:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def show(self, updates: Iterable[Update]) -> None:
        pass


class _JsonLines(_Quiet):
    """A line of JSON for each update."""

    def show(self, updates: Iterable[Update]) -> None:
        for update in updates:
            fields = asdict(update)
            if isinstance(update, StatusUpdate):
                fields["code"] = update.code.value
                fields["time"] = update.time.isoformat() if update.time else None
            print(json.dumps(fields, ensure_ascii=False), file=sys.stderr, flush=True)


def make_display(*, as_json: bool, quiet: bool) -> AbstractContextManager[Display]:
    """Return the display that fits: for machines, for a terminal, or plain lines."""
    if quiet:
        return _Quiet()
    return _JsonLines() if as_json else terminal.make_display(outputs=True)
