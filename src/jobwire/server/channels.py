"""The sessions of callers, and what each of them has not been told yet."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from jobwire.exceptions import QueueFullError
from jobwire.protocol.messages import Estimation, Progress, encode_message
from jobwire.server.context import Session
from jobwire.server.delivery import Bell, Delivery
from jobwire.server.queue import Queue
from jobwire.server.stores.base import JobNotFoundError, Store
from jobwire.types import ProgressUnit

__all__ = ("Channel", "Channels")

CHUNK_SIZE = 256 * 1024
"""Bytes that are collected for one write: enough for the cost of a write not to matter,
little enough to hold for each slow reader."""

PROGRESS_INTERVAL = 0.05
"""Seconds between two messages of progress for one session; people see no more than that."""

RANK_INTERVAL = 1.0
"""Seconds after which a waiting job's rank is looked at again."""

EVICTION_TRIES = 16
"""How many of the oldest sessions are looked at to make room for a new one."""

RANKS_PER_SECOND = 100
"""How many ranks a session is told in a second, however many of its jobs wait."""


class Channel:
    """What goes to one session: the events of all its jobs, in one stream.

    Ranks and progress are not events: they are looked up when they are sent, so nobody is
    told what was true a while ago, and a slow reader gets fewer of them.

    Attributes:
        session: What the app sees of it.
        bell: Rings for the stream that is open; None if none is.
        streams: How many it has had.
        ended: When its stream was last ended by us, in monotonic seconds.
        last_used: When it was last heard of, in monotonic seconds.
    """

    def __init__(
        self, session: Session, *, store: Store, queue: Queue, delivery: Delivery, now: float
    ) -> None:
        self.session = session
        self.bell: Bell | None = None
        self.streams = 0
        self.ended = float("-inf")
        self.last_used = now
        self._store = store
        self._queue = queue
        self._delivery = delivery
        self._jobs: dict[str, int] = {}  # and how many of their events were sent
        self._told: set[str] = set()  # of these, those whose outcome was sent
        self._news: dict[str, None] = {}  # of these, those with something new
        self._held: set[str] = set()  # of these, those that must not be told of yet
        self._progress: dict[str, None] = {}  # of these, those whose progress changed
        self._waiting: dict[str, tuple[int, int] | None] = {}  # and the rank they were told
        self._units: dict[str, list[ProgressUnit]] = {}  # the progress they were told
        self._next_rank = 0.0
        self._next_progress = 0.0

    @property
    def pending(self) -> bool:
        """Whether a job of it has not ended, or its end was not sent."""
        return len(self._jobs) > len(self._told)

    @property
    def busy(self) -> bool:
        """Whether somebody would miss it: it has a stream, or a job that has not ended."""
        return (
            self.bell is not None
            or bool(self.session._jobs)
            or any(id in self._queue.jobs for id in self._jobs)
        )

    @property
    def jobs(self) -> list[str]:
        """The ids of its jobs whose outcome nobody has confirmed."""
        return list(self._jobs)

    def attach(self, bell: Bell) -> None:
        """Open a stream: it takes over from one that is open.

        What a stream told before it broke may not have arrived, so the next one tells all of
        its jobs from their beginning.
        """
        if self.bell is not None:
            self.bell.ring()
        self.bell = bell
        self.streams += 1
        self._told.clear()
        self._units.clear()
        for id in self._jobs:
            self._jobs[id] = 0
            self._waiting[id] = None
            for progress in (False, True):
                self.notify(id, progress=progress)

    def detach(self, *, now: float) -> None:
        """End the stream in the ordinary way: what was told has arrived."""
        self.bell = None
        self.ended = now
        for id in list(self._told):
            self.drop(id)

    def add(self, id: str, *, delay: float = 0.0) -> None:
        """Tell the session of a job.

        Args:
            id: The job.
            delay: Seconds before it may be told of.
        """
        self._jobs[id] = 0
        self._waiting[id] = None
        self._delivery.follow(id, self)
        if delay:
            self._held.add(id)
            asyncio.get_running_loop().call_later(delay, self._release, id)
        else:
            self.notify(id, progress=False)

    def drop(self, id: str) -> None:
        """Tell it no more."""
        self._delivery.unfollow(id, self)
        self.forget(id)

    def notify(self, id: str, *, progress: bool) -> None:
        if id not in self._jobs or id in self._held:
            return  # all that happens to one that is held back is read when it is not
        (self._progress if progress else self._news)[id] = None
        if self.bell is not None:
            self.bell.ring()

    def forget(self, id: str) -> None:
        for table in (self._jobs, self._news, self._progress, self._waiting, self._units):
            table.pop(id, None)
        self._told.discard(id)
        self._held.discard(id)
        if self.bell is not None:
            self.bell.ring()

    def collect(self, now: float) -> bytes:
        """Return what there is to send now, framed; empty if there is nothing."""
        events: list[bytes] = []
        size = 0
        while self._news and size < CHUNK_SIZE:
            id = next(iter(self._news))
            del self._news[id]  # before it is read: what comes later makes it news again
            size += self._read(id, events)
        # Not before all else: progress must not come before the start of its job.
        if not self._news and now >= self._next_progress and self._progress:
            self._collect_progress(events)
            self._next_progress = now + PROGRESS_INTERVAL
        if not self._news and now >= self._next_rank and self._waiting:
            for id in self._waiting.keys() - self._held:
                self._tell_rank(id, events)
            self._next_rank = now + max(RANK_INTERVAL, len(self._waiting) / RANKS_PER_SECOND)
        if not events:
            return b""
        return b"data: " + b"\n\ndata: ".join(events) + b"\n\n"

    def timeout(self, now: float) -> float | None:
        """Return the seconds until `collect` has something to do by itself; None if never."""
        due = []
        if self._progress:
            due.append(self._next_progress - now)
        if self._waiting:
            due.append(self._next_rank - now)
        return min(due) if due else None

    def _release(self, id: str) -> None:
        self._held.discard(id)
        for progress in (False, True):
            self.notify(id, progress=progress)

    def _read(self, id: str, events: list[bytes]) -> int:
        after = self._jobs.get(id)
        if after is None or id in self._told:
            return 0
        try:
            more, ended = self._store.read(id, after, max_size=CHUNK_SIZE)
        except JobNotFoundError:
            self.forget(id)
            return 0
        size = sum(map(len, more))
        if more:
            self._jobs[id] = after + len(more)
            self._waiting.pop(id, None)
        if ended:
            self._told.add(id)
            self._units.pop(id, None)
        elif size >= CHUNK_SIZE:
            self._news[id] = None  # there may be more
        elif self._waiting.get(id, ()) is None:
            self._tell_rank(id, events)
        events += more
        return size

    def _collect_progress(self, events: list[bytes]) -> None:
        for id in self._progress:
            job = self._queue.jobs.get(id)
            if job is None or job.run is None or job.run.units is None:
                continue
            if job.run.units is not self._units.get(id):
                self._units[id] = job.run.units
                events.append(encode_message(Progress(id, job.run.units)))
        self._progress.clear()

    def _tell_rank(self, id: str, events: list[bytes]) -> None:
        job = self._queue.jobs.get(id)
        estimate = None if job is None else self._queue.estimate(job)
        if estimate is None:
            return  # it runs by now; its log will say so
        rank = estimate.rank, estimate.size
        if rank != self._waiting[id]:
            self._waiting[id] = rank
            events.append(encode_message(Estimation(id, *rank, estimate.eta)))


class Channels:
    """The channels of all sessions, the least recently used first.

    Args:
        make: Makes the channel of a session, at a time.
        ttl: Seconds without a call after which a session is forgotten.
        most: How many are kept; beyond it, the least recently used idle one goes.
    """

    def __init__(
        self,
        make: Callable[[Session, float], Channel],
        *,
        ttl: float,
        most: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._ttl = ttl
        self._most = most
        self._clock = clock
        self._channels: OrderedDict[tuple[str | None, str], Channel] = OrderedDict()

    def __len__(self) -> int:
        return len(self._channels)

    def get(self, hash: str, username: str | None) -> Channel | None:
        """Return a session's channel, if it has one. Sessions of other users are others."""
        channel = self._channels.get((username, hash))
        if channel is not None:
            self._touch((username, hash), channel)
        return channel

    def open(self, hash: str, username: str | None) -> Channel:
        """Return a session's channel; a new one if it has none.

        Raises:
            QueueFullError: There are too many, and somebody would miss each of them.
        """
        channel = self.get(hash, username)
        if channel is None:
            if len(self._channels) >= self._most:
                self._evict()
            channel = self._make(Session(hash, username), self._clock())
            self._channels[username, hash] = channel
        return channel

    def forget_if_empty(self, channel: Channel) -> None:
        """Forget a session in which there is nothing that its next call would miss."""
        key = channel.session.username, channel.session.id or ""
        empty = not channel.busy and not channel.jobs and not channel.session.state
        if empty and self._channels.get(key) is channel:
            del self._channels[key]

    def expire(self) -> float | None:
        """Forget what was not used for long; return the seconds until the next is due."""
        now = self._clock()
        for _ in range(len(self._channels)):
            key, channel = next(iter(self._channels.items()))
            if channel.last_used + self._ttl > now:
                return channel.last_used + self._ttl - now
            if channel.busy:
                self._touch(key, channel)
            else:
                self._discard(key, channel)
        return self._ttl if self._channels else None

    def _touch(self, key: tuple[str | None, str], channel: Channel) -> None:
        channel.last_used = self._clock()
        self._channels.move_to_end(key)

    def _discard(self, key: tuple[str | None, str], channel: Channel) -> None:
        del self._channels[key]
        for id in channel.jobs:
            channel.drop(id)

    def _evict(self) -> None:
        for _ in range(EVICTION_TRIES):
            key, channel = next(iter(self._channels.items()))
            if not channel.busy:
                self._discard(key, channel)
                return
            self._channels.move_to_end(key)
        raise QueueFullError(f"There are too many sessions: {len(self._channels)}.", status=503)
