"""A served app whose functions a test moves by hand, and HTTP without a client in between."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import uvicorn

from jobwire import App, AppError, CancelToken, Session
from jobwire.server.channels import Channel
from jobwire.server.serve import BackgroundServer
from jobwire.server.service import Service

API = "/gradio_api"
TIMEOUT = 20.0


class Stage:
    """An app with functions that wait for the test.

    Attributes:
        app: The app.
        feeds: What the generator ``feed`` gives, by its tag; None ends it.
        started: Set when a function of that tag runs.
        gates: Lets a function of that tag go on.
        closed: The tags of the generators that saw ``GeneratorExit``.
    """

    def __init__(self, **settings: Any) -> None:
        self.app = app = App(**{"grace": 0.0, **settings})
        self.feeds: defaultdict[str, SimpleQueue[Any]] = defaultdict(SimpleQueue)
        self.started: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self.gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self.closed: list[str] = []

        @app.endpoint(concurrency_limit=8)
        def echo(text: str) -> str:
            return text

        @app.endpoint(concurrency_limit=8)
        def add(a: int, b: int = 2) -> int:
            return a + b

        @app.endpoint(concurrency_limit=8)
        def grow(n: int) -> Iterator[str]:
            """Give a text that grows."""
            for i in range(1, n + 1):
                yield "ab" * i

        @app.endpoint(concurrency_limit=8)
        def feed(tag: str) -> Iterator[Any]:
            self.started[tag].set()
            try:
                while (item := self.feeds[tag].get(timeout=TIMEOUT)) is not None:
                    yield item
            except GeneratorExit:
                self.closed.append(tag)
                raise

        @app.endpoint(concurrency_limit=1)
        def hold(tag: str) -> str:
            self.started[tag].set()
            assert self.gates[tag].wait(TIMEOUT)
            return tag

        @app.endpoint(concurrency_limit=8)
        def wait(tag: str, token: CancelToken) -> bool:
            self.started[tag].set()
            return token.wait(TIMEOUT)

        @app.endpoint(concurrency_limit=8)
        def heavy(count: int, size: int) -> Iterator[str]:
            """Give outputs that have nothing in common."""
            for i in range(count):
                yield f"{i} " + chr(65 + i % 26) * size

        @app.endpoint
        def fail() -> None:
            raise AppError("it went wrong", title="Oops", duration=3)

        @app.endpoint
        def crash() -> None:
            raise ValueError("a secret of the server")

        @app.endpoint(queue=False)
        def direct(text: str) -> str:
            return text

        @app.endpoint(concurrency_limit=8)
        def visits(session: Session) -> int:
            count: int = session.state.get("visits", 0) + 1
            session.state["visits"] = count
            return count

        @app.endpoint
        def shout(file: Path) -> Path:
            path = file.with_name("shouted.txt")
            path.write_text(file.read_text().upper())
            return path

    @contextlib.contextmanager
    def serving(self, **options: Any) -> Iterator[Http]:
        """Serve the app, and wait for its threads at the end."""
        server = BackgroundServer(self.app, **options)
        with leaving_no_threads(), server:
            yield Http(server.url, server)

    @contextlib.contextmanager
    def shared(self) -> Iterator[Http]:
        """Serve the app for many tests: all of its threads run before the first one."""
        threads = 8
        self.app.configure(max_threads=threads)
        with self.serving() as http_:
            ids = [http_.call("wait", f"{number}") for number in range(threads)]
            for number in range(threads):
                assert self.started[f"{number}"].wait(TIMEOUT)
            for id in ids:
                http_.cancel(id)
            yield http_

    def reset(self) -> None:
        """Forget what an earlier test did."""
        for state in (self.feeds, self.started, self.gates, self.closed):
            state.clear()


@contextlib.contextmanager
def leaving_no_threads() -> Iterator[None]:
    """Wait for the threads that were begun inside; a server's end does not."""
    before = set(threading.enumerate())
    yield
    names = "jobwire-worker", "AnyIO worker", "asyncio_"
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith(names):
            thread.join(10)


@contextlib.contextmanager
def serving_asgi(app: Any, **options: Any) -> Iterator[Http]:
    """Serve any ASGI application with a plain uvicorn, in a thread."""
    ready = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready.set()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = Server(uvicorn.Config(app, log_config=None, access_log=False, **options))
        thread = threading.Thread(target=server.run, args=([listener],), name="plain-uvicorn")
        with leaving_no_threads():
            thread.start()
            try:
                assert ready.wait(TIMEOUT)
                yield Http(url)
            finally:
                server.should_exit = True
                thread.join()


class Answer(NamedTuple):
    """The answer to a request."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def detail(self) -> Any:
        return self.json["detail"]


class Http:
    """Sends requests to a server, each over a connection of its own.

    Args:
        url: Where it is.
        server: It, if it is in this process.
        headers: Sent with each request.
        session: The session that is meant if none is named.
    """

    def __init__(
        self,
        url: str,
        server: BackgroundServer | None = None,
        headers: Mapping[str, str] | None = None,
        session: str = "s",
    ) -> None:
        self.url = url
        self.session = session
        self._server = server
        self._headers = dict(headers or {})
        self._indices: dict[str, int] = {}
        parts = urlsplit(url)
        self.host, self.port, self._path = parts.hostname or "", parts.port or 80, parts.path

    @property
    def connections(self) -> list[Any]:
        """The server's side of the connections that are open."""
        assert self._server is not None
        assert self._server._server is not None
        return list(self._server._server.server_state.connections)

    @property
    def service(self) -> Service:
        assert self._server is not None
        (service,) = self._server._app._services.values()
        return service

    def as_new(self, headers: Mapping[str, str] | None = None, session: str | None = None) -> Http:
        """Return a caller with other headers, and a session of its own if none is given."""
        headers = {**self._headers, **(headers or {})}
        return Http(self.url, self._server, headers, session or secrets.token_hex(4))

    @property
    def channel(self) -> Channel:
        """The server's side of the session."""
        channel = self.service.channels.get(self.session, None)
        assert channel is not None
        return channel

    def open(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        buffer: int | None = None,
    ) -> http.client.HTTPConnection:
        """Send a request; the answer is still to be read."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        with contextlib.ExitStack() as failing:
            failing.callback(connection.close)
            if buffer is not None:
                connection.sock = socket.socket()
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
                connection.sock.settimeout(TIMEOUT)
                connection.sock.connect((self.host, self.port))
            connection.request(
                method, self._path + path, body, {**self._headers, **(headers or {})}
            )
            failing.pop_all()
        return connection

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        with (
            contextlib.closing(self.open(method, path, body, headers)) as connection,
            # It has the socket open, too, until it was read to its end.
            contextlib.closing(connection.getresponse()) as response,
        ):
            return Answer(response.status, response.headers, response.read())

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, value: Any) -> Answer:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.ask("POST", API + path, body, {"content-type": "application/json"})

    def index(self, name: str) -> int:
        if not self._indices:
            for each in self.get("/config").json["dependencies"]:
                self._indices[each["api_name"]] = each["id"]
        return self._indices[name]

    def join(self, name: str, *data: Any, session: str | None = None) -> str:
        """Submit a job as clients do; return its id."""
        body = {"data": data, "fn_index": self.index(name), "session_hash": session or self.session}
        answer = self.post("/queue/join", body)
        assert answer.status == 200, answer
        id: str = answer.json["event_id"]
        return id

    def call(self, name: str, *data: Any) -> str:
        """Submit a job as curl does; return its id."""
        answer = self.post(f"/call/{name}", {"data": data})
        assert answer.status == 200, answer
        id: str = answer.json["event_id"]
        return id

    def run(self, name: str, *data: Any, session: str | None = None) -> Answer:
        return self.post(f"/run/{name}", {"data": data, "session_hash": session})

    def cancel(self, id: str, session: str | None = None) -> Any:
        body = {"event_id": id, "session_hash": session or self.session, "fn_index": 0}
        return self.post("/cancel", body).json

    def upload(self, *files: tuple[str, bytes]) -> Answer:
        """Upload files, given by name and content."""
        body = b""
        for name, content in files:
            body += (
                f'--x\r\ncontent-disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
            ).encode()
            body += content + b"\r\n"
        type = {"content-type": "multipart/form-data; boundary=x"}
        return self.ask("POST", f"{API}/upload", body + b"--x--\r\n", type)

    def stream(self, session: str | None = None, *, buffer: int | None = None) -> Stream:
        """Open a session's stream."""
        path = f"{API}/queue/data?session_hash={session or self.session}"
        return Stream(self.open("GET", path, buffer=buffer))

    def follow(self, name: str, id: str) -> Stream:
        """Open a call's stream."""
        return Stream(self.open("GET", f"{API}/call/{name}/{id}"))


class Stream:
    """An event stream that is being read."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.connection = connection
        try:
            self.response = connection.getresponse()
            assert self.response.status == 200
            assert self.response.headers["content-type"].startswith("text/event-stream")
        except BaseException:
            connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def event(self) -> tuple[str, str] | None:
        """Return the kind and the data of the next event; None at the stream's end."""
        kind = data = ""
        while line := self.response.readline().decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                data = value
            elif not line.strip():
                return kind, data
        return None

    def events(self) -> list[tuple[str, Any]]:
        """Read to the end: the kinds, and the data as JSON."""
        return [(kind, json.loads(data)) for kind, data in iter(self.event, None)]

    def message(self) -> Any:
        """Return the next message; None at the stream's end."""
        event = self.event()
        return event and json.loads(event[1])

    def until(self, msg: str) -> Any:
        """Read up to a message of that kind, and return it."""
        while (message := self.message()) is not None:
            if message["msg"] == msg:
                return message
        raise AssertionError(f"the stream ended without {msg}")

    def messages(self) -> list[Any]:
        """Read to the end."""
        return list(iter(self.message, None))

    def reset(self) -> None:
        """Break the connection off."""
        self.connection.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.close()

    def close(self) -> None:
        self.response.close()
        self.connection.close()


def eventually(condition: Callable[[], object]) -> None:
    """Wait until something is true, ten seconds at most."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)
