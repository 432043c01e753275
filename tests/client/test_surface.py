"""The names and parameters of ``gradio_client``, each found in jobwire or left out for a reason.

Fails when a new ``gradio_client`` has something that nobody has thought about here, and
when something that is called left out is there after all.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, TypedDict, is_typeddict

import gradio_client
import pytest
from gradio_client import client as upstream
from gradio_client import exceptions, utils

import jobwire

Reasons = dict[str, str]


def missing(names: Iterable[str], owner: object) -> set[str]:
    return {name for name in names if not hasattr(owner, name)}


def public(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith("_")]


# -- names ---------------------------------------------------------------------

NAMES_LEFT_OUT: Reasons = {}


def test_names_of_the_package() -> None:
    assert missing(gradio_client.__all__, jobwire) == NAMES_LEFT_OUT.keys()


ERRORS_LEFT_OUT: Reasons = {
    "APIInfoParseError": "there are no schemas to parse: the server says its types in words",
    "SerializationSetupError": "nothing there raises it any more",
}


def errors() -> dict[str, type[BaseException]]:
    return {
        name: value
        for module in (exceptions, utils)
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, BaseException)
        and value.__module__.startswith("gradio_client")
    }


def test_errors() -> None:
    assert missing(errors(), jobwire) == ERRORS_LEFT_OUT.keys()


@pytest.mark.parametrize("name", sorted(errors().keys() - ERRORS_LEFT_OUT))
def test_errors_are_caught_where_theirs_are(name: str) -> None:
    ours = getattr(jobwire, name)
    for base in errors()[name].__mro__[1:]:
        assert issubclass(ours, base)
    assert issubclass(ours, jobwire.JobwireError)


def test_what_an_app_error_says() -> None:
    theirs = vars(exceptions.AppError("words", title="Oops"))
    ours = jobwire.AppError("words", title="Oops")
    left_out = {"print_exception": "it is for the server's own console"}
    assert missing(theirs, ours) == left_out.keys()
    assert {name: getattr(ours, name) for name in theirs.keys() - left_out} == {
        name: value for name, value in theirs.items() if name not in left_out
    }


# -- calls ---------------------------------------------------------------------


class Signature(TypedDict, total=False):
    left_out: Reasons
    defaults: Reasons


SIGNATURES: dict[str, Signature] = {
    "__init__": {
        "left_out": {"_skip_components": "internal to gr.load"},
        "defaults": {
            "download_files": "the folder is looked up when it is needed, not at import",
        },
    },
    "predict": {},
    "submit": {},
    "view_api": {},
    "duplicate": {},
    "reset_session": {},
    "close": {},
}
METHODS_LEFT_OUT: Reasons = {
    "add_zero_gpu_headers": "done for each job on its own; there they stay in the client",
    "new_helper": "internal",
    "send_data": "internal",
    "stream_messages": "internal",
}


def test_methods_of_the_client() -> None:
    methods = public(vars(upstream.Client))
    assert missing(methods, jobwire.Client) == METHODS_LEFT_OUT.keys()
    assert {*methods} - METHODS_LEFT_OUT.keys() == SIGNATURES.keys() - {"__init__"}


@pytest.mark.parametrize("method", SIGNATURES)
def test_parameters_of_the_client(method: str) -> None:
    expected = SIGNATURES[method]
    compare_parameters(
        getattr(upstream.Client, method),
        getattr(jobwire.Client, method),
        expected.get("left_out", {}),
        expected.get("defaults", {}),
    )


def compare_parameters(
    theirs: Callable[..., Any], ours: Callable[..., Any], left_out: Reasons, defaults: Reasons
) -> None:
    """Whoever calls theirs may call ours in the same way; ours may take more by name."""
    wanted = inspect.signature(theirs).parameters
    given = inspect.signature(ours).parameters
    assert wanted.keys() - given.keys() == left_out.keys()
    kinds = {name: value.kind for name, value in wanted.items() if name not in left_out}
    assert {name: given[name].kind for name in kinds} == kinds
    by_position = [
        [
            name
            for name, value in each.items()
            if value.kind is value.POSITIONAL_OR_KEYWORD and name not in left_out
        ]
        for each in (wanted, given)
    ]
    assert by_position[0] == by_position[1]
    changed = {name for name in kinds if given[name].default != wanted[name].default}
    assert changed == defaults.keys()
    more = given.keys() - wanted.keys()
    assert all(given[name].default is not inspect.Parameter.empty for name in more)


ATTRIBUTES_LEFT_OUT: Reasons = {
    "config": "schema() tells what an app offers, whatever the age of its server",
    "endpoints": "schema().endpoints",
    "protocol": "schema().dialect",
    "app_version": "schema().version",
    "api_prefix": "schema().prefix",
    **dict.fromkeys(("token", "oauth_token", "headers", "cookies"), "secrets stay where they are"),
    **dict.fromkeys(
        (
            "analytics_enabled",
            "download_files",
            "httpx_kwargs",
            "output_dir",
            "ssl_verify",
            "verbose",
        ),
        "settings are not state",
    ),
    **dict.fromkeys(
        (
            "api_url",
            "heartbeat_url",
            "reset_url",
            "src_prefixed",
            "sse_data_url",
            "sse_url",
            "upload_url",
            "ws_url",
        ),
        "addresses of the protocol",
    ),
    **dict.fromkeys(
        (
            "executor",
            "heartbeat",
            "helper_executor",
            "pending_event_epoch",
            "pending_event_ids",
            "pending_lock",
            "pending_messages_per_event",
            "stream_epoch",
            "stream_executor",
            "stream_open",
            "streaming_future",
        ),
        "threads and what they share",
    ),
}


@pytest.fixture
def theirs(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[gradio_client.Client]:
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")  # the argument does not do it
    client = gradio_client.Client(url, verbose=False, analytics_enabled=False)
    yield client
    client.close()


def test_attributes_of_the_client(theirs: gradio_client.Client, client: jobwire.Client) -> None:
    attributes = public(vars(theirs))
    assert missing(attributes, client) == ATTRIBUTES_LEFT_OUT.keys()
    assert client.src == theirs.src
    assert len(client.session_hash) == len(theirs.session_hash)


def test_context_manager_is_ours_alone() -> None:
    assert not hasattr(upstream.Client, "__enter__")


# -- jobs ----------------------------------------------------------------------


def test_methods_of_a_job() -> None:
    methods = {name for name in dir(upstream.Job) if not name.startswith("_")}
    assert missing(methods, jobwire.Job) == set()
    for name in ("__iter__", "__next__", "__aiter__"):
        assert hasattr(jobwire.Job, name)


def test_attributes_of_a_job() -> None:
    theirs = upstream.Job(concurrent.futures.Future())
    assert missing(public(vars(theirs)), jobwire.Job) == {
        "cancel_fn",
        "communicator",
        "future",  # the job is one
        "space_id",
        "verbose",
    }


@pytest.mark.parametrize("method", public(vars(upstream.Job)))
def test_parameters_of_a_job(method: str) -> None:
    compare_parameters(getattr(upstream.Job, method), getattr(jobwire.Job, method), {}, {})


def test_a_job_is_a_future() -> None:
    assert upstream.Job.__bases__ == jobwire.Job.__bases__ or issubclass(
        jobwire.Job, upstream.Job.__bases__
    )


# -- values --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["StatusUpdate", "ProgressUnit", "OutputUpdate"])
def test_fields(name: str) -> None:
    theirs, ours = (
        [field.name for field in dataclasses.fields(getattr(module, name))]
        for module in (utils, jobwire)
    )
    assert ours == theirs
    methods = {each for each in public(vars(getattr(utils, name))) if each not in theirs}
    assert missing(methods, getattr(jobwire, name)) == {
        "ProgressUnit": {"from_msg"},  # internal
    }.get(name, set())


def test_stages() -> None:
    assert {each.name: each.value for each in utils.Status} == {
        each.name: each.value for each in jobwire.Status
    }
    # Theirs cannot be put in order if LOG is among them.
    comparable = [each.name for each in utils.Status if each is not utils.Status.LOG]
    assert [each.name for each in sorted(jobwire.Status) if each is not jobwire.Status.LOG] == [
        each.name for each in sorted(utils.Status(name) for name in comparable)
    ]
    methods = {name for name in public(vars(utils.Status)) if name not in utils.Status.__members__}
    assert methods - set(dir(Enum)) == {"msg_to_status", "ordering"}  # internal


def test_files() -> None:
    for name in ("handle_file", "file"):
        compare_parameters(getattr(gradio_client, name), getattr(jobwire, name), {}, {})
    assert is_typeddict(gradio_client.FileData)
