"""Many jobs, full queues, many sessions, many servers: what is bounded, and what is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jobwire import App, AsyncClient, Client, QueueFullError
from jobwire.server import service
from jobwire.server.serve import BackgroundServer
from server.http_app import API, Http, Stage, eventually, leaving_no_threads

# -- many jobs ----------------------------------------------------------------------

SESSIONS, EACH = 50, 20


def test_a_thousand_jobs_of_fifty_sessions() -> None:
    stage = Stage()

    @stage.app.endpoint(concurrency_id="line", concurrency_limit=4)
    def square(n: int) -> int:
        return n * n

    @stage.app.endpoint(concurrency_id="line", concurrency_limit=1)
    def block() -> None:
        stage.started["block"].set()
        assert stage.gates["block"].wait(30)

    with stage.serving() as http_, ThreadPoolExecutor(4) as pool:
        http_.index("block")  # read once, before the threads
        http_.join("block", session="blocking")
        assert stage.started["block"].wait(10)

        def queue(session: int) -> dict[str, int]:
            numbers = range(session * EACH, session * EACH + EACH)
            return {http_.join("square", n, session=f"s{session}"): n for n in numbers}

        queued = list(pool.map(queue, range(SESSIONS)))
        assert http_.get(f"{API}/queue/status").json["queue_size"] == SESSIONS * EACH
        assert len({id for ids in queued for id in ids}) == SESSIONS * EACH

        def results(session: int) -> dict[str, int]:
            with http_.stream(f"s{session}") as stream:
                opened.release()
                return {
                    message["event_id"]: message["output"]["data"][0]
                    for message in stream.messages()
                    if message["msg"] == "process_completed"
                }

        opened = threading.Semaphore(0)
        futures = [pool.submit(results, session) for session in range(SESSIONS)]
        assert opened.acquire(timeout=10)
        stage.gates["block"].set()
        for ids, future in zip(queued, futures, strict=True):
            assert future.result(30) == {id: n * n for id, n in ids.items()}
        assert http_.get(f"{API}/queue/status").json["queue_size"] == 0
        assert not http_.service.queue.jobs


async def test_a_thousand_jobs_of_fifty_clients() -> None:
    stage = Stage()
    with stage.serving() as http_:

        async def use(number: int) -> list[Any]:
            async with AsyncClient(http_.url) as client:
                texts = [f"{number}-{job}" for job in range(EACH)]
                calls = (client.predict(text, api_name="/echo") for text in texts)
                assert await asyncio.gather(*calls) == texts
            return texts

        async with asyncio.timeout(30):
            told = await asyncio.gather(*map(use, range(SESSIONS)))
        assert len(told) == SESSIONS
        assert not http_.service.queue.jobs


def test_sessions_take_turns() -> None:
    stage = Stage()
    order: list[str] = []

    @stage.app.endpoint(concurrency_id="line")
    def note(tag: str) -> None:
        order.append(tag)

    @stage.app.endpoint(concurrency_id="line")
    def block() -> None:
        stage.started["block"].set()
        assert stage.gates["block"].wait(30)

    with stage.serving() as http_:
        http_.join("block", session="blocking")
        assert stage.started["block"].wait(10)
        for number in range(5):
            http_.join("note", f"greedy{number}", session="greedy")
        http_.join("note", "modest0", session="modest")
        stage.gates["block"].set()
        eventually(lambda: len(order) == 6)
    assert order.index("modest0") <= 1
    assert [tag for tag in order if tag.startswith("greedy")] == [f"greedy{n}" for n in range(5)]


def test_what_is_over_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "HOUSEKEEPING_INTERVAL", 0.02)
    stage = Stage(result_ttl=0.02, session_ttl=0.02, upload_ttl=0.02)
    with stage.serving() as http_:
        (path,) = http_.upload(("a.txt", b"quietly")).json
        assert http_.run("shout", {"path": path}).status == 200
        for number in range(20):
            http_.run("visits", session=f"s{number}")
            http_.join("echo", "x", session=f"t{number}")
            http_.call("fail")
            with http_.stream(f"t{number}") as stream:
                stream.messages()
        store: Any = http_.service.store
        eventually(lambda: not len(http_.service.channels))
        eventually(lambda: not store._entries)
        eventually(lambda: not http_.service.files._entries)
        assert not http_.service.queue.jobs
        assert not http_.service.delivery._followers
        assert not store._ended
        assert not http_.service._held
        assert store.waiting() == 0
        eventually(lambda: http_.service._housekeeping is None)  # and the server sleeps


# -- a full queue -------------------------------------------------------------------


@pytest.fixture
def full() -> Iterator[tuple[Stage, Http, list[str]]]:
    """A server of whose jobs one runs, and as many as may wait do."""
    stage = Stage(max_size=2)
    with stage.serving() as http_:
        ids = [http_.join("hold", "running")]
        assert stage.started["running"].wait(10)
        ids += [http_.join("hold", f"waiting{number}") for number in range(2)]
        yield stage, http_, ids
        for tag in ("running", "waiting0", "waiting1", "later"):
            stage.gates[tag].set()


FULL = "Queue is full. Max size is 2 and size is 2."


def test_a_full_queue(full: tuple[Stage, Http, list[str]]) -> None:
    stage, http_, ids = full
    joined = {"data": ["x"], "fn_index": http_.index("echo"), "session_hash": "new"}
    for path, body in [
        ("/queue/join", joined),
        ("/call/hold", {"data": ["x"]}),
        ("/call/v2/echo", {"text": "x"}),
        ("/run/echo", {"data": ["x"]}),
    ]:
        answer = http_.post(path, body)
        assert answer.status == 503, path
        assert answer.detail == FULL
        assert int(answer.headers["retry-after"]) >= 1
    with http_.stream("new") as stream:  # nothing of what was refused is left
        assert {message["msg"] for message in stream.messages()} <= {
            "close_stream",
            "unexpected_error",
        }
    assert list(http_.service.queue.jobs) == ids
    assert http_.cancel(ids[1])["outcome"] == "removed"
    later = http_.join("hold", "later", session="later")
    for tag in ("running", "waiting1", "later"):
        stage.gates[tag].set()
    with http_.stream("later") as stream:
        ended = stream.until("process_completed")
    assert (ended["event_id"], ended["output"]["data"]) == (later, ["later"])


def test_a_full_queue_as_a_client_sees_it(full: tuple[Stage, Http, list[str]]) -> None:
    stage, http_, _ = full
    with Client(http_.url) as client:
        with pytest.raises(QueueFullError, match=FULL):
            client.predict("x", api_name="/echo")
        for tag in ("running", "waiting0", "waiting1"):
            stage.gates[tag].set()
        eventually(lambda: not http_.service.queue.jobs)
        assert client.predict("x", api_name="/echo") == "x"


def test_a_full_queue_is_not_for_those_that_do_not_wait(
    full: tuple[Stage, Http, list[str]],
) -> None:
    _, http_, _ = full
    assert http_.run("direct", "x").json["data"] == ["x"]


def test_files_of_a_refused_job_are_not_kept(full: tuple[Stage, Http, list[str]]) -> None:
    _, http_, _ = full
    (path,) = http_.upload(("a.txt", b"x")).json
    assert http_.run("shout", {"path": path}).status == 503
    (entry,) = http_.service.files._entries.values()
    assert not entry.uses


# -- sessions -----------------------------------------------------------------------


def test_state_is_kept_for_each_session() -> None:
    with Stage().serving() as http_:
        for expected in (1, 2, 3):
            assert http_.run("visits", session="a").json["data"] == [expected]
        assert http_.run("visits", session="b").json["data"] == [1]
        for _ in range(2):  # a call without a session has a new one
            assert http_.run("visits").json["data"] == [1]
        with Client(http_.url) as one, Client(http_.url) as two:
            assert [one.predict(api_name="/visits") for _ in range(3)] == [1, 2, 3]
            assert two.predict(api_name="/visits") == 1


def test_the_least_recently_used_session_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_SESSIONS", 3)
    stage = Stage()
    with stage.serving() as http_:

        def visits(session: str) -> int:
            count: int = http_.run("visits", session=session).json["data"][0]
            return count

        assert [visits(session) for session in "abc"] == [1, 1, 1]
        assert visits("a") == 2
        assert visits("d") == 1  # and b goes
        assert len(http_.service.channels) == 3
        assert visits("a") == 3
        assert visits("b") == 1  # and c goes
        assert visits("d") == 2


def test_a_session_with_a_running_job_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_SESSIONS", 2)
    stage = Stage()
    with stage.serving() as http_:
        id = http_.join("hold", "t", session="busy")
        assert stage.started["t"].wait(10)
        for number in range(10):
            http_.run("visits", session=f"s{number}")
        assert len(http_.service.channels) == 2
        stage.gates["t"].set()
        with http_.stream("busy") as stream:
            assert stream.until("process_completed")["event_id"] == id


# -- concurrency --------------------------------------------------------------------


class Peak:
    """How many were inside at the same time."""

    def __init__(self, expected: int) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()
        self._all_here = threading.Event()
        self._expected = expected

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now >= self._expected:
                self._all_here.set()
        # Whoever is allowed in comes; one too many would, too.
        self._all_here.wait(5)
        time.sleep(0.005)
        yield
        with self._lock:
            self.now -= 1


def peak_of(app: App, peak: Peak, name: str, jobs: int) -> int:
    with leaving_no_threads(), BackgroundServer(app) as server:
        http_ = Http(server.url, server)
        with ThreadPoolExecutor(jobs) as pool:
            answers = list(pool.map(lambda _: http_.run(name), range(jobs)))
    assert {answer.status for answer in answers} == {200}
    return peak.most


@pytest.mark.parametrize("limit", [1, 3])
def test_as_many_at_once_as_the_endpoint_says(limit: int) -> None:
    app, peak = App(), Peak(limit)

    @app.endpoint(concurrency_limit=limit)
    def work() -> None:
        with peak.inside():
            pass

    assert peak_of(app, peak, "work", 8) == limit


def test_as_many_at_once_as_threads() -> None:
    app, peak = App(max_threads=3), Peak(3)

    @app.endpoint(queue=False)
    def work() -> None:
        with peak.inside():
            pass

    assert peak_of(app, peak, "work", 8) == 3


def test_unqueued_coroutines_run_all_at_once() -> None:
    app = App(max_threads=1)
    here = 0
    everybody = asyncio.Event()

    @app.endpoint(queue=False)
    async def meet() -> int:
        nonlocal here
        here += 1
        if here == 8:
            everybody.set()
        async with asyncio.timeout(10):
            await everybody.wait()
        return here

    with leaving_no_threads(), BackgroundServer(app) as server, ThreadPoolExecutor(8) as pool:
        http_ = Http(server.url, server)
        answers = list(pool.map(lambda _: http_.run("meet"), range(8)))
    assert [answer.json["data"] for answer in answers] == [[8]] * 8


def test_a_shared_line() -> None:
    app, peak = App(), Peak(2)

    @app.endpoint(concurrency_id="line", concurrency_limit=2)
    def one() -> None:
        with peak.inside():
            pass

    @app.endpoint(concurrency_id="line", concurrency_limit=5)
    def two() -> None:
        with peak.inside():
            pass

    with leaving_no_threads(), BackgroundServer(app) as server, ThreadPoolExecutor(8) as pool:
        http_ = Http(server.url, server)
        answers = list(pool.map(http_.run, ["one", "two"] * 4))
    assert {answer.status for answer in answers} == {200}
    assert peak.most == 2


def test_batches() -> None:
    stage = Stage()
    sizes: list[int] = []

    @stage.app.endpoint(batch=True, max_batch_size=4, concurrency_id="line")
    def double(n: list[int]) -> list[int]:
        sizes.append(len(n))
        return [2 * each for each in n]

    @stage.app.endpoint(concurrency_id="line")
    def block() -> None:
        stage.started["block"].set()
        assert stage.gates["block"].wait(10)

    with stage.serving() as http_:
        http_.join("block", session="blocking")
        assert stage.started["block"].wait(10)
        ids = {http_.join("double", n): n for n in range(10)}
        stage.gates["block"].set()
        with http_.stream() as stream:
            ended = [m for m in stream.messages() if m["msg"] == "process_completed"]
    assert {end["event_id"]: end["output"]["data"] for end in ended} == {
        id: [2 * n] for id, n in ids.items()
    }
    assert sizes == [4, 4, 2]


def test_a_time_limit() -> None:
    stage = Stage()

    @stage.app.endpoint(time_limit=0.05)
    def slow() -> Iterator[int]:
        try:
            while True:
                yield 1
                time.sleep(0.005)
        except GeneratorExit:
            stage.closed.append("slow")
            raise

    @stage.app.endpoint(time_limit=0.05)
    async def slow_too() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(30)

    with stage.serving() as http_:
        for name in ("slow", "slow_too"):
            with http_.follow(name, http_.call(name)) as stream:
                kind, error = stream.events()[-1]
            assert kind == "error"
            assert error["title"] == "Time limit"
            assert f"/{name} took longer than its time limit of 0.05 s" in error["error"]
        eventually(lambda: stage.closed == ["slow"])
        assert http_.run("echo", "x").status == 200


# -- nothing is left ----------------------------------------------------------------


def descriptors() -> Counter[str]:
    """What the process has open."""
    found: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found[os.readlink(entry).partition(":")[0]] += 1
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("same", [True, False], ids=["one app", "an app each"])
def test_servers_leave_nothing(same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stage = Stage()

    def once(stage: Stage) -> None:
        server = BackgroundServer(stage.app)
        with server:
            http_ = Http(server.url, server)
            assert http_.run("echo", "x").status == 200
            assert http_.upload(("a.txt", b"x")).status == 200
            http_.join("feed", "t")  # it runs until the server ends
            with http_.stream() as stream:
                assert stream.message()["msg"] == "process_starts"
        stage.feeds["t"].put("x")

    with leaving_no_threads():
        once(stage)  # what is made once and for all is made
    gc.collect()
    threads, opened = threading.active_count(), descriptors()
    with leaving_no_threads():
        for _ in range(10):
            once(stage if same else Stage())
    gc.collect()
    assert threading.active_count() == threads
    assert descriptors() == opened
    assert not list(tmp_path.iterdir())


def test_an_app_forgets_servers_that_are_over() -> None:
    app = App()

    @app.endpoint
    def echo(text: str) -> str:
        return text

    with leaving_no_threads():
        for _ in range(3):
            with BackgroundServer(app) as server:
                assert Http(server.url).run("echo", "x").status == 200
    gc.collect()
    assert len(app._services) <= 1


def test_no_tasks_are_left_behind_by_clients_that_leave() -> None:
    stage = Stage()
    with stage.serving() as http_:

        def loop_tasks() -> set[asyncio.Task[Any]]:
            return asyncio.all_tasks(http_.service.loop)

        http_.run("echo", "x")
        eventually(lambda: not http_.connections)
        before = len(loop_tasks())
        streams = [http_.stream(session=f"s{n}") for n in range(5)]
        id = http_.call("feed", "t")
        streams += [http_.follow("feed", id) for _ in range(5)]
        heartbeats = [http_.open("GET", f"{API}/heartbeat/h{n}") for n in range(5)]
        eventually(lambda: len(loop_tasks()) > before)
        for stream in streams:
            stream.reset()
        for heartbeat in heartbeats:
            heartbeat.close()
        eventually(lambda: not http_.connections)
        eventually(lambda: len(loop_tasks()) == before)
        stage.feeds["t"].put(None)
