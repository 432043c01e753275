"""Connections that are cut, frozen or refused while jobs are in flight."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

import jobwire
from conftest import Server, running
from faults import CuttingProxy, cutting_proxy
from jobwire import Client
from jobwire.client.loading import LoadedApp
from jobwire.client.opening import AppAddress
from jobwire.transports.base import Timeouts, Transport


@pytest.fixture
def proxy(url: str) -> Iterator[CuttingProxy]:
    with cutting_proxy(url) as proxy:
        yield proxy


def test_cut_connection_loses_the_job_by_name_and_keeps_its_outputs(proxy: CuttingProxy) -> None:
    with Client(proxy.url) as client:
        job = client.submit(1000, 0.05, api_name="/count")
        outputs = iter(job)
        assert [next(outputs), next(outputs)] == ["0", "1"]
        proxy.cut()
        with pytest.raises(jobwire.ConnectionLostError) as caught:
            job.result(timeout=10)
        assert caught.value.event_id == job.event_id
        assert caught.value.outputs[:2] == ["0", "1"]
        with pytest.raises(jobwire.ConnectionLostError):
            list(outputs)
        assert job.status().success is False


def test_client_goes_on_after_a_cut(proxy: CuttingProxy) -> None:
    with Client(proxy.url) as client:
        job = client.submit(1000, 0.05, api_name="/count")
        next(iter(job))
        proxy.cut()
        with pytest.raises(jobwire.ConnectionLostError):
            job.result(timeout=10)
        assert client.predict("again", api_name="/echo") == "again"
        jobs = [client.submit(str(i), api_name="/echo") for i in range(20)]
        assert [job.result(timeout=10) for job in jobs] == [str(i) for i in range(20)]


def test_state_survives_a_cut(proxy: CuttingProxy) -> None:
    with Client(proxy.url) as client:
        assert client.predict("a", api_name="/remember") == "a"
        job = client.submit(1000, 0.05, api_name="/count")
        next(iter(job))
        proxy.cut()
        with pytest.raises(jobwire.ConnectionLostError):
            job.result(timeout=10)
        time.sleep(0.5)  # let the server see it too: it clears up the session then
        assert client.predict("b", api_name="/remember") == "a b"


def test_silent_connection_is_noticed(proxy: CuttingProxy) -> None:
    with Client(proxy.url, idle_timeout=0.5) as client:
        job = client.submit(1000, 0.05, api_name="/count")
        next(iter(job))
        proxy.freeze()
        started = time.monotonic()
        with pytest.raises(jobwire.ConnectionLostError, match="nothing was heard"):
            job.result(timeout=10)
        assert time.monotonic() - started < 5


def test_silent_server_does_not_hold_up_a_submission(proxy: CuttingProxy) -> None:
    with Client(proxy.url, read_timeout=0.5) as client:
        proxy.freeze()
        with pytest.raises(jobwire.TransportTimeoutError):
            client.predict("x", api_name="/echo")


def test_silent_server_does_not_hold_up_cancel_or_close(
    proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobwire.client.session._STOP_TIMEOUTS", Timeouts(connect=0.5, read=0.5))
    client = Client(proxy.url)
    job = client.submit(1000, 0.05, api_name="/count")
    next(iter(job))
    proxy.cut()
    proxy.freeze()
    started = time.monotonic()
    job.cancel()
    client.close()
    assert time.monotonic() - started < 5


def test_killed_server_loses_the_jobs_and_refuses_new_ones() -> None:
    with running() as server:
        client = Client(server.url)
        jobs = [client.submit(1000, 0.05, api_name="/count") for _ in range(3)]
        next(iter(jobs[0]))
        server.process.kill()
        for job in jobs:
            with pytest.raises(jobwire.ConnectionLostError) as caught:
                job.result(timeout=10)
            assert caught.value.event_id == job.event_id
        with pytest.raises(jobwire.ConnectError):
            client.predict("x", api_name="/echo")
        client.close()


def test_idle_connections_that_the_server_closes_are_not_used_again(server: Server) -> None:
    with Client(server.url) as client:
        assert client.predict("x", api_name="/echo") == "x"
        time.sleep(5.2)  # uvicorn closes after 5 s
        jobs = [client.submit(str(i), api_name="/echo") for i in range(10)]
        assert [job.result(timeout=10) for job in jobs] == [str(i) for i in range(10)]


async def test_a_look_that_its_caller_gave_up_is_not_taken_for_a_later_one() -> None:
    seen = asyncio.Event()
    looks = 0

    class Address:
        url = "http://app/"

        async def read(self, transport: object, url: str) -> "Address":
            nonlocal looks
            looks += 1
            await seen.wait()
            return self

    tasks: set[asyncio.Task[Any]] = set()
    app = LoadedApp(cast("AppAddress", Address()), tasks, verbose=False)
    app._transport = cast("Transport", object())
    caller = asyncio.create_task(app.look_again())
    while not looks:
        await asyncio.sleep(0)
    caller.cancel()
    seen.set()
    await asyncio.wait(tasks)
    await app.look_again()
    assert looks == 2
