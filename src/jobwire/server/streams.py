"""Event streams: what a client hears of its jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec
from starlette.types import Receive, Scope, Send

from jobwire.protocol.diff import apply_edits
from jobwire.protocol.messages import (
    CloseStream,
    Heartbeat,
    ProcessCompleted,
    ProcessGenerating,
    UnexpectedError,
    decode_message,
    decode_value,
    encode_message,
    encode_value,
)
from jobwire.protocol.sse import encode_event
from jobwire.server.channels import Channel
from jobwire.server.delivery import Bell, Delivery
from jobwire.server.stores.base import Events, JobNotFoundError, Store, StoreError

if TYPE_CHECKING:
    from jobwire.server.service import Service

__all__ = ("EventStream", "Outcome", "alive", "call_events", "outcome", "session_events")

HEARTBEAT_INTERVAL = 15.0
"""Seconds without anything else after which a stream says that it lives, as in gradio. Most
proxies give up on a silent connection after 60."""

WRITE_TIMEOUT = 60.0
"""Seconds that a client may take to read what was sent, before it counts as gone."""

MAX_CALL_CHUNK = 1024 * 1024
"""Bytes of outputs that the simple API makes of one piece of a log; of the others in it, only
the last is sent."""

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx holds a stream back otherwise
]
_HEARTBEAT = encode_event(encode_message(Heartbeat()))
_CLOSE_STREAM = encode_event(encode_message(CloseStream()))
_STOPPING = encode_event(b'{"msg":"server_stopping","event_id":null}')
"""To those who can come back. Clients that do not know it pass over it."""

_STOPPED = encode_event(
    encode_message(UnexpectedError(message="Server stopped unexpectedly.", success=False))
)
"""To those who cannot, in the words that stock servers have for it."""

_NULL = b"null"

_CALL_STOPPED = encode_event(
    encode_value(
        {
            "error": "the server was stopped before the job was over; if it keeps jobs, ask again "
            "after its next start",
            "duration": 10.0,
            "visible": True,
            "title": "Stopped",
        }
    ),
    event="error",
)


class EventStream:
    """A response that sends a stream until it ends or the client leaves.

    Args:
        chunks: What to send, in framed events. Closed in any case.
    """

    def __init__(self, chunks: AsyncGenerator[bytes]) -> None:
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":  # must not take events that nobody reads
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await send({"type": "http.response.body"})
            return
        task = cast("asyncio.Task[None]", asyncio.current_task())
        gone = asyncio.create_task(_disconnected(receive))
        left = False

        def leave(_: object) -> None:
            nonlocal left
            left = True
            task.cancel()

        gone.add_done_callback(leave)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            async for chunk in self._chunks:
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            gone.remove_done_callback(leave)
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            # What returns without an end is cut, but what was written waits to be read: only
            # our own server can throw that away.
            if (abort := scope.get("jobwire.abort")) is not None:
                abort()
        except asyncio.CancelledError:
            if not left:
                raise
            task.uncancel()
        finally:
            gone.remove_done_callback(leave)
            gone.cancel()
            await self._chunks.aclose()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def session_events(
    channel: Channel | None, service: Service, *, after: int | None
) -> AsyncGenerator[bytes]:
    """Yield all that a session is told, until nothing is left to tell.

    A second stream of a session takes over from the first, which ends in the ordinary way.

    Args:
        channel: The session's; None if there is no such session.
        service: Is told when the stream is over, unless another has taken over.
        after: The number of the last event that the client has had; None if it cannot say.
    """
    if channel is None:
        # In the words and the form that stock servers have for it.
        message = UnexpectedError(message="404: Not Found", session_not_found=True, success=False)
        yield encode_event(encode_message(message))
        return
    bell = Bell()
    channel.attach(bell, after=after)
    sent = time.monotonic()
    try:
        while channel.bell is bell:
            now = time.monotonic()
            if chunk := channel.collect(now):
                yield chunk
                sent = now
                continue
            if not channel.pending:
                break
            if service.delivery.closed:  # there will be no more events
                yield _STOPPED if after is None else _STOPPING
                return
            if now - sent >= HEARTBEAT_INTERVAL:
                yield _HEARTBEAT
                sent = now
            wait = sent + HEARTBEAT_INTERVAL - now
            if (own := channel.timeout(now)) is not None:
                wait = min(wait, own)
            await bell.wait(wait)
        yield _CLOSE_STREAM
        # A client that has left meanwhile was not told: its leaving needs a turn of the loop
        # to be noticed, and then this is not reached.
        for _ in range(2):
            await asyncio.sleep(0)
        if channel.bell is bell:
            channel.detach(now=time.monotonic())
            service.leave(channel)
    finally:
        if channel.bell is bell:
            channel.bell = None
            service.leave(channel)


class _Reader:
    """Follows one job's log."""

    listens = True

    def __init__(self, id: str, *, store: Store, delivery: Delivery) -> None:
        self._id = id
        self._store = store
        self._delivery = delivery
        self._bell = Bell()

    def notify(self, id: str, *, progress: bool, number: int = 0) -> None:
        if not progress:
            self._bell.ring()

    def forget(self, id: str) -> None:
        self._bell.ring()

    async def events(self) -> AsyncGenerator[Events]:
        """Yield the log in pieces, to its end or that of the server; an empty one after
        `HEARTBEAT_INTERVAL`.

        Raises:
            JobNotFoundError: There is no such job, or it expired meanwhile.
        """
        after = 0
        self._delivery.follow(self._id, self)
        try:
            while True:
                piece = self._store.read(self._id, after)
                if piece.events:
                    after = piece.numbers[-1]
                    yield piece
                if piece.ended or (self._delivery.closed and not piece.events):
                    return
                if not piece.events:
                    due = time.monotonic() + HEARTBEAT_INTERVAL
                    await self._bell.wait(HEARTBEAT_INTERVAL)
                    if time.monotonic() >= due:
                        yield piece
        finally:
            self._delivery.unfollow(self._id, self)


async def call_events(
    id: str,
    *,
    store: Store,
    delivery: Delivery,
    after: int | None = None,
    on_leave: Callable[[str], None] = lambda job: None,
) -> AsyncGenerator[bytes]:
    """Yield what the simple API tells of one job, from its beginning to its outcome.

    Anybody may read it, as often as they like, while the job's results are kept. Every
    output is whole. Who reads a long log of outputs that are large does not get each one of
    them: there could be far more to send than the log is long.

    Args:
        id: The job.
        store: Where its log is.
        delivery: Tells of news.
        after: The number of the last event that the client has had; each is sent with its own
            then. None if it cannot say: it is told all, without numbers.
        on_leave: Called with the id when the stream is over.
    """
    values: list[Any] | None = None
    ended = False
    log = _Reader(id, store=store, delivery=delivery).events()
    try:
        async for piece in log:
            chunk = [] if piece.events else [encode_event(_NULL, event="heartbeat")]
            size = 0
            unsent = 0
            for number, event in zip(piece.numbers, piece.events, strict=True):
                had = after is not None and number <= after
                seq = "" if after is None else f"{number}"
                message = decode_message(event)
                if isinstance(message, ProcessGenerating):
                    data = decode_value(cast("msgspec.Raw", message.output.data))
                    if values is not None:
                        data = [apply_edits(*pair) for pair in zip(values, data, strict=True)]
                    values = data
                    unsent = number if size >= MAX_CALL_CHUNK and not had else 0
                    if not unsent and not had:
                        chunk.append(_call_output(values, seq))
                        size += len(chunk[-1])
                elif isinstance(message, ProcessCompleted):
                    unsent = 0  # the outcome has it
                    ended = True
                    if had:
                        continue
                    chunk.append(_call_outcome(event, message, seq))
            if unsent:
                chunk.append(_call_output(values, "" if after is None else f"{unsent}"))
            if chunk:
                yield b"".join(chunk)
            await asyncio.sleep(0)  # a long log must not keep the loop from all else
        if not ended and after is None:
            yield _CALL_STOPPED
    except JobNotFoundError:
        yield encode_event(b'"404: Not Found"', event="error")
    finally:
        await log.aclose()
        on_leave(id)


def _call_output(values: list[Any] | None, seq: str) -> bytes:
    return encode_event(encode_value(values), event="generating", id=seq)


def _call_outcome(event: bytes, message: ProcessCompleted, seq: str) -> bytes:
    output = message.output
    if message.success:
        data = _NULL if isinstance(output.data, msgspec.UnsetType) else bytes(output.data)
        return encode_event(data, event="complete", id=seq)
    return encode_event(bytes(_parts(event).output), event="error", id=seq)


class Outcome(msgspec.Struct):
    """The last event of a job.

    Attributes:
        success: It was not an error.
        output: As raw JSON.
    """

    success: bool
    output: msgspec.Raw


_parts = msgspec.json.Decoder(Outcome).decode


async def outcome(id: str, *, store: Store, delivery: Delivery) -> Outcome:
    """Wait for a job's outcome.

    Raises:
        JobNotFoundError: There is no such job, or it expired meanwhile.
        StoreError: The server was stopped before.
    """
    last = b""
    ended = False
    async for piece in _Reader(id, store=store, delivery=delivery).events():
        last = piece.events[-1] if piece.events else last
        ended = piece.ended
    if not ended:
        raise StoreError(
            f"the server was stopped before the job {id} was over; a durable store keeps it"
        )
    return _parts(last)


async def alive(on_beat: Callable[[], object]) -> AsyncGenerator[bytes]:
    """Yield signs of life, without end, and give one each time."""
    while True:
        on_beat()
        yield encode_event(b"ALIVE")
        await asyncio.sleep(HEARTBEAT_INTERVAL)
