"""Streams that break, with older servers: those that forget the session then, and the others."""

from collections.abc import Iterator

import pytest

import jobwire
from chaos import Fault, chaos_proxy, on
from conftest import Server, running
from jobwire import Client
from matrix.test_generations import VERSIONS, build

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(300)]

FORGETFUL = ("4.44.1", "5.50.0")
REMEMBERING = ("4.20.1", "4.21.0")
"""Those from 4.17 to 4.23."""


@pytest.fixture(scope="module")
def generation(request: pytest.FixtureRequest) -> Iterator[Server]:
    version: str = request.param
    with running(python=str(build(version, VERSIONS[version]))) as server:
        yield server


FAULTS = [
    Fault("cut", at=b'"process_starts"'),
    Fault("reset", at=b'"process_generating"', offset=10),
    Fault("cut", at=b'"process_generating"', offset=-12),
    Fault("half-close", at=b'"process_generating"', offset=40),
    Fault("reset", at=b'"process_completed"', offset=20),
    Fault("cut", at=b'"process_completed"', offset=-14),
]


on_faults = pytest.mark.parametrize(
    "fault", FAULTS, ids=lambda fault: f"{fault.kind} {fault.at.decode()}"
)


@pytest.mark.parametrize("generation", FORGETFUL, indirect=True)
@on_faults
def test_break_where_the_session_is_forgotten(generation: Server, fault: Fault) -> None:
    expected = [str(i) for i in range(12)]
    with chaos_proxy(generation.url) as proxy, Client(proxy.url) as client:
        proxy.plan = on("queue/data", fault)
        job = client.submit(12, 0.05, api_name="/count")
        with pytest.raises(jobwire.ConnectionLostError) as caught:
            job.result(timeout=20)
        assert caught.value.outputs == job.outputs() == expected[: len(job.outputs())]
        assert client.predict("on", api_name="/echo") == "on"
        assert list(client.submit(3, 0, api_name="/count")) == ["0", "1", "2"]


@pytest.mark.parametrize("generation", REMEMBERING, indirect=True)
@on_faults
def test_break_where_the_session_is_remembered(generation: Server, fault: Fault) -> None:
    expected = [str(i) for i in range(12)]
    # These servers send a heartbeat each 15 s.
    with chaos_proxy(generation.url) as proxy, Client(proxy.url, idle_timeout=17) as client:
        proxy.plan = on("queue/data", fault)
        job = client.submit(12, 0.05, api_name="/count")
        if fault.at == b'"process_completed"':
            # It was told, as far as the server knows, who then tells no more of the job.
            with pytest.raises(jobwire.ConnectionLostError, match="its end") as caught:
                job.result(timeout=30)
            assert caught.value.outputs == job.outputs() == expected
            assert caught.value.may_have_run
        else:
            assert job.result(timeout=20) == "11"
            # Edits of an output that is lost tell nothing, so what comes next is the end.
            outputs = list(job)
            assert outputs == expected[: len(outputs) - 1] + expected[-1:]
        assert sum("queue/data" in path for path in proxy.requests) == 2
        assert client.predict("on", api_name="/echo") == "on"
        assert list(client.submit(3, 0, api_name="/count")) == ["0", "1", "2"]
