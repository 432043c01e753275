"""A file that an app gave, for plain code."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from jobwire.client.result import AsyncFileReader, AsyncFileResult
from jobwire.exceptions import ClientClosedError, LocalProtocolError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from jobwire.sync.client import Client
    from jobwire.sync.loop import LoopThread

__all__ = ("FileResult",)

_BUFFER = 1024 * 1024
"""Bytes that are read ahead of the reader: each read from the network changes threads."""


class FileResult:
    """A file of a job's outputs, which stays on the server until it is asked for.

    What a client that was made with ``download_files="lazy"`` gives in place of files.
    Any number of threads may use it at once. See `AsyncFileResult`.
    """

    def __init__(self, client: Client, file: AsyncFileResult) -> None:
        # Holding the client keeps it from being closed as garbage before the file is had.
        self._client = client
        self.asynchronous = file

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FileResult):
            return NotImplemented
        return self.asynchronous == other.asynchronous

    def __hash__(self) -> int:
        return hash(self.asynchronous)

    @property
    def data(self) -> dict[str, Any]:
        """What the server said of it. See `AsyncFileResult.data`."""
        return self.asynchronous.data

    @property
    def url(self) -> str:
        """Where it is fetched. See `AsyncFileResult.url`."""
        return self.asynchronous.url

    @property
    def name(self) -> str:
        """What it is called. See `AsyncFileResult.name`."""
        return self.asynchronous.name

    @property
    def size(self) -> int | None:
        """Its bytes; None if the server did not say."""
        return self.asynchronous.size

    @property
    def mime_type(self) -> str | None:
        """Its media type; None if the server did not say."""
        return self.asynchronous.mime_type

    def bytes(self) -> builtins.bytes:
        """Fetch it into memory, whole; blocks. See `AsyncFileResult.bytes`."""
        return self._client._loop.run(self.asynchronous.bytes())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Fetch it to a file of this machine; blocks. See `AsyncFileResult.save`."""
        return self._client._loop.run(self.asynchronous.save(path))

    def open(self) -> BinaryIO:
        """Open it for reading as it arrives; nothing is kept of what was read.

        A buffered binary file that cannot seek; each read blocks until there is something.
        Close it, or use it in a ``with`` statement: that drops the connection. Reading
        raises `DownloadError` where the file could not be had.
        """
        raw = _Raw(self._client._loop, self.asynchronous.open())
        return cast("BinaryIO", io.BufferedReader(raw, _BUFFER))


class _Raw(io.RawIOBase):
    """Reads in the loop's thread, at the first read from a connection opened for it."""

    def __init__(
        self, loop: LoopThread, context: AbstractAsyncContextManager[AsyncFileReader]
    ) -> None:
        self._loop = loop
        self._context = context
        self._reader: AsyncFileReader | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        if self._reader is None:
            self._reader = self._loop.run(self._enter())
        data = self._loop.run(self._reader.read(len(view)))
        view[: len(data)] = data
        return len(data)

    async def _enter(self) -> AsyncFileReader:
        return await self._context.__aenter__()

    async def _exit(self) -> None:
        await self._context.__aexit__(None, None, None)

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        if self._reader is not None:
            # Collected as garbage in the loop's thread, or at the interpreter's exit: the
            # connection goes with the client.
            with contextlib.suppress(LocalProtocolError, ClientClosedError):
                self._loop.run(self._exit())
