"""Streams that break, with older servers that forget the session then."""

from collections.abc import Iterator

import pytest

import jobwire
from chaos import Fault, chaos_proxy, on
from conftest import Server, running
from jobwire import Client
from matrix.test_generations import VERSIONS, build

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(300)]

FORGETFUL = ("4.44.1", "5.50.0")


@pytest.fixture(scope="module", params=FORGETFUL)
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


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind} {fault.at.decode()}")
def test_break(generation: Server, fault: Fault) -> None:
    expected = [str(i) for i in range(12)]
    with chaos_proxy(generation.url) as proxy, Client(proxy.url) as client:
        proxy.plan = on("queue/data", fault)
        job = client.submit(12, 0.05, api_name="/count")
        with pytest.raises(jobwire.ConnectionLostError) as caught:
            job.result(timeout=20)
        assert caught.value.outputs == job.outputs() == expected[: len(job.outputs())]
        assert client.predict("on", api_name="/echo") == "on"
        assert list(client.submit(3, 0, api_name="/count")) == ["0", "1", "2"]
