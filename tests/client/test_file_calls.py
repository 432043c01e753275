"""Files of arguments and of outputs, against a real Gradio server."""

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jobwire
from conftest import Server, running
from faults import HANG, Cut, config, cutting_proxy, event_stream, raw_server, response
from jobwire import AsyncClient, Client, FileResult, Status, handle_file
from jobwire.client.transfer import FileTransfer

APP = Path(__file__).parents[1] / "apps" / "filing.py"
LIMIT = 1_000_000

ODD_NAMES = [
    "plain.txt",
    "two words.txt",
    "100%.txt",
    "%23a#b.txt",
    "naïve ✓ 🎉.txt",
    "none",
    "a+b&c.d.txt",
]


@pytest.fixture(scope="module")
def filing() -> Iterator[Server]:
    with running("--max-file-size", str(LIMIT), app=APP) as server:
        yield server


@pytest.fixture
def app(filing: Server, tmp_path: Path) -> Iterator[Client]:
    with Client(filing.url, download_files=tmp_path / "downloads") as client:
        yield client


@pytest.fixture
def lazy(filing: Server) -> Iterator[Client]:
    with Client(filing.url, download_files="lazy") as client:
        yield client


@pytest.fixture
def note(tmp_path: Path) -> Path:
    path = tmp_path / "note.txt"
    path.write_text("what I wanted to say")
    return path


def parts(directory: Path) -> list[Path]:
    return list(directory.rglob("*.part"))


def read(path: str) -> str:
    return Path(path).read_text()


# -- naming files --


def test_handle_file_is_a_file_data(note: Path) -> None:
    meta = {"_type": "gradio.FileData"}
    assert handle_file(note) == {"path": str(note), "meta": meta, "orig_name": "note.txt"}
    url = "https://example.com/a/cat.png?size=2#top"
    assert handle_file(url) == {"path": url, "meta": meta, "orig_name": "cat.png", "url": url}


def test_old_name_of_handle_file_warns(note: Path) -> None:
    with pytest.warns(DeprecationWarning, match="handle_file"):
        assert jobwire.file(note) == handle_file(note)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nothing/here.txt", "no file"),
        ("", "no file"),
        ("nul\0.txt", "no file"),
        (".", "directory"),
    ],
)
def test_what_is_no_file_is_refused_at_once(path: str, said: str) -> None:
    with pytest.raises(jobwire.FileError, match=said) as caught:
        handle_file(path)
    assert caught.value.path == path
    assert isinstance(caught.value, ValueError)


def test_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(jobwire.FileError, match="regular"):
        handle_file(tmp_path / "pipe")


# -- there and back --


@pytest.mark.parametrize("name", ODD_NAMES)
def test_file_goes_there_and_back_under_its_name(app: Client, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(f"in {name}")
    path = Path(app.predict(handle_file(tmp_path / name), api_name="/same"))
    assert (path.name, path.read_text()) == (name, f"in {name}")
    assert path.is_absolute()
    assert path.is_relative_to(tmp_path / "downloads")
    assert not parts(tmp_path)


def test_empty_file(app: Client, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert Path(app.predict(handle_file(tmp_path / "empty"), api_name="/same")).read_bytes() == b""


def test_files_in_lists_and_messages(app: Client, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name[0])
    files = [handle_file(tmp_path / name) for name in ("a.txt", "b.txt", "a.txt")]
    paths = app.predict(files, api_name="/same_files")
    assert [Path(path).read_text() for path in paths] == ["a", "b", "a"]
    message = {"text": "read", "files": files}
    assert app.predict(message, api_name="/collect") == "read: a b a"
    assert message["files"] is files
    assert files[0]["path"] == str(tmp_path / "a.txt")


def test_caption_stays_with_its_picture(app: Client, tmp_path: Path) -> None:
    pixel = bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d7"
        "63f8cfc000000301010018dd8db00000000049454e44ae426082"
    )
    (tmp_path / "pixel.png").write_bytes(pixel)
    pictures = [{"image": handle_file(tmp_path / "pixel.png"), "caption": "one pixel"}]
    [shown] = app.predict(pictures, api_name="/same_gallery")
    assert shown["caption"] == "one pixel"
    assert Path(shown["image"]).suffix in (".png", ".webp")
    assert Path(shown["image"]).stat().st_size > 0


def test_each_file_is_sent_once(filing: Server, note: Path) -> None:
    with cutting_proxy(filing.url) as proxy, Client(proxy.url, download_files=False) as client:
        sent = []
        upload = FileTransfer._upload

        async def count(self: FileTransfer, file: Any, told: Any) -> str:
            sent.append(file.name)
            return await upload(self, file, told)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FileTransfer, "_upload", count)
            client.predict([handle_file(note)] * 3, api_name="/same_files")
        assert sent == ["note.txt"]


def test_relative_path_is_meant_from_where_the_call_is_made(
    app: Client, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(note.parent)
    assert app.predict(handle_file(note.name), api_name="/describe") == "note.txt: 20 bytes"


def test_same_content_twice_is_one_path(app: Client) -> None:
    first, second = (app.predict("a.bin", 10, api_name="/make") for _ in range(2))
    assert first == second


def test_default_directory(filing: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "mine"))
    with Client(filing.url) as client:
        assert not (tmp_path / "mine").exists()  # nothing is written before there is something
        path = Path(client.predict("a.bin", 10, api_name="/make"))
    assert path.parents[1] == tmp_path / "mine"


def test_directory_that_is_a_file_is_refused(filing: Server, note: Path) -> None:
    with pytest.raises(jobwire.FileError, match="no directory"):
        Client(filing.url, download_files=note)


# -- generators --


def test_each_output_of_a_generator_has_its_file(app: Client) -> None:
    job = app.submit(4, False, api_name="/several")
    seen = [(Path(path).name, Path(path).read_text(), step) for path, step in job]
    assert seen == [(f"{i}.txt", str(i), f"step {i}") for i in range(4)]
    assert job.result() == job.outputs()[-1]


def test_files_of_outputs_before_a_failure_are_there(app: Client) -> None:
    job = app.submit(3, True, api_name="/several")
    seen: list[str] = []
    with pytest.raises(jobwire.AppError, match="no more"):
        seen.extend(Path(path).read_text() for path, _ in job)
    assert seen == ["0", "1", "2"]


async def test_updates_come_with_files_in_order(filing: Server, tmp_path: Path) -> None:
    async with AsyncClient(filing.url, download_files=tmp_path) as client:
        job = await client.submit(3, False, api_name="/several")
        updates = [update async for update in job.updates()]
    outputs = [update for update in updates if isinstance(update, jobwire.OutputUpdate)]
    assert [read(update.outputs[0]) for update in outputs] == ["0", "1", "2", "2"]
    assert outputs[-1].final
    assert isinstance(updates[-1], jobwire.StatusUpdate)
    assert updates[-1].code is Status.FINISHED


streams = pytest.mark.skipif(
    shutil.which("ffprobe") is None, reason="gradio streams media with ffmpeg: install it"
)


@streams
def test_streamed_audio_is_one_file_that_grows(app: Client) -> None:
    job = app.submit(3, api_name="/talk")
    sizes = []
    for path, _ in job:
        sizes.append(Path(path).stat().st_size)
    assert len({path for path, _ in job.outputs()}) == 1
    assert sizes == sorted(sizes)
    path, last = job.result()
    assert last == "second 2"
    assert 2.5 < duration(path) < 4


@streams
def test_streamed_audio_that_stays_on_the_server(lazy: Client, tmp_path: Path) -> None:
    job = lazy.submit(3, api_name="/talk")
    audio, _ = next(iter(job))
    assert isinstance(audio, FileResult)
    path = audio.save(tmp_path)  # follows it while it is made
    assert path == tmp_path / "audio.aac"
    assert 2.5 < duration(path) < 4
    assert job.result()[0].bytes() == path.read_bytes()


def duration(path: str | Path) -> float:
    command = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"]
    return float(subprocess.run([*command, path], capture_output=True, check=True).stdout)


# -- values that only look like files, and inputs that nobody gives --


def test_json_that_looks_like_a_file_is_left_alone(app: Client) -> None:
    value = {"path": "/etc/passwd", "url": None, "orig_name": "a.txt"}
    assert app.predict("/etc/passwd", api_name="/lookalike") == value


def test_button_among_the_inputs_has_its_text(app: Client) -> None:
    assert app.predict("x", api_name="/press") == "x go"
    assert app.predict("x", "other", api_name="/press") == "x other"


# -- files that stay on the server --


def test_lazy_file(lazy: Client, filing: Server, tmp_path: Path) -> None:
    file = lazy.predict("a b.bin", 100_000, api_name="/make")
    assert isinstance(file, FileResult)
    assert (file.name, file.size) == ("a b.bin", 100_000)
    assert file.url.startswith(filing.url)
    assert file.bytes() == b"x" * 100_000
    assert file.save(tmp_path) == tmp_path / "a b.bin"
    assert file.save(tmp_path / "new" / "c.bin").read_bytes() == b"x" * 100_000
    assert repr(file) == "<FileResult 'a b.bin'>"
    assert file.data["meta"] == {"_type": "gradio.FileData"}


def test_lazy_file_is_read_as_it_arrives(lazy: Client) -> None:
    file = lazy.predict("a.bin", 3_000_000, api_name="/make")
    with file.open() as reader:
        assert reader.read(5) == b"xxxxx"
        assert reader.readable()
        assert not reader.seekable()
        assert len(reader.read()) == 3_000_000 - 5
        assert reader.read() == b""
    assert reader.closed
    with file.open() as reader:
        reader.read(1)  # the rest is not fetched


async def test_lazy_file_in_asynchronous_code(filing: Server, tmp_path: Path) -> None:
    async with AsyncClient(filing.url, download_files="lazy") as client:
        file = await client.predict("a.bin", 300_000, api_name="/make")
        assert isinstance(file, jobwire.AsyncFileResult)
        async with file.open() as reader:
            start = await reader.read(10)
            rest = [chunk async for chunk in reader]
        assert start + b"".join(rest) == b"x" * 300_000
        assert (await file.save(tmp_path)).read_bytes() == await file.bytes()
        again = await client.predict(file, api_name="/same")
        assert again.size == 300_000
    with pytest.raises(jobwire.ClientClosedError):
        await file.bytes()


def test_lazy_file_as_an_argument_is_not_transferred(lazy: Client, tmp_path: Path) -> None:
    file = lazy.predict("a.bin", 7, api_name="/make")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileTransfer, "upload", None)
        patch.setattr(FileTransfer, "_chunks", None)
        assert lazy.predict(file, api_name="/describe") == "a.bin: 7 bytes"
        assert lazy.predict(handle_file(file.url), api_name="/describe") == "a.bin: 7 bytes"


def test_lazy_file_of_another_client_is_refused(lazy: Client, app: Client) -> None:
    file = lazy.predict("a.bin", 7, api_name="/make")
    with pytest.raises(jobwire.ArgumentError, match="another client"):
        app.predict(file, api_name="/describe")


def test_lazy_file_that_is_gone(lazy: Client, tmp_path: Path) -> None:
    file = lazy.predict("a.bin", 7, api_name="/make")
    os.unlink(file.data["path"])  # the server is on this machine
    for fetch in (file.bytes, lambda: file.save(tmp_path), lambda: file.open().read()):
        with pytest.raises(jobwire.DownloadError, match="403") as caught:
            fetch()
        assert caught.value.url == file.url
        assert isinstance(caught.value.__cause__, jobwire.ServerError)
    assert list(tmp_path.iterdir()) == []


def test_file_data(filing: Server, note: Path) -> None:
    with Client(filing.url, download_files=False) as client:
        data = client.predict(handle_file(note), api_name="/same")
        assert (data["orig_name"], data["size"], data["meta"]["_type"]) == (
            "note.txt",
            20,
            "gradio.FileData",
        )
        # The server's own path, in a plain dict: nothing is read here.
        assert client.predict(data, api_name="/describe") == "note.txt: 20 bytes"


# -- what goes wrong before the call --


def test_file_that_the_app_does_not_take(app: Client, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (LIMIT + 1))
    with pytest.raises(jobwire.FileError, match=f"no file larger than {LIMIT}"):
        app.submit(handle_file(tmp_path / "large"), api_name="/describe")
    (tmp_path / "fits").write_bytes(b"x" * LIMIT)
    assert app.predict(handle_file(tmp_path / "fits"), api_name="/describe")


def test_file_that_has_gone_since(app: Client, note: Path) -> None:
    file = handle_file(note)
    note.unlink()
    with pytest.raises(jobwire.FileError, match="no file"):
        app.submit(file, api_name="/describe")


def test_path_that_is_no_string_is_told_how(app: Client, note: Path) -> None:
    with pytest.raises(jobwire.ArgumentError, match="handle_file"):
        app.submit(note, api_name="/describe")


def test_plain_dict_never_makes_the_client_read_a_file(note: Path) -> None:
    forged = {"path": str(note), "meta": {"_type": "gradio.FileData"}}
    with raw_server(app_that_takes_files(HANG)) as server, Client(server.url) as client:
        assert client.predict(forged, api_name="/echo") == "done"
        assert "/gradio_api/upload" not in server.paths()


def test_copy_of_what_handle_file_returned_is_explained(app: Client, note: Path) -> None:
    with pytest.raises(jobwire.AppError) as caught:
        app.predict({**handle_file(note), "size": 20}, api_name="/describe")
    assert "handle_file" in caught.value.__notes__[0]


# -- what goes wrong on the way --


def app_that_takes_files(upload: Any, **more: Any) -> dict[str, Any]:
    return {
        "/config": response(config()),
        "/gradio_api/upload": upload,
        "/gradio_api/queue/join": response({"event_id": "e1"}),
        "/gradio_api/queue/data": event_stream(
            b'data: {"msg":"process_completed","event_id":"e1","output":{"data":["done"]},'
            b'"success":true}\n\n',
            b'data: {"msg":"close_stream"}\n\n',
        )
        + b"0\r\n\r\n",
        **more,
    }


def test_sending_is_told(filing: Server, tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(b"x" * 900_000)
    with Client(filing.url) as client:
        job = client.submit(handle_file(tmp_path / "large.bin"), api_name="/describe")
        updates = [u for u in job.updates() if isinstance(u, jobwire.StatusUpdate)]
    sending = [u for u in updates if u.code is Status.SENDING_DATA]
    assert sending
    assert sending[-1].progress_data == [
        jobwire.ProgressUnit(900_000, 900_000, "bytes", None, "sending large.bin")
    ]
    assert updates[-1].success


def test_upload_that_breaks_is_tried_again(note: Path) -> None:
    answers = [Cut(), Cut(), response(b'["/there/note.txt"]', content_type="application/json")]
    with (
        raw_server(app_that_takes_files(lambda body: answers.pop(0))) as server,
        Client(server.url) as client,
    ):
        assert client.predict(handle_file(note), api_name="/echo") == "done"
        bodies = [body for _, path, _, body in server.requests if path == "/gradio_api/upload"]
        assert len(bodies) == 3
        assert all(b"what I wanted to say" in body for body in bodies)
        [join] = [body for _, path, _, body in server.requests if "queue/join" in path]
        assert b'"path": "/there/note.txt"' in join
        assert str(note).encode() not in join


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (response("too large", 413), jobwire.ServerError),
        (response({"detail": "no"}, 401), jobwire.AuthenticationError),
        (response("[]", content_type="application/json"), jobwire.RemoteProtocolError),
        (response("<html>"), jobwire.RemoteProtocolError),
    ],
)
def test_upload_that_is_refused_ends_the_job(note: Path, answer: bytes, error: Any) -> None:
    with raw_server(app_that_takes_files(answer)) as server, Client(server.url) as client:
        job = client.submit(handle_file(note), api_name="/echo")
        with pytest.raises(error):
            job.result(timeout=20)
        assert "/gradio_api/queue/join" not in server.paths()
        assert client.predict("x", api_name="/echo") == "done"


def test_server_that_does_not_answer_an_upload(note: Path) -> None:
    with (
        raw_server(app_that_takes_files(HANG)) as server,
        Client(server.url, read_timeout=0.3) as client,
    ):
        with pytest.raises(jobwire.TransportTimeoutError):
            client.submit(handle_file(note), api_name="/echo").result(timeout=20)


def test_server_that_stops_reading_an_upload(filing: Server, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(64 * 1024 * 1024)  # more than all buffers on the way
    with cutting_proxy(filing.url) as proxy:
        with Client(proxy.url, read_timeout=0.5) as client:
            client._client._app.schema = client.schema()._replace(max_file_size=None)
            proxy.freeze()
            job = client.submit(handle_file(large), api_name="/describe")
            with pytest.raises(jobwire.TransportTimeoutError, match="in time"):
                job.result(timeout=30)


def test_cancel_while_files_are_sent(note: Path) -> None:
    with raw_server(app_that_takes_files(HANG)) as server, Client(server.url) as client:
        job = client.submit(handle_file(note), api_name="/echo")
        while "/gradio_api/upload" not in server.paths():
            pass
        assert job.cancel()
        with pytest.raises(jobwire.JobCancelledError):
            job.result(timeout=1)
        assert not job.cancel()
        assert client.predict("x", api_name="/echo") == "done"
        assert server.paths().count("/gradio_api/queue/join") == 1


def test_close_while_files_are_sent(note: Path) -> None:
    with raw_server(app_that_takes_files(HANG)) as server:
        with Client(server.url) as client:
            job = client.submit(handle_file(note), api_name="/echo")
            while "/gradio_api/upload" not in server.paths():
                pass
        with pytest.raises(jobwire.ClientClosedError):
            job.result(timeout=1)


def test_file_that_gets_shorter_while_it_is_sent(filing: Server, tmp_path: Path) -> None:
    path = tmp_path / "shrinks"
    path.write_bytes(b"x" * 900_000)
    with Client(filing.url) as client:
        upload = FileTransfer._upload

        async def shrink(self: FileTransfer, file: Any, told: Any) -> str:
            os.truncate(path, 10)
            return await upload(self, file, told)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FileTransfer, "_upload", shrink)
            job = client.submit(handle_file(path), api_name="/describe")
            with pytest.raises(jobwire.FileError, match="shorter"):
                job.result(timeout=20)
        assert client.predict("x", api_name="/press") == "x go"


def test_output_whose_file_is_gone(app: Client, tmp_path: Path) -> None:
    seen = threading.Event()
    download = FileTransfer.download

    async def gone(self: FileTransfer, data: Any, directory: Path) -> Path:
        if seen.is_set():
            os.unlink(data["path"])
        seen.set()
        return await download(self, data, directory)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileTransfer, "download", gone)
        job = app.submit(100, api_name="/vanish")
        seen_outputs: list[Any] = []
        with pytest.raises(jobwire.DownloadError, match="403") as caught:
            seen_outputs.extend(job)
    error = caught.value
    assert [step for _, step in seen_outputs] == ["step 0"]
    assert error.output is not None
    assert error.output[1] == "step 1"
    assert error.output[0]["path"] == error.file["path"]
    assert error.event_id == job.event_id
    # The server was told to stop, and the client is as good as before.
    assert app.predict("x", api_name="/press") == "x go"
    assert not parts(tmp_path)


def test_directory_that_cannot_be_written(filing: Server, tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    with Client(filing.url, download_files=tmp_path / "downloads") as client:
        (tmp_path / "downloads").rmdir()
        (tmp_path / "downloads").write_text("in the way")
        with pytest.raises(jobwire.DownloadError) as caught:
            client.predict("a.bin", 7, api_name="/make")
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.output is not None


def test_cancel_and_close_while_files_are_fetched(filing: Server, tmp_path: Path) -> None:
    begun = threading.Event()

    async def slow(self: FileTransfer, data: Any, directory: Path) -> Path:
        begun.set()
        await asyncio.sleep(3600)
        raise AssertionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileTransfer, "download", slow)
        with Client(filing.url, download_files=tmp_path) as client:
            job = client.submit("a.bin", 7, api_name="/make")
            assert begun.wait(20)
            begun.clear()
            assert not job.done()
            assert job.cancel()
            with pytest.raises(jobwire.JobCancelledError):
                job.result(timeout=1)
            other = client.submit("a.bin", 7, api_name="/make")
            assert begun.wait(20)
        with pytest.raises(jobwire.ClientClosedError):
            other.result(timeout=1)
    assert list(tmp_path.iterdir()) == []
