"""``jobwire serve``: an app, on the network."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import json
import logging
import os
import re
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TextIO, cast

import typer

from jobwire.cli.exits import ExitCode
from jobwire.exceptions import ArgumentError, JobwireError

if TYPE_CHECKING:
    from jobwire.server.app import App

__all__ = ("TargetError", "default_store", "load", "require_server", "serve", "setup_logging")


STORES = ".jobwire"
"""The directory of the stores that nobody named, in the one that the server is started in."""


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
    store: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Where jobs are kept: 'memory:', or 'sqlite:PATH', which outlives the server. "
            "Left out: where the App says, else a file in .jobwire/ for each app and port, "
            "or memory if any port will do.",
            show_default=False,
        ),
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(
            help="Seconds that running jobs have for coming to their end when the server is "
            "stopped. Left out: what the App says.",
            min=0,
            show_default=False,
        ),
    ] = None,
    root_path: Annotated[
        str, typer.Option(help="The path below which a proxy shows the app.")
    ] = "",
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="A name by which the server may be addressed. Repeatable."),
    ] = None,
    forwarded_allow_ips: Annotated[
        str | None,
        typer.Option(
            help="The addresses of proxies whose X-Forwarded-For and X-Forwarded-Proto are "
            "believed, separated by commas."
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            help="Where functions run of which the app does not say: 'thread', or 'process' for "
            "worker processes, which a cancel can kill."
        ),
    ] = None,
    max_processes: Annotated[
        int | None,
        typer.Option(help="How many worker processes there are; by default, one a core.", min=1),
    ] = None,
    ssl_certfile: Annotated[
        Path | None, typer.Option(help="TLS certificate.", exists=True, dir_okay=False)
    ] = None,
    ssl_keyfile: Annotated[
        Path | None, typer.Option(help="TLS key.", exists=True, dir_okay=False)
    ] = None,
    log_format: Annotated[
        str, typer.Option(help="'text', or 'json': a line of JSON for each record.")
    ] = "text",
    access_log: Annotated[bool, typer.Option(help="Log every request.")] = True,
) -> None:
    """Serve the functions of an App, until Ctrl-C or SIGTERM.

    Exit codes: 0 it was stopped; 2 there is no such App, its worker processes cannot be
    started, or the address cannot be used.
    """
    require_server()
    from jobwire.server.serve import run

    if log_format not in ("text", "json"):
        _refuse("--log-format is 'text' or 'json'")
    if ssl_keyfile is not None and ssl_certfile is None:
        _refuse("--ssl-keyfile needs --ssl-certfile, too")
    setup_logging(log_format, access=access_log)
    try:
        app = load(target)
    except TargetError as error:
        _refuse(error)
    try:
        changes = {
            "allowed_hosts": allowed_host,
            "executor": executor,
            "max_processes": max_processes,
        }
        app.configure(**{name: value for name, value in changes.items() if value})
        if grace is not None:
            app.configure(grace=grace)
        app.configure(store=store or app.settings.store or default_store(target, port))
        run(
            app,
            host=host,
            port=port,
            on_start=lambda url: print(
                f"jobwire serves {app.settings.title!r} at {url}", file=sys.stderr, flush=True
            ),
            forwarded_allow_ips=forwarded_allow_ips,
            root_path=root_path,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
        )
    except (JobwireError, OSError) as error:
        _refuse(error)


def default_store(target: str, port: int) -> str:
    """Return the address of the store for an app on a port, and make its directory."""
    if not port:
        return "memory:"
    folder = Path(STORES)
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    name = re.sub(r"[^\w.-]+", "-", target.removesuffix(".py").replace("/", "."), flags=re.ASCII)
    file = folder / f"{name.strip('.-')}-{port}.db"
    return f"sqlite:{file}"


def require_server() -> None:
    """End the program if what the server needs is not installed."""
    try:
        import jobwire.server.app
        import jobwire.server.serve  # noqa: F401
    except ModuleNotFoundError as error:
        _refuse(f"the server needs {error.name}: pip install 'jobwire[cli,server]'")


def _refuse(reason: object) -> NoReturn:
    print(f"jobwire: {reason}", file=sys.stderr)
    raise typer.Exit(ExitCode.USAGE) from None


class TargetError(ArgumentError):
    """A command line names no App."""


def load(target: str) -> App:
    """Return the App that a command line names.

    Args:
        target: ``module:name``, ``path/file.py:name``, or either without the name.

    Raises:
        TargetError: There is none. An error in the module itself comes as it is.
    """
    from jobwire.server.app import App, is_loading

    found = _TARGET.fullmatch(target)
    place, name = found.groups() if found else (target, None)
    name = name or "app"
    loading = is_loading.set(True)
    try:
        module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    finally:
        is_loading.reset(loading)
    app: Any = module
    for part in name.split("."):
        app = getattr(app, part, None)
    if not isinstance(app, App):
        apps = [each for each, value in vars(module).items() if isinstance(value, App)]
        has = f"it has {', '.join(apps)}" if apps else "it has none"
        raise TargetError(f"{name} is no App in {place}; {has}", parameter="target")
    return app


_TARGET = re.compile(r"(.+\.py|.+?)(?::([\w.]*))?", re.DOTALL)
"""A module or a file, and a name in it; colons may be in a path."""


def _load_module(name: str) -> ModuleType:
    if os.path.isdir(name) and not name.isidentifier():
        raise TargetError(
            f"{name} is a directory; give the path of a Python file in it", parameter="target"
        )
    if all(name.split(".")) and not any(mark in name for mark in "/\\\0"):
        sys.path.insert(0, "")
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # it is there, but needs one that is not
    raise TargetError(
        f"there is no module {name or repr(name)}; give it as Python imports it, or the path of "
        "its file, which ends in .py",
        parameter="target",
    )


def _load_file(path: Path) -> ModuleType:
    from jobwire.server.modules import load_file_as

    if not path.is_file():
        raise TargetError(f"there is no file {path}", parameter="target")
    path = path.resolve()
    name = path.stem.replace(".", "_")  # a dot would make it part of a package
    if name in sys.stdlib_module_names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)  # while the file's directory does not hide it
    while (taken := sys.modules.get(name)) is not None:
        if getattr(taken, "__file__", None) == str(path):
            return taken
        name += "_"
    sys.path.insert(0, str(path.parent))
    return load_file_as(name, path)


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
        with self.lock or contextlib.nullcontext():
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
        elif record.exc_text:  # from a worker process
            fields["exception"] = record.exc_text
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
