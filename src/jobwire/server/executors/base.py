"""The seam between the queue and what runs functions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from jobwire.server.context import CancelToken, Progress

if TYPE_CHECKING:
    from jobwire.server.execution import Callee
    from jobwire.server.run import Run

__all__ = (
    "WORKER_NAME",
    "Cancellation",
    "Executor",
    "NextRun",
    "is_worker",
    "looks_at_its_end",
)

WORKER_NAME = "jobwire-worker"
"""The name of every worker process."""

Cancellation = str
"""What a cancel did.

- ``removed``: the job waited, and never ran.
- ``closing``: it is a generator; it is closed at its next step.
- ``cancelled``: it is a coroutine; it was cancelled where it waited.
- ``killed``: it is a plain function in a worker process, and the process was killed.
- ``told``: it is a plain function that is told of it by its `CancelToken` or its `Progress`.
- ``unstoppable``: it is a plain function in a thread that takes neither, or a batch with jobs
  that are still wanted: it goes on to its end, and keeps its slot.
- ``ended``: it had its outcome already.
"""

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

    def means(self, callee: Callee) -> Cancellation:
        """Return what `stop` does to a function that runs."""
        ...

    def close(self) -> None:
        """Start nothing more. Returns at once; functions that still run are left alone."""


def is_worker() -> bool:
    """Whether this process is a worker of a server. Known before anything of it runs."""
    # Not imported for this: whoever is a worker has it.
    module = sys.modules.get("multiprocessing.process")
    return module is not None and module.current_process().name == WORKER_NAME


def looks_at_its_end(callee: Callee) -> bool:
    """Whether a plain function has something that tells it when its job is over."""
    return callee.track_tqdm or not {CancelToken, Progress}.isdisjoint(
        callee.signature.injected.values()
    )
