"""Puts the content of files into the arguments of a call, for servers that want it there."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Mapping
from typing import Any

from jobwire.client.files import LocalFile
from jobwire.client.tasks import all_of
from jobwire.client.transfer import FileTransfer, reported
from jobwire.protocol.files import FileInput, file_name, is_file, replace_values
from jobwire.protocol.inline import inline_url, is_inline

__all__ = ("with_contents",)


async def with_contents(
    argument: Any, here: Mapping[str, LocalFile], transfer: FileTransfer
) -> Any:
    """Return an argument with the content of each of its files in the file's ``url``.

    Args:
        argument: Anything, with FileData and `FileInput` in it.
        here: The files of this machine among them, by the path that the `FileInput` has.
        transfer: Fetches what is at the app.

    Raises:
        FileError: A file of this machine cannot be read.
        DownloadError: One of the app's could not be had.
    """
    files: list[dict[str, Any]] = []
    replace_values(argument, _lacks_content, files.append)
    urls: dict[int, str] = {}

    async def read(file: dict[str, Any]) -> None:
        if isinstance(file, FileInput):
            content = await asyncio.to_thread(here[file["path"]].read)
        else:
            with reported(file, transfer.url(file)):
                content = b"".join([piece async for piece in transfer.content(file)])
        kind, _ = mimetypes.guess_type(file_name(file))
        urls[id(file)] = inline_url(content, kind)

    await all_of(map(read, files))
    return replace_values(argument, _lacks_content, lambda file: {**file, "url": urls[id(file)]})


def _lacks_content(file: Any) -> bool:
    return isinstance(file, FileInput) or (is_file(file) and not is_inline(file.get("url")))
