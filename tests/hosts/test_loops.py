"""Event loops of other people: one after another, uvloop, and plain code inside of one."""

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop

from hosts.programs import run
from jobwire import AsyncClient, Client, LocalProtocolError


def test_loops_one_after_another_have_a_client_each(url: str) -> None:
    async def work(text: str) -> str:
        async with AsyncClient(url) as client:
            job = await client.submit(3, 0, api_name="/count")
            assert [output async for output in job] == ["0", "1", "2"]
            return str(await client.predict(text, api_name="/echo"))

    assert [asyncio.run(work(str(i))) for i in range(5)] == ["0", "1", "2", "3", "4"]


def test_loops_at_the_same_time_have_a_client_each(url: str) -> None:
    async def work(text: str) -> str:
        async with AsyncClient(url) as client:
            return str(await client.predict(text, api_name="/echo"))

    with ThreadPoolExecutor(5, "Thread-loop") as threads:
        assert list(threads.map(lambda i: asyncio.run(work(str(i))), range(10))) == [
            str(i) for i in range(10)
        ]


def test_client_and_job_in_a_second_loop(url: str) -> None:
    with asyncio.Runner() as first, asyncio.Runner() as second:
        client = AsyncClient(url)
        job = first.run(client.submit(100, 0.05, api_name="/count"))
        with pytest.raises(LocalProtocolError, match="first used"):
            second.run(client.predict("x", api_name="/echo"))
        with pytest.raises(LocalProtocolError, match="closed there"):
            second.run(client.aclose())
        with pytest.raises(LocalProtocolError, match="event loop of its client"):
            second.run(job.result())
        assert not job.done()
        first.run(job.cancel())
        assert first.run(client.predict("x", api_name="/echo")) == "x"
        first.run(client.aclose())


def test_client_on_uvloop(url: str) -> None:
    async def work() -> list[object]:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        async with AsyncClient(url) as client:
            echoes = await asyncio.gather(
                *(client.predict(str(i), api_name="/echo") for i in range(20))
            )
            job = await client.submit(1000, 0.05, api_name="/count")
            async for _ in job:
                break
            assert await job.cancel()
            return echoes

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(work()) == [str(i) for i in range(20)]


def test_plain_client_where_uvloop_is_the_policy(url: str) -> None:
    done = run(
        """
        import asyncio, gc, os, sys, uvloop, warnings, jobwire
        warnings.simplefilter("ignore", DeprecationWarning)  # policies go in 3.16
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        client = jobwire.Client(sys.argv[1])
        assert "uvloop" in type(client._loop._loop).__module__
        print(client.predict("x", api_name="/echo"))
        job = client.submit(1000, 0.05, api_name="/count")
        print(next(iter(job)))
        """,
        url,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("x\n0\n", "", 0)


async def test_plain_client_blocks_a_running_loop_and_no_more(url: str) -> None:
    with Client(url) as client:
        assert client.predict("x", api_name="/echo") == "x"
        job = client.submit(3, 0, api_name="/count")
        assert list(job) == ["0", "1", "2"]
        assert job.result() == "2"


async def test_plain_client_from_threads_of_a_running_loop(url: str) -> None:
    with Client(url) as client:
        echoes = await asyncio.gather(
            *(asyncio.to_thread(client.predict, str(i), api_name="/echo") for i in range(20))
        )
        assert echoes == [str(i) for i in range(20)]
        jobs = [client.submit(str(i), api_name="/echo") for i in range(20)]
        assert await asyncio.gather(*map(asyncio.wrap_future, jobs)) == echoes


def test_one_client_from_fifty_threads(url: str) -> None:
    problems: list[object] = []
    with Client(url) as client:
        job = client.submit(30, 0.02, api_name="/count")

        def work(number: int) -> None:
            try:
                for i in range(4):
                    text = f"{number}.{i}"
                    assert client.submit(text, api_name="/echo").result(30) == text
                assert list(job) == [str(i) for i in range(30)]
            except BaseException as error:
                problems.append(error)

        threads = [
            threading.Thread(target=work, args=(number,), name="Thread-user")
            for number in range(50)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not problems


def test_client_lives_as_long_as_a_job_of_it(url: str) -> None:
    job = Client(url).submit(30, 0.02, api_name="/count")
    gc.collect()
    assert list(job) == [str(i) for i in range(30)]
    outputs = iter(Client(url).submit(10, 0.02, api_name="/count"))
    gc.collect()
    assert list(outputs) == [str(i) for i in range(10)]
