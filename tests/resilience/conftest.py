"""An app whose every call can be told from every other, behind a proxy that fails."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

import jobwire
from chaos import ChaosProxy, Plan, chaos_proxy
from conftest import APP, Server, running
from jobwire import Client

SOAKING = APP.with_name("soaking.py")
HEARTBEATS = {"GRADIO_HEARTBEAT_INTERVAL": "1"}


@pytest.fixture(scope="session")
def soaking() -> Iterator[Server]:
    with running(app=SOAKING, environment=HEARTBEATS) as server:
        yield server


@pytest.fixture
def proxy(soaking: Server) -> Iterator[ChaosProxy]:
    with chaos_proxy(soaking.url) as proxy:
        yield proxy


@pytest.fixture
def tag() -> str:
    """A name for one job."""
    return uuid.uuid4().hex


@pytest.fixture
def runs(soaking: Server) -> Callable[[str], int]:
    """Tells how often the server has run the job that has a tag."""

    def runs(tag: str) -> int:
        with Client(soaking.url) as direct:
            count: int = direct.predict(api_name="/ran").get(tag, 0)
            return count

    return runs


Opening = Callable[..., AbstractContextManager[Client]]


@pytest.fixture
def opened(proxy: ChaosProxy) -> Opening:
    """Open a client through the proxy that follows a plan from then on.

    When it is done, the network is well again, and the client must work.
    """

    @contextmanager
    def opened(plan: Plan | None = None, **options: Any) -> Iterator[Client]:
        options = {"read_timeout": 3.0, "download_files": False, **options}
        with Client(proxy.url, **options) as client:
            proxy.plan = plan
            yield client
            proxy.plan = None
            assert_usable(client)

    return opened


def assert_usable(client: Client) -> None:
    """Check that the next job, and more at once, work."""
    assert client.predict("on", api_name="/echo") == "on"
    jobs = [client.submit(f"on{i}", 3, 0, api_name="/count") for i in range(3)]
    assert [job.result(timeout=20) for job in jobs] == ["on0:2", "on1:2", "on2:2"]


def lost(job: jobwire.Job, timeout: float = 20) -> jobwire.ConnectionLostError:
    """Wait for a job whose connection must be lost, and return the error."""
    with pytest.raises(jobwire.ConnectionLostError) as caught:
        job.result(timeout=timeout)
    assert job.done()
    assert caught.value.event_id == job.event_id
    assert caught.value.may_have_run
    return caught.value
