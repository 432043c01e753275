"""Fetching files over real sockets that lie, redirect, break and never end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import jobwire
from faults import Cut, RawServer, config, raw_server, response
from jobwire.client.result import AsyncFileResult
from jobwire.client.transfer import FileTransfer
from jobwire.protocol.inline import inline_url
from jobwire.protocol.schema import parse_config
from jobwire.transports.aiohttp import AiohttpTransport
from jobwire.transports.base import Timeouts, TransportOptions

Data = dict[str, Any]
Make = Callable[..., FileTransfer]

CONTENT = bytes(range(256)) * 4
META = {"_type": "gradio.FileData"}


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    timeouts = Timeouts(2.0, 2.0)
    transport = AiohttpTransport(TransportOptions(timeouts=timeouts))

    def make(server: RawServer, max_size: int = 10_000) -> FileTransfer:
        schema = parse_config(config(), url=server.url)
        return FileTransfer(transport, schema, timeouts, max_size)

    yield make
    await transport.aclose()


def file(path: str = "/tmp/a.txt", **more: Any) -> Data:
    return {"path": path, "meta": META, **more}


def stream(playlist: str = "s/1/2/playlist.m3u8") -> Data:
    return file(playlist, url=f"http://elsewhere/gradio_api/stream/{playlist}", is_stream=True)


def files_in(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def serve(content: bytes = CONTENT, headers: str = "") -> bytes:
    return response(content, content_type="application/octet-stream", headers=headers)


# -- names --


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/srv/x/../../../etc/passwd", "passwd"),
        ("..", "file"),
        ("/", "file"),
        ("a/..", "file"),
        ("C:\\temp\\evil.exe", "evil.exe"),
        ("/x/.bashrc", "bashrc"),
        ("/x/line\nbreak\0.txt", "linebreak.txt"),
        ("/x/" + "n" * 300 + ".txt", "n" * 196 + ".txt"),
        ("/x/%2e%2e%2fa", "%2e%2e%2fa"),
        ("/x/100% #1?.txt", "100% #1?.txt"),
    ],
)
async def test_whatever_a_server_calls_a_file_it_stays_in_the_directory(
    make: Make, tmp_path: Path, path: str, name: str
) -> None:
    with raw_server({"/": serve()}) as server:
        directory = tmp_path / "in" / "here"
        target = await make(server).download(file(path), directory)
        assert target.name == name
        assert target.parents[1] == directory
        assert len(files_in(tmp_path)) == 4  # two directories, one of the content, the file
        [asked] = [path for _, path, _, _ in server.requests]
        if ".." not in path:  # URLs have no such steps
            assert unquote(asked.removeprefix("/gradio_api/file=")) == path


async def test_file_that_is_there_is_replaced(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with raw_server({"/gradio_api/file=": serve()}) as server:
        assert await make(server).save(file(), tmp_path) == tmp_path / "a.txt"
    assert (tmp_path / "a.txt").read_bytes() == CONTENT
    assert files_in(tmp_path) == ["a.txt"]


async def test_link_in_the_directory_is_replaced_and_not_followed(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "a.txt").symlink_to(tmp_path / "precious")
    with raw_server({"/gradio_api/file=": serve()}) as server:
        await make(server).save(file(), tmp_path / "a.txt")
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "a.txt").is_symlink()


# -- what came in the value itself --


async def test_file_that_came_in_the_value_takes_no_request(make: Make, tmp_path: Path) -> None:
    data = file("image.png", url=inline_url(CONTENT, "image/png"))
    with raw_server({}) as server:
        transfer = make(server)
        target = await transfer.download(data, tmp_path)
        assert await AsyncFileResult(transfer, data).bytes() == CONTENT
        assert transfer.url(data) == data["url"]
    assert server.requests == []
    assert target.read_bytes() == CONTENT
    assert target == tmp_path / sha256(CONTENT).hexdigest() / "image.png"


@pytest.mark.parametrize(
    ("url", "max_size", "said"),
    [("data:image/png;base64,AAA", 100, "damaged"), (inline_url(CONTENT * 99), 100, "more than")],
)
async def test_bad_file_that_came_in_the_value(
    make: Make, tmp_path: Path, url: str, max_size: int, said: str
) -> None:
    with raw_server({}) as server, pytest.raises(jobwire.DownloadError, match=said) as caught:
        await make(server, max_size).save(file(url=url), tmp_path / "a")
    assert len(str(caught.value)) < 1000
    assert files_in(tmp_path) == []


# -- where it is fetched --


@pytest.mark.parametrize(
    ("data", "below"),
    [
        (file("/tmp/ä b.txt"), "gradio_api/file=/tmp/%C3%A4%20b.txt"),
        (file("rel/a.txt", url="http://10.0.0.1/file=rel/a.txt"), "gradio_api/file=rel/a.txt"),
        (file("http://other/x.png"), "gradio_api/file=http%3A//other/x.png"),
        (stream(), "gradio_api/stream/s/1/2/playlist.m3u8"),
    ],
)
async def test_address_is_made_from_the_one_that_was_given(
    make: Make, data: Data, below: str
) -> None:
    with raw_server({}) as server:
        transfer = make(server)
        assert transfer.url(data) == server.url + below
        assert transfer.url(file(f"{server.url}x.png")) == f"{server.url}x.png"


async def test_redirect_to_another_host_is_not_followed(make: Make, tmp_path: Path) -> None:
    with raw_server({"/": serve()}) as other:
        to_other = response("", 302, headers=f"location: {other.url}x\r\n")
        with raw_server({"/gradio_api/file=": to_other}) as server:
            with pytest.raises(jobwire.DownloadError, match="not the app's own host") as caught:
                await make(server).download(file(), tmp_path)
            assert caught.value.url == f"{other.url}x"
            assert caught.value.file == file()
        assert other.requests == []
    assert files_in(tmp_path) == []


async def test_redirect_on_the_same_host_is_followed(make: Make, tmp_path: Path) -> None:
    moved = response("", 307, headers="location: /gradio_api/there\r\n")
    with raw_server({"/gradio_api/file=": moved, "/gradio_api/there": serve()}) as server:
        target = await make(server).save(file(), tmp_path)
    assert target.read_bytes() == CONTENT


async def test_redirects_without_end(make: Make, tmp_path: Path) -> None:
    moved = response("", 302, headers="location: /gradio_api/file=again\r\n")
    with raw_server({"/gradio_api/file=": moved}) as server:
        with pytest.raises(jobwire.DownloadError, match="redirects more than 5 times"):
            await make(server).save(file(), tmp_path)
        assert len(server.requests) == 5


# -- what breaks --


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "endless"])
async def test_file_over_the_limit(make: Make, tmp_path: Path, declared: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + (b"content-length: 99999\r\n" if declared else b"") + b"\r\n"
    with raw_server({"/gradio_api/file=": Cut(head + b"x" * 20_000)}) as server:
        with pytest.raises(jobwire.DownloadError, match="more than 10000 bytes"):
            await make(server).download(file(), tmp_path)
        assert len(server.requests) == 1
    assert files_in(tmp_path) == []


def half(tag: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(CONTENT)}\r\n{tag}\r\n".encode()
    return Cut(head + CONTENT[:500])


async def test_download_that_breaks_goes_on_where_it_was(make: Make, tmp_path: Path) -> None:
    rest = CONTENT[500:]
    partial = response(
        rest, 206, headers=f"content-range: bytes 500-{len(CONTENT) - 1}/{len(CONTENT)}\r\n"
    )
    answers = [half('etag: "1"\r\n'), partial]
    with raw_server({"/gradio_api/file=": lambda _: answers.pop(0)}) as server:
        target = await make(server).save(file(), tmp_path)
        second = server.requests[1][2]
        assert (second["range"], second["if-range"]) == ("bytes=500-", '"1"')
    assert target.read_bytes() == CONTENT


async def test_download_that_breaks_and_has_changed_since(make: Make, tmp_path: Path) -> None:
    answers = [half('etag: "1"\r\n'), serve(headers='etag: "2"\r\n')]
    with raw_server({"/gradio_api/file=": lambda _: answers.pop(0)}) as server:
        with pytest.raises(jobwire.DownloadError, match="changed while it was fetched"):
            await make(server).save(file(), tmp_path)
    assert files_in(tmp_path) == []


async def test_download_that_breaks_without_a_way_to_go_on(make: Make, tmp_path: Path) -> None:
    with raw_server({"/gradio_api/file=": half("")}) as server:
        with pytest.raises(jobwire.DownloadError) as caught:
            await make(server).download(file(), tmp_path)
        assert isinstance(caught.value.__cause__, jobwire.ConnectionLostError)
        assert len(server.requests) == 1
    assert files_in(tmp_path) == []


async def test_download_that_breaks_before_its_first_byte_is_tried_again(
    make: Make, tmp_path: Path
) -> None:
    answers = [Cut(), Cut(), serve()]
    with raw_server({"/gradio_api/file=": lambda _: answers.pop(0)}) as server:
        target = await make(server).save(file(), tmp_path)
    assert target.read_bytes() == CONTENT


async def test_download_that_breaks_again_and_again_ends(make: Make, tmp_path: Path) -> None:
    with raw_server({"/gradio_api/file=": Cut()}) as server:
        with pytest.raises(jobwire.DownloadError):
            await make(server).save(file(), tmp_path)
        assert len(server.requests) in (4, 8)  # aiohttp repeats a GET that is cut at once


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_refusal(make: Make, tmp_path: Path, status: int) -> None:
    with raw_server({"/gradio_api/file=": response({"detail": "no"}, status)}) as server:
        with pytest.raises(jobwire.DownloadError) as caught:
            await make(server).download(file(), tmp_path)
    cause = caught.value.__cause__
    assert isinstance(cause, jobwire.ServerError)
    assert cause.status == status
    assert files_in(tmp_path) == []


async def test_cancelled_download_leaves_nothing(make: Make, tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n"
    with raw_server({"/gradio_api/file=": head + b"x" * 100}) as server:
        task = asyncio.create_task(make(server).download(file(), tmp_path))
        async with asyncio.timeout(10):
            while not files_in(tmp_path):
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert files_in(tmp_path) == []


# -- reading as it arrives --


async def test_reader_gives_what_is_asked_for(make: Make) -> None:
    with raw_server({"/gradio_api/file=": serve()}) as server:
        result = AsyncFileResult(make(server), file(size=1024, mime_type="text/plain"))
        assert (result.size, result.mime_type, result.name) == (1024, "text/plain", "a.txt")
        async with result.open() as reader:
            assert await reader.read(0) == b""
            assert await reader.read(10) == CONTENT[:10]
            assert await anext(reader) == CONTENT[10:]
            assert await reader.read(10) == b""
            assert await reader.read() == b""
        assert await result.bytes() == CONTENT


async def test_results_are_equal_if_they_are_one_file(make: Make) -> None:
    with raw_server({}) as server:
        transfer = make(server)
        one, same = AsyncFileResult(transfer, file("a")), AsyncFileResult(transfer, file("a"))
        assert one == same
        assert len({one, same, AsyncFileResult(transfer, file("b"))}) == 2
        assert one != AsyncFileResult(make(server), file("a"))
        assert one != "a"


# -- streams --


def playlist(*segments: str, ended: bool = False) -> bytes:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:0"]
    for segment in segments:
        lines += ["#EXTINF:0.1", segment]
    return response("\n".join([*lines, *["#EXT-X-ENDLIST"] * ended]))


async def test_stream_is_followed_to_its_end(make: Make, tmp_path: Path) -> None:
    lists = [
        playlist(),
        playlist("a.aac"),
        playlist("a.aac", "b.aac"),
        playlist("a.aac", "b.aac", "c.aac", ended=True),
    ]
    routes = {
        "/gradio_api/stream/s/1/2/playlist.m3u8": lambda _: lists.pop(0),
        **{f"/gradio_api/stream/s/1/2/{name}.aac": serve(name.encode()) for name in "abc"},
    }
    with raw_server(routes) as server:
        target = await make(server).save(stream() | {"orig_name": "audio.wav"}, tmp_path)
        assert [path[-5:] for path in server.paths() if path.endswith(".aac")] == [
            "a.aac",
            "b.aac",
            "c.aac",
        ]
    assert (target.name, target.read_bytes()) == ("audio.aac", b"abc")


async def test_stream_that_does_not_go_on(make: Make) -> None:
    with raw_server({"/gradio_api/stream/": playlist()}) as server:
        with pytest.raises(jobwire.DownloadError, match="did not go on"):
            await AsyncFileResult(make(server), stream()).bytes()


async def test_segment_on_another_host_is_not_fetched(make: Make) -> None:
    with raw_server({"/": serve()}) as other:
        with raw_server({"/gradio_api/stream/": playlist(f"{other.url}a.aac")}) as server:
            with pytest.raises(jobwire.DownloadError, match="another host"):
                await AsyncFileResult(make(server), stream()).bytes()
        assert other.requests == []


async def test_stream_over_the_limit(make: Make) -> None:
    routes = {
        "/gradio_api/stream/s/1/2/playlist.m3u8": playlist(*["a.aac"] * 11),
        "/gradio_api/stream/s/1/2/a.aac": serve(b"x" * 1000),
    }
    with raw_server(routes) as server:
        with pytest.raises(jobwire.DownloadError, match="more than 10000 bytes"):
            await AsyncFileResult(make(server), stream()).bytes()


async def test_playlist_that_is_none(make: Make) -> None:
    with raw_server({"/gradio_api/stream/": response("<html>")}) as server:
        with pytest.raises(jobwire.DownloadError, match="no playlist"):
            await AsyncFileResult(make(server), stream()).bytes()
