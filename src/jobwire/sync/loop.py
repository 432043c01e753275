"""One event loop in one thread, for every blocking client of the process."""

from __future__ import annotations

import _thread
import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from jobwire.exceptions import ClientClosedError, LocalProtocolError
from jobwire.sync.callbacks import CallbackThreads

if TYPE_CHECKING:
    from jobwire.client.client import AsyncClient

__all__ = ("LoopThread", "loop_thread")

T = TypeVar("T")

_EXIT_TIMEOUT = 2.0
"""Seconds that clients have to close when the interpreter exits. A server that does
not answer must not keep a program from ending."""


class LoopThread:
    """A daemon thread that runs an event loop, and others for users' callbacks, when there are any.

    Every method may be called from any thread.

    Attributes:
        callbacks: Calls users' functions. Never in the loop's thread: what blocks there stops
            every job of the process.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._start_new_thread = _thread.start_new_thread
        self._loop = asyncio.new_event_loop()
        self._clients: weakref.WeakSet[AsyncClient] = weakref.WeakSet()
        self.callbacks = CallbackThreads(self._later)
        self._thread = threading.Thread(target=self._main, name="jobwire", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and wait for it.

        If the wait is interrupted, by Ctrl-C for one, the coroutine is cancelled.

        Raises:
            LocalProtocolError: As `check`; or called from the loop's own thread, where
                waiting would never end.
            BaseException: Whatever the coroutine raises.
        """
        future = self.start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @property
    def inherited(self) -> bool:
        """Whether this is a forked child, where the thread does not run."""
        return os.getpid() != self._pid

    @property
    def stranded(self) -> bool:
        """Whether gevent has patched threads since: it cannot wait for one from before."""
        return _thread.start_new_thread is not self._start_new_thread

    def check(self) -> None:
        """Raise LocalProtocolError where a wait for the loop would never end."""
        if self.inherited:
            raise LocalProtocolError(
                "this client was made before os.fork(); its connections belong to the parent. "
                "Make a client in the child"
            )
        if self.stranded:
            raise LocalProtocolError(
                "this client was made before gevent's monkey.patch_all(), which cannot wait for "
                "threads from before; patch first, then make the client"
            )

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine in the loop and return its future.

        Raises:
            LocalProtocolError: As `run`.
            ClientClosedError: The interpreter exits, and has closed every client.
        """
        try:
            self.check()
            if threading.current_thread() is self._thread:
                raise LocalProtocolError(
                    "a blocking call from inside jobwire's event loop would wait for itself; "
                    "use AsyncClient in asynchronous code"
                )
            try:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
            except RuntimeError:  # the loop is closed
                raise ClientClosedError(
                    "the interpreter is exiting; every client is closed"
                ) from None
        except BaseException:
            work.close()
            raise

    def _later(self, delay: float, fn: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._loop.call_later, delay, fn)

    def adopt(self, client: AsyncClient) -> None:
        """Close the client when the interpreter exits, if nobody did."""
        self._clients.add(client)

    def discard(self, client: AsyncClient) -> None:
        """Close a client that nobody uses any more. Does not wait, whatever the thread."""
        if not self.inherited and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(client.aclose(), self._loop)

    def stop(self) -> None:
        """Close every client, then end the threads."""
        if self.inherited or self.stranded or not self._thread.is_alive():
            return

        async def close_all() -> None:
            await asyncio.gather(
                *(client.aclose() for client in list(self._clients)), return_exceptions=True
            )

        with contextlib.suppress(TimeoutError):
            self.start(close_all()).result(_EXIT_TIMEOUT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_EXIT_TIMEOUT)


_current: LoopThread | None = None
_current_lock = threading.Lock()


def loop_thread() -> LoopThread:
    """Return the process's loop thread; starts it the first time."""
    global _current
    with _current_lock:
        if _current is None or _current.stranded:
            _current = LoopThread()
            atexit.register(_current.stop)
        return _current


def _after_fork_in_child() -> None:
    # Neither the thread nor the state of the lock came along.
    global _current, _current_lock
    _current = None
    _current_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
