"""Programs for gradio_client: as they are, and with one import line changed."""

import http.client
import json
import re
import subprocess
import sys
import urllib.parse
import wave
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ports import free_port
from server.conftest import wait_for

PROGRAMS = Path(__file__).parents[2] / "examples" / "moving"
TIMEOUT = 50


def moved(name: str, folder: Path) -> Path:
    """Return a program that imports from jobwire, and is otherwise the same."""
    program = (PROGRAMS / name).read_text()
    line = re.compile(r"^from gradio_client import ", re.MULTILINE)
    assert len(line.findall(program)) == program.count("gradio_client") == 1
    path = folder / name
    path.write_text(line.sub("from jobwire import ", program))
    return path


def run(program: Path, *args: object) -> str:
    command = [sys.executable, str(program), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    paths = []
    for name, seconds in (("short.wav", 1), ("two words.wav", 2), ("längste.wav", 4)):
        paths.append(tmp_path / name)
        with wave.open(str(paths[-1]), "wb") as recording:
            recording.setnchannels(1)
            recording.setsampwidth(2)
            recording.setframerate(8000)
            recording.writeframes(bytes(16000 * seconds))
    return paths


def test_transcribing(studio: str, recordings: list[Path], tmp_path: Path) -> None:
    written: list[dict[str, str]] = []
    printed: list[str] = []
    for program in (PROGRAMS / "transcribe.py", moved("transcribe.py", tmp_path)):
        folder = tmp_path / f"out{len(printed)}"
        folder.mkdir()
        printed.append(run(program, studio, folder, *recordings))
        written.append({path.name: path.read_text() for path in folder.glob("*.*")})
    assert printed[0] == printed[1]
    assert printed[0].startswith("short.wav: word0\ntwo words.wav: word0 word1\n")
    assert written[0] == written[1]
    assert len(written[0]) == 6
    assert written[0]["längste.srt"].count("-->") == 4


def test_chatting(studio: str, tmp_path: Path) -> None:
    printed = [run(PROGRAMS / "chat.py", studio), run(moved("chat.py", tmp_path), studio)]
    assert printed[0] == printed[1]
    assert printed[0].splitlines()[:4] == [
        "You",
        "You said:",
        "You said: hello",
        "You said: hello there",
    ]


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        headers = {"content-type": "application/json"}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.headers["content-type"] == "application/json":
            return answer.status, {}, json.loads(content)
        told = {name: value for name, value in answer.headers.items() if name.startswith("x-")}
        return answer.status, told, content
    finally:
        connection.close()


def test_serving(studio: str, tmp_path: Path) -> None:
    picture = tmp_path / "a picture.png"
    Image.new("RGB", (5, 7), "white").save(picture)
    answers = []
    for program in (PROGRAMS / "service.py", moved("service.py", tmp_path)):
        port = free_port()
        command = [sys.executable, str(program), studio, str(port)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                wait_for(f"http://127.0.0.1:{port}/docs", process, [])
                path = urllib.parse.quote(str(picture))
                answers.append(
                    [
                        ask(port, "GET", "/info"),
                        ask(port, "POST", f"/mark?path={path}&text=abc"),
                        ask(port, "POST", f"/mark?path={path}&text="),
                        ask(port, "POST", "/jobs", [str(picture)] * 3),
                    ]
                )
            finally:
                process.terminate()
    for info, *_ in answers:
        # The address of a default is told in another way; see the guide.
        del info[2]["named_endpoints"]["/mark"]["parameters"][2]["parameter_default"]["url"]
    assert answers[0] == answers[1]
    _, mark, failed, jobs = answers[0]
    assert mark[:2] == (200, {"x-size": "5x7", "x-text": "abc"})
    assert mark[2].startswith(b"\x89PNG")
    assert failed == (502, {}, {"detail": "no text to write"})
    assert [job["finals"] for job in jobs[2]] == [1, 1, 1]
