"""Functions with one input or one output, and types for them."""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict

import msgspec
import pydantic
import pytest
from pydantic.dataclasses import dataclass as pydantic_dataclass

from jobwire.exceptions import JobwireError
from jobwire.server.errors import DeclarationError, InputError
from jobwire.server.signature import Signature, inspect_function


class Files:
    """Files by name, of which ``missing`` is none."""

    def __init__(self) -> None:
        self.published: list[Path] = []

    def open(self, path: str) -> Path:
        if path == "missing":
            raise JobwireError("File not allowed: missing.")
        return Path("/uploads") / path

    def publish(self, path: Path) -> dict[str, Any]:
        self.published.append(path)
        return file(path.name)


FILES = Files()


def file(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


class Progress:
    pass


class Request:
    pass


def inspect(fn: Callable[..., Any], **options: Any) -> Signature:
    return inspect_function(fn, injectable=(Progress, Request), **options)


def taking(annotation: Any, **default: Any) -> Signature:
    """The signature of a function with one parameter ``x``."""

    def take(x: Any) -> None: ...

    take.__annotations__["x"] = annotation
    take.__defaults__ = tuple(default.values()) or None
    return inspect(take)


def giving(annotation: Any = Any) -> Signature:
    """The signature of a function with one output."""

    def give() -> Any: ...

    give.__annotations__["return"] = annotation
    return inspect(give)


def decode(annotation: Any, value: Any) -> Any:
    (decoded,) = taking(annotation).decode([value], files=FILES)
    return decoded


def encode(value: Any, annotation: Any = Any) -> Any:
    (encoded,) = giving(annotation).encode(value, files=FILES)
    return encoded


def input_error(annotation: Any, value: Any) -> str:
    with pytest.raises(InputError) as caught:
        decode(annotation, value)
    assert caught.value.parameter == "x"
    assert caught.value.endpoint == "take"
    assert str(caught.value) == f"take: parameter 'x': {caught.value.message}"
    return caught.value.message


def declaration_error(fn: Callable[..., Any], **options: Any) -> str:
    with pytest.raises(DeclarationError) as caught:
        inspect(fn, **options)
    name, _, text = str(caught.value).partition(": ")
    assert name == getattr(fn, "__name__", name)
    return text


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"
    AMBER = "amber"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 9


class Size(enum.StrEnum):
    SMALL = "s"


class Point(NamedTuple):
    x: int
    y: float = 0.5


class Options(TypedDict):
    fast: bool


@dataclass
class Photo:
    image: Path
    tags: list[str] = field(default_factory=list)
    thumbnail: Path | None = None


@dataclass
class Tree:
    name: str
    children: list["Tree"] = field(default_factory=list)


class Order(msgspec.Struct, forbid_unknown_fields=True):
    item: str
    count: int = 1


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    name: str


class User(pydantic.BaseModel):
    name: str
    born: date | None = None
    friends: list["User"] = []


class Circle(pydantic.BaseModel):
    shape: Literal["circle"]
    radius: float


class Square(pydantic.BaseModel):
    shape: Literal["square"]
    side: float


@pydantic_dataclass
class Box:
    width: Annotated[int, pydantic.Field(gt=0)]


@dataclass
class Account:
    user: User


class Attached(pydantic.BaseModel):
    file: Path


@dataclass
class Shelf:
    boxes: list[Box]


UserId = NewType("UserId", int)
