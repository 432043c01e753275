"""What functions raise, and what callers are told of it."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from jobwire.exceptions import AppError, JobCancelledError
from jobwire.server.context import log
from server.working import (
    KINDS,
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


def raising(bench: Bench, kind: Kind, error: BaseException, **options: Any) -> None:
    def function() -> int:
        raise error

    def generator() -> Iterator[int]:
        yield 1
        yield 2
        raise error

    async def coroutine() -> int:
        raise error

    async def async_generator() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise error

    functions = [function, generator, coroutine, async_generator]
    bench.endpoint(**{"name": "f", **options})(functions[KINDS.index(kind)])


HIDDEN = "the function raised {}; the server's log says more"


class Odd(BaseException):
    pass


@each_kind
@pytest.mark.parametrize(
    ("error", "shown", "text"),
    [
        (ValueError("secret"), False, HIDDEN.format("ValueError")),
        (ValueError("not secret"), True, "not secret"),
        (ValueError(), True, "ValueError"),
        (KeyError("k"), True, "'k'"),
        (TimeoutError(), False, HIDDEN.format("TimeoutError")),
        (MemoryError(), False, HIDDEN.format("MemoryError")),
        (SystemExit(3), False, HIDDEN.format("SystemExit")),
        (SystemExit(3), True, "3"),
        (KeyboardInterrupt(), False, HIDDEN.format("KeyboardInterrupt")),
        (GeneratorExit(), False, HIDDEN.format("GeneratorExit")),
        (Odd("odd"), False, HIDDEN.format("Odd")),
        (UnicodeError("\udc80"), False, HIDDEN.format("UnicodeError")),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
async def test_error_is_the_outcome_and_in_the_log(
    bench: Bench,
    caplog: pytest.LogCaptureFixture,
    kind: Kind,
    error: BaseException,
    shown: bool,
    text: str,
) -> None:
    error = copy.copy(error)  # without the tracebacks of other tests
    raising(bench, kind, error, show_errors=shown)
    job = await bench.submit("f")
    assert await bench.failure(job) == (text, "Error")
    (record,) = caplog.records
    assert record.name == "jobwire.server"
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert bench.outputs(job) == ([[1], [2]] if "generator" in kind else [])
    assert bench["f"].counts == {"completed": 0, "failed": 1, "cancelled": 0}
    assert bench["f"].durations.mean is None
    # Neither a slot nor a thread is lost.
    await bench.failure(await bench.submit("f"))
    await bench.at_rest()


@each_kind
async def test_error_of_the_app_is_for_the_caller(
    bench: Bench, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    raising(bench, kind, AppError("Too <b>big</b>", 3.5, False, "Sorry"))
    message = await bench.outcome(await bench.submit("f"))
    assert message.success is False
    assert message.title == "Sorry"
    output = message.output
    assert (output.error, output.duration, output.visible, output.title) == (
        "Too <b>big</b>",
        3.5,
        False,
        "Sorry",
    )
    assert caplog.records == []


@each_kind
async def test_function_can_give_up_by_itself(
    bench: Bench, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    raising(bench, kind, JobCancelledError("enough"))
    assert await bench.cancelled(await bench.submit("f"))
    assert bench["f"].counts == {"completed": 0, "failed": 0, "cancelled": 1}
    assert caplog.records == []
    await bench.at_rest()


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


UNTELLABLE = {
    "surrogate": AppError("no file named \udcff"),  # as os.listdir gives odd names
    "error_as_text": AppError(ValueError("the cause")),  # type: ignore[arg-type]
    "error_as_title": AppError("x", title=ValueError("the cause")),  # type: ignore[arg-type]
    "surrogate_of_another": ValueError("no file named \udcff"),
    "unprintable": UnprintableError(),
}


@each_kind
async def test_error_that_cannot_be_told_still_is_an_outcome(bench: Bench, kind: Kind) -> None:
    jobs = []
    for name, error in UNTELLABLE.items():
        raising(bench, kind, copy.copy(error), name=name, show_errors=True)
        jobs.append(await bench.submit(name))
    for job in jobs:
        await bench.failure(job)
    await bench.at_rest()


async def test_cancelled_error_of_the_functions_own_is_an_error_as_others(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    @bench.endpoint
    async def f() -> None:
        task = asyncio.ensure_future(asyncio.sleep(10))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task

    text, _ = await bench.failure(await bench.submit("f"))
    assert text == HIDDEN.format("CancelledError")
    assert len(caplog.records) == 1


@each_kind
async def test_output_that_cannot_be_sent_fails_the_job(bench: Bench, kind: Kind) -> None:
    closed: list[str] = []

    def function() -> Any:
        return Unsendable()

    def generator() -> Iterator[Any]:
        try:
            yield 1
            yield Unsendable()
        except GeneratorExit:
            closed.append("generator")
            raise

    async def coroutine() -> Any:
        return Unsendable()

    async def async_generator() -> AsyncIterator[Any]:
        try:
            yield 1
            yield Unsendable()
        except GeneratorExit:
            closed.append("async_generator")
            raise

    functions = [function, generator, coroutine, async_generator]
    bench.endpoint(name=kind)(functions[KINDS.index(kind)])
    text, _ = await bench.failure(await bench.submit(kind))
    assert text == HIDDEN.format("OutputError")
    assert closed == ([kind] if "generator" in kind else [])
    await bench.at_rest()


@pytest.mark.parametrize("kind", ["generator", "async_generator"])
async def test_outputs_that_are_too_large_fail_the_job(make_bench: MakeBench, kind: Kind) -> None:
    bench = make_bench(max_log_size=5000)
    closed: list[str] = []

    @bench.endpoint(name="generator")
    def generator() -> Iterator[str]:
        try:
            for number in range(100):
                yield f"{number}" * 1000
        except GeneratorExit:
            closed.append("generator")
            raise

    @bench.endpoint(name="async_generator")
    async def async_generator() -> AsyncIterator[str]:
        try:
            for number in range(100):
                yield f"{number}" * 1000
        except GeneratorExit:
            closed.append("async_generator")
            raise

    job = await bench.submit(kind)
    text, _ = await bench.failure(job)
    assert "more than 5000 bytes" in text
    assert bench.outputs(job) == [["0" * 1000], ["1" * 1000], ["2" * 1000], ["3" * 1000]]
    assert closed == [kind]
    await bench.at_rest()


async def test_too_many_log_lines_fail_the_job(make_bench: MakeBench) -> None:
    bench = make_bench(max_log_size=5000)

    @bench.endpoint
    def chatty() -> None:
        for _ in range(1000):
            log.info("hello")

    text, _ = await bench.failure(await bench.submit("chatty"))
    assert "more than 5000 bytes" in text


@pytest.mark.parametrize("kind", ["function", "coroutine"])
async def test_result_that_is_too_large_fails_the_job(make_bench: MakeBench, kind: Kind) -> None:
    bench = make_bench(max_log_size=5000)
    gate = bench.gate()
    gate.open()
    job = await bench.submit(bench.holding(kind, gate), "x" * 300_000)
    text, _ = await bench.failure(job)
    assert "more than 5000 bytes" in text
