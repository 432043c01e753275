"""A process that outlives the server by a moment, to kill what the server cannot any more.

A worker notices by itself that its server is gone, unless a function keeps its threads from
running, and it cannot speak for the processes that its functions started. The guard is told
of each worker's group of processes, and kills those that are left when the pipe ends. It is
a program of its own, which imports nothing but what comes with Python, so that it starts
quickly and takes little memory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress

__all__ = ("Guard",)


EXIT_TIME = 2.0
"""Seconds to wait for its end, which takes milliseconds."""


class Guard:
    """The guard, as the server has it: started at first use, and once. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self, group: int) -> None:
        """Kill a group of processes if this process ends before it."""
        self._tell(b"+%d\n" % group)

    def forget(self, group: int) -> None:
        """The group is no more."""
        self._tell(b"-%d\n" % group)

    def close(self) -> None:
        """End it. It kills those that it still watches."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(EXIT_TIME)

    def _tell(self, line: bytes) -> None:
        if not hasattr(os, "killpg"):
            return
        with self._lock, suppress(OSError):  # without it, all is well but the worst
            if self._process is None:
                self._process = subprocess.Popen(  # noqa: S603
                    [sys.executable, "-IS", __file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    bufsize=0,
                    start_new_session=True,
                )
            assert self._process.stdin is not None  # noqa: S101
            self._process.stdin.write(line)


def main(lines: Iterable[bytes]) -> None:
    """Be the guard, until the lines end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in lines:
        (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
    for group in groups:
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.stdin.buffer)
