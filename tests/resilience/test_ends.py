"""Generators that must end on the server: whoever gives one up does not leave it running."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import jobwire
from conftest import Eventually, Server
from jobwire import AsyncClient, Client

PROGRAM = Path(sys.executable).with_name("jobwire")


@pytest.fixture
def stopped(runs: Callable[[str], int], eventually: Eventually) -> Callable[[str], None]:
    """Waits until the server has stopped the generator that has a tag."""
    return lambda tag: eventually(lambda: runs(tag) == runs(f"{tag} was stopped") > 0)


def test_timeout(soaking: Server, tag: str, stopped: Callable[[str], None]) -> None:
    with Client(soaking.url, timeout=0.5) as client:
        with pytest.raises(jobwire.JobTimeoutError) as caught:
            client.predict(tag, 3000, 0.02, api_name="/count")
        assert caught.value.outputs[0] == f"{tag}:0"
        stopped(tag)


def test_timeout_on_the_command_line(
    soaking: Server, tag: str, stopped: Callable[[str], None]
) -> None:
    command = [str(PROGRAM), "call", "--timeout", "0.5", soaking.url, "/count", tag, "3000", "0.02"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 124
    assert "cancelled" in done.stderr
    stopped(tag)


async def test_waiting_task_that_is_cancelled(
    soaking: Server, tag: str, stopped: Callable[[str], None]
) -> None:
    async with AsyncClient(soaking.url) as client:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.5):
                await client.predict(tag, 3000, 0.02, api_name="/count")
        assert not isinstance(caught.value, jobwire.JobwireError)
        await asyncio.to_thread(stopped, tag)
        assert await client.predict("on", api_name="/echo") == "on"


def test_waiting_for_a_result_alone_stops_nothing(soaking: Server, tag: str) -> None:
    with Client(soaking.url) as client:
        job = client.submit(tag, 20, 0.05, api_name="/count")
        with pytest.raises(TimeoutError) as caught:
            job.result(timeout=0.1)
        assert not isinstance(caught.value, jobwire.JobwireError)
        assert job.result(timeout=20) == f"{tag}:19"


@pytest.mark.parametrize("face", ["plain", "asynchronous"])
def test_cancel_says_the_same_on_both_faces(
    soaking: Server, tag: str, stopped: Callable[[str], None], face: str
) -> None:
    if face == "plain":
        with Client(soaking.url) as client:
            job = client.submit(tag, 3000, 0.02, api_name="/count")
            next(job)
            said = [job.cancel(), job.cancel(), job.cancelled()]
            with pytest.raises(jobwire.JobCancelledError):
                job.result()
            stopped(tag)
    else:

        async def cancel() -> list[bool]:
            async with AsyncClient(soaking.url) as client:
                job = await client.submit(tag, 3000, 0.02, api_name="/count")
                await anext(aiter(job))
                said = [await job.cancel(), await job.cancel(), job.cancelled()]
                with pytest.raises(jobwire.JobCancelledError):
                    await job
                await asyncio.to_thread(stopped, tag)
                return said

        said = asyncio.run(cancel())
    assert said == [True, False, True]


def test_closing_the_client(soaking: Server, tag: str, stopped: Callable[[str], None]) -> None:
    with Client(soaking.url) as client:
        job = client.submit(tag, 3000, 0.02, api_name="/count")
        next(job)
    with pytest.raises(jobwire.ClientClosedError):
        job.result(timeout=1)
    stopped(tag)
