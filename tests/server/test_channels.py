"""What sessions are told: all of it, in order, and no more often than is of use."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import json

from jobwire.exceptions import JobwireError, QueueFullError
from jobwire.protocol.messages import (
    Estimation,
    Message,
    ProcessCompleted,
    ProcessStarts,
    decode_message,
)
from jobwire.protocol.messages import Progress as ProgressMessage
from jobwire.server.channels import (
    CHUNK_SIZE,
    PROGRESS_INTERVAL,
    RANK_INTERVAL,
    RANKS_PER_SECOND,
    Channel,
    Channels,
)
from jobwire.server.context import Progress, Session
from jobwire.server.delivery import Bell, Delivery
from jobwire.server.queue import Estimate
from jobwire.server.stores.base import Ticket
from jobwire.server.stores.memory import MemoryStore
from jobwire.types import ProgressUnit
from server.threads import hasty
from server.working import Bench, benches


class StandIn:
    """What a channel asks of a queue: who waits where, and how far those are that run."""

    class Job:
        def __init__(self, id: str) -> None:
            self.id = id
            self.run: Any = None

    class Run:
        units: list[ProgressUnit] | None = None

    def __init__(self) -> None:
        self.jobs: dict[str, StandIn.Job] = {}
        self.line: list[str] = []

    def estimate(self, id: str) -> Estimate | None:
        if id not in self.line:
            return None
        return Estimate(self.line.index(id), len(self.line), None)


class Scene:
    """A channel with a real store and delivery."""

    def __init__(self) -> None:
        self.delivery = Delivery()
        self.store = MemoryStore(result_ttl=60, max_log_size=100_000_000)
        self.store.open(self.delivery.wake, {})
        self.queue = StandIn()
        queue: Any = self.queue
        self.channel = Channel(
            Session("hash", None), store=self.store, queue=queue, delivery=self.delivery, now=0
        )
        self.now = 1000.0

    async def add(self, id: str, *, waits: bool = False, delay: float = 0.0) -> None:
        self.channel.add(id, delay=delay)
        self.queue.jobs[id] = StandIn.Job(id)
        if waits:
            self.queue.line.append(id)
        await self.store.enqueue(Ticket(id, "f", b"", "line"), max_waiting=None)

    def start(self, id: str) -> None:
        if id in self.queue.line:
            self.queue.line.remove(id)
        self.queue.jobs[id].run = StandIn.Run()
        self.store.append(id, json.encode({"msg": "process_starts", "event_id": id}))

    def show(self, id: str, step: float) -> None:
        self.queue.jobs[id].run.units = [ProgressUnit(index=step)]
        self.delivery.wake_for_progress(id)

    def finish(self, id: str) -> None:
        del self.queue.jobs[id]
        self.store.finish(id, json.encode({"msg": "process_completed", "event_id": id}))

    def attach(self) -> Bell:
        """Open a stream."""
        bell = Bell()
        self.channel.attach(bell)
        return bell

    async def told(self) -> list[Message]:
        """All that there is to tell now."""
        messages: list[Message] = []
        await asyncio.sleep(0)
        while chunk := self.channel.collect(self.now):
            messages += [decode_message(event) for event in unframed(chunk)]
        return messages


def unframed(chunk: bytes) -> list[bytes]:
    assert chunk.endswith(b"\n\n")
    events = chunk.removesuffix(b"\n\n").split(b"\n\n")
    assert all(event.startswith(b"data: ") for event in events)
    # The numbers of events are looked at where they matter.
    return [re.sub(rb',"seq":\d+}$', b"}", event.removeprefix(b"data: ")) for event in events]


@pytest.fixture
async def scene() -> Scene:
    return Scene()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with benches() as make:
        yield make()


# -- events -----------------------------------------------------------------------------

jobs = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.sampled_from(["add", "finish"]), jobs),
    st.tuples(st.just("append"), jobs),
    st.tuples(st.just("append"), jobs),
    st.tuples(st.sampled_from(["collect", "collect", "loop", "loop", "cut", "end"]), st.just(0)),
)


@settings(max_examples=300)
@given(st.lists(steps, max_size=60))
async def test_each_stream_is_told_all_once_and_in_order(history: list[tuple[str, int]]) -> None:
    """All of what no stream before it that ended well was told."""
    scene = Scene()
    logs: dict[str, list[bytes]] = {}
    told: list[bytes] = []  # over this stream
    confirmed: set[str] = set()
    scene.attach()

    def check() -> None:
        for id, log in logs.items():
            mine = [event for event in told if event.startswith(id.encode() + b" ")]
            assert mine == ([] if id in confirmed else log[: len(mine)])

    def ended() -> set[str]:
        ends = {event.split()[0].decode() for event in told if event.endswith(b" end}")}
        return ends | confirmed

    for number, (step, job) in enumerate([*history, ("cut", 0), ("loop", 0), ("collect", 0)]):
        open = list(scene.queue.jobs)
        id = open[job % len(open)] if open else None
        if step == "add":
            logs[f"job{number}"] = []
            await scene.add(f"job{number}")
        elif step == "append" and id is not None:
            logs[id].append(f"{id} {number}}}".encode())
            scene.store.append(id, logs[id][-1])
        elif step == "finish" and id is not None:
            logs[id].append(f"{id} end}}".encode())
            scene.store.finish(id, logs[id][-1])
            del scene.queue.jobs[id]
        elif step == "loop":
            await asyncio.sleep(0)
        elif step == "collect" and (chunk := scene.channel.collect(scene.now)):
            told += unframed(chunk)
        elif step in ("cut", "end"):
            if step == "cut":
                scene.channel.bell = None
            else:
                scene.channel.detach(now=scene.now)
                confirmed = ended()
            told.clear()
            scene.attach()
        check()
        assert scene.channel.pending is (ended() != set(logs))
        assert set(scene.channel.jobs) == set(logs) - confirmed
        assert set(scene.delivery._followers) == set(logs) - confirmed
    assert sorted(told) == sorted(
        event for id, log in logs.items() if id not in confirmed for event in log
    )
    assert scene.channel.collect(scene.now) == b""


@pytest.mark.parametrize("seed", range(15))
async def test_nothing_is_lost_between_threads_and_streams_that_come_and_go(seed: int) -> None:
    """Threads write, jobs join, and a reader reads, pauses, leaves and comes back."""
    rng = random.Random(seed)
    scene = Scene()
    channel = scene.channel
    ids = [f"job{number}" for number in range(24)]
    logs = {
        id: [
            f"{id} {n} ".encode() + b"x" * rng.choice([1, 1, 1000, 50_000]) + b"}"
            for n in range(20)
        ]
        for id in ids
    }

    def write(mine: list[str], rng: random.Random) -> None:
        left = {id: iter(logs[id]) for id in mine}
        while left:
            id = rng.choice(list(left))
            event = next(left[id], None)
            if event is None:
                scene.store.finish(id, f"{id} end}}".encode())
                del left[id]
            else:
                scene.store.append(id, event)
            if rng.random() < 0.02:
                time.sleep(0.0001)

    told: dict[str, list[bytes]] = {}
    writers: list[threading.Thread] = []
    with hasty():
        async with asyncio.timeout(20):
            while len(writers) < 4 or channel.jobs:
                bell = scene.attach()
                read: dict[str, list[bytes]] = {id: [] for id in ids}
                for _ in range(rng.choice([5, 50, 5000])):
                    if len(writers) < 4 and rng.random() < 0.2:
                        mine = ids[6 * len(writers) : 6 * len(writers) + 6]
                        for id in mine:
                            await scene.add(id)
                        random_of_writer = random.Random(rng.random())
                        writer = threading.Thread(target=write, args=(mine, random_of_writer))
                        writers.append(writer)
                        writer.start()
                    if chunk := channel.collect(time.monotonic()):
                        assert len(chunk) < 2 * CHUNK_SIZE + 51_000
                        for event in unframed(chunk):
                            read[event.split()[0].decode()].append(event)
                    elif channel.pending:
                        await bell.wait(5)
                    else:
                        break
                    if rng.random() < 0.3:
                        await asyncio.sleep(0)
                if channel.pending and rng.random() < 0.7:
                    channel.bell = None  # cut: what was told may not have arrived
                else:
                    confirmed = set(channel.jobs)
                    channel.detach(now=0)
                    for id in confirmed - set(channel.jobs):
                        assert id not in told
                        told[id] = read[id]
                await asyncio.sleep(rng.choice([0, 0, 0.001]))
    for writer in writers:
        writer.join()
    assert told == {id: [*log, f"{id} end}}".encode()] for id, log in logs.items()}


async def test_late_stream_is_told_all(scene: Scene) -> None:
    await scene.add("a")
    scene.start("a")
    scene.finish("a")
    await asyncio.sleep(0)
    scene.attach()
    assert scene.channel.pending
    assert await scene.told() == [ProcessStarts("a"), ProcessCompleted("a")]
    assert not scene.channel.pending
    assert await scene.told() == []


async def test_what_a_broken_stream_told_is_told_again(scene: Scene) -> None:
    scene.attach()
    await scene.add("a")
    scene.start("a")
    await scene.add("b", waits=True)
    assert await scene.told() == [Estimation("b", 0, 1), ProcessStarts("a")]
    scene.finish("a")
    assert await scene.told() == [ProcessCompleted("a")]
    scene.channel.bell = None
    scene.attach()
    assert await scene.told() == [
        Estimation("b", 0, 1),
        ProcessStarts("a"),
        ProcessCompleted("a"),
    ]
    scene.channel.detach(now=scene.now)
    assert scene.channel.ended == scene.now
    scene.attach()
    assert await scene.told() == [Estimation("b", 0, 1)]


async def test_progress_that_a_broken_stream_told_is_told_again(scene: Scene) -> None:
    scene.attach()
    await scene.add("a")
    scene.start("a")
    scene.show("a", 1)
    assert shown(await scene.told()) == [1]
    scene.channel.bell = None
    scene.attach()
    told = await scene.told()
    scene.now += PROGRESS_INTERVAL
    assert shown(told + await scene.told()) == [1]


async def test_second_stream_takes_over(scene: Scene) -> None:
    first = scene.attach()
    second = scene.attach()
    assert scene.channel.bell is second
    assert scene.channel.streams == 2
    async with asyncio.timeout(5):
        await first.wait(None)  # it hears of it


async def test_chunks_are_bounded_however_much_there_is(scene: Scene) -> None:
    size = 30_000
    for number in range(40):
        await scene.add(f"{number}")
        for _ in range(20):
            scene.store.append(f"{number}", b"x" * size)
        scene.store.finish(f"{number}", b"end")
    await asyncio.sleep(0)
    total = 0
    while chunk := scene.channel.collect(scene.now):
        assert len(chunk) < 2 * CHUNK_SIZE + size
        assert len(chunk) >= CHUNK_SIZE or not scene.channel.pending
        total += len(unframed(chunk))
    assert total == 40 * 21


async def test_event_larger_than_a_chunk_is_told(scene: Scene) -> None:
    await scene.add("a")
    big = b"x" * (3 * CHUNK_SIZE) + b"}"
    for event in (b"before}", big, b"after}"):
        scene.store.append("a", event)
    scene.store.finish("a", b"end}")
    await asyncio.sleep(0)
    chunks = list(iter(lambda: scene.channel.collect(scene.now), b""))
    assert [event for chunk in chunks for event in unframed(chunk)] == [
        b"before}",
        big,
        b"after}",
        b"end}",
    ]


async def test_expired_job_is_forgotten(scene: Scene) -> None:
    await scene.add("a")
    await scene.add("b")
    scene.channel.bell = Bell()
    scene.delivery.forget("a")
    assert scene.channel.jobs == ["b"]
    await scene.channel.bell.wait(5)  # it rings
    assert await scene.told() == []


async def test_job_that_the_store_does_not_know_is_forgotten(scene: Scene) -> None:
    scene.channel.add("unknown")
    assert scene.channel.collect(scene.now) == b""
    assert not scene.channel.pending


async def test_job_that_is_dropped_is_told_no_more(scene: Scene) -> None:
    await scene.add("a")
    scene.start("a")
    scene.channel.drop("a")
    assert await scene.told() == []
    assert not scene.channel.pending
    assert not scene.delivery._followers


async def test_job_that_is_held_back_is_told_later_and_no_other(scene: Scene) -> None:
    bell = scene.attach()
    await scene.add("held", delay=0.01, waits=True)
    await scene.add("other")
    scene.start("other")
    scene.now += RANK_INTERVAL
    assert await scene.told() == [ProcessStarts("other")]
    scene.start("held")
    scene.finish("held")
    assert await scene.told() == []
    assert scene.channel.pending
    async with asyncio.timeout(5):
        while not (told := await scene.told()):
            await bell.wait(None)
    assert told == [ProcessStarts("held"), ProcessCompleted("held")]


async def test_progress_of_a_job_that_is_held_back_is_told_later(scene: Scene) -> None:
    bell = scene.attach()
    await scene.add("a", delay=0.01)
    scene.start("a")
    scene.show("a", 1)
    assert await scene.told() == []
    async with asyncio.timeout(5):
        while not (told := await scene.told()):
            await bell.wait(None)
    scene.now += PROGRESS_INTERVAL
    assert shown(told + await scene.told()) == [1]


async def test_channel_whose_streams_end_well_holds_nothing(scene: Scene) -> None:
    for number in range(100):
        id = f"{number}"
        scene.attach()
        await scene.add(id, waits=True)
        await scene.told()
        scene.start(id)
        scene.show(id, 1)
        await scene.told()
        scene.finish(id)
        await scene.told()
        scene.channel.detach(now=scene.now)
        scene.now += 1
    assert await scene.told() == []
    assert held(scene.channel) == 0
    assert scene.channel.timeout(scene.now) is None
    assert not scene.delivery._followers


def held(channel: Channel) -> int:
    """How many entries a channel has in its tables."""
    return sum(len(value) for value in vars(channel).values() if isinstance(value, (dict, set)))


async def test_channel_without_a_stream_holds_nothing_of_expired_jobs(scene: Scene) -> None:
    for number in range(100):
        id = f"{number}"
        await scene.add(id)
        scene.start(id)
        scene.show(id, 1)
        scene.finish(id)
        await asyncio.sleep(0)
        scene.delivery.forget(id)
        scene.delivery.wake({id: 2 * number + 2}, 2 * number + 2)
        await asyncio.sleep(0)
    assert held(scene.channel) == 0


# -- ranks ------------------------------------------------------------------------------


async def test_rank_is_told_at_once_and_when_it_changes(scene: Scene) -> None:
    await scene.add("a", waits=True)
    await scene.add("b", waits=True)
    assert await scene.told() == [Estimation("a", 0, 2), Estimation("b", 1, 2)]
    for _ in range(5):
        scene.now += RANK_INTERVAL
        assert await scene.told() == []
    scene.start("a")
    assert await scene.told() == [ProcessStarts("a")]
    scene.now += RANK_INTERVAL
    assert await scene.told() == [Estimation("b", 0, 1)]
    scene.start("b")
    scene.now += RANK_INTERVAL
    assert await scene.told() == [ProcessStarts("b")]
    assert scene.channel.timeout(scene.now) is None


async def test_rank_is_that_of_the_moment_it_is_told(scene: Scene) -> None:
    for number in range(5):
        await scene.add(f"{number}", waits=True)
    await scene.told()
    for number in range(3):
        scene.start(f"{number}")
    scene.now += RANK_INTERVAL
    *started, one, other = await scene.told()
    assert started == [ProcessStarts(f"{number}") for number in range(3)]
    assert {repr(one), repr(other)} == {repr(Estimation("3", 0, 2)), repr(Estimation("4", 1, 2))}


async def test_rank_of_a_job_that_starts_at_once_is_not_told(scene: Scene) -> None:
    await scene.add("a", waits=True)
    scene.start("a")
    assert await scene.told() == [ProcessStarts("a")]


async def test_ranks_are_looked_at_when_they_are_due(scene: Scene) -> None:
    assert scene.channel.timeout(scene.now) is None
    await scene.add("a", waits=True)
    await scene.told()
    assert scene.channel.timeout(scene.now) == pytest.approx(RANK_INTERVAL)
    scene.now += 0.4
    assert scene.channel.timeout(scene.now) == pytest.approx(RANK_INTERVAL - 0.4)


@pytest.mark.parametrize("waiting", [10, 500])
async def test_ranks_are_told_so_often_at_most(scene: Scene, waiting: int) -> None:
    for number in range(waiting):
        await scene.add(f"{number}", waits=True)
    assert len(await scene.told()) == waiting
    began, told, changes = scene.now, 0, 0
    while changes < 60:
        timeout = scene.channel.timeout(scene.now)
        assert timeout is not None
        assert timeout > 0
        scene.now += timeout
        scene.queue.line.append(f"another {changes}")  # all sizes change
        changes += 1
        messages = await scene.told()
        assert all(isinstance(message, Estimation) for message in messages)
        assert len(messages) == waiting
        told += len(messages)
        assert told <= (scene.now - began) * RANKS_PER_SECOND + waiting


async def test_ranks_of_a_real_queue(bench: Bench) -> None:
    gate = bench.gate()
    name = bench.holding("function", gate)
    channel = bench.channel()
    await bench.submit(name)
    await gate.holds(1)
    jobs = []
    for number in range(3):
        job = await bench.submit(name, number)
        channel.add(job.id)
        jobs.append(job)
    now = time.monotonic()
    told = [decode_message(event) for event in unframed(channel.collect(now))]
    # Each as of now, whenever it joined.
    assert told == [Estimation(job.id, rank, 3) for rank, job in enumerate(jobs)]
    gate.open()
    for job in jobs:
        await bench.result(job)
    mean = bench[name].durations.mean
    assert mean is not None
    await asyncio.sleep(0)  # the last wake-ups are on their way
    told = [decode_message(event) for event in unframed(channel.collect(now + RANK_INTERVAL))]
    assert [type(message) for message in told] == [ProcessStarts, ProcessCompleted] * 3


# -- progress ---------------------------------------------------------------------------


def shown(messages: list[Message]) -> list[float | None]:
    """The steps that were told."""
    steps = []
    for message in messages:
        if isinstance(message, ProgressMessage):
            assert message.progress_data is not None
            steps += [unit.index for unit in message.progress_data]
    return steps


async def test_progress_is_told_so_often_at_most_and_the_last_of_it(scene: Scene) -> None:
    await scene.add("a")
    scene.start("a")
    began, told = scene.now, shown(await scene.told())
    for step in range(1000):
        scene.show("a", step)
        told += shown(await scene.told())
        scene.now += 0.001
    timeout = scene.channel.timeout(scene.now)
    assert timeout is not None
    assert 0 < timeout <= PROGRESS_INTERVAL
    scene.now += timeout
    told += shown(await scene.told())
    assert told[0] == 0
    assert told[-1] == 999
    assert told == sorted(told, key=float)  # type: ignore[arg-type]
    assert len(told) <= (scene.now - began) / PROGRESS_INTERVAL + 2
    assert scene.channel.timeout(scene.now) is None


async def test_progress_of_all_jobs_is_told_together(scene: Scene) -> None:
    for id in "ab":
        await scene.add(id)
        scene.start(id)
    await scene.told()
    scene.show("a", 1)
    scene.show("b", 2)
    assert shown(await scene.told()) == [1, 2]
    scene.show("a", 3)
    scene.show("a", 4)
    scene.show("b", 5)
    assert await scene.told() == []
    scene.now += PROGRESS_INTERVAL
    assert shown(await scene.told()) == [4, 5]


async def test_progress_is_told_once(scene: Scene) -> None:
    await scene.add("a")
    scene.start("a")
    scene.show("a", 1)
    assert shown(await scene.told()) == [1]
    for _ in range(3):
        scene.delivery.wake_for_progress("a")
        scene.now += PROGRESS_INTERVAL
        assert await scene.told() == []


async def test_no_progress_after_the_end(scene: Scene) -> None:
    await scene.add("a")
    scene.start("a")
    scene.show("a", 1)
    scene.finish("a")
    assert await scene.told() == [ProcessStarts("a"), ProcessCompleted("a")]
    scene.delivery.wake_for_progress("a")
    scene.now += PROGRESS_INTERVAL
    assert await scene.told() == []


async def test_no_progress_before_the_start(scene: Scene) -> None:
    await scene.add("big")
    scene.start("big")
    scene.store.append("big", b"x" * CHUNK_SIZE)
    await scene.add("a")
    scene.start("a")
    scene.show("a", 1)
    messages = await scene.told()
    scene.now += PROGRESS_INTERVAL
    messages += await scene.told()
    kinds = [type(each) for each in messages if getattr(each, "event_id", None) == "a"]
    assert kinds == [ProcessStarts, ProgressMessage]


@pytest.mark.parametrize(
    ("value", "desc"),
    [
        (np.float32(0.5), None),
        ((np.int64(3), np.int64(10)), None),
        ((3, 10), ValueError("as a description")),
        (0.5, "no file named \udcff"),
    ],
    ids=["numpy fraction", "numpy steps", "error as description", "surrogate"],
)
async def test_odd_progress_of_one_job_harms_no_stream(bench: Bench, value: Any, desc: Any) -> None:
    gate = bench.gate()

    @bench.endpoint
    def odd(progress: Progress) -> None:
        with contextlib.suppress(TypeError, ValueError):  # it may be refused
            progress(value, desc=desc)
        gate.hold()

    channel = bench.channel()
    job = await bench.submit("odd")
    channel.add(job.id)
    await gate.holds(1)
    await asyncio.sleep(0)
    first, *more = unframed(channel.collect(time.monotonic()))
    assert isinstance(decode_message(first), ProcessStarts)
    assert all(isinstance(decode_message(event), ProgressMessage) for event in more)


async def test_progress_of_a_real_run(bench: Bench) -> None:
    gate = bench.gate()

    @bench.endpoint
    def f(progress: Progress) -> None:
        for _ in progress.track("abc", desc="letters"):
            pass
        gate.hold()

    channel = bench.channel()
    job = await bench.submit("f")
    channel.add(job.id)
    await gate.holds(1)
    await asyncio.sleep(0)
    messages = [decode_message(event) for event in unframed(channel.collect(time.monotonic()))]
    unit = ProgressUnit(3, 3, "steps", None, "letters")
    assert messages == [ProcessStarts(job.id), ProgressMessage(job.id, [unit])]


# -- bells ------------------------------------------------------------------------------


async def test_bell_that_rang_before_is_heard() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    async with asyncio.timeout(5):
        await bell.wait(None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await bell.wait(None)


async def test_bell_wakes_who_waits() -> None:
    bell = Bell()
    waiting = asyncio.ensure_future(bell.wait(None))
    await asyncio.sleep(0)
    assert not waiting.done()
    bell.ring()
    bell.ring()
    async with asyncio.timeout(5):
        await waiting
    again = asyncio.ensure_future(bell.wait(None))
    await asyncio.sleep(0)
    assert not again.done()
    bell.ring()
    await again


@pytest.mark.parametrize("timeout", [-1.0, 0.0, 0.02])
async def test_wait_for_a_bell_ends_in_time(timeout: float) -> None:
    bell = Bell()
    began = time.monotonic()
    await bell.wait(timeout)
    assert timeout <= time.monotonic() - began + 0.001
    assert time.monotonic() - began < 5


async def test_wait_that_was_given_up_leaves_nothing() -> None:
    bell = Bell()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.001):
            await bell.wait(100)
    loop: Any = asyncio.get_running_loop()
    assert not [timer for timer in loop._scheduled if not timer.cancelled()]
    bell.ring()
    async with asyncio.timeout(5):
        await bell.wait(None)


# -- delivery ---------------------------------------------------------------------------


class Follower:
    listens = True

    def __init__(self) -> None:
        self.news: list[tuple[str, bool]] = []
        self.forgotten: list[str] = []
        self.threads: set[int] = set()

    def notify(self, id: str, *, progress: bool, number: int = 0) -> None:
        self.news.append((id, progress))
        self.threads.add(threading.get_ident())

    def forget(self, id: str) -> None:
        self.forgotten.append(id)


async def test_followers_are_told_of_their_jobs() -> None:
    delivery = Delivery()
    first, second = Follower(), Follower()
    delivery.follow("a", first)
    delivery.follow("a", second)
    delivery.follow("b", second)
    delivery.wake({"a": 1}, 1)
    delivery.wake_for_progress("b")
    delivery.wake({"unknown": 2}, 2)
    assert first.news == []
    await asyncio.sleep(0)
    assert first.news == [("a", False)]
    assert second.news == [("a", False), ("b", True)]
    delivery.unfollow("a", first)
    delivery.unfollow("a", first)
    delivery.unfollow("unknown", first)
    delivery.wake({"a": 3}, 3)
    await asyncio.sleep(0)
    assert len(first.news) == 1
    assert len(second.news) == 3
    delivery.forget("a")
    delivery.forget("a")
    assert (first.forgotten, second.forgotten) == ([], ["a"])
    delivery.unfollow("b", second)
    assert not delivery._followers


async def test_no_wake_up_is_lost_between_threads() -> None:
    delivery = Delivery()
    follower = Follower()
    threads, wakes = 4, 500
    ids = [f"{thread} {number}" for thread in range(threads) for number in range(wakes)]
    for id in ids:
        delivery.follow(id, follower)

    def wake(thread: int) -> None:
        for number in range(wakes):
            delivery.wake({f"{thread} {number}": 1}, 1)
            if number % 50 == 0:
                time.sleep(0)

    with hasty():
        await asyncio.gather(*(asyncio.to_thread(wake, thread) for thread in range(threads)))
    await asyncio.sleep(0)
    assert sorted(follower.news) == sorted((id, False) for id in ids)
    assert follower.threads == {threading.get_ident()}
    assert not delivery._news


def test_wake_up_after_the_loop_was_closed_is_harmless() -> None:
    async def make() -> Delivery:
        return Delivery()

    delivery = asyncio.run(make())
    delivery.wake({"a": 1}, 1)
    delivery.wake_for_progress("a")


# -- sessions -----------------------------------------------------------------------------


class Clock:
    """Stops a test that asks it without end."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.left = 10_000

    def __call__(self) -> float:
        self.left -= 1
        if not self.left:
            raise JobwireError("this goes on for ever")
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


MakeChannels = Callable[..., Channels]


@pytest.fixture
async def make_channels(clock: Clock, scene: Scene) -> MakeChannels:
    def make(session: Session, now: float) -> Channel:
        queue: Any = scene.queue
        return Channel(session, store=scene.store, queue=queue, delivery=scene.delivery, now=now)

    def make_channels(*, ttl: float = 60, most: int = 100) -> Channels:
        return Channels(make, ttl=ttl, most=most, clock=clock)

    scene.queue.jobs["job"] = StandIn.Job("job")  # it has not ended
    return make_channels


async def test_channel_is_that_of_the_session_and_the_user(make_channels: MakeChannels) -> None:
    channels = make_channels()
    assert channels.get("hash", None) is None
    mine = channels.open("hash", "me")
    assert mine.session == Session("hash", "me")
    assert channels.open("hash", "me") is mine
    assert channels.get("hash", "me") is mine
    assert channels.get("hash", "you") is None
    assert channels.get("hash", None) is None
    assert channels.open("hash", None) is not mine
    assert len(channels) == 2


async def test_least_recently_used_session_goes_first(make_channels: MakeChannels) -> None:
    channels = make_channels(most=3)
    for hash in "abc":
        channels.open(hash, None)
    channels.get("a", None)
    channels.open("d", None)
    assert len(channels) == 3
    assert channels.get("b", None) is None
    channels.open("e", None)
    assert channels.get("c", None) is None
    assert [channels.get(hash, None) is not None for hash in "ade"] == [True] * 3


async def test_busy_session_does_not_go(make_channels: MakeChannels) -> None:
    channels = make_channels(most=2)
    channels.open("pending", None).add("job")
    channels.open("idle", None)
    channels.open("streaming", None).bell = Bell()
    assert channels.get("idle", None) is None
    assert channels.get("pending", None) is not None
    assert channels.get("streaming", None) is not None


async def test_no_session_is_opened_when_all_are_busy(
    make_channels: MakeChannels, scene: Scene
) -> None:
    channels = make_channels(most=2)
    for hash in "ab":
        channels.open(hash, None).add("job")
    with pytest.raises(QueueFullError, match="too many sessions") as caught:
        channels.open("new", None)
    assert caught.value.status == 503
    assert channels.get("new", None) is None
    assert channels.open("a", None) is channels.get("a", None)
    scene.queue.jobs.clear()
    opened = channels.open("new", None)
    assert channels.get("new", None) is opened
    assert len(channels) == 2


async def test_session_that_goes_is_told_no_more(make_channels: MakeChannels, scene: Scene) -> None:
    channels = make_channels(most=1)
    channels.open("ended", None).add("ended job")
    assert set(scene.delivery._followers) == {"ended job"}
    channels.open("new", None)
    assert channels.get("ended", None) is None
    assert not scene.delivery._followers


async def test_empty_session_is_forgotten(make_channels: MakeChannels) -> None:
    channels = make_channels()
    holding = {hash: channels.open(hash, None) for hash in ("job", "stream", "state", "nothing")}
    holding["job"].add("job")
    holding["stream"].attach(Bell())
    holding["state"].session.state["kept"] = 1
    for channel in holding.values():
        channels.forget_if_empty(channel)
    assert channels.get("nothing", None) is None
    assert len(channels) == 3
    # Nor is another that came instead.
    channels.open("nothing", None)
    channels.forget_if_empty(holding["nothing"])
    assert channels.get("nothing", None) is not None


async def test_unused_sessions_expire(make_channels: MakeChannels, clock: Clock) -> None:
    channels = make_channels(ttl=60)
    assert channels.expire() is None
    channels.open("a", None)
    clock.now += 10
    channels.open("b", None)
    assert channels.expire() == 50
    clock.now += 20
    channels.get("a", None)
    assert channels.expire() == 40
    clock.now += 39.5
    assert channels.expire() == 0.5
    clock.now += 0.5
    assert channels.expire() == 20
    assert len(channels) == 1
    clock.now += 1000
    assert channels.expire() is None
    assert len(channels) == 0


async def test_busy_session_does_not_expire(make_channels: MakeChannels, clock: Clock) -> None:
    channels = make_channels(ttl=60)
    busy = channels.open("busy", None)
    busy.add("job")
    channels.open("idle", None)
    clock.now += 60
    assert channels.expire() == 60
    assert channels.get("idle", None) is None
    assert channels.get("busy", None) is busy
    assert busy.jobs == ["job"]
    busy.drop("job")
    clock.now += 59
    assert channels.expire() == 1
    clock.now += 1
    assert channels.expire() is None


async def test_sessions_that_are_not_kept_at_all(make_channels: MakeChannels) -> None:
    channels = make_channels(ttl=0)
    channels.open("busy", None).add("job")
    channels.open("idle", None)
    channels.expire()
    assert channels.get("busy", None) is not None
    assert len(channels) == 1
