"""The seam between the queue and what runs functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from jobwire.server.run import Run

__all__ = ("Executor", "NextRun")

NextRun = Callable[["Run"], "Run | None"]
"""Takes a run that is over and returns the one that takes its slot, if there is one.

That run need not be for the same executor.
"""


class Executor(Protocol):
    """Runs functions and reports what they do to their `Run`."""

    def start(self, run: Run) -> None:
        """Run a function soon. Returns at once; any thread may call it."""

    def stop(self, run: Run) -> None:
        """Make a run end, as well as it can be done. Returns at once; any thread may call it.

        ``run.stopped`` is set before.
        """

    def close(self) -> None:
        """Start nothing more. Returns at once; functions that still run are left alone."""
