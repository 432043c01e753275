"""``jobwire demo``: a server, calls of it on good days and on bad ones, and how to make them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Self

import typer

from jobwire.cli.call import explain, watch
from jobwire.cli.display import make_display, render
from jobwire.cli.exits import ExitCode, exit_code
from jobwire.cli.relay import Relay
from jobwire.cli.serve import require_server
from jobwire.exceptions import AppError, JobwireError
from jobwire.sync.client import Client
from jobwire.sync.job import Job

__all__ = ("demo",)

BREAK_AFTER = 3
"""Outputs that a job has given when something happens to it."""


def demo(
    *,
    keep: Annotated[
        bool, typer.Option(help="Keep the server until Ctrl-C, to try it by hand.")
    ] = False,
) -> None:
    """Serve three functions on a free port, call them, and show how others can.

    One call has its connection cut in the middle, another one its server killed. Jobs are kept
    in a temporary directory.

    Exit codes: 0 all went as it should; 1 something did not; 3 no server could be started.
    """
    require_server()
    from jobwire.cli.demo_app import STORY

    words, told = 6, [" ".join(STORY[: count + 1]) for count in range(6)]
    try:
        with TemporaryDirectory(prefix="jobwire-demo-") as folder, _Server(Path(folder)) as server:
            print(f"serving three Python functions at {server.url}", flush=True)
            with Client(server.url) as client:
                _show(client, "/tell", {"words": words})
                _show(client, "/bake", {"loaves": 3})
                _show(client, "/divide", {"a": 1, "b": 0}, fails=True)
            print("\nOn a bad day, the connection is cut in the middle of a job:")
            with Relay(server.port) as relay, Client(relay.url) as client:
                job = _show(client, "/tell", {"words": words}, meanwhile=relay.cut)
                _check(job.outputs() == told, f"all {words} outputs arrived, each once")
            print("\nOn a worse one, the server is killed (kill -9), and started again:")
            with Client(server.url) as client:
                waiting: list[Job] = []

                def crash() -> None:
                    waiting.append(client.submit(words=words, api_name="/tell"))
                    waiting[0].detach()  # returns when the server has it
                    server.kill()
                    server.start()

                job = _show(client, "/tell", {"words": words}, meanwhile=crash)
                _check(job.result(0) == told[-1], "begun again, since the function allows that")
                whole = waiting[0].result(60) == told[-1]
                _check(whole, "the job that waited behind it arrived, too")
            print(_HINTS.format(url=server.url))
            while keep:
                time.sleep(3600)
    except (OSError, _NotStartedError) as error:
        print(f"jobwire: {error}")
        raise typer.Exit(ExitCode.UNREACHABLE) from None
    except _FailedError as error:
        print(f"jobwire: {error}")
        raise typer.Exit(ExitCode.APP_FAILED) from None
    except KeyboardInterrupt:
        pass


_HINTS = """
While an app is served (jobwire demo --keep), anything that speaks to Gradio can call it:

  curl {url}/gradio_api/run/divide -d '{{"data": [7, 2]}}'

  from gradio_client import Client
  Client("{url}").predict(7, 2, api_name="/divide")
"""


class _NotStartedError(Exception):
    """The server did not start; what it said."""


class _FailedError(Exception):
    """Something went otherwise than it is meant to."""


class _Server:
    """A server with the functions of the demonstration, in a process of its own.

    Args:
        folder: Where it keeps its jobs.
    """

    def __init__(self, folder: Path) -> None:
        self.port = 0  # any that is free; from then on, that one
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._rest: threading.Thread | None = None  # reads what it says

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it serves.

        Raises:
            _NotStartedError: It does not.
        """
        store = f"sqlite:{self._folder / 'jobs.db'}"
        command = [sys.executable, "-m", "jobwire.cli.demo_app", f"{self.port}", store]
        process = self._process = subprocess.Popen(  # noqa: S603
            command, stderr=subprocess.PIPE, stdin=subprocess.PIPE, text=True
        )
        assert process.stderr is not None  # noqa: S101
        said = []
        for line in process.stderr:
            if line.startswith("jobwire serves"):
                self.port = int(line.rpartition(":")[2])
                # What it says later is of no interest, but must not fill the pipe.
                self._rest = threading.Thread(target=process.stderr.read, name="jobwire-demo")
                self._rest.start()
                return
            said.append(line)
        self.kill()
        raise _NotStartedError(f"the server did not start: {''.join(said).strip()}")

    def kill(self) -> None:
        """End it at once, as a crash would. Harmless when repeated."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        if self._rest is not None:
            self._rest.join()
        for pipe in (self._process.stdin, self._process.stderr):
            if pipe is not None:
                pipe.close()


def _show(
    client: Client,
    endpoint: str,
    arguments: dict[str, Any],
    *,
    fails: bool = False,
    meanwhile: Callable[[], object] | None = None,
) -> Job:
    """Make a call and watch it.

    Args:
        client: Of the server.
        endpoint: What to call.
        arguments: By name.
        fails: The app is meant to refuse.
        meanwhile: Called, in a thread of its own, once the job has given `BREAK_AFTER` outputs.

    Raises:
        _FailedError: It does not end as it is meant to.
    """
    words = " ".join(f"{name}={value}" for name, value in arguments.items())
    print(f"\n$ jobwire call {client.src.rstrip('/')} {endpoint} {words}", flush=True)
    job = client.submit(api_name=endpoint, **arguments)
    disturbing = threading.Thread(target=_disturb, args=(job, meanwhile))
    if meanwhile is not None:
        disturbing.start()
    try:
        with make_display(as_json=False, quiet=False) as display:
            watch(job, display)
        print(render(job.result(0)), flush=True)
    except JobwireError as error:
        print(f"jobwire: {explain(error)} (exit code {exit_code(error)})", flush=True)
        _check(fails and isinstance(error, AppError), "")
    else:
        _check(not fails, "")
    finally:
        if meanwhile is not None:
            disturbing.join()
    return job


def _disturb(job: Job, action: Callable[[], object] | None) -> None:
    outputs = iter(job)
    for _ in range(BREAK_AFTER):
        next(outputs)
    if action is not None:
        action()


def _check(right: bool, what: str) -> None:
    """Say what is so, unless it is not."""
    if not right:
        raise _FailedError(f"this is not so: {what}" if what else "this is not as it should be")
    if what:
        print(f"# {what}", flush=True)
