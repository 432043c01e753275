"""The same scenarios on every generation of servers that the client speaks with.

Builds an environment for each version below ``.cache/servers``; marked ``matrix``.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

import jobwire
import peer
from apps import functions
from conftest import Eventually, Server, running
from environments import CACHE, python_with
from faults import cutting_proxy
from jobwire import Client

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(600)]

_OLD = ["huggingface_hub<0.26", "pydantic<2.11", "starlette<0.40", "numpy<2"]
_OLDEST = [*_OLD, "jinja2<3.1.5"]
_OLDER = [*_OLDEST, "fastapi==0.112.2"]
VERSIONS = {  # the pins with which each still installs and runs
    "3.41.2": _OLDEST,  # ws
    "3.50.2": _OLDEST,  # ws
    "4.0.2": _OLDER,  # sse
    "4.10.0": _OLDER,  # sse_v1
    "4.20.1": _OLDER,  # sse_v2
    "4.21.0": _OLDER,  # sse_v2.1
    "4.44.1": [*_OLD, "fastapi<0.116"],  # sse_v3
    "5.0.2": ["huggingface_hub<1", "pydantic<2.11", "starlette<0.40", "fastapi<0.116"],
    "5.50.0": [],
    "6.0.2": [],
    "6.31.0": [],
}


def build(version: str, pins: list[str]) -> Path:
    """Return the Python of an environment with a version of Gradio."""
    return python_with(CACHE / "servers" / version, f"gradio=={version}", *pins)


@pytest.fixture(scope="module", params=VERSIONS)
def generation(request: pytest.FixtureRequest) -> Iterator[Server]:
    version: str = request.param
    with running(python=str(build(version, VERSIONS[version]))) as server:
        yield server


@pytest.fixture
def version(generation: Server, request: pytest.FixtureRequest) -> tuple[int, ...]:
    return tuple(map(int, request.node.callspec.params["generation"].split(".")))


@pytest.fixture
def app(generation: Server) -> Iterator[Client]:
    with Client(generation.url) as client:
        yield client


def test_values(app: Client) -> None:
    assert app.predict("naïve ✓ 🎉", api_name="/echo") == "naïve ✓ 🎉"
    assert app.predict("hi", api_name="/two") == ("HI", 2)
    assert app.predict(api_name="/none") == ()
    assert app.predict("x", "4", api_name="/plain") == "x:4"
    assert app.predict("x", api_name="/direct") == "x"


def test_names_and_defaults(app: Client, version: tuple[int, ...]) -> None:
    if version >= (4, 23):  # servers before name no parameters
        assert app.predict(a="x", api_name="/plain") == "x:3"
    with pytest.raises(jobwire.ArgumentError):
        app.predict(api_name="/plain")


def test_view_api_is_that_of_gradio_client(app: Client, generation: Server) -> None:
    ours = app.view_api(print_info=False, return_format="dict")
    assert ours == peer.view_api(generation.url)
    assert "client.predict(a, b" in str(app)


@pytest.mark.parametrize("name", ["tables", "frames", "mixed", "grow"])
def test_every_output(app: Client, name: str) -> None:
    args = (30,) if name == "grow" else ()
    expected = list(getattr(functions, name)(*args))
    outputs = list(app.submit(*args, api_name=f"/{name}"))
    if name == "frames":
        outputs = [{key: value[key] for key in ("headers", "data")} for value in outputs]
    assert outputs == expected


def test_progress_and_logs(app: Client) -> None:
    units = [
        update.progress_data[0]
        for update in app.submit(3, api_name="/steps").updates()
        if isinstance(update, jobwire.StatusUpdate) and update.progress_data
    ]
    assert {unit.desc for unit in units} == {"working"}
    assert units[-1].length == 3
    updates = list(app.submit("x", api_name="/logs").updates())
    logs = [u.log for u in updates if isinstance(u, jobwire.StatusUpdate) and u.log]
    assert logs == [("info x", "info"), ("warning x", "warning")]


def test_errors(app: Client) -> None:
    with pytest.raises(jobwire.AppError, match="plain value error"):
        app.predict("value", api_name="/fail")
    job = app.submit(3, api_name="/fail_late")
    with pytest.raises(jobwire.AppError, match="failed after outputs"):
        job.result(timeout=20)
    assert job.outputs() == ["0", "1", "2"]


def test_state(app: Client) -> None:
    assert [app.predict(word, api_name="/remember") for word in "ab"] == ["a", "a b"]
    app.reset_session()
    assert app.predict("z", api_name="/remember") == "z"
    assert app.predict("1", "2", api_name="/between") == "1/0/2"


def test_many_jobs(app: Client) -> None:
    jobs = [app.submit(str(i), api_name="/echo") for i in range(60)]
    assert [job.result(timeout=30) for job in jobs] == [str(i) for i in range(60)]


def test_jobs_in_a_row(app: Client) -> None:
    assert [app.predict(str(i), api_name="/echo") for i in range(10)] == list("0123456789")


def test_cancelled_generator_frees_its_slot_and_spares_others(app: Client) -> None:
    jobs = [app.submit(14, 0.05, api_name="/count") for _ in range(3)]
    for job in jobs:
        next(iter(job))
    assert jobs[1].cancel()
    with pytest.raises(jobwire.JobCancelledError):
        jobs[1].result()
    assert jobs[0].result(timeout=20) == jobs[2].result(timeout=20) == "13"
    assert app.predict("x", api_name="/echo") == "x"


def test_cancelled_waiting_job_does_no_harm(
    app: Client, version: tuple[int, ...], eventually: Eventually
) -> None:
    # Before 4.0 all functions share the workers, of which this app has four.
    busy = [app.submit(0.8, "a", api_name="/slow") for _ in range(4 if version < (4,) else 1)]
    first = busy[-1]
    eventually(lambda: all(job.running() for job in busy))
    second, third = (app.submit(0.1, tag, api_name="/slow") for tag in "bc")
    eventually(lambda: second.status().code is jobwire.Status.IN_QUEUE)
    assert second.cancel()
    assert first.result(timeout=20) == "slept a"
    assert third.result(timeout=20) == "slept c"
    assert app.predict("x", api_name="/echo") == "x"


def test_cut_connection(generation: Server, version: tuple[int, ...]) -> None:
    with cutting_proxy(generation.url) as proxy, Client(proxy.url) as client:
        job = client.submit(20, 0.05, api_name="/count")
        next(iter(job))
        proxy.cut()
        if (4, 17) <= version < (4, 24):
            # The server keeps the session, but not what it wrote to the dead connection before
            # it noticed. Edits of that tell nothing, so the result is what comes next.
            assert job.result(timeout=20) == "19"
            outputs = list(map(int, job.outputs()))
            assert outputs == sorted(set(outputs))
            assert outputs[0] == 0
            assert outputs[-1] == 19
        else:
            with pytest.raises(jobwire.ConnectionLostError):
                job.result(timeout=20)
        assert client.predict("again", api_name="/echo") == "again"
