"""A file that an app gave, for asynchronous code."""

from __future__ import annotations

import builtins
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Self

from jobwire.client.transfer import FileTransfer, local_name, reported

__all__ = ("AsyncFileReader", "AsyncFileResult")


class AsyncFileResult:
    """A file of a job's outputs, which stays on the server until it is asked for.

    What a client that was made with ``download_files="lazy"`` gives in place of files.
    Servers delete files some time after the job, an hour or a day. Any number of tasks of
    the client's loop may use it at once. It can be an argument of another call to the same
    app: nothing is transferred then.
    """

    def __init__(self, transfer: FileTransfer, data: Mapping[str, Any]) -> None:
        self._transfer = transfer
        self._data = dict(data)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AsyncFileResult):
            return NotImplemented
        return self._transfer is other._transfer and self._data == other._data

    def __hash__(self) -> int:
        return hash((id(self._transfer), str(self._data.get("path"))))

    @property
    def data(self) -> dict[str, Any]:
        """What the server said of it, its FileData (a copy)."""
        return dict(self._data)

    @property
    def url(self) -> str:
        """Where it is fetched; of a stream, its playlist. It may take the client's login.

        A ``data:`` URL if the file came in the value itself.
        """
        return self._transfer.url(self._data)

    @property
    def name(self) -> str:
        """What it is called, without directories and fit for this file system."""
        return local_name(self._data)

    @property
    def size(self) -> int | None:
        """Its bytes; None if the server did not say."""
        size = self._data.get("size")
        return size if isinstance(size, int) else None

    @property
    def mime_type(self) -> str | None:
        """Its media type; None if the server did not say."""
        kind = self._data.get("mime_type")
        return kind if isinstance(kind, str) else None

    def belongs_to(self, transfer: FileTransfer) -> bool:
        """Whether it came the same way, hence from the same app to the same client."""
        return self._transfer is transfer

    async def bytes(self) -> builtins.bytes:
        """Fetch it into memory, whole. Of a stream: what it is when it has ended.

        Raises:
            DownloadError: It could not be had, or is larger than ``max_download_size``.
        """
        async with self.open() as reader:
            return await reader.read()

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Fetch it to a file of this machine, whole or not at all.

        Args:
            path: Where to; a directory that is there gets it under its own `name`. A file
                that is there is replaced. Directories that are missing are made.

        Returns:
            Where it is now.

        Raises:
            DownloadError: It could not be had, is larger than ``max_download_size``, or
                could not be written.
        """
        return await self._transfer.save(self._data, Path(path))

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[AsyncFileReader]:
        """Open it for reading as it arrives; nothing is kept of what was read.

        ::

            async with result.open() as reader:
                async for chunk in reader:
                    ...

        Leaving the context before the end drops the connection. What is read raises
        `DownloadError` where it could not be had.
        """
        content = self._transfer.content(self._data)
        async with aclosing(content):
            yield AsyncFileReader(self._reported(content))

    async def _reported(
        self, content: AsyncIterator[builtins.bytes]
    ) -> AsyncIterator[builtins.bytes]:
        with reported(self._data, self.url):
            async for chunk in content:
                yield chunk


class AsyncFileReader:
    """Reads a file as it arrives: iterate over it, or `read`. For one task at a time."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._rest:
            rest, self._rest = self._rest, b""
            return rest
        return await anext(self._chunks)

    async def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end; all that is left if negative.

        Raises:
            DownloadError: It could not be had.
        """
        pieces: list[bytes] = []
        have = 0
        while size < 0 or have < size:
            try:
                piece = await anext(self)
            except StopAsyncIteration:
                break
            pieces.append(piece)
            have += len(piece)
        data = b"".join(pieces)
        if 0 <= size < len(data):
            data, self._rest = data[:size], data[size:]
        return data
