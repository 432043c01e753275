"""The queue and its executors: what runs when, and what is told of it."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from msgspec import UNSET

from jobwire.exceptions import AppError, QueueFullError
from jobwire.protocol.messages import (
    Log,
    ProcessGenerating,
    ProcessStarts,
    decode_message,
    decode_value,
)
from jobwire.server.context import CancelToken, Progress, Request, Session, log
from jobwire.server.endpoint import Durations
from jobwire.server.executors.thread import ThreadExecutor
from jobwire.server.run import Run
from server.working import (
    KINDS,
    REQUEST,
    Bench,
    Gate,
    Kind,
    MakeBench,
    Unsendable,
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


# -- a job's course -------------------------------------------------------------------


@each_kind
async def test_job_starts_and_ends(bench: Bench, gate: Gate, kind: Kind) -> None:
    job = await bench.submit(bench.holding(kind, gate), "x")
    await gate.holds(1)
    assert bench.messages(job) == [ProcessStarts(job.id, None)]
    assert bench.queue.running == 1
    assert bench.queue.jobs == {job.id: job}
    gate.admit()
    assert await bench.result(job) == ["x"]
    generating = [["x"]] if "generator" in kind else []
    assert bench.outputs(job) == generating
    assert bench[kind].counts == {"completed": 1, "failed": 0, "cancelled": 0}
    await bench.at_rest()


@pytest.mark.parametrize("kind", ["generator", "async_generator"])
async def test_outputs_are_told_as_edits_and_the_last_whole(bench: Bench, kind: Kind) -> None:
    texts = ["a", "ab", "ab", "x", ""]

    @bench.endpoint(name="generator")
    def generator() -> Iterator[tuple[str, list[int]]]:
        for number, text in enumerate(texts):
            yield text, list(range(number % 3))

    @bench.endpoint(name="async_generator")
    async def async_generator() -> AsyncIterator[tuple[str, list[int]]]:
        for values in generator():
            yield values

    job = await bench.submit(kind)
    outputs = [[text, list(range(number % 3))] for number, text in enumerate(texts)]
    assert await bench.result(job) == outputs[-1]
    assert bench.outputs(job) == outputs
    second = bench.messages(job)[2]
    assert isinstance(second, ProcessGenerating)
    assert second.output.data is not UNSET
    assert decode_value(second.output.data) == [[["append", [], "b"]], [["add", [0], 0]]]
    assert second.output.is_generating
    assert second.success


async def test_outputs_that_the_generator_changes_later_are_kept(bench: Bench) -> None:
    @bench.endpoint
    def growing() -> Iterator[list[int]]:
        numbers: list[int] = []
        for number in range(3):
            numbers.append(number)
            yield numbers
        numbers.clear()

    job = await bench.submit("growing")
    assert await bench.result(job) == [[0, 1, 2]]
    assert bench.outputs(job) == [[[0]], [[0, 1]], [[0, 1, 2]]]


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("kind", ["generator", "async_generator"])
async def test_generator_without_outputs_gives_nulls(
    bench: Bench, kind: Kind, outputs: int
) -> None:
    def generator() -> Iterator[Any]:
        yield from ()

    async def async_generator() -> AsyncIterator[Any]:
        for nothing in range(0):
            yield nothing

    function = {"generator": generator, "async_generator": async_generator}[kind]
    item = int if outputs == 1 else tuple[int, int]
    of: Any = Iterator if kind == "generator" else AsyncIterator
    function.__annotations__["return"] = of[item]
    bench.endpoint(name="none")(function)
    job = await bench.submit("none")
    assert await bench.result(job) == [None] * outputs
    assert bench.outputs(job) == []


async def test_what_a_function_asks_for_is_given(bench: Bench) -> None:
    seen: list[Any] = []

    @bench.endpoint
    def ask(
        request: Request, x: int, session: Session, token: CancelToken, *, progress: Progress
    ) -> None:
        seen.extend([request, x, session, token, progress])

    session = Session("hash", "me")
    await bench.result(await bench.submit("ask", 3, session=session))
    request, x, given, token, progress = seen
    assert request is REQUEST
    assert x == 3
    assert given is session
    assert isinstance(token, CancelToken)
    assert isinstance(progress, Progress)


@each_kind
async def test_log_lines_are_events(bench: Bench, kind: Kind) -> None:
    def function() -> None:
        log.warning("careful", title="Look", duration=None, visible=False)

    def generator() -> Iterator[int]:
        log.info("first")
        yield 1
        log.info("second")

    async def coroutine() -> None:
        await asyncio.sleep(0)
        log.error("bad")

    async def async_generator() -> AsyncIterator[int]:
        log.success("good")
        yield 1

    functions = [function, generator, coroutine, async_generator]
    bench.endpoint(name=kind)(functions[KINDS.index(kind)])
    job = await bench.submit(kind)
    await bench.outcome(job)
    lines = [message for message in bench.messages(job) if isinstance(message, Log)]
    assert (
        lines
        == {
            "function": [Log(job.id, "careful", "warning", None, False, "Look")],
            "generator": [
                Log(job.id, "first", "info", 10, True, "Info"),
                Log(job.id, "second", "info", 10, True, "Info"),
            ],
            "coroutine": [Log(job.id, "bad", "error", 10, True, "Error")],
            "async_generator": [Log(job.id, "good", "success", 10, True, "Success")],
        }[kind]
    )


# -- slots ----------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("limit", [1, 3])
async def test_limit_is_reached_and_kept(bench: Bench, gate: Gate, kind: Kind, limit: int) -> None:
    name = bench.holding(kind, gate, concurrency_limit=limit)
    jobs = [await bench.submit(name, number) for number in range(10)]
    await gate.holds(limit)
    assert bench.queue.running == limit
    assert bench.store.waiting() == 10 - limit
    for _ in range(10):
        gate.admit()
    assert [await bench.result(job) for job in jobs] == [[number] for number in range(10)]
    assert gate.most == limit
    await bench.at_rest()


async def test_smallest_limit_of_a_shared_line_counts(bench: Bench, gate: Gate) -> None:
    names = [
        bench.holding(kind, gate, concurrency_id="shared", concurrency_limit=limit)
        for kind, limit in zip(KINDS, (5, 2, None, 3), strict=True)
    ]
    jobs = [await bench.submit(names[number % 4], number) for number in range(12)]
    await gate.holds(2)
    gate.open()
    assert [await bench.result(job) for job in jobs] == [[number] for number in range(12)]
    assert gate.most == 2


@pytest.mark.parametrize(("kind", "most"), [("coroutine", 20), ("function", 4)])
async def test_no_limit_is_all_or_a_thread_each(
    make_bench: MakeBench, kind: Kind, most: int
) -> None:
    bench = make_bench(max_threads=4)
    gate = bench.gate()
    name = bench.holding(kind, gate, concurrency_limit=None)
    jobs = [await bench.submit(name) for _ in range(20)]
    await gate.holds(most)
    gate.open()
    for job in jobs:
        await bench.result(job)
    assert gate.most == most


@pytest.mark.parametrize(("kind", "most"), [("coroutine", 20), ("generator", 4)])
async def test_jobs_of_an_endpoint_without_queue_do_not_wait(
    make_bench: MakeBench, kind: Kind, most: int
) -> None:
    bench = make_bench(max_threads=4)
    gate = bench.gate()
    bench.holding(kind, gate, queue=False)
    for _ in range(20):
        await bench.submit(kind)
    await gate.holds(most)


@pytest.mark.parametrize("kind", ["function", "coroutine"])
async def test_first_come_first_served(bench: Bench, kind: Kind) -> None:
    order: list[int] = []

    def function(x: int) -> None:
        order.append(x)

    async def coroutine(x: int) -> None:
        order.append(x)

    bench.endpoint(name="f", concurrency_limit=1)(function if kind == "function" else coroutine)
    jobs = [await bench.submit("f", number) for number in range(200)]
    for job in jobs:
        await bench.result(job)
    assert order == list(range(200))


async def order_of(bench: Bench, jobs: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Submit jobs while another runs; return the order in which they are run."""
    gate = bench.gate()
    order: list[str] = []
    bench.holding("function", gate, name="first", concurrency_id="line", concurrency_limit=1)

    @bench.endpoint(concurrency_id="line")
    def run(x: str) -> None:
        order.append(x)

    await bench.submit("first")
    await gate.holds(1)
    submitted = [await bench.submit("run", name, **options) for name, options in jobs]
    gate.open()
    for job in submitted:
        await bench.result(job)
    return order


async def test_sharers_take_turns(bench: Bench) -> None:
    jobs = [(f"{who}{number}", {"sharer": who}) for who in "abc" for number in range(3)]
    order = await order_of(bench, jobs)
    assert order == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


async def test_higher_priority_goes_first(bench: Bench) -> None:
    jobs = [(f"{priority}", {"priority": priority, "sharer": "a"}) for priority in (0, -1, 5, 2)]
    assert await order_of(bench, [*jobs, ("late", {"sharer": "b"})]) == [
        "5",
        "2",
        "0",
        "late",
        "-1",
    ]


async def test_full_queue_takes_no_more_but_those_that_wait_run(make_bench: MakeBench) -> None:
    bench = make_bench(max_size=2)
    gate = bench.gate()
    name = bench.holding("function", gate)
    jobs = [await bench.submit(name)]
    await gate.holds(1)
    jobs += [await bench.submit(name), await bench.submit(name)]
    with pytest.raises(QueueFullError, match="Max size is 2 and size is 2"):
        await bench.submit(name)
    assert set(bench.queue.jobs) == {job.id for job in jobs}
    gate.admit()
    await bench.result(jobs[0])
    await gate.holds(1)
    jobs.append(await bench.submit(name))
    gate.open()
    for job in jobs:
        await bench.result(job)
    assert bench[name].counts["completed"] == 4
    await bench.at_rest()


# -- threads --------------------------------------------------------------------------


async def test_threads_are_made_as_needed(make_bench: MakeBench) -> None:
    bench = make_bench(max_threads=3)
    gate = bench.gate()
    names: set[str] = set()

    @bench.endpoint(concurrency_limit=None)
    def function() -> None:
        names.add(threading.current_thread().name)
        gate.hold()

    gate.open()
    for _ in range(20):
        await bench.result(await bench.submit("function"))
    assert names == {"jobwire-worker-1"}
    gate._threads = threading.Semaphore(0)
    for _ in range(10):
        await bench.submit("function")
    await gate.holds(3)
    assert names == {"jobwire-worker-1", "jobwire-worker-2", "jobwire-worker-3"}


async def test_long_line_leaves_threads_to_others(make_bench: MakeBench) -> None:
    bench = make_bench(max_threads=1)
    order: list[str] = []
    gate = bench.gate()
    for group in "abc":

        def function(x: str) -> None:
            order.append(x)
            if x == "a0":
                gate.hold()

        bench.endpoint(name=group)(function)
    jobs = [await bench.submit("a", f"a{number}") for number in range(50)]
    await gate.holds(1)
    jobs += [await bench.submit(group, f"{group}{n}") for group in "bc" for n in range(5)]
    await asyncio.sleep(0)
    gate.open()
    for job in jobs:
        await bench.result(job)
    # A line each, in turns.
    assert order[:15] == [f"{group}{n}" for n in range(5) for group in "abc"]
    assert order[15:] == [f"a{number}" for number in range(5, 50)]


async def test_lines_of_both_executors_share_slots(make_bench: MakeBench) -> None:
    bench = make_bench(max_threads=2)
    gate = bench.gate()
    gate.open()
    for kind in KINDS:
        bench.holding(kind, gate, concurrency_id="line", concurrency_limit=2)
    jobs = [await bench.submit(random.choice(KINDS), number) for number in range(200)]
    assert [await bench.result(job) for job in jobs] == [[number] for number in range(200)]
    assert gate.most <= 2
    await bench.at_rest()


class PausedQueue:
    """A thread's queue whose taker is interrupted right after it took something."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self.taken = threading.Event()
        self.go_on = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def get(self) -> Any:
        run = self._queue.get()
        if run is not None and not self.taken.is_set():
            self.taken.set()
            assert self.go_on.wait(10)
        return run


async def test_thread_that_was_given_a_run_is_not_idle(bench: Bench, gate: Gate) -> None:
    bench.holding("function", gate, concurrency_limit=2)
    warm = await bench.submit("function")
    await gate.holds(1)
    executor = bench.queue._threads
    paused: Any = PausedQueue(executor._ready)
    executor._ready = paused
    gate.admit()
    await bench.result(warm)
    await bench.until(lambda: executor._idle == 1)
    await bench.submit("function")
    await bench.until(paused.taken.is_set)
    await bench.submit("function")
    await asyncio.sleep(0)
    paused.go_on.set()
    async with asyncio.timeout(1):
        await gate.holds(2)


# -- batches ------------------------------------------------------------------------------


async def hold_line(bench: Bench) -> Gate:
    """Occupy the line ``batch``, so that jobs can gather."""
    gate = bench.gate()
    bench.holding("function", gate, name="first", concurrency_id="batch", concurrency_limit=1)
    await bench.submit("first")
    await gate.holds(1)
    return gate


@pytest.mark.parametrize("kind", ["function", "coroutine"])
async def test_batches_are_as_large_as_they_can_be(bench: Bench, kind: Kind) -> None:
    calls: list[tuple[list[int], list[str]]] = []

    def function(x: list[int], y: list[str]) -> list[str]:
        calls.append((x, y))
        return [a * b for a, b in zip(x, y, strict=True)]

    async def coroutine(x: list[int], y: list[str]) -> list[str]:
        return function(x, y)

    declare = bench.endpoint(name="f", batch=True, max_batch_size=3, concurrency_id="batch")
    declare(function if kind == "function" else coroutine)
    gate = await hold_line(bench)
    jobs = [await bench.submit("f", number, "ab") for number in range(7)]
    gate.open()
    assert [await bench.result(job) for job in jobs] == [["ab" * number] for number in range(7)]
    assert calls == [
        ([0, 1, 2], ["ab"] * 3),
        ([3, 4, 5], ["ab"] * 3),
        ([6], ["ab"]),
    ]
    assert bench["f"].counts["completed"] == 7
    await bench.at_rest()


async def test_batch_with_several_outputs_or_none(bench: Bench) -> None:
    @bench.endpoint(batch=True)
    def two(x: list[int]) -> tuple[list[int], list[str]]:
        return x, [str(each) for each in x]

    @bench.endpoint(batch=True)
    def none(x: list[int]) -> None:
        pass

    jobs = [await bench.submit("two", number) for number in range(3)]
    assert [await bench.result(job) for job in jobs] == [[0, "0"], [1, "1"], [2, "2"]]
    jobs = [await bench.submit("none", number) for number in range(3)]
    assert [await bench.result(job) for job in jobs] == [[], [], []]


@pytest.mark.parametrize(
    ("gives", "error"),
    [
        ([1], "TypeError"),
        ([1, 2, 3], "TypeError"),
        (None, "TypeError"),
        ("ab", "TypeError"),
        ({"a": 1, "b": 2}, "TypeError"),
        ([1, Unsendable()], "OutputError"),
        (ValueError("x"), "ValueError"),
    ],
)
async def test_batch_fails_as_a_whole(bench: Bench, gives: Any, error: str) -> None:
    @bench.endpoint(batch=True, concurrency_id="batch")
    def f(x: list[int]) -> list[Any]:
        if isinstance(gives, Exception):
            raise gives
        result: list[Any] = gives
        return result

    gate = await hold_line(bench)
    jobs = [await bench.submit("f", number) for number in range(2)]
    gate.open()
    for job in jobs:
        text, title = await bench.failure(job)
        assert error in text
        assert title == "Error"
    assert bench["f"].counts == {"completed": 0, "failed": 2, "cancelled": 0}
    assert bench["f"].durations.mean is None
    await bench.at_rest()


@pytest.mark.parametrize("gives", [([1, 2],), ([1, 2], [3]), ([1, 2],) * 3, [], None])
async def test_batch_with_several_outputs_fails_if_they_do_not_fit(
    bench: Bench, gives: Any
) -> None:
    @bench.endpoint(batch=True, concurrency_id="batch")
    def f(x: list[int]) -> tuple[list[int], list[int]]:
        result: tuple[list[int], list[int]] = gives
        return result

    gate = await hold_line(bench)
    jobs = [await bench.submit("f", number) for number in range(2)]
    gate.open()
    for job in jobs:
        await bench.failure(job)
    await bench.at_rest()


async def test_one_of_a_batch_is_cancelled(bench: Bench) -> None:
    inside = bench.gate()

    @bench.endpoint(batch=True, concurrency_id="batch")
    async def f(x: list[int]) -> list[int]:
        await inside.hold_async()
        return x

    gate = await hold_line(bench)
    waiting, running, other = [await bench.submit("f", number) for number in range(3)]
    assert bench.queue.cancel(waiting.id) == "removed"
    gate.open()
    await inside.holds(1)
    assert bench.queue.cancel(running.id) == "unstoppable"
    assert await bench.cancelled(waiting)
    assert await bench.cancelled(running)
    inside.open()
    assert await bench.result(other) == [2]
    assert bench["f"].counts == {"completed": 1, "failed": 0, "cancelled": 2}
    await bench.at_rest()


async def test_batch_is_stopped_when_all_its_jobs_are_cancelled(bench: Bench) -> None:
    inside = bench.gate()

    @bench.endpoint(batch=True, concurrency_id="batch")
    async def f(x: list[int]) -> list[int]:
        await inside.hold_async()
        return x

    gate = await hold_line(bench)
    jobs = [await bench.submit("f", number) for number in range(3)]
    gate.open()
    await inside.holds(1)
    for job in jobs:
        bench.queue.cancel(job.id)
    await bench.at_rest()
    for job in jobs:
        assert await bench.cancelled(job)


async def test_log_lines_of_a_batch_go_to_each(bench: Bench) -> None:
    @bench.endpoint(batch=True, concurrency_id="batch")
    def f(x: list[int]) -> list[int]:
        log.info("hello")
        return x

    gate = await hold_line(bench)
    jobs = [await bench.submit("f", number) for number in range(2)]
    gate.open()
    for job in jobs:
        await bench.result(job)
        assert [m.log for m in bench.messages(job) if isinstance(m, Log)] == ["hello"]


# -- context --------------------------------------------------------------------------------

variable: ContextVar[str] = ContextVar("variable", default="unset")


@each_kind
async def test_variables_of_one_run_are_not_those_of_the_next(bench: Bench, kind: Kind) -> None:
    def change() -> str:
        before = variable.get()
        variable.set("changed")
        return before

    def function() -> str:
        return change()

    def generator() -> Iterator[str]:
        yield change()

    async def coroutine() -> str:
        return change()

    async def async_generator() -> AsyncIterator[str]:
        yield change()

    functions = [function, generator, coroutine, async_generator]
    bench.endpoint(name=kind)(functions[KINDS.index(kind)])
    jobs = [await bench.submit(kind) for _ in range(3)]
    assert [await bench.result(job) for job in jobs] == [["unset"]] * 3


@pytest.mark.parametrize("kind", ["function", "coroutine"])
async def test_variables_of_one_caller_are_not_those_of_another_job(
    bench: Bench, kind: Kind
) -> None:
    def function() -> str:
        return variable.get()

    async def coroutine() -> str:
        return variable.get()

    bench.endpoint(name=kind)(function if kind == "function" else coroutine)
    submit = asyncio.get_running_loop().create_task
    context = copy_context()
    context.run(variable.set, "of another")
    first = submit(bench.submit(kind), context=context)
    second = submit(bench.submit(kind))
    await bench.outcome(await first)
    assert await bench.result(await second) == ["unset"]


# -- estimates --------------------------------------------------------------------------------


def test_mean_duration_follows_changes() -> None:
    durations = Durations()
    assert durations.mean is None
    durations.add(2.0)
    assert durations.mean == 2.0
    durations.add(3.0)
    assert durations.mean == pytest.approx(2.1)
    for _ in range(100):
        durations.add(10.0)
    assert durations.mean == pytest.approx(10, rel=0.001)


async def test_durations_are_those_of_successful_calls(bench: Bench) -> None:
    gate = bench.gate()

    @bench.endpoint
    async def nap(fail: bool) -> None:
        await gate.hold_async()
        if fail:
            raise AppError("x")

    means = []
    for fail in (False, True):
        job = await bench.submit("nap", fail)
        await gate.holds(1)
        await asyncio.sleep(0.02)
        gate.admit()
        await bench.outcome(job)
        await bench.at_rest()
        means.append(bench["nap"].durations.mean)
    mean = means[0]
    assert mean is not None
    assert 0.02 <= mean < 1
    assert means == [mean, mean]
    assert bench["nap"].seconds >= 0.04
    following = await bench.submit("nap", False)
    await gate.holds(1)
    assert bench.messages(following) == [ProcessStarts(following.id, mean)]


@pytest.mark.parametrize("limit", [1, 2])
async def test_estimates(bench: Bench, limit: int) -> None:
    gate = bench.gate()
    name = bench.holding("coroutine", gate, concurrency_limit=limit)
    running = [await bench.submit(name) for _ in range(limit)]
    await gate.holds(limit)
    waiting = [await bench.submit(name) for _ in range(4)]
    for rank, job in enumerate(waiting):
        estimate = bench.queue.estimate(job.id)
        assert estimate is not None
        assert (estimate.rank, estimate.size, estimate.eta) == (rank, 4, None)
    assert all(bench.queue.estimate(job.id) is None for job in running)
    bench[name].durations.add(100.0)
    for rank, job in enumerate(waiting):
        estimate = bench.queue.estimate(job.id)
        assert estimate is not None
        # Its own time, that of those ahead over all slots, and what is left of the oldest.
        assert estimate.eta == pytest.approx(100 + rank * 100 / limit + 100, abs=5)
    bench[name].durations.mean = 0.001
    await asyncio.sleep(0.01)
    estimate = bench.queue.estimate(waiting[1].id)
    assert estimate is not None
    assert estimate.eta == pytest.approx(0.001 + 0.001 / limit)  # the oldest is overdue
    gate.open()
    for job in waiting:
        await bench.result(job)
    assert bench.queue.estimate(waiting[0].id) is None


async def test_estimate_knows_what_runs_in_a_shared_line(bench: Bench) -> None:
    gate = bench.gate()
    bench.holding("coroutine", gate, name="slow", concurrency_id="line", concurrency_limit=1)
    bench.holding("coroutine", gate, name="quick", concurrency_id="line")
    bench["slow"].durations.add(100.0)
    bench["quick"].durations.add(1.0)
    await bench.submit("slow")
    await gate.holds(1)
    estimate = bench.queue.estimate((await bench.submit("quick")).id)
    assert estimate is not None
    assert estimate.eta == pytest.approx(101, abs=5)


# -- what stays -----------------------------------------------------------------------------


async def test_nothing_is_kept_of_jobs_that_ended(bench: Bench) -> None:
    gate = bench.gate()
    gate.open()
    for kind in KINDS:
        bench.holding(kind, gate, concurrency_limit=2)
    jobs = [await bench.submit(KINDS[number % 4], number) for number in range(200)]
    for job in jobs[::7]:
        bench.queue.cancel(job.id)
    for job in jobs:
        await bench.outcome(job)
    await bench.at_rest()
    assert not bench.queue._joined
    assert not any(bench.queue._limited.values())
    assert bench.queue._threads._ready.empty()
    assert len(bench.ended) == 200


async def test_executor_starts_nothing_after_its_close(bench: Bench) -> None:
    gate = bench.gate()
    executor = ThreadExecutor(2, lambda run: None)
    executor.close()
    name = bench.holding("function", gate)
    job = await bench.submit(name)
    run = Run(
        [job],
        executor=executor,
        store=bench.store,
        on_end=lambda job, outcome: None,
        on_progress=lambda job: None,
        on_start=lambda run: None,
    )
    executor.start(run)
    assert executor._threads == 0
    assert executor._ready.empty()


async def test_events_of_a_run_can_be_decoded(bench: Bench) -> None:
    """What is told is what a client reads, in this order."""

    @bench.endpoint
    def f(progress: Progress) -> Iterator[str]:
        log.info("line")
        progress(0.5, desc="half")
        yield "a"
        yield "ab"

    job = await bench.submit("f")
    await bench.result(job)
    kinds = [type(decode_message(event)).__name__ for event in bench.store.read(job.id).events]
    assert kinds == [
        "ProcessStarts",
        "Log",
        "ProcessGenerating",
        "ProcessGenerating",
        "ProcessCompleted",
    ]
    assert bench.progressed == [job.id]
