"""The programs of the page on moving over, as they stand there, and as they were."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobwire import Client
from ports import free_port
from server.conftest import wait_for

PAGE = Path(__file__).parents[2] / "docs" / "moving-from-gradio-server.md"
MOVED, MOUNTED = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@contextmanager
def running(command: list[str], directory: Path, ready: str) -> Iterator[None]:
    process = subprocess.Popen(
        command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(ready, process, [])
        yield
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.mark.parametrize(
    "import_line", ["from jobwire import App as Server", "from gradio import Server"]
)
def test_a_program_moves_by_its_import_line(import_line: str, tmp_path: Path) -> None:
    port = free_port()
    program = MOVED.replace("7860", str(port)).replace(
        "from jobwire import App as Server", import_line
    )
    assert import_line in program
    # Without an annotation, gradio loses what a generator gives.
    if "gradio" in import_line:
        program = program.replace("def count(n: int):", "def count(n: int) -> int:")
    (tmp_path / "program.py").write_text(program)
    url = f"http://127.0.0.1:{port}"
    with (
        running([sys.executable, "program.py"], tmp_path, f"{url}/config"),
        Client(url) as client,
    ):
        assert client.predict("Ada", api_name="/hello") == "Hello Ada"
        assert list(client.submit(3, api_name="/count"))[:3] == [0, 1, 2]


def test_routes_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(MOUNTED)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", "module:site", "--port", str(port)]
    with running(command, tmp_path, f"{url}/status"), Client(url) as client:
        assert client.predict("Ada", api_name="/hello") == "Hello Ada"
