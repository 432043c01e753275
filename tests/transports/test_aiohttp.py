"""The default transport, over real sockets that are slow, cut or rude."""

import asyncio
from typing import Any

import pytest

from faults import HANG, LAST_CHUNK, Cut, RawConnection, event_stream, raw_server, response
from jobwire.exceptions import (
    ConnectError,
    ConnectionLostError,
    RemoteProtocolError,
    TransportTimeoutError,
)
from jobwire.transports.aiohttp import AiohttpTransport
from jobwire.transports.base import Timeouts, TransportOptions

QUICK = Timeouts(connect=0.3, read=0.3)


@pytest.fixture
async def transport() -> Any:
    transport = AiohttpTransport(TransportOptions(headers={"x-own": "1"}, timeouts=QUICK))
    yield transport
    await transport.aclose()
    await transport.aclose()


async def read(transport: AiohttpTransport, url: str) -> list[bytes]:
    async with transport.stream(url, headers={"accept": "text/event-stream"}) as stream:
        return [chunk async for chunk in stream.chunks()]


async def test_answer_is_read_whole(transport: AiohttpTransport) -> None:
    with raw_server({"/x": response("body", 418, headers="X-Thing: A\r\n")}) as server:
        reply = await transport.request("GET", f"{server.url}x", headers={"x-call": "2"})
        assert (reply.status, reply.body, reply.headers["x-thing"]) == (418, b"body", "A")
        [(method, path, headers, _)] = server.requests
        assert (method, path, headers["x-own"], headers["x-call"]) == ("GET", "/x", "1", "2")


async def test_bodies(transport: AiohttpTransport) -> None:
    with raw_server({"/": response("")}) as server:
        await transport.request("POST", server.url, body=b"{}")
        await transport.request("POST", server.url, body={"user": "a b"})
        kinds = [(headers["content-type"], body) for *_, headers, body in server.requests]
    assert kinds == [
        ("application/json", b"{}"),
        ("application/x-www-form-urlencoded", b"user=a+b"),
    ]


async def test_stream_that_breaks_before_its_head_is_not_asked_for_again(
    transport: AiohttpTransport,
) -> None:
    with raw_server({"/stream": Cut(b""), "/": response("")}) as server:
        with pytest.raises(ConnectionLostError):
            await read(transport, f"{server.url}stream")
        assert server.paths() == ["/stream"]


async def test_framing_that_breaks_within_a_body(transport: AiohttpTransport) -> None:
    seen = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def script(connection: RawConnection) -> None:
        await connection.write(event_stream(b"data: 1\n\n"))
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(seen.wait(), loop))
        await connection.write(b"5\r\nmore than five")
        await connection.wait_for_eof()

    async def watch(url: str) -> None:
        async with asyncio.timeout(5), transport.stream(url, timeouts=Timeouts(1, None)) as stream:
            async for _ in stream.chunks():
                seen.set()

    with raw_server({"/": script}) as server:
        with pytest.raises(ConnectionLostError):
            await watch(server.url)


@pytest.mark.parametrize("rest", [b"", b"5\r\nmore than five", b"no size\r\n"])
async def test_what_came_right_before_a_break_is_read(
    transport: AiohttpTransport, rest: bytes
) -> None:
    opened = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def script(connection: RawConnection) -> None:
        await connection.write(event_stream())
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(opened.wait(), loop))
        await connection.write(b"9\r\ndata: 1\n\n\r\n" + rest)

    read = b""

    async def watch(url: str) -> None:
        nonlocal read
        async with asyncio.timeout(5), transport.stream(url) as stream:
            opened.set()
            async for chunk in stream.chunks():
                read += chunk

    with raw_server({"/": script}) as server:
        with pytest.raises((ConnectionLostError, RemoteProtocolError)):
            await watch(server.url)
    assert read.startswith(b"data: 1\n\n")


async def test_connections_are_used_again(transport: AiohttpTransport, url: str) -> None:
    from faults import cutting_proxy

    with cutting_proxy(url) as proxy:
        for _ in range(5):
            await transport.request("GET", f"{proxy.url}config")
        assert proxy.connections == 1


async def test_connection_is_not_used_again_after_a_failure_of_the_server(
    transport: AiohttpTransport, url: str
) -> None:
    from faults import cutting_proxy

    with cutting_proxy(url) as proxy:
        body = b'{"data": [], "fn_index": 12345, "session_hash": "x"}'
        for _ in range(3):
            reply = await transport.request("POST", f"{proxy.url}gradio_api/queue/join", body=body)
            assert reply.status == 500
        assert proxy.connections == 3


async def test_redirect_is_left_to_the_caller(transport: AiohttpTransport) -> None:
    with raw_server({"/": response("", 302, headers="location: /y\r\n")}) as server:
        reply = await transport.request("GET", server.url)
        assert (reply.status, reply.headers["location"]) == (302, "/y")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(Cut(), ConnectionLostError, id="closed"),
        pytest.param(Cut(b"HTTP/1.1 200 OK\r\ncontent-le"), ConnectionLostError, id="head cut"),
        pytest.param(
            Cut(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"),
            ConnectionLostError,
            id="body cut",
        ),
        pytest.param(Cut(b"what?\r\n\r\n"), RemoteProtocolError, id="no HTTP"),
        pytest.param(HANG, TransportTimeoutError, id="silence"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab", TransportTimeoutError, id="stall"
        ),
    ],
)
async def test_faults_are_mapped(
    transport: AiohttpTransport, answer: Any, error: type[Exception]
) -> None:
    with raw_server({"/": answer}) as server:
        with pytest.raises(error):
            await transport.request("POST", server.url, body=b"{}")
        assert len(server.requests) == 1  # never sent twice


async def test_no_connection(transport: AiohttpTransport) -> None:
    for url in ("http://127.0.0.1:9/", "http://no-such-host.invalid/", "http://[::1"):
        with pytest.raises(ConnectError):
            await transport.request("GET", url)


async def test_stream_gives_bytes_as_they_come_and_ends(transport: AiohttpTransport) -> None:
    with raw_server({"/": event_stream(b"data: 1\n\n", b"data: 2\n\n") + LAST_CHUNK}) as server:
        assert b"".join(await read(transport, server.url)) == b"data: 1\n\ndata: 2\n\n"
        [(_, _, headers, _)] = server.requests
        assert headers["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(Cut(event_stream(b"data: 1\n\n")), ConnectionLostError, id="cut"),
        pytest.param(event_stream(b"data: 1\n\n"), TransportTimeoutError, id="silence"),
        pytest.param(HANG, TransportTimeoutError, id="no head"),
        pytest.param(Cut(), ConnectionLostError, id="closed"),
    ],
)
async def test_faults_of_a_stream_are_mapped(
    transport: AiohttpTransport, answer: Any, error: type[Exception]
) -> None:
    with raw_server({"/": answer}) as server, pytest.raises(error):
        await read(transport, server.url)


async def test_leaving_a_stream_drops_it(transport: AiohttpTransport) -> None:
    with raw_server({"/": event_stream(b"data: 1\n\n")}) as server:
        async with transport.stream(server.url, timeouts=Timeouts(1, None)) as stream:
            async for _ in stream.chunks():
                break


@pytest.mark.parametrize("answer", [HANG, event_stream(b"data: 1\n\n")], ids=["head", "body"])
async def test_waiting_can_be_cancelled(transport: AiohttpTransport, answer: Any) -> None:
    with raw_server({"/": answer}) as server:

        async def wait() -> None:
            async with transport.stream(server.url, timeouts=Timeouts(None, None)) as stream:
                async for _ in stream.chunks():
                    pass

        task = asyncio.create_task(wait())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(Cut(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n"), "407", id="refuses"),
        pytest.param(HANG, "in time", id="is mute"),
    ],
)
async def test_proxy_sees_no_secrets_and_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, answer: Any, words: str
) -> None:
    with raw_server({"example.test": answer}) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//pu:PROXYPASS@"))
        secrets = {"authorization": "Bearer MINE", "x-hf-authorization": "Bearer TOKEN"}
        transport = AiohttpTransport(TransportOptions(headers=secrets, timeouts=QUICK))
        with pytest.raises(ConnectError, match=words) as caught:
            await transport.request("GET", "https://example.test/config", headers={"x-call": "2"})
        await transport.aclose()
        assert "PROXYPASS" not in str(caught.value)
        [(method, _, headers, _)] = proxy.requests
        assert method == "CONNECT"
        assert "MINE" not in str(headers)
        assert "TOKEN" not in str(headers)


async def test_proxy_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://me:PROXYPASS@127.0.0.1:1")
    transport = AiohttpTransport(TransportOptions(timeouts=QUICK))
    with pytest.raises(ConnectError, match=r"socks5.*NO_PROXY") as caught:
        await transport.request("GET", "http://example.test/config")
    assert "PROXYPASS" not in str(caught.value)
    await transport.aclose()
