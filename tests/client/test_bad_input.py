"""Addresses, answers and streams that are wrong: each gives a typed error, and soon."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from wire import CLOSE_STREAM, completed, estimation, generating

import jobwire
from faults import (
    HANG,
    LAST_CHUNK,
    Cut,
    RawConnection,
    config,
    event_stream,
    raw_server,
    response,
)
from jobwire import Client
from jobwire.transports.aiohttp import AiohttpTransport
from jobwire.transports.base import Response

JOIN = response({"event_id": "a"})


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 10


def app(stream: Any, join: Any = JOIN, **fields: Any) -> dict[str, Any]:
    return {
        "/config": response(config(**fields)),
        "/gradio_api/queue/join": join,
        "/gradio_api/queue/data": stream,
        "/gradio_api/cancel": response({"success": True}),
    }


@pytest.mark.parametrize(
    "src", ["", "localhost:7860", "localhost/app", "space", "ftp://x/", "http://", "https:///x"]
)
def test_address_that_is_none(src: str) -> None:
    with pytest.raises(jobwire.AddressError, match="address"):
        Client(src)


@pytest.mark.parametrize(
    "src",
    ["http://[::1", "http://host:99999999/", "http://exa..mple.com", f"http://{'a' * 64}.com"],
)
def test_address_that_cannot_be_used(src: str) -> None:
    with pytest.raises(jobwire.ConnectError):
        Client(src)


@pytest.mark.parametrize(
    "headers",
    [{"x": "a\r\nb: c"}, {"x": "a\nb"}, {"a b": "c"}, {"": "c"}, {"x": 5}, {"x\n": "c"}],
    ids=repr,
)
def test_header_that_cannot_be_sent(headers: Any) -> None:
    stream = event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK
    with raw_server(app(stream)) as server:
        with pytest.raises(jobwire.ArgumentError, match="header"):
            Client(server.url, headers=headers)
        with Client(server.url) as client:
            with pytest.raises(jobwire.ArgumentError, match="header"):
                client.submit("x", headers=headers)
            assert client.predict("x") == "x"


def test_token_that_cannot_be_sent_is_not_shown() -> None:
    with pytest.raises(jobwire.ArgumentError) as caught:
        Client("http://localhost", token="hf_secret\n")
    assert "secret" not in str(caught.value)


def test_no_workers() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Client("http://localhost", max_workers=0)


def test_host_that_does_not_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(jobwire.ConnectError, match="cannot connect"):
            Client(f"http://127.0.0.1:{unused.getsockname()[1]}")


def test_host_that_does_not_exist() -> None:
    with pytest.raises(jobwire.ConnectError, match="cannot connect"):
        Client("http://no-such-host.invalid")


def test_host_that_accepts_and_says_nothing() -> None:
    with raw_server({"/config": HANG}) as server, pytest.raises(jobwire.TransportTimeoutError):
        Client(server.url, read_timeout=0.3)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        pytest.param(response("<html><h1>Hello"), jobwire.NotGradioError, "text/html", id="page"),
        pytest.param(response("gone", 404), jobwire.NotGradioError, "404", id="404"),
        pytest.param(response({"a": 1}), jobwire.NotGradioError, "no Gradio", id="other JSON"),
        pytest.param(response(b"[1, 2]"), jobwire.NotGradioError, "no Gradio", id="list"),
        pytest.param(response(b'{"a": '), jobwire.NotGradioError, "JSON", id="cut JSON"),
        pytest.param(response(b'{"a": "\xff"}'), jobwire.NotGradioError, "UTF-8", id="no UTF-8"),
        pytest.param(response("oops", 500), jobwire.ServerError, "500", id="500"),
        pytest.param(
            response("slow down", 429, headers="retry-after: 7\r\n"),
            jobwire.TooManyRequestsError,
            "slow down",
            id="429",
        ),
        pytest.param(Cut(b"SSH-2.0-OpenSSH_9.2\r\n"), jobwire.RemoteProtocolError, "HTTP", id="no HTTP"),
        pytest.param(Cut(), jobwire.ConnectionLostError, "broke", id="cut"),
        pytest.param(
            response("", 302, headers="location: http://example.invalid/config\r\n"),
            jobwire.NotGradioError,
            "example.invalid",
            id="redirect elsewhere",
        ),
        pytest.param(
            response("", 302, headers="location: http://[/config\r\n"),
            jobwire.NotGradioError,
            "redirects",
            id="redirect to nonsense",
        ),
        pytest.param(
            response("", 302, headers="location: http://127.0.0.1:1/config\r\n"),
            jobwire.NotGradioError,
            "127.0.0.1:1/",
            id="redirect to another port",
        ),
        pytest.param(
            response("", 302, headers="location: /config\r\n"),
            jobwire.NotGradioError,
            "redirects",
            id="redirect in a circle",
        ),
        pytest.param(
            response(config(protocol="carrier-pigeon", version="9.1")),
            jobwire.UnsupportedProtocolError,
            "9.1",
            id="unheard of",
        ),
    ],
)  # fmt: skip
def test_config_that_is_none(answer: bytes, error: type[Exception], words: str) -> None:
    with raw_server({"/config": answer}) as server, pytest.raises(error, match=words) as caught:
        Client(server.url)
    assert isinstance(caught.value, jobwire.JobwireError)
    if isinstance(caught.value, jobwire.TooManyRequestsError):
        assert caught.value.retry_after == 7


def test_config_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobwire.transports.aiohttp.MAX_BODY_SIZE", 100_000)
    large = raw_server({"/config": response(b" " * 200_000)})
    with large as server, pytest.raises(jobwire.RemoteProtocolError, match="100000 bytes"):
        Client(server.url)


def test_redirect_on_the_same_host_is_followed() -> None:
    routes = app(event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK)
    moved = {f"/app{path}": answer for path, answer in routes.items()}
    with (
        raw_server(
            {**moved, "/config": response("", 307, headers="location: /app/config\r\n")}
        ) as server,
        Client(server.url) as client,
    ):
        assert client.src == f"{server.url}app/"
        assert client.predict("x") == "x"


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        pytest.param(response("<html>", 200), jobwire.RemoteProtocolError, "JSON", id="page"),
        pytest.param(response({"id": "a"}), jobwire.RemoteProtocolError, "id", id="no id"),
        pytest.param(response({"event_id": 5}), jobwire.RemoteProtocolError, "id", id="number"),
        pytest.param(response("Internal Server Error", 500), jobwire.ServerError, "500", id="500"),
        pytest.param(response("<html>busy", 503), jobwire.ServerError, "503", id="proxy"),
        pytest.param(
            response({"detail": "Queue is full. Max size is 1."}, 503),
            jobwire.QueueFullError,
            "full",
            id="full",
        ),
        pytest.param(
            response({"detail": [{"type": "missing", "loc": ["data"]}]}, 422),
            jobwire.ServerError,
            "422",
            id="malformed",
        ),
        pytest.param(response({"detail": "Not authenticated"}, 401), jobwire.AuthenticationError, "login", id="401"),
        pytest.param(Cut(), jobwire.ConnectionLostError, "broke", id="cut"),
        pytest.param(Cut(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{"), jobwire.ConnectionLostError, "broke", id="half"),
    ],
)  # fmt: skip
def test_submission_that_is_answered_wrongly(
    answer: bytes, error: type[Exception], words: str
) -> None:
    with raw_server(app(HANG, join=answer)) as server, Client(server.url) as client:
        job = client.submit("x")
        with pytest.raises(error, match=words):
            job.result(timeout=5)
        assert job.done()
        assert job.event_id is None
        assert "/gradio_api/queue/data" not in server.paths()


@pytest.mark.parametrize(
    ("stream", "error", "words"),
    [
        pytest.param(response("<html>", 404), jobwire.ConnectionLostError, "404", id="404"),
        pytest.param(response("Not authenticated", 401), jobwire.ConnectionLostError, "login", id="401"),
        pytest.param(Cut(event_stream(estimation("a"))), jobwire.ConnectionLostError, "broke", id="cut"),
        pytest.param(
            event_stream(completed("a", "x")[:-30]) + LAST_CHUNK,
            jobwire.ConnectionLostError,
            "before the job",
            id="truncated event",
        ),
        pytest.param(event_stream(b"data: {oops\n\n"), jobwire.RemoteProtocolError, "oops", id="no JSON"),
        pytest.param(
            event_stream(completed("a", "x").replace(b'"x"', b'"\xff"')),
            jobwire.RemoteProtocolError,
            "UTF-8",
            id="no UTF-8",
        ),
        pytest.param(
            event_stream(b"data: " + b"x" * 300_000), jobwire.RemoteProtocolError, "200000 bytes", id="too large"
        ),
        pytest.param(
            event_stream(completed("a", "x").replace(b'["x"]', b'"x"')),
            jobwire.RemoteProtocolError,
            "list",
            id="no list",
        ),
    ],
)  # fmt: skip
def test_stream_that_is_wrong(stream: bytes, error: type[Exception], words: str) -> None:
    with raw_server(app(stream)) as server, Client(server.url, max_event_size=200_000) as client:
        job = client.submit("x")
        with pytest.raises(error, match=words):
            job.result(timeout=8)


def test_nan_in_a_stream_is_read() -> None:
    body = completed("a", 0).replace(b"[0]", b'[{"n": NaN, "i": -Infinity, "s": "\\ud800"}]')
    routes = app(event_stream(body, CLOSE_STREAM) + LAST_CHUNK)
    with raw_server(routes) as server, Client(server.url) as client:
        value = client.predict("x")
    assert value["n"] != value["n"]
    assert value["i"] == float("-inf")
    assert value["s"] == "\ud800"


def test_nan_is_sent() -> None:
    stream = event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK
    with raw_server(app(stream)) as server, Client(server.url) as client:
        client.predict({"n": float("nan"), "s": "\ud800"})
        [body] = [body for method, *_, body in server.requests if method == "POST"]
    assert b'{"n": NaN, "s": "\\ud800"}' in body


def test_submission_is_tried_again_only_if_nothing_was_sent() -> None:
    with raw_server(app(HANG, join=Cut())) as server, Client(server.url) as client:
        with pytest.raises(jobwire.TransportError):
            client.submit("x").result(timeout=5)
        assert server.paths().count("/gradio_api/queue/join") == 1


def test_stream_that_ends_while_a_submission_is_on_its_way_is_opened_again() -> None:
    streams = [
        event_stream(completed("a", "first"), CLOSE_STREAM) + LAST_CHUNK,
        event_stream(completed("b", "second"), CLOSE_STREAM) + LAST_CHUNK,
    ]
    replies = [response({"event_id": "a"}), response({"event_id": "b"})]

    def pop(answers: list[bytes]) -> Callable[[bytes], bytes]:
        return lambda _: answers.pop(0)

    with raw_server(app(pop(streams), join=pop(replies))) as server, Client(server.url) as client:
        assert client.predict("x") == "first"
        assert client.predict("x") == "second"


def test_headers_and_token_go_to_the_app_with_every_request() -> None:
    stream = event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK
    with raw_server(app(stream)) as server:
        with Client(server.url, token="secret", headers={"x-mine": "1"}) as client:
            client.predict("x", headers={"x-call": "2", "x-mine": "3"})
        for method, _, headers, _ in server.requests:
            assert headers["x-hf-authorization"] == "Bearer secret"
            assert headers["x-gradio-user"] == "api"
            assert headers["x-mine"] == ("3" if method == "POST" else "1")
        assert [h for _, _, h, _ in server.requests if "x-call" in h] != []


def test_credentials_in_the_address_are_sent_and_never_shown() -> None:
    stream = event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK
    with raw_server(app(stream)) as server:
        with Client(server.url.replace("//", "//me:p%40ss@")) as client:
            client.predict("x")
            assert "p%40ss" not in f"{client!r} {client.src}"
        assert {h["authorization"] for _, _, h, _ in server.requests} == {"Basic bWU6cEBzcw=="}
        assert [path for path in server.paths() if "me" in path] == []
    with pytest.raises(jobwire.ConnectError) as caught:
        Client("ftp://me:p%40ss@host/")
    assert "p%40ss" not in str(caught.value)


def test_cookie_of_the_config_is_sent_with_every_request() -> None:
    routes = app(event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK)
    routes["/config"] = response(config(), headers="set-cookie: node=7; path=/\r\n")
    with raw_server(routes) as server, Client(server.url) as client:
        client.predict("x")
        assert [h.get("cookie") for _, _, h, _ in server.requests] == [None, "node=7", "node=7"]


def test_headers_replace_each_other_whatever_their_case() -> None:
    stream = event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK
    with raw_server(app(stream)) as server:
        own = {"User-Agent": "mine", "X-HF-Authorization": "Bearer other"}
        with Client(server.url, token="tok", headers=own) as client:
            client.predict("x")
        for _, _, headers, _ in server.requests:
            assert headers["user-agent"] == "mine"
            assert headers["x-hf-authorization"] == "Bearer other"


async def test_callers_share_one_try_to_load_the_app() -> None:
    with raw_server({"/config": HANG}) as server:
        client = jobwire.AsyncClient(server.url, read_timeout=0.5)
        started = time.monotonic()
        tries = [client.predict("x") for _ in range(10)]
        errors = await asyncio.gather(*tries, return_exceptions=True)
        assert {type(error) for error in errors} == {jobwire.TransportTimeoutError}
        assert time.monotonic() - started < 2
        assert len(server.requests) == 1
        await client.aclose()


async def test_closing_while_the_app_is_loaded() -> None:
    with raw_server({"/config": HANG}) as server:
        client = jobwire.AsyncClient(server.url)
        waiting = asyncio.create_task(client.predict("x"))
        await asyncio.sleep(0.1)
        await client.aclose()
        with pytest.raises(jobwire.ClientClosedError):
            await waiting


def test_failure_that_nobody_thought_of_is_an_outcome(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(AiohttpTransport):
        async def request(self, method: Any, url: str, **options: Any) -> Response:
            if url.endswith("/join"):
                raise ZeroDivisionError("what?")
            return await super().request(method, url, **options)

    with raw_server(app(HANG)) as server, Client(server.url, transport=Broken) as client:
        with pytest.raises(jobwire.JobwireError, match="ZeroDivisionError"):
            client.submit("x").result(timeout=5)
    assert "could not be submitted" in caplog.text


def test_answer_in_place_of_a_stream_is_not_read_without_end() -> None:
    head = b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with raw_server(app(head + 40 * chunk)) as server, Client(server.url) as client:
        with pytest.raises(jobwire.ConnectionLostError, match="500"):
            client.submit("x").result(timeout=5)


def test_description_that_cannot_be_had_leaves_calls_by_position(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK
    routes = app(stream) | {"/gradio_api/info": response("broken", 500)}
    with raw_server(routes) as server, Client(server.url) as client:
        with pytest.raises(jobwire.ArgumentError, match="by position only"):
            client.predict(text="x")
        assert client.predict("x") == "x"
    assert "does not describe" in caplog.text


def test_unclaimed_output_before_the_reply_is_not_lost() -> None:
    # The stream of the first job brings the second's messages before its reply.
    stream = event_stream(
        generating("a", "1"), completed("a", "1"), completed("a", "again"), CLOSE_STREAM
    )
    with raw_server(app(stream + LAST_CHUNK)) as server, Client(server.url) as client:
        assert client.predict("x") == "1"


async def test_arguments_are_those_that_the_call_was_made_with() -> None:
    stream = event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK
    with raw_server(app(stream)) as server:
        async with jobwire.AsyncClient(server.url) as client:
            values: list[Any] = ["x"]
            job = await client.submit(values)
            values.append(object())  # the caller's own again, and no JSON
            assert await job.result(timeout=5) == "x"
        [body] = [body for _, path, _, body in server.requests if path.endswith("join")]
        assert json.loads(body)["data"] == [["x"]]


def test_server_that_stops_reading_a_submission() -> None:
    async def join(connection: RawConnection) -> None:
        await asyncio.Event().wait()

    with raw_server(app(HANG) | {"/gradio_api/queue/join": join}) as server:
        with Client(server.url, read_timeout=0.5) as client:
            began = time.monotonic()
            with pytest.raises(jobwire.TransportTimeoutError):
                client.submit("x" * 40_000_000).result(timeout=10)
            assert time.monotonic() - began < 5


@pytest.mark.parametrize("route", ["/config", "/gradio_api/queue/join"])
def test_head_that_drips_without_end(route: str) -> None:
    async def drip(connection: RawConnection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\nx-long: ")
        while True:
            await connection.write(b"x")
            await asyncio.sleep(0.05)

    with raw_server(app(HANG) | {route: drip}) as server:
        with pytest.raises(jobwire.TransportTimeoutError):
            with Client(server.url, connect_timeout=1, read_timeout=0.5) as client:
                client.submit("x").result(timeout=10)


@pytest.mark.parametrize("route", ["/config", "/gradio_api/queue/join"])
def test_answer_that_drips_without_end(route: str) -> None:
    async def drip(connection: RawConnection) -> None:
        await connection.write(response(b"x" * 100_000)[:-100_000])
        while True:
            await connection.write(b"x")
            await asyncio.sleep(0.05)

    with raw_server(app(HANG) | {route: drip}) as server:
        began = time.monotonic()
        with pytest.raises(jobwire.TransportTimeoutError, match="only drips"):
            with Client(server.url, read_timeout=0.5) as client:
                client.submit("x").result(timeout=10)
        assert time.monotonic() - began < 8


async def test_callers_share_one_try_to_read_the_description() -> None:
    with raw_server(app(HANG) | {"/gradio_api/info": HANG}) as server:
        async with jobwire.AsyncClient(server.url, read_timeout=0.5) as client:
            began = time.monotonic()
            calls = [client.predict(text="x", api_name="/echo") for _ in range(20)]
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, jobwire.TransportTimeoutError)
            assert time.monotonic() - began < 3
        assert sum("/info" in path for path in server.paths()) == 1


async def test_closing_while_the_description_is_read() -> None:
    with raw_server(app(HANG) | {"/gradio_api/info": HANG}) as server:
        client = jobwire.AsyncClient(server.url)
        await client.connect()
        call = asyncio.create_task(client.predict(text="x", api_name="/echo"))
        while not any("/info" in path for path in server.paths()):
            await asyncio.sleep(0.01)
        await client.aclose()
        with pytest.raises(jobwire.ClientClosedError):
            await call
