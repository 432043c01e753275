"""Much at once: jobs, outputs and bytes, against a jobwire server in a process of its own."""

import asyncio
import resource
import threading
from collections.abc import Iterator

import pytest

import jobwire
from jobwire import AsyncClient, Client
from server.conftest import Serving, serving_app

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(300)]

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def loading() -> Iterator[Serving]:
    with serving_app("apps.loading:app", "--no-access-log") as serving:
        yield serving


async def test_ten_thousand_jobs_in_flight_on_one_client(loading: Serving) -> None:
    async with AsyncClient(loading.url, read_timeout=None, idle_timeout=None) as client:
        jobs = [await client.submit(str(i), 5.0, api_name="/later") for i in range(10_000)]
        assert len(asyncio.all_tasks()) < 10_100
        results = [await job.result(timeout=200) for job in jobs]
    assert results == [str(i) for i in range(10_000)]


def test_ten_thousand_jobs_take_no_threads(loading: Serving) -> None:
    with Client(loading.url, read_timeout=None, idle_timeout=None) as client:
        client.predict("warm", api_name="/later")
        before = threading.active_count()
        jobs = [client.submit(str(i), api_name="/later") for i in range(10_000)]
        assert threading.active_count() == before
        assert [job.result(timeout=200) for job in jobs] == [str(i) for i in range(10_000)]


async def test_hundred_thousand_outputs_come_in_order_and_once(loading: Serving) -> None:
    async with AsyncClient(loading.url) as client:
        job = await client.submit(100_000, api_name="/numbers")
        expected = 0
        async for number in job:
            assert number == expected
            expected += 1
        assert expected == 100_000
        assert await job == 99_999


async def test_slow_reader_of_one_job_holds_up_no_other(loading: Serving) -> None:
    async with AsyncClient(loading.url) as client:
        unread = await client.submit(20_000, api_name="/numbers")
        outputs = aiter(unread)
        assert await anext(outputs) == 0
        # Nobody reads on while these come and go.
        for i in range(50):
            assert await client.predict(str(i), api_name="/later") == str(i)
        assert [number async for number in outputs] == list(range(1, 20_000))


def test_output_of_200_megabytes(loading: Serving) -> None:
    before = _peak()
    with Client(loading.url, max_event_size=256 * MEGABYTE) as client:
        value = client.predict(200, api_name="/large")
    assert len(value) == 200 * MEGABYTE
    # The pieces as they arrive, the event made of them, and the value.
    assert _peak() - before < 4.5 * 200 * MEGABYTE


def test_output_over_the_limit_is_refused_and_the_client_goes_on(loading: Serving) -> None:
    with Client(loading.url, max_event_size=MEGABYTE) as client:
        with pytest.raises(jobwire.RemoteProtocolError, match="max_event_size"):
            client.predict(2, api_name="/large")
        assert client.predict("on", api_name="/later") == "on"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
