"""What must be known after a crash before it could be written to the database: which jobs
have been started.

A job must not run twice, so that it runs has to be noted before it does. To wait for the
database each time would cost every job a commit, so the note goes into a file that is mapped
into memory: that takes no system call, and what was written there survives the death of the
process, since it is the kernel's. It is erased as soon as the database has it.
"""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

from jobwire.server.stores.base import StoreError

__all__ = ("Marks",)

SLOTS = 65_536
"""Jobs that can be marked at once: those that were started since the last commit."""

_SIZE = 8  # bytes of a number


class Marks:
    """Numbers in a file that outlive the process. Not thread-safe.

    The file is locked as long as it is open, so it also says that nobody else has the store.

    Args:
        path: The file; it is made if there is none.

    Raises:
        StoreError: Somebody else has it open.
        OSError: It cannot be made or opened.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(self._fd, path)
            os.ftruncate(self._fd, SLOTS * _SIZE)
            self._map = mmap.mmap(self._fd, SLOTS * _SIZE)
        except BaseException:
            os.close(self._fd)
            raise
        # The last one first, so that those that were used last are used again.
        self._free = list(range(SLOTS - 1, -1, -1))

    def read(self) -> set[int]:
        """Return the numbers that the process before this one has left."""
        numbers = memoryview(self._map).cast("q")
        try:
            return {number for number in numbers if number}
        finally:
            numbers.release()

    def clear(self) -> None:
        """Erase all numbers."""
        self._map[:] = bytes(SLOTS * _SIZE)

    @property
    def room(self) -> int:
        """How many more there is room for."""
        return len(self._free)

    def set(self, number: int) -> int:
        """Write a number, if there is room; return its slot."""
        slot = self._free.pop()
        self._map[slot * _SIZE : (slot + 1) * _SIZE] = number.to_bytes(_SIZE, sys.byteorder)
        return slot

    def erase(self, slot: int) -> None:
        """Erase the number in a slot."""
        self._map[slot * _SIZE : (slot + 1) * _SIZE] = bytes(_SIZE)
        self._free.append(slot)

    def close(self) -> None:
        """Unlock the file."""
        self._map.close()
        os.close(self._fd)


if sys.platform == "win32":

    def _lock(fd: int, path: Path) -> None:
        import msvcrt

        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            raise _taken(path) from None

else:

    def _lock(fd: int, path: Path) -> None:
        import fcntl

        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(path) from None


def _taken(path: Path) -> StoreError:
    return StoreError(
        f"another server has {path} locked; stop it, or give each server a store of its own"
    )
