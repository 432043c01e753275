"""jobwire servers in their own processes."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ports import free_port

TESTS = Path(__file__).parents[1]
START_TIMEOUT = 30.0
FOLDER = tempfile.TemporaryDirectory()
"""Where servers run, and keep their jobs."""


class Serving:
    """An app of ``apps/served.py``, served in a process of its own."""

    def __init__(self, app: str, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api = f"{self.url}/gradio_api"
        command = [sys.executable, "-m", "jobwire", "serve", app, "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, *options],
            env=os.environ | {"PYTHONPATH": str(TESTS)},
            cwd=FOLDER.name,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            self.log.extend(stderr)

    def wait_until_ready(self) -> None:
        wait_for(f"{self.url}/health", self.process, self.log)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._reader.join()


def wait_for(url: str, process: subprocess.Popen[str], log: list[str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"nothing answers at {url}:\n" + "".join(log[-40:]))


@contextlib.contextmanager
def serving_app(app: str, *options: str) -> Iterator[Serving]:
    serving = Serving(app, *options)
    try:
        serving.wait_until_ready()
        yield serving
    finally:
        serving.stop()


@pytest.fixture(scope="session")
def serving() -> Iterator[Serving]:
    """The open app, which all tests share."""
    with serving_app("apps.served:app") as serving:
        yield serving


@pytest.fixture(scope="session")
def guarded() -> Iterator[Serving]:
    """The app that wants the login ``user`` and ``pass``."""
    with serving_app("apps.served:guarded") as serving:
        yield serving
