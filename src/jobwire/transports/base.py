"""The seam between jobwire and an HTTP library.

A transport sends requests and maps whatever goes wrong to jobwire's errors. What the
answers mean is not its business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from jobwire.exceptions import JobwireError

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = (
    "Certificate",
    "Response",
    "ResponseStream",
    "Timeouts",
    "Transport",
    "TransportOptions",
    "Upload",
    "WebSocket",
    "WebSocketRefusedError",
    "read_start",
)

MAX_BODY_SIZE = 64 * 1024 * 1024
"""Bytes of an answer that is read whole. The largest that servers send is ``/info`` of
an app with hundreds of endpoints: a few megabytes."""

MAX_ERROR_SIZE = 64 * 1024
"""Bytes read of an answer that is not the stream asked for: its start says what is wrong."""


class Timeouts(NamedTuple):
    """Deadlines in seconds; None waits for ever.

    Attributes:
        connect: To make a connection, TLS included.
        read: Between two arrivals of bytes, the head of the answer included, which must be
            whole by then; and for each part of a request's body that the server takes.
    """

    connect: float | None = 10.0
    read: float | None = 60.0


class Certificate(NamedTuple):
    """A client's own TLS certificate.

    Attributes:
        file: A PEM file with the certificate, and with the key unless ``key`` names it.
        key: A PEM file with the key; None if it is in ``file``.
        password: Decrypts the key; None if it is not encrypted.
    """

    file: str
    key: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"Certificate(file={self.file!r}, key={self.key!r}, ...)"


class TransportOptions(NamedTuple):
    """How a client wants its requests sent.

    Attributes:
        headers: Sent with each request.
        timeouts: For requests that set none of their own.
        verify: False accepts any TLS certificate, True those that the operating system
            trusts. A path is that of a PEM file, or of a directory, of the authorities to
            trust instead; a context is used as it is.
        certificate: Shown to servers that ask for one; None has none to show.
        proxy: The address of the proxy for every request, with its credentials if it
            wants some; None uses what the environment names, if ``trust_env``.
        trust_env: Use the proxies that the environment names.
        cookies: Sent with each request, until the server sets them anew.

    Its ``repr`` leaves out what may be secret.
    """

    headers: Mapping[str, str] = {}
    timeouts: Timeouts = Timeouts()
    verify: bool | str | SSLContext = True
    certificate: Certificate | None = None
    proxy: str | None = None
    trust_env: bool = True
    cookies: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return (
            f"TransportOptions(timeouts={self.timeouts}, verify={self.verify}, "
            f"trust_env={self.trust_env}, ...)"
        )


class Upload(NamedTuple):
    """A file, sent as the only field of a form.

    Attributes:
        field: The field's name.
        name: The file's name, any text.
        size: Its bytes.
        chunks: Called once for each try; gives the bytes in pieces of any size, ``size``
            in all.
    """

    field: str
    name: str
    size: int
    chunks: Callable[[], AsyncIterator[bytes]]


class Response(NamedTuple):
    """An answer that was read whole.

    Attributes:
        status: The HTTP status.
        headers: Names in lower case.
        body: The bytes, decompressed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class ResponseStream(Protocol):
    """An answer whose body is read as it comes."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the bytes as they arrive, in pieces of any size, none empty.

        Ends when the server has ended the body as HTTP has it.

        Raises:
            ConnectionLostError: The connection broke before that.
        """
        ...


async def read_start(stream: ResponseStream, size: int) -> bytes:
    """Return the start of an answer's body, ``size`` bytes or a little more.

    Raises:
        ConnectionLostError: The connection broke before that.
    """
    body = b""
    async for chunk in stream.chunks():
        body += chunk
        if len(body) >= size:
            break
    return body


class WebSocketRefusedError(JobwireError):
    """A server answered, and opened no WebSocket. What that means, whoever asked will know.

    Attributes:
        status: The HTTP status.
        headers: Names in lower case.
    """

    def __init__(self, message: str, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class WebSocket(Protocol):
    """An open WebSocket connection."""

    @property
    def close_code(self) -> int | None:
        """The code with which the server closed, 1005 if it gave none.

        None before the end of `messages`, or if the connection broke.
        """
        ...

    async def send(self, text: str) -> None:
        """Send a text message.

        Raises:
            ConnectionLostError: The connection is closed, or broke.
        """
        ...

    def messages(self) -> AsyncIterator[bytes]:
        """Iterate over the messages as they arrive, text as UTF-8; pings are answered.

        Ends when the server closes, with whatever code.

        Raises:
            ConnectionLostError: The connection broke before that.
            RemoteProtocolError: The server sent what no WebSocket may, or a message
                larger than was allowed.
        """
        ...


class Transport(Protocol):
    """Sends HTTP requests. Belongs to the event loop in which it was first used.

    Cookies that a server sets are kept and sent with later requests to it. Redirects are
    not followed. A connection whose other end is gone breaks within two minutes, even if
    nothing is sent on it: the operating systems see to that.
    """

    async def request(
        self,
        method: Literal["GET", "POST"],
        url: str,
        *,
        body: bytes | Mapping[str, str] | Upload | None = None,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
    ) -> Response:
        """Send a request and read the whole answer.

        Args:
            method: The HTTP method.
            url: An absolute URL.
            body: JSON as bytes, the fields of a form, or a file, read as it is sent.
            headers: Added to the client's own; these win.
            timeouts: Instead of the transport's own.

        Raises:
            ConnectError: No connection; the server saw nothing of the request.
            ConnectionLostError: The connection broke after that.
            TransportTimeoutError: A deadline passed, or the answer comes so slowly that it
                hardly ever would be whole.
            RemoteProtocolError: The answer is no HTTP, or larger than `MAX_BODY_SIZE`.
        """
        ...

    def stream(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
    ) -> AbstractAsyncContextManager[ResponseStream]:
        """Send a GET request and read the answer as it comes.

        Leaving the context before the end drops the connection.

        Args:
            url: An absolute URL.
            headers: Added to the client's own; these win.
            timeouts: Instead of the transport's own.

        Raises:
            ConnectError, ConnectionLostError, TransportTimeoutError,
            RemoteProtocolError: As for `request`.
        """
        ...

    def websocket(
        self,
        url: str,
        *,
        max_size: int,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        idle_timeout: float | None = None,
    ) -> AbstractAsyncContextManager[WebSocket]:
        """Open a WebSocket. Leaving the context closes it.

        Args:
            url: An absolute URL, with ``http`` or ``https``.
            max_size: Bytes of one message of the server.
            headers: Added to the client's own; these win.
            timeouts: For the handshake, instead of the transport's own.
            idle_timeout: Seconds of silence after which the connection counts as broken.
                A server that lives is not silent: it is asked, with a ping, and answers.
                None waits for ever.

        Raises:
            ConnectError, ConnectionLostError, TransportTimeoutError: As for `request`.
            WebSocketRefusedError: The server answers, but opens no WebSocket.
            RemoteProtocolError: What it answers is no WebSocket's handshake.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection. Harmless when repeated."""
        ...
