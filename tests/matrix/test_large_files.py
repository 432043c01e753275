"""Two gigabytes there and back, in constant memory. Slow, and takes room on the disk."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from conftest import running

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(600)]

APP = Path(__file__).parents[1] / "apps" / "filing.py"
SIZE = 2 * 1024**3
ROOM = 5 * SIZE
GROWTH = 64 * 1024**2

PROGRAM = """
import resource, sys
from pathlib import Path
import jobwire

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

url, path, directory = sys.argv[1:]
with jobwire.Client(url, download_files=directory) as client:
    client.predict(jobwire.handle_file(__file__), api_name="/same")
    before = peak()
    result = Path(client.predict(jobwire.handle_file(path), api_name="/same"))
    print(result.stat().st_size, peak() - before)
"""


@pytest.mark.skipif(
    shutil.disk_usage(tempfile.gettempdir()).free < ROOM, reason="takes 10 GB of room"
)
def test_two_gigabytes_there_and_back(tmp_path: Path) -> None:
    large, program = tmp_path / "large.bin", tmp_path / "program.py"
    with large.open("wb") as file:
        file.truncate(SIZE)
    program.write_text(PROGRAM)
    with running(app=APP, environment={"GRADIO_TEMP_DIR": str(tmp_path / "server")}) as server:
        command = [sys.executable, str(program), server.url, str(large), str(tmp_path / "here")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    size, growth = map(int, done.stdout.split())
    assert size == SIZE
    assert growth < GROWTH
    shutil.rmtree(tmp_path)
