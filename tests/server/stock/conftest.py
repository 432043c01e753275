"""Stock clients, each in an environment of its own below ``.cache/clients``."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from apps import functions
from environments import CACHE, made, python_with
from ports import free_port
from server.conftest import Serving, wait_for

HERE = Path(__file__).parent

PYTHON_CLIENTS = {"2.7.2": "gradio_client==2.7.2", "1.14.0": "gradio_client==1.14.0"}
JAVASCRIPT_CLIENT = "@gradio/client@2.7.0"

ENVIRONMENT = os.environ | {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}

Results = dict[str, Any]


class Loading(NamedTuple):
    """A Gradio app that is about to answer."""

    url: str
    process: subprocess.Popen[str]


def python_of(version: str) -> Path:
    """Return the Python of an environment with a version of ``gradio_client``."""
    folder = CACHE / "clients" / f"gradio_client-{version}"
    return python_with(folder, PYTHON_CLIENTS[version])


def javascript_folder() -> Path:
    """Return a folder in which Node.js finds ``@gradio/client``."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.fail(f"these tests want {program}; install nodejs and npm", pytrace=False)
    return made(CACHE / "clients" / JAVASCRIPT_CLIENT.replace("/", "-"), _install_javascript)


def _install_javascript(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", JAVASCRIPT_CLIENT],
        cwd=folder,
        check=True,
    )


def outputs_of(name: str, *args: Any) -> list[Any]:
    """Return what a function of the app gives."""
    return list(getattr(functions, name)(*args))


def run_scenarios(*command: str | Path, serving: Serving, guarded: Serving) -> Results:
    """Run a driver to its end and return what it printed."""
    done = subprocess.run(
        [*command, serving.url, guarded.url],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    results: Results = json.loads(done.stdout)
    return results


@pytest.fixture(scope="session", autouse=True)
def loading(request: pytest.FixtureRequest, serving: Serving) -> Iterator[Loading | None]:
    """Start a real Gradio app that loads ours; it takes its time, so others go first."""
    if not any("loaded" in getattr(item, "fixturenames", ()) for item in request.session.items):
        yield None
        return
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, HERE / "loading.py", serving.url, str(port)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield Loading(f"http://127.0.0.1:{port}", process)
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def loaded(loading: Loading | None) -> str:
    """The address of that app."""
    assert loading is not None
    wait_for(f"{loading.url}/config", loading.process, [])
    return loading.url
