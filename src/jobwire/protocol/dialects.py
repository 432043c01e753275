"""What differs between generations of Gradio servers, in one place.

The first release tag with each behaviour is given where it is used; all were checked
against running servers.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from jobwire.exceptions import UnsupportedProtocolError

__all__ = ("Carrier", "Dialect", "parse_version", "select_dialect")

Carrier = Literal["session stream", "job stream", "websocket"]
"""What the server's messages travel on: one event stream for all jobs of a session
(4.9), an event stream for each job (4.0), or a WebSocket for each (3.x)."""


class Dialect(NamedTuple):
    """How one generation of servers speaks.

    Attributes:
        carrier: What its messages travel on.
        diffs: Outputs after the first come as edits (4.17).
        announces_close: The server says ``close_stream`` before it ends a stream in
            the ordinary way (4.22). Without that, any end could be the ordinary one.
        resumable: A stream that broke can be opened again and goes on where it
            stopped (4.17 to 4.23); others forget the session.
        durable: It keeps jobs: they can be had by their id, a stream goes on after any
            event, since each has a number, and a submission that is repeated under its key
            is the same job. Only jobwire's own servers do.
        cancel: The route that stops a job: ``cancel`` (4.31), ``reset``, which only stops
            generators, or that of the one ``job``, where jobs are kept.
        precise_cancel: One job can be cancelled alone, and one that waits is taken
            out of the queue (6.14). Earlier, a waiting job runs all the same when its
            turn comes, and some versions then break the stream of the whole session.
        batches: Its queue survives a call of an endpoint that the server runs in
            batches (not from 4.0 to 4.10: one such call, and no job ever starts again).
        old_files: Files in values have the form that they had before 4.0.
    """

    carrier: Carrier
    diffs: bool
    announces_close: bool
    resumable: bool
    durable: bool
    cancel: Literal["cancel", "reset", "job"]
    precise_cancel: bool
    batches: bool
    old_files: bool


_NEWEST = (999,)


def parse_version(version: str) -> tuple[int, ...]:
    """Return the numbers of a version: ``"4.44.1"`` and ``"4.44.1b2\\n"`` -> (4, 44, 1).

    A version that has no numbers is taken for newer than all others.
    """
    match = re.match(r"\d{1,9}(?:\.\d{1,9})*", version.strip())
    return tuple(map(int, match[0].split("."))) if match else _NEWEST


def select_dialect(protocol: str | None, version: str, *, durable: bool = False) -> Dialect:
    """Return how a server speaks.

    Args:
        protocol: ``protocol`` of its ``/config``; None if it has none, which means
            ``ws``. An ``sse_*`` that we have not heard of is taken for the newest.
        version: ``version`` of its ``/config``.
        durable: It says there that it is a server of jobwire.

    Raises:
        UnsupportedProtocolError: We do not speak it.
    """
    name = protocol or "ws"
    number = parse_version(version)
    carrier: Carrier
    if name.startswith("sse_"):
        carrier = "session stream"
    elif name == "sse":
        carrier = "job stream"
    elif name == "ws":
        carrier = "websocket"
    else:
        raise UnsupportedProtocolError(
            f"the server (gradio {version.strip() or 'of unknown version'}) speaks the protocol "
            f"{name!r}; jobwire speaks ws, sse and sse_v1 to sse_v3, that is gradio 3 and later",
            protocol=name,
            version=version.strip(),
        )
    return Dialect(
        carrier=carrier,
        diffs=name not in ("ws", "sse", "sse_v1"),
        announces_close=name not in ("ws", "sse", "sse_v1", "sse_v2", "sse_v2.1"),
        resumable=(4, 17) <= number < (4, 24),
        durable=durable,
        cancel="job" if durable else "cancel" if number >= (4, 31) else "reset",
        precise_cancel=number >= (6, 14),
        batches=not (4, 0) <= number < (4, 11),
        old_files=carrier == "websocket",
    )
