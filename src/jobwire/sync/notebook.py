"""A job in a notebook: shown where its cell ends, and kept up to date until it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterable
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from jobwire.sync.view import (
    INTERVAL,
    JobView,
    fraction_of,
    gathered,
    progress_text,
    text_of,
    where,
)
from jobwire.types import ProgressUnit, StatusUpdate

if TYPE_CHECKING:
    from jobwire.exceptions import JobwireError
    from jobwire.sync.job import Job

__all__ = ("bundle_of", "is_live", "render", "show")

_MAX_TEXT = 4000
"""Characters of an output or of a log line that are shown: a notebook keeps all that it
was shown, and slows down."""

# On light and on dark grounds.
_GOOD = "#2a2"
_BAD = "#d33"
_LEVELS = {"error": _BAD, "success": _GOOD, "warning": "#c80", "info": "#28c"}


def is_live() -> bool:
    """Whether this is a notebook's kernel, where what was shown can be changed."""
    ipython = sys.modules.get("IPython")  # a kernel has loaded it
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def show(job: Job) -> None:
    """Show a job in the cell that runs, and keep what is shown up to date.

    Returns at once. Nothing is left once the job has ended.
    """
    from IPython.display import display

    ended = job.done()  # as far as what is shown first can know
    handle = display(  # type: ignore[no-untyped-call]
        bundle_of(job), raw=True, display_id=True
    )
    if handle is not None and not ended:
        job._loop.start(_follow(job, handle))


async def _follow(job: Job, handle: Any) -> None:
    """Show what happens. Runs in the loop's thread; the drawing does not."""
    view = JobView()
    async for updates in gathered(job._job.updates(), INTERVAL):
        view.take(updates)
        drawn = asyncio.get_running_loop().create_future()
        job._loop.callbacks.call(drawn, partial(_draw, job, handle, view, drawn))
        # Drawings would pile up where drawing takes long.
        if not await drawn:
            return


def _draw(job: Job, handle: Any, view: JobView, drawn: asyncio.Future[bool]) -> None:
    done = False
    try:
        handle.update(_bundle(job, view), raw=True)
        done = True
    finally:
        drawn.get_loop().call_soon_threadsafe(_set_result, drawn, done)


def _set_result(future: asyncio.Future[bool], result: bool) -> None:
    if not future.done():
        future.set_result(result)


def bundle_of(job: Job) -> dict[str, str]:
    """Return what there is to see of a job now, by its MIME type."""
    return job._loop.run(_bundle_now(job))


async def _bundle_now(job: Job) -> dict[str, str]:
    view = JobView()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):  # what happened until now
            async for update in job._job.updates():
                view.take([update])
    return _bundle(job, view)


def _bundle(job: Job, view: JobView) -> dict[str, str]:
    name, error = _name(job), job._job._machine.error
    end = f": {error}" if error is not None else ""
    return {
        "text/plain": f"<Job {name}: {view.line}{end}>",
        "text/html": render(name, view, error),
    }


def _name(job: Job) -> str:
    schema, number = job._job._client._app.schema, job._job._machine.fn_index
    endpoint = schema.endpoints.get(number) if schema is not None else None
    return endpoint.label if endpoint is not None else f"fn_index={number}"


def render(name: str, view: JobView, error: JobwireError | None = None) -> str:
    """Return a job as HTML in which nothing of the app's is anything but text.

    Args:
        name: The endpoint's.
        view: What happened.
        error: Why it failed or was cancelled; None if it did not.
    """
    return (
        f'<div style="font-size: 13px; line-height: 1.6">{"".join(_parts(name, view, error))}</div>'
    )


def _parts(name: str, view: JobView, error: JobwireError | None) -> Iterable[str]:
    status = view.status
    ended = status is not None and status.success is not None
    yield f"<div><b>{escape(name)}</b> {_stage(status)}</div>"
    if status is not None and not ended:
        for unit in status.progress_data or ():
            yield f"<div>{_progress(unit)}</div>"
    if view.logs:
        lines = [f"{view.dropped} lines before these"] if view.dropped else []
        lines += [_log(text, level) for text, level in view.logs]
        yield _block("\n".join(lines))
    if view.outputs:
        alone = view.outputs == 1 and status is not None and status.success
        label = "result" if alone else f"output {view.outputs}"
        yield f'<div style="opacity: 0.7">{label}</div>'
        yield _block(escape(_cut(text_of(view.output))))
    if error is not None:
        kind = escape(type(error).__name__)
        yield f'<div style="color: {_BAD}"><b>{kind}</b>: {escape(_cut(str(error)))}</div>'


def _stage(status: StatusUpdate | None) -> str:
    if status is None:
        return "submitted"
    style = "opacity: 0.7"
    if status.success is not None:
        style = f"color: {_GOOD if status.success else _BAD}"
    return f'<span style="{style}">{escape(where(status))}</span>'


def _progress(unit: ProgressUnit) -> str:
    # Without a value, a browser shows that something is going on.
    fraction = fraction_of(unit)
    value = "" if fraction is None else f' value="{fraction:.4f}"'
    bar = f'<progress max="1"{value} style="width: 20em; vertical-align: middle"></progress>'
    return f"{bar} {escape(progress_text(unit))}"


def _log(text: str, level: str) -> str:
    colour = _LEVELS.get(level, "inherit")
    return f'<span style="color: {colour}">{escape(level)}</span> {escape(_cut(text))}'


def _block(html: str) -> str:
    return (
        '<pre style="margin: 0 0 4px 0; max-height: 20em; overflow: auto; '
        f'white-space: pre-wrap">{html}</pre>'
    )


def _cut(text: str) -> str:
    """Return a text without its middle, if it is long: a text that grows does so at its end."""
    if len(text) <= _MAX_TEXT:
        return text
    half = _MAX_TEXT // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters ...\n{text[-half:]}"
