"""What every request passes before the routes see it: host, origin, login, size and pace."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import types
from collections.abc import Collection, Generator, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobwire.exceptions import ArgumentError, shown
from jobwire.server.auth import Auth, TooManyAttemptsError

__all__ = ("Guard", "route_path")

PUBLIC = frozenset(
    {"", "/", "/login", "/login/", "/logout", "/logout/", "/health", "/favicon.ico"}
    | {"/theme.css", "/gradio_api/theme.css", "/robots.txt"}
)
"""Routes for those who have not logged in. The page says who it is shown to."""

UPLOADS = frozenset({"/gradio_api/upload", "/upload"})
"""Routes that stream their body to disk and bound it themselves."""

BODY_TIMEOUT = 30.0
"""Seconds that a body may stand still, and that it may take at any pace."""

MIN_PACE = 1024
"""Bytes per second that a body must have after that: a tenth of a slow modem's."""

MAX_KNOWN_HOSTS = 256
"""Host headers remembered as good, to look at each once."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Middleware that refuses what no route should see.

    - The ``Host`` must be one of ours. On a loopback address that is a loopback name, so that
      no page can reach the server by pointing its own name there (DNS rebinding).
    - Pages of other origins may read answers, or have anything done, only if they are allowed.
    - With ``auth``, most routes are for users only. ``scope["user"]`` says who it is, or None.
    - A body may be neither too large nor too slow.

    Args:
        app: What comes behind.
        auth: Who may use it; None for everybody.
        allowed_hosts: Names, also like ``*.example.org``; ports do not matter. None checks
            connections to loopback addresses only.
        allowed_origins: Like ``https://example.org``; ``"*"`` stands for all, without cookies.
        max_body_size: Bytes of a request's body.
        body_exempt: Paths of routes that look after the size and pace of their bodies.
        body_timeout: Seconds that a body may stand still.
        public: Paths of routes that need no login.

    Raises:
        ArgumentError: The hosts or origins are a text instead of a list, in which any ``*``
            would stand for all; or an origin holds a ``*``.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        auth: Auth | None = None,
        allowed_hosts: Sequence[str] | None = None,
        allowed_origins: Sequence[str] = (),
        max_body_size: int,
        body_exempt: Collection[str] = UPLOADS,
        body_timeout: float = BODY_TIMEOUT,
        public: Collection[str] = PUBLIC,
    ) -> None:
        for name, given in (("allowed_hosts", allowed_hosts), ("allowed_origins", allowed_origins)):
            if isinstance(given, str):
                raise ArgumentError(f"{name} must be a list: {name}=[{given!r}]", parameter=name)
        for origin in allowed_origins:
            if "*" in origin and origin != "*":
                raise ArgumentError(
                    f"allowed_origins: {origin!r} stands for no origin; name each, or give "
                    "allowed_origins=['*'] for all",
                    parameter="allowed_origins",
                )
        self.app = app
        self._auth = auth
        self._any_host = allowed_hosts is not None and "*" in allowed_hosts
        self._hosts: set[str] | None = None
        self._domains: tuple[str, ...] = ()
        if allowed_hosts is not None:
            names = [_host_name(name.lower()) or name.lower() for name in allowed_hosts]
            self._hosts = {name for name in names if not name.startswith("*.")}
            self._domains = tuple(name[1:] for name in names if name.startswith("*."))
        self._origins = {origin.lower().rstrip("/") for origin in allowed_origins}
        self._max_body_size = max_body_size
        self._body_exempt = body_exempt
        self._body_timeout = body_timeout
        self._public = public
        self._good_hosts: set[tuple[bytes | None, str | None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self.app(scope, receive, send)
            return

        host = origin = forwarded = length = None
        chunked = repeated = False
        for name, value in scope["headers"]:
            if name == b"host":
                repeated = host is not None
                host = value
            elif name == b"origin":
                origin = value
            elif name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                chunked = True
            elif name == b"x-forwarded-host":
                forwarded = value

        server = scope.get("server")
        seen = host, server and server[0]
        if (seen not in self._good_hosts or repeated) and not self._admit(*seen, repeated):
            await _refuse_host(host)(scope, receive, send)
            return
        if origin is not None:
            allowed = self._cors(origin, host, forwarded)
            if allowed is None and scope["method"] not in SAFE_METHODS:
                await _refuse_origin(origin)(scope, receive, send)
                return
            if scope["method"] == "OPTIONS" and _is_preflight(scope):
                response = _refuse_origin(origin) if allowed is None else _preflight(scope)
                await response(scope, receive, _with_headers(send, allowed or []))
                return
            if allowed:
                send = _with_headers(send, allowed)

        path = route_path(scope)
        user = None
        if self._auth is not None:
            try:
                user = await self._auth.authenticate(scope)
            except TooManyAttemptsError as error:
                await error.response()(scope, receive, send)
                return
            if user is None and path not in self._public:
                await self._auth.refusal()(scope, receive, send)
                return
        scope["user"] = user

        if (chunked or length is not None) and path not in self._body_exempt:
            body = _Body(receive, send, self._max_body_size, self._body_timeout)
            await body.pass_on(self.app, scope, length)
        else:
            await self.app(scope, receive, send)

    # -- hosts --

    def _admit(self, host: bytes | None, server: str | None, repeated: bool) -> bool:
        """Say whether a request may name this host, at this address of ours."""
        if self._any_host or (self._hosts is None and not _is_loopback(server or "")):
            good = True
        else:
            name = _host_name((host or b"").decode("latin-1").lower())
            good = name is not None and (
                _is_loopback(name) if self._hosts is None else self._is_ours(name)
            )
        if good and not repeated:
            if len(self._good_hosts) >= MAX_KNOWN_HOSTS:
                self._good_hosts.clear()
            self._good_hosts.add((host, server))
        return good and not repeated

    def _is_ours(self, name: str) -> bool:
        return self._hosts is not None and (
            self._any_host or name in self._hosts or name.endswith(self._domains)
        )

    # -- origins --

    def _cors(
        self, origin: bytes, host: bytes | None, forwarded: bytes | None
    ) -> list[tuple[bytes, bytes]] | None:
        """Return the headers that let a page read the answer: none are needed by our own.

        None if it is a stranger's.
        """
        text = origin.decode("latin-1").lower()
        scheme, _, authority = text.partition("://")
        port = {"http": ":80", "https": ":443"}.get(scheme, "")
        ours = (host or b"").decode("latin-1").lower()
        if authority and authority in (ours, ours.removesuffix(port)):
            return []
        if authority and forwarded is not None:
            public = forwarded.decode("latin-1").lower()
            if authority in (public, public.removesuffix(port)):
                name = _host_name(public)
                if name is not None and self._is_ours(name):
                    return []
        credentials = text in self._origins or (
            _is_loopback(_host_name(authority) or "") and _is_loopback(_host_name(ours) or "")
        )
        if credentials:
            return [
                (b"access-control-allow-origin", origin),
                (b"access-control-allow-credentials", b"true"),
                (b"vary", b"Origin"),
            ]
        if "*" in self._origins:
            return [(b"access-control-allow-origin", b"*")]
        return None


class _RefusedBodyError(Exception):
    """The routes shall not read on; `_Body` gives the answer."""


class _Body:
    """The body of one request: counted and timed while it is read."""

    def __init__(self, receive: Receive, send: Send, limit: int, timeout: float) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._timeout = timeout
        self._start = asyncio.get_running_loop().time()
        self._size = 0
        self._complete = False
        self._started = False  # the response
        self._refusal: Response | None = None

    async def pass_on(self, app: ASGIApp, scope: Scope, length: bytes | None) -> None:
        """Let the app answer, unless the body must not be read to its end."""
        if length is not None and not _fits(length, self._limit):
            self._refusal = self._too_large()
        else:
            try:
                await app(scope, self.receive, self.send)
            except Exception:
                if self._refusal is None:
                    raise
        if self._refusal is not None and not self._started:
            await self._refusal(scope, self._receive, self._send)

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()
        if self._refusal is not None:
            raise _RefusedBodyError
        # Nearly always the body has arrived with the headers, and a timer would cost more than
        # everything else here. So it is only set once there is something to wait for.
        receiving = self._receive().__await__()
        try:
            waited_for = next(receiving)
        except StopIteration as done:
            message: Message = done.value
        else:
            # It may pause, but the time that it took in all must fit its size.
            behind = asyncio.get_running_loop().time() - self._start - self._size / MIN_PACE
            try:
                async with asyncio.timeout(self._timeout - max(0.0, behind)):
                    message = await _resumed(receiving, waited_for)
            except TimeoutError:
                self._refusal = JSONResponse(
                    {"detail": "The request's body arrived too slowly."},
                    408,
                    {"connection": "close"},  # the rest is not waited for
                )
                raise _RefusedBodyError from None
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            self._refusal = self._too_large()
            raise _RefusedBodyError
        self._complete = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if self._refusal is None or self._started:
            self._started = True
            await self._send(message)

    def _too_large(self) -> Response:
        return JSONResponse(
            {"detail": f"The request's body is larger than the limit of {self._limit} bytes."}, 413
        )


@types.coroutine
def _resumed(
    awaiting: Generator[Any, Any, Message], waited_for: Any
) -> Generator[Any, Any, Message]:
    """Go on with an awaitable that has run up to its first wait."""
    try:
        while True:
            try:
                sent = yield waited_for
            except BaseException as error:
                waited_for = awaiting.throw(error)
            else:
                waited_for = awaiting.send(sent)
    except StopIteration as done:
        message: Message = done.value
        return message


def _fits(length: bytes, limit: int) -> bool:
    # So many digits that they would be slow to read are too many in any case.
    return length.isdigit() and len(length) < 20 and int(length) <= limit


def route_path(scope: Scope) -> str:
    """Return the path below where the app is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :]
    return path


def _refuse_host(host: bytes | None) -> Response:
    name = shown((host or b"").decode("latin-1"))
    return JSONResponse(
        {
            "detail": f"The Host {name!r} is not one of this server's. If it should be, name it: "
            "App(allowed_hosts=[...])."
        },
        421,
    )


def _refuse_origin(origin: bytes) -> Response:
    return JSONResponse(
        {
            "detail": f"Pages of {shown(origin.decode('latin-1'))!r} may not use this server. If "
            "they should, name it: App(allowed_origins=[...])."
        },
        403,
    )


def _is_preflight(scope: Scope) -> bool:
    return any(name == b"access-control-request-method" for name, _ in scope["headers"])


def _preflight(scope: Scope) -> Response:
    headers = {
        "access-control-allow-methods": "GET, HEAD, POST",
        "access-control-max-age": "600",
        "vary": "Access-Control-Request-Headers",
    }
    for name, value in scope["headers"]:
        if name == b"access-control-request-headers":
            headers["access-control-allow-headers"] = value.decode("latin-1")
    return Response(status_code=204, headers=headers)


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return send_with_headers


_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:\[\]/@]+)(?::\d*)?")


def _host_name(authority: str) -> str | None:
    """Return the host of ``host:port``, without brackets; None if it is malformed."""
    match = _HOST.fullmatch(authority)
    return match[1].strip("[]").rstrip(".") if match else None


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
