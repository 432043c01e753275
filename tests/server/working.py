"""A queue with a store and executors, without HTTP, and functions that wait to be let through."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from itertools import count
from types import MappingProxyType
from typing import Any, Literal

import pytest
from msgspec import UNSET

from jobwire.protocol.diff import apply_edits
from jobwire.protocol.messages import (
    Message,
    ProcessCompleted,
    ProcessGenerating,
    decode_message,
    decode_value,
)
from jobwire.server.app import App
from jobwire.server.channels import Channel
from jobwire.server.context import Request, Session
from jobwire.server.delivery import Delivery
from jobwire.server.endpoint import Endpoint
from jobwire.server.files import FileStore
from jobwire.server.job import Job, JobFiles
from jobwire.server.queue import Queue, Workers
from jobwire.server.stores.base import Store
from jobwire.server.stores.memory import MemoryStore

Kind = Literal["function", "generator", "coroutine", "async_generator"]
KINDS: tuple[Kind, ...] = ("function", "generator", "coroutine", "async_generator")

ASYNC: tuple[Kind, ...] = ("coroutine", "async_generator")

each_kind = pytest.mark.parametrize("kind", KINDS)

REQUEST = Request(MappingProxyType({}), MappingProxyType({}), "127.0.0.1", None, None)


ON_DEMAND = Workers(max_processes=1)
"""A worker process, once a function wants one."""


class Unsendable:
    """What cannot be an output."""


class Gate:
    """Holds functions of every kind until they are admitted, and counts them."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._changed = asyncio.Event()
        self._threads = threading.Semaphore(0)
        self._tasks = asyncio.Semaphore(0)

    def hold(self) -> None:
        self._count(1)
        try:
            assert self._threads.acquire(timeout=10), "nobody was admitted"
        finally:
            self._count(-1)

    async def hold_async(self) -> None:
        self._count(1)
        try:
            await self._tasks.acquire()
        finally:
            self._count(-1)

    def admit(self, number: int = 1) -> None:
        for _ in range(number):
            self._threads.release()
            self._tasks.release()

    def open(self) -> None:
        self.admit(1000)

    async def holds(self, number: int) -> None:
        """Wait until so many are inside."""
        async with asyncio.timeout(10):
            while self.inside != number:
                self._changed.clear()
                await self._changed.wait()

    def _count(self, change: int) -> None:
        with self._lock:
            self.inside += change
            self.most = max(self.most, self.inside)
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._changed.set)


class Bench:
    """A queue at work."""

    def __init__(
        self,
        *,
        max_size: int | None = None,
        max_threads: int = 8,
        workers: Workers = ON_DEMAND,
        max_log_size: int = 1_000_000,
        result_ttl: float = 300.0,
        store: Store | None = None,
        **settings: Any,
    ) -> None:
        self.app = App(**settings)
        self.endpoint = self.app.endpoint
        self.store = store or MemoryStore(result_ttl=result_ttl, max_log_size=max_log_size)
        self.delivery = Delivery()
        self.store.open(self._ring, {})
        self.ended: list[Job] = []
        self.progressed: list[str] = []
        self.gates: list[Gate] = []
        self.files = FileStore(max_file_size=None, ttl=60)
        self.queue = Queue(
            self.app.endpoints,
            self.store,
            max_size=max_size,
            max_threads=max_threads,
            workers=workers,
            on_end=self.ended.append,
            on_progress=self._progressed,
        )
        self._ids = count()
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    def gate(self) -> Gate:
        gate = Gate()
        self.gates.append(gate)
        return gate

    def holding(self, kind: Kind, gate: Gate, **options: Any) -> str:
        """Declare a function that waits at a gate, then gives what it was given."""

        def function(x: Any = None) -> Any:
            gate.hold()
            return x

        def generator(x: Any = None) -> Iterator[Any]:
            gate.hold()
            yield x

        async def coroutine(x: Any = None) -> Any:
            await gate.hold_async()
            return x

        async def async_generator(x: Any = None) -> AsyncIterator[Any]:
            await gate.hold_async()
            yield x

        functions = {f.__name__: f for f in (function, generator, coroutine, async_generator)}
        name: str = options.pop("name", kind)
        self.endpoint(name=name, **options)(functions[kind])
        return name

    def __getitem__(self, name: str) -> Endpoint:
        return self.app.endpoints[name]

    async def submit(
        self,
        name: str,
        *args: Any,
        priority: int = 0,
        sharer: str = "",
        session: Session | None = None,
        request: Request = REQUEST,
    ) -> Job:
        endpoint = self[name]
        files = JobFiles(self.files, owner=None, root="http://127.0.0.1")
        job = Job(
            f"{name}-{next(self._ids)}",
            endpoint,
            endpoint.signature.decode(args, files=files),
            session=session or Session(None, None),
            request=request,
            files=files,
        )
        await self.queue.submit(job, b"[]", priority=priority, sharer=sharer)
        return job

    def messages(self, job: Job) -> list[Message]:
        return [decode_message(event) for event in self.store.read(job.id).events]

    def outputs(self, job: Job) -> list[list[Any]]:
        """What a generator gave so far, made whole."""
        outputs: list[list[Any]] = []
        for message in self.messages(job):
            if isinstance(message, ProcessGenerating):
                assert message.output.data is not UNSET
                data = decode_value(message.output.data)
                if outputs:
                    data = [apply_edits(*pair) for pair in zip(outputs[-1], data, strict=True)]
                outputs.append(data)
        return outputs

    async def outcome(self, job: Job, timeout: float = 10) -> ProcessCompleted:
        """Wait for a job's end; check that it is the only one, and told once."""
        async with asyncio.timeout(timeout):
            while not self.store.read(job.id).ended:
                self._rung.clear()
                if not self.store.read(job.id).ended:
                    await self._rung.wait()
            while job.id in self.queue.jobs or job not in self.ended:
                await asyncio.sleep(0)  # the one who wrote the end is about to say so
        *before, last = self.messages(job)
        assert isinstance(last, ProcessCompleted)
        assert not any(isinstance(message, ProcessCompleted) for message in before)
        assert self.ended.count(job) == 1
        return last

    async def result(self, job: Job, timeout: float = 10) -> list[Any]:
        """Wait for a job's success; give its values."""
        message = await self.outcome(job, timeout)
        assert message.success, message
        assert message.output.data is not UNSET, "it was cancelled"
        values: list[Any] = decode_value(message.output.data)
        return values

    async def failure(self, job: Job, timeout: float = 10) -> tuple[Any, str | None]:
        """Wait for a job's failure; give what it says, and its title."""
        message = await self.outcome(job, timeout)
        assert not message.success
        assert message.output.title == message.title
        return message.output.error, message.title

    async def cancelled(self, job: Job, timeout: float = 10) -> bool:
        """Wait for a job's end; whether it was cancelled."""
        message = await self.outcome(job, timeout)
        return bool(message.success) and message.output.data is UNSET

    def channel(self, hash: str = "session") -> Channel:
        return Channel(
            Session(hash, None),
            store=self.store,
            queue=self.queue,
            delivery=self.delivery,
            now=time.monotonic(),
        )

    async def until(self, condition: Callable[[], object], timeout: float = 10) -> None:
        """Wait for what comes without an event."""
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(0.001)

    async def at_rest(self, timeout: float = 10) -> None:
        """Wait until every slot is free."""
        await self.until(lambda: self.queue.running == 0, timeout)
        assert not self.queue.jobs
        assert self.store.waiting() == 0
        assert not self.queue._tasks._tasks

    def close(self) -> None:
        self.queue.close()
        for gate in self.gates:
            gate.open()
        self.store.close()
        self.files.close()

    def _ring(self, news: Mapping[str, int], last: int) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._rung.set)
        self.delivery.wake(news, last)

    def _progressed(self, id: str) -> None:
        self.progressed.append(id)
        self.delivery.wake_for_progress(id)


MakeBench = Callable[..., Bench]


@contextlib.asynccontextmanager
async def benches() -> AsyncIterator[MakeBench]:
    """Makes benches; closes them, and waits for their threads and tasks to end."""
    made: list[Bench] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(**options))
        return made[-1]

    try:
        yield make
    finally:
        await _close(made)


async def _close(benches: list[Bench]) -> None:
    for bench in benches:
        bench.close()
    deadline = time.monotonic() + 10
    for thread in threading.enumerate():
        if thread.name.startswith(("jobwire-worker", "jobwire-keeper")):
            while thread.is_alive() and time.monotonic() < deadline:
                await asyncio.sleep(0.001)  # it may have something for the loop
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        if getattr(task.get_coro(), "__name__", "") == "_execute":
            await task
