"""A function that can be called, and what is known of its calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from jobwire.server.context import Progress, Request, Session
from jobwire.server.errors import DeclarationError
from jobwire.server.execution import INJECTABLE
from jobwire.server.run import Outcome
from jobwire.server.settings import is_count, is_optional, is_seconds
from jobwire.server.signature import Signature, inspect_function

__all__ = (
    "Durations",
    "Endpoint",
    "OnCrash",
    "Priority",
    "Visibility",
    "Where",
    "check_options",
    "inspect_endpoint",
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


def inspect_endpoint(
    function: Callable[..., Any], *, batch: bool, name: str | None
) -> tuple[Signature, bool]:
    """Return a function's signature, and whether the bars of ``tqdm`` are its progress."""
    signature = inspect_function(function, injectable=INJECTABLE, batch=batch, name=name)
    if batch and {Session, Request} & set(signature.injected.values()):
        raise DeclarationError(
            f"{signature.name}: a batch has the jobs of several callers, so it cannot have the "
            "Session or the Request of one of them"
        )
    defaults = (p.default for p in inspect.signature(function).parameters.values())
    return signature, any(isinstance(value, Progress) and value.track_tqdm for value in defaults)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


_is_text_or_none = is_optional(lambda value: isinstance(value, str))

_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "description": (_is_text_or_none, "a text, or None"),
    "visibility": (
        lambda value: value in get_args(Visibility),
        "'public', 'undocumented' or 'private'",
    ),
    "queue": (_is_bool, "True or False"),
    "batch": (_is_bool, "True or False"),
    "max_batch_size": (is_count, "an int of at least 1"),
    "concurrency_limit": (
        lambda value: value == "default" or value is None or is_count(value),
        "an int of at least 1, 'default', or None for no limit",
    ),
    "concurrency_id": (_is_text_or_none, "a text, or None"),
    "time_limit": (
        is_optional(lambda value: is_seconds(value) and value > 0),
        "a number of seconds above 0, or None for no limit",
    ),
    "executor": (
        is_optional(lambda value: value in get_args(Where)),
        "'thread', 'process', or None for what the app says",
    ),
    "priority": (
        lambda value: isinstance(value, int) or callable(value),
        "an int, or a function of the Request that returns one",
    ),
    "abandon_after": (
        lambda value: value in ("default", None) or is_seconds(value),
        "a number of seconds, 0 or more, 'default', or None for never",
    ),
    "on_crash": (lambda value: value in get_args(OnCrash), "'fail' or 'retry'"),
    "max_retries": (is_count, "an int of at least 1"),
    "show_errors": (is_optional(_is_bool), "True, False, or None for what the app says"),
}


def check_options(api_name: str, **options: Any) -> None:
    """Check what was said about an endpoint, by the names of the arguments of `App.endpoint`.

    Raises:
        DeclarationError: One makes no sense.
    """
    for name, value in options.items():
        is_right, expected = _RULES[name]
        if not is_right(value):
            raise DeclarationError(f"/{api_name}: {name} is {expected}, not {value!r}")
