"""Servers with worker processes: how they start, and that nothing is left when they end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

import jobwire
from ports import free_port
from server.conftest import TESTS, wait_for

pytestmark = pytest.mark.skipif(not hasattr(os, "setsid"), reason="groups of processes")


class Program:
    """A program that serves, the first of a group of processes as in a terminal."""

    def __init__(self, *command: str, cwd: Path | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, *(part.format(port=self.port) for part in command)],
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(TESTS), "GRADIO_SERVER_PORT": str(self.port)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            self.log.extend(stderr)

    def ready(self) -> Program:
        wait_for(f"{self.url}/health", self.process, self.log)
        return self

    def ended(self) -> tuple[int, str]:
        """Wait for its end; give its exit code and what it said."""
        code = self.process.wait(20)
        self._reader.join(10)
        return code, "".join(self.log)

    def descendants(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def clear(self) -> None:
        for process in [*self.descendants(), self.process] if self.process.poll() is None else []:
            process.kill()
        self.process.wait()
        self._reader.join(10)


Start = Callable[..., Program]


@pytest.fixture
def start() -> Iterator[Start]:
    programs: list[Program] = []

    def start(*command: str, **options: Any) -> Program:
        programs.append(Program(*command, **options))
        return programs[-1]

    yield start
    for program in programs:
        program.clear()


def serve(*options: str) -> Sequence[str]:
    return ("-m", "jobwire", "serve", *options, "--port", "{port}", "--no-access-log")


def gone(processes: list[psutil.Process]) -> bool:
    return not any(
        process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes
    )


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def post(url: str, body: dict[str, Any]) -> Any:
    with urllib.request.urlopen(url, data=json.dumps(body).encode(), timeout=10) as response:
        return json.load(response)


@contextlib.contextmanager
def running(url: str, name: str, *args: Any, mark: bytes = b"asleep") -> Iterator[dict[str, Any]]:
    """Call a function, and wait until its job's stream has a mark; give what names the job."""
    api = f"{url}/gradio_api"
    with urllib.request.urlopen(f"{api}/info", timeout=10) as response:
        index = list(json.load(response)["named_endpoints"]).index(f"/{name}")
    session = f"{name}-{time.monotonic_ns()}"
    call = {"data": args, "fn_index": index, "session_hash": session}
    id = post(f"{api}/queue/join", call)["event_id"]
    url = f"{api}/queue/data?session_hash={session}"
    with urllib.request.urlopen(url, timeout=10) as stream:
        assert any(mark in line for line in stream)
        yield {"event_id": id, "session_hash": session, "fn_index": index}


# -- the ends ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_of_a_server(start: Start, number: signal.Signals) -> None:
    program = start(*serve("apps.workers:app", "--grace", "0.5")).ready()
    with contextlib.ExitStack() as stack:
        for name in ("sleep", "hold_lock", "start_child"):
            mark = b"process_generating" if name == "start_child" else b"asleep"
            stack.enter_context(running(program.url, name, mark=mark))
        processes = program.descendants()
        program.process.send_signal(number)
        code, log = program.ended()
    assert code == (-9 if number == signal.SIGKILL else 0)
    wait_until(lambda: gone(processes))
    assert "Traceback" not in log


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_of_a_server_that_had_nothing_to_do(
    start: Start, number: signal.Signals
) -> None:
    program = start(*serve("apps.workers:app")).ready()
    processes = program.descendants()
    # As a terminal does it: to all of the group.
    os.killpg(program.process.pid, number)
    _, log = program.ended()
    wait_until(lambda: gone(processes))
    assert log.splitlines()[1:] == []


SLOW = """\
import time
from pathlib import Path
from jobwire import App
app = App(executor="process", max_processes=2)
@app.endpoint
def f() -> None: ...
if (here := Path("started")).exists():
    here.with_name("importing").touch()
    time.sleep(60)
here.touch()
"""


def test_a_start_can_be_interrupted(start: Start, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    program = start(*serve("slow.py"), cwd=tmp_path)
    wait_until((tmp_path / "importing").exists)
    processes = program.descendants()
    os.killpg(program.process.pid, signal.SIGINT)
    code, log = program.ended()
    assert code == 0
    assert log == ""
    wait_until(lambda: gone(processes))


# -- the starts ------------------------------------------------------------------------------

APP = "import os\nfrom jobwire import App\napp = App(executor='process', max_processes=2)\n"
IN_WORKER = "import multiprocessing\nif multiprocessing.parent_process(): "
FUNCTION = "@app.endpoint\ndef f() -> None: ...\n"
PROGRAMS = {
    "nameless.py": APP + "app.endpoint(name='f')(lambda: None)\n",
    "inner.py": APP + "def g():\n def f() -> None: ...\n app.endpoint(f)\ng()\n",
    "fails.py": APP + IN_WORKER + "raise RuntimeError('not here')\n" + FUNCTION,
    "dies.py": APP + IN_WORKER + "os._exit(3)\n" + FUNCTION,
    "session.py": APP + "from jobwire import Session\n"
    "@app.endpoint\ndef f(s: Session) -> None: ...\n",
}
NAMES = "jobwire: /f cannot be called in a worker process, which imports functions by name: "
REFUSALS = {
    "nameless.py": NAMES,
    "inner.py": NAMES,
    "fails.py": "jobwire: a worker process could not import the app: RuntimeError: not here",
    "dies.py": "jobwire: the worker process ended with exit code 3 before it had imported the app",
    "session.py": "jobwire: /f takes the Session, whose state is in the server's process",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_workers_cannot_do_is_said_at_the_start(
    start: Start, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text(PROGRAMS[name])
    code, log = start(*serve(name), cwd=tmp_path).ended()
    assert code == 2
    assert log.splitlines()[-1].startswith(REFUSALS[name])
    assert log.count("Traceback") <= 1


def test_another_server_says_it_too(start: Start, tmp_path: Path) -> None:
    (tmp_path / "nameless.py").write_text(PROGRAMS["nameless.py"])
    code, log = start(
        "-m", "uvicorn", "nameless:app", "--port", "{port}", "--app-dir", str(tmp_path)
    ).ended()
    assert code == 3
    assert "/f cannot be called in a worker process" in log


PROGRAM = """\
import os
from jobwire import App
app = App({options})
@app.endpoint
def pid() -> int:
    return os.getpid()
{launch}
print("on it goes")
"""


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("tools.py", serve("tools.py", "--executor", "process", "--max-processes", "1")),
        ("my.app.py", serve("my.app.py", "--executor", "process", "--max-processes", "1")),
        ("tools.py", serve("tools", "--executor", "process", "--max-processes", "1")),
        ("tools.py", ("-m", "uvicorn", "tools:app", "--port", "{port}", "--log-level", "error")),
        ("tools.py", ("tools.py",)),
    ],
    ids=["file", "file of an odd name", "module", "uvicorn", "program"],
)
def test_each_way_to_start(start: Start, tmp_path: Path, name: str, command: Sequence[str]) -> None:
    by_itself = "serve" not in command
    options = "executor='process', max_processes=1" if by_itself else ""
    launch = "app.launch(quiet=True)" if command == ("tools.py",) else ""
    (tmp_path / name).write_text(PROGRAM.format(options=options, launch=launch))
    program = start(*command, cwd=tmp_path).ready()
    workers = [each for each in program.descendants() if "spawn_main" in " ".join(each.cmdline())]
    assert len(workers) == 1, "there is one before the first call"
    with jobwire.Client(program.url) as client:
        assert client.predict(api_name="/pid") == workers[0].pid
    program.process.send_signal(signal.SIGINT)
    program.ended()
    wait_until(lambda: gone(workers))
    assert "Traceback" not in "".join(program.log)


FORKS = """\
import os, sys
from jobwire import App, Client
from jobwire.server.serve import BackgroundServer
app = App(executor="process", max_processes=1)
@app.endpoint
def pid() -> int:
    return os.getpid()
if __name__ == "__main__":
    with BackgroundServer(app) as server, Client(server.url) as client:
        before = client.predict(api_name="/pid")
        child = os.fork()
        if not child:
            import atexit
            atexit._run_exitfuncs()
            os._exit(0)
        os.waitpid(child, 0)
        assert client.predict(api_name="/pid") == before
"""


def test_a_fork_of_the_server_has_no_part_in_its_workers(start: Start, tmp_path: Path) -> None:
    (tmp_path / "forks.py").write_text(FORKS)
    # What it says is of the library's, which has the same trouble.
    code, _ = start("forks.py", cwd=tmp_path).ended()
    assert code == 0


# -- over HTTP ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served() -> Iterator[Program]:
    program = Program(*serve("apps.workers:app"))
    try:
        yield program.ready()
    finally:
        program.clear()


@pytest.mark.parametrize(
    ("name", "args", "mark", "word"),
    [("sleep", [], b"asleep", "killed"), ("generate", [0.001], b"process_generating", "closing")],
)
def test_cancel_says_what_it_did(
    served: Program, name: str, args: list[Any], mark: bytes, word: str
) -> None:
    with running(served.url, name, *args, mark=mark) as job:
        cancel = f"{served.url}/gradio_api/cancel"
        assert post(cancel, job) == {"success": True, "outcome": word}
        assert post(cancel, job) == {"success": True, "outcome": "ended"}


def test_the_log_has_what_functions_raised(start: Start) -> None:
    program = start(*serve("apps.workers:app", "--log-format", "json")).ready()
    with jobwire.Client(program.url) as client, pytest.raises(jobwire.AppError):
        client.predict("a secret", api_name="/fail_late")
    wait_until(lambda: len(program.log) > 1)
    record = json.loads(program.log[1])
    assert (record["logger"], record["level"]) == ("jobwire.server", "error")
    assert record["message"] == "/fail_late failed"
    assert record["exception"].endswith("ValueError: a secret")


def test_calls_files_and_progress(served: Program, tmp_path: Path) -> None:
    path = tmp_path / "quiet.txt"
    path.write_text("quiet")
    with jobwire.Client(served.url) as client:
        assert client.predict("x", api_name="/echo") == "x"
        assert (
            client.predict(api_name="/here")
            == served.process.pid
            != client.predict(api_name="/pid")
        )
        shouted = client.predict(jobwire.handle_file(path), api_name="/shout")
        assert Path(shouted).read_text() == "QUIET"
        assert client.predict(3, api_name="/steps") == "done"
