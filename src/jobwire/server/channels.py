"""The sessions of callers, and what each of them has not been told yet."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from weakref import WeakValueDictionary

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

MAX_OUTDATED = 64
"""News of forgotten jobs that a channel may hold, besides as many as it has others."""

RANKS_PER_SECOND = 100
"""How many ranks a session is told in a second, however many of its jobs wait."""


class Channel:
    """What goes to one session: the events of all its jobs, in one stream.

    Events are told in the order of their numbers, whatever jobs they are of. So the number of
    the last one that arrived says of every other whether it did, and a stream can be resumed
    with it.

    Ranks and progress are not events: they are looked up when they are sent, so nobody is
    told what was true a while ago, and a slow reader gets fewer of them.

    Attributes:
        session: What the app sees of it.
        bell: Rings for the stream that is open; None if none is.
        resumes: Whether the client of the stream can come back for what it missed.
        streams: How many it has had.
        ended: When its stream was last ended by us, in monotonic seconds.
        last_used: When it was last heard of, in monotonic seconds.
    """

    def __init__(
        self, session: Session, *, store: Store, queue: Queue, delivery: Delivery, now: float
    ) -> None:
        self.session = session
        self.bell: Bell | None = None
        self.resumes = False
        self.streams = 0
        self.ended = float("-inf")
        self.last_used = now
        self._store = store
        self._queue = queue
        self._delivery = delivery
        self._jobs: dict[str, int] = {}  # and the number of their last event that was sent
        self._told: set[str] = set()  # of these, those whose outcome was sent
        # Of these, those with something new, and the number of it; 0 if that is not known.
        self._news: dict[str, int] = {}
        self._order: list[tuple[int, str]] = []  # a heap of the same; outdated ones as well
        self._held: set[str] = set()  # of these, those that must not be told of yet
        self._progress: dict[str, None] = {}  # of these, those whose progress changed
        self._waiting: dict[str, tuple[int, int] | None] = {}  # and the rank they were told
        self._units: dict[str, list[ProgressUnit]] = {}  # the progress they were told
        self._expected: tuple[int | None, Mapping[str, int]] = None, {}
        self._next_rank = 0.0
        self._next_progress = 0.0

    @property
    def listens(self) -> bool:
        """Whether it has a stream."""
        return self.bell is not None

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

    def attach(self, bell: Bell, *, after: int | None = None) -> None:
        """Open a stream: it takes over from one that is open.

        Args:
            bell: Rings when there is something to send.
            after: The number of the last event that the client has had. None if it does not
                know: what a stream told before it broke may not have arrived, so this one
                tells all jobs from their beginning.
        """
        if self.bell is not None:
            self.bell.ring()
        self.bell = bell
        self.resumes = after is not None
        self.streams += 1
        self._told.clear()
        self._units.clear()
        self._news.clear()
        self._order.clear()
        expected_after, firsts = self._expected
        if expected_after != after:  # it was meant for another stream
            firsts = {}
        self._expected = None, {}
        for id in self._jobs:
            self._jobs[id] = after or 0
            self._waiting[id] = None
            self.notify(id, progress=False, number=firsts.get(id, 0))
            self.notify(id, progress=True)

    def expect(self, firsts: Mapping[str, int], *, after: int | None) -> None:
        """Tell the session of these jobs, too, in the stream that is opened next.

        Args:
            firsts: By job, the number of its first event after that one: where that is known,
                its log need not be looked at before its turn. 0 if it is not.
            after: See `attach`.
        """
        self._expected = after, firsts
        for id in firsts:
            self.add(id)

    def detach(self, *, now: float) -> None:
        """End the stream in the ordinary way: what was told has arrived."""
        self.bell = None
        self.ended = now
        for id in list(self._told):
            self.drop(id)

    def add(self, id: str, *, delay: float = 0.0) -> None:
        """Tell the session of a job: before it is accepted, or events could be told of others
        that are younger than its first.

        Args:
            id: The job.
            delay: Seconds before it may be told of.
        """
        if id in self._jobs:
            return
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

    def notify(self, id: str, *, progress: bool, number: int = 0) -> None:
        if id not in self._jobs or id in self._held:
            return  # all that happens to one that is held back is read when it is not
        if progress:
            self._progress[id] = None
        elif self._news.get(id, number + 1) > number:
            self._news[id] = number
            heappush(self._order, (number, id))
        if self.bell is not None:
            self.bell.ring()

    def forget(self, id: str) -> None:
        tables = self._jobs, self._news, self._progress, self._waiting, self._units
        for table in tables:
            table.pop(id, None)
        self._told.discard(id)
        self._held.discard(id)
        if len(self._order) > 2 * len(self._news) + MAX_OUTDATED:
            self._order = sorted((number, id) for id, number in self._news.items())
        if self.bell is not None:
            self.bell.ring()

    def collect(self, now: float) -> bytes:
        """Return what there is to send now, framed; empty if there is nothing."""
        events: list[bytes] = []
        size = 0
        while self._order and size < CHUNK_SIZE:
            number, id = heappop(self._order)
            while self._order and self._order[0] == (number, id):
                heappop(self._order)
            if self._news.get(id) == number:
                del self._news[id]  # before it is read: what comes later makes it news again
                size += self._read(id, events, number)
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
        return b"\n\n".join(events) + b"\n\n"

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

    def _read(self, id: str, events: list[bytes], number: int) -> int:
        after = self._jobs.get(id)
        if after is None or id in self._told:
            return 0
        # No further than to what is next of another job, or has not been announced yet.
        until = self._delivery.announced if number else after
        if self._order:
            until = min(until, self._order[0][0] - 1)
        try:
            more, ended, numbers, following = self._store.read(
                id, after, until=max(after, until), max_size=CHUNK_SIZE
            )
        except JobNotFoundError:
            if id not in self._queue.jobs:  # else it is about to be accepted
                self.forget(id)
            return 0
        if more:
            self._jobs[id] = numbers[-1]
            self._waiting.pop(id, None)
        if ended:
            self._told.add(id)
            self._units.pop(id, None)
            self._waiting.pop(id, None)
        elif following and following <= self._delivery.announced:
            self.notify(id, progress=False, number=following)
        elif not following and self._waiting.get(id, ()) is None:
            self._tell_rank(id, events)
        if self.resumes:
            events += [
                b'id: %d\ndata: %b,"seq":%d}' % (seq, event[:-1], seq)
                for seq, event in zip(numbers, more, strict=True)
            ]
        else:
            events += [
                b'data: %b,"seq":%d}' % (event[:-1], seq)
                for seq, event in zip(numbers, more, strict=True)
            ]
        return sum(map(len, more))

    def _collect_progress(self, events: list[bytes]) -> None:
        for id in self._progress:
            job = self._queue.jobs.get(id)
            if job is None or job.run is None or job.run.units is None:
                continue
            if job.run.units is not self._units.get(id):
                self._units[id] = job.run.units
                events.append(b"data: " + encode_message(Progress(id, job.run.units)))
        self._progress.clear()

    def _tell_rank(self, id: str, events: list[bytes]) -> None:
        estimate = self._queue.estimate(id)
        if estimate is None:
            return  # it runs by now; its log will say so
        rank = estimate.rank, estimate.size
        if rank != self._waiting[id]:
            self._waiting[id] = rank
            events.append(b"data: " + encode_message(Estimation(id, *rank, estimate.eta)))


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
        self._sessions: WeakValueDictionary[tuple[str | None, str], Session] = WeakValueDictionary()
        self._lock = threading.Lock()

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
            channel = self._make(self.session(hash, username), self._clock())
            self._channels[username, hash] = channel
        return channel

    def session(self, hash: str, username: str | None) -> Session:
        """Return what apps see of a session, whether it has a channel or not. Any thread."""
        with self._lock:
            session = self._sessions.get((username, hash))
            if session is None:
                session = self._sessions[username, hash] = Session(hash, username)
            return session

    def forget_if_empty(self, channel: Channel) -> None:
        """Forget a session in which there is nothing that its next call would miss."""
        key = channel.session.username, channel.session.id or ""
        empty = not channel.busy and not channel.jobs and not channel.session.state
        if empty and self._channels.get(key) is channel:
            self._discard(key, channel)

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
        with self._lock:  # its state goes, whoever still holds it
            self._sessions.pop(key, None)
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
