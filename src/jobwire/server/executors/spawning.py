"""A worker process, as the server has it: started, talked to, killed, and never left behind."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import wait

import msgspec

from jobwire.server.errors import WorkerError
from jobwire.server.executors.base import WORKER_NAME
from jobwire.server.executors.guard import Guard
from jobwire.server.executors.messages import Order, Report, decode_report, encode
from jobwire.server.executors.worker import main
from jobwire.server.modules import FILES

__all__ = ("WorkerProcess",)

_context = multiprocessing.get_context("spawn")
"""Never forked: a copy of a process with threads and open connections is in no known state."""

_alive: set[WorkerProcess] = set()
_lock = threading.Lock()
"""Of those, and of what the library keeps of its processes, which it does not guard itself."""
_exiting = False

_guard = Guard()


class WorkerProcess:
    """A process that was just started; it ends at the latest with this one.

    One thread at a time may talk to it, except that any may `send` and `kill`.

    Raises:
        WorkerError: The system starts no more processes.

    Attributes:
        connection: To wait for its reports.
        pid: Its number.
        calls: How many it was given.
        dead: It was killed, or ended.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.prepared: set[str] = set()
        """The endpoints whose functions it has."""
        self.dead = False
        self._sending = threading.Lock()
        self._ending = threading.Lock()
        try:
            self.connection, theirs = _context.Pipe()
        except OSError as error:
            raise WorkerError(f"a worker process could not be started: {error}") from error
        level = logging.getLogger().getEffectiveLevel()
        # Not a daemon: those may have no children. Who kills it is `_kill_all`.
        self._process = _context.Process(target=main, args=(theirs, FILES, level), name=WORKER_NAME)
        try:
            with _lock:
                if _exiting:
                    raise RuntimeError("the interpreter is about to end")
                self._process.start()
                _alive.add(self)
            self.pid = self._process.pid or 0
            _guard.watch(self.pid)
        except BaseException as error:
            self.connection.close()
            raise WorkerError(f"a worker process could not be started: {error}") from error
        finally:
            theirs.close()

    def send(self, order: Order) -> None:
        """Send an order; blocks while the worker does not read.

        Raises:
            OSError: It has ended.
        """
        frame = encode(order)
        with self._sending:
            self.connection.send_bytes(frame)

    def receive(self) -> Report:
        """Wait for what it reports.

        Raises:
            EOFError, OSError: It has ended.
        """
        frame = self.connection.recv_bytes()
        try:
            return decode_report(frame)
        except msgspec.MsgspecError as error:  # a function has written into the connection
            raise EOFError("what it sent makes no sense") from error

    def kill(self) -> None:
        """End it at once, and all that it started. Harmless when repeated."""
        with self._ending:
            if self.dead:
                return
            self.dead = True
            self._kill()

    def reap(self, grace: float = 0.0) -> int | None:
        """Wait until it has ended, and forget it.

        Args:
            grace: Seconds that it may take to end by itself. It is told by the end of the
                connection.

        Returns:
            Its exit code, as in `WorkerError`.
        """
        self.connection.close()
        if grace and not self.dead:
            wait([self._process.sentinel], grace)
        with self._ending:
            self.dead = True
            self._kill()
            with _lock:
                self._process.join()
                code = self._process.exitcode
                if not _exiting:  # the library looks at it once more then
                    self._process.close()
                _alive.discard(self)
            _guard.forget(self.pid)
        return code

    def _kill(self) -> None:
        if hasattr(os, "killpg"):
            with suppress(OSError):  # it has no group yet, or is no more
                os.killpg(self.pid, signal.SIGKILL)
        with suppress(OSError, ValueError):
            self._process.kill()


def _kill_all() -> None:
    global _exiting
    with _lock:
        _exiting = True
        alive = list(_alive)
    for worker in alive:
        worker.kill()
    _guard.close()


def _forget_all() -> None:
    """In a fork of this process: its workers are not the fork's, to talk to or to kill."""
    global _lock, _guard
    _lock, _guard = threading.Lock(), Guard()
    for worker in _alive:
        worker.connection.close()
    _alive.clear()


# Later than those of `multiprocessing`, which would wait for the workers, and so run earlier.
atexit.register(_kill_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
