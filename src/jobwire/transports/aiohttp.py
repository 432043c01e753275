"""The default transport: aiohttp. The only file that names it."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import aiohttp

from jobwire.exceptions import (
    ArgumentError,
    ConnectError,
    ConnectionLostError,
    JobwireError,
    RemoteProtocolError,
    TransportError,
    TransportTimeoutError,
    shown,
)
from jobwire.transports.base import (
    MAX_BODY_SIZE,
    Response,
    ResponseStream,
    Timeouts,
    TransportOptions,
    Upload,
    WebSocket,
    WebSocketRefusedError,
)
from jobwire.transports.proxies import find_proxy

if TYPE_CHECKING:
    import ssl

__all__ = ("AiohttpTransport",)

_KEEPALIVE = 4.0
"""Seconds that an idle connection is kept. uvicorn, under every Gradio app, closes
after 5; a request that is sent at that moment is lost, and nobody can tell whether the
server saw it."""


_PROBES = (("KEEPIDLE", 60), ("KEEPALIVE", 60), ("KEEPINTVL", 10), ("KEEPCNT", 4))
"""How TCP probes a connection: after 60 s of silence, each 10 s, 4 times. Routers forget
silent connections after minutes; the probes also keep them from it. ``KEEPALIVE`` is what
macOS calls ``KEEPIDLE``."""

_BLOCK = 65536
"""Bytes of a body that are sent at once; more than that, and it must be watched whether the
server takes them."""

_MIN_RATE = 1024.0
"""Bytes a second, below which an answer that is read whole is given up: a server that sends a
byte now and then is not silent, and would never end."""

_NO_CODE = 1005
"""How RFC 6455 has it that a close frame had no code."""

_CLOSING = 0.2
"""Seconds that a server has to close a connection on which it failed."""

_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
"""Those of this process, which a forked child gets as well."""


class AiohttpTransport:
    """A `Transport` over one pool of connections."""

    def __init__(self, options: TransportOptions) -> None:
        self._options = options
        self._session: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None
        self._watch = _Watch()

    def _open(self, url: str) -> aiohttp.ClientSession:
        if self._session is None:
            # Asked once. aiohttp's trust_env reads the environment and ~/.netrc for every
            # request.
            proxy = self._options.proxy or (find_proxy(url) if self._options.trust_env else None)
            if proxy is not None and urlsplit(proxy).scheme not in ("http", "https"):
                raise ConnectError(
                    f"cannot connect to {url}: the environment names a proxy of a kind that is "
                    f"not spoken here, {urlsplit(proxy).scheme}; name one with http://, or the "
                    "host in NO_PROXY"
                )
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,  # the caller limits what it sends; a stream must never wait
                    socket_factory=_probed_socket,
                    keepalive_timeout=_KEEPALIVE,
                ),
                # Servers are often named by address, which a strict jar refuses.
                cookie_jar=aiohttp.CookieJar(unsafe=True),
                cookies=self._options.cookies,
                timeout=self._timeout(self._options.timeouts),
                proxy=proxy,
            )
        return self._session

    @staticmethod
    def _timeout(timeouts: Timeouts) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            # sock_connect is for one address, connect for all of it, a proxy's and TLS's
            # handshakes included.
            total=None,
            connect=timeouts.connect,
            sock_connect=timeouts.connect,
            sock_read=timeouts.read,
        )

    def _arguments(self, url: str, timeouts: Timeouts | None) -> dict[str, Any]:
        arguments: dict[str, Any] = {"allow_redirects": False}
        if timeouts is not None:
            arguments["timeout"] = self._timeout(timeouts)
        if url.startswith("https:"):
            if self._tls is None:
                self._tls = _tls_context(self._options)
            arguments["ssl"] = self._tls
        return arguments

    async def request(
        self,
        method: Literal["GET", "POST"],
        url: str,
        *,
        body: bytes | Mapping[str, str] | Upload | None = None,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
    ) -> Response:
        # Not the session's own headers: aiohttp would show those to a proxy as well.
        headers = {**self._options.headers, **(headers or {})}
        limits = timeouts or self._options.timeouts
        data: Any = body
        if isinstance(body, Upload):
            data = _form(body, headers)
        elif isinstance(body, bytes):
            headers.setdefault("content-type", "application/json")
            if len(body) > _BLOCK:
                headers["content-length"] = str(len(body))
                data = _blocks(body)
        with _mapped_errors(url):
            async with asyncio.timeout(_patience(limits)) as deadline:
                if isinstance(data, AsyncIterator):
                    data = _watched(data, deadline, limits)
                async with self._open(url).request(
                    method, url, data=data, headers=headers, **self._arguments(url, timeouts)
                ) as response:
                    deadline.reschedule(None)
                    self._watch(response)
                    content = await _read(response, url, limits.read)
            if response.status >= 500:
                # uvicorn closes the connection a moment after it reported that the app
                # failed, but aiohttp has put it back into the pool by now. A request that
                # took it out would be lost.
                await asyncio.sleep(_CLOSING)
            return Response(response.status, _lower(response.headers), content)

    @asynccontextmanager
    async def stream(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
    ) -> AsyncGenerator[ResponseStream]:
        with _mapped_errors(url):
            async with asyncio.timeout(_patience(timeouts or self._options.timeouts)):
                response = await self._open(url).get(
                    url,
                    headers={**self._options.headers, **(headers or {})},
                    middlewares=(_once,),
                    **self._arguments(url, timeouts),
                )
        self._watch(response)
        try:
            yield _Stream(response, url)
        finally:
            response.close()

    @asynccontextmanager
    async def websocket(
        self,
        url: str,
        *,
        max_size: int,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        idle_timeout: float | None = None,
    ) -> AsyncGenerator[WebSocket]:
        arguments = self._arguments(url, None)
        del arguments["allow_redirects"]
        limits = timeouts or self._options.timeouts
        with _mapped_errors(url):
            try:
                async with asyncio.timeout(_patience(limits)):
                    opened = await self._open(url).ws_connect(
                        url,
                        headers={**self._options.headers, **(headers or {})},
                        max_msg_size=max_size + 1,  # aiohttp refuses what is as large
                        # A ping after so long, and half as long again for the answer.
                        heartbeat=None if idle_timeout is None else idle_timeout / 1.5,
                        timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSING),  # pyright: ignore[reportCallIssue]
                        **arguments,
                    )
            except aiohttp.WSServerHandshakeError as error:
                text = f"{url} opens no WebSocket: HTTP {error.status}, {shown(error.message)}"
                if error.status == 101:
                    raise RemoteProtocolError(text) from error
                headers = _lower(error.headers or {})
                raise WebSocketRefusedError(text, error.status, headers) from error
        try:
            yield _Socket(opened, url)
        finally:
            await opened.close()

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class _Watch:
    """Tells who reads a body when its connection is gone.

    Where the framing of a body breaks, aiohttp closes the connection, and tells nobody.
    """

    def __init__(self) -> None:
        self._bodies: weakref.WeakKeyDictionary[asyncio.BaseProtocol, aiohttp.StreamReader]
        self._bodies = weakref.WeakKeyDictionary()  # the one on each connection

    def __call__(self, response: aiohttp.ClientResponse) -> None:
        """Watch the connection on which a body comes."""
        protocol = response.connection.protocol if response.connection is not None else None
        if protocol is None:
            return  # all of it is here
        watched = protocol in self._bodies
        self._bodies[protocol] = response.content
        if not watched and (closed := protocol.closed) is not None:
            closed.add_done_callback(partial(self._tell, weakref.ref(protocol)))

    def _tell(
        self, connection: weakref.ref[asyncio.BaseProtocol], closed: asyncio.Future[None]
    ) -> None:
        if not closed.cancelled():
            closed.exception()  # or asyncio reports that nobody has seen it
        protocol = connection()
        body = self._bodies.pop(protocol, None) if protocol is not None else None
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError("the answer is framed wrongly"))


async def _once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a GET again by itself when the connection breaks.

    The server may have begun a stream, which is gone then, and what was on it too. A second
    one would say nothing of that.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # nothing was sent
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(str(error)) from error


class _Stream:
    def __init__(self, response: aiohttp.ClientResponse, url: str) -> None:
        self._response = response
        self._url = url
        self.status = response.status
        self.headers = _lower(response.headers)

    async def chunks(self) -> AsyncIterator[bytes]:
        with _mapped_errors(self._url):
            async for chunk in self._response.content.iter_any():
                if chunk:
                    yield chunk
            self._response.release()


class _Socket:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse, url: str) -> None:
        self._socket = socket
        self._url = url
        self.close_code: int | None = None

    async def send(self, text: str) -> None:
        with _mapped_errors(self._url):
            await self._socket.send_str(text)

    async def messages(self) -> AsyncIterator[bytes]:
        while True:
            with _mapped_errors(self._url):
                message = await self._socket.receive()
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    yield message.data.encode()
                case aiohttp.WSMsgType.BINARY:
                    yield message.data
                case aiohttp.WSMsgType.ERROR if isinstance(message.data, TimeoutError):
                    raise ConnectionLostError(
                        f"nothing was heard from {self._url}, not even the answer to a ping"
                    )
                case aiohttp.WSMsgType.ERROR:
                    raise RemoteProtocolError(
                        f"{self._url} breaks the WebSocket protocol: {shown(str(message.data))}"
                    )
                case aiohttp.WSMsgType.CLOSE:
                    self.close_code = message.data or _NO_CODE
                    return
                case _:
                    raise ConnectionLostError(f"the connection to {self._url} broke")


def _probed_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Make a socket whose connection breaks when the other end is gone.

    Some servers say nothing for as long as a job takes.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES:
        if (option := getattr(socket, f"TCP_{name}", None)) is not None:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
    _sockets.add(made)
    return made


def _after_fork_in_child() -> None:
    """Take the parent's connections from the child.

    Or a server would not see the parent close them for as long as the child lives; and what
    the child wrote to them when it tidies up, the parent's server would read. The numbers
    stay taken, since objects go on to name them.
    """
    with socket.socket() as nothing:
        for inherited in list(_sockets):
            if inherited.fileno() >= 0:
                os.dup2(nothing.fileno(), inherited.fileno(), inheritable=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _form(upload: Upload, headers: dict[str, str]) -> AsyncIterator[bytes]:
    """Return the body of a form with one file, and add what describes it to ``headers``.

    Not aiohttp's: that one reads files in the loop's default threads, 64 KiB at a time, and
    percent-encodes names, which servers do not undo.
    """
    boundary = f"jobwire-{secrets.token_hex(16)}"
    # As browsers quote; see "multipart/form-data encoding algorithm" in the HTML standard.
    name = upload.name.translate({0x22: "%22", 0x0D: "%0D", 0x0A: "%0A"})
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{upload.field}"; '
        f'filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    ).encode("utf-8", "replace")
    tail = f"\r\n--{boundary}--\r\n".encode()
    headers["content-type"] = f"multipart/form-data; boundary={boundary}"
    headers["content-length"] = str(len(head) + upload.size + len(tail))

    async def body() -> AsyncIterator[bytes]:
        yield head
        async for chunk in upload.chunks():
            yield chunk
        yield tail

    return body()


async def _blocks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _BLOCK):
        yield body[start : start + _BLOCK]


def _patience(limits: Timeouts) -> float | None:
    """Return the seconds that there are until the head of an answer, its connection included."""
    known = [limit for limit in limits if limit is not None]
    return sum(known) if len(known) == len(limits) else None


async def _watched(
    blocks: AsyncIterator[bytes], deadline: asyncio.Timeout, limits: Timeouts
) -> AsyncIterator[bytes]:
    """Move the deadline on with each block that is taken. aiohttp has none for what is sent."""
    loop = asyncio.get_running_loop()

    def move() -> None:
        # None once there is an answer, which may come before all was sent.
        if limits.read is not None and deadline.when() is not None and not deadline.expired():
            deadline.reschedule(loop.time() + limits.read)

    async for block in blocks:
        move()
        yield block
    move()


async def _read(response: aiohttp.ClientResponse, url: str, limit: float | None) -> bytes:
    data = bytearray()
    loop = asyncio.get_running_loop()
    began = loop.time()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > MAX_BODY_SIZE:
            response.close()
            raise RemoteProtocolError(f"{url} answers with more than {MAX_BODY_SIZE} bytes")
        if limit is not None and loop.time() - began > limit + len(data) / _MIN_RATE:
            response.close()
            raise TransportTimeoutError(
                f"{url}: the server's answer only drips, {len(data)} bytes in {limit:g} s and more"
            )
    return bytes(data)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@contextmanager
def _mapped_errors(url: str) -> Iterator[None]:
    url = url.partition("?")[0]  # what follows may name a session, which is nobody's business
    try:
        yield
    except JobwireError:
        raise
    except aiohttp.ClientHttpProxyError as error:
        # Its text has the proxy's address, and with it perhaps a password.
        raise ConnectError(
            f"cannot connect to {url}: the proxy refuses (HTTP {error.status})"
        ) from None
    except aiohttp.ConnectionTimeoutError as error:
        raise ConnectError(f"cannot connect to {url}: no answer in time") from error
    except (TimeoutError, aiohttp.ServerTimeoutError) as error:
        raise TransportTimeoutError(f"{url}: the server did not answer in time") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise ConnectError(
            f"cannot connect to {url}: its TLS certificate is not trusted "
            f"({shown(str(error.certificate_error))}); if you trust the server all the same, "
            "pass ssl_verify=False"
        ) from error
    except aiohttp.ClientConnectorError as error:
        raise ConnectError(f"cannot connect to {url}: {shown(str(error.os_error))}") from error
    except aiohttp.InvalidURL as error:
        raise ConnectError(f"{url!r} is no URL that can be fetched") from error
    except aiohttp.ClientResponseError as error:
        raise RemoteProtocolError(f"{url} answers with broken HTTP: {shown(str(error))}") from error
    except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, OSError) as error:
        raise ConnectionLostError(
            f"the connection to {url} broke: {shown(str(error)) or type(error).__name__}"
        ) from error
    except aiohttp.ClientError as error:
        raise TransportError(f"{url}: {shown(str(error))}") from error
    except (ValueError, RuntimeError) as error:
        # Host names that cannot be encoded; names looked up while the interpreter exits.
        raise ConnectError(f"cannot connect to {url}: {shown(str(error))}") from error


def _tls_context(options: TransportOptions) -> ssl.SSLContext:
    import ssl

    verify, certificate = options.verify, options.certificate
    if isinstance(verify, ssl.SSLContext):
        if certificate is not None:
            raise ArgumentError(
                "a TLS context is used as it is; load the client's certificate into it, with "
                "load_cert_chain(), instead of giving both",
                parameter="cert",
            )
        return verify
    context: ssl.SSLContext
    if verify is True:
        import truststore

        # The operating system's store: it knows the certificates of company proxies.
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    elif verify is False:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        with _unusable_file("verify", verify):
            if os.path.isdir(verify):
                context = ssl.create_default_context(capath=verify)
            else:
                context = ssl.create_default_context(cafile=verify)
    if certificate is not None:
        # OpenSSL would ask for a password that is missing, on the terminal.
        password = certificate.password or ""
        with _unusable_file("cert", certificate.file):
            context.load_cert_chain(certificate.file, certificate.key, password)
    return context


@contextmanager
def _unusable_file(parameter: str, path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"{parameter}: {path} cannot be used: {shown(str(error))}", parameter=parameter
        ) from error
