"""``jobwire serve``: what it finds, and what it says where there is nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwire.cli.serve import TargetError, load

APP = "from jobwire import App\napp = App(title={title!r})\n"

FILES = {
    "c/calendar.py": APP.format(title="Calendar") + "import sibling\n",
    "c/sibling.py": "",
    "my.app.py": APP.format(title="Dotted")
    + "from dataclasses import dataclass\n@dataclass\nclass Row:\n    name: 'str'\n"
    "@app.endpoint\ndef first(rows: list[Row]) -> str: return rows[0].name\n",
    "with:colon.py": APP.format(title="Colon"),
    "sys.py": APP.format(title="Named as a module"),
    "needs_nee.py": "import needs_ne\n",
    "plain.txt": "",
    "empty/x.txt": "",
    "fails.py": APP.format(title="Fails") + "open('model.bin')\n",
    "declares.py": APP.format(title="Declares")
    + "@app.endpoint(max_batch_size=None)\ndef f(x: str) -> str: return x\n",
    "launches.py": "from jobwire import App as Server\nserver = Server(title='Launches')\n"
    "result = server.launch(server_port=9870)\n",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with programs, the current one."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - set(before):
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "title"),
    [
        ("c/calendar.py", "Calendar"),
        ("c/calendar.py:app", "Calendar"),
        ("c/calendar.py:", "Calendar"),
        ("my.app.py", "Dotted"),
        ("with:colon.py", "Colon"),
        ("with:colon.py:app", "Colon"),
        ("sys.py", "Named as a module"),
        ("launches.py:server", "Launches"),
    ],
)
def test_files_of_any_name(here: Path, target: str, title: str) -> None:
    app = load(target)
    assert app.settings.title == title
    assert load(target) is app


def test_a_file_does_not_take_a_modules_place(here: Path) -> None:
    load("c/calendar.py")
    import calendar

    assert calendar.__file__ is not None
    assert str(here) not in calendar.__file__
    assert str(here / "c") in sys.path
    assert sys.modules["calendar_"].__file__ == str(here / "c" / "calendar.py")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (".", r"^\. is a directory; give the path"),
        ("..", r"^\.\. is a directory"),
        ("./empty", r"^\./empty is a directory"),
        ("empty", r"app is no App in empty; it has none"),
        ("nope.py", "there is no file nope.py"),
        ("empty/nope.py:app", "there is no file empty/nope.py"),
        ("plain.txt", r"there is no module plain\.txt; .* ends in \.py"),
        ("c/calendar", "there is no module c/calendar"),
        ("", "there is no module ''"),
        (":app", "there is no module :app"),
        ("..here:app", "there is no module ..here"),
        ("a\0b", "there is no module"),
        ("a\0b.py", "there is no file"),
        ("needs_neex", "there is no module needs_neex"),
    ],
)
def test_targets_that_are_none(here: Path, target: str, words: str) -> None:
    with pytest.raises(TargetError, match=words) as caught:
        load(target)
    assert caught.value.parameter == "target"


def test_a_module_that_a_module_needs_is_not_taken_for_it(here: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="'needs_ne'"):
        load("needs_nee")


def test_a_file_that_fails_is_not_kept(here: Path) -> None:
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match=r"model\.bin"):
            load("fails.py")
    assert "fails" not in sys.modules


# -- the program --------------------------------------------------------------------


def serve(*arguments: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "jobwire", *arguments],
        env=os.environ | {"COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert not done.stdout
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("fails.py", "FileNotFoundError: [Errno 2] No such file or directory: 'model.bin'"),
        ("declares.py", "DeclarationError: /f: max_batch_size is an int of at least 1, not None"),
    ],
)
def test_errors_of_a_program_come_with_their_traceback(here: Path, name: str, error: str) -> None:
    code, errors = serve("serve", name)
    assert code == 1
    assert f'File "{here / name}", line ' in errors
    assert errors.splitlines()[-1].endswith(error)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ssl-keyfile", "plain.txt"], "jobwire: --ssl-keyfile needs --ssl-certfile"),
        (["--ssl-certfile", "nope.pem"], "'--ssl-certfile': file 'nope.pem' does not exist"),
        (["--ssl-keyfile", "nope.pem"], "'--ssl-keyfile': file 'nope.pem' does not exist"),
        (["--executor", "fork"], "jobwire: executor is 'thread' or 'process', not 'fork'"),
        (["--allowed-host", "https://x"], "jobwire: allowed_hosts is a list of names"),
    ],
)
def test_options_that_do_not_fit(here: Path, options: list[str], words: str) -> None:
    code, errors = serve("serve", "my.app.py", *options)
    assert code == 2
    assert words.lower() in errors.lower()  # versions of typer differ
    assert "Traceback" not in errors


def test_a_program_that_launches_is_served_once(here: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "jobwire", "serve", "launches.py:server", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == (
            "jobwire: launch() only sets the app up here, `jobwire serve` serves it, without its "
            "server_port\n"
        )
        assert process.stderr.readline().startswith("jobwire serves 'Launches' at http://127.")
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """An environment in which ``starlette`` cannot be imported."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['starlette'] = None\n")
    return {"PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize("command", [["serve", "my.app.py"], ["demo"]])
def test_without_the_server(here: Path, without: dict[str, str], command: list[str]) -> None:
    code, errors = serve(*command, **without)
    assert code == 2
    assert errors.startswith("jobwire: the server needs starlette")
    assert errors.endswith(": pip install 'jobwire[cli,server]'\n")
    assert errors.count("\n") == 1


def test_the_app_without_the_server(without: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from jobwire import Client, App"],
        env=os.environ | without,
        capture_output=True,
        text=True,
    )
    *_, last = done.stderr.splitlines()
    assert last.startswith("ImportError: jobwire.App needs starlette")
    assert last.endswith(": pip install 'jobwire[server]'")
