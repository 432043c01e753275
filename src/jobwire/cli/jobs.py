"""``jobwire jobs``: the jobs of a store, or of a server, from outside."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from jobwire.cli.exits import ExitCode, exit_code
from jobwire.cli.options import Auth
from jobwire.exceptions import JobwireError

if TYPE_CHECKING:
    from jobwire.cli.places import Place

__all__ = ("make_jobs",)

Where = Annotated[
    str,
    typer.Argument(
        metavar="PLACE", help="A store (sqlite:PATH, or its file), or a server's address."
    ),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


def make_jobs() -> typer.Typer:
    """Return the commands."""
    jobs = typer.Typer(
        name="jobs",
        help="Look at the jobs of a store or a server, follow, cancel and forget them.",
        no_args_is_help=True,
    )
    for command in (list_, show, follow, cancel, purge, backup):
        jobs.command(command.__name__.strip("_"), no_args_is_help=True)(command)
    return jobs


def list_(
    place: Where,
    *,
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1)] = 20,
    as_json: AsJson = False,
    auth: Auth = None,
) -> None:
    """List the latest jobs. Of a server: your own, if it has logins."""
    with _at(place, auth) as where:
        jobs = where.list(limit)
    if as_json:
        print(json.dumps(jobs, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("job", "endpoint", "status", "since"):
        table.add_column(name, no_wrap=True)
    for job in jobs:
        table.add_row(job["event_id"], job["endpoint"], job["status"], _time(job["created"]))
    Console(highlight=False).print(table)


def show(place: Where, id: Id, *, auth: Auth = None) -> None:
    """Show what is known of a job, as JSON."""
    with _at(place, auth) as where:
        print(json.dumps(where.show(id), ensure_ascii=False, indent=2))


def follow(
    place: Where,
    id: Id,
    *,
    after: Annotated[int, typer.Option(help="Begin behind the event of that number.", min=0)] = 0,
    auth: Auth = None,
) -> None:
    """Print a job's messages until it ends: a line of JSON each, with a number, seq, for events.

    Exit codes: 0 it has ended, however; 2 there is no such job.
    """
    with _at(place, auth) as where:
        for message in where.follow(id, after):
            print(json.dumps(message, ensure_ascii=False), flush=True)


def cancel(place: Where, id: Id, *, auth: Auth = None) -> None:
    """Cancel a job, and say what that did. In a store: while no server uses it."""
    with _at(place, auth) as where:
        print(where.cancel(id))


def purge(
    place: Where,
    id: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="The job; of a store, all that have ended."),
    ] = None,
    *,
    auth: Auth = None,
) -> None:
    """Forget jobs that have ended before their time. In a store: while no server uses it."""
    with _at(place, auth) as where:
        count = where.purge(id)
    print(f"forgot {count} {'job' if count == 1 else 'jobs'}")


def backup(
    place: Where,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The copy; it must not exist.")],
) -> None:
    """Copy a store as it is at one moment, also while a server uses it. Its files are not in it."""
    with _at(place, None) as where:
        from jobwire.cli.places import StorePlace

        if not isinstance(where, StorePlace):
            print("jobwire: only a store can be copied", file=sys.stderr)
            raise typer.Exit(ExitCode.USAGE)
        where.backup(target)


@contextmanager
def _at(place: str, auth: str | None) -> Iterator[Place]:
    try:
        from jobwire.cli.places import find_place
    except ModuleNotFoundError as error:
        print(
            f"jobwire: this needs {error.name}: pip install 'jobwire[cli,server]'", file=sys.stderr
        )
        raise typer.Exit(ExitCode.USAGE) from None
    from jobwire.server.stores.base import JobNotFoundError, StoreError

    try:
        yield find_place(place, auth)
    except (JobNotFoundError, StoreError) as error:
        print(f"jobwire: {error}", file=sys.stderr)
        raise typer.Exit(ExitCode.USAGE) from None
    except JobwireError as error:
        print(f"jobwire: {error}", file=sys.stderr)
        raise typer.Exit(exit_code(error)) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _time(seconds: Any) -> str:
    if not seconds:
        return ""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
