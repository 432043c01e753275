"""Files that callers send: naming them, and seeing that they can be sent."""

from __future__ import annotations

import os
import stat
import warnings
from typing import Any, NamedTuple

from jobwire.exceptions import FileError
from jobwire.protocol.files import FILE_META, FileInput, is_url

__all__ = ("LocalFile", "file", "handle_file")


def handle_file(filepath_or_url: str | os.PathLike[str]) -> dict[str, Any]:
    """Make a file an argument of a call: ``client.predict(handle_file("cat.png"))``.

    Nothing is read yet. The file is uploaded when the call is made, from wherever in the
    arguments this stands: in a list, or deep in a chat message.

    Args:
        filepath_or_url: A file of this machine, or an address with ``http://`` or
            ``https://`` that the app's server is to fetch. A relative path is meant from
            the directory that is the current one when the call is made.

    Returns:
        A dict, as ``gradio_client`` has it. Only what this function returned (or a deep
        copy of it) is uploaded; a plain dict of the same content names a file that the
        server has already.

    Raises:
        FileError: There is no such file, or it is a directory. (A ValueError.)
    """
    path = os.fspath(filepath_or_url)
    if is_url(path):
        name = path.partition("?")[0].partition("#")[0].rpartition("/")[2]
        return FileInput(path=path, meta=dict(FILE_META), orig_name=name, url=path)
    return FileInput(path=path, meta=dict(FILE_META), orig_name=LocalFile.at(path).name)


def file(filepath_or_url: str | os.PathLike[str]) -> dict[str, Any]:
    """The old name of `handle_file`, deprecated in ``gradio_client``, too."""
    warnings.warn(
        "file() has become handle_file(); use that name", DeprecationWarning, stacklevel=2
    )
    return handle_file(filepath_or_url)


class LocalFile(NamedTuple):
    """A file of this machine that can be sent.

    Attributes:
        path: Where it is, absolute.
        name: What it is called.
        size: Its bytes.
    """

    path: str
    name: str
    size: int

    @classmethod
    def at(cls, path: str, max_size: int | None = None) -> LocalFile:
        """Look at a file.

        Args:
            path: Where it should be.
            max_size: Bytes that the app takes; None for any number.

        Raises:
            FileError: It is not there, cannot be looked at, is no regular file, or is
                larger than ``max_size``.
        """
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            raise FileError(
                f"there is no file {path!r} on this machine ({error}), nor is it an address with "
                "http:// or https://",
                path=path,
            ) from None
        if stat.S_ISDIR(status.st_mode):
            raise FileError(
                f"{path!r} is a directory; send its files one by one, or an archive of it",
                path=path,
            )
        if not stat.S_ISREG(status.st_mode):
            raise FileError(
                f"{path!r} is no regular file, so nobody knows its size; write what it gives to "
                "a file, and send that",
                path=path,
            )
        if max_size is not None and status.st_size > max_size:
            raise FileError(
                f"{path!r} has {status.st_size} bytes, and the app takes no file larger than "
                f"{max_size}",
                path=path,
            )
        return cls(os.path.abspath(path), os.path.basename(path), status.st_size)

    def read(self) -> bytes:
        """Return what is in it; blocks.

        Raises:
            FileError: It cannot be read.
        """
        try:
            with open(self.path, "rb") as file:
                return file.read()
        except OSError as error:
            raise FileError(f"{self.path!r} cannot be read: {error}", path=self.path) from error
