"""How the Python peers measure: the same code for all of them.

A peer is a script that is started as ``peer.py MEASURE JSON``, takes one measure with
one client, and prints what it saw as one line of JSON. This module has each measure
twice, for clients that block and for asynchronous ones; a peer only says how its
client is made.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, Protocol, Self

import psutil  # type: ignore[import-untyped]

__all__ = ("Stopwatch", "Values", "run", "run_async", "run_blocking")

Values = dict[str, Any]

RSS_INTERVAL = 0.005
"""Seconds between two looks at the memory."""


class BlockingClient(Protocol):
    """What ``gradio_client.Client`` and ``jobwire.Client`` have in common."""

    def predict(self, value: Any, /, *, api_name: str) -> Any: ...

    def submit(self, value: Any, /, *, api_name: str) -> Future[Any]: ...


class AsyncClient(Protocol):
    """The same, asynchronous; awaiting what ``submit`` gives is waiting for the result."""

    async def predict(self, value: Any, /, *, api_name: str) -> Any: ...

    async def submit(self, value: Any, /, *, api_name: str) -> Awaitable[Any]: ...


# -- instruments --


class Stopwatch:
    """Wall and CPU seconds (user and system, all threads) of a ``with`` block."""

    def __enter__(self) -> Self:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._wall
        self.cpu_seconds = time.process_time() - self._cpu


class MemoryWatch:
    """Growth of the resident memory over a ``with`` block, in bytes: peak, and kept."""

    def __enter__(self) -> Self:
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        gc.collect()
        self._before = self._peak = self._rss()
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._peak = max(self._peak, self._rss())
        gc.collect()
        self.peak_growth = self._peak - self._before
        self.held_growth = self._rss() - self._before

    def _rss(self) -> int:
        return int(self._process.memory_info().rss)

    def _sample(self) -> None:
        while not self._stop.wait(RSS_INTERVAL):
            self._peak = max(self._peak, self._rss())


class Tally:
    """Which jobs of a burst gave the right result, and what became of the others."""

    def __init__(self) -> None:
        self.ok = 0
        self.lost: Counter[str] = Counter()

    def came(self, result: object, expected: object) -> None:
        if result == expected:
            self.ok += 1
        else:
            self.lost["wrong result"] += 1

    def failed(self, error: BaseException) -> None:
        self.lost[f"{type(error).__name__}: {error}"[:120]] += 1

    def values(self, watch: Stopwatch) -> Values:
        return {
            "seconds": watch.seconds,
            "cpu_seconds": watch.cpu_seconds,
            "ok": self.ok,
            "lost": dict(self.lost),
        }


def _check(result: object, expected: object) -> None:
    if result != expected:
        raise AssertionError(f"the server answered {result!r:.80} instead of {expected!r:.80}")


def _grown(outputs: int) -> str:
    return "".join(f"word{number} " for number in range(outputs))


# -- clients that block --


def run_blocking(
    open_client: Callable[[str], AbstractContextManager[BlockingClient]],
    is_accepted: Callable[[Any], bool],
) -> None:
    """Take the measure that the command line names.

    Args:
        open_client: Makes a client for an address, in a context that closes it.
        is_accepted: Whether the server has confirmed a job.
    """

    def latency(url: str, calls: int, warm_up: int) -> Values:
        with open_client(url) as client:
            times = []
            for number in range(warm_up + calls):
                text = f"call {number}"
                start = time.perf_counter()
                result = client.predict(text, api_name="/echo")
                times.append(time.perf_counter() - start)
                _check(result, text)
        return {"seconds": times[warm_up:]}

    def burst(url: str, jobs: int, endpoint: str, limit: float) -> Values:
        tally = Tally()
        with open_client(url) as client:
            client.predict("warm-up", api_name=endpoint)
            deadline = time.monotonic() + limit
            with Stopwatch() as watch:
                texts = [f"job {number}" for number in range(jobs)]
                submitted = [client.submit(text, api_name=endpoint) for text in texts]
                for text, job in zip(texts, submitted, strict=True):
                    try:
                        tally.came(job.result(max(0.0, deadline - time.monotonic())), text)
                    except Exception as error:
                        tally.failed(error)
        return tally.values(watch)

    def threads(url: str, jobs: int, limit: float) -> Values:
        process = psutil.Process()
        before = process.num_threads()
        # By name, as servers are called elsewhere: looking one up can take a thread.
        with open_client(url.replace("127.0.0.1", "localhost")) as client:
            submitted = [client.submit(3600, api_name="/sleep") for _ in range(jobs)]
            deadline = time.monotonic() + limit
            while (accepted := sum(map(is_accepted, submitted))) < jobs:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.1)
            during = process.num_threads()
        return {"before": before, "during": during, "accepted": accepted}

    def memory(url: str, outputs: int) -> Values:
        with open_client(url) as client:
            client.predict(10, api_name="/grow")
            with MemoryWatch() as watch:
                job = client.submit(outputs, api_name="/grow")
                result = job.result()
            _check(result, _grown(outputs))
        return {"peak_growth": watch.peak_growth, "held_growth": watch.held_growth}

    def start(url: str) -> Values:
        with open_client(url) as client:
            _check(client.predict("first", api_name="/echo"), "first")
        return {}

    run(latency, burst, threads, memory, start)


# -- asynchronous clients --


def run_async(open_client: Callable[[str], AbstractAsyncContextManager[AsyncClient]]) -> None:
    """Take the measure that the command line names.

    Args:
        open_client: Makes a client for an address, in a context that closes it.
    """

    async def latency(url: str, calls: int, warm_up: int) -> Values:
        async with open_client(url) as client:
            times = []
            for number in range(warm_up + calls):
                text = f"call {number}"
                start = time.perf_counter()
                result = await client.predict(text, api_name="/echo")
                times.append(time.perf_counter() - start)
                _check(result, text)
        return {"seconds": times[warm_up:]}

    async def burst(url: str, jobs: int, endpoint: str, limit: float) -> Values:
        tally = Tally()
        async with open_client(url) as client:
            await client.predict("warm-up", api_name=endpoint)
            deadline = asyncio.get_running_loop().time() + limit
            with Stopwatch() as watch:
                texts = [f"job {number}" for number in range(jobs)]
                submitted = [await client.submit(text, api_name=endpoint) for text in texts]
                for text, job in zip(texts, submitted, strict=True):
                    try:
                        async with asyncio.timeout_at(deadline):
                            tally.came(await job, text)
                    except Exception as error:
                        tally.failed(error)
        return tally.values(watch)

    async def memory(url: str, outputs: int) -> Values:
        async with open_client(url) as client:
            await client.predict(10, api_name="/grow")
            with MemoryWatch() as watch:
                job = await client.submit(outputs, api_name="/grow")
                result = await job
            _check(result, _grown(outputs))
        return {"peak_growth": watch.peak_growth, "held_growth": watch.held_growth}

    async def start(url: str) -> Values:
        async with open_client(url) as client:
            _check(await client.predict("first", api_name="/echo"), "first")
        return {}

    run(latency, burst, memory, start)


# -- the command line --


def run(*measures: Callable[..., Any]) -> None:
    """Take the measure that the command line names, one of these functions."""
    name, arguments = sys.argv[1], json.loads(sys.argv[2])
    measure = {measure.__name__: measure for measure in measures}[name]
    values = measure(**arguments)
    if asyncio.iscoroutine(values):
        values = asyncio.run(values)
    print(json.dumps(values), flush=True)
    # How long a client takes to let the interpreter go is not measured here.
    os._exit(0)
