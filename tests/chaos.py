"""A TCP proxy that does to each request what a plan says; over real sockets."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from faults import Reader, Writer, _Background

Kind = Literal[
    "cut",
    "reset",
    "half-close",
    "stall",
    "delay",
    "split",
    "drip",
    "insert",
    "answer",
]

_METHODS = (b"GET ", b"POST ", b"HEAD ")
_BLOCK = 65536
_SETTLE = 0.02
"""Seconds before a reset, which may take with it what was written just before."""


class Request(NamedTuple):
    """A request that comes by.

    Attributes:
        number: How many came before it.
        path: Its path, without the query.
        start: The bytes of it that came first: of a short one, all.
    """

    number: int
    path: str
    start: bytes


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    Attributes:
        kind: ``cut`` ends the connection as if all was well, ``reset`` as if a cable was
            pulled; ``half-close`` ends one direction of it; ``stall`` passes nothing more on
            in one direction, and says nothing of it; ``delay`` does so for ``seconds``;
            ``split`` passes each byte on singly, ``drip`` with ``seconds`` in between;
            ``insert`` puts ``data`` in; ``answer`` sends ``data`` in place of the server.
        at: Where in the request or its answer: after so many bytes, or where these bytes
            begin.
        offset: Bytes to go on from there.
        towards: The direction that it concerns.
        seconds: For ``delay`` and ``drip``.
        data: For ``insert`` and ``answer``.
    """

    kind: Kind
    at: int | bytes = 0
    offset: int = 0
    towards: Literal["client", "server"] = "client"
    seconds: float = 0.0
    data: bytes = b""

    def position(self, text: bytes | bytearray) -> int | None:
        """Return where it strikes; None if ``text`` ends before."""
        found = text.find(self.at) if isinstance(self.at, bytes) else self.at
        return None if found < 0 or found + self.offset > len(text) else found + self.offset


Plan = Callable[[Request], Fault | None]
"""Tells what happens to a request. Called on the proxy's thread."""

Observer = Callable[["Exchange", bytes], None]
"""Is told what was passed on to the client. Called on the proxy's thread."""


def answer(response: bytes) -> Fault:
    """Answer in place of the server, which hears nothing of the request."""
    return Fault("answer", towards="server", data=response)


def on(path: str, *faults: Fault | None) -> Plan:
    """Return a plan: one fault after another for the requests whose path has ``path`` in it."""
    left = list(faults)

    def plan(request: Request) -> Fault | None:
        return left.pop(0) if left and path in request.path else None

    return plan


def always(path: str, fault: Fault) -> Plan:
    """Return a plan: the same for every request whose path has ``path`` in it."""
    return lambda request: fault if path in request.path else None


@dataclass
class Exchange:
    """A request and its answer, as they come by.

    Attributes:
        request: Which.
        fault: What happens to it; None once it has.
        text: What has come by, as long as that matters for the fault.
    """

    request: Request
    fault: Fault | None
    text: bytearray = field(default_factory=bytearray)


class _OverError(Exception):
    """The connection has no future."""


class _Connection:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: "ChaosProxy", client: Writer, server: Writer) -> None:
        self._proxy = proxy
        self._writers = {"client": client, "server": server}
        self._exchange: Exchange | None = None
        self._interval: dict[str, float] = {}  # between single bytes, by direction
        self._silent: set[str] = set()  # directions in which nothing is passed on

    async def serve(self, client: Reader, server: Reader) -> None:
        pumps = [
            asyncio.ensure_future(self._pump(client, "server")),
            asyncio.ensure_future(self._pump(server, "client")),
        ]
        try:
            await asyncio.gather(*pumps)
        except (_OverError, OSError):
            pass
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for writer in self._writers.values():
                writer.close()

    async def _pump(self, reader: Reader, towards: str) -> None:
        while data := await reader.read(_BLOCK):
            if towards == "server" and data.startswith(_METHODS):
                self._exchange = self._proxy.meet(data)
            if towards not in self._silent:
                await self._pass(data, towards)
        if towards not in self._silent:
            self._writers[towards].write_eof()

    async def _pass(self, data: bytes, towards: str) -> None:
        exchange = self._exchange
        fault = exchange.fault if exchange is not None else None
        if exchange is None or fault is None or fault.towards != towards:
            await self._write(data, towards)
            return
        before = len(exchange.text)
        exchange.text += data
        position = fault.position(exchange.text)
        if position is None:
            await self._write(data, towards)
            return
        exchange.fault = None
        size = max(0, position - before)
        await self._write(data[:size], towards)
        await self._strike(fault, data[size:], towards)

    async def _write(self, data: bytes, towards: str) -> None:
        writer = self._writers[towards]
        if (interval := self._interval.get(towards)) is None:
            writer.write(data)
            await writer.drain()
        else:
            for byte in data:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(interval)
        if towards == "client" and self._exchange is not None and self._proxy.observer:
            self._proxy.observer(self._exchange, data)

    async def _strike(self, fault: Fault, rest: bytes, towards: str) -> None:
        match fault.kind:
            case "cut":
                raise _OverError
            case "reset":
                await asyncio.sleep(_SETTLE)
                self.reset()
                raise _OverError
            case "half-close":
                self._writers[towards].write_eof()
                self._silent.add(towards)
                return
            case "stall":
                self._silent.add(towards)
                return
            case "answer":
                self._silent.add("server")
                await self._write(fault.data, "client")
                self._writers["client"].write_eof()
                self._silent.add("client")
                return
            case "delay":
                await asyncio.sleep(fault.seconds)
            case "split" | "drip":
                self._interval[towards] = fault.seconds
            case "insert":
                rest = fault.data + rest
        await self._write(rest, towards)

    def reset(self) -> None:
        for writer in self._writers.values():
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class ChaosProxy:
    """Passes connections on to a server, and does to their requests what the plan says.

    Attributes:
        url: Its address.
        plan: What to do; may be replaced at any time.
        observer: Is told what the client was sent.
        requests: The paths of the requests that came by.
    """

    def __init__(self, url: str, plan: Plan | None = None) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 80)
        self._connections: set[_Connection] = set()
        self._stopping = False
        self.plan = plan
        self.observer: Observer | None = None
        self.requests: list[str] = []
        self._background = _Background(self._serve)
        self.url = f"http://127.0.0.1:{self._background.port}{parts.path}"

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        for end in (writer, far_writer):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(self, writer, far_writer)
        self._connections.add(connection)
        try:
            await connection.serve(reader, far_reader)
        finally:
            self._connections.discard(connection)
            far_writer.close()
            if self._stopping:
                connection.reset()

    def meet(self, data: bytes) -> Exchange:
        """Note a request by the bytes with which it begins."""
        path = data.split(b" ", 2)[1].partition(b"?")[0].decode("latin-1")
        request = Request(len(self.requests), path, data)
        self.requests.append(path)
        return Exchange(request, self.plan(request) if self.plan else None)

    def reset(self) -> None:
        """Reset every connection."""

        async def reset() -> None:
            for connection in list(self._connections):
                connection.reset()

        self._background.run(reset())

    def stop(self) -> None:
        self._stopping = True
        self.reset()  # what is still to be written keeps nothing open
        self._background.stop()


@contextlib.contextmanager
def chaos_proxy(url: str, plan: Plan | None = None) -> Iterator[ChaosProxy]:
    proxy = ChaosProxy(url, plan)
    try:
        yield proxy
    finally:
        proxy.stop()
