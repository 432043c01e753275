"""What a function can use while it runs: progress, log lines, its caller, its end.

A parameter that is annotated with one of these types, or has an instance as its default,
is filled by the server and is not one of the endpoint's inputs. `Progress` and `log` also
work without a parameter: they find the job that runs in the current context.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

from msgspec import Struct

from jobwire.exceptions import JobCancelledError
from jobwire.server.values import well_formed
from jobwire.types import ProgressUnit

__all__ = ("Bar", "CancelToken", "Progress", "Request", "Running", "Session", "current_run", "log")

T = TypeVar("T")

Level = Literal["info", "warning", "error", "success"]

_logger = logging.getLogger("jobwire.server")


class Running(Protocol):
    """What the things below need of the run that they belong to."""

    stopped: bool
    track_tqdm: bool
    stop_event: threading.Event | None
    bars: list[Bar[Any]]

    def tell_progress(self, units: list[ProgressUnit]) -> None: ...

    def tell_log(
        self, message: str, level: Level, title: str, duration: float | None, visible: bool
    ) -> None: ...


current_run: ContextVar[Running | None] = ContextVar("jobwire_run", default=None)
"""The run that the code in this context belongs to; None outside of any."""


class Request(Struct, frozen=True):
    """The HTTP request that brought the job.

    Attributes:
        headers: By name, in any case; of a repeated one, the first.
        query: The parameters of the query string; of a repeated one, the last.
        client: The address of who sent it; None if it is not known.
        username: Who is logged in; None without authentication.
        session_hash: The caller's session; None if the call had none.
    """

    headers: Mapping[str, str]
    query: Mapping[str, str]
    client: str | None
    username: str | None
    session_hash: str | None


@dataclass(slots=True, weakref_slot=True)
class Session:
    """What the server keeps for one session: one browser tab, or one client object.

    Forgotten after a time without calls (``App(session_ttl=...)``). The jobs of a session
    may run at the same time; who changes ``state`` in several of them has to take care.

    Attributes:
        id: The session's hash; None for a call without one, whose state is thrown away.
        username: Who is logged in; None without authentication.
        state: Whatever the app wants to keep.
    """

    id: str | None
    username: str | None
    state: dict[str, Any] = field(default_factory=dict)
    _jobs: set[str] = field(default_factory=set, repr=False)  # those that have not ended


class CancelToken:
    """Tells a plain function that its job is over: cancelled, or past its time limit.

    A plain function cannot be ended from outside, so one that runs for long should look
    at this now and then. `Progress` does it too: its next call raises.
    """

    __slots__ = ("_run",)

    def __init__(self, run: Running | None = None) -> None:
        self._run = run
        if run is not None and run.stop_event is None:
            run.stop_event = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether the job is over. Does not block."""
        return self._run is not None and self._run.stopped

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until the job is over, ``timeout`` seconds at most; return `cancelled`.

        For threads: it blocks. None waits without end.
        """
        run = self._run
        if run is None:
            raise RuntimeError("this token belongs to no job; take it as a parameter")
        # It may have been stopped before the event was there.
        if not run.stopped and run.stop_event is not None:
            run.stop_event.wait(timeout)
        return run.stopped

    def raise_if_cancelled(self) -> None:
        """Leave the function if the job is over.

        Raises:
            JobCancelledError: It is.
        """
        if self.cancelled:
            raise JobCancelledError("the job was cancelled")


class Bar(Generic[T]):
    """One progress bar, and the iterable that it counts. Made by `Progress.track`."""

    def __init__(
        self,
        progress: Progress,
        iterable: Iterable[T] | AsyncIterable[T] | None,
        desc: str | None,
        total: float | None,
        unit: str,
    ) -> None:
        self._progress = progress
        self._iterable = iterable
        self.desc = desc
        self.total = total
        self.unit = unit
        self.index: float = 0
        self._open = False
        if iterable is None:
            self._begin()

    def update(self, n: float = 1) -> None:
        """Count ``n`` more steps."""
        self._begin()
        self.index += n
        self._progress._tell()

    def close(self) -> None:
        """Take the bar away. An iterable that runs out, or is left, does it by itself."""
        bars = self._progress._bars()
        if self._open and self in bars:
            bars.remove(self)
        self._open = False

    def __len__(self) -> int:
        return int(self.total or 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        if not isinstance(self._iterable, Iterable):
            raise TypeError("this bar has nothing to iterate over; `async for` if it is async")
        self._begin()
        self._progress._tell()
        try:
            for item in self._iterable:
                yield item
                self.update()
        finally:
            self.close()

    async def __aiter__(self) -> AsyncIterator[T]:
        if not isinstance(self._iterable, AsyncIterable):
            raise TypeError("this bar's iterable is not asynchronous; use a plain `for`")
        self._begin()
        self._progress._tell()
        try:
            async for item in self._iterable:
                yield item
                self.update()
        finally:
            self.close()

    def _begin(self) -> None:
        if not self._open:
            self._open = True
            self._progress._bars().append(self)

    def _unit(self) -> ProgressUnit:
        return ProgressUnit(index=self.index, length=self.total, unit=self.unit, desc=self.desc)


class Progress:
    """Shows callers how far a function is; works as ``gr.Progress``.

    Take it as a parameter (``progress: Progress``, or ``progress=Progress()`` as in
    gradio). Callers get the latest state, not each step: a tight loop costs them nothing.
    For the job's own thread or task, and for threads that it starts and gives the object.

    Each call raises `JobCancelledError` once the job is cancelled or past its time limit,
    so a function that shows progress can be stopped.

    Args:
        track_tqdm: Show the bars of the ``tqdm`` library too.
    """

    def __init__(self, track_tqdm: bool = False) -> None:
        self.track_tqdm = track_tqdm
        self._run: Running | None = None
        if track_tqdm:
            _patch_tqdm()

    def __call__(
        self,
        progress: float | tuple[float, float | None] | None,
        desc: str | None = None,
        total: float | None = None,
        unit: str = "steps",
    ) -> None:
        """Say how far the function is.

        Args:
            progress: The fraction done, 0 to 1; or ``(steps done, steps in all)``, the
                latter None if unknown; or None to show only the description.
            desc: What is being done.
            total: Steps in all; for gradio's sake, without effect beside a fraction.
            unit: What a step is called.

        Raises:
            JobCancelledError: The job is over.
        """
        if isinstance(progress, tuple):
            index, total = progress
            last = ProgressUnit(index=index, length=total, unit=unit, desc=desc)
        else:
            last = ProgressUnit(length=total, unit=unit, progress=progress, desc=desc)
        self._tell(last)

    def track(
        self,
        iterable: Iterable[T] | AsyncIterable[T] | None,
        desc: str | None = None,
        total: float | None = None,
        unit: str = "steps",
    ) -> Bar[T]:
        """Show a bar that follows an iteration: ``for item in progress.track(items): ...``

        Bars inside bars nest.

        Args:
            iterable: What to iterate over, asynchronous iterables with ``async for``;
                None for a bar that is moved by hand, with `update`.
            desc: What is being done.
            total: Steps in all; None asks ``len(iterable)``, if it has one.
            unit: What a step is called.
        """
        if total is None:
            with suppress(TypeError):
                total = len(iterable)  # type: ignore[arg-type]
        return Bar(self, iterable, desc, total, unit)

    tqdm = track

    def update(self, n: float = 1) -> None:
        """Count ``n`` more steps on the innermost bar; without one, nothing happens."""
        if bars := self._bars():
            bars[-1].update(n)

    def bound(self, run: Running) -> Progress:
        """Return one that belongs to a run, from whatever thread it is used."""
        progress = Progress()
        progress.track_tqdm = self.track_tqdm
        progress._run = run
        return progress

    def _current(self) -> Running | None:
        return self._run or current_run.get()

    def _bars(self) -> list[Bar[Any]]:
        run = self._current()
        return [] if run is None else run.bars

    def _tell(self, last: ProgressUnit | None = None) -> None:
        run = self._current()
        if run is None:
            return
        if run.stopped:
            raise JobCancelledError("the job was cancelled")
        units = [bar._unit() for bar in run.bars]
        if last is not None:
            units.append(last)
        run.tell_progress([_sendable(unit) for unit in units])


def _sendable(unit: ProgressUnit) -> ProgressUnit:
    """Return a bar of what functions give: any number, such as numpy's, and any text."""
    return ProgressUnit(
        index=_number(unit.index),
        length=_number(unit.length),
        unit=_text(unit.unit),
        progress=_number(unit.progress),
        desc=_text(unit.desc),
    )


def _number(value: Any) -> int | float | None:
    return value if value is None or type(value) in (int, float) else float(value)


def _text(value: Any) -> str | None:
    return None if value is None else well_formed(str(value))


class _Log:
    """Writes lines to the caller of the current job.

    Outside of a job, and in threads that lost the job's context, they go to the server's
    log.
    """

    def info(
        self,
        message: str,
        *,
        title: str = "Info",
        duration: float | None = 10,
        visible: bool = True,
    ) -> None:
        """Tell the caller something.

        Args:
            message: The text; web pages read it as Markdown or HTML.
            title: The heading that a web page shows above it.
            duration: Seconds for which a web page shows it; None until it is closed.
            visible: Whether a web page shows it at all.
        """
        self._tell(message, "info", title, duration, visible)

    def warning(
        self,
        message: str,
        *,
        title: str = "Warning",
        duration: float | None = 10,
        visible: bool = True,
    ) -> None:
        """Warn the caller. Arguments as for `info`."""
        self._tell(message, "warning", title, duration, visible)

    def error(
        self,
        message: str,
        *,
        title: str = "Error",
        duration: float | None = 10,
        visible: bool = True,
    ) -> None:
        """Tell the caller of an error that does not end the job. Arguments as for `info`."""
        self._tell(message, "error", title, duration, visible)

    def success(
        self,
        message: str,
        *,
        title: str = "Success",
        duration: float | None = 10,
        visible: bool = True,
    ) -> None:
        """Tell the caller that something went well. Arguments as for `info`."""
        self._tell(message, "success", title, duration, visible)

    def _tell(
        self, message: str, level: Level, title: str, duration: float | None, visible: bool
    ) -> None:
        run = current_run.get()
        if run is None:
            _logger.log(_LEVELS[level], "%s", message)
        else:
            run.tell_log(str(message), level, title, duration, visible)


_LEVELS = {
    "info": logging.INFO,
    "success": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

log = _Log()
"""Writes lines to the caller of the current job."""


_CLOSED = object()


def _patch_tqdm() -> None:
    """Make the bars of ``tqdm`` show up in runs that asked for them."""
    try:
        from tqdm.std import tqdm  # type: ignore[import-untyped]
    except ImportError:
        return
    if hasattr(tqdm, "_jobwire"):
        return
    display, update, close = tqdm.display, tqdm.update, tqdm.close

    def tracked_display(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = current_run.get()
        bar = self.__dict__.get("_jobwire_bar")
        if run is not None and run.track_tqdm and bar is not _CLOSED:
            if bar is None:
                bar = self._jobwire_bar = Progress().track(None)
            bar.index, bar.total, bar.desc, bar.unit = self.n, self.total, self.desc, self.unit
            if not run.stopped:  # tqdm holds a lock of all bars here: this must not raise
                bar._progress._tell()
        return display(self, *args, **kwargs)

    def tracked_update(self: Any, n: float | None = 1) -> Any:
        run = current_run.get()
        if run is not None and run.track_tqdm and run.stopped:
            raise JobCancelledError("the job was cancelled")
        return update(self, n)

    def tracked_close(self: Any) -> None:
        bar = self.__dict__.get("_jobwire_bar")
        self._jobwire_bar = _CLOSED  # tqdm shows a bar once more while it closes it
        if isinstance(bar, Bar):
            bar.close()
        close(self)

    tqdm.display, tqdm.update, tqdm.close = tracked_display, tracked_update, tracked_close
    setattr(tqdm, "_jobwire", True)  # noqa: B010 - it has no such attribute of its own
