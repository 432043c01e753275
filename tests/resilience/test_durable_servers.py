"""jobwire's own servers: what is cut goes on, what is killed comes back, jobs are found by id."""

import asyncio
import contextlib
import itertools
import json
import logging
import math
import random
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

import jobwire
from chaos import ChaosProxy, Fault, always, chaos_proxy, on
from jobwire import AsyncClient, Client, Status
from jobwire.protocol.session import SessionProtocol
from resilience.conftest import lost
from server.conftest import Serving
from server.http_app import eventually

APP = "apps.durable:app"


class Durable:
    """A server that can be killed and started again, and what its functions wrote down."""

    def __init__(self, folder: Path, app: str = APP, store: str = "sqlite") -> None:
        self._options = [
            app,
            "--no-access-log",
            "--store",
            f"sqlite:{folder / 'jobs.db'}" if store == "sqlite" else store,
        ]
        self._ledger = folder / "ledger"
        self._serving = Serving(*self._options)
        self.url = self._serving.url
        self._serving.wait_until_ready()

    def kill(self) -> None:
        self._serving.kill()

    def start(self) -> None:
        self._serving = Serving(*self._options, port=self._serving.port)
        self._serving.wait_until_ready()

    def runs(self, tag: str) -> int:
        return Counter(self._ledger.read_text().splitlines())[tag]


Making = Callable[..., Durable]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the server that the tests share, whose functions write into it."""
    folder = tmp_path_factory.mktemp("durable")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEDGER", str(folder / "ledger"))
        yield folder


@pytest.fixture(scope="module")
def shared(ledger: Path) -> Iterator[Durable]:
    """A server that is not killed."""
    server = Durable(ledger)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Making]:
    """Makes servers that a test kills."""
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger"))
    with contextlib.ExitStack() as stack:

        def make(app: str = APP, store: str = "sqlite") -> Durable:
            server = Durable(tmp_path, app, store)
            stack.callback(server.kill)
            return server

        yield make


@pytest.fixture
def proxy(shared: Durable) -> Iterator[ChaosProxy]:
    with chaos_proxy(shared.url) as proxy:
        yield proxy


def grown(n: int) -> list[str]:
    text = [f"{number} " for number in range(n)]
    return ["".join(text[: number + 1]) for number in range(n)]


# -- streams that are cut ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cut", "reset"])
@pytest.mark.parametrize("at", [0, 1, 200, 5000, b'"seq":', b"process_completed"])
def test_a_cut_stream_goes_on_without_a_gap(
    shared: Durable, proxy: ChaosProxy, tag: str, kind: str, at: int | bytes
) -> None:
    fault = Fault(kind, at=at, offset=7 if isinstance(at, bytes) else 0)  # type: ignore[arg-type]
    proxy.plan = on("/queue/data", *[fault] * 3)
    with Client(proxy.url) as client:
        job = client.submit(tag, 300, api_name="/count")
        assert list(job) == grown(300)
        assert job.result(10) == grown(300)[-1]
        assert job.outputs() == grown(300)
        assert shared.runs(tag) == 1
        assert client.predict("next", api_name="/once") == "next"


def test_many_jobs_go_on_over_streams_that_are_cut_all_the_time(
    shared: Durable, proxy: ChaosProxy
) -> None:
    cuts = itertools.count(500, 1500)
    proxy.plan = lambda request: (
        Fault("reset", at=next(cuts)) if "/queue/data" in request.path else None
    )
    tags = [uuid.uuid4().hex for _ in range(100)]
    with Client(proxy.url) as client:
        jobs = [client.submit(tag, 30, api_name="/count") for tag in tags]
        for job in jobs:
            assert list(job) == grown(30)
    assert [shared.runs(tag) for tag in tags] == [1] * 100


def test_a_silent_stream_is_opened_again(shared: Durable, proxy: ChaosProxy, tag: str) -> None:
    proxy.plan = on("/queue/data", Fault("stall", at=b'"seq":', offset=20))
    with Client(proxy.url, idle_timeout=1.0) as client:
        assert list(client.submit(tag, 300, api_name="/count")) == grown(300)
    assert shared.runs(tag) == 1


def test_a_stream_that_cannot_be_opened_any_more_loses_its_jobs_in_time(
    shared: Durable, proxy: ChaosProxy, tag: str
) -> None:
    proxy.plan = always("/queue/data", Fault("reset", towards="server"))
    with Client(proxy.url, idle_timeout=1.5) as client:
        began = time.monotonic()
        job = client.submit(tag, api_name="/once")
        error = lost(job)
        assert time.monotonic() - began < 6
        assert error.event_id
        assert error.may_have_run
        proxy.plan = None
        # It is still there to be asked for.
        assert client.job(error.event_id).result(10) == tag
        assert client.predict("next", api_name="/once") == "next"


# -- submissions whose reply is lost -------------------------------------------------


@pytest.mark.parametrize("towards", ["client", "server"])
@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_a_submission_without_a_reply_is_repeated_and_runs_once(
    shared: Durable, proxy: ChaosProxy, tag: str, kind: str, towards: str
) -> None:
    fault = Fault(kind, at=b"\r\n\r\n", towards=towards)  # type: ignore[arg-type]
    proxy.plan = on("/queue/join", fault, fault, fault)
    with Client(proxy.url) as client:
        job = client.submit(tag, api_name="/once")
        assert job.result(10) == tag
    assert shared.runs(tag) == 1


def test_a_submission_that_stays_unknown_says_so_in_time(
    shared: Durable, proxy: ChaosProxy, tag: str
) -> None:
    proxy.plan = always("/queue/join", Fault("reset", at=b"\r\n\r\n"))
    with Client(proxy.url, idle_timeout=1.0) as client:
        job = client.submit(tag, api_name="/once")
        eventually(lambda: "trying again" in str(job.status().progress_data))
        with pytest.raises(jobwire.ConnectionLostError, match="nobody knows whether") as caught:
            job.result(10)
        assert caught.value.may_have_run
    eventually(lambda: shared.runs(tag) == 1)


def test_a_job_of_which_too_much_came_before_its_reply_is_followed_alone(
    shared: Durable, proxy: ChaosProxy, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = partial(SessionProtocol, max_unclaimed_size=2000)
    monkeypatch.setattr("jobwire.client.session.SessionProtocol", small)
    with Client(proxy.url) as client:
        other = client.submit(f"{tag} other", api_name="/wait")
        eventually(other.running)
        fault = Fault("reset", at=b"\r\n\r\n")
        proxy.plan = on("/queue/join", fault, fault, fault)
        assert list(client.submit(tag, 300, api_name="/count")) == grown(300)
        other.cancel()
    assert shared.runs(tag) == 1


def test_a_job_that_was_deleted_meanwhile_does_not_wait_for_ever(
    shared: Durable, proxy: ChaosProxy, tag: str
) -> None:
    with Client(proxy.url, idle_timeout=2.0) as client:
        job = client.submit(f"{tag} 1", 0.3, api_name="/wait")
        other = client.submit(f"{tag} 2", 10_000, 0.05, api_name="/recount")
        eventually(lambda: job.running() and other.running())
        proxy.plan = always("/queue/data", Fault("reset", towards="server"))
        proxy.reset()
        with Client(shared.url) as owner:
            assert job.event_id
            owner.job(job.event_id).result(10)
        address = f"{shared.url}/gradio_api/jobs/{job.event_id}"
        urllib.request.urlopen(urllib.request.Request(address, method="DELETE")).close()
        proxy.plan = None
        assert "does not know it" in str(lost(job))
        assert other.running()
        other.cancel()


def test_a_key_of_the_callers_own_makes_calls_the_same_job(shared: Durable, tag: str) -> None:
    with Client(shared.url) as client:
        jobs = [
            client.submit(tag, api_name="/once", headers={"Idempotency-Key": tag}) for _ in range(3)
        ]
        assert [job.result(10) for job in jobs] == [tag] * 3
        assert len({job.event_id for job in jobs}) == 1
        again = client.submit(tag, api_name="/once", headers={"Idempotency-Key": tag})
        assert again.result(10) == tag
        assert again.event_id == jobs[0].event_id
        assert client.predict("next", api_name="/once") == "next"
        with pytest.raises(jobwire.ServerError, match="Idempotency-Key"):
            client.predict("other", api_name="/once", headers={"Idempotency-Key": tag})
    assert shared.runs(tag) == 1


# -- servers that are killed ---------------------------------------------------------


def test_jobs_outlive_their_server(make: Making) -> None:
    server = make()
    with Client(server.url) as client:
        running = client.submit("running", 100, 0.02, api_name="/recount")
        held = client.submit("held", 0.0, api_name="/hold")
        waiting = [client.submit(f"waiting {i}", api_name="/behind") for i in range(20)]
        outputs = iter(running)
        seen = [next(outputs) for _ in range(5)]
        for job in waiting:
            eventually(lambda job=job: job.event_id is not None)  # type: ignore[misc]
        for _ in range(2):
            server.kill()
            server.start()
        seen += list(outputs)
        assert held.result(10) == "held"
        assert [job.result(10) for job in waiting] == [f"waiting {i}" for i in range(20)]
        assert running.result(10) == "99"
    # It began again from 0 after each kill, and was told from where it had been.
    assert seen[-100:] == [str(number) for number in range(100)]
    assert [server.runs(f"waiting {i}") for i in range(20)] == [1] * 20


def test_a_job_that_the_crash_ended_says_that_it_may_be_tried_again(make: Making) -> None:
    server = make()
    with Client(server.url) as client:
        job = client.submit("x", api_name="/hold")
        again = client.submit("y", 0.5, api_name="/wait", retries=1)
        eventually(lambda: server.runs("x") == 1 == server.runs("y begun"))
        server.kill()
        server.start()
        with pytest.raises(jobwire.AppError) as caught:
            job.result(10)
        assert caught.value.retryable
        assert caught.value.title == "Interrupted"
        assert caught.value.may_have_run
        assert again.result(10) == "y"
    assert server.runs("x") == 1
    assert server.runs("y begun") == 2


def test_a_submission_outlasts_a_restart(make: Making) -> None:
    server = make()
    with chaos_proxy(server.url) as proxy, Client(proxy.url) as client:
        # The reply is cut off, and the server gone before the next try.
        proxy.plan = on("/queue/join", Fault("reset", at=b"\r\n\r\n"))
        job = client.submit("x", api_name="/again")
        eventually(lambda: job.status().progress_data is not None or job.done())
        server.kill()
        server.start()
        assert job.result(20) == "x"
        # It may have run when the server was killed; then it was run again, as one job.
        assert server.runs("x") in (1, 2)


def test_a_login_is_renewed_after_a_restart(make: Making) -> None:
    server = make("apps.durable:guarded")
    with Client(server.url, auth=("user", "pass")) as client:
        job = client.submit("x", 50, 0.02, api_name="/recount")
        outputs = iter(job)
        assert [next(outputs), next(outputs)] == ["0", "1"]
        server.kill()
        server.start()
        jobs = [client.submit(f"{i}", api_name="/once") for i in range(10)]
        assert [job.result(10) for job in jobs] == [f"{i}" for i in range(10)]
        assert job.result(10) == "49"
        server.kill()
        server.start()
        assert job.event_id
        assert client.job(job.event_id).result(10) == "49"
        server.kill()
        server.start()
        assert client.predict("z", api_name="/once") == "z"


def test_a_server_that_forgets_loses_its_jobs_at_once(make: Making) -> None:
    server = make(store="memory:")
    with Client(server.url) as client:
        client.predict("before", api_name="/once")
        job = client.submit("x", api_name="/hold")
        eventually(lambda: server.runs("x") == 1)
        server.kill()
        server.start()
        assert lost(job).may_have_run
        assert client.predict("next", api_name="/once") == "next"
    with Client(server.url) as client:
        # Without a job in flight, the session goes on, and the numbers of its events grow.
        for i in range(20):
            client.predict(f"{i}", api_name="/once")
        server.kill()
        server.start()
        assert client.predict("next", api_name="/once") == "next"


# -- jobs by their id ----------------------------------------------------------------


def test_a_job_is_found_by_another_client(shared: Durable, tag: str) -> None:
    with Client(shared.url) as client, Client(shared.url) as other:
        held = client.submit(tag, 1.5, api_name="/hold")
        eventually(lambda: held.running())
        behind = client.submit(tag, api_name="/behind")
        assert behind.detach() == behind.event_id
        assert behind.event_id
        assert held.event_id

        found = other.job(behind.event_id)
        assert found.event_id == behind.event_id
        status = found.status()
        assert (status.code, status.rank, status.queue_size) == (Status.IN_QUEUE, 0, 1)
        found_held = other.job(held.event_id)
        assert found_held.status().code is Status.PROCESSING
        assert found_held.running()

        assert found_held.cancel()
        with pytest.raises(jobwire.JobCancelledError):
            held.result(10)
        assert found.result(10) == tag
        assert behind.result(10) == tag
        assert other.job(behind.event_id).done()
        assert other.job(held.event_id).cancelled()


def test_an_ended_job_has_all_its_outputs(shared: Durable, tag: str) -> None:
    with Client(shared.url) as client:
        job = client.submit(tag, 50, api_name="/count")
        job.result(10)
        assert job.event_id
    with Client(shared.url) as other:
        found = other.job(job.event_id)
        assert found.done()
        assert found.outputs() == list(found) == grown(50)
        assert found.result(0) == grown(50)[-1]
        assert not found.cancel()


def test_a_job_is_followed_over_a_cut(shared: Durable, proxy: ChaosProxy, tag: str) -> None:
    with Client(shared.url) as client, Client(proxy.url) as other:
        job = client.submit(tag, 40, 0.01, api_name="/recount")
        id = job.detach()
        proxy.plan = on("/events", *[Fault("reset", at=b'"seq":', offset=20)] * 5)
        assert list(other.job(id)) == [str(number) for number in range(40)]


def test_jobs_that_were_left_go_on_without_their_client(shared: Durable, tag: str) -> None:
    with Client(shared.url) as client:
        left = client.submit(f"{tag} left", 0.3, api_name="/wait").detach()
        seen = client.submit(f"{tag} kept", api_name="/wait")
        eventually(lambda: shared.runs(f"{tag} kept begun") == 1)
        with Client(shared.url) as other:
            assert seen.event_id
            other.job(seen.event_id)
        assert seen.running()
    eventually(lambda: shared.runs(f"{tag} kept cancelled") == 1)
    with Client(shared.url) as other:
        assert other.job(left).result(10) == f"{tag} left"
    assert shared.runs(f"{tag} left cancelled") == 0


def test_unknown_ids(shared: Durable) -> None:
    with Client(shared.url) as client:
        for id in ("0" * 32, "../jobs", "a/b?c#d", "ä"):
            with pytest.raises(jobwire.JobNotFoundError) as caught:
                client.job(id)
            assert caught.value.event_id == id
        for nothing in ("", None):
            with pytest.raises(jobwire.ArgumentError, match="event_id"):
                client.job(nothing)  # type: ignore[arg-type]


async def test_a_search_that_is_given_up_leaves_nothing_behind(
    shared: Durable, proxy: ChaosProxy, tag: str
) -> None:
    async with AsyncClient(shared.url) as client, AsyncClient(proxy.url) as other:
        job = await client.submit(tag, api_name="/once")
        await job
        assert job.event_id
        proxy.plan = always("/events", Fault("stall", at=b"data:"))
        before = len(asyncio.all_tasks())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await other.job(job.event_id)
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0.01)


def test_servers_of_gradio_keep_no_jobs(url: str) -> None:
    with Client(url) as client:
        with pytest.raises(jobwire.UnsupportedProtocolError, match="keeps no jobs"):
            client.job("0" * 32)
        with pytest.raises(jobwire.UnsupportedProtocolError, match="keeps no jobs"):
            client.submit("x", api_name="/echo").detach()


async def test_from_asynchronous_code(shared: Durable, proxy: ChaosProxy, tag: str) -> None:
    async with AsyncClient(shared.url) as client, AsyncClient(proxy.url) as other:
        job = await client.submit(tag, 40, 0.01, api_name="/recount")
        id = await job.detach()
        proxy.plan = on("/events", Fault("reset", at=b'"seq":', offset=20))
        found = await other.job(id)
        assert [output async for output in found] == [str(number) for number in range(40)]
        assert await found == await job == "39"

        waiting = await client.submit(tag, api_name="/wait")
        found = await other.job(await waiting.detach())
        assert await found.cancel()
        with pytest.raises(jobwire.JobCancelledError) as caught:
            await found
        assert caught.value.outcome == "cancelled"
        with pytest.raises(jobwire.JobCancelledError) as caught:
            await waiting
        assert caught.value.outcome is None
        held = await client.submit(tag, 0.5, api_name="/hold")
        behind = await client.submit(tag, api_name="/behind")
        while not held.running() or behind.status().rank != 0:
            await asyncio.sleep(0.01)
        for job, outcome in ((behind, "removed"), (held, "unstoppable")):
            await job.cancel()
            with pytest.raises(jobwire.JobCancelledError, match="the server is told") as caught:
                await job
            assert caught.value.outcome == outcome
    eventually(lambda: shared.runs(f"{tag} cancelled") == 1)


async def test_a_cancel_reaches_one_job_alone(shared: Durable, tag: str) -> None:
    async with AsyncClient(shared.url) as client:
        jobs = [await client.submit(f"{tag} {i}", api_name="/wait") for i in range(3)]
        await asyncio.to_thread(eventually, lambda: all(job.running() for job in jobs))
        assert await jobs[1].cancel()
        await asyncio.to_thread(eventually, lambda: shared.runs(f"{tag} 1 cancelled") == 1)
        assert [job.done() for job in jobs] == [False, True, False]
        for job in jobs:
            await job.cancel()


def test_a_break_is_told_in_the_log(
    shared: Durable, proxy: ChaosProxy, tag: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jobwire")
    proxy.plan = on("/queue/data", Fault("reset", at=b'"seq":'))
    with Client(proxy.url, timeout=math.inf) as client:
        client.predict(tag, api_name="/once")
    assert "the event stream is opened again" in caplog.text


def test_from_the_command_line(shared: Durable, tag: str) -> None:
    def jobwire_(*arguments: str) -> str:
        command = [sys.executable, "-m", "jobwire", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    id = jobwire_("call", shared.url, "/wait", tag, "0.2", "--detach").strip()
    *_, end = jobwire_("jobs", "follow", shared.url, id).splitlines()
    assert f'"data": ["{tag}"]' in end
    described = jobwire_("call", shared.url, "/once", tag, "--detach", "--json")
    with Client(shared.url) as client:
        assert client.job(json.loads(described)["event_id"]).result(10) == tag


async def test_following_jobs_leaves_nothing_behind(shared: Durable, tag: str) -> None:
    async with AsyncClient(shared.url) as client:
        ids = [await (await client.submit(tag, api_name="/once")).detach() for _ in range(20)]
        await client.predict(tag, api_name="/once")
        before = len(asyncio.all_tasks())
        jobs = await asyncio.gather(*(client.job(id) for id in ids))
        assert [await job for job in jobs] == [tag] * 20
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0.01)


# -- servers that are killed again and again ------------------------------------------


def survive(server: Durable, kills: int, seed: int) -> Counter[str]:
    """Call a server that is killed so many times from two clients; return the ledger."""
    rng = random.Random(seed)
    stopping = threading.Event()
    ledgers = [Counter[str]() for _ in range(2)]

    def check(kind: str, tag: str, job: jobwire.Job) -> str:
        error = job.exception(60)
        runs = server.runs(tag)
        if kind in ("once", "count"):
            assert runs <= 1, f"{tag} was run {runs} times"
        outputs = job.outputs()
        if kind == "count":
            assert outputs == grown(len(outputs))
        if error is None:
            assert runs >= 1
            expected = {"count": grown(100)[-1], "recount": "29"}
            assert job.result(0) == expected.get(kind, tag)
            if kind == "recount":
                assert outputs[-30:] == [str(number) for number in range(30)]
            return "completed"
        if isinstance(error, jobwire.ConnectError):  # it was away for longer than it is asked
            assert not error.may_have_run
            assert runs == 0
            return "refused"
        assert isinstance(error, jobwire.AppError), error
        assert error.retryable
        assert kind in ("once", "count")
        return "interrupted"

    def work(client: Client, number: int, ledger: Counter[str]) -> None:
        rounds = 0
        while not stopping.is_set():
            jobs: list[tuple[str, str, jobwire.Job]] = []
            for place in range(12):
                kind = random.Random(f"{seed} {number} {rounds} {place}").choice(
                    ("once", "again", "count", "recount")
                )
                tag = f"{kind} {number}.{rounds}.{place}"
                more = {"count": (100,), "recount": (30, 0.001)}.get(kind, ())
                jobs.append((kind, tag, client.submit(tag, *more, api_name=f"/{kind}")))
            ledger.update(check(*job) for job in jobs)
            ledger["jobs"] += len(jobs)
            rounds += 1

    with ThreadPoolExecutor(2) as threads, Client(server.url) as one, Client(server.url) as two:
        working = [
            threads.submit(work, client, number, ledgers[number])
            for number, client in enumerate((one, two))
        ]
        try:
            for _ in range(kills):
                time.sleep(rng.uniform(0.0, 0.4))
                server.kill()
                server.start()
        finally:
            stopping.set()
        for thread in working:
            thread.result()
    ledger = ledgers[0] + ledgers[1]
    ends = ledger["completed"] + ledger["interrupted"] + ledger["refused"]
    assert ledger["jobs"] == ends
    return ledger


def test_nothing_is_lost_to_crashes(make: Making) -> None:
    ledger = survive(make(), 8, 1)
    assert ledger["completed"], ledger


@pytest.mark.matrix
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_lost_to_hundreds_of_crashes(make: Making, seed: int) -> None:
    ledger = survive(make(), 100, seed)
    print(dict(ledger))
    assert ledger["completed"], ledger
