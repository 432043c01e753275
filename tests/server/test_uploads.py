"""Uploads, their progress and downloads, over real sockets where the pace matters."""

import asyncio
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from jobwire.protocol.files import clean_name
from jobwire.server import uploads
from jobwire.server.files import FileStore
from jobwire.server.uploads import UploadProgress, download, upload
from server.asgi import Connection, connected, eventually, join_workers, served

LIMIT = 3_000_000


class App:
    """The three routes, and what they rest on."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.store = FileStore(root, max_file_size=LIMIT, ttl=60.0)
        self.progress = UploadProgress(wait=options.pop("wait", 3.0))
        self.options = options
        self.owner: str | None = None
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        match scope["path"]:
            case "/upload":
                options = {"progress": self.progress, **self.options}
                response = await upload(request, self.store, owner=self.owner, **options)
            case "/upload_progress":
                response = await self.progress.respond(request, owner=self.owner)
            case path:
                path = path.removeprefix("/file=")
                response = await download(request, self.store, path, owner=self.owner)
        await response(scope, receive, send)
        self.left.set()

    def kept(self) -> list[Path]:
        return list(self.root.rglob("*")) if self.root.exists() else []


@pytest.fixture(autouse=True)
def no_workers() -> Iterator[None]:
    yield
    join_workers()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = App(tmp_path / "files")
    yield app
    app.store.close()


@pytest.fixture
def client(app: ASGIApp) -> TestClient:
    return TestClient(app)


def open_files(root: Path) -> list[str]:
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    targets = [os.readlink(link) for link in links if os.path.lexists(link)]
    return [target for target in targets if target.startswith(str(root))]


def part(name: str, data: bytes, *, field: str = "files", boundary: str = "B") -> bytes:
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode() + data


END = b"\r\n--B--\r\n"
FORM = {"content-type": "multipart/form-data; boundary=B"}


def head(length: int | None, query: str = "") -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (
        f"POST /upload{query} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary=B\r\n{size}\r\n\r\n"
    ).encode()


# -- uploads --------------------------------------------------------------------


def test_files_are_stored_in_order(app: App, client: TestClient) -> None:
    files = [("files", ("a b.txt", b"one")), ("files", ("../b#%.bin", bytes(range(256)) * 99))]
    response = client.post("/upload", files=files)
    assert response.status_code == 200
    first, second = response.json()
    assert first.endswith("/a b.txt")
    assert second.endswith("/b#%.bin")
    assert app.store.open(first, owner=None).read_bytes() == b"one"
    assert app.store.open(second, owner=None).read_bytes() == bytes(range(256)) * 99


def test_they_belong_to_who_sent_them(app: App, client: TestClient) -> None:
    app.owner = "ada"
    (path,) = client.post("/upload", files=[("files", ("a", b"x"))]).json()
    assert app.store.open(path, owner="ada").read_bytes() == b"x"
    app.owner = "bob"
    assert client.get(f"/file={path}").status_code == 403


def test_they_expire(app: App, client: TestClient) -> None:
    client.post("/upload", files=[("files", ("a", b"x"))])
    rest = app.store.expire()
    assert rest is not None
    assert 50 < rest <= 60


def test_an_empty_file_is_a_file(app: App, client: TestClient) -> None:
    (path,) = client.post("/upload", files=[("files", ("a", b""))]).json()
    assert app.store.open(path, owner=None).read_bytes() == b""


def test_other_fields_are_nothing(app: App, client: TestClient) -> None:
    response = client.post("/upload", files=[("file", ("a", b"x" * 5000))], data={"x": "y"})
    assert (response.status_code, response.json()) == (200, [])
    assert app.kept() == []


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("sch\u00f6n.txt".encode(), "sch\u00f6n.txt"),
        ("sch\u00f6n.txt".encode("latin-1"), "sch\u00f6n.txt"),
        (b"C:\\a\\b.txt", "b.txt"),
        (b'\\"q\\".txt', '"q".txt'),
        (b"", "file"),
    ],
)
def test_names_on_the_wire(app: App, client: TestClient, name: bytes, stored: str) -> None:
    body = part("NAME", b"x").replace(b"NAME", name) + END
    response = client.post("/upload", content=body, headers=FORM)
    assert response.json()[0].partition("/")[2] == stored


def test_a_field_without_a_file_name_is_a_file_too(app: App, client: TestClient) -> None:
    body = b'--B\r\ncontent-disposition: form-data; name="files"\r\n\r\nx' + END
    (path,) = client.post("/upload", content=body, headers=FORM).json()
    assert app.store.open(path, owner=None).read_bytes() == b"x"


contents = st.lists(
    st.binary(max_size=200) | st.text("\r\n-B", max_size=60).map(str.encode), max_size=4
)


@given(contents=contents, step=st.integers(1, 40))
async def test_any_content_in_any_pieces(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], step: int
) -> None:
    app = App(tmp_path_factory.mktemp("files"))
    boundary = "=a-boundary-that-is-not-in-the-data="
    parts = [part(str(i), data, boundary=boundary) for i, data in enumerate(contents)]
    body = b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()])
    pieces = [body[start : start + step] for start in range(0, len(body), step)]

    async def receive() -> dict[str, Any]:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    scope = {
        "type": "http",
        "method": "POST",
        "query_string": b"",
        "headers": [(b"content-type", f"multipart/form-data; boundary={boundary}".encode())],
    }
    response = await upload(Request(scope, receive), app.store, owner=None)
    paths = json.loads(bytes(response.body))
    assert [app.store.open(path, owner=None).read_bytes() for path in paths] == contents
    app.store.close()


# -- what is refused ------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        ("application/json", b"{}", "must be of type multipart/form-data"),
        ("multipart/form-data", b"", "names no multipart boundary"),
        (f"multipart/form-data; boundary={'B' * 300}", b"", "malformed: Boundary length 300"),
        ("multipart/form-data; boundary=B" + ";" * 1000, b"", "more than 1024 characters"),
        ("multipart/form-data; boundary=B", b"nonsense", "malformed: "),
        ("multipart/form-data; boundary=B", b"", "ends before its last boundary"),
        ("multipart/form-data; boundary=B", part("a", b"x"), "ends before its last boundary"),
        ("multipart/form-data; boundary=B", b"--B\r\nb@d: x\r\n\r\n", "malformed: "),
        (
            "multipart/form-data; boundary=B",
            part("a" * 5000, b"x") + END,
            "malformed: Maximum header size exceeded",
        ),
        (
            "multipart/form-data; boundary=B",
            b"--B\r\n" + b"a: b\r\n" * 20 + b"\r\n" + END,
            "malformed: Maximum header count exceeded",
        ),
        (
            "multipart/form-data; boundary=B",
            (part("a", b"") + b"\r\n") * 1001 + END,
            "at most 1000 parts",
        ),
    ],
)
def test_a_body_that_is_no_upload(
    app: App, client: TestClient, content_type: str, body: bytes, reason: str
) -> None:
    response = client.post("/upload", content=body, headers={"content-type": content_type})
    assert response.status_code == 400
    assert reason in response.json()["detail"]
    assert app.kept() == []


def test_a_thousand_files(client: TestClient) -> None:
    body = (part("a", b"") + b"\r\n") * 1000 + b"--B--\r\n"
    assert len(client.post("/upload", content=body, headers=FORM).json()) == 1000


def test_a_file_over_the_limit(app: App, client: TestClient) -> None:
    files = [("files", ("small", b"x")), ("files", ("large", b"x" * (LIMIT + 1)))]
    response = client.post("/upload", files=files)
    assert response.status_code == 413
    assert (
        response.json()["detail"] == "The file 'large' is larger than the limit of 3000000 bytes."
    )
    assert app.kept() == []
    assert len(client.post("/upload", files=[("files", ("a", b"x" * LIMIT))]).json()) == 1


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit(tmp_path: Path, chunked: bool) -> None:
    app = App(tmp_path / "files", max_body_size=1000)
    body = part("a", b"x" * 500) + b"\r\n" + part("b", b"x" * 500) + END
    pieces = iter([body[:700], body[700:]])
    content = pieces if chunked else body
    response = TestClient(app).post("/upload", content=content, headers=FORM)
    assert response.status_code == 413
    assert response.json()["detail"] == "The upload is larger than the limit of 1000 bytes."
    assert app.kept() == []


def test_a_full_disk(app: App, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, *, owner: str | None) -> tuple[str, Path]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(app.store, "create", fail)
    response = client.post("/upload", files=[("files", ("a", b"x"))])
    assert response.status_code == 507


@pytest.mark.parametrize("parts", [[700, 700], [1_400]])
def test_no_room_for_more_files(app: App, parts: list[int]) -> None:
    app.store = FileStore(app.root, max_file_size=None, max_size=1000, ttl=60.0)
    client = TestClient(app)
    files = [("files", ("a", b"x" * size)) for size in parts]
    response = client.post("/upload", files=files)
    assert response.status_code == 507
    assert response.json()["detail"] == "The server has no room left for files."
    assert app.kept() == []
    # What was refused takes no room.
    assert client.post("/upload", files=[("files", ("a", b"x" * 1000))]).status_code == 200
    assert client.post("/upload", files=[("files", ("a", b"x"))]).status_code == 507


def test_a_closed_store(app: App, client: TestClient) -> None:
    app.store.close()
    response = client.post("/upload", files=[("files", ("a", b"x"))])
    assert response.status_code == 503
    assert "closed" in response.json()["detail"]


# -- over a real socket ---------------------------------------------------------


async def test_a_large_file_needs_little_memory(tmp_path: Path) -> None:
    app = App(tmp_path / "files")
    app.store.max_file_size = None
    size, block = 100_000_000, os.urandom(1_000_000)
    start, end = part("big", b""), END
    async with served(app) as port, connected(port) as connection:
        await connection.send(head(len(start) + size + len(end)), start, block)
        tracemalloc.start()
        try:
            for _ in range(size // len(block) - 1):
                await connection.send(block)
            await connection.send(end)
            status, _, body = await connection.response()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert status == 200
    file = app.store.open(json.loads(body)[0], owner=None)
    assert file.stat().st_size == size
    assert peak < size / 10
    app.store.close()


async def started(app: App, connection: Connection, *, query: str = "") -> None:
    """Send half an upload, and wait until some of it is on disk."""
    data = b"x" * 1_500_000
    await connection.send(head(10_000_000, query), part("a", data))
    await eventually(lambda: open_files(app.root))


async def test_a_client_that_leaves_leaves_nothing(app: App) -> None:
    async with served(app) as port:
        async with connected(port) as connection:
            await started(app, connection)
        await asyncio.wait_for(app.left.wait(), 10)
        assert app.kept() == []
        assert open_files(app.root) == []


async def test_a_length_over_the_limit_is_told_at_once(tmp_path: Path) -> None:
    app = App(tmp_path / "files", max_body_size=1000)
    async with served(app) as port, connected(port) as connection:
        await connection.send(head(1001))
        assert (await connection.response())[0] == 413


async def test_a_slow_upload_does_not_expire_half_way(tmp_path: Path) -> None:
    app = App(tmp_path / "files")
    now = 0.0
    app.store = FileStore(app.root, max_file_size=None, ttl=60.0, clock=lambda: now)
    data = b"x" * 3_000_000
    body = part("a", data) + END
    async with served(app) as port, connected(port) as connection:
        await connection.send(head(len(body)), body[:2_000_000])
        await eventually(lambda: open_files(app.root))
        now = 100.0
        assert app.store.expire() is None
        await connection.send(body[2_000_000:])
        status, _, answer = await connection.response()
    assert status == 200
    assert app.store.open(json.loads(answer)[0], owner=None).read_bytes() == data
    assert app.store.expire() == 60
    app.store.close()


async def test_a_client_that_stalls_is_let_go(tmp_path: Path) -> None:
    app = App(tmp_path / "files", chunk_timeout=0.3)
    async with served(app) as port, connected(port) as connection:
        await started(app, connection)
        status, headers, body = await connection.response()
        assert (status, headers["connection"]) == (408, "close")
        assert "too slowly" in json.loads(body)["detail"]
        assert await connection.end() == b""
        assert app.kept() == []
        assert open_files(app.root) == []


async def test_a_client_that_trickles_is_let_go(tmp_path: Path) -> None:
    app = App(tmp_path / "files", chunk_timeout=0.3)
    async with served(app) as port, connected(port) as connection:
        await connection.send(head(10_000), part("a", b""))
        answer = asyncio.create_task(connection.response())
        sent = 0
        while not answer.done():
            await connection.send(b"x")
            sent += 1
            await asyncio.sleep(0.05)
        status, headers, _ = await answer
        assert (status, headers["connection"]) == (408, "close")
        assert 3 < sent < 30
        assert app.kept() == []


async def test_a_slow_upload_that_keeps_the_pace_is_waited_for(app: App) -> None:
    app.options["chunk_timeout"] = 0.3
    pieces = [part("a", b""), *[b"x" * 500] * 20, END]
    async with served(app) as port, connected(port) as connection:
        await connection.send(head(sum(map(len, pieces))))
        start = asyncio.get_running_loop().time()
        for piece in pieces:  # three times as long as it may stand still
            await connection.send(piece)
            await asyncio.sleep(0.05)
        status, _, body = await connection.response()
        assert asyncio.get_running_loop().time() - start > 0.9
    assert status == 200
    assert app.store.open(json.loads(body)[0], owner=None).stat().st_size == 10_000


async def test_a_cancelled_request_leaves_nothing(app: App) -> None:
    waiting = asyncio.Event()
    pieces = [part("a", b"x" * 2_000_000)]

    async def receive() -> dict[str, Any]:
        if pieces:
            return {"type": "http.request", "body": pieces.pop(), "more_body": True}
        waiting.set()
        return await asyncio.Future[dict[str, Any]]()

    scope = {
        "type": "http",
        "method": "POST",
        "query_string": b"",
        "headers": [(b"content-type", b"multipart/form-data; boundary=B")],
    }
    task = asyncio.create_task(upload(Request(scope, receive), app.store, owner=None))
    await waiting.wait()
    assert open_files(app.root)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (app.kept(), open_files(app.root)) == ([], [])


async def test_the_limit_is_told_before_all_was_sent(app: App) -> None:
    async with served(app) as port, connected(port) as connection:
        await connection.send(head(10**9), part("huge", b"x" * (LIMIT + 1)))
        status, _, body = await connection.response()
        assert status == 413
        assert "huge" in json.loads(body)["detail"]
        assert app.kept() == []


# -- progress -------------------------------------------------------------------


async def watched(app: App, times: int) -> None:
    """Wait until somebody watches the upload."""
    await eventually(
        lambda: sum(len(track.watchers) for track in app.progress._tracks.values()) == times
    )


async def events(connection: Connection, *, query: str) -> list[dict[str, Any]]:
    await connection.send(
        f"GET /upload_progress?upload_id={query} HTTP/1.1\r\nHost: localhost\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    data = await connection.end()
    assert b"200 OK" in data
    assert b"text/event-stream" in data
    lines = [line for line in data.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line.removeprefix(b"data: ")) for line in lines]


def sizes(messages: list[dict[str, Any]]) -> dict[str, int]:
    """Add up what was told of each file."""
    assert messages.pop() == {"msg": "done"}
    assert {message.pop("msg") for message in messages} == {"update"}
    assert all(message["chunk_size"] > 0 for message in messages)
    names = dict.fromkeys(message["orig_name"] for message in messages)
    return {
        name: sum(m["chunk_size"] for m in messages if m["orig_name"] == name) for name in names
    }


@pytest.mark.parametrize("first", ["watcher", "upload"])
async def test_progress_is_told_while_it_is_made(app: App, first: str) -> None:
    a, b = part("a", b"x" * 200_000), part("b", b"y" * 300_000)
    async with served(app) as port, connected(port) as sender:
        start = head(len(a) + 2 + len(b) + len(END), "?upload_id=u1")
        async with connected(port) as one, connected(port) as two:
            if first == "upload":
                await sender.send(start, a[:100_000])
            watchers = [asyncio.create_task(events(x, query="u1")) for x in (one, two)]
            await watched(app, 2)
            await sender.send(*([] if first == "upload" else [start, a[:100_000]]))
            await sender.send(a[100_000:])
            await sender.send(b"\r\n", b, END)
            status, _, _ = await sender.response()
            assert status == 200
            for watcher in watchers:
                assert sizes(await watcher) == {"a": 200_000, "b": 300_000}


async def test_a_late_watcher_is_told_all_and_then_nobody(tmp_path: Path) -> None:
    app = App(tmp_path / "files", wait=0.2)
    body = part("a", b"") + b"\r\n" + part("b", b"xyz") + END
    async with served(app) as port, connected(port) as sender:
        await sender.send(head(len(body), "?upload_id=u1"), body)
        assert (await sender.response())[0] == 200
        async with connected(port) as watcher:
            assert sizes(await events(watcher, query="u1")) == {"b": 3}
        await eventually(lambda: not app.progress._tracks)
    app.store.close()


async def test_a_failed_upload_is_done_too(app: App) -> None:
    async with served(app) as port, connected(port) as watcher:
        async with connected(port) as sender:
            await started(app, sender, query="?upload_id=u1")
            told = asyncio.create_task(events(watcher, query="u1"))
            await watched(app, 1)
        assert (await told)[-1] == {"msg": "done"}


async def test_an_upload_that_never_begins(tmp_path: Path) -> None:
    app = App(tmp_path / "files", wait=0.05)
    for query in ("?upload_id=u1", "", f"?upload_id={'x' * 200}"):
        async with served(app) as port, connected(port) as watcher:
            await watcher.send(
                f"GET /upload_progress{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
            status, _, body = await watcher.response()
            assert (status, json.loads(body)) == (404, {"detail": "Upload not found"})
    assert app.progress._tracks == {}


async def test_progress_is_for_who_uploads() -> None:
    progress = UploadProgress(wait=0.01)
    track = progress.begin("u1", "ada")
    assert track is not None
    scope = {"type": "http", "query_string": b"upload_id=u1", "headers": []}
    assert (await progress.respond(Request(scope), owner="bob")).status_code == 404
    assert (await progress.respond(Request(scope), owner="ada")).status_code == 200
    assert progress.begin("u1", "ada") is None  # an id in use
    progress.finish(track)
    again = progress.begin("u1", "ada")
    assert again is not None
    await asyncio.sleep(0.02)  # the first is forgotten, which must not take the second along
    assert (await progress.respond(Request(scope), owner="ada")).status_code == 200


async def test_what_comes_while_the_watcher_reads_is_told() -> None:
    progress = UploadProgress(wait=0.01)
    track = progress.begin("u1", None)
    assert track is not None
    scope = {"type": "http", "query_string": b"upload_id=u1", "headers": []}
    response = await progress.respond(Request(scope), owner=None)
    assert isinstance(response, StreamingResponse)
    track.files.append(("a", 5))
    told: list[Any] = [await anext(aiter(response.body_iterator))]
    track.files[:] = [("a", 7), ("b", 0), ("c", 1)]
    progress.finish(track)
    told += [line async for line in response.body_iterator]
    assert [json.loads(bytes(line)[6:]) for line in told] == [
        {"msg": "update", "orig_name": "a", "chunk_size": 5},
        {"msg": "update", "orig_name": "a", "chunk_size": 2},
        {"msg": "update", "orig_name": "c", "chunk_size": 1},
        {"msg": "done"},
    ]


async def test_only_so_many_uploads_are_followed() -> None:
    progress = UploadProgress(max_uploads=2, wait=0.01)
    tracks = [progress.begin(str(i), None) for i in range(3)]
    assert [track is not None for track in tracks] == [True, True, False]
    scope = {"type": "http", "query_string": b"upload_id=x", "headers": []}
    assert (await progress.respond(Request(scope), owner=None)).status_code == 404


async def test_a_silent_stream_shows_that_it_lives(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "HEARTBEAT", 0.01)
    track = app.progress.begin("u1", None)
    assert track is not None
    async with served(app) as port, connected(port) as watcher:
        await watcher.send(
            b"GET /upload_progress?upload_id=u1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        await watcher.until(b'data: {"msg":"heartbeat"}\n\n')
        app.progress.finish(track)
        assert b'data: {"msg":"done"}\n\n' in await watcher.end()


# -- downloads ------------------------------------------------------------------


Put = Callable[[str, bytes], str]


@pytest.fixture
def put(app: App) -> Put:
    def put(name: str, data: bytes) -> str:
        path, target = app.store.create(name, owner=app.owner)
        target.write_bytes(data)
        return path

    return put


@pytest.mark.parametrize(
    ("name", "type", "disposition"),
    [
        ("a.png", "image/png", "inline"),
        ("a.mp4", "video/mp4", "inline"),
        ("a.wav", "audio/", "inline"),
        ("a.txt", "text/plain", "inline"),
        ("a.json", "application/json", "inline"),
        ("a.pdf", "application/pdf", "inline"),
        ("a.svg", "application/octet-stream", "attachment"),
        ("a.html", "application/octet-stream", "attachment"),
        ("a.xml", "application/octet-stream", "attachment"),
        ("a.js", "application/octet-stream", "attachment"),
        ("a", "application/octet-stream", "attachment"),
    ],
)
def test_no_file_is_a_page(
    client: TestClient, put: Put, name: str, type: str, disposition: str
) -> None:
    response = client.get(f"/file={put(name, b'x')}")
    assert (response.status_code, response.content) == (200, b"x")
    assert response.headers["content-type"].startswith(type)
    assert response.headers["content-disposition"].startswith(f"{disposition};")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers.get("content-security-policy") == (
        None if name == "a.pdf" else "sandbox"
    )


@given(st.text(max_size=60))
def test_any_name_comes_back(name: str) -> None:
    store = FileStore(max_file_size=None, ttl=60.0)
    path, target = store.create(name, owner=None)
    target.write_bytes(b"x")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await download(Request(scope), store, path, owner=None)
        await response(scope, receive, send)

    response = TestClient(app).get("/")
    store.close()
    assert (response.status_code, response.content) == (200, b"x")
    assert response.headers["content-disposition"].isascii()
    assert clean_name(name) == target.name


async def test_several_ranges_are_as_long_as_stated(app: App, put: Put) -> None:
    path = put("a.txt", b"0123456789")
    async with served(app) as port, connected(port) as connection:
        await connection.send(
            f"GET /file={path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            "Range: bytes=0-1,5-6\r\n\r\n".encode()
        )
        status, headers, body = await connection.response()
        assert (status, await connection.end()) == (206, b"")
    assert headers["content-type"].startswith("multipart/byteranges; boundary=")
    assert b"\r\n\r\n01\r\n" in body
    assert b"\r\n\r\n56\r\n" in body


def test_many_ranges_cost_no_more_than_the_file(client: TestClient, put: Put) -> None:
    path = put("a.txt", b"x" * 30_000)
    ranges = ",".join(f"{i * 3}-{i * 3}" for i in range(8000))
    response = client.get(f"/file={path}", headers={"range": f"bytes={ranges}"})
    assert (response.status_code, len(response.content)) == (200, 30_000)


def test_head_and_ranges(client: TestClient, put: Put) -> None:
    path = put("a.bin", b"0123456789")
    response = client.head(f"/file={path}")
    assert (response.status_code, response.headers["content-length"]) == (200, "10")
    for range, content in [("2-4", b"234"), ("7-", b"789"), ("-2", b"89")]:
        response = client.get(f"/file={path}", headers={"range": f"bytes={range}"})
        assert (response.status_code, response.content) == (206, content)
    response = client.get(f"/file={path}", headers={"range": "bytes=20-"})
    assert response.status_code == 416


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "TOKEN/../../../etc/passwd",
        "http://127.0.0.1/secret",
        "https://example.org/a.png",
        "",
    ],
)
async def test_what_is_no_file_of_ours_is_forbidden(app: App, put: Put, path: str) -> None:
    path = path.replace("TOKEN", put("a", b"x").partition("/")[0])
    async with served(app) as port, connected(port) as connection:
        await connection.send(f"GET /file={path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        status, _, body = await connection.response()
    assert status == 403
    assert json.loads(body)["detail"].startswith("File not allowed: ")


def test_a_deleted_file_is_forbidden(app: App, client: TestClient, put: Put) -> None:
    path = put("a", b"x")
    app.store.open(path, owner=None).unlink()
    assert client.get(f"/file={path}").status_code == 403


async def test_a_file_is_kept_while_it_is_sent(tmp_path: Path) -> None:
    app = App(tmp_path / "files")
    now = 0.0
    app.store = FileStore(app.root, max_file_size=None, ttl=60.0, clock=lambda: now)
    path, target = app.store.create("a", owner=None)
    target.write_bytes(b"x" * 20_000_000)
    async with served(app) as port:
        async with connected(port) as connection:
            await connection.send(f"GET /file={path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await eventually(lambda: open_files(app.root))
            now = 100.0
            assert app.store.expire() is None
            status, _, body = await connection.response()
            assert (status, len(body)) == (200, 20_000_000)
        await asyncio.wait_for(app.left.wait(), 10)
    assert app.store.expire() == 60
    now = 160.0
    app.store.expire()
    assert app.kept() == []


async def test_a_file_that_expires_this_very_moment(app: App, put: Put) -> None:
    scope = {"type": "http", "method": "GET", "query_string": b"", "headers": []}
    path = put("a", b"x")
    response = await download(Request(scope), app.store, path, owner=None)
    app.store.discard(path)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await response(scope, Request(scope).receive, send)
    assert sent[0]["status"] == 403
