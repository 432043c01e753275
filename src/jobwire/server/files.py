"""The files of the server: what sessions uploaded and what endpoints returned.

A client names a file by an opaque path, ``<token>/<name>``. It is looked up in a table and
never joined onto a directory, so no path that a client can write leads anywhere else.
"""

from __future__ import annotations

import errno
import mimetypes
import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from jobwire.exceptions import JobwireError, shown
from jobwire.protocol.files import clean_name

if TYPE_CHECKING:
    from jobwire.server.stores.base import FileIndex

__all__ = ("FileNotAllowedError", "FileStore", "media_type")

MAX_FILES = 1_000_000
"""Files at once, however small: each takes a kilobyte of memory and a directory."""

TOKEN_SIZE = 16
"""Random bytes that guard a file: 128 bits cannot be guessed."""


class FileNotAllowedError(JobwireError):
    """No such file, or not for this user: the two cannot be told apart.

    Attributes:
        path: What was asked for.
    """

    def __init__(self, path: str) -> None:
        super().__init__(f"File not allowed: {shown(path)}.")
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)


@dataclass(slots=True)
class _Entry:
    name: str
    owner: str | None
    directory: Path
    uses: int = 0
    size: int = 0


class FileStore:
    """Files, each in a directory of its own with an unguessable name.

    A file expires ``ttl`` seconds after it was made, or after the last of those who retained
    it released it. Safe to use from several threads.

    Args:
        root: Where the files lie; None makes a private temporary directory at first use, and
            `close` removes it.
        max_file_size: Bytes of an uploaded file at most; None for no limit.
        max_size: Bytes of all files at most; None for no limit.
        ttl: Seconds that a file is kept while nobody uses it.
        index: Where to note the files, so that they outlive the process; ``root`` is needed, and
            `close` leaves them there. Files from before are taken over. None forgets them.
        clock: Gives monotonic seconds.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        max_file_size: int | None,
        max_size: int | None = None,
        ttl: float,
        index: FileIndex | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index = index
        self.max_file_size = max_file_size
        self._max_size = max_size
        self._size = 0
        self._root = root
        self._ttl = ttl
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        # When each unused file is due. One ttl for all, so this is in order of time.
        self._idle: OrderedDict[str, float] = OrderedDict()
        self._remove_root: Callable[[], object] | None = None
        self._closed = False
        if index is not None and root is not None and root.is_dir():
            self._take_over(index, root)

    def _take_over(self, index: FileIndex, root: Path) -> None:
        lost = set(os.listdir(root))
        due = self._clock() + self._ttl
        for token, name, owner in index.load_files():
            if token not in lost:
                index.remove_file(token)
                continue
            lost.discard(token)
            directory = root / token
            entry = self._entries[token] = _Entry(name, owner, directory)
            with suppress(OSError):
                entry.size = (directory / name).stat().st_size
            self._size += entry.size
            self._idle[token] = due
        for token in lost:  # the process died before it was noted
            shutil.rmtree(root / token, ignore_errors=True)

    def create(self, name: str, *, owner: str | None) -> tuple[str, Path]:
        """Make room for a file.

        Args:
            name: What somebody calls the file; it is made harmless.
            owner: The user who alone may read it; None if nobody logs in.

        Returns:
            The opaque path that clients name it by, and where to write it.

        Raises:
            OSError: There are too many files (``ENOSPC``).
        """
        name = clean_name(name)
        token = secrets.token_hex(TOKEN_SIZE)
        with self._lock:
            if self._closed:
                raise JobwireError("the file store is closed")
            if len(self._entries) >= MAX_FILES:
                raise OSError(errno.ENOSPC, f"the server keeps no more files than {MAX_FILES}")
            directory = self._made_root() / token
            directory.mkdir(mode=0o700)
            self._entries[token] = _Entry(name, owner, directory)
            self._idle[token] = self._clock() + self._ttl
            if self._index is not None:
                self._index.add_file(token, name, owner)
        return f"{token}/{name}", directory / name

    def reserve(self, path: str, size: int) -> None:
        """Count the bytes that are about to be written to a file.

        Raises:
            OSError: There is no room for them (``ENOSPC``).
        """
        with self._lock:
            if self._max_size is not None and self._size + size > self._max_size:
                raise OSError(
                    errno.ENOSPC,
                    f"the server keeps no more files: {self._size} of {self._max_size} bytes are "
                    f"taken, {size} more do not fit",
                )
            _, entry = self._find(path)
            entry.size += size
            self._size += size

    def open(self, path: str, *, owner: str | None) -> Path:
        """Return where a file lies.

        Args:
            path: What the client sent: the opaque path, perhaps with a leading slash, or
                encoded once too often or too seldom.
            owner: Who asks.

        Raises:
            FileNotAllowedError: There is no such file, or it is somebody else's.
        """
        with self._lock:
            _, entry = self._find(path)
            if entry.owner != owner:
                raise FileNotAllowedError(path)
            return entry.directory / entry.name

    def publish(self, source: Path, *, owner: str | None) -> dict[str, Any]:
        """Copy in a file that an endpoint returned. Blocks.

        Returns:
            The file's description as it goes over the wire, its ``url`` still to be set.

        Raises:
            OSError: There is no such file, it cannot be read, it is no regular file, or there
                is no room for it.
        """
        try:
            status = source.stat()
        except FileNotFoundError:
            raise FileNotFoundError(
                f"the endpoint returned the file {str(source)!r}, which does not exist"
            ) from None
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(
                f"the endpoint returned the directory {str(source)!r}; return a file, such as "
                "an archive of it"
            )
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"the endpoint returned {str(source)!r}, which is no regular file")
        path, target = self.create(source.name, owner=owner)
        try:
            self.reserve(path, status.st_size)
            shutil.copyfile(source, target)
            size = target.stat().st_size
            self.reserve(path, size - status.st_size)  # somebody may still be writing to it
        except BaseException:
            self.discard(path)
            raise
        return {
            "path": path,
            "url": None,
            "size": size,
            "orig_name": target.name,
            "mime_type": media_type(target.name),
            "is_stream": False,
            "meta": {"_type": "gradio.FileData"},
        }

    def retain(self, path: str) -> None:
        """Keep a file until it is released as often as it was retained.

        Raises:
            FileNotAllowedError: There is no such file any more.
        """
        with self._lock:
            token, entry = self._find(path)
            entry.uses += 1
            self._idle.pop(token, None)

    def release(self, path: str) -> None:
        """Undo one `retain`. Harmless if the file is gone."""
        with self._lock:
            try:
                token, entry = self._find(path)
            except FileNotAllowedError:
                return
            if entry.uses:
                entry.uses -= 1
                if not entry.uses:
                    self._idle[token] = self._clock() + self._ttl

    def discard(self, path: str) -> None:
        """Delete a file, whoever retains it. Harmless if it is gone."""
        with self._lock:
            try:
                token, entry = self._find(path)
            except FileNotAllowedError:
                return
            del self._entries[token]
            self._idle.pop(token, None)
            self._size -= entry.size
            if self._index is not None:
                self._index.remove_file(token)
        shutil.rmtree(entry.directory, ignore_errors=True)

    def expire(self) -> float | None:
        """Delete what is due.

        Returns:
            Seconds until the next file is due; None if none waits for that.
        """
        due: list[_Entry] = []
        rest = None
        with self._lock:
            now = self._clock()
            while self._idle:
                token, when = next(iter(self._idle.items()))
                if when > now:
                    rest = when - now
                    break
                del self._idle[token]
                due.append(self._entries.pop(token))
                if self._index is not None:
                    self._index.remove_file(token)
                self._size -= due[-1].size
        for entry in due:
            shutil.rmtree(entry.directory, ignore_errors=True)
        return rest

    def close(self) -> None:
        """Delete every file, unless they are noted. Harmless when repeated."""
        with self._lock:
            self._closed = True
            if self._index is not None:
                return
            entries = list(self._entries.values())
            self._entries.clear()
            self._idle.clear()
        for entry in entries:
            shutil.rmtree(entry.directory, ignore_errors=True)
        if self._remove_root is not None:
            self._remove_root()

    def _made_root(self) -> Path:
        if self._root is None:
            root = tempfile.mkdtemp(prefix="jobwire-")  # nobody else may enter it
            self._remove_root = weakref.finalize(self, _remove, root, os.getpid())
            self._root = Path(root)
        else:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._root

    def _find(self, path: str) -> tuple[str, _Entry]:
        for given in (path, unquote(path)):
            token, _, name = given.removeprefix("/").partition("/")
            entry = self._entries.get(token)
            if entry is not None and _same_name(entry.name, name):
                return token, entry
        raise FileNotAllowedError(path)


def media_type(name: str) -> str | None:
    """Return the media type that a file's suffix stands for; None if it stands for none."""
    # The whole name would be taken for a URL.
    type, encoding = mimetypes.guess_type("file" + Path(name).suffix)
    return type if encoding is None else None


def _same_name(stored: str, given: str) -> bool:
    # Clients up to 1.x put the path into a URL as it is: what follows # or ? is then lost on
    # the way, and what looks encoded is decoded. Others encode once more than needed.
    return (
        given in (stored, unquote(stored), unquote(re.split("[?#]", stored, maxsplit=1)[0]))
        or unquote(given) == stored
    )


def _remove(root: str, pid: int) -> None:
    if os.getpid() == pid:  # not in a forked child that ends first
        shutil.rmtree(root, ignore_errors=True)
