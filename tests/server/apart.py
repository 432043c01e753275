"""Functions that worker processes import and run."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jobwire.exceptions import AppError, JobCancelledError
from jobwire.server.context import CancelToken, Progress, Request, Session, log

FOREVER = 60.0  # seconds; what sleeps so long is to be stopped


@dataclass
class Point:
    x: int
    y: float = 0.0


def echo(x: Any = None) -> Any:
    return x


def pid() -> int:
    return os.getpid()


async def pid_async() -> int:
    await asyncio.sleep(0)
    return os.getpid()


def move(point: Point, by: int = 1) -> Point:
    return Point(point.x + by, point.y)


def count(n: int) -> Iterator[int]:
    yield from range(n)


async def count_async(n: int) -> AsyncIterator[int]:
    for i in range(n):
        await asyncio.sleep(0)
        yield i


def double(numbers: list[int]) -> list[int]:
    return [2 * number for number in numbers]


def pids(numbers: list[int]) -> list[int]:
    return [os.getpid() for _ in numbers]


def steps(n: int, progress: Progress) -> str:
    for _ in progress.track(range(n), desc="counting"):
        log.info("a step", title="Step", duration=None)
    return "done"


def fast_steps(n: int, progress: Progress) -> str:
    for step in range(n):
        progress((step + 1, n))
    log.info("shown")
    time.sleep(FOREVER)  # the last step is shown all the same
    return "done"


def whoami(request: Request) -> list[str | None]:
    return [request.headers["user-agent"], request.username]


def state(session: Session) -> int:
    return len(session.state)


def record(text: str) -> None:
    logging.getLogger("app.records").warning("recorded %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("app.records").exception("raised %s", text)


def main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


# -- files --------------------------------------------------------------------------


def shout(file: Path) -> Path:
    path = Path(tempfile.mkdtemp()) / f"shouted {file.name}"
    path.write_text(file.read_text().upper())
    return path


def relative(name: str) -> Path:
    os.chdir(tempfile.mkdtemp())
    Path(name).write_text(name)
    return Path(name)


def missing() -> Path:
    return Path("/nothing/is/here")


async def shout_async(files: list[Path]) -> AsyncIterator[list[Path]]:
    yield [shout(file) for file in files]


# -- ends ---------------------------------------------------------------------------


def fail(text: str) -> None:
    raise AppError(text, title="Sorry")


def fail_late(text: str) -> Iterator[int]:
    yield 1
    raise ValueError(text)


def unsendable() -> Any:
    return object()


def give_up() -> None:
    raise JobCancelledError("enough")


def leave(code: int) -> None:
    os._exit(code)


def leave_late(code: int) -> Iterator[int]:
    yield 1
    yield 2
    os._exit(code)


def exit(code: int) -> None:
    sys.exit(code)


def crash() -> None:
    ctypes.string_at(0)


def kill(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(FOREVER)


def sleep(path: str = "") -> str:
    """Sleep, and say so before and after."""
    log.info("asleep")
    time.sleep(FOREVER)
    Path(path).touch()
    return "not stopped"


def hold_lock() -> None:
    """Sleep, and keep every other thread of the process from running."""
    log.info("asleep")
    ctypes.PyDLL(None).sleep(int(FOREVER))


def wait_for_token(token: CancelToken) -> str:
    log.info("waiting")
    told = token.wait(FOREVER)
    logging.getLogger("app.records").warning("told %s", told)
    return "not stopped"


def ignore_token(token: CancelToken) -> None:
    log.info("waiting")
    time.sleep(FOREVER)


def generate(step: float) -> Iterator[int]:
    try:
        for i in range(1_000_000):
            yield i
            time.sleep(step)
    except GeneratorExit:
        logging.getLogger("app.records").warning("closed")
        raise


async def sleep_async() -> str:
    try:
        log.info("asleep")
        await asyncio.sleep(FOREVER)
    except asyncio.CancelledError:
        logging.getLogger("app.records").warning("cancelled")
        raise
    return "not stopped"


async def block_async() -> None:
    log.info("asleep")
    time.sleep(FOREVER)  # noqa: ASYNC251 - as it should not be


def start_child() -> Iterator[int]:
    """Start a process that would outlive this one."""
    child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({FOREVER})"])
    yield child.pid
    child.wait()


def fork_and_leave() -> None:
    """Leave a copy of this process behind, which has all of its open files."""
    if os.fork() == 0:
        log.info("nobody hears this")
        logging.getLogger("app.records").warning("nor this")
        time.sleep(FOREVER)
    os._exit(3)


def pool(numbers: list[int]) -> list[int]:
    """Use processes of its own."""
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(abs, numbers)


def flood(path: str, size: int) -> Iterator[str]:
    """Give as much as will be taken, and say in a file how often."""
    for i in range(100_000):
        Path(path).write_text(f"{i}")
        yield f"{i} " + "x" * size


# -- functions that are hard to find ----------------------------------------------------


class Model:
    """Something that has to be there before it is called."""

    def __init__(self, name: str) -> None:
        self.name = name

    def predict(self, x: int) -> str:
        return f"{self.name} {x}"

    def __call__(self, x: int) -> str:
        return self.predict(x)


bound = Model("bound").predict
callable_object = Model("called")
partly = partial(move, by=10)
nameless = lambda x: x  # noqa: E731


def make_closure() -> Any:
    def closure(x: int) -> int:
        return x

    return closure
