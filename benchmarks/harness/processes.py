"""Processes that are started, given a time limit, and always ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.environments import CACHE

__all__ = ("Outcome", "Server", "ServerError", "run", "serve")

READY_LIMIT = 120.0
"""Seconds that the server may take to start."""


class ServerError(Exception):
    """The server did not start; says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run of one peer.

    Attributes:
        values: What it measured, and ``process_seconds``, its whole life as seen from
            outside; None if it did not get that far.
        problem: Why it did not; None if it did.
    """

    values: Mapping[str, Any] | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers.

    Attributes:
        url: Where.
        pid: Of its process, which may have started others.
    """

    url: str
    pid: int


def run(command: Sequence[str], *, limit: float, reports: bool = True) -> Outcome:
    """Run a peer to its end, or until ``limit`` seconds have passed.

    Args:
        command: What to run.
        limit: Seconds; a process that takes longer is killed and counts as hung.
        reports: It prints a line of JSON, which becomes the values. Otherwise, that
            it ends without an error is all.
    """
    start = time.perf_counter()
    with _started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return Outcome(None, f"hung: no end within {limit:.0f} s")
        seconds = time.perf_counter() - start
    if process.returncode != 0:
        last = (err.decode(errors="replace").strip().splitlines() or [""])[-1]
        return Outcome(None, f"exit code {process.returncode}: {last[:200]}")
    try:
        values = json.loads(out.splitlines()[-1]) if reports else {}
    except (ValueError, IndexError):
        return Outcome(None, f"printed no JSON but {out[-200:]!r}")
    return Outcome({**values, "process_seconds": seconds})


@contextlib.contextmanager
def serve(
    command: Sequence[str],
    log: Path,
    *,
    ready: str = "/config",
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run a server in a process of its own and give it, once it answers.

    Args:
        command: What to run; ``{port}`` stands for the port.
        log: Where its output goes.
        ready: The path that it answers with 200 when it is ready.
        folder: Where to run it.
        environment: Variables that it has besides.

    Raises:
        ServerError: It ended, or did not answer in time.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [part.replace("{port}", str(port)) for part in command]
    with (
        log.open("wb") as output,
        _started(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            folder=folder,
            environment=environment,
        ) as process,
    ):
        deadline = time.monotonic() + READY_LIMIT
        while not _answers(f"{url}{ready}"):
            if process.poll() is not None:
                raise ServerError(
                    f"the server ended with exit code {process.returncode}; see {log}"
                )
            if time.monotonic() > deadline:
                raise ServerError(
                    f"the server did not answer within {READY_LIMIT:.0f} s; see {log}"
                )
            time.sleep(0.2)
        yield Server(url, process.pid)


def _answers(url: str) -> bool:
    # Not through a proxy that the environment may name: it is this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextlib.contextmanager
def _started(
    command: Sequence[str],
    *,
    stdout: Any,
    stderr: int,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process in a group of its own, and kill the whole group at the end."""
    variables = {
        # What the caller tells Python is not meant for other environments. One such word,
        # PYTHONDONTWRITEBYTECODE, would have every import compile its source.
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "PYTHONPYCACHEPREFIX": str(CACHE / "bytecode"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        **(environment or {}),
    }
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=variables,
        cwd=folder,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            if sys.platform == "win32":
                process.kill()
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
