"""``jobwire serve``: an app, on the network."""

from __future__ import annotations

import atexit
import importlib
import io
import json
import logging
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO, cast

import typer

from jobwire.cli.exits import ExitCode
from jobwire.exceptions import ArgumentError, JobwireError

if TYPE_CHECKING:
    from jobwire.server.app import App

__all__ = ("load", "serve", "setup_logging")


def serve(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:APP",
            help="Where the App is: a module, or a Python file, and a name in it. The name may "
            "be left out if it is 'app'.",
        ),
    ],
    *,
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 is every address there is.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes any.", min=0, max=65535)] = 7860,
    root_path: Annotated[
        str, typer.Option(help="The path below which a proxy shows the app.")
    ] = "",
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="A name by which the server may be addressed. Repeatable."),
    ] = None,
    ssl_certfile: Annotated[Path | None, typer.Option(help="TLS certificate.")] = None,
    ssl_keyfile: Annotated[Path | None, typer.Option(help="TLS key.")] = None,
    log_format: Annotated[
        str, typer.Option(help="'text', or 'json': a line of JSON for each record.")
    ] = "text",
    access_log: Annotated[bool, typer.Option(help="Log every request.")] = True,
) -> None:
    """Serve the functions of an App, until Ctrl-C or SIGTERM.

    Exit codes: 0 it was stopped; 2 there is no such App, or the address cannot be used.
    """
    try:
        if log_format not in ("text", "json"):
            raise ArgumentError("--log-format is 'text' or 'json'", parameter="log_format")
        setup_logging(log_format, access=access_log)
        app = load(target)
        if allowed_host:
            app.configure(allowed_hosts=allowed_host)
        from jobwire.server.serve import run

        run(
            app,
            host=host,
            port=port,
            on_start=lambda url: print(
                f"jobwire serves {app.settings.title!r} at {url}", file=sys.stderr, flush=True
            ),
            root_path=root_path,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
        )
    except (JobwireError, OSError) as error:
        print(f"jobwire: {error}", file=sys.stderr)
        raise typer.Exit(ExitCode.USAGE) from None


def load(target: str) -> App:
    """Return the App that a command line names.

    Args:
        target: ``module:name``, ``path/file.py:name``, or either without the name.

    Raises:
        ArgumentError: There is none. An error in the module itself comes as it is.
    """
    module_name, _, name = target.partition(":")
    name = name or "app"
    path = Path(module_name)
    if path.suffix == ".py":
        if not path.is_file():
            raise ArgumentError(f"there is no file {module_name}", parameter="target")
        sys.path.insert(0, str(path.parent.resolve()))
        module_name = path.stem
    else:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # it is there, but needs one that is not
        raise ArgumentError(
            f"there is no module {module_name}; give it as Python imports it, or the path of "
            "its file",
            parameter="target",
        ) from None
    from jobwire.server.app import App

    app: Any = module
    for part in name.split("."):
        app = getattr(app, part, None)
    if not isinstance(app, App):
        apps = [each for each, value in vars(module).items() if isinstance(value, App)]
        found = f"it has {', '.join(apps)}" if apps else "it has none"
        raise ArgumentError(f"{name} is no App in {module_name}; {found}", parameter="target")
    return app


class _BufferedHandler(logging.StreamHandler[TextIO]):
    """Writes records together, a moment later: under load, each write would give a thread the
    interpreter lock, which costs more than all the rest of a request.

    What is at least a warning is written at once.
    """

    DELAY = 0.1  # seconds

    def __init__(self) -> None:
        super().__init__()
        self._pending = threading.Event()
        self._stream = self.stream
        self.setStream(io.StringIO())
        threading.Thread(target=self._write_on, name="jobwire-log", daemon=True).start()
        atexit.register(self.write_out)

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if record.levelno >= logging.WARNING:
            self.write_out()
        else:
            self._pending.set()

    def flush(self) -> None:
        pass  # after each record; `write_out` does it

    def write_out(self) -> None:
        """Write what is pending."""
        with self.lock or nullcontext():
            buffer = self.setStream(io.StringIO())
            if buffer is not None:
                self._stream.write(cast("io.StringIO", buffer).getvalue())
                self._stream.flush()

    def _write_on(self) -> None:
        while self._pending.wait():
            time.sleep(self.DELAY)
            self._pending.clear()
            self.write_out()


class _JsonFormatter(logging.Formatter):
    """One object a line; the fields of a request as fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        request = getattr(record, "request", None)
        if isinstance(request, dict):
            fields |= request
        else:
            fields["message"] = record.getMessage()
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def setup_logging(format: Literal["text", "json"] | str, *, access: bool) -> None:
    """Write the server's log to standard error."""
    handler = _BufferedHandler()
    handler.setFormatter(
        _JsonFormatter()
        if format == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("jobwire.access").setLevel(logging.INFO if access else logging.WARNING)
