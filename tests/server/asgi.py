"""An ASGI app under uvicorn, on a real socket, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable

import uvicorn
from starlette.types import ASGIApp


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[int]:
    """Serve an app; give the port."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, http="httptools")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        await server.startup(sockets=[listener])
        try:
            yield listener.getsockname()[1]
        finally:
            await server.shutdown(sockets=[listener])


class Connection:
    """HTTP by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *parts: bytes) -> None:
        self._writer.writelines(parts)
        await self._writer.drain()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Read a response that states its length, or ends with the connection."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        if "content-length" in headers:
            body = await self._reader.readexactly(int(headers["content-length"]))
        else:
            body = await self._reader.read()
        return int(status.split()[1]), headers, body

    async def until(self, mark: bytes) -> bytes:
        """Read up to a mark."""
        return await self._reader.readuntil(mark)

    async def end(self) -> bytes:
        """Read until the server closes the connection."""
        return await self._reader.read()


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until something is true, ten seconds at most."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def join_workers() -> None:
    """Wait for the threads that anyio keeps; they stop with the event loop, a little later."""
    for thread in threading.enumerate():
        if thread.name == "AnyIO worker thread":
            thread.join(10)
