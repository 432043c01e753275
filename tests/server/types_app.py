"""An app with every kind of parameter, and small limits."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import enum
import logging
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pydantic

from jobwire import App, AppError, Progress, Request, Session

LIMITS = {"max_body_size": 64 * 1024, "max_file_size": 1024, "max_upload_size": 4096}


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Movie(TypedDict):
    name: str
    year: int


class Pair(NamedTuple):
    left: int
    right: str


@dataclass
class Point:
    x: int
    y: float = 0.0
    tags: list[str] = field(default_factory=list)


@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list)


class Box(msgspec.Struct):
    size: Annotated[int, msgspec.Meta(ge=1, le=10)]
    point: Point | None = None


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=1)
    age: int = pydantic.Field(default=1, ge=0)


app = App(title="Types", **LIMITS)  # type: ignore[arg-type]
gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


@app.endpoint(concurrency_limit=8)
def plain(text: str, number: int, ratio: float, flag: bool) -> tuple[str, int, float, bool]:
    """Take what JSON has."""
    return text, number, ratio, flag


@app.endpoint(concurrency_limit=8)
def add(a: int, b: int = 2) -> int:
    return a + b


@app.endpoint(concurrency_limit=8)
def texts(
    data: bytes,
    day: datetime.date,
    moment: datetime.datetime,
    clock: datetime.time,
    span: datetime.timedelta,
    id: uuid.UUID,
    price: decimal.Decimal,
) -> list[Any]:
    """Take what JSON has as text only."""
    return [data, day, moment, clock, span, id, price]


@app.endpoint(concurrency_limit=8)
def choices(
    one: Literal["a", "b"],
    number: Literal[1, 2],
    color: Color,
    level: Level,
    many: list[Literal["x", "y"]],
) -> str:
    """Take one of several."""
    return f"{one}{number}{color.name}{level.name}{many}"


@app.endpoint(concurrency_limit=8)
def nested(
    numbers: list[int],
    table: dict[str, float],
    by_number: dict[int, str],
    pair: tuple[int, str],
    unique: set[int],
    either: int | str,
    grid: list[list[float | None]],
) -> int:
    """Take containers."""
    return len(numbers) + len(table) + len(by_number) + len(pair) + len(unique) + len(grid)


@app.endpoint(concurrency_limit=8)
def models(
    movie: Movie, pair: Pair, point: Point, tree: Tree, box: Box, person: Person
) -> dict[str, Any]:
    """Take objects."""
    return {"movie": movie, "pair": pair, "point": point, "tree": tree, "box": box, "p": person}


@app.endpoint(concurrency_limit=8)
def optional(
    text: str | None,
    number: int = 3,
    point: Point | None = None,
    when: datetime.date = datetime.date(2020, 1, 1),
    color: Color = Color.RED,
    *,
    loud: bool = False,
) -> str:
    """Take what may be left out."""
    return f"{text} {number} {point} {when} {color.name} {loud}"


@app.endpoint(concurrency_limit=8)
def bounded(
    small: Annotated[int, msgspec.Meta(ge=0, le=9)],
    word: Annotated[str, msgspec.Meta(min_length=1, max_length=3, pattern="^[a-z]+$")],
    few: Annotated[list[int], msgspec.Meta(max_length=2)],
    half: Annotated[float, msgspec.Meta(gt=0, lt=1)],
) -> str:
    """Take what lies within bounds."""
    return f"{small}{word}{few}{half}"


@app.endpoint(concurrency_limit=8)
def anything(value: Any) -> Any:
    return value


@app.endpoint(concurrency_limit=8)
def files(one: Path, many: list[Path]) -> tuple[Path, list[Path]]:
    return one, many


@app.endpoint(concurrency_limit=8)
def nothing() -> None: ...


@app.endpoint(concurrency_limit=8)
def count(n: Annotated[int, msgspec.Meta(ge=0, le=5)], progress: Progress) -> Iterator[str]:
    for i in progress.track(range(n)):
        yield f"{i}"


@app.endpoint(concurrency_limit=8)
async def ticks(n: Annotated[int, msgspec.Meta(ge=0, le=5)]) -> AsyncIterator[int]:
    for i in range(n):
        yield i


@app.endpoint(batch=True)
def doubles(number: list[int]) -> list[int]:
    return [2 * each for each in number]


@app.endpoint(queue=False)
def direct(text: str, request: Request, session: Session) -> str:
    return text


@app.endpoint(concurrency_limit=8)
def fails(how: Literal["said", "raised"]) -> None:
    if how == "said":
        raise AppError("it is so", title="Said")
    raise ValueError("a secret of the server")


@app.endpoint(visibility="private")
def hidden(text: str) -> str:
    return text


@app.endpoint(concurrency_limit=None, visibility="undocumented")
async def held(tag: str) -> str:
    """Run until `release`."""
    try:
        async with asyncio.timeout(30):
            await gates[tag].wait()
    finally:
        del gates[tag]
    return f"{tag} is well"


@app.endpoint(queue=False, visibility="undocumented")
async def release(tag: str) -> None:
    gates[tag].set()


@app.endpoint(queue=False, visibility="undocumented")
async def complain(mark: str) -> None:
    """Write a line that the log shows at once."""
    logging.getLogger("types").warning(mark)
