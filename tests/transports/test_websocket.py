"""The default transport's WebSockets, over real sockets that are slow, cut or rude."""

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from faults import (
    BINARY,
    CLOSE,
    HANG,
    PING,
    PONG,
    TEXT,
    Cut,
    RawConnection,
    RawServer,
    event_stream,
    raw_server,
    response,
)
from jobwire.exceptions import (
    ConnectError,
    ConnectionLostError,
    RemoteProtocolError,
    TransportTimeoutError,
)
from jobwire.transports.aiohttp import AiohttpTransport
from jobwire.transports.base import Timeouts, TransportOptions, WebSocketRefusedError

QUICK = Timeouts(connect=0.3, read=0.3)
SIZE = 1000


@pytest.fixture
async def transport() -> Any:
    transport = AiohttpTransport(TransportOptions(headers={"x-own": "1"}, timeouts=QUICK))
    yield transport
    await transport.aclose()


async def echo(connection: RawConnection) -> None:
    await connection.upgrade()
    while True:
        opcode, data = await connection.receive()
        await connection.send(data, opcode)
        if opcode == CLOSE:
            return


def saying(*frames: tuple[int, bytes]) -> Any:
    """Return a script that says something and then waits for the client to go."""

    async def script(connection: RawConnection) -> None:
        await connection.upgrade()
        for opcode, data in frames:
            await connection.send(data, opcode)
        await connection.wait_for_eof()

    return script


async def read(transport: AiohttpTransport, server: RawServer, **options: Any) -> list[bytes]:
    async with transport.websocket(server.url, max_size=SIZE, **options) as socket:
        return [message async for message in socket.messages()]


async def test_messages_go_both_ways_and_text_is_utf8(transport: AiohttpTransport) -> None:
    with raw_server({"/": echo}) as server:
        async with transport.websocket(f"{server.url}x", max_size=SIZE) as socket:
            messages = socket.messages()
            for text in ("hello", "", "naïve ✓ 🎉", "x" * SIZE):
                await socket.send(text)
                assert await anext(messages) == text.encode()
            assert socket.close_code is None


async def test_binary_messages_are_taken_too(transport: AiohttpTransport) -> None:
    with raw_server({"/": saying((BINARY, b"\xff\x00"), (CLOSE, b""))}) as server:
        assert await read(transport, server) == [b"\xff\x00"]


async def test_handshake_carries_headers_and_cookies(transport: AiohttpTransport) -> None:
    login = response("", headers="set-cookie: token=abc; Path=/\r\n")
    with raw_server({"/login": login, "/": saying((CLOSE, b""))}) as server:
        await transport.request("POST", f"{server.url}login", body={})
        await read(transport, server, headers={"x-call": "2"})
        (_, _, headers, _) = server.requests[-1]
        assert (headers["x-own"], headers["x-call"]) == ("1", "2")
        assert headers["cookie"] == "token=abc"


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 4321])
async def test_end_by_the_server_ends_the_messages(transport: AiohttpTransport, code: int) -> None:
    frames = [(TEXT, b"1"), (CLOSE, code.to_bytes(2, "big")), (TEXT, b"too late")]
    with raw_server({"/": saying(*frames)}) as server:
        async with transport.websocket(server.url, max_size=SIZE) as socket:
            assert [message async for message in socket.messages()] == [b"1"]
            assert socket.close_code == code
            with pytest.raises(ConnectionLostError):
                await socket.send("x")


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_cut_is_no_end(transport: AiohttpTransport, reset: bool) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.upgrade()
        await connection.send("1")
        await connection.receive()
        if reset:
            connection.cut()

    with raw_server({"/": script}) as server:
        async with transport.websocket(server.url, max_size=SIZE) as socket:
            messages = socket.messages()
            assert await anext(messages) == b"1"
            await socket.send("now")
            with pytest.raises(ConnectionLostError):
                await anext(messages)
            assert socket.close_code is None


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param((3, b""), id="unknown opcode"),
        pytest.param((TEXT, b"\xff\xfe"), id="text that is no UTF-8"),
        pytest.param((PING, b"x" * 126), id="ping that is too long"),
        pytest.param((CLOSE, b"\x00"), id="half a code"),
        pytest.param((TEXT, b"x" * (SIZE + 1)), id="message that is too large"),
    ],
)
async def test_nonsense_is_the_servers_fault(
    transport: AiohttpTransport, frame: tuple[int, bytes]
) -> None:
    with raw_server({"/": saying(frame)}) as server:
        with pytest.raises(RemoteProtocolError, match="breaks the WebSocket protocol"):
            await read(transport, server)


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 500, 502])
async def test_server_that_opens_none_is_a_refusal(
    transport: AiohttpTransport, status: int
) -> None:
    with raw_server({"/": response("no", status)}) as server:
        with pytest.raises(
            WebSocketRefusedError, match=f"opens no WebSocket: HTTP {status}"
        ) as caught:
            await read(transport, server)
        assert caught.value.status == status
        assert caught.value.headers["content-length"] == "2"
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(b"HTTP/1.1 101 X\r\n\r\n", RemoteProtocolError, id="no upgrade"),
        pytest.param(
            b"HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-accept: wrong\r\n\r\n",
            RemoteProtocolError,
            id="wrong key",
        ),
        pytest.param(Cut(b"what?\r\n\r\n"), RemoteProtocolError, id="no HTTP"),
        pytest.param(Cut(), ConnectionLostError, id="closed"),
        pytest.param(HANG, TransportTimeoutError, id="silence"),
    ],
)
async def test_broken_handshakes_are_mapped(
    transport: AiohttpTransport, answer: Any, error: type[Exception]
) -> None:
    with raw_server({"/": answer}) as server:
        with pytest.raises(error):
            await read(transport, server)


async def test_no_connection(transport: AiohttpTransport) -> None:
    for url in ("http://127.0.0.1:9/", "http://no-such-host.invalid/"):
        with pytest.raises(ConnectError):
            async with transport.websocket(url, max_size=SIZE):
                pass


async def test_pings_of_the_server_are_answered(transport: AiohttpTransport) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.upgrade()
        await connection.send(b"who?", PING)
        opcode, data = await connection.receive()
        await connection.send(data if opcode == PONG else b"no pong")
        await connection.close()

    with raw_server({"/": script}) as server:
        assert await read(transport, server) == [b"who?"]


async def test_server_that_answers_pings_may_say_nothing(transport: AiohttpTransport) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.upgrade()
        for _ in range(4):
            opcode, data = await connection.receive()
            assert opcode == PING
            await connection.send(data, PONG)
        await connection.send("at last")
        await connection.close()

    with raw_server({"/": script}) as server:
        started = time.monotonic()
        assert await read(transport, server, idle_timeout=0.15) == [b"at last"]
        assert time.monotonic() - started > 0.3


async def test_silent_connection_is_noticed(transport: AiohttpTransport) -> None:
    with raw_server({"/": saying((TEXT, b"1"))}) as server:
        started = time.monotonic()
        with pytest.raises(ConnectionLostError, match="nothing was heard"):
            await read(transport, server, idle_timeout=0.3)
        assert 0.25 < time.monotonic() - started < 3


async def test_leaving_says_goodbye(transport: AiohttpTransport) -> None:
    seen: asyncio.Queue[Any] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def script(connection: RawConnection) -> None:
        await connection.upgrade()
        frame = await connection.receive()
        loop.call_soon_threadsafe(seen.put_nowait, frame)
        await connection.close()

    with raw_server({"/": script}) as server:
        async with transport.websocket(server.url, max_size=SIZE):
            pass
        opcode, _ = await asyncio.wait_for(seen.get(), 5)
        assert opcode == CLOSE


@pytest.mark.parametrize("answer", [HANG, saying()], ids=["handshake", "message"])
async def test_waiting_can_be_cancelled(transport: AiohttpTransport, answer: Any) -> None:
    with raw_server({"/": answer}) as server:
        work = read(transport, server, timeouts=Timeouts(None, None))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(work, 0.2)
            pytest.fail("it ended by itself")


def timers() -> list[str]:
    return Path("/proc/net/tcp").read_text().splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for its timers")
@pytest.mark.parametrize("kind", ["stream", "websocket"])
async def test_silent_connections_are_probed(transport: AiohttpTransport, kind: str) -> None:
    with raw_server({"/s": event_stream(b"data: 1\n\n"), "/w": saying((TEXT, b"1"))}) as server:
        port = f":{int(server.url.rsplit(':', 1)[1].strip('/')):04X}"
        async with contextlib.AsyncExitStack() as stack:
            if kind == "stream":
                stream = await stack.enter_async_context(transport.stream(f"{server.url}s"))
                await anext(stream.chunks())
            else:
                socket = await stack.enter_async_context(
                    transport.websocket(f"{server.url}w", max_size=SIZE)
                )
                await anext(socket.messages())
            await asyncio.sleep(0.1)  # for acknowledgements, which have timers too
            rows = [row.split() for row in timers()]
            (timer,) = [row[5] for row in rows if row[2].endswith(port) and row[3] == "01"]
            kind, _, when = timer.partition(":")
            assert kind == "02"
            assert 50 * 100 < int(when, 16) <= 60 * 100  # hundredths of a second
