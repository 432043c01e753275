"""Brings the files of one job's outputs to this machine, as they come."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from jobwire.client.tasks import all_of
from jobwire.client.transfer import FileTransfer, local_name, reported
from jobwire.exceptions import DownloadError
from jobwire.protocol.files import FileKey, file_key, is_file, replace_values
from jobwire.protocol.media import is_media_stream
from jobwire.protocol.outputs import OutputCursor, OutputLog
from jobwire.protocol.schema import Endpoint
from jobwire.types import OutputUpdate

__all__ = ("Fetch",)


class Fetch:
    """Reads a job's outputs ahead of everybody else, and fetches the files that they name.

    Each output is released once its files are there. One after the other, in order; the
    files of one output at once.

    Args:
        transfer: Fetches them.
        endpoint: Whose outputs.
        directory: Where to.
    """

    def __init__(self, transfer: FileTransfer, endpoint: Endpoint, directory: Path) -> None:
        self._transfer = transfer
        self._holds = [component.holds_files for component in endpoint.outputs]
        self._directory = directory
        self._paths: dict[FileKey, Path] = {}
        self._streams: dict[FileKey, int] = {}  # how many segments of each are there
        self._cursor: OutputCursor | None = None

    def path(self, data: Mapping[str, Any]) -> str:
        """Return where a file that was fetched is."""
        return str(self._paths[file_key(data)])

    def behind(self, log: OutputLog) -> bool:
        """Whether there is something to fetch, or to release."""
        return log.readable < log.size

    async def run(self, log: OutputLog) -> None:
        """Fetch and release what there is in the log.

        Raises:
            DownloadError: A file could not be had. It and what follows stays held back.
        """
        cursor = self._cursor = self._cursor or OutputCursor(log, with_result=True, ahead=True)
        while (entry := cursor.next()) is not None:
            if isinstance(entry, OutputUpdate):
                await self._bring(entry.outputs, final=entry.final)
            log.release(cursor.position)
        # Outputs that could not be rebuilt were passed over.
        log.release(cursor.position)

    async def _bring(self, values: list[Any], *, final: bool) -> None:
        wanted: dict[FileKey, dict[str, Any]] = {}

        def want(data: dict[str, Any]) -> dict[str, Any]:
            wanted[file_key(data)] = data
            return data

        for value, holds in zip(values, self._holds, strict=False):
            if holds:
                replace_values(value, is_file, want)
        try:
            await all_of(
                self._follow(key, data, final=final)
                if is_media_stream(data)
                else self._download(key, data)
                for key, data in wanted.items()
                if is_media_stream(data) or key not in self._paths
            )
        except DownloadError as error:
            error.output = values
            raise

    async def _download(self, key: FileKey, data: Mapping[str, Any]) -> None:
        self._paths[key] = await self._transfer.download(data, self._directory)

    async def _follow(self, key: FileKey, data: Mapping[str, Any], *, final: bool) -> None:
        """Append to a file what a stream has more by now; all that comes, if it is final.

        It is one file that grows from output to output, so it has no name of its content.
        """
        path = self._paths.get(key)
        if path is None:
            folder = (self._directory / secrets.token_hex(32)).absolute()
            path = self._paths[key] = folder / local_name(data)
        segments: AsyncGenerator[bytes] = self._transfer.segments(
            data, self._streams.get(key, 0), follow=final
        )
        with reported(data, self._transfer.url(data)):
            await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
            async with aclosing(segments):
                size = await asyncio.to_thread(_append, path, b"")
                async for segment in segments:
                    self._transfer.check_size(size + len(segment), data)
                    size = await asyncio.to_thread(_append, path, segment)
                    self._streams[key] = self._streams.get(key, 0) + 1


def _append(path: Path, segment: bytes) -> int:
    with path.open("ab") as file:
        file.write(segment)
        return file.tell()
