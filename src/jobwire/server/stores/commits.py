"""Many changes in one transaction: what happens while one is written makes the next."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from jobwire.server.stores.base import StoreError
from jobwire.server.stores.entries import Entry
from jobwire.server.stores.journal import Batch, Journal

__all__ = ("Commits", "Pending")

MAX_PENDING_SIZE = 32 * 1024 * 1024
"""Bytes that wait to be written, before threads that write more have to wait."""

FLUSH_TIMEOUT = 5.0
"""Seconds for which `Commits.flush` waits for the disk."""

RETRY_INTERVAL = 0.5
"""Seconds after which what could not be written is tried again."""

_logger = logging.getLogger("jobwire.server")


class Pending(Batch):
    """A batch, and what is to be done when it is written."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted: list[Entry] = []
        self.touched: dict[Entry, int] = {}
        """Jobs with new events, and the number of the last one."""
        self.slots: list[int] = []
        """Of the marks that are not needed any more."""
        self.dead: list[str] = []
        self.size = 0
        self.is_empty = True


class Commits:
    """Writes one batch after the other, in a thread of its own.

    So a lone change waits for one commit, and many share it. What cannot be written is kept and
    tried again, but for new jobs: those are refused.

    Args:
        path: The database, for what is logged.
        lock: Held by who changes what is pending, and while `add`, `throttle` and `close` are
            called.
        on_commit: Called with each batch that was written. In the thread, without the lock.
        on_refusal: Called with the jobs that are refused, and why. Likewise.

    Attributes:
        pending: The batch that grows.
        closing: There will be no more.
    """

    def __init__(
        self,
        path: Path,
        lock: threading.Lock,
        *,
        on_commit: Callable[[Pending], None],
        on_refusal: Callable[[list[Entry], StoreError], None],
    ) -> None:
        self.pending = Pending()
        self.closing = False
        self._path = path
        self._lock = lock
        self._on_commit = on_commit
        self._on_refusal = on_refusal
        self._changed = threading.Condition(lock)
        self._written = threading.Condition(lock)
        self._writing = False
        self._failing = False
        self._thread: threading.Thread | None = None

    @property
    def over(self) -> bool:
        """Whether the last batch was written, and the database is not to be used any more."""
        return self.closing and self._thread is not None and not self._thread.is_alive()

    def start(self, journal: Journal) -> None:
        """Begin to write."""
        self._thread = threading.Thread(
            target=self._work, args=[journal], name="jobwire-store", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Accept no more; what is pending is written yet."""
        self.closing = True
        self._changed.notify_all()
        self._written.notify_all()

    def join(self) -> None:
        """Wait, without the lock, until that is done."""
        if self._thread is not None:
            self._thread.join()

    def add(self, size: int) -> None:
        """Have the pending batch written, which has grown by some bytes."""
        self.pending.size += size
        if self.pending.is_empty:
            self.pending.is_empty = False
            self._changed.notify()

    def throttle(self) -> None:
        """Let a thread that writes faster than the disk wait."""
        # The event loop must not: what it can write is bounded by the size of logs.
        while (
            self.pending.size > MAX_PENDING_SIZE
            and not self.closing
            and asyncio._get_running_loop() is None
        ):
            self._written.wait()

    def flush(self) -> None:
        """Wait, without the lock, until nothing is pending; `FLUSH_TIMEOUT` at most."""
        deadline = time.monotonic() + FLUSH_TIMEOUT
        with self._lock:
            while not self.closing and (self._writing or not self.pending.is_empty):
                if (left := deadline - time.monotonic()) <= 0:
                    return  # the disk is full
                self._written.wait(left)

    def _work(self, journal: Journal) -> None:
        while True:
            with self._lock:
                while self.pending.is_empty and not self.closing:
                    self._changed.wait()
                if self.pending.is_empty:
                    return
                batch, self.pending = self.pending, Pending()
                self._writing = True
            try:
                journal.write(batch)
            except sqlite3.Error as error:
                if not self._put_back(batch, error):
                    return
            else:
                self._failing = False
                self._on_commit(batch)
                with self._lock:
                    self._rest()

    def _put_back(self, batch: Pending, error: sqlite3.Error) -> bool:
        """Refuse the jobs of a batch that could not be written, and keep the rest for later.

        Returns:
            Whether there will be a later.
        """
        if not self._failing:
            _logger.error("the store %s cannot be written to: %s", self._path, error)
        self._failing = True
        refused = {entry.number for entry in batch.accepted}
        self._on_refusal(batch.accepted, StoreError(f"the store cannot keep the job: {error}"))
        batch.holds = [hold for hold in batch.holds if hold[0] not in refused]
        with self._lock:
            self._merge(batch)
            if self.closing:
                _logger.error("what happened last is lost: %s", error)
                self._rest()
                return False
            # A new job is to learn of it soon, whatever else there is to be written.
            deadline = time.monotonic() + RETRY_INTERVAL
            while not self.pending.accepted:
                left = deadline - time.monotonic()
                if left <= 0 or self.closing:
                    break
                self.pending.is_empty = True  # so that the next one wakes us
                self._changed.wait(left)
            self.pending.is_empty = False
            self._writing = False
        return True

    def _merge(self, batch: Pending) -> None:
        """Put what is left of a batch before what is pending by now."""
        later = self.pending
        for name in ("events", "started", "requeued", "ended", "forgotten", "files", "holds",
                     "removed_files", "slots", "dead"):  # fmt: skip
            getattr(batch, name).extend(getattr(later, name))
        batch.jobs, batch.accepted = later.jobs, later.accepted
        batch.touched |= later.touched
        batch.size += later.size
        batch.reserved = later.reserved or batch.reserved
        batch.is_empty = False
        self.pending = batch

    def _rest(self) -> None:
        self._writing = False
        self._written.notify_all()
