"""Running an app with uvicorn: in this thread, or beside it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jobwire.exceptions import JobwireError

if TYPE_CHECKING:
    from jobwire.server.app import App

__all__ = ("BackgroundServer", "free_port", "run")

PORTS = range(7860, 7960)
"""Where `free_port` looks, as gradio."""

BACKLOG = 2048

MAX_HEAD_SIZE = 64 * 1024
"""Bytes of a request's line and headers. Proxies allow 8 to 32 KiB."""

HEAD_TIMEOUT = 30.0
"""Seconds in which a request's head must arrive."""

UNREAD_TIMEOUT = 60_000
"""Milliseconds for which sent bytes may be unacknowledged."""

FORCE_INTERVAL = 0.1
"""Seconds in which a second signal is noticed, as in uvicorn."""

GC_THRESHOLDS = (20_000, 20, 50)
"""Instead of Python's 700, 10 and 10."""


def free_port(host: str) -> int:
    """Return the first port of `PORTS` that is free on an address.

    Raises:
        OSError: None is, or the address is not this machine's.
    """
    for port in PORTS:
        with contextlib.suppress(OSError), _listen(host, port):
            return port
    with _listen(host, 0):  # tells what is wrong, if it is the address
        raise OSError(f"no port of {PORTS.start} to {PORTS.stop - 1} is free on {host}")


def run(
    app: App,
    *,
    host: str,
    port: int,
    on_start: Callable[[str], object] | None = None,
    **options: Any,
) -> None:
    """Serve an app in this thread until SIGINT or SIGTERM.

    Args:
        app: The app.
        host: The address to listen on.
        port: The port; 0 takes any.
        on_start: Called with the app's address when requests are answered.
        options: More settings of ``uvicorn.Config``.

    Raises:
        DeclarationError, WorkerError: As `App.open`.
        OSError: The address or the port cannot be used.
    """
    # The process is ours. Jobs that are kept would be looked through again and again for
    # garbage that they cannot be, which takes a sixth of the time under load.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    with _listen(host, port) as sock:
        url = _url(host, sock.getsockname()[1], options)
        server = _Server(app, _config(app, host, **options), lambda: on_start and on_start(url))
        server.run(sockets=[sock])


class _Protocol(HttpToolsProtocol):
    """HTTP whose requests must have their head together soon, and of a decent size.

    uvicorn has no limit of either kind for this parser.
    """

    _head_size = 0
    _in_head = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_size += len(data)
            if self._head_timer is None:
                self._expect_head()
        super().data_received(data)
        if self._in_head and self._head_size > MAX_HEAD_SIZE:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_size = 0
        self._forget_timer()
        self.scope["jobwire.abort"] = self.transport.abort  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self._refuse, b"408 Request Timeout")

    def _forget_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: bytes) -> None:
        self._forget_timer()
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
            self.transport.close()


class _Server(uvicorn.Server):
    """A server that says when it has started, and settles the jobs before it stops."""

    def __init__(self, app: App, config: uvicorn.Config, on_start: Callable[[], object]) -> None:
        super().__init__(config)
        self._app = app
        self._on_start = on_start
        self._opening: asyncio.Future[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        opening = self._opening = asyncio.ensure_future(self._app.open())
        try:
            await opening
        except asyncio.CancelledError:
            if not self.should_exit:
                raise
            return  # a signal came meanwhile
        await super().startup(sockets)
        if self.started:
            self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._opening is not None:
            # Harmless if it is done. The loop may sleep until it is.
            self._opening.get_loop().call_soon_threadsafe(self._opening.cancel)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at a signal, and then return: uvicorn's would raise the signal once more."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Before the streams are cut, so that they can tell how their jobs ended.
        stopping = asyncio.ensure_future(self._app.stop())
        while not stopping.done():
            if self.force_exit:  # a second signal
                await self._app.stop(grace=0)
            await asyncio.wait([stopping], timeout=FORCE_INTERVAL)
        await super().shutdown(sockets)
        self._app.close()


class BackgroundServer:
    """Serves an app in a thread of its own, with an event loop of its own.

    A context manager: serving when its body begins, over when it ends.

    Args:
        app: The app.
        host: The address to listen on.
        port: The port; 0 takes any.
        options: More settings of ``uvicorn.Config``.
    """

    def __init__(self, app: App, *, host: str = "127.0.0.1", port: int = 0, **options: Any) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._options = options
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address of the app."""
        return _url(self._host, self._port, self._options)

    def start(self) -> None:
        """Begin to serve; returns when requests are answered.

        Raises:
            DeclarationError, WorkerError: As `App.open`.
            OSError: The address or the port cannot be used.
        """
        sock = _listen(self._host, self._port)
        self._port = sock.getsockname()[1]
        ready = threading.Event()
        failure: JobwireError | None = None
        config = _config(self._app, self._host, **self._options)
        server = self._server = _Server(self._app, config, ready.set)

        def serve() -> None:
            nonlocal failure
            try:
                with sock:
                    server.run(sockets=[sock])
            except JobwireError as error:
                failure = error
            finally:
                ready.set()

        self._thread = threading.Thread(target=serve, name="jobwire-server", daemon=True)
        self._thread.start()
        ready.wait()
        if not server.started:
            self._thread.join()
            if failure is not None:
                raise failure
            raise OSError("the server did not start; its log says why")

    def stop(self) -> None:
        """End: streams are cut, jobs that run are stopped as well as they can be."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


def _url(host: str, port: int, options: Mapping[str, Any]) -> str:
    scheme = "https" if options.get("ssl_certfile") else "http"
    if host in ("0.0.0.0", "::"):  # noqa: S104
        host = "localhost"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A client that is gone, or that reads nothing, is noticed by the kernel: what waits to
        # be sent to it would be held for a quarter of an hour, or for ever.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_TIMEOUT)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise OSError(
            error.errno, f"cannot listen on {host} port {port}: {error.strerror}"
        ) from None
    return sock


def _config(app: App, host: str, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        http=_Protocol,
        # Anybody can send the headers of a proxy; who has one says so.
        proxy_headers=bool(options.get("forwarded_allow_ips")),
        # The app writes the access log itself, without query strings.
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,
        backlog=BACKLOG,
        **options,
    )
