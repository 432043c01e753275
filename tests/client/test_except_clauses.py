"""``except`` clauses that were written for ``gradio_client`` catch what jobwire raises."""

import builtins
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import huggingface_hub
import pytest

import jobwire
import raising
from conftest import Server, running
from faults import config, raw_server, response
from hub import HubSpace, hub_server

Kinds = list[tuple[str, str]]

NAMES = {
    "app raises gr.Error": "AppError",
    "app raises something else": "AppError",
    "app hides what it raises": "AppError",
    "validator says no": "ValidationError",
    "queue is full": "QueueError",
    "login is missing": "AuthenticationError",
    "login is wrong": "AuthenticationError",
    "too many requests": "TooManyRequestsError",
}
"""Where gradio_client has an error of its own; everywhere else it raises Python's."""


@pytest.fixture(scope="module")
def urls(server: Server) -> Iterator[dict[str, str]]:
    info = {"named_endpoints": {"/echo": {"parameters": [
        {"parameter_name": "text", "label": "text", "type": {}, "component": "Textbox"}
    ]}}, "unnamed_endpoints": {}}  # fmt: skip
    full = config(version="6.31.0", connect_heartbeat=False)
    full["dependencies"][0] |= {"types": {"generator": False}, "cancels": []}
    with ExitStack() as stack:
        hub = stack.enter_context(hub_server())
        hub.spaces["user/crashed"] = HubSpace(server.url, ["RUNTIME_ERROR"])
        apps = {
            "busy": {"/": response("slow down", 429)},
            "page": {"/": response("<html>hello")},
            "locked": {
                "/config": response({"detail": "Not authenticated"}, 401),
                "/login": response({"detail": "Incorrect credentials."}, 401),
            },
            "full": {
                "/config": response(full),
                "/gradio_api/info": response(info),
                "/gradio_api/queue/join": response({"detail": "Queue is full."}, 503),
            },
        }
        yield {
            "gradio": server.url,
            "hiding": stack.enter_context(running("--hide-errors")).url,
            "crashed": "user/crashed",
            "hub": hub.url.rstrip("/"),
            **{name: stack.enter_context(raw_server(routes)).url for name, routes in apps.items()},
        }


@pytest.fixture(scope="module")
def theirs(urls: dict[str, str]) -> dict[str, Kinds]:
    done = subprocess.run(
        [sys.executable, raising.__file__, json.dumps(urls)],
        env=os.environ | {"HF_ENDPOINT": urls["hub"], "GRADIO_ANALYTICS_ENABLED": "False"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {
        situation: [(module, name) for module, name in kinds]
        for situation, kinds in json.loads(done.stdout.splitlines()[-1]).items()
    }


@pytest.mark.parametrize("situation", raising.SITUATIONS)
def test_the_same_clauses_catch_it(
    situation: str,
    urls: dict[str, str],
    theirs: dict[str, Kinds],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", urls["hub"])
    error = raising.raised(situation, jobwire.Client, urls)
    huggingface_hub.close_session()
    assert isinstance(error, jobwire.JobwireError)
    own = [name for module, name in theirs[situation] if module.startswith("gradio_client")]
    assert own == ([NAMES[situation]] if situation in NAMES else [])
    for name in own:
        assert isinstance(error, getattr(jobwire, name)), error
    for module, name in theirs[situation]:
        if module == "builtins":
            assert isinstance(error, getattr(builtins, name)), (error, name)
