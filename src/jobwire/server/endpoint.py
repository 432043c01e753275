"""A function that can be called, and what is known of its calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from jobwire.server.context import Request, Session
from jobwire.server.run import Outcome
from jobwire.server.signature import Signature

__all__ = (
    "Durations",
    "Endpoint",
    "OnCrash",
    "Priority",
    "Visibility",
    "Where",
)

Visibility = Literal["public", "undocumented", "private"]

Where = Literal["thread", "process"]
"""Where a function runs: in the server's process, ``async`` ones in its event loop, or in a
worker process."""

OnCrash = Literal["fail", "retry"]

Priority = int | Callable[[Request], int]
"""A job's priority, or what gives it; higher goes first, 0 is the usual."""


class Durations:
    """How long a function takes: a mean that follows changes."""

    __slots__ = ("mean",)

    _WEIGHT = 0.1  # of the latest: what happened ten calls ago counts a third

    def __init__(self) -> None:
        self.mean: float | None = None
        """Seconds; None before the first."""

    def add(self, seconds: float) -> None:
        """Count a call that succeeded."""
        mean = self.mean
        self.mean = seconds if mean is None else mean + self._WEIGHT * (seconds - mean)


@dataclass(eq=False, slots=True)
class Endpoint:
    """A function of an app.

    Attributes:
        id: ``fn_index`` on the wire.
        api_name: Its name, without a slash.
        function: What is called.
        signature: Its inputs and outputs.
        description: For callers.
        visibility: ``public``; ``undocumented``, which can be called but is not listed;
            ``private``, which cannot be called from outside.
        queue: Whether calls wait for a slot.
        batch: Whether the function takes several calls at once, at most ``max_batch_size``.
        max_batch_size: See ``batch``.
        concurrency_id: The line in which its jobs wait.
        concurrency_limit: How many of them run at the same time; None is no limit.
        time_limit: Seconds that it may run; None is no limit.
        priority: See `Priority`.
        show_errors: Whether callers see the text of every error.
        track_tqdm: Whether the bars of ``tqdm`` are its progress.
        executor: Where it runs; None is where the app says.
        abandon_after: Seconds without a listener after which a job is cancelled; None never is.
        on_crash: What becomes of a job that ran when the server died.
        max_retries: How often such a job is started again.
        durations: How long its calls take.
        counts: How many jobs ended how.
        seconds: How long all of its calls took together.
    """

    id: int
    api_name: str
    function: Callable[..., Any]
    signature: Signature
    description: str
    visibility: Visibility
    queue: bool
    batch: bool
    max_batch_size: int
    concurrency_id: str
    concurrency_limit: int | None
    time_limit: float | None
    priority: Priority
    show_errors: bool
    abandon_after: float | None = None
    on_crash: OnCrash = "fail"
    max_retries: int = 0
    track_tqdm: bool = False
    executor: Where | None = None
    durations: Durations = field(default_factory=Durations)
    counts: dict[Outcome, int] = field(
        default_factory=lambda: {"completed": 0, "failed": 0, "cancelled": 0}
    )
    seconds: float = 0.0

    @property
    def label(self) -> str:
        """How to name it to a person: ``/predict``."""
        return f"/{self.api_name}"

    @property
    def uses_session(self) -> bool:
        """Whether it keeps something for a session."""
        return Session in self.signature.injected.values()

    @property
    def is_async(self) -> bool:
        """Whether it runs in an event loop."""
        return self.signature.kind in ("coroutine", "async_generator")
