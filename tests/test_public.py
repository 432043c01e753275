"""The public surface: its names, its cost, its types, and that both faces agree."""

import concurrent.futures
import inspect
import pickle
import subprocess
import sys
import typing
from typing import Any

import gradio_client
import gradio_client.exceptions
import gradio_client.utils
import pytest

import jobwire
from jobwire import exceptions

PAIRS = [
    (jobwire.AsyncClient, jobwire.Client, {"aclose": "close"}, {"connect"}),
    (jobwire.AsyncJob, jobwire.Job, {}, set()),
    (jobwire.AsyncFileResult, jobwire.FileResult, {}, {"belongs_to"}),
]


ALIASES = ("InvalidAPIEndpointError", "QueueError")


KEYWORD = inspect.Parameter.KEYWORD_ONLY


def public(cls: type) -> dict[str, Any]:
    own = [base for base in cls.__mro__ if base.__module__.startswith("jobwire")]
    return {
        name: member
        for base in reversed(own)
        for name, member in vars(base).items()
        if not name.startswith("_") or name in ("__init__", "__iter__", "__aiter__")
    }


def test_every_name_is_there_and_listed() -> None:
    for name in jobwire.__all__:
        assert getattr(jobwire, name) is not None
    assert isinstance(jobwire.__all__, tuple)
    assert list(jobwire.__all__) == sorted(jobwire.__all__)
    assert dir(jobwire) == sorted(jobwire.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = jobwire.Nothing


def test_every_error_is_public_and_in_the_tree() -> None:
    defined = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and value.__module__ == exceptions.__name__ and name[0] != "_"
    }
    assert defined | set(ALIASES) == set(exceptions.__all__)
    assert set(exceptions.__all__) <= set(jobwire.__all__)
    assert exceptions.__doc__ is not None
    for name in defined:
        assert issubclass(getattr(exceptions, name), jobwire.JobwireError)
        assert name in exceptions.__doc__


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (jobwire.AppError, ValueError),
        (jobwire.AuthenticationError, ValueError),
        (jobwire.ValidationError, ValueError),
        (jobwire.EndpointNotFoundError, ValueError),
        (jobwire.SpaceError, ValueError),
        (jobwire.SpaceTimeoutError, TimeoutError),
        (jobwire.MissingDependencyError, ImportError),
        (jobwire.ArgumentError, TypeError),
        (jobwire.TransportTimeoutError, TimeoutError),
        (jobwire.JobCancelledError, concurrent.futures.CancelledError),
    ],
)
def test_errors_are_what_gradio_client_raises_there(error: type, base: type) -> None:
    assert issubclass(error, base)


@pytest.mark.parametrize(
    "name",
    [
        name
        for module in (gradio_client.exceptions, gradio_client.utils)
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Exception)
        and value.__module__ == module.__name__
        # Nothing raises the first; the second is about types that are not parsed here.
        and name not in ("SerializationSetupError", "APIInfoParseError")
    ],
)
def test_every_error_of_gradio_client_has_one_of_its_name(name: str) -> None:
    theirs = getattr(gradio_client.exceptions, name, None) or getattr(gradio_client.utils, name)
    ours = getattr(jobwire, name)
    assert issubclass(ours, jobwire.JobwireError)
    assert issubclass(ours, tuple(base for base in theirs.__bases__))


@pytest.mark.parametrize(("slow", "plain", "renamed", "only"), PAIRS)
def test_both_faces_have_the_same_methods(
    slow: type, plain: type, renamed: dict[str, str], only: set[str]
) -> None:
    names = {renamed.get(name, name) for name in public(slow)} - only
    names -= {"__aiter__"}
    extra = set(public(plain)) - names - {"__iter__", "__aiter__"}
    extra -= {"progress_bar"}  # blocks, which is all that it is for
    assert all(hasattr(plain, name) for name in names)
    assert not extra


@pytest.mark.parametrize(("slow", "plain", "renamed", "only"), PAIRS)
def test_both_faces_take_the_same_arguments(
    slow: type, plain: type, renamed: dict[str, str], only: set[str]
) -> None:
    compared = 0
    for name, member in public(slow).items():
        twin = public(plain).get(renamed.get(name, name))
        if isinstance(member, classmethod) and isinstance(twin, classmethod):
            member, twin = member.__func__, twin.__func__
        if name in only or twin is None or not inspect.isfunction(member):
            continue
        if name == "__init__" and slow is not jobwire.AsyncClient:
            continue  # not called by users
        if name == "add_done_callback" and slow is jobwire.AsyncJob:
            continue  # gets the job of its face
        ours, theirs = inspect.signature(member), inspect.signature(twin)
        assert list(ours.parameters.values()) == list(theirs.parameters.values()), name
        compared += 1
    assert compared >= (2 if slow is jobwire.AsyncFileResult else 6)


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def test_import_loads_nothing_heavy() -> None:
    heavy = "{'aiohttp', 'rich', 'typer', 'truststore', 'ssl', 'asyncio', 'msgspec'}"
    assert run(f"import jobwire, sys; print(sorted({heavy} & set(sys.modules)))") == "[]"
    code = f"import jobwire, sys; jobwire.Client; print(sorted({heavy} & set(sys.modules)))"
    assert run(code) == "[]"


def test_no_thread_before_the_first_client() -> None:
    code = "import jobwire, threading; jobwire.Client; print(threading.active_count())"
    assert run(code) == "1"


def test_signatures_are_those_of_the_reference() -> None:
    """Names and order of what programs written for gradio_client pass."""
    for name in ("__init__", "duplicate"):
        ours = inspect.signature(getattr(jobwire.Client, name)).parameters
        theirs = inspect.signature(getattr(gradio_client.Client, name)).parameters
        defaults = {
            parameter.name: (parameter.kind, parameter.default)
            for parameter in theirs.values()
            # One has the value of the environment as its default there; one is internal.
            if parameter.name not in ("download_files", "_skip_components")
        }
        ordered = [known for known, (kind, _) in defaults.items() if kind is not KEYWORD]
        assert list(ours)[: len(ordered)] == ordered
        assert {n: (ours[n].kind, ours[n].default) for n in defaults} == defaults
    for name in ("predict", "submit"):
        keywords = inspect.signature(getattr(jobwire.Client, name)).parameters
        assert {"api_name", "fn_index", "headers"} <= set(keywords)
    assert "result_callbacks" in inspect.signature(jobwire.Client.submit).parameters
    assert list(inspect.signature(jobwire.Job.result).parameters) == ["self", "timeout"]
    fields = list(inspect.signature(jobwire.StatusUpdate).parameters)
    assert fields[:7] == ["code", "rank", "queue_size", "eta", "success", "time", "progress_data"]
    assert list(inspect.signature(jobwire.ProgressUnit).parameters) == [
        "index", "length", "unit", "progress", "desc",
    ]  # fmt: skip
    assert [status.value for status in jobwire.Status] == sorted(
        [s.name for s in jobwire.Status], key=[s.name for s in jobwire.Status].index
    )


def test_statuses_are_ordered_as_a_job_goes() -> None:
    order = [jobwire.Status[name] for name in ("STARTING", "IN_QUEUE", "PROCESSING", "FINISHED")]
    assert sorted(order) == order
    assert jobwire.Status.IN_QUEUE < jobwire.Status.FINISHED
    with pytest.raises(TypeError):
        _ = jobwire.Status.IN_QUEUE < 3


@pytest.mark.parametrize(
    ("unit", "fraction"),
    [
        (jobwire.ProgressUnit(1, 4), 0.25),
        (jobwire.ProgressUnit(progress=0.3), 0.3),
        (jobwire.ProgressUnit(1, None), None),
        (jobwire.ProgressUnit(1, 0), None),
        (jobwire.ProgressUnit(), None),
    ],
)
def test_fraction_of_a_progress_unit(unit: jobwire.ProgressUnit, fraction: float | None) -> None:
    assert unit.fraction == fraction


@pytest.mark.parametrize("name", [n for n in exceptions.__all__ if n not in ALIASES])
def test_errors_can_be_pickled(name: str) -> None:
    error = getattr(exceptions, name)("what")
    error.event_id = "e1"
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == "what"
    assert copy.event_id == "e1"


def test_lost_outputs_go_with_the_pickled_error() -> None:
    error = jobwire.ConnectionLostError("cut", event_id="e1", outputs=lambda: [1, 2])
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.event_id, copy.outputs) == ("e1", [1, 2])


def test_values_can_be_pickled() -> None:
    unit = jobwire.ProgressUnit(1, 4)
    update = jobwire.StatusUpdate(jobwire.Status.LOG, 1, 2, None, None, None, [unit], ("a", "info"))
    assert pickle.loads(pickle.dumps(update)) == update


def test_annotations_can_be_read_at_run_time() -> None:
    for cls in (jobwire.AsyncClient, jobwire.AsyncJob, jobwire.Job, jobwire.AppSchema):
        for member in vars(cls).values():
            if inspect.isfunction(member) and not member.__name__.startswith("_"):
                assert "return" in typing.get_type_hints(member)
