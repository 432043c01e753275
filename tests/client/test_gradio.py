"""Both clients against a real Gradio server: what an app does, and what callers get."""

import asyncio
import concurrent.futures
import threading
import time
from typing import Any

import pytest

import jobwire
from conftest import Eventually
from jobwire import Status
from jobwire.transports.aiohttp import AiohttpTransport
from jobwire.transports.base import Response

Client = jobwire.Client
AsyncClient = jobwire.AsyncClient


def test_predict_gives_a_bare_value_a_tuple_or_nothing(client: Client) -> None:
    assert client.predict("hi", api_name="/echo") == "hi"
    assert client.predict("hi", api_name="/two") == ("HI", 2)
    assert client.predict(api_name="/none") == ()


def test_arguments_by_position_by_name_and_by_default(client: Client) -> None:
    assert client.predict("x", "4", api_name="/plain") == "x:4"
    assert client.predict("x", b="5", api_name="/plain") == "x:5"
    assert client.predict(b="6", a="y", api_name="/plain") == "y:6"
    assert client.predict("x", api_name="/plain") == "x:3"


def test_leading_slash_may_be_left_out(client: Client) -> None:
    assert client.predict("x", api_name="echo") == "x"


def test_endpoint_by_index(client: Client) -> None:
    assert client.predict("x", fn_index=0) == "x"


def test_endpoint_that_is_not_queued(client: Client) -> None:
    assert client.predict("x", api_name="/direct") == "x"


@pytest.mark.parametrize("which", [{"api_name": "/false"}, {"fn_index": 19}])
def test_private_endpoint_is_not_called(client: Client, which: dict[str, Any]) -> None:
    assert client._client._app.schema is not None
    [private] = [
        e for e in client._client._app.schema.endpoints.values() if e.visibility == "private"
    ]
    assert private.id == 19
    with pytest.raises(jobwire.EndpointNotFoundError) as caught:
        client.submit("x", **which)
    assert "/echo" in caught.value.available


def test_state_goes_with_the_session(client: Client) -> None:
    assert [client.predict(word, api_name="/remember") for word in "abc"] == ["a", "a b", "a b c"]
    before = client.session_hash
    client.reset_session()
    assert client.session_hash != before
    assert client.predict("z", api_name="/remember") == "z"


def test_state_between_other_inputs(client: Client) -> None:
    assert client.predict("1", "2", api_name="/between") == "1/0/2"
    assert client.predict(last="4", first="3", api_name="/between") == "3/1/4"


def test_two_clients_have_two_sessions(client: Client, url: str) -> None:
    client.predict("mine", api_name="/remember")
    with Client(url) as other:
        assert other.predict("theirs", api_name="/remember") == "theirs"


def test_generator_gives_every_output_as_it_comes(client: Client) -> None:
    job = client.submit(4, 0.15, api_name="/count")
    times = []
    outputs = []
    for output in job:
        outputs.append(output)
        times.append(time.monotonic())
    assert outputs == ["0", "1", "2", "3"]
    assert times[-1] - times[0] > 0.3
    assert job.result() == "3"
    assert job.outputs() == outputs


def test_each_iterator_sees_everything_however_late(client: Client) -> None:
    job = client.submit(5, api_name="/count")
    assert next(job) == "0"
    assert list(job) == list("01234")
    assert list(job) == list("01234")
    assert next(job) == "1"
    job.result()
    assert list(job) == list("01234")


@pytest.mark.parametrize("endpoint", ["/tables", "/frames", "/mixed", "/grow"])
def test_streamed_values_are_rebuilt_from_their_edits(client: Client, endpoint: str) -> None:
    from apps import functions

    args = (30,) if endpoint == "/grow" else ()
    function = getattr(functions, endpoint[1:])
    expected = list(function(*args))
    got = list(client.submit(*args, api_name=endpoint))
    if endpoint == "/frames":
        got = [{key: value[key] for key in ("headers", "data")} for value in got]
    assert got == expected


def test_non_generator_has_its_result_as_its_only_output(client: Client) -> None:
    job = client.submit("x", api_name="/echo")
    assert list(job) == ["x"]
    assert job.outputs() == ["x"]


def test_progress_is_told(client: Client) -> None:
    job = client.submit(3, api_name="/steps")
    seen = [
        update.progress_data[0]
        for update in job.updates()
        if isinstance(update, jobwire.StatusUpdate)
        and update.code is Status.PROGRESS
        and update.progress_data
    ]
    assert [unit.index for unit in seen] == [0, 1, 2]
    assert {(unit.length, unit.unit, unit.desc) for unit in seen} == {(3, "parts", "working")}
    assert seen[1].fraction == pytest.approx(1 / 3)
    status = job.status()
    assert (status.code, status.success, status.progress_data) == (Status.FINISHED, True, seen[-1:])


def test_logs_are_told(client: Client) -> None:
    job = client.submit("x", api_name="/logs")
    logs = [u.log for u in job.updates() if isinstance(u, jobwire.StatusUpdate) and u.log]
    assert logs == [("info x", "info"), ("warning x", "warning")]


def test_updates_end_with_the_result_and_the_end(client: Client) -> None:
    job = client.submit(3, api_name="/count")
    for _ in range(2):  # the second time from the log
        *_, result, end = job.updates()
        assert isinstance(result, jobwire.OutputUpdate)
        assert (result.outputs, result.final) == ("2", True)
        assert isinstance(end, jobwire.StatusUpdate)
        assert (end.code, end.success, end.rank) == (Status.FINISHED, True, 0)
        outputs = [u.outputs for u in job.updates() if isinstance(u, jobwire.OutputUpdate)]
        assert outputs == ["0", "1", "2", "2"]


async def test_updates_of_a_job_can_be_read_from_another_loop(url: str) -> None:
    with await asyncio.to_thread(Client, url) as client:
        job = client.submit("x", api_name="/echo")
        codes = [u.code async for u in job if isinstance(u, jobwire.StatusUpdate)]
    assert codes[-1] is Status.FINISHED


@pytest.mark.parametrize(
    ("kind", "message", "title", "duration"),
    [
        ("value", "plain value error", "Error", None),
        ("titled", "a <b>bad</b> thing", "Oops", 7),
        ("other", "a bad thing", "Error", 10),
    ],
)
def test_error_of_the_app(
    client: Client, kind: str, message: str, title: str, duration: float | None
) -> None:
    job = client.submit(kind, api_name="/fail")
    with pytest.raises(jobwire.AppError) as caught:
        job.result()
    error = caught.value
    assert (error.message, error.title, error.duration) == (message, title, duration)
    assert error.event_id == job.event_id is not None
    assert job.exception() is error
    assert job.status().success is False
    assert job.outputs() == []


def test_error_after_outputs(client: Client) -> None:
    job = client.submit(3, api_name="/fail_late")
    outputs: list[Any] = []
    with pytest.raises(jobwire.AppError, match="failed after outputs"):
        outputs.extend(job)
    assert outputs == job.outputs() == ["0", "1", "2"]
    *_, end = job.updates()
    assert isinstance(end, jobwire.StatusUpdate)
    assert end.success is False


def test_validation_error(client: Client) -> None:
    assert client.predict(4, api_name="/even_only") == 4
    with pytest.raises(jobwire.ValidationError, match="must be even") as caught:
        client.predict(3, api_name="/even_only")
    assert caught.value.parameters == {"n": "must be even"}
    assert isinstance(caught.value, ValueError)


def test_odd_numbers_and_text_survive(client: Client) -> None:
    text = "naïve ✓ 🎉 \u2028 \r\n \x00 \\ \" '"
    assert client.predict(text, api_name="/echo") == text
    assert client.predict(api_name="/nan") == {
        "nan": None,
        "inf": None,
        "text": "naïve ✓ 🎉",
    }


def test_rank_eta_and_queue_size_of_waiting_jobs(client: Client) -> None:
    client.predict(0.1, "warm", api_name="/slow")  # so that the server has an estimate
    highest = 0
    jobs = [client.submit(0.2, str(i), api_name="/slow") for i in range(4)]

    def watch(job: jobwire.Job) -> list[int]:
        ranks = []
        for update in job.updates():
            if isinstance(update, jobwire.StatusUpdate) and update.code is Status.IN_QUEUE:
                assert update.rank is not None
                assert update.queue_size is not None
                assert update.rank < update.queue_size
                assert update.eta is not None
                ranks.append(update.rank)
        return ranks

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for ranks in pool.map(watch, jobs):
            assert ranks == sorted(ranks, reverse=True)
            highest = max([highest, *ranks])
    assert highest >= 2


def test_job_is_a_future(client: Client) -> None:
    jobs = [client.submit(0.05, str(i), api_name="/slow") for i in range(4)]
    assert not jobs[3].done()
    assert concurrent.futures.wait(jobs, timeout=20).not_done == set()
    assert [job.result() for job in jobs] == [f"slept {i}" for i in range(4)]
    jobs = [client.submit(0.05, str(i), api_name="/slow") for i in range(4)]
    assert {job.result() for job in concurrent.futures.as_completed(jobs, timeout=20)} == {
        f"slept {i}" for i in range(4)
    }


def test_cancelled_jobs_end_a_wait(client: Client) -> None:
    jobs = [client.submit(10_000, 0.02, api_name="/count") for _ in range(2)]
    threading.Timer(0.3, lambda: [job.cancel() for job in jobs]).start()
    done, not_done = concurrent.futures.wait(jobs, timeout=20)
    assert (len(done), not_done) == (2, set())


def test_callbacks_run_outside_of_the_loop(client: Client) -> None:
    seen: list[Any] = []
    thread: list[str] = []
    done = threading.Event()

    def both(upper: str, length: float) -> None:
        seen.append((upper, length))
        seen.append(client.predict("nested", api_name="/echo"))  # may block: it is no loop

    def last(*values: Any) -> None:
        thread.append(threading.current_thread().name)
        done.set()

    client.submit("ab", api_name="/two", result_callbacks=[both, last])
    assert done.wait(10)
    assert seen == [("AB", 2), "nested"]
    assert thread[0].startswith("jobwire-callbacks")


def test_done_callback_gets_the_job_early_or_late(client: Client) -> None:
    got: list[Any] = []
    done = threading.Event()
    job = client.submit("x", api_name="/echo")
    job.add_done_callback(got.append)
    job.result()
    job.add_done_callback(got.append)
    job.add_done_callback(lambda _: done.set())
    assert done.wait(10)
    assert got == [job, job]


def test_result_callback_is_not_called_for_a_failure(client: Client) -> None:
    called: list[Any] = []
    done = threading.Event()
    job = client.submit("value", api_name="/fail", result_callbacks=called.append)
    job.add_done_callback(lambda _: done.set())
    assert done.wait(10)
    assert called == []


def test_result_with_a_deadline_leaves_the_job_alone(client: Client) -> None:
    job = client.submit(0.5, "x", api_name="/slow")
    for timeout in (0, 0.05):
        with pytest.raises(TimeoutError):
            job.result(timeout=timeout)
    assert job.result(timeout=10) == "slept x"


def test_cancel_a_running_generator(client: Client) -> None:
    job = client.submit(1000, 0.05, api_name="/count")
    assert next(iter(job)) == "0"
    assert job.cancel() is True
    assert job.cancelled()
    assert job.done()
    assert job.status().code is Status.CANCELLED
    for error in (concurrent.futures.CancelledError, jobwire.JobCancelledError):
        with pytest.raises(error):
            job.result()
    with pytest.raises(jobwire.JobCancelledError):
        list(job)
    assert job.outputs()[:1] == ["0"]
    # The server really stopped it: its slot is free again.
    many = [client.submit(1, api_name="/count") for _ in range(8)]
    assert [job.result(timeout=10) for job in many] == ["0"] * 8


def test_cancel_a_waiting_job(client: Client, eventually: Eventually) -> None:
    first = client.submit(0.8, "a", api_name="/slow")
    eventually(first.running)
    second, third = (client.submit(0.1, tag, api_name="/slow") for tag in "bc")
    eventually(lambda: second.status().code is Status.IN_QUEUE)
    assert second.cancel() is True
    assert first.result(timeout=10) == "slept a"
    assert third.result(timeout=10) == "slept c"
    with pytest.raises(jobwire.JobCancelledError):
        second.result()


def test_cancel_leaves_other_jobs_of_the_function(client: Client) -> None:
    jobs = [client.submit(12, 0.05, api_name="/count") for _ in range(3)]
    for job in jobs:
        assert next(iter(job)) == "0"
    assert jobs[1].cancel()
    assert jobs[0].result(timeout=10) == jobs[2].result(timeout=10) == "11"


class SlowToCancel(AiohttpTransport):
    """A network on which cancels take their time."""

    async def request(self, method: Any, url: str, **options: Any) -> Response:
        if url.endswith("/cancel"):
            await asyncio.sleep(0.15)
        return await super().request(method, url, **options)


def test_cancel_that_is_slow_does_not_hit_the_next_job(url: str) -> None:
    with Client(url, transport=SlowToCancel) as client:
        for _ in range(3):
            job = client.submit(5, "a", api_name="/slow_wide")
            while not job.running():
                time.sleep(0.01)
            threading.Thread(target=job.cancel).start()
            while not job.done():
                time.sleep(0.001)
            assert client.submit(0.1, "b", api_name="/slow_wide").result(10) == "slept b"


def test_cancel_of_many_jobs_takes_little(url: str) -> None:
    with Client(url) as client:
        jobs = [client.submit(10_000, 0.02, api_name="/count") for _ in range(300)]
        while any(job.event_id is None for job in jobs):
            time.sleep(0.01)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert all(pool.map(lambda job: job.cancel(), jobs))
        assert client.predict(1, api_name="/count") == "0"


def test_output_that_the_server_cannot_send_is_an_error_and_no_hang(client: Client) -> None:
    with pytest.raises(jobwire.RemoteProtocolError, match="stream failed"):
        client.submit("\ud800", api_name="/echo").result(timeout=20)
    assert client.predict("x", api_name="/echo") == "x"


def test_new_session_while_jobs_are_in_flight(client: Client) -> None:
    jobs = []
    for i in range(6):
        jobs.append(client.submit(0.2, str(i), api_name="/slow_wide"))
        client.reset_session()
    jobs[3].cancel()
    results = [job.result(timeout=20) for i, job in enumerate(jobs) if i != 3]
    assert results == [f"slept {i}" for i in (0, 1, 2, 4, 5)]


def test_threads_share_the_outputs_of_next(client: Client) -> None:
    job = client.submit(40, 0.01, api_name="/count")

    def take() -> list[Any]:
        taken = []
        while True:
            try:
                taken.append(next(job))
            except StopIteration:
                return taken

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        shares = [future.result() for future in [pool.submit(take) for _ in range(3)]]
    assert sorted(int(output) for share in shares for output in share) == list(range(40))


def test_callback_that_fails_does_not_keep_others_from_being_called(client: Client) -> None:
    done = threading.Event()
    client.submit("x", api_name="/echo", result_callbacks=[lambda _: 1 / 0, lambda _: done.set()])
    assert done.wait(10)


def test_cancel_of_a_finished_job_changes_nothing(client: Client) -> None:
    job = client.submit("x", api_name="/echo")
    job.result()
    before = job.status()
    assert job.cancel() is False
    assert job.status() == before
    assert job.result() == "x"
    assert not job.cancelled()


def test_cancel_right_after_submitting(client: Client) -> None:
    jobs = [client.submit(10_000, 0.02, api_name="/count") for _ in range(3)]
    assert all(job.cancel() for job in jobs)
    assert all(job.cancelled() for job in jobs)
    assert client.predict(1, api_name="/count") == "0"


def test_many_jobs_at_once_all_succeed(client: Client) -> None:
    jobs = [client.submit(str(i), api_name="/echo") for i in range(200)]
    assert [job.result(timeout=30) for job in jobs] == [str(i) for i in range(200)]


def test_many_threads_share_a_client(client: Client) -> None:
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        results = pool.map(lambda i: client.predict(str(i), api_name="/echo"), range(64))
        assert list(results) == [str(i) for i in range(64)]


def test_no_thread_for_a_job(client: Client) -> None:
    client.predict("warm", api_name="/echo")
    before = threading.active_count()
    jobs = [client.submit(10_000, 0.02, api_name="/count") for _ in range(200)]
    while any(job.event_id is None for job in jobs):
        time.sleep(0.01)
    assert threading.active_count() <= before + 1
    client.close()


def test_config_is_fetched_once_and_info_when_it_is_needed(url: str) -> None:
    from faults import cutting_proxy

    with cutting_proxy(url) as proxy, Client(proxy.url) as client:
        schema = client._client._app.schema
        assert schema is not None
        client.predict("x", api_name="/echo")
        assert client._client._app.schema is schema
        assert not schema.complete
        client.predict("x", api_name="/plain")  # its default stands in /info
        complete = client._client._app.schema
        assert complete is not None
        assert complete.complete
        client.predict("x", api_name="/plain")
        assert client._client._app.schema is complete


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {"api_name": "/plain"}, ["missing", "'a'", "/plain(a, b='3')"]),
        (("1", "2", "3"), {"api_name": "/plain"}, ["too many", "3 given", "takes 2"]),
        (("1",), {"api_name": "/plain", "bb": 1}, ["unknown", "'bb'", "did you mean 'b'"]),
        (("1",), {"api_name": "/plain", "a": 1}, ["twice", "'a'"]),
        ((object(),), {"api_name": "/echo"}, ["/echo", "object", "JSON"]),
    ],
)
def test_wrong_arguments(
    client: Client, args: tuple[Any, ...], kwargs: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(jobwire.ArgumentError) as caught:
        client.submit(*args, **kwargs)
    assert isinstance(caught.value, TypeError)
    for word in words:
        assert word in str(caught.value)


def test_wrong_endpoint_names_the_nearest(client: Client) -> None:
    with pytest.raises(jobwire.EndpointNotFoundError, match="did you mean /echo"):
        client.predict("x", api_name="/ehco")
    with pytest.raises(ValueError, match="say which"):
        client.predict("x")


def test_closing_fails_what_is_in_flight(url: str) -> None:
    client = Client(url)
    job = client.submit(10_000, 0.02, api_name="/count")
    iterator = job.updates()
    next(iterator)
    client.close()
    with pytest.raises(jobwire.ClientClosedError):
        job.result(timeout=5)
    with pytest.raises(jobwire.ClientClosedError):
        client.predict("x", api_name="/echo")
    client.close()


@pytest.mark.parametrize("delay", [0, 0.002, 0.004, 0.008, 0.02, 0.1])
def test_closing_stops_the_jobs_on_the_server(url: str, delay: float) -> None:
    with Client(url) as client:
        for _ in range(6):
            client.submit(10_000, 0.02, api_name="/count")
        time.sleep(delay)
    with Client(url) as client:  # the four slots of the function are free again
        jobs = [client.submit(1, api_name="/count") for _ in range(8)]
        assert [job.result(timeout=10) for job in jobs] == ["0"] * 8


def test_client_lives_as_long_as_its_jobs(url: str) -> None:
    assert Client(url).submit(0.3, "kept", api_name="/slow_wide").result(10) == "slept kept"


# -- asynchronous --------------------------------------------------------------


async def test_async_predict_and_submit(async_client: AsyncClient) -> None:
    assert await async_client.predict("x", api_name="/echo") == "x"
    job = await async_client.submit("y", api_name="/echo")
    assert await job == "y"
    assert await job.result() == "y"
    assert job.done()
    assert await job.exception() is None


async def test_async_outputs_and_updates_have_cursors_of_their_own(
    async_client: AsyncClient,
) -> None:
    job = await async_client.submit(5, 0.02, api_name="/count")

    async def read() -> list[Any]:
        return [output async for output in job]

    async def read_updates() -> list[Any]:
        return [u.outputs async for u in job.updates() if isinstance(u, jobwire.OutputUpdate)]

    first, second, updates = await asyncio.gather(read(), read(), read_updates())
    assert first == second == list("01234")
    assert updates == [*"01234", "4"]
    assert await read() == list("01234")


async def test_wait_that_is_given_up_loses_no_output(async_client: AsyncClient) -> None:
    job = await async_client.submit(8, 0.1, api_name="/count")
    outputs, updates = aiter(job), job.updates()
    got: list[Any] = []
    for _ in range(200):
        try:
            got.append(await asyncio.wait_for(anext(outputs), 0.03))
        except TimeoutError:
            continue
        except StopAsyncIteration:
            break
    assert got == list("01234567")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(updates), 0)
    assert [u.outputs async for u in updates if isinstance(u, jobwire.OutputUpdate)]


async def test_deadline_that_passes_as_something_happens_is_a_timeout(
    async_client: AsyncClient,
) -> None:
    job = await async_client.submit(400, 0.001, api_name="/count")
    for _ in range(100):
        try:
            await job.result(timeout=0.003)
        except TimeoutError:
            continue
        break
    assert await job == "399"


async def test_cancelling_a_job_and_who_waits_for_it_at_once(async_client: AsyncClient) -> None:
    job = await async_client.submit(1000, 0.05, api_name="/count")
    waiting = asyncio.create_task(job.result())
    await asyncio.sleep(0.1)
    waiting.cancel()
    assert await job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_async_many_jobs(async_client: AsyncClient) -> None:
    jobs = [await async_client.submit(str(i), api_name="/echo") for i in range(100)]
    assert await asyncio.gather(*jobs) == [str(i) for i in range(100)]


async def test_async_error_and_cancel(async_client: AsyncClient) -> None:
    job = await async_client.submit("titled", api_name="/fail")
    with pytest.raises(jobwire.AppError):
        await job
    assert isinstance(await job.exception(), jobwire.AppError)
    job = await async_client.submit(1000, 0.05, api_name="/count")
    async for _ in job:
        break
    assert await job.cancel() is True
    assert await job.cancel() is False
    with pytest.raises(jobwire.JobCancelledError):
        await job
    with pytest.raises(jobwire.JobCancelledError):
        await job.exception()


async def test_cancelling_a_waiting_task_leaves_the_job(async_client: AsyncClient) -> None:
    job = await async_client.submit(0.3, "x", api_name="/slow_wide")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(job.result(), 0.05)
    assert await job == "slept x"


async def test_cancelling_predict_cancels_the_job(async_client: AsyncClient) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(async_client.predict(1000, 0.02, api_name="/count"), 0.3)
    # All four slots of the function are free again.
    jobs = [await async_client.submit(1, api_name="/count") for _ in range(8)]
    assert await asyncio.wait_for(asyncio.gather(*jobs), 10) == ["0"] * 8


async def test_async_callbacks(async_client: AsyncClient) -> None:
    got: asyncio.Queue[Any] = asyncio.Queue()
    job = await async_client.submit(
        "ab", api_name="/two", result_callbacks=lambda *v: got.put_nowait(v)
    )
    job.add_done_callback(got.put_nowait)
    assert await got.get() == ("AB", 2)
    assert await got.get() is job
    job.add_done_callback(got.put_nowait)
    assert await got.get() is job


async def test_closing_an_async_client_fails_what_is_in_flight(url: str) -> None:
    async with AsyncClient(url) as client:
        job = await client.submit(10_000, 0.02, api_name="/count")
        waiting = asyncio.create_task(job.result())
        await asyncio.sleep(0.1)
    with pytest.raises(jobwire.ClientClosedError):
        await waiting


def test_async_client_belongs_to_its_loop(url: str) -> None:
    async def connect() -> AsyncClient:
        return await AsyncClient(url).connect()

    async def use(client: AsyncClient) -> None:
        with pytest.raises(jobwire.LocalProtocolError, match="event loop"):
            await client.predict("x", api_name="/echo")

    with asyncio.Runner() as first:
        client = first.run(connect())
        asyncio.run(use(client))
        first.run(client.aclose())


async def test_unclosed_client_warns(url: str) -> None:
    client = await AsyncClient(url).connect()
    transport = client._app.transport
    assert transport is not None
    with pytest.warns(ResourceWarning, match="not closed"):
        del client
    await transport.aclose()
