"""What is left of clients that were closed: nothing."""

import asyncio
import gc
import os
import threading

import pytest

from faults import RawServer, config, raw_server, response
from hosts.programs import run
from jobwire import AsyncClient, Client

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts in /proc")


def count() -> tuple[int, int]:
    """Return how many open files and threads this process has."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


@pytest.fixture
def app() -> RawServer:
    with raw_server({"/config": response(config())}) as app:
        yield app


def test_thousand_clients(app: RawServer) -> None:
    with Client(app.url):
        pass  # starts the thread
    before = count()
    for _ in range(1000):
        with Client(app.url):
            pass
    assert count() == before


async def test_thousand_asynchronous_clients(app: RawServer) -> None:
    async with AsyncClient(app.url):
        pass
    before = count()
    for _ in range(20):
        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(self_closing(app.url))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert count() == before


async def self_closing(url: str) -> None:
    async with AsyncClient(url):
        pass
