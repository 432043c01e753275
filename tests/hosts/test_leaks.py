"""What is left of clients that were closed: nothing."""

import os
from collections.abc import Iterator

import pytest

from faults import config, raw_server, response
from hosts.programs import run

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts in /proc")

COUNT = """
import asyncio, gc, os, sys, time, jobwire
url = sys.argv[1]

def count():
    gc.collect()
    ours = sum(str(type(thing).__module__).startswith(("jobwire.client", "jobwire.sync", "aiohttp"))
               for thing in gc.get_objects())
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), ours

def settled(count, goal=None):
    # A thread may not have let go yet of what it just had in its hands: count until that
    # is no more than the goal, or, without one, does not become less.
    deadline, last, same = time.monotonic() + 10, count(), 0
    while time.monotonic() < deadline:
        if goal is None and same == 5 or goal is not None and all(map(int.__le__, last, goal)):
            break
        time.sleep(0.02)
        new = count()
        last, same = new, same + 1 if new == last else 0
    return last
"""

PLAIN = """
def use():
    with jobwire.Client(url) as client:
        {use}

for _ in range(3):
    use()
tasks = lambda: len(asyncio.all_tasks(jobwire.sync.loop.loop_thread()._loop))
all_of_it = lambda: (*count(), tasks())
before = settled(all_of_it)
for _ in range({number}):
    use()
after = settled(all_of_it, before)
print(all(map(int.__le__, after, before)) or (before, after))
"""

ASYNCHRONOUS = """
async def use():
    async with jobwire.AsyncClient(url) as client:
        {use}

async def main():
    for _ in range(3):
        await use()
    before = settled(count)
    for _ in range({number} // 50):
        await asyncio.gather(*(use() for _ in range(50)))
    await asyncio.sleep(0)
    after = settled(count, before)
    print(len(asyncio.all_tasks()) == 1, all(map(int.__le__, after, before)) or (before, after))

asyncio.run(main())
"""

JOBS = """assert {wait}client.predict("x", api_name="/echo") == "x"
        {wait}client.submit(1000, 0.05, api_name="/count")"""


@pytest.fixture
def quick() -> Iterator[str]:
    """The address of an app that answers in no time, but runs nothing."""
    with raw_server({"/config": response(config())}) as app:
        yield app.url


many = pytest.mark.parametrize("number", [100, pytest.param(1000, marks=pytest.mark.matrix)])


@many
def test_many_clients(quick: str, number: int) -> None:
    done = run(COUNT + PLAIN.format(number=number, use="pass"), quick)
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


@many
def test_many_asynchronous_clients(quick: str, number: int) -> None:
    done = run(COUNT + ASYNCHRONOUS.format(number=number, use="pass"), quick)
    assert (done.stdout, done.stderr, done.returncode) == ("True True\n", "", 0)


def test_clients_that_have_called(url: str) -> None:
    done = run(COUNT + PLAIN.format(number=50, use=JOBS.format(wait="")), url)
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


def test_asynchronous_clients_that_have_called(url: str) -> None:
    done = run(COUNT + ASYNCHRONOUS.format(number=50, use=JOBS.format(wait="await ")), url)
    assert (done.stdout, done.stderr, done.returncode) == ("True True\n", "", 0)
