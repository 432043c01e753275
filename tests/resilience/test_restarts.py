"""Servers that are killed, and come back at the same address as another process."""

import pytest

import jobwire
from conftest import running
from jobwire import Client
from resilience.conftest import lost


def test_client_goes_on_with_the_server_that_took_the_place_of_a_killed_one() -> None:
    with running("--auth") as server:
        client = Client(server.url, auth=("user", "pass"))
        assert client.predict("a", api_name="/remember") == "a"
        jobs = [client.submit(1000, 0.02, api_name="/count") for _ in range(3)]
        outputs = iter(jobs[0])
        assert [next(outputs), next(outputs)] == ["0", "1"]
        server.process.kill()
        assert lost(jobs[0]).outputs[:2] == ["0", "1"]
        for job in jobs[1:]:
            lost(job)
        with pytest.raises(jobwire.ConnectError):
            client.predict("nobody there", api_name="/echo")
    with running("--auth", port=server.port), client:
        # It has another app id, and knows neither the cookies nor the session.
        assert client.predict("again", api_name="/remember") == "again"
        again = [client.submit(str(i), api_name="/echo") for i in range(10)]
        assert [job.result(timeout=10) for job in again] == [str(i) for i in range(10)]
        assert list(client.submit(3, 0, api_name="/count")) == ["0", "1", "2"]
