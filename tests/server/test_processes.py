"""Functions in worker processes: what they are given, and what comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from multiprocessing import resource_tracker
from pathlib import Path
from random import Random
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from jobwire.protocol.messages import Log
from jobwire.server.context import Request, Session
from jobwire.server.errors import DeclarationError, WorkerError
from jobwire.server.executors import process, spawning
from jobwire.server.job import Job
from jobwire.server.queue import Workers
from jobwire.server.stores.memory import MemoryStore
from server import apart
from server.working import Bench, MakeBench, benches

pytestmark = pytest.mark.skipif(not hasattr(os, "setsid"), reason="groups of processes")


@pytest.fixture
async def make_bench() -> AsyncIterator[MakeBench]:
    # There is one of each, for all, and a pipe to it.
    resource_tracker.ensure_running()
    spawning._guard.forget(0)
    before = open_files()
    async with benches() as make:
        yield make
    await until(lambda: not workers())
    await until(lambda: open_files() <= before)


@pytest.fixture
async def bench(make_bench: MakeBench) -> Bench:
    return make_bench()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0


def workers() -> list[psutil.Process]:
    """The worker processes of this one."""
    children = psutil.Process().children()
    return [child for child in children if "spawn_main" in " ".join(command(child))]


def command(child: psutil.Process) -> list[str]:
    try:
        return list(child.cmdline())
    except psutil.NoSuchProcess:
        return []


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


def offer(bench: Bench, *functions: Callable[..., Any], **options: Any) -> None:
    for function in functions:
        bench.endpoint(executor="process", **options)(function)


async def call(bench: Bench, function: Callable[..., Any], *args: Any) -> list[Any]:
    return await bench.result(await bench.submit(function.__name__, *args))


def said(bench: Bench, job: Job) -> list[str | None]:
    return [message.log for message in bench.messages(job) if isinstance(message, Log)]


async def running(bench: Bench, function: Callable[..., Any], *args: Any) -> Job:
    """Start a function that says when it is there."""
    job = await bench.submit(function.__name__, *args)
    await until(lambda: said(bench, job))
    return job


# -- in and out -------------------------------------------------------------------------


async def test_it_is_another_process_and_always_the_same(bench: Bench) -> None:
    offer(bench, apart.pid, apart.pid_async)
    pids = [(await call(bench, apart.pid))[0] for _ in range(3)]
    pids += await call(bench, apart.pid_async)
    assert len(set(pids)) == 1
    assert pids[0] != os.getpid()
    assert [worker.pid for worker in workers()] == pids[:1]


async def test_functions_of_the_same_app_in_threads(bench: Bench) -> None:
    bench.endpoint(apart.pid)
    assert await call(bench, apart.pid) == [os.getpid()]
    assert not workers()


async def test_values_arrive_as_they_are(make_bench: MakeBench) -> None:
    bench = make_bench(max_log_size=10_000_000)
    offer(bench, apart.echo)
    values = [None, 1, 2**70, 0.5, "naïve ✓ 🎉", [1, [2, {"a": None}]], "x" * 3_000_000]
    for value in values:
        assert await call(bench, apart.echo, value) == [value]


async def test_values_of_classes(bench: Bench) -> None:
    offer(bench, apart.move)
    assert await call(bench, apart.move, {"x": 1}) == [{"x": 2, "y": 0.0}]


@pytest.mark.parametrize("function", [apart.count, apart.count_async])
async def test_generators(bench: Bench, function: Callable[..., Any]) -> None:
    offer(bench, function)
    job = await bench.submit(function.__name__, 500)
    assert await bench.result(job) == [499]
    assert bench.outputs(job) == [[i] for i in range(500)]
    empty = await bench.submit(function.__name__, 0)
    assert await bench.result(empty) == [None]


async def test_batches(bench: Bench) -> None:
    offer(bench, apart.double, apart.pids, batch=True, max_batch_size=8)
    offer(bench, apart.sleep)
    jobs = [await bench.submit("double", i) for i in range(6)]
    assert [await bench.result(job) for job in jobs] == [[2 * i] for i in range(6)]
    assert await call(bench, apart.pids, 1) != [os.getpid()]


async def test_functions_run_in_the_main_thread(bench: Bench) -> None:
    offer(bench, apart.main_thread)
    assert await call(bench, apart.main_thread) == [True]


async def test_progress_and_lines(bench: Bench) -> None:
    offer(bench, apart.steps)
    job = await bench.submit("steps", 5)
    await bench.result(job)
    lines = [message for message in bench.messages(job) if isinstance(message, Log)]
    assert [(line.log, line.title, line.duration) for line in lines] == [
        ("a step", "Step", None)
    ] * 5
    assert bench.progressed.count(job.id) >= 1
    assert job.run is not None
    assert job.run.units is not None
    assert job.run.units[0].desc == "counting"


async def test_progress_costs_little_and_ends_with_the_latest(bench: Bench) -> None:
    offer(bench, apart.fast_steps)
    job = await running(bench, apart.fast_steps, 20_000)

    def latest() -> object:
        return job.run and job.run.units and job.run.units[0].index == 20_000

    await until(latest)
    assert bench.progressed.count(job.id) < 500
    bench.queue.cancel(job.id)


async def test_request(bench: Bench) -> None:
    offer(bench, apart.whoami)
    job = await bench.submit("whoami", request=Request({"user-agent": "me"}, {}, None, "ada", None))
    assert await bench.result(job) == [["me", "ada"]]


async def test_records_are_in_the_log_of_the_server(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    offer(bench, apart.record)
    await call(bench, apart.record, "this")
    first, second = caplog.records
    assert (first.name, first.levelname, first.message) == (
        "app.records",
        "WARNING",
        "recorded this",
    )
    assert second.message == "raised this"
    assert second.exc_text is not None
    assert second.exc_text.endswith("ValueError: this")


# -- files ----------------------------------------------------------------------------


def uploaded(bench: Bench, name: str, text: str) -> dict[str, Any]:
    path, target = bench.files.create(name, owner=None)
    target.write_text(text)
    return {"path": path}


def stored(bench: Bench, value: Any) -> str:
    return bench.files.open(value["path"], owner=None).read_text()


async def test_files_in_and_out(bench: Bench) -> None:
    offer(bench, apart.shout, apart.relative)
    (value,) = await call(bench, apart.shout, uploaded(bench, "a.txt", "quiet"))
    assert value["orig_name"] == "shouted a.txt"
    assert stored(bench, value) == "QUIET"
    (value,) = await call(bench, apart.relative, "b.txt")
    assert stored(bench, value) == "b.txt"


async def test_files_of_an_async_generator(bench: Bench) -> None:
    offer(bench, apart.shout_async)
    files = [uploaded(bench, f"{i}.txt", f"text {i}") for i in range(3)]
    (values,) = await call(bench, apart.shout_async, files)
    assert [stored(bench, value) for value in values] == ["TEXT 0", "TEXT 1", "TEXT 2"]


async def test_file_that_is_not_there(bench: Bench) -> None:
    offer(bench, apart.missing, show_errors=True)
    text, _ = await bench.failure(await bench.submit("missing"))
    assert text == "the endpoint returned the file '/nothing/is/here', which does not exist"


# -- errors ---------------------------------------------------------------------------


async def test_what_functions_raise(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    offer(bench, apart.fail, apart.fail_late, apart.unsendable, apart.exit)
    assert await bench.failure(await bench.submit("fail", "no")) == ("no", "Sorry")
    assert not caplog.records
    job = await bench.submit("fail_late", "a secret")
    hidden = "the function raised {}; the server's log says more"
    assert await bench.failure(job) == (hidden.format("ValueError"), "Error")
    assert bench.outputs(job) == [[1]]
    assert await bench.failure(await bench.submit("unsendable")) == (
        hidden.format("OutputError"),
        "Error",
    )
    assert await bench.failure(await bench.submit("exit", 3)) == (
        hidden.format("SystemExit"),
        "Error",
    )
    assert [record.message for record in caplog.records] == [
        "/fail_late failed",
        "/unsendable failed",
        "/exit failed",
    ]
    assert "a secret" in (caplog.records[0].exc_text or "")


async def test_show_errors(bench: Bench) -> None:
    offer(bench, apart.fail_late, show_errors=True)
    assert await bench.failure(await bench.submit("fail_late", "why")) == ("why", "Error")


async def test_function_gives_up(bench: Bench) -> None:
    offer(bench, apart.give_up)
    assert await bench.cancelled(await bench.submit("give_up"))


async def test_outputs_that_are_too_many(make_bench: MakeBench) -> None:
    bench = make_bench(max_log_size=10_000)
    offer(bench, apart.generate, apart.pid)
    text, _ = await bench.failure(await bench.submit("generate", 0))
    assert "more than 10000 bytes" in text
    await call(bench, apart.pid)
    await bench.at_rest()


# -- crashes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "args", "words"),
    [
        (apart.leave, [0], "ended with exit code 0"),
        (apart.leave, [3], "ended with exit code 3"),
        (apart.leave_late, [3], "ended with exit code 3"),
        (apart.crash, [], "was killed by SIGSEGV"),
        (apart.kill, [9], "was killed by SIGKILL, as the system does it when memory runs out"),
        (apart.kill, [15], "was killed by SIGTERM"),
        (apart.fork_and_leave, [], "ended with exit code 3"),
    ],
)
async def test_crash_fails_one_job_and_says_how(
    bench: Bench,
    caplog: pytest.LogCaptureFixture,
    function: Callable[..., Any],
    args: list[Any],
    words: str,
) -> None:
    offer(bench, function, apart.pid)
    before = await call(bench, apart.pid)
    job = await bench.submit(function.__name__, *args)
    await until(lambda: bench.queue.running or not bench.queue.jobs)  # it has the worker
    following = await bench.submit("pid")
    assert await bench.failure(job) == (f"the worker process {words}", "Error")
    assert await bench.result(following) != before
    await bench.at_rest()
    assert [record.message for record in caplog.records] == [
        f"/{function.__name__}: the worker process {words}"
    ]
    assert len(workers()) == 1


async def test_crash_is_nobody_elses(make_bench: MakeBench) -> None:
    bench = make_bench(workers=Workers(max_processes=2))
    offer(bench, apart.generate, apart.leave, concurrency_limit=2)
    job = await bench.submit("generate", 0.001)
    await until(lambda: bench.outputs(job))
    for code in range(1, 4):
        await bench.failure(await bench.submit("leave", code))
    seen = len(bench.messages(job))
    await until(lambda: len(bench.messages(job)) > seen + 10)
    assert bench.queue.cancel(job.id) == "closing"
    await bench.at_rest()


async def test_worker_that_crashes_while_idle_is_replaced(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    offer(bench, apart.pid)
    (before,) = await call(bench, apart.pid)
    os.kill(before, signal.SIGTERM)
    await until(lambda: before not in [worker.pid for worker in workers()])
    await until(workers)
    assert caplog.messages == [
        "the worker process was killed by SIGTERM while it had nothing to do"
    ]
    assert await call(bench, apart.pid) == [workers()[0].pid]


async def test_what_a_crashed_worker_started_is_gone(bench: Bench) -> None:
    offer(bench, apart.start_child, apart.leave)
    job = await bench.submit("start_child")
    await until(lambda: bench.outputs(job))
    child = psutil.Process(bench.outputs(job)[0][0])
    workers()[0].kill()
    await bench.failure(job)
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


# -- cancelling -----------------------------------------------------------------------


async def test_plain_function_is_killed(bench: Bench, tmp_path: Path) -> None:
    offer(bench, apart.sleep, apart.pid)
    before = await call(bench, apart.pid)
    job = await running(bench, apart.sleep, str(tmp_path / "woke"))
    following = await bench.submit("pid")
    assert bench.queue.cancel(job.id) == "killed"
    assert bench.store.read(job.id).ended
    assert await bench.cancelled(job)
    assert await bench.result(following) != before
    assert bench.queue.cancel(job.id) == "ended"
    await bench.at_rest()
    assert bench["sleep"].counts == {"completed": 0, "failed": 0, "cancelled": 1}


async def test_function_that_holds_the_interpreter_lock_is_killed(bench: Bench) -> None:
    offer(bench, apart.hold_lock)
    job = await running(bench, apart.hold_lock)
    assert bench.queue.cancel(job.id) == "killed"
    await bench.at_rest()


TOLD = pytest.mark.parametrize(
    ("function", "args", "word", "saw"),
    [
        (apart.wait_for_token, [], "told", "told True"),
        (apart.generate, [0.001], "closing", "closed"),
        (apart.sleep_async, [], "cancelled", "cancelled"),
    ],
)


@TOLD
async def test_others_are_told_and_their_worker_is_kept(
    bench: Bench,
    caplog: pytest.LogCaptureFixture,
    function: Callable[..., Any],
    args: list[Any],
    word: str,
    saw: str,
) -> None:
    offer(bench, function, apart.pid)
    before = await call(bench, apart.pid)
    job = await bench.submit(function.__name__, *args)
    await until(lambda: said(bench, job) or bench.outputs(job))
    assert bench.queue.cancel(job.id) == word
    assert await bench.cancelled(job)
    await bench.at_rest()
    assert caplog.messages == [saw]
    assert await call(bench, apart.pid) == before


@pytest.mark.parametrize(
    ("function", "args"),
    [(apart.ignore_token, []), (apart.generate, [apart.FOREVER]), (apart.block_async, [])],
)
async def test_those_that_do_not_end_in_time_are_killed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], args: list[Any]
) -> None:
    monkeypatch.setattr(process, "STOP_TIME", 0.05)
    offer(bench, function, apart.pid)
    before = await call(bench, apart.pid)
    job = await bench.submit(function.__name__, *args)
    await until(lambda: said(bench, job) or bench.outputs(job))
    bench.queue.cancel(job.id)
    assert await bench.cancelled(job)
    await bench.at_rest()
    assert await call(bench, apart.pid) != before


async def test_one_that_waits_for_a_worker_never_runs(bench: Bench) -> None:
    offer(bench, apart.sleep, apart.count)
    busy = await running(bench, apart.sleep)
    job = await bench.submit("count", 3)
    await until(lambda: job.run is not None)
    assert bench.queue.cancel(job.id) == "removed"
    assert len(bench.messages(job)) == 1
    bench.queue.cancel(busy.id)
    await bench.at_rest()


async def test_one_of_a_batch(bench: Bench) -> None:
    gate = bench.gate()

    @bench.endpoint(batch=True, max_batch_size=2)
    def both(numbers: list[int]) -> list[int]:
        gate.hold()
        return numbers

    jobs = [await bench.submit("both", number) for number in range(2)]
    await gate.holds(1)
    assert bench.queue.cancel(jobs[0].id) == "unstoppable"
    gate.open()
    assert await bench.result(jobs[1]) == [1]


@pytest.mark.parametrize("function", [apart.count, apart.count_async, apart.echo, apart.pid_async])
async def test_exactly_one_outcome_when_end_and_cancel_race(
    make_bench: MakeBench, function: Callable[..., Any]
) -> None:
    bench = make_bench(workers=Workers(max_processes=2))
    offer(bench, function, concurrency_limit=2)
    args = [] if function is apart.pid_async else [3]
    words: list[str] = []
    for number in range(40):
        job = await bench.submit(function.__name__, *args)
        await asyncio.sleep(number % 8 * 0.0002)
        words.append(bench.queue.cancel(job.id))
        assert await bench.cancelled(job) is (words[-1] != "ended")
    await bench.at_rest()
    assert len(bench.ended) == 40
    await bench.result(await bench.submit(function.__name__, *args))


async def test_time_limit_kills(bench: Bench) -> None:
    offer(bench, apart.sleep, time_limit=0.2)
    job = await bench.submit("sleep")
    assert await bench.failure(job) == (
        "/sleep took longer than its time limit of 0.2 s",
        "Time limit",
    )
    await bench.at_rest()


async def test_what_a_cancelled_function_started_is_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STOP_TIME", 0.0)
    offer(bench, apart.start_child)
    job = await bench.submit("start_child")
    await until(lambda: bench.outputs(job))
    child = psutil.Process(bench.outputs(job)[0][0])
    bench.queue.cancel(job.id)
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


# -- workers -----------------------------------------------------------------------------


async def test_as_many_at_once_as_there_are_workers(make_bench: MakeBench) -> None:
    bench = make_bench(workers=Workers(max_processes=2))
    offer(bench, apart.sleep, concurrency_limit=None)
    jobs = [await bench.submit("sleep") for _ in range(3)]
    await until(lambda: said(bench, jobs[0]) and said(bench, jobs[1]))
    assert bench.queue.running == 2
    position = bench.store.position(jobs[2].id)
    assert position is not None
    assert position.rank == 0
    bench.queue.cancel(jobs[0].id)
    await until(lambda: said(bench, jobs[2]))
    for job in jobs[1:]:
        assert bench.queue.cancel(job.id) == "killed"
    await bench.at_rest()


async def test_long_line_leaves_workers_to_others(bench: Bench) -> None:
    offer(bench, apart.echo, apart.pid)
    jobs = [await bench.submit("echo", number) for number in range(50)]
    other = await bench.submit("pid")
    await bench.result(other)
    assert jobs[-1].id in bench.queue.jobs
    for job in jobs:
        await bench.result(job)


async def test_threads_and_workers_share_a_line(bench: Bench) -> None:
    options: dict[str, Any] = {"concurrency_id": "one"}
    bench.endpoint(name="here", executor="thread", **options)(apart.pid)
    bench.endpoint(name="there", executor="process", **options)(apart.pid)
    bench.endpoint(name="looping", executor="thread", **options)(apart.pid_async)
    names = ["here", "there", "looping", "there", "there", "here"] * 5
    jobs = [await bench.submit(name) for name in names]
    pids = [(await bench.result(job))[0] for job in jobs]
    assert [pid == os.getpid() for pid in pids] == [name != "there" for name in names]
    await bench.at_rest()


async def test_frozen_worker_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STOP_TIME", 0.05)
    offer(bench, apart.generate, apart.pid)
    job = await bench.submit("generate", 0.001)
    await until(lambda: bench.outputs(job))
    workers()[0].suspend()
    assert bench.queue.cancel(job.id) == "closing"
    await bench.at_rest()
    await call(bench, apart.pid)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_each_job_has_one_outcome(make_bench: MakeBench, seed: int) -> None:
    random = Random(seed)
    bench = make_bench(workers=Workers(max_processes=3, max_jobs=7))
    ways: list[tuple[Callable[..., Any], list[Any]]] = [
        (apart.echo, [1]),
        (apart.count, [20]),
        (apart.count_async, [20]),
        (apart.sleep, []),
        (apart.sleep_async, []),
        (apart.wait_for_token, []),
        (apart.generate, [0.001]),
        (apart.leave, [3]),
        (apart.leave_late, [3]),
        (apart.fail, ["no"]),
    ]
    offer(bench, *(function for function, _ in ways), concurrency_limit=3)
    jobs: list[Job] = []
    for _ in range(60):
        function, args = random.choice(ways)
        jobs.append(await bench.submit(function.__name__, *args))
        if random.random() < 0.7:
            await asyncio.sleep(random.random() * 0.02)
            bench.queue.cancel(random.choice(jobs).id)
    for job in jobs:
        if job.endpoint.function in (apart.sleep, apart.sleep_async, apart.wait_for_token):
            bench.queue.cancel(job.id)
        if job.endpoint.function is apart.generate:
            bench.queue.cancel(job.id)
    for job in jobs:
        await bench.outcome(job, 20)
    await bench.at_rest(20)
    assert len(bench.ended) == len(jobs)
    await until(lambda: len(workers()) == 3)


async def test_workers_are_replaced_after_their_share(make_bench: MakeBench) -> None:
    bench = make_bench(workers=Workers(max_processes=1, max_jobs=2))
    offer(bench, apart.pid)
    pids = [(await call(bench, apart.pid))[0] for _ in range(5)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]


async def test_function_has_processes_of_its_own(bench: Bench) -> None:
    offer(bench, apart.pool)
    assert await call(bench, apart.pool, [-1, 2, -3]) == [[1, 2, 3]]


async def test_no_more_is_given_than_taken(make_bench: MakeBench, tmp_path: Path) -> None:
    class Shut(MemoryStore):
        """Takes nothing after the first output."""

        def append(self, id: str, event: bytes) -> bool:
            if self.read(id).events[1:]:
                assert gate._threads.acquire(timeout=10)
            return super().append(id, event)

    bench = make_bench(store=Shut(result_ttl=60, max_log_size=100_000_000))
    gate = bench.gate()
    offer(bench, apart.flood)
    counter = tmp_path / "count"
    job = await bench.submit("flood", str(counter), 10_000)
    await until(lambda: bench.outputs(job))
    given = -1
    while given != (given := int(counter.read_text() or 0)):
        await asyncio.sleep(0.2)
    assert given < 200
    gate.admit(100)
    await until(lambda: int(counter.read_text() or 0) >= 100)
    bench.queue.cancel(job.id)
    gate.open()
    await bench.at_rest()


async def test_close_ends_all(make_bench: MakeBench) -> None:
    bench = make_bench(workers=Workers(max_processes=3))
    offer(bench, apart.sleep, apart.generate, concurrency_limit=3)
    jobs = [
        await running(bench, apart.sleep),
        await bench.submit("generate", 0.001),
        await bench.submit("sleep"),
        await bench.submit("sleep"),
    ]
    bench.queue.close()
    for job in jobs:
        assert await bench.failure(job) == (
            "the server was stopped before the job was over",
            "Stopped",
        )
    await until(lambda: not workers())


# -- functions that workers do not find ------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "expected"),
    [(apart.bound, "bound 1"), (apart.callable_object, "called 1")],
)
async def test_methods_and_objects(
    bench: Bench, function: Callable[..., Any], expected: str
) -> None:
    bench.endpoint(name="f", executor="process")(function)
    assert await bench.result(await bench.submit("f", 1)) == [expected]


async def test_partial(bench: Bench) -> None:
    bench.endpoint(name="f", executor="process")(apart.partly)
    assert await bench.result(await bench.submit("f", {"x": 1})) == [{"x": 11, "y": 0.0}]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (apart.nameless, "imports functions by name: .*define it at the top of a module"),
        (apart.make_closure(), "imports functions by name: .*define it at the top of a module"),
        (apart.state, "takes the Session, .* declare it with executor='thread'"),
    ],
)
async def test_functions_that_cannot_be_called_there(
    make_bench: MakeBench, function: Callable[..., Any], words: str
) -> None:
    bench = make_bench()
    bench.endpoint(name="f", executor="process")(function)
    with pytest.raises(DeclarationError, match=f"^/f .*{words}"):
        bench.queue._started_processes()


async def test_module_that_cannot_be_imported_there(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = tmp_path / "only_once.py"
    module.write_text("def f(x: int) -> int:\n    return x\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_once  # type: ignore[import-not-found]

    offer(bench, only_once.f, apart.pid)
    module.write_text("raise RuntimeError('not twice')\n")
    executor = bench.queue._started_processes()
    with pytest.raises(
        WorkerError, match=r"^a worker process could not import /f: RuntimeError: not twice$"
    ):
        await executor.ready()
    assert "only_once.py" in caplog.text
    assert await bench.failure(await bench.submit("pid")) == (
        "no worker process could do it; the server's log says more",
        "Error",
    )
    # It is tried again for each job.
    module.write_text("def f(x: int) -> int:\n    return x\n")
    assert await call(bench, only_once.f, 5) == [5]


async def test_session_stays_where_it_is(bench: Bench) -> None:
    offer(bench, apart.echo)
    job = await bench.submit("echo", 1, session=Session("s", None, {"model": lambda: None}))
    assert await bench.result(job) == [1]
