"""The seam between jobwire and an HTTP library.

A transport sends requests and maps whatever goes wrong to jobwire's errors. What the
answers mean is not its business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Literal, NamedTuple, Protocol

__all__ = ("EventStream", "Response", "Timeouts", "Transport", "TransportOptions")

MAX_BODY_SIZE = 64 * 1024 * 1024
"""Bytes of an answer that is read whole. The largest that servers send is ``/info`` of
an app with hundreds of endpoints: a few megabytes."""


class Timeouts(NamedTuple):
    """Deadlines in seconds; None waits for ever.

    Attributes:
        connect: To make a connection, TLS included.
        read: Between two arrivals of bytes, the head of the answer included.
    """

    connect: float | None = 10.0
    read: float | None = 60.0


class TransportOptions(NamedTuple):
    """How a client wants its requests sent.

    Attributes:
        headers: Sent with each request.
        timeouts: For requests that set none of their own.
        verify: False accepts any TLS certificate.
    """

    headers: Mapping[str, str] = {}
    timeouts: Timeouts = Timeouts()
    verify: bool = True


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


class EventStream(Protocol):
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


class Transport(Protocol):
    """Sends HTTP requests. Belongs to the event loop in which it was first used.

    Cookies that a server sets are kept and sent with later requests to it. Redirects
    are not followed.
    """

    async def request(
        self,
        method: Literal["GET", "POST"],
        url: str,
        *,
        body: bytes | Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
    ) -> Response:
        """Send a request and read the whole answer.

        Args:
            method: The HTTP method.
            url: An absolute URL.
            body: JSON as bytes, or the fields of a form.
            headers: Added to the client's own; these win.
            timeouts: Instead of the transport's own.

        Raises:
            ConnectError: No connection; the server saw nothing of the request.
            ConnectionLostError: The connection broke after that.
            TransportTimeoutError: A deadline passed.
            RemoteProtocolError: The answer is no HTTP, or larger than `MAX_BODY_SIZE`.
        """
        ...

    def stream(
        self, url: str, *, timeouts: Timeouts | None = None
    ) -> AbstractAsyncContextManager[EventStream]:
        """Send a GET request and read the answer as it comes.

        Leaving the context before the end drops the connection.

        Raises:
            ConnectError, ConnectionLostError, TransportTimeoutError,
            RemoteProtocolError: As for `request`.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection. Harmless when repeated."""
        ...
