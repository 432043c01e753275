"""Networks that fail, and servers that talk nonsense; over real sockets."""

import asyncio
import base64
import contextlib
import hashlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

Writer = asyncio.StreamWriter
Reader = asyncio.StreamReader


class _Background:
    """An asyncio server in a thread of its own."""

    def __init__(
        self,
        serve: Callable[[Reader, Writer], Awaitable[None]],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._serve = serve
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="Thread-faults")
        self._thread.start()
        self._server = self.run(asyncio.start_server(self._handle, "127.0.0.1", 0, ssl=tls))
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _handle(self, reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def stop(self) -> None:
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)


class CuttingProxy:
    """Passes TCP connections on to a server, until it is told not to."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 80)
        self._pairs: list[tuple[Writer, Writer]] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._background = _Background(self._serve)
        self.url = f"http://127.0.0.1:{self._background.port}{parts.path}"
        self.connections = 0

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        pair = (writer, far_writer)
        self._pairs.append(pair)
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._pairs.remove(pair)
            far_writer.close()

    async def _pump(self, reader: Reader, writer: Writer) -> None:
        while data := await reader.read(65536):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        writer.close()

    def cut(self) -> None:
        """Reset every connection, on both sides."""

        async def cut() -> None:
            for writer in [writer for pair in self._pairs for writer in pair]:
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

        self._background.run(cut())

    def freeze(self) -> None:
        """Pass nothing on any more, and say nothing of it."""
        self._background._loop.call_soon_threadsafe(self._flowing.clear)

    def stop(self) -> None:
        self._background.stop()


@contextlib.contextmanager
def cutting_proxy(url: str) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(url)
    try:
        yield proxy
    finally:
        proxy.stop()


def response(
    body: bytes | str | dict[str, Any],
    status: int = 200,
    content_type: str | None = None,
    headers: str = "",
) -> bytes:
    """Return a whole HTTP answer that closes its connection."""
    if isinstance(body, dict):
        body, content_type = json.dumps(body), content_type or "application/json"
    if isinstance(body, str):
        body = body.encode()
    return (
        f"HTTP/1.1 {status} X\r\ncontent-type: {content_type or 'text/html'}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n{headers}\r\n"
    ).encode() + body


def event_stream(*events: bytes) -> bytes:
    """Return an event stream that is cut off after its events, without an end."""
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    return head + b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)


LAST_CHUNK = b"0\r\n\r\n"


class Cut(bytes):
    """In place of an answer: these bytes, and then the connection is closed."""


HANG = object()
"""In place of an answer: none, and the connection stays open."""


TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class RawConnection:
    """A connection on which a script talks, once the head of the request was read."""

    def __init__(self, reader: Reader, writer: Writer, path: str, headers: dict[str, str]) -> None:
        self._reader = reader
        self._writer = writer
        self.path = path
        self.headers = headers

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def wait_for_eof(self) -> None:
        while await self._reader.read(65536):
            pass

    def cut(self) -> None:
        """Reset the connection."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    # -- as a WebSocket --

    async def upgrade(self) -> None:
        key = self.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest())
        await self.write(
            b"HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-accept: %b\r\n\r\n" % accept
        )

    async def send(self, message: str | bytes | dict[str, Any], opcode: int = TEXT) -> None:
        if isinstance(message, dict):
            message = json.dumps(message)
        data = message.encode() if isinstance(message, str) else message
        size = len(data)
        head = bytes([0x80 | opcode])
        head += bytes([size]) if size < 126 else b"\x7e" + struct.pack("!H", size)
        await self.write(head + data)

    async def close(self, code: int = 1000) -> None:
        await self.send(struct.pack("!H", code), CLOSE)

    async def receive(self) -> tuple[int, bytes]:
        """Return the opcode and the data of the next frame."""
        first, second = await self._reader.readexactly(2)
        assert second & 0x80, "clients mask what they send"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
        mask = await self._reader.readexactly(4)
        data = await self._reader.readexactly(size)
        return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))

    async def receive_json(self) -> Any:
        return json.loads((await self.receive())[1])


class RawServer:
    """Answers each path with given bytes, or by a script.

    ``routes`` maps the start of a path to an answer: bytes, `HANG`, a function of the
    request's body that returns one of these, or a coroutine function that is given the
    `RawConnection`, which is closed when it returns.
    """

    def __init__(self, routes: dict[str, Any], tls: ssl.SSLContext | None = None) -> None:
        self._routes = routes
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self._background = _Background(self._serve, tls)
        self.port = self._background.port
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/"

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        while line := (await reader.readline()).decode():
            method, path, _ = line.split(" ", 2)
            headers = {}
            while (header := (await reader.readline()).decode().strip()) != "":
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.requests.append((method, path, headers, body))
            answer = self.answer(method, path, headers, body)
            if asyncio.iscoroutinefunction(answer):
                await answer(RawConnection(reader, writer, path, headers))
                return
            if answer is HANG:
                await asyncio.sleep(3600)
            writer.write(answer)
            await writer.drain()
            if b"connection: close" in answer or isinstance(answer, Cut):
                return

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        answer: Any = next(
            (answer for start, answer in self._routes.items() if path.startswith(start)),
            response("nothing here", 404),
        )
        script = asyncio.iscoroutinefunction(answer)
        return answer(body) if callable(answer) and not script else answer

    def paths(self) -> list[str]:
        return [path.partition("?")[0] for _, path, _, _ in self.requests]

    def stop(self) -> None:
        self._background.stop()


@contextlib.contextmanager
def raw_server(routes: dict[str, Any], tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    server = RawServer(routes, tls)
    try:
        yield server
    finally:
        server.stop()


def config(protocol: str = "sse_v3", version: str = "6.31.0", **fields: Any) -> dict[str, Any]:
    """Return the config of an app with one endpoint, ``/echo``, of one text."""
    return {
        "version": version,
        "protocol": protocol,
        "api_prefix": "/gradio_api",
        "components": [{"id": 1, "type": "textbox", "props": {"label": "text"}, "skip_api": False}],
        "dependencies": [
            {"id": 7, "api_name": "echo", "inputs": [1], "outputs": [1], "backend_fn": True}
        ],
        **fields,
    }
