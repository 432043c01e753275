"""Files over HTTP: uploads streamed to disk, their progress, downloads."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec
from anyio import to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from jobwire.exceptions import JobwireError, shown
from jobwire.server.files import FileNotAllowedError, FileStore, media_type
from jobwire.server.guard import MIN_PACE

__all__ = ("UploadProgress", "download", "upload")

MAX_FILES = 1000
"""Parts of one upload, as in Gradio."""

CHUNK_TIMEOUT = 30.0
"""Seconds that an upload may stand still, and that it may take at any pace."""

MAX_TYPE_SIZE = 1024
"""Characters of a Content-Type: its parser takes quadratic time."""

FLUSH_SIZE = 1024 * 1024
"""Bytes that are gathered before a thread writes them: large enough that the change of thread
costs nothing, small enough to hold for every upload at once."""

MAX_UPLOADS = 1000
"""Uploads whose progress is kept at once; those beyond it work, unwatched."""

PROGRESS_WAIT = 3.0
"""Seconds between an upload and the request for its progress, whichever comes first."""

MAX_ID_SIZE = 128
"""Characters of an upload's id: far more than the random ones of the clients have."""

HEARTBEAT = 15.0
"""Seconds of silence after which a progress stream shows that it is alive."""


# -- uploads -------------------------------------------------------------------


class _RefusedError(Exception):
    """The upload is not accepted: an HTTP status and why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


async def upload(
    request: Request,
    store: FileStore,
    *,
    owner: str | None,
    progress: UploadProgress | None = None,
    max_body_size: int | None = None,
    chunk_timeout: float = CHUNK_TIMEOUT,
) -> Response:
    """Answer ``POST /upload``: store every part named ``files``, return their paths.

    A request that fails, at whatever point, leaves nothing behind.

    Args:
        request: The request, its body not read yet.
        store: Where the files go; its ``max_file_size`` bounds each.
        owner: The user that they will belong to.
        progress: Told what arrives, if the request has an ``upload_id``.
        max_body_size: Bytes of all parts together; None for no limit.
        chunk_timeout: Seconds that the client may be silent, or behind ``MIN_PACE``.
    """
    upload_id = request.query_params.get("upload_id")
    track = progress.begin(upload_id, owner) if progress and upload_id else None
    receiver = _Receiver(store, owner, track)
    try:
        await _receive(request, receiver, max_body_size, chunk_timeout)
        paths = receiver.keep()
    except _RefusedError as error:
        # After a timeout the rest is not waited for.
        headers = {"connection": "close"} if error.status == 408 else None
        return JSONResponse({"detail": error.detail}, error.status, headers)
    except FormParserError as error:
        return JSONResponse({"detail": f"The multipart body is malformed: {error}"}, 400)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return JSONResponse({"detail": "The server has no room left for files."}, 507)
    except JobwireError as error:
        return JSONResponse({"detail": f"The upload cannot be stored: {error}."}, 503)
    finally:
        receiver.discard()
        if progress and track:
            progress.finish(track)
    return JSONResponse(paths)


async def _receive(
    request: Request, receiver: _Receiver, max_body_size: int | None, chunk_timeout: float
) -> None:
    content_type = request.headers.get("content-type", "")
    if len(content_type) > MAX_TYPE_SIZE:
        raise _RefusedError(400, f"The Content-Type has more than {MAX_TYPE_SIZE} characters.")
    type, options = parse_options_header(content_type)
    if type != b"multipart/form-data":
        raise _RefusedError(400, "An upload must be of type multipart/form-data.")
    if not (boundary := options.get(b"boundary")):
        raise _RefusedError(400, "The Content-Type names no multipart boundary.")
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": receiver.on_part_begin,
            "on_header_begin": receiver.on_header_begin,
            "on_header_field": receiver.on_header_field,
            "on_header_value": receiver.on_header_value,
            "on_header_end": receiver.on_header_end,
            "on_headers_finished": receiver.on_headers_finished,
            "on_part_data": receiver.on_part_data,
            "on_part_end": receiver.on_part_end,
            "on_end": receiver.on_end,
        },
    )
    length = request.headers.get("content-length", "")
    _check_body_size(int(length) if length.isdecimal() else 0, max_body_size)
    received, more = 0, True
    start = time.monotonic()
    while more:
        # It may pause, but the time that it took in all must fit its size.
        behind = max(0.0, time.monotonic() - start - received / MIN_PACE)
        try:
            async with asyncio.timeout(chunk_timeout - behind):
                message = await request.receive()
        except TimeoutError:
            raise _RefusedError(408, "The upload arrived too slowly.") from None
        if message["type"] == "http.disconnect":
            raise _RefusedError(400, "The client left before the upload was complete.")
        more = message.get("more_body", False)
        body = message.get("body", b"")
        received += len(body)
        _check_body_size(received, max_body_size)
        parser.write(body)
        if receiver.pending >= FLUSH_SIZE or (not more and receiver.actions):
            await to_thread.run_sync(receiver.carry_out)
    if not receiver.complete:
        raise _RefusedError(400, "The multipart body ends before its last boundary.")


def _check_body_size(size: int, limit: int | None) -> None:
    if limit is not None and size > limit:
        raise _RefusedError(413, f"The upload is larger than the limit of {limit} bytes.")


class _Receiver:
    """Takes what the parser finds; a thread now and then does what that asks of the disk."""

    def __init__(self, store: FileStore, owner: str | None, track: _Track | None) -> None:
        self.complete = False
        self.pending = 0
        # A name opens a file, bytes are written to it, None closes it.
        self.actions: list[str | bytearray | None] = []
        self._lock = threading.Lock()
        self._discarded = False
        self._store = store
        self._owner = owner
        self._track = track
        self._paths: list[str] = []
        self._file: BinaryIO | None = None
        self._parts = 0
        self._field = b""
        self._value = b""
        self._disposition = b""
        self._name: str | None = None  # of the file that is being received
        self._size = 0

    # -- what the parser calls --

    def on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_FILES:
            raise _RefusedError(400, f"An upload may have at most {MAX_FILES} parts.")
        self._disposition = b""

    def on_header_begin(self) -> None:
        self._field = self._value = b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._size = 0
        self._name = None
        if options.get(b"name") == b"files":
            name = options.get(b"filename", b"")
            try:
                self._name = name.decode()
            except UnicodeDecodeError:
                self._name = name.decode("latin-1")
            self.actions.append(self._name)
            if self._track:
                self._track.files.append((self._name, 0))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name is None:
            return
        size = end - start
        self._size += size
        limit = self._store.max_file_size
        if limit is not None and self._size > limit:
            raise _RefusedError(
                413, f"The file {shown(self._name)!r} is larger than the limit of {limit} bytes."
            )
        last = self.actions[-1] if self.actions else None
        if isinstance(last, bytearray):  # a client may send byte by byte
            last += data[start:end]
        else:
            self.actions.append(bytearray(data[start:end]))
        self.pending += size
        if self._track:
            self._track.files[-1] = (self._name, self._size)
            self._track.wake()

    def on_part_end(self) -> None:
        if self._name is not None:
            self.actions.append(None)
            self._name = None

    def on_end(self) -> None:
        self.complete = True

    # -- the disk --

    def carry_out(self) -> None:
        """Do what is pending. Blocks."""
        with self._lock:
            for action in () if self._discarded else self.actions:
                if isinstance(action, str):
                    path, target = self._store.create(action, owner=self._owner)
                    self._paths.append(path)
                    self._store.retain(path)  # however long the upload takes
                    self._file = target.open("xb")
                elif self._file is None:
                    continue
                elif action is None:
                    self._file.close()
                    self._file = None
                else:
                    self._store.reserve(self._paths[-1], len(action))
                    self._file.write(action)
            self.actions.clear()
            self.pending = 0

    def keep(self) -> list[str]:
        """Leave the files to the store; return their paths."""
        paths, self._paths = self._paths, []
        for path in paths:
            self._store.release(path)
        return paths

    def discard(self) -> None:
        """Delete what was not kept."""
        with self._lock:  # a thread may still be writing if the request was cancelled
            self._discarded = True
            if self._file is not None:
                self._file.close()
            for path in self._paths:
                self._store.discard(path)


# -- progress ------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class _Track:
    """What is known of one upload: each file's name and how much of it has arrived."""

    key: tuple[str | None, str]
    files: list[tuple[str, int]] = field(default_factory=list)
    begun: bool = False
    done: bool = False
    watchers: set[asyncio.Event] = field(default_factory=set)

    def wake(self) -> None:
        for watcher in self.watchers:
            watcher.set()


class UploadProgress:
    """The uploads under way, for those who watch them.

    Belongs to one event loop.

    Args:
        max_uploads: Uploads at once, those that somebody only waits for included.
        wait: Seconds that a request for an upload still unknown waits for it to begin, and
            that an upload is remembered after its end.
    """

    def __init__(self, *, max_uploads: int = MAX_UPLOADS, wait: float = PROGRESS_WAIT) -> None:
        self._tracks: dict[tuple[str | None, str], _Track] = {}
        self._max_uploads = max_uploads
        self._wait = wait

    def begin(self, upload_id: str, owner: str | None) -> _Track | None:
        """Start to follow an upload; None if it cannot be, because there are too many."""
        track = self._tracks.get((owner, upload_id))
        if track is not None and track.done:
            self._forget(track)
            track = None
        if track is None:
            track = self._add(upload_id, owner)
        elif track.begun:
            return None  # somebody used the same id twice
        if track is not None:
            track.begun = True
            track.wake()
        return track

    def finish(self, track: _Track) -> None:
        """Note that an upload ended, well or not."""
        track.done = True
        track.wake()
        asyncio.get_running_loop().call_later(self._wait, self._forget, track)

    async def respond(self, request: Request, *, owner: str | None) -> Response:
        """Answer ``GET /upload_progress?upload_id=`` with a stream of events."""
        upload_id = request.query_params.get("upload_id", "")
        track = self._tracks.get((owner, upload_id)) or self._add(upload_id, owner)
        if track is None:
            return JSONResponse({"detail": "Upload not found"}, 404)
        if not await self._begun(track):
            return JSONResponse({"detail": "Upload not found"}, 404)
        return StreamingResponse(
            _events(track),
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
            media_type="text/event-stream",
        )

    def _add(self, upload_id: str, owner: str | None) -> _Track | None:
        if not 0 < len(upload_id) <= MAX_ID_SIZE or len(self._tracks) >= self._max_uploads:
            return None
        track = self._tracks[owner, upload_id] = _Track((owner, upload_id))
        return track

    def _forget(self, track: _Track) -> None:
        if self._tracks.get(track.key) is track:
            del self._tracks[track.key]

    async def _begun(self, track: _Track) -> bool:
        """Wait for the upload to begin, if it has not; say whether it has."""
        begun = asyncio.Event()
        track.watchers.add(begun)
        try:
            if not track.begun:
                async with asyncio.timeout(self._wait):
                    await begun.wait()
            return True
        except TimeoutError:
            return False
        finally:
            track.watchers.discard(begun)
            if not track.begun and not track.watchers:
                self._forget(track)


async def _events(track: _Track) -> AsyncIterator[bytes]:
    changed = asyncio.Event()
    track.watchers.add(changed)
    index = told = 0  # the file that is being told about, and how much of it was
    try:
        while True:
            changed.clear()
            while index < len(track.files):
                name, size = track.files[index]
                if size > told:
                    yield _event({"msg": "update", "orig_name": name, "chunk_size": size - told})
                    told = size
                elif index + 1 < len(track.files):
                    index, told = index + 1, 0
                else:
                    break
            if track.done:
                yield _event({"msg": "done"})
                return
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await changed.wait()
            except TimeoutError:
                yield _event({"msg": "heartbeat"})
    finally:
        track.watchers.discard(changed)


def _event(message: dict[str, str | int]) -> bytes:
    return b"data: " + msgspec.json.encode(message) + b"\n\n"


# -- downloads -----------------------------------------------------------------

SAFE_TYPES = frozenset({"application/json", "application/pdf", "text/plain"})
SAFE_KINDS = ("audio/", "image/", "video/")


async def download(request: Request, store: FileStore, path: str, *, owner: str | None) -> Response:
    """Answer ``GET`` or ``HEAD /file=<path>``.

    Files that a browser could take for a page of the server are sent as attachments.
    """
    try:
        file = store.open(path, owner=owner)
        status = await to_thread.run_sync(file.stat)
    except (FileNotAllowedError, FileNotFoundError):
        return _not_allowed(path)
    return _StoredFile(store, path, file, status)


def _not_allowed(path: str) -> Response:
    return JSONResponse({"detail": str(FileNotAllowedError(path))}, 403)


class _StoredFile(FileResponse):
    """A file that does not expire while it is sent."""

    def __init__(self, store: FileStore, path: str, file: Path, status: os.stat_result) -> None:
        type = media_type(file.name) or ""
        safe = type in SAFE_TYPES or (type.startswith(SAFE_KINDS) and type != "image/svg+xml")
        headers = {"cache-control": "private", "x-content-type-options": "nosniff"}
        if type != "application/pdf":  # browsers show no PDF in a sandbox
            headers["content-security-policy"] = "sandbox"
        super().__init__(
            file,
            headers=headers,
            media_type=type if safe else "application/octet-stream",
            filename=file.name,
            stat_result=status,
            content_disposition_type="inline" if safe else "attachment",
        )
        self._store = store
        self._wire_path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._store.retain(self._wire_path)
        except FileNotAllowedError:  # it expired this very moment
            await _not_allowed(self._wire_path)(scope, receive, send)
            return
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._store.release(self._wire_path)
