"""``jobwire demo``: a server, three calls of it, and how to make them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobwire.cli.call import explain, watch
from jobwire.cli.display import make_display, render
from jobwire.cli.exits import ExitCode, exit_code
from jobwire.cli.serve import require_server
from jobwire.exceptions import AppError, JobwireError
from jobwire.sync.client import Client

if TYPE_CHECKING:
    from jobwire.server.app import App

__all__ = ("demo", "make_app")


def make_app() -> App:
    """Return the app of the demonstration."""
    from jobwire.exceptions import AppError
    from jobwire.server.app import App
    from jobwire.server.context import Progress

    app = App(title="jobwire demo")

    @app.endpoint
    def tell(words: int = 6) -> Iterator[str]:
        """Tell a story word by word, as a language model does."""
        story = ["once", "upon", "a", "time", "a", "job", "was", "sent", "and", "it", "arrived"]
        for count in range(1, min(words, len(story)) + 1):
            time.sleep(0.15)
            yield " ".join(story[:count])

    @app.endpoint
    def bake(loaves: int, progress: Progress) -> str:
        """Bake bread, and show how far it is."""
        for _ in progress.track(range(loaves), desc="baking", unit="loaves"):
            time.sleep(0.2)
        return f"{loaves} loaves, still warm"

    @app.endpoint
    def divide(a: float, b: float) -> float:
        """Divide two numbers, if that can be done."""
        if b == 0:
            raise AppError("nobody can divide by zero", title="Arithmetic")
        return a / b

    return app


def demo(
    *,
    keep: Annotated[
        bool, typer.Option(help="Keep the server until Ctrl-C, to try it by hand.")
    ] = False,
) -> None:
    """Serve three functions on a free port, call them, and show how others can.

    Exit codes: 0 all went as it should; 3 no server could be started.
    """
    require_server()
    from jobwire.server.serve import BackgroundServer

    failed = False
    try:
        with BackgroundServer(make_app()) as server, Client(server.url) as client:
            print(f"serving three Python functions at {server.url}")
            failed |= not _show(client, "/tell", {"words": 6})
            failed |= not _show(client, "/bake", {"loaves": 3})
            failed |= not _show(client, "/divide", {"a": 1, "b": 0}, fails=True)
            print(_HINTS.format(url=server.url))
            while keep:
                time.sleep(3600)
    except OSError as error:
        print(f"jobwire: {error}")
        raise typer.Exit(ExitCode.UNREACHABLE) from None
    except KeyboardInterrupt:
        pass
    if failed:
        raise typer.Exit(ExitCode.APP_FAILED)


_HINTS = """
While an app is served (jobwire demo --keep), anything that speaks to Gradio can call it:

  curl {url}/gradio_api/run/divide -d '{{"data": [7, 2]}}'

  from gradio_client import Client
  Client("{url}").predict(7, 2, api_name="/divide")
"""


def _show(client: Client, endpoint: str, arguments: dict[str, Any], *, fails: bool = False) -> bool:
    """Make a call and watch it; return whether it ended as it should."""
    words = " ".join(f"{name}={value}" for name, value in arguments.items())
    print(f"\n$ jobwire call {client.src.rstrip('/')} {endpoint} {words}", flush=True)
    try:
        job = client.submit(api_name=endpoint, **arguments)
        with make_display(as_json=False, quiet=False) as display:
            watch(job, display)
        print(render(job.result(0)), flush=True)
    except JobwireError as error:
        print(f"jobwire: {explain(error)} (exit code {exit_code(error)})", flush=True)
        return fails and isinstance(error, AppError)
    return not fails
