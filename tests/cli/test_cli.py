"""The command line, as a person and as a machine use it."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import typer

from conftest import running
from faults import raw_server, response
from hub import HubSpace, hub_server
from jobwire import handle_file
from jobwire.cli.call import call, parse_arguments
from jobwire.cli.exits import ExitCode
from jobwire.protocol.schema import Endpoint, Parameter

PROGRAM = Path(sys.executable).with_name("jobwire")
FILING = Path(__file__).parents[1] / "apps" / "filing.py"


def run(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *args],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "COLUMNS": "120", **environment},
    )


def test_result_on_stdout_everything_else_on_stderr(url: str) -> None:
    done = run("call", url, "/count", "3", "delay=0.01")
    assert (done.stdout, done.returncode) == ("2\n", 0)
    assert done.stderr.splitlines()[0] == "submitted"
    assert [line for line in done.stderr.splitlines() if "output" in line] == [
        "output: 0",
        "output: 1",
        "output: 2",
    ]
    assert "running" in done.stderr


def test_progress_and_logs(url: str) -> None:
    assert "working: 1/3 parts" in run("call", url, "steps", "3").stderr
    assert "warning: warning a b" in run("call", url, "/logs", "a b").stderr


def test_result_that_is_no_text_is_json(url: str) -> None:
    assert json.loads(run("call", url, "/two", "ab").stdout) == ["AB", 2]


def test_quiet(url: str) -> None:
    done = run("call", "--quiet", url, "/count", "3")
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_json(url: str) -> None:
    done = run("call", "--json", url, "/count", "2")
    outcome = json.loads(done.stdout)
    assert (outcome["outcome"], outcome["result"]) == ("completed", "1")
    assert re.fullmatch("[0-9a-f]{32}", outcome["event_id"])
    updates = [json.loads(line) for line in done.stderr.splitlines()]
    assert [u["outputs"] for u in updates if u["type"] == "output"] == ["0", "1", "1"]
    assert updates[-1]["code"] == "FINISHED"


def test_json_of_a_failure(url: str) -> None:
    done = run("call", "--json", url, "/fail", "titled")
    outcome = json.loads(done.stdout)
    assert outcome["outcome"] == "failed"
    assert outcome["error"] == {
        "type": "AppError",
        "message": "a <b>bad</b> thing",
        "title": "Oops",
    }
    assert done.returncode == 1


def test_json_of_what_took_too_long(url: str) -> None:
    done = run("call", "--json", "--timeout", "0.5", url, "/count", "1000", "0.05")
    outcome = json.loads(done.stdout)
    assert outcome["outcome"] == "cancelled"
    assert outcome["error"]["type"] == "JobTimeoutError"
    assert done.returncode == ExitCode.TIMEOUT


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["/fail", "titled"], ExitCode.APP_FAILED, "Oops: a <b>bad</b> thing"),
        (["/fail", "value"], ExitCode.APP_FAILED, "the app failed: plain value error"),
        (["/ehco", "x"], ExitCode.USAGE, "did you mean /echo"),
        (["/plain"], ExitCode.USAGE, "missing argument 'a'"),
        (["/plain", "c=1"], ExitCode.USAGE, "unknown argument 'c'"),
        (["/even_only", "3"], ExitCode.USAGE, "must be even"),
        (["999", "x"], ExitCode.USAGE, "fn_index=999"),
        (["--timeout", "0.3", "/count", "1000", "0.05"], ExitCode.TIMEOUT, "cancelled"),
        (["--timeout", "0", "/echo", "x"], ExitCode.TIMEOUT, "0 s"),
        (["--header", "a b:c", "/echo", "x"], ExitCode.USAGE, "header"),
        (["--auth", "nocolon", "/echo", "x"], ExitCode.USAGE, "USER:PASSWORD"),
        (["--header", "nocolon", "/echo", "x"], ExitCode.USAGE, "NAME:VALUE"),
    ],
)
def test_failures(url: str, args: list[str], code: ExitCode, words: str) -> None:
    at = next(i for i, arg in enumerate(args) if arg.startswith("/") or arg == "999")
    done = run("call", *args[:at], url, *args[at:])
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_failures_to_reach_an_app() -> None:
    assert run("call", "http://127.0.0.1:9", "/x").returncode == ExitCode.UNREACHABLE
    with raw_server({"/config": response("<html>")}) as server:
        for command in (["call", server.url, "/x"], ["api", server.url]):
            done = run(*command)
            assert done.returncode == ExitCode.PROTOCOL
            assert "no Gradio app" in done.stderr
    with raw_server({"/config": response({"detail": "Not authenticated"}, 401)}) as server:
        assert run("call", server.url, "/x").returncode == ExitCode.LOGIN


def test_login_from_the_environment_is_used_and_not_shown() -> None:
    routes = {
        "/config": response({"detail": "Not authenticated"}, 401),
        "/login": response({"detail": "Incorrect credentials."}, 400),
    }
    with raw_server(routes) as server:
        done = run("call", server.url, "/x", JOBWIRE_AUTH="me:hunter2", JOBWIRE_TOKEN="hf_secret")
        assert done.returncode == ExitCode.LOGIN
        assert "hunter2" not in done.stderr
        assert "hf_secret" not in done.stderr
        assert [body for _, path, _, body in server.requests if path == "/login"] == [
            b"username=me&password=hunter2"
        ]


def test_odd_input_gives_no_traceback(url: str) -> None:
    for args in (["http://[::1", "/x"], [url, "²"], [url, "/echo", "[" * 100_000]):
        assert "Traceback" not in run("call", *args).stderr


def test_result_that_the_terminal_cannot_show(url: str) -> None:
    done = run("call", url, "/echo", "naïve ✓", PYTHONIOENCODING="ascii")
    assert (done.stdout, done.returncode) == ("na\\xefve \\u2713\n", 0)


def test_address_without_scheme(url: str) -> None:
    assert run("call", url.removeprefix("http://"), "/echo", "x").stdout == "x\n"


def test_space_by_name(url: str) -> None:
    with hub_server() as hub:
        hub.spaces["user/space"] = HubSpace(url, ["BUILDING", "RUNNING"])
        done = run("call", "user/space", "/echo", "x", HF_ENDPOINT=hub.url)
        assert (done.stdout, done.returncode) == ("x\n", 0)
        assert "the Space user/space is BUILDING; waiting up to" in done.stderr
        hub.spaces["user/space"].stages = ["BUILDING", "RUNNING"]
        done = run("call", "-q", "user/space", "/echo", "x", HF_ENDPOINT=hub.url)
        assert (done.stdout, done.stderr) == ("x\n", "")
        assert f'"url": "{url}"' in run("api", "--json", "user/space", HF_ENDPOINT=hub.url).stdout
        done = run("call", "user/none", "/echo", "x", HF_ENDPOINT=hub.url)
        assert (done.returncode, done.stdout) == (ExitCode.UNREACHABLE, "")
        assert "has no Space user/none" in done.stderr


def test_ctrl_c_cancels_the_job(url: str) -> None:
    process = subprocess.Popen(
        [PROGRAM, "call", url, "/count", "1000", "0.05"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("output"):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=15)
    assert (process.returncode, out) == (ExitCode.INTERRUPTED, "")
    assert "cancelled" in err


def test_ctrl_c_before_a_job_was_left_cancels_it(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    class Job:
        def detach(self) -> str:
            raise KeyboardInterrupt

        def cancel(self) -> bool:
            done.append("cancelled")
            return True

    monkeypatch.setattr("jobwire.cli.call._submit", lambda *_: Job())
    monkeypatch.setattr("jobwire.cli.call.connect", lambda *_, **__: nullcontext())
    with pytest.raises(typer.Exit) as caught:
        call("http://app/", "/echo", detach=True)
    assert caught.value.exit_code == ExitCode.INTERRUPTED
    assert done == ["cancelled"]


def test_terminal_shows_a_live_line(url: str) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "call", url, "/steps", "3"],
        stdout=subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
    )
    os.close(follower)
    seen = b""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # the other side is closed
            break
        if not chunk:
            break
        seen += chunk
    os.close(leader)
    out, _ = process.communicate(timeout=10)
    assert out == b"done\n"
    text = seen.decode()
    assert "working: 2/3 parts" in text
    assert "━" in text
    assert "\x1b[" in text


def test_api_for_people(url: str) -> None:
    done = run("api", url)
    assert done.returncode == 0
    assert "/plain(a, b='3') -> out" in done.stdout
    assert "str = '3'" in done.stdout
    assert "/count(n, delay=0) -> out  many outputs" in done.stdout
    assert "/none() -> nothing" in done.stdout
    assert "false" not in done.stdout  # private


def test_api_for_machines(url: str) -> None:
    data = json.loads(run("api", "--json", url).stdout)
    plain = next(e for e in data["endpoints"] if e["api_name"] == "/plain")
    assert [p["name"] for p in plain["parameters"]] == ["a", "b"]
    assert plain["parameters"][1]["default"] == "3"
    assert data["version"].startswith("6.")


def test_version_and_help() -> None:
    assert run("--version").stdout.startswith("jobwire 0.")
    for command in ([], ["call"], ["api"]):
        assert "Usage" in run(*command, "--help").stdout
    assert "Exit codes" in run("call", "--help").stdout


def endpoint(*types: str) -> Endpoint:
    parameters = tuple(Parameter(f"p{i}", "", kind, "") for i, kind in enumerate(types))
    return Endpoint(0, "/x", "public", True, (), (), False, False, "", parameters)


@pytest.mark.parametrize(
    ("types", "texts", "args", "kwargs"),
    [
        (["float"], ["5"], [5], {}),
        (["str"], ["5"], ["5"], {}),
        (["str"], ["null"], ["null"], {}),
        (["str"], ['"5"'], ["5"], {}),
        (["str"], ['"a=b"'], ["a=b"], {}),
        (["Any"], ["hello world"], ["hello world"], {}),
        (["Any"], ['{"a": [1, null]}'], [{"a": [1, None]}], {}),
        (["Any"], ["true"], [True], {}),
        (["float", "str"], ["p1=7", "2"], [2], {"p1": "7"}),
        (["float"], ["p0=7"], [], {"p0": 7}),
        (["str"], ["p0=a=b"], [], {"p0": "a=b"}),
        (["str"], ["http://x/?a=b"], ["http://x/?a=b"], {}),
        (["str"], [""], [""], {}),
        (["str"], ["surplus", "1"], ["surplus", 1], {}),
        (["str"], ["@somebody"], ["@somebody"], {}),
        (["filepath"], ["@" + __file__], [handle_file(__file__)], {}),
        (["Any"], ["p0=@" + __file__], [], {"p0": handle_file(__file__)}),
        (["Any"], ['"@x"'], ["@x"], {}),
    ],
)
def test_arguments(
    types: list[str], texts: list[str], args: list[object], kwargs: dict[str, object]
) -> None:
    assert parse_arguments(endpoint(*types), texts) == (args, kwargs)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    with running(app=FILING) as server:
        note = f"@{tmp_path / 'note.txt'}"
        assert run("call", server.url, "/describe", note).stdout == "note.txt: 5 bytes\n"
        shown = run("call", server.url, "/same", note).stdout
        assert shown.startswith(f"{server.url}gradio_api/file=")
        for name in ("note.txt", "note-2.txt"):
            done = run("call", "-o", str(tmp_path / "here"), server.url, "/same", note)
            assert done.stdout == f"{tmp_path / 'here' / name}\n"
            assert (tmp_path / "here" / name).read_text() == "hello"
        done = run("call", "--json", server.url, "/several", "2", "false")
        assert json.loads(done.stdout)["result"][0].endswith("1.txt")
        assert "gradio_api/file=" in done.stderr
        missing = run("call", server.url, "/same", "@nothing.txt")
        assert missing.returncode == ExitCode.USAGE
        assert "no file 'nothing.txt'" in missing.stderr
