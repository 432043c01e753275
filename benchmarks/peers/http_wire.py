"""As little HTTP and job protocol as a load needs, so that the server is what is measured.

Requests are bytes that were made before the clock starts; answers are kept as they come
and looked at after it has stopped. While it runs, a completion is recognised by its name
alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import httptools  # type: ignore[import-not-found,unused-ignore]

__all__ = ("Burst", "Connection", "Session", "Target", "fetch")

Body = Callable[[bytes], None]
End = Callable[[int | None], None]

COMPLETED = b"process_completed"


class Connection(asyncio.Protocol):
    """A connection that is kept; one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._body: Body | None = None
        self._end: End | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, body: Body, end: End) -> None:
        """Send a request; ``end`` gets the status, or None if the connection was lost."""
        if not self.is_open or self._transport is None:
            end(None)
            return
        self._body, self._end = body, end
        self._transport.write(request)

    def close(self) -> None:
        self._end = None
        if self._transport is not None:
            self._transport.close()

    # -- asyncio.Protocol --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._finish(None)

    # -- httptools --

    def on_body(self, data: bytes) -> None:
        if self._body is not None:
            self._body(data)

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.close()
        self._finish(self._parser.get_status_code())

    def _finish(self, status: int | None) -> None:
        end, self._end = self._end, None
        if end is not None:
            end(status)


class Target:
    """A server: makes requests to it, and connections."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port = parts.hostname, parts.port
        self._api = ""
        self._functions: dict[str, int] = {}

    async def connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(Connection, self._host, self._port))[1]

    async def read_config(self) -> None:
        """Learn where the API is and what number each endpoint has."""
        connection = await self.connect()
        status, body = await fetch(connection, self.get("/config"))
        assert status == 200, body
        connection.close()
        config = json.loads(body)
        self._api = config["api_prefix"]
        self._functions = {fn["api_name"]: fn["id"] for fn in config["dependencies"]}

    def get(self, path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n\r\n".encode()

    def post(self, path: str, value: Any) -> bytes:
        body = json.dumps(value, separators=(",", ":")).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def run(self, name: str, data: list[Any]) -> bytes:
        return self.post(f"{self._api}/run/{name}", {"data": data})

    def join(self, name: str, data: list[Any], session: str) -> bytes:
        return self.post(
            f"{self._api}/queue/join",
            {"data": data, "fn_index": self._functions[name], "session_hash": session},
        )

    def stream(self, session: str) -> bytes:
        return self.get(f"{self._api}/queue/data?session_hash={session}")


async def fetch(connection: Connection, request: bytes) -> tuple[int | None, bytes]:
    """Send one request and wait for its answer."""
    answered: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
    parts: list[bytes] = []
    connection.send(request, parts.append, answered.set_result)
    return await answered, b"".join(parts)


class Session:
    """A session and its stream, which is open whenever the session has jobs in flight."""

    def __init__(self, target: Target, connection: Connection) -> None:
        self.hash = uuid.uuid4().hex
        self.streams = 0
        self.on_completed: Callable[[int], None] = lambda count: None
        self.on_lost: Callable[[str], None] = lambda why: None
        self._target = target
        self._connection = connection
        self._accepted = self._completed = 0
        self._received: list[bytes] = []
        self._rest = b""
        self._opening: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()
        self._closed.set()

    def accept(self) -> None:
        """Take note that a job was accepted."""
        self._accepted += 1
        self._open_if_needed()

    async def settle(self, limit: float = 1.0) -> None:
        """Let the server end the stream, if it does; it has nothing more to say."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), limit)

    async def close(self) -> None:
        await self.settle()
        self._connection.close()

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield what came until the last completion, without heartbeats."""
        left = self._completed
        for part in self._received:
            for event in part.split(b"\n\n"):
                if left and event:
                    message = json.loads(event.removeprefix(b"data: "))
                    left -= message["msg"] == "process_completed"
                    if message["msg"] != "heartbeat":
                        yield message

    def _open_if_needed(self) -> None:
        if self._closed.is_set() and self._accepted > self._completed:
            self._closed.clear()
            self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        if not self._connection.is_open:
            self._connection = await self._target.connect()
        self.streams += 1
        self._connection.send(self._target.stream(self.hash), self._receive, self._end)

    def _receive(self, data: bytes) -> None:
        data = self._rest + data
        end = data.rfind(b"\n\n") + 2
        if end < 2:
            self._rest = data
            return
        whole, self._rest = data[:end], data[end:]
        self._received.append(whole)
        completed = whole.count(COMPLETED)
        if completed:
            self._completed += completed
            self.on_completed(completed)

    def _end(self, status: int | None) -> None:
        self._closed.set()
        if status == 200:
            self._open_if_needed()
        else:
            self.on_lost("the stream was cut" if status is None else f"stream: status {status}")


class Burst:
    """Jobs that are sent as fast as the server takes them, and what becomes of them.

    Args:
        target: The server.
        endpoint: Its name.
        given: What each job is given.
        expected: What each is to end with.
        sessions: Whose jobs they are, in turn.
    """

    def __init__(
        self,
        target: Target,
        endpoint: str,
        given: Sequence[Any],
        expected: Sequence[str],
        sessions: Sequence[Session],
    ) -> None:
        self.lost: Counter[str] = Counter()
        self.ok = 0
        self.message_count = 0
        self._sessions = sessions
        self._requests = iter(
            [
                (session, wanted, target.join(endpoint, [value], session.hash))
                for value, wanted, session in zip(given, expected, itertools.cycle(sessions))
            ]
        )
        self._left = len(given)
        self._senders = 0
        self._answers: list[tuple[bytes, str]] = []
        loop = asyncio.get_running_loop()
        self._sent, self._done = loop.create_future(), loop.create_future()
        for session in sessions:
            session.on_completed, session.on_lost = self._complete, self._give_up

    def start(self, connections: Sequence[Connection]) -> None:
        """Send on these connections: the next job of each when its last is accepted."""
        self._senders = len(connections)
        for connection in connections:
            self._send(connection)

    async def sent(self) -> None:
        """Wait until every job is accepted or refused."""
        await self._sent

    @property
    def left(self) -> int:
        """How many jobs have neither ended nor been given up."""
        return self._left

    async def wait(self, limit: float) -> None:
        """Wait until every job has ended, or has been given up."""
        try:
            await asyncio.wait_for(asyncio.shield(self._done), limit)
        except TimeoutError:
            self._give_up(f"no completion within {limit:g} s")

    def check(self) -> None:
        """Look at what came: ``ok``, ``lost`` and ``message_count`` are known then."""
        expected = {json.loads(answer)["event_id"]: wanted for answer, wanted in self._answers}
        for session in self._sessions:
            for message in session.messages():
                self.message_count += 1
                if message["msg"] != "process_completed":
                    continue
                wanted = expected.pop(message["event_id"], None)
                if wanted is None:
                    self.lost["completed, but not or no longer expected"] += 1
                elif message["output"].get("data") != [wanted]:
                    self.lost["wrong result"] += 1
                else:
                    self.ok += 1

    def _send(self, connection: Connection) -> None:
        following = next(self._requests, None)
        if following is None:
            self._end_sender()
            return
        session, wanted, request = following
        parts: list[bytes] = []

        def answered(status: int | None) -> None:
            if status == 200:
                self._answers.append((b"".join(parts), wanted))
                session.accept()
            else:
                self.lost[f"refused: {b''.join(parts)[:100]!r}" if status else "join cut"] += 1
                self._complete(1)
            if status is None:
                self._end_sender()
            else:
                self._send(connection)

        connection.send(request, parts.append, answered)

    def _end_sender(self) -> None:
        self._senders -= 1
        if self._senders == 0:
            self._sent.set_result(None)
            if next(self._requests, None) is not None:
                self._give_up("not sent: the server closed every connection")

    def _complete(self, count: int) -> None:
        self._left -= count
        if self._left <= 0 and not self._done.done():
            self._done.set_result(None)

    def _give_up(self, why: str) -> None:
        if self._left > 0:
            self.lost[why] += self._left
            self._complete(self._left)
