"""A jobwire app with one endpoint for each thing that a server has to offer.

``app`` is open to all; ``guarded`` wants the login ``user`` and ``pass``.
"""

import asyncio
import math
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from apps import functions
from jobwire import App, AppError, CancelToken, Progress, Request, Session, log


@dataclass
class Point:
    x: int
    y: float = 0.0


FOLDER = Path(tempfile.mkdtemp(prefix="served-"))

ended: list[str] = []
"""The tags of what was ended early."""


def echo(text: str) -> str:
    """Give back what came.

    Args:
        text: Anything at all.
    """
    return text


def add(a: int, b: int = 2, c: float = 0.5) -> float:
    """Add numbers."""
    return a + b + c


def grow(n: int, delay: float = 0.0) -> Iterator[str]:
    """Give a text that grows."""
    text = ""
    for i in range(n):
        time.sleep(delay)
        text += f"word{i} "
        yield text


def tables() -> Iterator[list[Any]]:
    yield from functions.TABLES


def mixed() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from functions.mixed()


def count(n: int, delay: float = 0.0, tag: str = "") -> Iterator[str]:
    try:
        for i in range(n):
            time.sleep(delay)
            yield f"{i}"
    except GeneratorExit:
        ended.append(tag)
        raise


async def ticks(n: int, delay: float = 0.0) -> AsyncIterator[int]:
    for i in range(n):
        await asyncio.sleep(delay)
        yield i


async def later(text: str, delay: float = 0.0) -> str:
    try:
        await asyncio.sleep(delay)
    except asyncio.CancelledError:
        ended.append(text)
        raise
    return text.upper()


def slow(seconds: float, tag: str, token: CancelToken) -> str:
    if token.wait(seconds):
        ended.append(tag)
    return f"slept {tag}"


def was_ended(tag: str) -> bool:
    return tag in ended


def words(text: str) -> list[str]:
    return text.split()


def lengths(text: str) -> dict[str, int]:
    return {word: len(word) for word in text.split()}


def move(point: Point, by: int = 1) -> Point:
    return Point(point.x + by, point.y + by)


def two(text: str) -> tuple[str, int]:
    return text.upper(), len(text)


def none() -> None:
    pass


def odd() -> dict[str, Any]:
    return {"nan": math.nan, "text": "naïve ✓ 🎉 \ud800", "deep": [[], {}, None]}


def pick(color: Literal["red", "green"], sizes: list[Literal[1, 2, 3]] = [2]) -> str:  # noqa: B006
    return f"{color} {sizes}"


def steps(n: int, progress: Progress) -> str:
    """Show bars within bars."""
    for _ in progress.track(range(n), desc="outer", unit="rounds"):
        for _ in progress.track(range(2), desc="inner"):
            time.sleep(0.06)
    return "done"


def steps_as_in_gradio(n: int, progress=Progress()) -> str:  # noqa: B008
    for i in range(n):
        progress((i, n), desc="working", unit="parts")
        time.sleep(0.06)
    return "done"


def logs(text: str) -> str:
    log.info(f"info {text}")
    time.sleep(0.3)  # who polls is to see both
    log.warning(f"warning {text}", title="Take care", duration=3)
    time.sleep(0.3)
    return text


def fail(kind: Literal["titled", "value", "late"]) -> Iterator[str]:
    if kind == "titled":
        raise AppError("a <b>bad</b> thing", title="Oops", duration=7, visible=False)
    if kind == "value":
        raise ValueError("a secret of the server")
    yield "one"
    yield "two"
    raise AppError("failed after outputs")


def double(numbers: list[int]) -> list[int]:
    return [2 * number for number in numbers]


def direct(text: str) -> str:
    return text


def direct_fail() -> str:
    raise AppError("a direct failure")


def visits(session: Session) -> int:
    count = session.state["visits"] = session.state.get("visits", 0) + 1
    return count


def whoami(request: Request) -> str | None:
    return request.username


def shout(file: Path) -> Path:
    """Turn a text file to upper case."""
    path = Path(tempfile.mkdtemp(dir=FOLDER)) / f"shouted {file.name}"
    path.write_text(file.read_text().upper())
    return path


def join(files: list[Path], separator: str = "\n") -> str:
    return separator.join(file.read_text() for file in files)


def parts(text: str) -> dict[str, Path]:
    """Give several files within a value."""
    found = {}
    for word in text.split():
        found[word] = FOLDER / f"part-{word}.txt"
        found[word].write_text(word)
    return found


def batches(numbers: list[int]) -> list[int]:
    time.sleep(0.05)
    return [len(numbers)] * len(numbers)


def build(**options: Any) -> App:
    app = App(title="Served <&>", description="One of each.", **options)
    for function in (
        add, fail, grow, join, lengths, logs, mixed, move, none, odd, parts, pick, shout, steps,
        steps_as_in_gradio, tables, ticks, two, visits, was_ended, whoami, words,
    ):  # fmt: skip
        app.endpoint(concurrency_limit=8)(function)
    app.endpoint(concurrency_limit=40)(echo)
    app.endpoint(concurrency_limit=4)(count)
    app.endpoint(concurrency_limit=None)(later)
    app.endpoint(concurrency_limit=1)(slow)
    app.endpoint(batch=True, max_batch_size=8)(double)
    app.endpoint(batch=True, max_batch_size=8)(batches)
    app.endpoint(queue=False)(direct)
    app.endpoint(queue=False)(direct_fail)
    app.endpoint(name="private_echo", visibility="private")(echo)
    app.endpoint(name="quiet_echo", visibility="undocumented")(echo)
    return app


app = build()
guarded = build(auth=("user", "pass"), auth_message="Say who you are.")
