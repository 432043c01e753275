"""``jobwire call``: one call, watched."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from jobwire.cli.display import Display, make_display, render
from jobwire.cli.exits import ExitCode, exit_code
from jobwire.cli.options import Auth, Headers, Insecure, Token, Url, connect
from jobwire.client.files import handle_file
from jobwire.exceptions import AppError, JobCancelledError, JobTimeoutError, JobwireError
from jobwire.protocol.files import replace_values
from jobwire.protocol.schema import Endpoint
from jobwire.sync.client import Client
from jobwire.sync.job import Job
from jobwire.sync.result import FileResult
from jobwire.types import OutputUpdate, Update

__all__ = ("call", "explain", "parse_arguments", "watch")

_CANCELLED = (JobCancelledError, JobTimeoutError)
"""What ends jobs that are cancelled: by somebody, or by ``--timeout``."""


def call(
    url: Url,
    endpoint: Annotated[
        str,
        typer.Argument(metavar="ENDPOINT", help="Its name, such as /predict, or its number."),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARGS]...",
            help="VALUE or NAME=VALUE. A value that is JSON is read as JSON, anything else as "
            "text; for a parameter that takes text, so is all but a JSON string. @PATH sends a "
            "file, except for a parameter that takes text.",
            show_default=False,
        ),
    ] = None,
    *,
    timeout: Annotated[
        float | None, typer.Option(help="Cancel the job after so many seconds.", min=0)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Fetch files into DIR, under their own names."
        ),
    ] = None,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach",
            help="Leave the job to the server once it has it, and print its id, for jobwire "
            "jobs. Only jobwire's own servers keep jobs.",
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="For machines: the outcome as one JSON object on standard output, and each "
            "update as a line of JSON on standard error.",
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but the result and errors.")
    ] = False,
    auth: Auth = None,
    token: Token = None,
    headers: Headers = None,
    insecure: Insecure = False,
) -> None:
    """Call an endpoint of a running Gradio app, and watch the job.

    The result goes to standard output, everything else to standard error. Ctrl-C
    cancels the job, on the server too.

    Exit codes: 0 the job succeeded; 1 the app failed; 2 wrong arguments;
    3 unreachable; 4 no Gradio app; 5 refused (queue full, ...); 6 login;
    7 connection lost; 8 cancelled on the server; 124 --timeout; 130 Ctrl-C.
    """
    job: Job | None = None
    try:
        # Only what is shown at the end is worth fetching.
        with connect(
            url,
            auth,
            token,
            headers,
            insecure,
            download_files="lazy",
            verbose=not (quiet or as_json),
            timeout=timeout,
        ) as client:
            job = _submit(client, endpoint, arguments or [])
            if detach:
                try:
                    id = job.detach()
                except KeyboardInterrupt:
                    job.cancel()
                    raise
                print(json.dumps({"outcome": None, "event_id": id}) if as_json else id)
                return
            with make_display(as_json=as_json, quiet=quiet) as display:
                watch(job, display)
            result = _fetch(job.result(0), output)
    except JobwireError as error:
        if as_json:
            print(json.dumps(_failure(error, job), ensure_ascii=False))
        else:
            print(f"jobwire: {explain(error)}", file=sys.stderr)
        raise typer.Exit(exit_code(error)) from None
    except KeyboardInterrupt:
        print("jobwire: interrupted; the job was cancelled", file=sys.stderr)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if as_json:
        outcome = {"outcome": "completed", "event_id": job.event_id, "result": result}
        print(json.dumps(outcome, ensure_ascii=False))
    else:
        print(render(result))


def _is_file(value: Any) -> bool:
    return isinstance(value, FileResult)


def _with_addresses(update: Update) -> Update:
    """Return an update with the address of each file in its place."""
    if not isinstance(update, OutputUpdate):
        return update
    return replace(update, outputs=replace_values(update.outputs, _is_file, lambda f: f.url))


def _fetch(result: Any, directory: Path | None) -> Any:
    """Return a result with the address of each file in it, or its path once it is fetched."""

    def place(file: FileResult) -> str:
        if directory is None:
            return file.url
        return str(file.save(_free(directory / file.name)))

    return replace_values(result, _is_file, place)


def _free(path: Path) -> Path:
    """Return a path at which nothing is: this one, or with a number in its name."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(free for free in itertools.chain([path], numbered) if not free.exists())


def _submit(client: Client, name: str, texts: Iterable[str]) -> Job:
    schema = client.schema()
    found = (
        schema.find(fn_index=int(name)) if name.isascii() and name.isdigit() else schema.find(name)
    )
    args, kwargs = parse_arguments(found, texts)
    return client.submit(*args, fn_index=found.id, **kwargs)


def parse_arguments(endpoint: Endpoint, texts: Iterable[str]) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the named arguments that a command line gives.

    ``NAME=VALUE`` names one if NAME could be a name in Python; text with an equals
    sign, or an at sign before it, can be given as a JSON string.

    Raises:
        FileError: A file that is to be sent is not there.
    """
    parameters = endpoint.parameters or ()
    types = {parameter.name: parameter.type for parameter in parameters}
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals and name.isidentifier():
            kwargs[name] = _parse(value, types.get(name))
        else:
            position = len(args)
            kind = parameters[position].type if position < len(parameters) else None
            args.append(_parse(text, kind))
    return args, kwargs


def _parse(text: str, kind: str | None) -> Any:
    if text.startswith("@") and kind != "str":
        return handle_file(text[1:])
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if kind == "str" and not isinstance(value, str) else value


def watch(job: Job, display: Display) -> None:
    """Show a job's updates until it ends. Ctrl-C cancels it.

    Args:
        job: The job.
        display: Where to show them.
    """
    try:
        for updates in job._gathered():
            display.show(map(_with_addresses, updates))
    except KeyboardInterrupt:
        job.cancel()
        raise


def explain(error: JobwireError) -> str:
    """Return an error as a person at a terminal should read it."""
    if isinstance(error, AppError) and error.title != "Error":
        return f"the app failed: {error.title}: {error}"
    return f"the app failed: {error}" if isinstance(error, AppError) else str(error)


def _failure(error: JobwireError, job: Job | None) -> dict[str, Any]:
    return {
        "outcome": "cancelled" if isinstance(error, _CANCELLED) else "failed",
        "event_id": job.event_id if job is not None else None,
        "error": {
            "type": type(error).__name__,
            "message": str(error),
            "title": getattr(error, "title", None),
        },
    }
