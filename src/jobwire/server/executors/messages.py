"""What a server and its worker processes tell each other, over one connection for each.

The server sends an order; the worker reports, until it has said how the order ended:

    server                                   worker
    Prepare(functions)  ------------------>                   imports them
                        <------------------  Ready | Broken
    Call(number, ...)   ------------------>                   calls one of them
                        <------------------  Given, Shown, Said, Logged, Publish ...
    Seen, Answer, Stop  ------------------>
                        <------------------  Succeeded | Failed | GaveUp | Dropped

`Shown` and `Publish` are answered, with `Seen` and `Answer`, before the next of the kind; the
rest waits for nobody but the pipe: a worker that gives faster than the server takes is held
where it writes. A connection that ends is an order, too: a worker that has nothing to do
leaves, and one that has something to do, whose server is gone, is killed.

Each message is one frame of the connection, in MessagePack. A server reads nothing of a
worker's but data; what it sends holds pickles, since the functions' arguments can be of any
class.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from jobwire.protocol.messages import Failure
from jobwire.server.context import Level
from jobwire.types import ProgressUnit

__all__ = (
    "Answer",
    "Broken",
    "Call",
    "Dropped",
    "Failed",
    "Function",
    "GaveUp",
    "Given",
    "Logged",
    "Order",
    "Prepare",
    "Publish",
    "Ready",
    "Report",
    "Said",
    "Seen",
    "Shown",
    "Stop",
    "Succeeded",
    "decode_order",
    "decode_report",
    "encode",
)


class Function(Struct, frozen=True, array_like=True):
    """A function that is to be called by the worker.

    Attributes:
        name: Its endpoint.
        pickled: How to find it.
        batch: Whether it takes several jobs at once.
    """

    name: str
    pickled: bytes
    batch: bool


# -- from the server ------------------------------------------------------------------


class Prepare(Struct, tag=True, array_like=True):
    """Import functions. `Ready` or `Broken` answers it."""

    functions: list[Function]


class Call(Struct, tag=True, array_like=True):
    """Call a function.

    Attributes:
        number: Of the call; what is said of it later names it.
        name: Which function.
        jobs: How many jobs it is for.
        pickled: The jobs' arguments, the first one's request, and its last output.
        show_errors: Whether callers see the text of every error.
    """

    number: int
    name: str
    jobs: int
    pickled: bytes
    show_errors: bool


class Stop(Struct, tag=True, array_like=True):
    """Nobody wants the result of a call any more. Harmless if it has ended."""

    number: int


class Seen(Struct, tag=True, array_like=True):
    """The latest `Shown` was read: there can be another one."""


class Answer(Struct, tag=True, array_like=True):
    """What came of a `Publish`: a pickled dict, or the pickled error to raise."""

    pickled: bytes


Order = Prepare | Call | Stop | Seen | Answer


# -- from the worker --------------------------------------------------------------------


class Ready(Struct, tag=True, array_like=True):
    """The functions can be called."""


class Broken(Struct, tag=True, array_like=True):
    """A function cannot be imported.

    Attributes:
        name: Its endpoint; None if it is the app itself.
        reason: The error.
        traceback: Where it was raised.
    """

    name: str | None
    reason: str
    traceback: str


class Given(Struct, tag=True, array_like=True):
    """A generator gave something. See `Execution.give`."""

    data: bytes
    duration: float


class Shown(Struct, tag=True, array_like=True):
    """How far a call is. `Seen` answers it."""

    number: int
    units: list[ProgressUnit]


class Said(Struct, tag=True, array_like=True):
    """A line for the callers. See `Execution.say`."""

    number: int
    message: str
    level: Level
    title: str
    duration: float | None
    visible: bool


class Logged(Struct, tag=True, array_like=True):
    """A record for the server's log.

    Attributes:
        logger: Who wrote it.
        level: Its number.
        message: The text.
        traceback: Of the error that it is about; None if it is about none.
    """

    logger: str
    level: int
    message: str
    traceback: str | None


class Publish(Struct, tag=True, array_like=True):
    """Copy in a file that a job gave. `Answer` answers it.

    Attributes:
        job: Which of the call's jobs.
        path: Where the file lies; absolute.
    """

    job: int
    path: str


class Succeeded(Struct, tag=True, array_like=True):
    """The call came to its end. See `Execution.succeed`."""

    outputs: list[bytes]
    duration: float


class Failed(Struct, tag=True, array_like=True):
    """The call raised, and this is what callers are told."""

    failure: Failure


class GaveUp(Struct, tag=True, array_like=True):
    """The function says that its job is cancelled."""


class Dropped(Struct, tag=True, array_like=True):
    """The call was stopped; nothing came of it."""


Report = (
    Ready | Broken | Given | Shown | Said | Logged | Publish | Succeeded | Failed | GaveUp | Dropped
)

_orders = msgspec.msgpack.Decoder(Order)
_reports = msgspec.msgpack.Decoder(Report)


def encode(message: Order | Report) -> bytes:
    """Return a message as a frame."""
    return msgspec.msgpack.encode(message)


def decode_order(frame: bytes) -> Order:
    """Read what a server sent.

    Raises:
        msgspec.MsgspecError: It is no order.
    """
    order: Any = _orders.decode(frame)
    return order  # type: ignore[no-any-return]


def decode_report(frame: bytes) -> Report:
    """Read what a worker sent.

    Raises:
        msgspec.MsgspecError: It is no report.
    """
    report: Any = _reports.decode(frame)
    return report  # type: ignore[no-any-return]
