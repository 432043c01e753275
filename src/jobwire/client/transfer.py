"""Sends files to an app, and fetches files from it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from jobwire.client.addresses import join, same_place
from jobwire.client.files import LocalFile
from jobwire.client.retrying import is_passing, retrying
from jobwire.exceptions import (
    ClientClosedError,
    DownloadError,
    FileError,
    JobwireError,
    RemoteProtocolError,
    TransportError,
    TransportTimeoutError,
    shown,
)
from jobwire.protocol.files import file_name, file_path, is_url, server_path
from jobwire.protocol.inline import inline_content, is_inline
from jobwire.protocol.media import is_media_stream, media_name, parse_playlist
from jobwire.protocol.replies import check, read_json
from jobwire.protocol.retry import RetryPolicy
from jobwire.protocol.schema import AppSchema
from jobwire.transports.base import (
    MAX_ERROR_SIZE,
    ResponseStream,
    Timeouts,
    Transport,
    Upload,
    read_start,
)

__all__ = ("FileTransfer", "local_name", "reported")

_BLOCK = 1024 * 1024
"""Bytes that are read from, or written to, a disk at once. Each block costs a change of
threads, some 50 microseconds."""

_MAX_TRANSFERS = 8
"""Files under way at once: more do not go faster over one link, and hold memory."""

_MAX_RELOAD = 10.0
"""Seconds of a segment, as a playlist claims, that are believed: half of it is waited for."""

_MAX_REDIRECTS = 5

_REDIRECTS = (301, 302, 303, 307, 308)


class FileTransfer:
    """The way of files between this machine and one app.

    Memory is a few blocks for each file under way, whatever their size. The disk is read
    and written in threads.

    Args:
        transport: Sends the requests.
        schema: The app.
        timeouts: Deadlines of what is fetched.
        max_size: Bytes of a file that is fetched.
    """

    def __init__(
        self, transport: Transport, schema: AppSchema, timeouts: Timeouts, max_size: int
    ) -> None:
        self._transport = transport
        self._api = f"{schema.url}{schema.prefix}"
        self._timeouts = timeouts
        self._max_size = max_size
        self._retry = RetryPolicy()
        self._gate = asyncio.Semaphore(_MAX_TRANSFERS)
        self._closed = False

    def close(self) -> None:
        """Begin no more transfers: `ClientClosedError` is raised instead."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosedError(
                "the client is closed, and files come and go through it; fetch them before"
            )

    # -- to the app --

    async def upload(self, file: LocalFile, sent: Callable[[int], object]) -> str:
        """Send a file.

        Args:
            file: Which.
            sent: Told how many bytes of it were sent so far, after each block; less than
                before when it is tried again.

        Returns:
            Its path on the server.

        Raises:
            FileError: It cannot be read, or has changed since it was looked at.
            ServerError: The server refuses (and its subclasses).
            TransportError, RemoteProtocolError: The network, or the server, failed.
        """
        async with self._gate:
            self._check_open()
            return await retrying(
                partial(self._upload, file, sent),
                f"sending {file.name!r}",
                # Servers name uploads by their content: twice is the same as once.
                repeatable=lambda error: is_passing(error) or isinstance(error, TransportError),
            )

    async def _upload(self, file: LocalFile, sent: Callable[[int], object]) -> str:
        try:
            source = await asyncio.to_thread(open, file.path, "rb")
        except OSError as error:
            raise FileError(f"{file.path!r} cannot be read: {error}", path=file.path) from error
        try:
            return await self._send(file, source, sent)
        finally:
            # Here, since whoever sends the bytes may just drop what gives them.
            await asyncio.to_thread(source.close)

    async def _send(self, file: LocalFile, source: IO[bytes], sent: Callable[[int], object]) -> str:
        url = f"{self._api}upload"
        failure: FileError | None = None

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal failure
            total = 0
            while total < file.size:
                try:
                    size = min(_BLOCK, file.size - total)
                    block = await asyncio.to_thread(source.read, size)
                except OSError as error:
                    failure = FileError(f"{file.path!r} cannot be read: {error}", path=file.path)
                    raise failure from error
                if not block:
                    failure = FileError(
                        f"{file.path!r} became shorter while it was sent", path=file.path
                    )
                    raise failure from failure.__cause__
                yield block
                # It was taken: there is room for it on the way.
                total += len(block)
                sent(total)

        try:
            reply = await self._transport.request(
                "POST", url, body=Upload("files", file.name, file.size, chunks)
            )
        except JobwireError:
            if failure is not None:
                raise failure from failure.__cause__
            raise
        paths = read_json(*reply, url=url)
        if not isinstance(paths, list) or len(paths) != 1 or not isinstance(paths[0], str):
            raise RemoteProtocolError(
                f"{url} answers without the path of what was sent: {shown(reply.body)}"
            )
        return paths[0]

    # -- from the app --

    def url(self, data: Mapping[str, Any]) -> str:
        """Return where the file of a FileData is fetched; of a stream, its playlist.

        That of a file which came in the value is a ``data:`` URL.

        Built from the address that the client was given: what the server says of its own
        is often wrong behind proxies.
        """
        path = str(data["path"])
        if is_media_stream(data):
            return f"{self._api}stream/{quote(path)}"
        if is_inline(url := data.get("url")):
            return str(url)
        if is_url(path) and same_place(self._api, path):
            return path
        return f"{self._api}{file_path(path)}"

    def path(self, url: str) -> str | None:
        """Return the path on the server of a file that has this URL; None if none has."""
        return server_path(url, self._api)

    async def content(self, data: Mapping[str, Any]) -> AsyncGenerator[bytes]:
        """Iterate over a file's bytes as they arrive, in pieces of any size.

        Where the connection breaks, it goes on from there, if the server can. A stream is
        followed to its end.

        Raises:
            DownloadError: The file leads to another host, or is larger than the limit.
            ServerError: The server refuses: there is no such file, or not for this client.
            TransportError, RemoteProtocolError: The network, or the server, failed.
        """
        self._check_open()
        size = 0
        if is_media_stream(data):
            pieces = self.segments(data)
        elif is_inline(url := self.url(data)):
            pieces = _decoded(url)
        else:
            pieces = self._chunks(url)
        async with aclosing(pieces):
            async for piece in pieces:
                size += len(piece)
                self.check_size(size, data)
                yield piece

    def check_size(self, size: int, data: Mapping[str, Any]) -> None:
        """Raise DownloadError if a file has more bytes than may be fetched."""
        if size > self._max_size:
            url = self.url(data)
            raise DownloadError(
                f"{shown(url)} has more than {self._max_size} bytes, the limit of "
                "max_download_size",
                url=url,
                file=data,
            )

    async def segments(
        self, data: Mapping[str, Any], start: int = 0, *, follow: bool = True
    ) -> AsyncGenerator[bytes]:
        """Iterate over the segments of a stream, each whole.

        Args:
            data: Its FileData.
            start: How many to leave out.
            follow: Wait for more until the stream ends.

        Raises:
            TransportTimeoutError: No new segment came for as long as a read may take.
            ServerError, TransportError, RemoteProtocolError: As `content`.
        """
        url = self.url(data)
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while True:
            reply = await self._transport.request("GET", url, timeouts=self._timeouts)
            check(*reply, url=url)
            playlist = parse_playlist(reply.body)
            for name in playlist.segments[start:]:
                segment = join(url, name)
                if not same_place(self._api, segment):
                    raise RemoteProtocolError(f"{url} has a segment on another host: {segment}")
                yield b"".join([chunk async for chunk in self._chunks(segment)])
                start += 1
                heard = loop.time()
            if playlist.ended or not follow:
                return
            limit = self._timeouts.read
            if limit is not None and loop.time() - heard > limit:
                raise TransportTimeoutError(f"{url}: the stream did not go on for {limit:g} s")
            # How a stream is followed: nobody tells when its playlist has grown.
            await asyncio.sleep(min(playlist.duration, _MAX_RELOAD) / 2)

    async def _chunks(self, url: str) -> AsyncGenerator[bytes]:
        size, tag = 0, ""
        attempt = 1
        while True:
            # What is compressed on the way cannot be taken up in the middle.
            headers = {"accept-encoding": "identity"}
            if size:
                headers |= {"range": f"bytes={size}-", "if-range": tag}
            try:
                async with self._open(url, headers) as stream:
                    if size and stream.status != 206:
                        raise RemoteProtocolError(f"{url} changed while it was fetched")
                    tag = stream.headers.get("etag", "")
                    async for chunk in stream.chunks():
                        size += len(chunk)
                        attempt = 1
                        yield chunk
                return
            except TransportError as error:
                delay = self._retry.delay(
                    attempt,
                    error,
                    jitter=random.random(),  # noqa: S311
                    repeatable=not size or bool(tag),
                )
                if delay is None:
                    raise
            await asyncio.sleep(delay)
            attempt += 1

    @asynccontextmanager
    async def _open(self, url: str, headers: Mapping[str, str]) -> AsyncGenerator[ResponseStream]:
        """Open a file that the app serves; follows redirects that stay there."""
        for _ in range(_MAX_REDIRECTS):
            async with self._transport.stream(
                url, headers=headers, timeouts=self._timeouts
            ) as stream:
                if stream.status in (200, 206):
                    yield stream
                    return
                if stream.status not in _REDIRECTS:
                    body = await read_start(stream, MAX_ERROR_SIZE)
                    check(stream.status, stream.headers, body, url=url)
            target = join(url, stream.headers.get("location", ""))
            if not same_place(self._api, target):
                raise DownloadError(
                    f"{url} is at {target}, which is not the app's own host; fetch it from there "
                    "yourself if you trust that host",
                    url=target,
                )
            url = target
        raise RemoteProtocolError(f"{url} redirects more than {_MAX_REDIRECTS} times")

    # -- to a disk --

    async def download(self, data: Mapping[str, Any], directory: Path) -> Path:
        """Fetch a file into a directory, as a whole, below a name made of its content.

        Args:
            data: Its FileData.
            directory: Where to; made if need be.

        Returns:
            ``directory/<sha256>/<name>``, absolute, as ``gradio_client`` has it.

        Raises:
            DownloadError: It could not be had, or not be written.
        """
        async with self._writing(data, directory) as (part, digest):
            target = (directory / digest.hexdigest() / local_name(data)).absolute()
            await asyncio.to_thread(target.parent.mkdir, exist_ok=True)
            await asyncio.to_thread(os.replace, part, target)
        return target

    async def save(self, data: Mapping[str, Any], path: Path) -> Path:
        """Fetch a file to a path, as a whole or not at all.

        Args:
            data: Its FileData.
            path: Where to; in it, under the file's own name, if it is a directory. A file
                that is there is replaced.

        Returns:
            Where it is now.

        Raises:
            DownloadError: It could not be had, or not be written.
        """
        target = path / local_name(data) if await asyncio.to_thread(path.is_dir) else path
        async with self._writing(data, target.parent) as (part, _):
            await asyncio.to_thread(os.replace, part, target)
        return target

    @asynccontextmanager
    async def _writing(
        self, data: Mapping[str, Any], directory: Path
    ) -> AsyncGenerator[tuple[Path, hashlib._Hash]]:
        """Fetch a file into a temporary one that is gone afterwards; give it and its hash."""
        part = directory / f".{secrets.token_hex(16)}.part"
        digest = hashlib.sha256()
        with reported(data, self.url(data)):
            await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
            try:
                async with self._gate:
                    # Anew, or not at all: nobody may have put a link there.
                    file = await asyncio.to_thread(part.open, "xb")
                    try:
                        async with aclosing(self.content(data)) as pieces:
                            async for block in _joined(pieces):
                                await asyncio.to_thread(_write, file, block, digest)
                    finally:
                        await asyncio.to_thread(file.close)
                yield part, digest
            finally:
                with suppress(OSError):
                    part.unlink(missing_ok=True)


def local_name(data: Mapping[str, Any]) -> str:
    """Return what to call a fetched file here."""
    name = media_name(data) if is_media_stream(data) else file_name(data)
    if os.name == "nt":
        name = name.translate(dict.fromkeys(map(ord, '<>:"|?*'), "_"))
    return name


@contextmanager
def reported(data: Mapping[str, Any], url: str) -> Iterator[None]:
    """Raise whatever keeps a file from being had as a DownloadError."""
    try:
        yield
    except DownloadError as error:
        error.file = dict(data)
        raise
    except ClientClosedError:
        raise
    except (JobwireError, OSError) as error:
        raise DownloadError(
            f"cannot fetch {local_name(data)!r} from {shown(url)}: {error}", url=url, file=data
        ) from error


async def _decoded(url: str) -> AsyncGenerator[bytes]:
    yield inline_content(url)


def _write(file: IO[bytes], block: bytes, digest: hashlib._Hash) -> None:
    file.write(block)
    digest.update(block)


async def _joined(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join pieces to blocks, so that not each costs a change of threads."""
    held: list[bytes] = []
    size = 0
    async for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _BLOCK:
            yield b"".join(held)
            held.clear()
            size = 0
    if held:
        yield b"".join(held)
