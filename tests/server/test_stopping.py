"""How jobs are stopped: cancelled, too slow, or with the server; and what functions see of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from jobwire.exceptions import JobCancelledError, QueueFullError
from jobwire.protocol.messages import (
    ProcessCompleted,
)
from jobwire.server.context import CancelToken, Progress, log
from jobwire.server.job import Job
from jobwire.server.stores.base import JobNotFoundError, Ticket
from jobwire.server.stores.memory import MemoryStore
from server.threads import hasty
from server.working import (
    ASYNC,
    KINDS,
    Bench,
    Gate,
    Kind,
    MakeBench,
    benches,
    each_kind,
)


@pytest.fixture
async def make_bench() -> AsyncIterator[MakeBench]:
    async with benches() as make:
        yield make


@pytest.fixture
async def bench(make_bench: MakeBench) -> Bench:
    return make_bench()


@pytest.fixture
async def gate(bench: Bench) -> Gate:
    return bench.gate()


# -- cancelling -------------------------------------------------------------------------


@each_kind
async def test_waiting_job_is_removed(bench: Bench, gate: Gate, kind: Kind) -> None:
    name = bench.holding(kind, gate)
    first, job, last = [await bench.submit(name, number) for number in range(3)]
    await gate.holds(1)
    assert bench.queue.cancel(job.id) == "removed"
    assert bench.messages(job) == [await bench.outcome(job)]
    assert await bench.cancelled(job)
    assert bench.store.waiting() == 1
    gate.open()
    assert await bench.result(first) == [0]
    assert await bench.result(last) == [2]
    assert bench.queue.cancel(job.id) == "ended"
    assert len(bench.messages(job)) == 1
    assert bench[name].counts == {"completed": 2, "failed": 0, "cancelled": 1}
    await bench.at_rest()


@each_kind
async def test_job_is_removed_in_the_moment_of_its_joining(
    bench: Bench, gate: Gate, kind: Kind
) -> None:
    name = bench.holding(kind, gate)
    job = await bench.submit(name)
    assert bench.queue.cancel(job.id) == "removed"
    assert await bench.cancelled(job)
    gate.open()
    assert await bench.result(await bench.submit(name, 1)) == [1]
    assert gate.most == 1
    await bench.at_rest()


@each_kind
async def test_ended_job_cannot_be_cancelled(bench: Bench, gate: Gate, kind: Kind) -> None:
    gate.open()
    job = await bench.submit(bench.holding(kind, gate), 1)
    await bench.result(job)
    assert bench.queue.cancel(job.id) == "ended"
    assert await bench.result(job) == [1]


async def test_unknown_job_cannot_be_cancelled(bench: Bench) -> None:
    with pytest.raises(JobNotFoundError):
        bench.queue.cancel("unknown")


class Seen:
    """Functions of each kind that run until they are stopped, and what they saw then."""

    def __init__(self, bench: Bench, **options: Any) -> None:
        self.gate = gate = bench.gate()
        self.what: list[str] = []

        def note(error: BaseException) -> None:
            self.what.append(type(error).__name__)

        def function(token: CancelToken) -> str:
            gate._count(1)
            self.what.append(f"token {token.wait(10)} {token.cancelled}")
            try:
                token.raise_if_cancelled()
            except JobCancelledError as error:
                note(error)
                raise
            return "not stopped"

        def showing(progress: Progress) -> str:
            gate._count(1)
            try:
                for _ in range(10_000):
                    progress(0.5)
                    time.sleep(0.001)
            except JobCancelledError as error:
                note(error)
                raise
            return "not stopped"

        def generator() -> Iterator[int]:
            gate.hold()
            try:
                yield 1
                yield 2
            except BaseException as error:
                note(error)
                raise

        async def coroutine() -> str:
            try:
                await gate.hold_async()
            except BaseException as error:
                note(error)
                raise
            return "not stopped"

        async def async_generator() -> AsyncIterator[int]:
            yield 1
            try:
                await gate.hold_async()
                yield 2
            except BaseException as error:
                note(error)
                raise

        async def busy() -> AsyncIterator[int]:
            try:
                gate._count(1)
                while True:
                    yield 1
            except BaseException as error:
                note(error)
                raise

        for each in (function, showing, generator, coroutine, async_generator, busy):
            bench.endpoint(**options)(each)


STOPPED = pytest.mark.parametrize(
    ("name", "word", "saw"),
    [
        ("function", "told", ["token True True", "JobCancelledError"]),
        ("showing", "told", ["JobCancelledError"]),
        ("generator", "closing", ["GeneratorExit"]),
        ("coroutine", "cancelled", ["CancelledError"]),
        ("async_generator", "cancelled", ["CancelledError"]),
        ("busy", "cancelled", ["GeneratorExit"]),
    ],
)


@STOPPED
async def test_running_job_is_stopped(
    bench: Bench, caplog: pytest.LogCaptureFixture, name: str, word: str, saw: list[str]
) -> None:
    seen = Seen(bench)
    job = await bench.submit(name)
    await seen.gate.holds(1)
    following = await bench.submit(name)
    assert bench.queue.cancel(job.id) == word
    assert bench.store.read(job.id).ended
    assert job.id not in bench.queue.jobs
    assert await bench.cancelled(job)
    if name == "generator":
        seen.gate.admit()
    await bench.until(lambda: seen.what)
    assert bench.queue.cancel(job.id) == "ended"
    # Its slot is given to the next.
    await bench.until(lambda: following.run is not None and following.run.started)
    assert seen.what == saw
    bench.queue.cancel(following.id)
    seen.gate.open()
    await bench.at_rest()
    assert caplog.records == []
    assert bench[name].counts["cancelled"] == 2


async def test_plain_function_that_does_not_look_runs_on_without_effect(
    bench: Bench, gate: Gate
) -> None:
    name = bench.holding("function", gate)
    job, following = await bench.submit(name, 1), await bench.submit(name, 2)
    await gate.holds(1)
    assert bench.queue.cancel(job.id) == "unstoppable"
    events = bench.store.read(job.id)
    assert events.ended
    assert bench.queue.running == 1  # its slot is taken as long as it runs
    gate.open()
    assert await bench.result(following) == [2]
    assert bench.store.read(job.id) == events
    assert bench[name].counts == {"completed": 1, "failed": 0, "cancelled": 1}


async def test_what_a_stopped_function_raises_is_logged_and_no_outcome(
    bench: Bench, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    @bench.endpoint
    def function() -> None:
        gate.hold()
        raise ValueError("too late")

    job = await bench.submit("function")
    await gate.holds(1)
    bench.queue.cancel(job.id)
    gate.open()
    await bench.at_rest()
    assert await bench.cancelled(job)
    assert [record.message for record in caplog.records] == [
        "/function raised when it was stopped",
    ]


async def test_coroutine_that_does_not_give_up_has_no_other_outcome(bench: Bench) -> None:
    gate = bench.gate()

    @bench.endpoint
    async def stubborn() -> str:
        try:
            await gate.hold_async()
        except asyncio.CancelledError:
            log.info("not told")
        return "not told"

    job = await bench.submit("stubborn")
    await gate.holds(1)
    assert bench.queue.cancel(job.id) == "cancelled"
    await bench.at_rest()
    assert await bench.cancelled(job)
    assert len(bench.messages(job)) == 2


@pytest.mark.parametrize("kind", ASYNC)
async def test_slot_of_a_task_that_is_cancelled_before_its_first_step_is_free_again(
    bench: Bench, gate: Gate, kind: Kind
) -> None:
    name = bench.holding(kind, gate)
    job = await bench.submit(name, 1)
    bench.queue._fill()  # as the loop does it, before anything else that is ready
    assert bench.queue.cancel(job.id)
    assert await bench.cancelled(job)
    gate.open()
    assert await bench.result(await bench.submit(name, 2)) == [2]
    await bench.at_rest()


@pytest.mark.parametrize("kind", ["function", "generator"])
async def test_job_that_waits_for_a_thread_is_removed(make_bench: MakeBench, kind: Kind) -> None:
    bench = make_bench(max_threads=1)
    gate, other = bench.gate(), bench.gate()
    await bench.submit(bench.holding("function", gate, name="busy"))
    await gate.holds(1)
    job = await bench.submit(bench.holding(kind, other))
    await bench.until(lambda: job.run is not None)
    assert bench.queue.cancel(job.id) == "removed"
    assert await bench.cancelled(job)
    gate.open()
    await bench.at_rest()
    assert other.most == 0


class Interrupted(MemoryStore):
    """Stops the thread that says that a job starts, right after that."""

    def __init__(self) -> None:
        super().__init__(result_ttl=60, max_log_size=1000)
        self.said = threading.Event()
        self.go_on = threading.Event()

    def append(self, id: str, event: bytes) -> bool:
        added = super().append(id, event)
        self.said.set()
        assert self.go_on.wait(10)
        return added


async def test_job_that_is_cancelled_in_the_moment_of_its_start_is_not_said_to_be_removed(
    make_bench: MakeBench,
) -> None:
    store = Interrupted()
    bench = make_bench(store=store)
    gate = bench.gate()
    gate.open()
    job = await bench.submit(bench.holding("function", gate))
    await bench.until(store.said.is_set)
    word = bench.queue.cancel(job.id)
    store.go_on.set()
    await bench.at_rest()
    assert (word, gate.most) in [("removed", 0), ("unstoppable", 1)]


async def test_job_that_is_cancelled_while_it_waits_for_a_thread_never_runs(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(max_threads=1)
    gate, other = bench.gate(), bench.gate()
    await bench.submit(bench.holding("function", gate, name="busy"))
    await gate.holds(1)
    job = await bench.submit(bench.holding("function", other))
    await bench.until(lambda: job.run is not None)
    bench.queue.cancel(job.id)
    assert await bench.cancelled(job)
    gate.open()
    await bench.at_rest()
    assert other.most == 0
    assert len(bench.messages(job)) == 1


async def test_job_that_expires_while_it_waits_for_a_thread_costs_no_thread(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(max_threads=1, result_ttl=0)
    gate, other = bench.gate(), bench.gate()
    await bench.submit(bench.holding("function", gate, name="busy"))
    await gate.holds(1)
    job = await bench.submit(bench.holding("function", other))
    await bench.until(lambda: job.run is not None)
    bench.queue.cancel(job.id)
    assert bench.store.expire()[0] == [job.id]
    gate.open()
    other.open()
    following = await bench.submit("function", 2)
    assert await bench.result(following) == [2]


@each_kind
async def test_exactly_one_outcome_when_end_and_cancel_race(bench: Bench, kind: Kind) -> None:
    def function() -> int:
        return 1

    def generator() -> Iterator[int]:
        yield 1

    async def coroutine() -> int:
        await asyncio.sleep(0)
        return 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    functions = [function, generator, coroutine, async_generator]
    bench.endpoint(name=kind, concurrency_limit=2)(functions[KINDS.index(kind)])
    words: dict[str, int] = {}
    jobs = 300
    with hasty():
        for number in range(jobs):
            job = await bench.submit(kind)
            for _ in range(number % 9):
                await asyncio.sleep(0)
            word = bench.queue.cancel(job.id)
            words[word] = words.get(word, 0) + 1
            assert await bench.cancelled(job) is (word != "ended")
    await bench.at_rest()
    assert len(bench.ended) == jobs
    counts = bench[kind].counts
    assert counts["failed"] == 0
    assert counts["completed"] == words.get("ended", 0)
    assert counts["cancelled"] == jobs - counts["completed"]
    assert words["removed"] > 0


async def test_exactly_one_outcome_when_many_threads_settle_it(bench: Bench) -> None:
    with hasty():
        for _ in range(30):
            gate = bench.gate()
            name = bench.holding("function", gate, name=f"f{len(bench.gates)}")
            job = await bench.submit(name)
            await gate.holds(1)
            won = await asyncio.gather(
                *(
                    asyncio.to_thread(
                        bench.queue.end, job, ProcessCompleted(job.id, success=True), "cancelled"
                    )
                    for _ in range(4)
                ),
                asyncio.to_thread(gate.open),
            )
            await bench.outcome(job)
            assert won.count(True) == (1 - bench[name].counts["completed"])
            assert sum(bench[name].counts.values()) == 1
    await bench.at_rest()


# -- time limits ------------------------------------------------------------------------


@STOPPED
async def test_time_limit_fails_and_stops_a_job(
    bench: Bench, name: str, word: str, saw: list[str]
) -> None:
    seen = Seen(bench, time_limit=0.03)
    began = time.monotonic()
    job = await bench.submit(name)
    assert await bench.failure(job) == (
        f"/{name} took longer than its time limit of 0.03 s",
        "Time limit",
    )
    assert time.monotonic() - began >= 0.03
    seen.gate.open()
    await bench.at_rest()
    assert seen.what == saw
    assert bench[name].counts == {"completed": 0, "failed": 1, "cancelled": 0}


async def test_time_limit_does_not_count_the_wait(bench: Bench) -> None:
    @bench.endpoint(time_limit=0.08)
    async def nap() -> None:
        await asyncio.sleep(0.03)

    jobs = [await bench.submit("nap") for _ in range(5)]
    for job in jobs:
        await bench.result(job)


async def test_time_limit_ends_each_that_is_late_and_no_other(bench: Bench) -> None:
    gate = bench.gate()
    name = bench.holding("coroutine", gate, concurrency_limit=None, time_limit=0.05)
    early = [await bench.submit(name, number) for number in range(3)]
    await gate.holds(3)
    await asyncio.sleep(0.03)
    late = [await bench.submit(name, number) for number in range(3)]
    await gate.holds(6)
    for job in early:
        await bench.failure(job)
    gate.open()
    assert [await bench.result(job) for job in late] == [[0], [1], [2]]
    await bench.at_rest()


@pytest.mark.parametrize("kind", ["coroutine", "function"])
async def test_time_limit_needs_one_timer_however_many_jobs(bench: Bench, kind: Kind) -> None:
    gate = bench.gate()
    gate.open()
    name = bench.holding(kind, gate, time_limit=600)
    for _ in range(50):
        await bench.result(await bench.submit(name))
    await bench.at_rest()
    loop: Any = asyncio.get_running_loop()
    timers = [timer for timer in loop._scheduled if "_expire" in repr(timer)]
    assert len(timers) <= 2


# -- the end ----------------------------------------------------------------------------------


@each_kind
async def test_close_settles_all(bench: Bench, kind: Kind) -> None:
    seen = Seen(bench)
    jobs = [await bench.submit(kind) for _ in range(3)]
    await seen.gate.holds(1)
    bench.queue.close()
    for job in jobs:
        assert await bench.failure(job) == (
            "the server was stopped before the job was over",
            "Stopped",
        )
    assert not bench.queue.jobs
    seen.gate.open()
    await bench.until(lambda: seen.what)
    await bench.until(lambda: bench.queue.running == 0)
    assert seen.what[-1] in ("JobCancelledError", "GeneratorExit", "CancelledError")
    assert bench[kind].counts["failed"] == 3
    await bench.until(
        lambda: not any(t.name.startswith("jobwire-worker") for t in threading.enumerate())
    )


async def test_close_with_nothing_to_do(bench: Bench) -> None:
    bench.queue.close()
    bench.queue.close()


class SlowStore(MemoryStore):
    """Takes a while to accept a job, as those on disk do."""

    async def enqueue(self, ticket: Ticket, *, max_waiting: int | None) -> str:
        await asyncio.sleep(0)
        return await super().enqueue(ticket, max_waiting=max_waiting)


async def test_close_settles_what_is_being_accepted(make_bench: MakeBench) -> None:
    bench = make_bench(store=SlowStore(result_ttl=60, max_log_size=1000))
    gate = bench.gate()
    name = bench.holding("function", gate)
    submitting = asyncio.ensure_future(bench.submit(name))
    await asyncio.sleep(0)
    try:
        bench.queue.close()
    finally:
        outcomes = await asyncio.gather(submitting, return_exceptions=True)
    if isinstance(outcomes[0], Job):
        await bench.failure(outcomes[0])
    else:
        assert isinstance(outcomes[0], QueueFullError)


async def test_slow_store_changes_nothing_else(make_bench: MakeBench) -> None:
    bench = make_bench(store=SlowStore(result_ttl=60, max_log_size=1000))
    gate = bench.gate()
    gate.open()
    name = bench.holding("coroutine", gate)
    jobs = await asyncio.gather(*(bench.submit(name, number) for number in range(20)))
    assert [await bench.result(job) for job in jobs] == [[number] for number in range(20)]
    await bench.at_rest()


async def test_estimate_while_a_slow_store_accepts_the_first_job(make_bench: MakeBench) -> None:
    class Later(MemoryStore):
        async def enqueue(self, ticket: Ticket, *, max_waiting: int | None) -> str:
            id = await super().enqueue(ticket, max_waiting=max_waiting)
            await asyncio.sleep(0)
            return id

    bench = make_bench(store=Later(result_ttl=60, max_log_size=1000))
    gate = bench.gate()
    gate.open()
    submitting = asyncio.ensure_future(bench.submit(bench.holding("coroutine", gate)))
    await asyncio.sleep(0)
    try:
        (job,) = bench.queue.jobs.values()
        bench.queue.estimate(job.id)  # whatever it is
    finally:
        await bench.outcome(await submitting)
