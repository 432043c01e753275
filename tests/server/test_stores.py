"""What every store promises, whatever keeps the jobs."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobwire.exceptions import QueueFullError
from jobwire.server.stores.base import (
    Events,
    JobNotFoundError,
    KeyReusedError,
    LogFullError,
    Position,
    Store,
    Ticket,
    first_number,
)
from jobwire.server.stores.memory import MemoryStore
from jobwire.server.stores.sqlite import SqliteStore
from server.threads import together

TTL = 60.0
MAX_LOG_SIZE = 1000


@pytest.fixture(scope="module", autouse=True)
def _numbers_from_one() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in ("memory", "sqlite"):
            patch.setattr(f"jobwire.server.stores.{module}.first_number", lambda: 0)
        yield


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """A store that is open, its clock, and the jobs for which it rang."""

    store: Store
    clock: Clock
    rung: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    async def put(
        self,
        id: str | None = None,
        *,
        endpoint: str = "predict",
        group: str = "line",
        data: bytes = b"[1]",
        batch: int = 1,
        priority: int = 0,
        sharer: str = "",
        max_waiting: int | None = None,
    ) -> str:
        ticket = Ticket(
            id or f"job {next(self.numbers)}",
            endpoint,
            data,
            group,
            batch,
            priority,
            sharer,
            "session",
            "user",
        )
        await self.store.enqueue(ticket, max_waiting=max_waiting)
        return ticket.id

    def claimed(self, group: str = "line") -> list[str]:
        return [ticket.id for ticket in self.store.claim(group)]

    def all_claimed(self, group: str = "line") -> list[list[str]]:
        return list(iter(partial(self.claimed, group), []))

    def log(self, id: str) -> Events:
        """A whole log, read in small pieces."""
        events: list[bytes] = []
        numbers: list[int] = []
        while True:
            more = self.store.read(id, numbers[-1] if numbers else 0, max_size=1)
            events += more.events
            numbers += more.numbers
            if more.ended or not more.events:
                return Events(events, more.ended, numbers)

    def told(self, id: str) -> tuple[list[bytes], bool]:
        """A whole log, read at once."""
        events, ended, numbers, following = self.store.read(id)
        assert not following
        assert numbers == sorted(set(numbers))
        assert len(numbers) == len(events)
        return events, ended

    def ring(self, news: Mapping[str, int], last: int) -> None:
        assert all(0 < number <= last for number in news.values())
        self.rung += news


Make = Callable[[Clock, Path], Store]


def memory(clock: Clock, path: Path) -> Store:
    return MemoryStore(result_ttl=TTL, max_log_size=MAX_LOG_SIZE, clock=clock)


class Settled(SqliteStore):
    """Shows at once what it was given, as tests want it: waits until it is written."""

    def read(
        self, id: str, after: int = 0, *, until: int | None = None, max_size: int = 256 * 1024
    ) -> Events:
        self.flush()
        return super().read(id, after, until=until, max_size=max_size)

    def append(self, id: str, event: bytes) -> bool:
        added = super().append(id, event)
        self.flush()
        return added

    def finish(self, id: str, event: bytes) -> bool:
        ended = super().finish(id, event)
        self.flush()
        return ended


def sqlite(clock: Clock, path: Path) -> Store:
    return Settled(
        path / "jobs.db",
        result_ttl=TTL,
        max_log_size=MAX_LOG_SIZE,
        synchronous="off",
        clock=clock,
    )


class Forgetful(Settled):
    """Keeps nothing in memory that is in the database."""

    def finish(self, id: str, event: bytes) -> bool:
        ended = super().finish(id, event)
        with self._lock:
            for each in list(self._cached):
                self._evict(each)
        return ended


def forgetful(clock: Clock, path: Path) -> Store:
    return Forgetful(
        path / "jobs.db",
        result_ttl=TTL,
        max_log_size=MAX_LOG_SIZE,
        synchronous="off",
        clock=clock,
    )


STORES: dict[str, Make] = {"memory": memory, "sqlite": sqlite, "sqlite, not cached": forgetful}


@pytest.fixture(params=STORES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    clock = Clock()
    bench = Bench(STORES[request.param](clock, tmp_path), clock)
    bench.store.open(bench.ring, {})
    yield bench
    bench.store.close()


# -- waiting ------------------------------------------------------------------------


async def test_job_that_was_accepted_is_known_and_waits(bench: Bench) -> None:
    ticket = Ticket("id", "predict", b'["x"]', "line", 3, 7, "sharer", "session", "user")
    await bench.store.enqueue(ticket, max_waiting=None)
    assert bench.store.ticket("id") == ticket
    assert bench.store.waiting() == 1
    assert bench.store.position("id") == Position(rank=0, size=1)
    assert bench.store.read("id")[:2] == ([], False)
    assert bench.store.claim("line") == [ticket]


async def test_jobs_are_claimed_in_the_order_of_their_arrival(bench: Bench) -> None:
    ids = [await bench.put() for _ in range(5)]
    assert bench.all_claimed() == [[id] for id in ids]
    assert bench.store.claim("line") == []


async def test_priority_then_turns_then_arrival(bench: Bench) -> None:
    await bench.put("a0", sharer="a")
    await bench.put("a1", sharer="a")
    await bench.put("b0", sharer="b")
    await bench.put("low", sharer="c", priority=-1)
    await bench.put("high", sharer="a", priority=1)
    assert bench.all_claimed() == [["high"], ["a0"], ["b0"], ["a1"], ["low"]]


async def test_lines_are_apart(bench: Bench) -> None:
    first = await bench.put(group="first")
    second = await bench.put(group="second")
    assert bench.store.position(second) == Position(0, 1)
    assert bench.store.waiting() == 2
    assert bench.claimed("second") == [second]
    assert bench.claimed("second") == []
    assert bench.claimed("first") == [first]
    assert bench.claimed("unknown") == []


async def test_position_counts_those_ahead(bench: Bench) -> None:
    ids = [await bench.put() for _ in range(4)]
    assert [bench.store.position(id) for id in ids] == [Position(rank, 4) for rank in range(4)]
    bench.store.claim("line")
    assert [bench.store.position(id) for id in ids] == [
        None,
        Position(0, 3),
        Position(1, 3),
        Position(2, 3),
    ]
    assert bench.store.position("unknown") is None


async def test_withdrawn_job_never_is_claimed(bench: Bench) -> None:
    ids = [await bench.put() for _ in range(3)]
    assert bench.store.withdraw(ids[1])
    assert not bench.store.withdraw(ids[1])
    assert not bench.store.withdraw("unknown")
    assert bench.store.position(ids[1]) is None
    assert bench.store.position(ids[2]) == Position(1, 2)
    assert bench.store.waiting() == 2
    assert bench.all_claimed() == [[ids[0]], [ids[2]]]
    assert not bench.store.withdraw(ids[0])
    assert bench.store.waiting() == 0


async def test_withdrawn_job_still_has_a_log(bench: Bench) -> None:
    id = await bench.put()
    bench.store.withdraw(id)
    assert bench.store.finish(id, b"cancelled")
    assert bench.store.read(id)[:2] == ([b"cancelled"], True)


async def test_full_queue_refuses(bench: Bench) -> None:
    first = await bench.put("first", group="one", max_waiting=2)
    await bench.put("second", group="two", max_waiting=2)
    with pytest.raises(QueueFullError) as caught:
        await bench.put("third", max_waiting=2)
    assert str(caught.value) == "Queue is full. Max size is 2 and size is 2."
    assert caught.value.status == 503
    assert bench.store.waiting() == 2
    assert bench.claimed("line") == []
    with pytest.raises(JobNotFoundError):
        bench.store.ticket("third")
    await bench.put("unlimited", max_waiting=None)
    assert bench.claimed("one") == [first]
    bench.store.withdraw("unlimited")
    await bench.put("third", max_waiting=2)
    assert bench.claimed("line") == ["third"]


# -- batches ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waiting", "batch", "claims"),
    [
        (0, 3, []),
        (1, 3, [1]),
        (3, 3, [3]),
        (7, 3, [3, 3, 1]),
        (3, 1, [1, 1, 1]),
    ],
)
async def test_batch_is_claimed_together(
    bench: Bench, waiting: int, batch: int, claims: list[int]
) -> None:
    ids = [await bench.put(batch=batch) for _ in range(waiting)]
    claimed = bench.all_claimed()
    assert [len(ids) for ids in claimed] == claims
    assert [id for ids in claimed for id in ids] == ids
    assert bench.store.waiting() == 0


async def test_batch_is_of_one_endpoint(bench: Bench) -> None:
    kinds = [("a", 3), ("a", 3), ("b", 2), ("b", 2), ("b", 2), ("single", 1), ("a", 3)]
    ids = [await bench.put(endpoint=endpoint, batch=batch) for endpoint, batch in kinds]
    assert bench.all_claimed() == [ids[0:2], ids[2:4], ids[4:5], ids[5:6], ids[6:7]]


async def test_batch_keeps_the_order_of_the_line(bench: Bench) -> None:
    for id, priority in (("low", 0), ("high", 1), ("higher", 2)):
        await bench.put(id, priority=priority, batch=2)
    assert bench.all_claimed() == [["higher", "high"], ["low"]]


# -- logs ---------------------------------------------------------------------------


def test_a_store_never_counts_from_behind_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    first = first_number()
    later = time.time_ns() + 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)
    assert first + 1_000_000 < first_number() < 2**53 // 4


async def test_log_is_read_from_any_position(bench: Bench) -> None:
    id = await bench.put()
    events = [b"0", b"1", b"2", b"3"]
    for event in events:
        assert bench.store.append(id, event)
    assert bench.store.read(id)[:2] == (events, False)
    assert bench.store.read(id, 2)[:2] == ([b"2", b"3"], False)
    assert bench.store.read(id, 4)[:2] == ([], False)
    assert bench.store.finish(id, b"end")
    assert bench.store.read(id, 3)[:2] == ([b"3", b"end"], True)
    assert bench.store.read(id, 5)[:2] == ([], True)
    assert bench.told(id) == bench.told(id) == ([*events, b"end"], True)


@settings(deadline=None, max_examples=50)  # each opens databases
@given(sizes=st.lists(st.integers(0, 60), max_size=10), max_size=st.integers(1, 100))
async def test_log_is_read_in_pieces_without_loss(sizes: list[int], max_size: int) -> None:
    for make in STORES.values():
        folder = TemporaryDirectory()
        bench = Bench(make(Clock(), Path(folder.name)), Clock())
        bench.store.open(bench.ring, {})
        id = await bench.put()
        events = [bytes([index]) * size for index, size in enumerate(sizes)]
        for event in events:
            bench.store.append(id, event)
        bench.store.finish(id, b"end")
        read: list[bytes] = []
        after, ended = 0, False
        while not ended:
            piece, ended, numbers, following = bench.store.read(id, after, max_size=max_size)
            assert piece, "it is not at its end"
            assert sum(map(len, piece[:-1])) < max_size
            assert (following == 0) is ended
            assert numbers[0] > after
            after = numbers[-1]
            assert not following or following > after
            read += piece
        assert read == [*events, b"end"]
        bench.store.close()
        folder.cleanup()


async def test_one_event_at_least_is_read(bench: Bench) -> None:
    id = await bench.put()
    bench.store.append(id, b"event")
    assert bench.store.read(id, max_size=0)[:2] == ([b"event"], False)


async def test_what_was_read_does_not_change(bench: Bench) -> None:
    id = await bench.put()
    bench.store.append(id, b"0")
    read = bench.store.read(id)
    bench.store.append(id, b"1")
    assert read == Events([b"0"], False, [1])
    read.events.clear()
    assert bench.log(id).events == [b"0", b"1"]


async def test_log_ends_once(bench: Bench) -> None:
    id = await bench.put()
    assert bench.store.finish(id, b"end")
    bench.rung.clear()
    assert not bench.store.finish(id, b"another end")
    assert not bench.store.append(id, b"afterwards")
    assert bench.store.read(id)[:2] == ([b"end"], True)
    assert bench.rung == []


async def test_full_log_refuses_events_but_not_the_end(bench: Bench) -> None:
    id = await bench.put()
    assert bench.store.append(id, b"x" * (MAX_LOG_SIZE - 10))
    bench.rung.clear()
    with pytest.raises(LogFullError) as caught:
        bench.store.append(id, b"y" * 11)
    assert caught.value.limit == MAX_LOG_SIZE
    assert str(MAX_LOG_SIZE) in str(caught.value)
    assert bench.rung == []
    assert bench.store.append(id, b"z" * 10)
    assert bench.store.finish(id, b"e" * 100)
    assert [event[:1] for event in bench.log(id).events] == [b"x", b"z", b"e"]
    other = await bench.put()
    with pytest.raises(LogFullError):
        bench.store.finish(other, b"e" * 1_000_000)  # it is no failure's
    assert bench.store.finish(other, b"end")
    assert bench.store.read(other)[:2] == ([b"end"], True)
    # Ended, before full: what comes too late is not an error.
    assert not bench.store.append(id, b"y" * 1000)


async def test_unknown_jobs(bench: Bench) -> None:
    for ask in (
        lambda: bench.store.append("unknown", b""),
        lambda: bench.store.finish("unknown", b""),
        lambda: bench.store.read("unknown"),
        lambda: bench.store.ticket("unknown"),
    ):
        with pytest.raises(JobNotFoundError) as caught:
            ask()
        assert caught.value.event_id == "unknown"
    assert bench.rung == []


async def test_it_rings_when_there_is_something_to_read(bench: Bench) -> None:
    seen: list[tuple[str, Events]] = []

    def ring(news: Mapping[str, int], last: int) -> None:
        read = SqliteStore.read if isinstance(bench.store, SqliteStore) else MemoryStore.read
        store: Any = bench.store
        seen.extend((job, read(store, job)) for job in news)

    store: Any = bench.store
    store._on_news = ring
    first, second = await bench.put(), await bench.put()
    bench.store.claim("line")
    assert seen == []
    bench.store.append(first, b"0")
    bench.store.append(second, b"1")
    bench.store.finish(first, b"end")
    await asyncio.sleep(0)
    assert seen == [
        (first, Events([b"0"], False, [1])),
        (second, Events([b"1"], False, [2])),
        (first, Events([b"0", b"end"], True, [1, 3])),
    ]


@pytest.mark.parametrize("size", [10, 100_000])
async def test_ticket_is_kept_with_the_log(bench: Bench, size: int) -> None:
    id = await bench.put(data=b"x" * size)
    (claimed,) = bench.store.claim("line")
    assert len(claimed.data) == size
    bench.store.finish(id, b"end")
    ticket = bench.store.ticket(id)
    assert (ticket.id, ticket.endpoint, ticket.session, ticket.user) == (
        id,
        "predict",
        "session",
        "user",
    )
    assert len(claimed.data) == size


# -- numbers ----------------------------------------------------------------------------


async def test_numbers_grow_over_all_jobs(bench: Bench) -> None:
    first, second = await bench.put(), await bench.put()
    for id in (first, second, first):
        bench.store.append(id, b"event")
    bench.store.finish(second, b"end")
    assert bench.store.read(first) == Events([b"event", b"event"], False, [1, 3])
    assert bench.store.read(second) == Events([b"event", b"end"], True, [2, 4])


async def test_log_is_read_up_to_a_number(bench: Bench) -> None:
    first, second = await bench.put(), await bench.put()
    for id in (first, second, first, second, first):
        bench.store.append(id, b"event")
    bench.store.finish(first, b"end")
    for until, numbers, following in ((0, [], 1), (1, [1], 3), (2, [1], 3), (5, [1, 3, 5], 6)):
        piece = bench.store.read(first, until=until)
        assert (piece.numbers, piece.following, piece.ended) == (numbers, following, False)
    assert bench.store.read(first, 3, until=4) == Events([], False, [], 5)
    assert bench.store.read(first, until=6).ended
    assert bench.store.outcome(first) == (6, b"end")
    assert bench.store.outcome(second) is None


# -- what belongs to whom ------------------------------------------------------------------


async def test_jobs_of_a_session_that_have_news(bench: Bench) -> None:
    def ticket(id: str, **changes: Any) -> Ticket:
        whole = {"session": "s", "user": "u", "told": True, **changes}
        return Ticket(id, "f", b"", "line", **whole)

    for each in (
        ticket("ended"), ticket("open"), ticket("late"), ticket("untold", told=False),
        ticket("other", session="other"), ticket("another's", user="v"),
    ):  # fmt: skip
        await bench.store.enqueue(each, max_waiting=None)
    bench.store.finish("ended", b"end")
    bench.store.finish("late", b"end")

    def found(after: int | None) -> list[tuple[str, int]]:
        return list(bench.store.of_session("s", "u", after=after).items())

    # Each with the number of its first event after that one.
    assert found(0) == [("ended", 1), ("open", 0), ("late", 2)]
    assert found(1) == [("open", 0), ("late", 2)]
    assert found(2) == [("open", 0)]
    bench.store.append("open", b"event")
    bench.store.append("open", b"event")
    assert found(2) == [("open", 3)]
    assert found(3) == [("open", 4)]
    assert found(4) == [("open", 0)]
    assert found(None) == []  # nothing is left from before
    assert bench.store.of_session("unknown", "u", after=0) == {}
    latest = bench.store.latest("u", limit=3)
    assert [each.id for each in latest] == ["other", "untold", "late"]


async def test_job_with_a_known_key_is_the_one_that_has_it(bench: Bench) -> None:
    async def put(id: str, data: bytes = b"[1]", key: str | None = "key") -> str:
        ticket = Ticket(id, "f", data, "line", key=key)
        return await bench.store.enqueue(ticket, max_waiting=1)

    assert await put("a") == "a"
    assert await put("b") == "a"  # though the queue is full
    with pytest.raises(KeyReusedError) as caught:
        await put("c", b"[2]")
    assert caught.value.id == "a"
    assert bench.claimed() == ["a"]
    bench.store.finish("a", b"end")
    assert await put("d") == "a"
    bench.clock.now += TTL
    assert bench.store.expire()[0] == ["a"]
    assert await put("e") == "e"


async def test_job_that_has_ended_can_be_forgotten(bench: Bench) -> None:
    id, other = await bench.put(), await bench.put()
    assert not bench.store.forget(id)
    bench.store.finish(id, b"end")
    assert bench.store.forget(id)
    for ask in (bench.store.ticket, bench.store.read, bench.store.outcome, bench.store.forget):
        with pytest.raises(JobNotFoundError):
            ask(id)
    assert bench.store.expire()[0] == [id]
    assert bench.store.ticket(other).id == other


# -- the end --------------------------------------------------------------------------


async def test_results_expire_in_the_order_of_their_ends(bench: Bench) -> None:
    assert bench.store.expire() == ([], None)
    running, late, early = await bench.put(), await bench.put(), await bench.put()
    bench.store.finish(early, b"end")
    assert bench.store.expire() == ([], TTL)
    bench.clock.now += 10
    bench.store.finish(late, b"end")
    assert bench.store.expire() == ([], TTL - 10)
    bench.clock.now += TTL - 10.5
    assert bench.store.expire() == ([], 0.5)
    bench.clock.now += 0.5
    assert bench.store.expire() == ([early], 10)
    for ask in (bench.store.read, bench.store.ticket):
        with pytest.raises(JobNotFoundError):
            ask(early)
    with pytest.raises(JobNotFoundError):
        bench.store.append(early, b"")
    with pytest.raises(JobNotFoundError):
        bench.store.finish(early, b"")
    assert bench.log(late).ended
    bench.clock.now += 1000
    assert bench.store.expire() == ([late], None)
    assert bench.store.read(running)[:2] == ([], False)


async def test_several_expire_at_once(bench: Bench) -> None:
    ids = [await bench.put() for _ in range(100)]
    for id in ids:
        bench.store.finish(id, b"end")
    bench.clock.now += TTL
    assert bench.store.expire() == (ids, None)


async def test_nothing_is_left_after_close(bench: Bench) -> None:
    id = await bench.put()
    bench.store.close()
    assert bench.store.waiting() == 0
    with pytest.raises(JobNotFoundError):
        bench.store.ticket(id)


# -- threads --------------------------------------------------------------------------


async def test_each_job_is_claimed_once(bench: Bench) -> None:
    ids = [await bench.put(batch=1 + number % 2) for number in range(1000)]
    claimed = together([bench.all_claimed] * 6)
    assert sorted(id for one in claimed for ids in one for id in ids) == sorted(ids)
    assert bench.store.waiting() == 0


async def test_job_is_claimed_or_withdrawn(bench: Bench) -> None:
    ids = [await bench.put() for _ in range(1000)]
    withdrawn: list[str] = []

    def withdraw() -> None:
        withdrawn.extend(id for id in reversed(ids) if bench.store.withdraw(id))

    claimed: list[str] = []

    def claim() -> None:
        while got := bench.claimed():
            claimed.extend(got)

    together([withdraw, claim, claim, withdraw])
    assert sorted(claimed + withdrawn) == sorted(ids)


async def test_jobs_join_while_others_are_claimed(bench: Bench) -> None:
    def join(name: str) -> None:
        async def put() -> None:
            for number in range(300):
                await bench.put(f"{name} {number}", sharer=name)

        asyncio.run(put())

    claimed: list[str] = []

    def claim() -> None:
        while len(claimed) < 900:
            claimed.extend(bench.claimed())

    joins: list[Callable[[], None]] = [partial(join, name) for name in "abc"]
    together([*joins, claim])
    for name in "abc":
        mine = [id for id in claimed if id.startswith(name)]
        assert mine == [f"{name} {number}" for number in range(300)]


async def test_one_end_wins_and_nothing_comes_after_it(bench: Bench) -> None:
    for _ in range(50):
        id = await bench.put()

        def write(writer: int, id: str = id) -> tuple[int, bool]:
            added = 0
            for number in range(5):
                added += bench.store.append(id, b"%d %d" % (writer, number))
            return added, bench.store.finish(id, b"end %d" % writer)

        read: list[bytes] = []

        def follow(id: str = id, read: list[bytes] = read) -> tuple[int, bool]:
            after, ended = 0, False
            while not ended:
                more, ended, numbers, _ = bench.store.read(id, after, max_size=8)
                after = numbers[-1] if numbers else after
                read += more
            return 0, False

        bench.rung.clear()
        writers: list[Callable[[], tuple[int, bool]]] = [partial(write, n) for n in range(4)]
        results = together([*writers, follow])
        events, ended = bench.log(id)[:2]
        (winner,) = [writer for writer, (_, won) in enumerate(results) if won]
        assert ended
        assert events[-1] == b"end %d" % winner
        assert not any(event.startswith(b"end") for event in events[:-1])
        assert len(events) == 1 + sum(added for added, _ in results)
        for writer in range(4):
            numbers = [int(e.split()[1]) for e in events[:-1] if e.startswith(b"%d " % writer)]
            assert all(before < after for before, after in pairwise(numbers))
        assert read == events
        assert set(bench.rung) == {id}


# -- memory ---------------------------------------------------------------------------


async def growth(bench: Bench, jobs: int) -> int:
    """The bytes by which a store grows over so many jobs, after as many for warming up."""

    async def work() -> None:
        for number in range(jobs):
            await bench.put(data=b"x" * 5000, sharer=f"sharer {number}", group=f"{number % 3}")
            for id in bench.claimed(f"{number % 3}"):
                bench.store.append(id, b"%0800d" % number)
                bench.store.finish(id, b"end")
            bench.clock.now += 1
            bench.store.expire()
            bench.rung.clear()

    await work()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    await work()
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
async def test_memory_is_flat(bench: Bench) -> None:
    assert await growth(bench, 500) < 20_000


@pytest.mark.usefixtures("traced")
async def test_memory_is_flat_while_jobs_wait(bench: Bench) -> None:
    for group in "012":
        await bench.put(group=group)
    assert await growth(bench, 500) < 200_000  # the logs of 500 jobs are more than 400,000


# -- the memory store's own -----------------------------------------------------------------


async def small(max_size: int) -> Bench:
    clock = Clock()
    store = MemoryStore(result_ttl=TTL, max_log_size=MAX_LOG_SIZE, max_size=max_size, clock=clock)
    return Bench(store, clock)


async def test_oldest_results_make_room() -> None:
    bench = await small(1000)
    ids = [await bench.put(data=b"x" * 100) for _ in range(3)]
    for id in ids:
        assert bench.claimed() == [id]
        bench.store.append(id, b"y" * 197)
        bench.store.finish(id, b"end")
    waiting = await bench.put(data=b"x" * 400)
    assert bench.store.expire() == ([], TTL)
    another = await bench.put(data=b"x" * 100)  # the first goes for it
    assert bench.store.expire()[0] == ids[:1]
    with pytest.raises(JobNotFoundError):
        bench.store.read(ids[0])
    assert bench.log(ids[1]).ended
    await bench.put(data=b"x" * 400)
    assert bench.store.expire() == (ids[1:], None)
    assert bench.claimed() == [waiting]
    assert bench.claimed() == [another]


async def test_jobs_are_refused_when_those_without_an_end_fill_it() -> None:
    bench = await small(1000)
    jobs = [await bench.put(data=b"x" * 400) for _ in range(2)]
    with pytest.raises(QueueFullError, match=r"Queue is full. Max size is 1000 bytes"):
        await bench.put("refused", data=b"x" * 400)
    assert bench.store.waiting() == 2
    with pytest.raises(JobNotFoundError):
        bench.store.ticket("refused")
    bench.store.finish(jobs[0], b"end")
    await bench.put("accepted", data=b"x" * 400)
    assert bench.store.ticket("accepted").data


async def test_room_is_counted_right_over_many_jobs() -> None:
    bench = await small(5000)
    for number in range(500):
        id = await bench.put(data=b"x" * (number % 700))
        bench.store.claim("line")
        bench.store.append(id, b"y" * (number % 600))
        bench.store.finish(id, b"end")
    bench.clock.now += TTL
    bench.store.expire()
    await bench.put(data=b"x" * 5000)
    with pytest.raises(QueueFullError):
        await bench.put(data=b"x")
