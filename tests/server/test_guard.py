"""What passes the guard, and what each that does not is told."""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Message, Receive, Scope, Send

from jobwire.exceptions import ArgumentError
from jobwire.server.auth import Auth
from jobwire.server.guard import Guard, route_path
from server.asgi import connected, join_workers, served

LOOPBACK = ("127.0.0.1", 7860)


@pytest.fixture(autouse=True)
def no_workers() -> Iterator[None]:
    yield
    join_workers()


class App:
    """Reads the body and says who sent it."""

    def __init__(self) -> None:
        self.calls = 0
        self.users: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        self.users.append(scope["user"])
        body = await Request(scope, receive).body()
        await PlainTextResponse(f"{len(body)}")(scope, receive, send)


class Answer:
    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            assert not self.status
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]

    @property
    def detail(self) -> Any:
        return json.loads(self.body)["detail"]


async def ask(
    guard: Guard,
    path: str = "/config",
    *,
    method: str = "GET",
    server: tuple[str, int | None] | None = ("192.0.2.1", 7860),
    root_path: str = "",
    headers: dict[str, str] | list[tuple[str, str]] = {},  # noqa: B006
    body: list[bytes] | None = None,
) -> Answer:
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    pieces = list(body or [b""])

    async def receive() -> Message:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    answer = Answer()
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": root_path,
        "server": server,
        "client": ("192.0.2.9", 5),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in pairs],
    }
    await guard(scope, receive, answer.send)
    return answer


def guard(**options: Any) -> Guard:
    return Guard(App(), **{"max_body_size": 1000, **options})


# -- hosts ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("localhost", True),
        ("localhost:7860", True),
        ("LocalHost:80", True),
        ("localhost.", True),
        ("app.localhost:7860", True),
        ("127.0.0.1:7860", True),
        ("127.8.9.1", True),
        ("[::1]:7860", True),
        ("[::ffff:127.0.0.1]", True),
        ("evil.example", False),
        ("evil.example:7860", False),
        ("localhost.evil.example", False),
        ("evillocalhost", False),
        ("127.0.0.1.evil.example", False),
        ("192.168.0.5:7860", False),
        ("[::2]", False),
        ("localhost:x", False),
        ("localhost@evil.example", False),
        ("evil.example/localhost", False),
        ("localhost, evil.example", False),
        ("", False),
        ("\xff", False),
    ],
)
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost"])
async def test_on_loopback_the_host_must_be_too(host: str, good: bool, address: str) -> None:
    asked = guard()
    for _ in range(2):  # the second time it is known
        answer = await ask(asked, server=(address, 7860), headers={"host": host})
        assert answer.status == (200 if good else 421)
    if not good:
        assert "allowed_hosts=[...]" in answer.detail
        assert host in answer.detail


async def test_a_good_host_is_good_at_its_own_address_only() -> None:
    asked = guard()
    headers = {"host": "evil.example"}
    assert (await ask(asked, server=("192.0.2.1", 80), headers=headers)).status == 200
    assert (await ask(asked, server=("127.0.0.1", 80), headers=headers)).status == 421


@pytest.mark.parametrize("server", [("192.0.2.1", 80), ("/run/app.sock", None), None])
async def test_elsewhere_any_host_is_good(server: tuple[str, int | None] | None) -> None:
    assert (await ask(guard(), server=server, headers={"host": "x.example"})).status == 200
    assert (await ask(guard(), server=server)).status == 200


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("example.org", True),
        ("EXAMPLE.org:8080", True),
        ("a.example.com", True),
        ("a.b.example.com:1", True),
        ("example.com", False),
        ("xexample.com", False),
        ("a.example.org", False),
        ("localhost", False),
        ("[2001:db8::1]:80", True),
        ("*.example.com", True),
        ("", False),
    ],
)
async def test_named_hosts(host: str, good: bool) -> None:
    hosts = ["Example.org:80", "*.example.com", "[2001:db8::1]"]
    for server in (LOOPBACK, ("192.0.2.1", 80)):
        answer = await ask(guard(allowed_hosts=hosts), server=server, headers={"host": host})
        assert answer.status == (200 if good else 421)


async def test_all_hosts_and_none() -> None:
    headers = {"host": "x.example"}
    assert (await ask(guard(allowed_hosts=["*"]), server=LOOPBACK, headers=headers)).status == 200
    assert (await ask(guard(allowed_hosts=[]), headers=headers)).status == 421


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("allowed_hosts", "*.example.org", r"=\['\*\.example\.org'\]"),
        ("allowed_hosts", "example.org", r"=\['example\.org'\]"),
        ("allowed_origins", "https://*.example.org", "must be a list"),
        ("allowed_origins", "*", r"=\['\*'\]"),
        ("allowed_origins", ["https://a.org", "https://*.example.org"], "name each"),
        ("allowed_origins", ["**"], "name each"),
    ],
)
def test_what_would_open_the_server_by_mistake(name: str, given: object, told: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{name}.*{told}") as caught:
        guard(**{name: given})
    assert caught.value.parameter == name


async def test_one_host_only() -> None:
    hosts = [("host", "localhost"), ("host", "localhost")]
    asked = guard()
    for server in (LOOPBACK, ("192.0.2.1", 80)):
        assert (await ask(asked, server=server, headers=hosts[:1])).status == 200
        assert (await ask(asked, server=server, headers=hosts)).status == 421


async def test_known_hosts_are_bounded() -> None:
    asked = guard()
    for i in range(1000):
        await ask(asked, headers={"host": f"{i}.example"})
    assert len(asked._good_hosts) <= 256


# -- origins --------------------------------------------------------------------

ORIGIN = "https://page.example"


@pytest.mark.parametrize(
    ("origin", "host", "options", "good"),
    [
        ("http://app.example", "app.example", {}, True),
        ("https://app.example", "app.example", {}, True),
        ("https://app.example", "app.example:443", {}, True),
        ("http://app.example", "app.example:80", {}, True),
        ("http://APP.example:7860", "app.example:7860", {}, True),
        ("http://app.example:7861", "app.example:7860", {}, False),
        ("http://app.example", "app.example:443", {}, False),
        ("http://xapp.example", "app.example", {}, False),
        ("http://localhost:5173", "127.0.0.1:7860", {}, True),
        ("http://[::1]:5173", "localhost", {}, True),
        ("http://localhost:5173", "app.example", {}, False),
        ("http://evil.example", "localhost", {}, False),
        ("http://localhost.evil.example", "localhost", {}, False),
        ("null", "app.example", {}, False),
        ("null", "localhost", {}, False),
        ("", "app.example", {}, False),
        ("://", "", {}, False),
        ("file://", "", {}, False),
        (ORIGIN, "app.example", {"allowed_origins": [f"{ORIGIN}/"]}, True),
        (ORIGIN, "app.example", {"allowed_origins": ["http://page.example"]}, False),
        (ORIGIN, "app.example", {"allowed_origins": ["*"]}, True),
        ("null", "app.example", {"allowed_origins": ["null"]}, True),
    ],
)
async def test_who_may_post(origin: str, host: str, options: Any, good: bool) -> None:
    asked = guard(**options)
    headers = {"host": host, "origin": origin}
    answer = await ask(asked, method="POST", headers=headers)
    assert answer.status == (200 if good else 403)
    if not good:
        assert "allowed_origins=[...]" in answer.detail
        assert "access-control-allow-origin" not in answer.headers
    # A stranger's page may send the request, but not read what it brings.
    answer = await ask(asked, headers=headers)
    assert answer.status == 200
    if not good:
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "QUERY"])
async def test_no_method_of_a_stranger_reaches_the_app(method: str) -> None:
    asked = guard()
    assert (await ask(asked, method=method, headers={"origin": ORIGIN})).status == 403
    assert (await ask(asked, method=method)).status == 200
    assert isinstance(asked.app, App)
    assert asked.app.calls == 1


async def test_allowed_pages_may_read() -> None:
    answer = await ask(guard(allowed_origins=[ORIGIN]), headers={"origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["vary"] == "Origin"


async def test_all_pages_may_read_what_needs_no_cookie() -> None:
    answer = await ask(guard(allowed_origins=["*"]), headers={"origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


async def test_allowed_pages_may_read_why_not() -> None:
    asked = guard(allowed_origins=[ORIGIN], auth=Auth(("ada", "pw")))
    answer = await ask(asked, headers={"origin": ORIGIN})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, ORIGIN)
    asked = guard(allowed_origins=[ORIGIN])
    headers = {"origin": ORIGIN, "content-length": "2000"}
    answer = await ask(asked, method="POST", headers=headers)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (413, ORIGIN)


async def test_a_preflight_is_answered() -> None:
    headers = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-gradio-user",
    }
    asked = guard(allowed_origins=[ORIGIN], auth=Auth(("ada", "pw")))
    answer = await ask(asked, method="OPTIONS", headers=headers)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST"
    assert answer.headers["access-control-allow-headers"] == "content-type,x-gradio-user"
    answer = await ask(guard(), method="OPTIONS", headers=headers)
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("hosts", "forwarded", "good"),
    [
        (["inner", "page.example"], "page.example", True),
        (["inner", "*.example"], "page.example:443", True),
        (["inner"], "page.example", False),
        (None, "page.example", False),
        (["inner", "other.example"], "other.example", False),
    ],
)
async def test_a_proxy_may_name_the_host(
    hosts: list[str] | None, forwarded: str, good: bool
) -> None:
    headers = {"host": "inner", "origin": ORIGIN, "x-forwarded-host": forwarded}
    answer = await ask(guard(allowed_hosts=hosts), method="POST", headers=headers)
    assert answer.status == (200 if good else 403)


@given(st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255)))
async def test_any_host_and_origin_get_an_answer(host: str, origin: str) -> None:
    for options in ({}, {"allowed_hosts": ["*.example"]}, {"allowed_origins": ["*"]}):
        headers = {"host": host, "origin": origin, "x-forwarded-host": host}
        answer = await ask(guard(**options), method="POST", server=LOOPBACK, headers=headers)
        assert answer.status in (200, 403, 421)


# -- users ----------------------------------------------------------------------


@pytest.fixture
def auth() -> Auth:
    return Auth(("ada", "pw"), message="Hello")


async def test_without_auth_everybody_is_nobody() -> None:
    asked = guard()
    assert (await ask(asked)).status == 200
    assert isinstance(asked.app, App)
    assert asked.app.users == [None]


@pytest.mark.parametrize("root_path", ["", "/sub"])
@pytest.mark.parametrize(
    ("path", "public"),
    [
        ("/", True),
        ("/login", True),
        ("/logout/", True),
        ("/health", True),
        ("/favicon.ico", True),
        ("/theme.css", True),
        ("/config", False),
        ("/gradio_api/queue/join", False),
        ("/gradio_api/heartbeat/x", False),
        ("/gradio_api/file=/login", False),
        ("/gradio_api/call/login", False),
        ("/gradio_api/login_check", False),
        ("/metrics", False),
        ("/login/../config", False),
        ("//", False),
        ("/Login", False),
        ("/health/x", False),
    ],
)
async def test_what_is_for_users_only(auth: Auth, root_path: str, path: str, public: bool) -> None:
    asked = guard(auth=auth)
    answer = await ask(asked, root_path + path, root_path=root_path)
    assert answer.status == (200 if public else 401)
    if not public:
        assert answer.detail == {"error": "Not authenticated", "auth_message": "Hello"}
        assert answer.headers["www-authenticate"] == "Bearer"
    token = {"authorization": f"Bearer {auth.issue('ada')}"}
    assert (await ask(asked, root_path + path, root_path=root_path, headers=token)).status == 200
    assert isinstance(asked.app, App)
    assert asked.app.users == ([None, "ada"] if public else ["ada"])


@pytest.mark.parametrize(
    ("root_path", "path", "route"),
    [
        ("", "/x", "/x"),
        ("/sub", "/sub/x", "/x"),
        ("/sub", "/sub", ""),
        ("/sub", "/subx", "/subx"),
        ("/sub", "/x/sub/x", "/x/sub/x"),
        ("/a/b", "/a/b/a/b", "/a/b"),
    ],
)
def test_route_paths(root_path: str, path: str, route: str) -> None:
    assert route_path({"path": path, "root_path": root_path}) == route


async def test_a_prefix_that_is_not_the_mount_point(auth: Auth) -> None:
    asked = guard(auth=auth)
    assert (await ask(asked, "/sub/health", root_path="/other")).status == 401
    assert (await ask(asked, "/subhealth", root_path="/sub")).status == 401
    assert (await ask(asked, "/sub", root_path="/sub")).status == 200


async def test_guesses_end(auth: Auth) -> None:
    asked = guard(auth=auth)
    wrong = {"authorization": "Basic " + base64.b64encode(b"ada:x").decode()}
    assert {(await ask(asked, headers=wrong)).status for _ in range(10)} == {401}
    answer = await ask(asked, headers=wrong)
    assert answer.status == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60


async def test_mounted_apps_see_the_same_paths(auth: Auth) -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((route_path(scope), scope["user"]))
        await Response()(scope, receive, send)

    outer = Starlette(
        routes=[Mount("/a", routes=[Mount("/b", Guard(app, auth=auth, max_body_size=1))])]
    )
    async with served(outer) as port, connected(port) as connection:
        for path, status in [("/a/b/health", 200), ("/a/b/", 200), ("/a/b/config", 401)]:
            await connection.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert (await connection.response())[0] == status
    assert seen == [("/health", None), ("/", None)]


# -- bodies ---------------------------------------------------------------------


@pytest.mark.parametrize("length", ["1001", "9" * 30, "9" * 5000, "-1", "x", ""])
async def test_a_length_over_the_limit(length: str) -> None:
    asked = guard()
    answer = await ask(asked, method="POST", headers={"content-length": length})
    assert answer.status == 413
    assert answer.detail == "The request's body is larger than the limit of 1000 bytes."
    assert isinstance(asked.app, App)
    assert asked.app.calls == 0


async def test_a_body_within_the_limit() -> None:
    answer = await ask(
        guard(), method="POST", headers={"content-length": "1000"}, body=[b"x" * 500] * 2
    )
    assert (answer.status, answer.body) == (200, b"1000")


CHUNKED = {"transfer-encoding": "chunked"}


async def test_a_body_that_grows_over_the_limit() -> None:
    answer = await ask(guard(), method="POST", headers=CHUNKED, body=[b"x" * 500] * 3)
    assert answer.status == 413
    answer = await ask(guard(), method="POST", headers=CHUNKED, body=[b"x" * 500] * 2)
    assert answer.status == 200


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/upload"])
async def test_uploads_look_after_themselves(path: str) -> None:
    for headers in (CHUNKED, {"content-length": "1500"}):
        answer = await ask(guard(), path, method="POST", headers=headers, body=[b"x" * 500] * 3)
        assert (answer.status, answer.body) == (200, b"1500")
    answer = await ask(
        guard(), "/gradio_api/call/upload", method="POST", headers={"content-length": "1500"}
    )
    assert answer.status == 413


@pytest.mark.parametrize("fault", ["answers", "raises"])
async def test_what_the_app_makes_of_it_does_not_matter(fault: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            while True:
                await receive()
        except Exception as error:
            if fault == "raises":
                raise RuntimeError("wrapped") from error
            await PlainTextResponse("Internal Server Error", 500)(scope, receive, send)

    asked = Guard(app, max_body_size=1000)
    answer = await ask(asked, method="POST", headers=CHUNKED, body=[b"x" * 500] * 3)
    assert answer.status == 413
    assert b"limit of 1000" in answer.body


async def test_an_error_of_the_app_is_its_own() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await ask(Guard(app, max_body_size=9), method="POST", headers={"content-length": "1"})


async def test_in_a_starlette_app_too() -> None:
    async def route(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    app = Guard(Starlette(routes=[Route("/x", route, methods=["POST"])]), max_body_size=1000)
    async with served(app) as port, connected(port) as connection:
        head = "POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        await connection.send(head.encode(), b"400\r\n" + b"x" * 1024 + b"\r\n")
        status, _, body = await connection.response()
    assert status == 413
    assert b"limit of 1000" in body


POST = b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


async def test_a_body_that_stalls() -> None:
    asked = guard(body_timeout=0.2)
    async with served(asked) as port:
        async with connected(port) as stalled, connected(port) as other:
            await stalled.send(POST % 100, b"x" * 50)
            await other.send(POST % 3, b"abc")
            assert (await other.response())[0] == 200
            status, headers, body = await stalled.response()
            assert (status, headers["connection"]) == (408, "close")
            assert "too slowly" in json.loads(body)["detail"]
            assert await stalled.end() == b""


async def test_a_body_that_trickles() -> None:
    asked = guard(body_timeout=0.3)
    async with served(asked) as port, connected(port) as connection:
        await connection.send(POST % 1000)
        answer = asyncio.create_task(connection.response())
        sent = 0
        while not answer.done():
            await connection.send(b"x")
            sent += 1
            await asyncio.sleep(0.05)
        assert (await answer)[0] == 408
        assert sent < 30


async def test_a_body_that_pauses_is_waited_for() -> None:
    async with served(guard(body_timeout=10)) as port, connected(port) as connection:
        await connection.send(POST % 6, b"abc")
        await asyncio.sleep(0.1)
        await connection.send(b"def")
        status, _, body = await connection.response()
        assert (status, body) == (200, b"6")


async def test_the_timeout_is_for_the_body_only() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await request.body()
        await asyncio.sleep(0.2)
        await receive()  # waits for the client to leave
        left.set()

    left = asyncio.Event()
    async with served(Guard(app, max_body_size=9, body_timeout=0.1)) as port:
        async with connected(port) as connection:
            await connection.send(POST % 3, b"abc")
            await asyncio.sleep(0.3)
            assert not left.is_set()
        await asyncio.wait_for(left.wait(), 10)


async def test_a_client_that_leaves_is_told_of() -> None:
    seen = asyncio.Future[BaseException]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await Request(scope, receive).body()
        except ClientDisconnect as error:
            seen.set_result(error)

    async with served(Guard(app, max_body_size=1000)) as port:
        async with connected(port) as connection:
            await connection.send(POST % 100, b"x" * 50)
        await asyncio.wait_for(seen, 10)


async def test_a_cancelled_request_ends() -> None:
    started = asyncio.Event()
    ended = []

    async def receive() -> Message:
        started.set()
        try:
            return await asyncio.Future[Message]()
        except asyncio.CancelledError:
            ended.append(True)
            raise

    headers = [(b"content-length", b"5")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    task = asyncio.create_task(guard()(scope, receive, Answer().send))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended


# -- other protocols ------------------------------------------------------------


async def test_lifespan_passes() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await Guard(app, max_body_size=1)({"type": "lifespan"}, Request({"type": "http"}).receive, app)  # type: ignore[arg-type]
    assert seen == ["lifespan"]


async def test_websockets_are_refused() -> None:
    sent = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    asked = guard()
    await asked({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert isinstance(asked.app, App)
    assert asked.app.calls == 0
