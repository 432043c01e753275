"""curl, as in Gradio's guide to querying apps with it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from server.conftest import Serving


def curl(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "10", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def post(url: str, body: Any, *more: str) -> Any:
    answer = curl(
        "-X", "POST", url, "-H", "Content-Type: application/json", *more, "-d", json.dumps(body)
    )
    return json.loads(answer)


def events(url: str, *more: str) -> list[tuple[str, Any]]:
    """Read a stream to its end: names and data."""
    found = []
    for block in curl("-N", *more, url).split("\n\n")[:-1]:
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_call(serving: Serving) -> None:
    accepted = post(f"{serving.api}/call/echo", {"data": ["naïve ✓"]})
    assert list(accepted) == ["event_id"]
    stream = f"{serving.api}/call/echo/{accepted['event_id']}"
    assert events(stream) == [("complete", ["naïve ✓"])]
    assert events(stream) == [("complete", ["naïve ✓"])]  # as often as they like


def test_pipe_of_the_guide(serving: Serving) -> None:
    command = (
        f"curl -s -X POST {serving.api}/call/add -H 'Content-Type: application/json' "
        """-d '{"data": [1, 2]}' | awk -F'"' '{ print $4}' """
        f"| ( read EVENT_ID; curl -s -N {serving.api}/call/add/$EVENT_ID )"
    )
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=20)
    assert done.stdout == "event: complete\ndata: [3.5]\n\n"


def test_every_output_is_whole(serving: Serving) -> None:
    id = post(f"{serving.api}/call/grow", {"data": [3]})["event_id"]
    texts = [["word0 "], ["word0 word1 "], ["word0 word1 word2 "]]
    assert events(f"{serving.api}/call/grow/{id}") == [
        *(("generating", text) for text in texts),
        ("complete", texts[-1]),
    ]


def test_call_by_names(serving: Serving) -> None:
    id = post(f"{serving.api}/call/v2/add", {"a": 1, "c": 0})["event_id"]
    assert events(f"{serving.api}/call/v2/add/{id}") == [("complete", [3])]
    assert events(f"{serving.api}/call/add/{id}") == [("complete", [3])]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("call/add", {"data": ["one"]}, ["a", "int"]),
        ("call/add", {"data": [1, 2, 3, 4]}, ["4 values"]),
        ("call/add", {"data": []}, ["a"]),
        ("call/v2/add", {"a": 1, "z": 1}, ["z"]),
        ("call/v2/add", {}, ["a"]),
        ("call/add", {"dota": []}, ["data"]),
        ("run/add", {"data": ["one"]}, ["a", "int"]),
    ],
)
def test_wrong_arguments(serving: Serving, path: str, body: Any, words: list[str]) -> None:
    answer = post(f"{serving.api}/{path}", body, "-w", "%{stderr}%{http_code}")
    (fault,) = (f for f in answer["detail"] if not f.get("is_valid"))
    assert all(word in str(fault) for word in words)


@pytest.mark.parametrize(
    ("path", "status"),
    [("call/nothing", 404), ("call/private_echo", 404), ("run/nothing", 404), ("nothing", 404)],
)
def test_unknown_endpoints(serving: Serving, path: str, status: int) -> None:
    code = curl(
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--json",
        '{"data": ["x"]}',
        f"{serving.api}/{path}",
    )
    assert code == str(status)


def test_error_of_the_app(serving: Serving) -> None:
    id = post(f"{serving.api}/call/fail", {"data": ["late"]})["event_id"]
    *outputs, (name, told) = events(f"{serving.api}/call/fail/{id}")
    assert outputs == [("generating", ["one"]), ("generating", ["two"])]
    assert name == "error"
    assert told["error"] == "failed after outputs"
    failed = post(f"{serving.api}/run/direct_fail", {"data": []})
    assert failed["error"] == "a direct failure"


def test_run(serving: Serving) -> None:
    assert post(f"{serving.api}/run/direct", {"data": ["x"]})["data"] == ["x"]
    assert post(f"{serving.api}/api/direct/", {"data": ["x"]})["data"] == ["x"]


def test_files(serving: Serving, tmp_path: Path) -> None:
    path = tmp_path / "naïve #1 100%.txt"
    path.write_text("from curl")
    uploaded = json.loads(curl(f"{serving.api}/upload", "-F", f'files=@"{path}"'))
    data = {"path": uploaded[0], "meta": {"_type": "gradio.FileData"}}
    id = post(f"{serving.api}/call/shout", {"data": [data]})["event_id"]
    ((name, (shouted,)),) = events(f"{serving.api}/call/shout/{id}")
    assert name == "complete"
    assert shouted["orig_name"] == "shouted naïve #1 100%.txt"
    assert shouted["meta"] == {"_type": "gradio.FileData"}
    assert curl(shouted["url"]) == "FROM CURL"
    assert curl("-r", "5-8", shouted["url"]) == "CURL"
    climbing = curl("--path-as-is", f"{serving.api}/file=../../../etc/passwd")
    assert "not allowed" in json.loads(climbing)["detail"]


def test_session(serving: Serving) -> None:
    def visit(**more: str) -> Any:
        id = post(f"{serving.api}/call/visits", {"data": [], **more})["event_id"]
        return events(f"{serving.api}/call/visits/{id}")[-1][1]

    assert [visit(session_hash="curl"), visit(session_hash="curl"), visit()] == [[1], [2], [1]]


def test_login(guarded: Serving, tmp_path: Path) -> None:
    denied = post(f"{guarded.api}/call/whoami", {"data": []})
    assert denied["detail"]["auth_message"] == "Say who you are."
    jar = tmp_path / "cookies"
    login = curl("-c", jar, f"{guarded.url}/login", "-d", "username=user", "-d", "password=pass")
    assert json.loads(login) == {"success": True}
    for how in (["-b", str(jar)], ["-u", "user:pass"]):
        id = post(f"{guarded.api}/call/whoami", {"data": []}, *how)["event_id"]
        assert events(f"{guarded.api}/call/whoami/{id}", *how) == [("complete", ["user"])]
