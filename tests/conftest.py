"""Real Gradio servers in their own processes, and checks that nothing is left behind."""

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from pathlib import Path

import hypothesis
import pytest

import jobwire
from jobwire.server import modules
from ports import free_port

APP = Path(__file__).parent / "apps" / "scenarios.py"
STUDIO = APP.with_name("studio.py")
START_TIMEOUT = 240.0

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("jobwire", deadline=None)
hypothesis.settings.load_profile("jobwire")

# Or the library of the Hub asks it, once a day, what to report in its user agent.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


class Server:
    """A Gradio server in a process of its own."""

    def __init__(
        self,
        *options: str,
        python: str = sys.executable,
        path: str = "/",
        app: Path = APP,
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}{path}"
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("GRADIO_")
        }
        own = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            [python, str(app), str(self.port), *options],
            env={**inherited, **own, **(environment or {})},
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
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}config", timeout=5):
                    return
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 401:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError("the server did not start:\n" + "".join(self.log[-40:]))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()


@contextlib.contextmanager
def running(
    *options: str,
    python: str = sys.executable,
    path: str = "/",
    app: Path = APP,
    environment: Mapping[str, str] | None = None,
    port: int | None = None,
) -> Iterator[Server]:
    server = Server(*options, python=python, path=path, app=app, environment=environment, port=port)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # Workers send it as UTF-8, which has no halves of surrogate pairs; some tests log them.
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture(scope="module", autouse=True)
def what_is_there_stays() -> None:
    """Leave out of later collections what exists by now, or they take most of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A Gradio server that all tests share."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def studio() -> Iterator[str]:
    """The address of an app with files, streamed text and progress, which tests share."""
    with running(app=STUDIO) as server:
        yield server.url


@pytest.fixture
def url(server: Server) -> str:
    return server.url


@pytest.fixture
def client(url: str) -> Iterator[jobwire.Client]:
    with jobwire.Client(url) as client:
        yield client


@pytest.fixture
async def async_client(url: str) -> AsyncIterator[jobwire.AsyncClient]:
    async with jobwire.AsyncClient(url) as client:
        yield client
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, left


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the account on Hugging Face that this machine may have out of the tests."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", "no token here")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves threads or sockets; unclosed ones warn, and warnings are errors."""
    before = set(threading.enumerate())
    yield
    gc.collect()
    kept = ("jobwire", "jobwire-callbacks")  # one of each for the whole process
    left = [
        thread
        for thread in set(threading.enumerate()) - before
        if thread.name not in kept and not thread.name.startswith(("asyncio_", "Thread-"))
    ]
    assert not left, left


@pytest.fixture(autouse=True)
def no_files_loaded() -> Iterator[None]:
    """Forget the modules that a test loaded from files, or workers of others would load them."""
    before = dict(modules.FILES)
    yield
    modules.FILES.clear()
    modules.FILES.update(before)


Eventually = Callable[[Callable[[], bool]], None]


@pytest.fixture
def eventually() -> Eventually:
    """Wait until something is true, ten seconds at most."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.01)

    return wait
