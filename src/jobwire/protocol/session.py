"""Many jobs over one event stream: when to open it, resume it, and give up.

`SessionProtocol` does no I/O and knows no clock. Tell it what happened, with ``now``
in monotonic seconds; afterwards, always, carry out ``actions()``, look after the jobs
in ``changed()``, and see ``next_timer()``.

Rules that servers force on it, each found by experiment:

* A stream is opened only after a job was accepted; before, the server answers that
  it knows no such session.
* Messages for a job can come before the reply to its submission.
* A stream that the server ends in the ordinary way may end while a job that was
  accepted a moment before waits for it; the stream is opened again.
* Most servers forget the session of a stream that breaks. Its jobs are lost.
  The old stream may still swallow the messages of new jobs until the server notices,
  so new jobs belong into a new session (`damaged`).
* jobwire's own servers keep them. There a stream goes on after the last event that came,
  whatever happened to it, and for as long as the server may be silent.
* For the same reason a stream is never closed from this side while jobs may join it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

from jobwire.exceptions import (
    ClientClosedError,
    ConnectError,
    ConnectionLostError,
    JobwireError,
    RemoteProtocolError,
    ServerError,
    shown,
)
from jobwire.protocol.dialects import Dialect
from jobwire.protocol.job import JobMachine, State
from jobwire.protocol.limits import (
    END_TIMEOUT,
    IDLE_TIMEOUT,
    MAX_EVENT_SIZE,
    MAX_UNCLAIMED_SIZE,
)
from jobwire.protocol.messages import (
    CloseStream,
    Heartbeat,
    Malformed,
    Message,
    UnexpectedError,
    decode_message,
)
from jobwire.protocol.retry import RetryPolicy
from jobwire.protocol.sse import SSEParser
from jobwire.protocol.stopping import StopJob, Stopping

__all__ = (
    "Action",
    "AskForJob",
    "CloseEventStream",
    "OpenEventStream",
    "SessionProtocol",
)


@dataclass(frozen=True, slots=True)
class OpenEventStream:
    """Open the session's event stream, and report how that went.

    Attributes:
        after: The number of the last event that came, after which the stream goes on; 0 if
            none did, None where events have no numbers.
    """

    after: int | None = None


@dataclass(frozen=True, slots=True)
class CloseEventStream:
    """Drop the event stream; do not report that."""


@dataclass(frozen=True, slots=True)
class AskForJob:
    """Ask whether the server still knows a job; if it does not, say so by `forgotten`.

    Attributes:
        event_id: The job.
    """

    event_id: str


Action = OpenEventStream | CloseEventStream | AskForJob | StopJob

_QUOTED_ID = re.compile("'[0-9a-f]{32}'")


def _double(event_id: str) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"the server gave two jobs the same id, {event_id}", event_id=event_id
    )


class _Stream(Enum):
    CLOSED = auto()
    OPENING = auto()
    OPEN = auto()
    ENDING = auto()  # the server said that it is about to end it


class SessionProtocol:
    """The jobs of one session and the stream that tells of them.

    Attributes:
        damaged: The server has dropped this session, or may do so any moment; submit
            new jobs in another one.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        idle_timeout: float | None = IDLE_TIMEOUT,
        max_event_size: int = MAX_EVENT_SIZE,
        max_unclaimed_size: int = MAX_UNCLAIMED_SIZE,
        retry: RetryPolicy | None = None,
        jitter: float = 0.5,
    ) -> None:
        """
        Args:
            dialect: How the server speaks.
            idle_timeout: Seconds of silence after which jobs are given up; None waits
                for ever. A server that keeps jobs may be away for as long as well.
            max_event_size: Bytes of one event of the stream.
            max_unclaimed_size: Bytes kept for jobs that are still being confirmed.
            retry: How often to try to open the stream.
            jitter: For ``retry``: a random number from 0 to 1.
        """
        self.damaged = False
        self._dialect = dialect
        self._idle_timeout = idle_timeout
        self._max_event_size = max_event_size
        self._max_unclaimed_size = max_unclaimed_size
        self._retry = retry or RetryPolicy()
        self._jitter = jitter

        self._closed = False
        self._submitting: set[JobMachine] = set()  # not confirmed yet
        self._sending: set[JobMachine] = set()  # of those: the request is on its way
        self._overflowed: set[JobMachine] = set()  # of those: messages had to be dropped
        self._jobs: dict[str, JobMachine] = {}  # accepted, and not settled
        self._untold: deque[JobMachine] = deque()  # of those: no word of it on the stream yet
        self._unheard: set[JobMachine] = set()  # of those: no word of it since a stream broke
        self._stopping = Stopping(dialect, self._awaited)  # cancelled here, but not there
        self._unclaimed: dict[str, list[tuple[Message, int]]] = {}
        self._unclaimed_size = 0

        self._stream = _Stream.CLOSED
        self._parser = SSEParser(max_event_size=max_event_size)
        self._failures = 0  # to open the stream, or to hear of a job on it
        self._away_since: float | None = None  # no message came since it was lost
        self._last = 0  # the number of the last event
        self._open_at: float | None = None
        self._heard_at = 0.0
        self._opened_at = 0.0

        self._actions: list[Action] = []
        self._changed: dict[JobMachine, None] = {}  # in order, each once

    # -- what comes out --

    def actions(self) -> list[Action]:
        """Return what is to be done now, in order, and forget it."""
        actions, self._actions = self._actions, []
        return actions

    def changed(self) -> list[JobMachine]:
        """Return the jobs that changed since the last call, in order of their change."""
        if not self._changed:
            return []
        changed, self._changed = list(self._changed), {}
        return changed

    def next_timer(self) -> float | None:
        """Return when to call `handle_timer`, in monotonic seconds; None for never."""
        times = [self._open_at, self._silent_at(), self._untold_at(), self._unheard_at()]
        return min((time for time in times if time is not None), default=None)

    def _silent_at(self) -> float | None:
        """When the stream counts as dead, if nothing comes before."""
        if self._stream is _Stream.ENDING:
            return self._heard_at + END_TIMEOUT
        if self._stream is _Stream.CLOSED or not self._jobs or self._idle_timeout is None:
            return None
        return self._heard_at + self._idle_timeout

    def _untold_at(self) -> float | None:
        """When the first job counts as lost of which an open stream has told nothing yet.

        Servers tell of each job as soon as they took it. One that does not, though its stream
        lives, is another one than took it: a load balancer sends a session to several.
        """
        while self._untold and self._untold[0].state is not State.ACCEPTED:
            self._untold.popleft()
        if not self._untold or self._stream is not _Stream.OPEN or self._idle_timeout is None:
            return None
        since = max(self._untold[0].changed_at, self._opened_at)
        if self._heard_at < since + self._idle_timeout / 2:
            return None  # it is silent, rather
        return since + self._idle_timeout

    def _unheard_at(self) -> float | None:
        """When the jobs count as lost of which a stream that was taken up again tells nothing.

        Their ends may have been on their way when the one before broke. The server takes them
        for told then, and goes on to send its heartbeats. One that keeps jobs is asked for
        them: it tells nothing of those that it has forgotten.
        """
        if not self._unheard or self._stream is not _Stream.OPEN or self._idle_timeout is None:
            return None
        return self._opened_at + self._idle_timeout

    @property
    def idle(self) -> bool:
        """No job is being submitted or waited for."""
        return not self._submitting and not self._jobs

    def _awaited(self, fn_index: int, but: JobMachine | None) -> bool:
        """Whether somebody waits for a job of the function."""
        return any(
            job.fn_index == fn_index and job is not but and not job.state.ended
            for job in (*self._jobs.values(), *self._submitting)
        )

    # -- what this side wants --

    def submit(self, job: JobMachine) -> None:
        """Note that a job is to be sent; `sending` or `withdraw` must follow."""
        self._submitting.add(job)

    def sending(self, job: JobMachine) -> None:
        """Note that a job is on its way; `accepted` or `rejected` must follow."""
        self._sending.add(job)
        job.sent = True

    def misses(self, job: JobMachine) -> bool:
        """Whether what came for a job that is on its way may be gone."""
        return job in self._overflowed or job not in self._submitting

    def hand_over(self, job: JobMachine) -> None:
        """Note that the server took a job that is told of elsewhere."""
        self._submitting.discard(job)
        self._sent(job)

    def withdraw(self, job: JobMachine) -> None:
        """Note that a job will not be sent, at least not in this session."""
        self._submitting.discard(job)

    def accepted(self, job: JobMachine, event_id: str, now: float) -> None:
        """Note that the server took a job and gave it an id."""
        lonely = not self._jobs
        if job in self._submitting:
            self._submitting.remove(job)
            if event_id in self._jobs:
                self.rejected(job, _double(event_id), now)
            elif job in self._overflowed:
                self.rejected(job, self._overflow(event_id), now)
                self._actions += self._stopping.stop(event_id, job.fn_index, running=False)
            elif job.state.ended:
                self._actions += self._stopping.stop(event_id, job.fn_index, running=False)
            else:
                job.accept(event_id, now)
                self._jobs[event_id] = job
                self._untold.append(job)
                self._changed[job] = None
        else:
            self._accepted_too_late(job, event_id, now)
        for message, size in self._unclaimed.pop(event_id, ()):
            self._unclaimed_size -= size
            self._route(message, now)
        self._sent(job)
        if lonely:  # else silence goes on, whatever is submitted meanwhile
            self._heard_at = max(self._heard_at, now)
            self._away_since = None  # that was about jobs that are over
        self._open_if_needed(now)

    def rejected(self, job: JobMachine, error: JobwireError, now: float) -> None:
        """Note that a job could not be submitted."""
        self._submitting.discard(job)
        self._sent(job)
        if job.reject(error, now):
            self._changed[job] = None

    def cancel(self, job: JobMachine, now: float, error: JobwireError | None = None) -> bool:
        """End a job, and see that the server stops it as soon as it can.

        Args:
            job: The job.
            now: Monotonic seconds.
            error: Why it is given up; None if it was cancelled.

        Returns:
            False if the job had ended before; nothing changes then.
        """
        event_id, running = job.event_id, job.state is State.RUNNING
        ended = job.give_up(error, now, self._stopping.fate(job))
        if ended:
            job.detached = False  # nobody wants it any more, here or elsewhere
            self._let_go(job, event_id, running=running)
        return ended

    def _let_go(self, job: JobMachine, event_id: str | None, *, running: bool) -> None:
        """Forget a job that is over here, and have the server stop it."""
        self._changed[job] = None
        if event_id is None or event_id not in self._jobs:
            return
        del self._jobs[event_id]
        fn_index, yielded = job.fn_index, job.outputs.yielded
        if running:
            self._stopping.ended(fn_index)
        self._actions += self._stopping.stop(event_id, fn_index, running=running, yielded=yielded)
        self._actions += self._stopping.stop_the_rest(fn_index)

    def close(self, now: float) -> None:
        """Fail every job that is in flight, have the server stop them, and drop the stream."""
        # A server that forgets a session whose stream breaks drops its jobs by itself.
        forgetful = not (self._dialect.resumable or self._dialect.durable)
        tell = not forgetful or self._stream is not _Stream.OPEN
        for job in [*self._submitting, *self._jobs.values()]:
            error = ClientClosedError(
                "the client was closed while the job was in flight", event_id=job.event_id
            )
            if job.fail(error, now):
                self._changed[job] = None
            if tell and job.event_id is not None and not job.detached:
                self._actions.append(StopJob(job.event_id, job.fn_index))
        self._closed = True
        self._forget_jobs()
        self._drop_stream()

    # -- what happens to the stream --

    def forgotten(self, event_id: str, now: float) -> None:
        """Note that the server does not know a job any more."""
        job = self._jobs.pop(event_id, None)
        if job is None:
            return
        self._unheard.discard(job)
        if job.state is State.RUNNING:
            self._stopping.ended(job.fn_index)
        if job.lose("the server does not know it any more: what it kept of it is gone", now):
            self._changed[job] = None

    def stream_opened(self, now: float) -> None:
        """Note that the server answered and its events follow."""
        self._stream = _Stream.OPEN
        self._parser = SSEParser(max_event_size=self._max_event_size)
        self._heard_at = self._opened_at = now

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes of the stream, cut anywhere."""
        if self._stream is not _Stream.OPEN:
            return  # of a stream that was given up, or after its end
        self._heard_at = now
        try:
            events = self._parser.feed(data)
        except RemoteProtocolError as error:
            self._give_up(error, now)
            return
        self._away_since = None if events else self._away_since
        for event in events:
            self._receive(decode_message(event.data), len(event.data), now)
            if event.id and self._dialect.durable:
                self._note_number(event.id)
            if self._stream is not _Stream.OPEN:
                break

    def _note_number(self, id: str) -> None:
        if id.isascii() and id.isdigit() and len(id) < 19:
            self._last = max(self._last, int(id))

    def receive_eof(self, now: float) -> None:
        """Note that the server ended the stream as HTTP has it: nothing was cut off."""
        if self._stream is _Stream.CLOSED:
            return
        announced = self._stream is _Stream.ENDING
        self._stream = _Stream.CLOSED
        if self._dialect.announces_close and not announced and self._jobs:
            early = "the server ended the stream before the job"
            if self._dialect.durable:
                self._reopen(now, RemoteProtocolError(early))
            else:
                self._lose(early, now)
        else:
            self._reopen(now)

    def receive_error(self, error: JobwireError, now: float) -> None:
        """Note that the stream could not be opened, or that it broke."""
        if self._stream is _Stream.CLOSED:
            return
        opening = self._stream is _Stream.OPENING
        self._stream = _Stream.CLOSED
        if opening and isinstance(error, (ConnectError, ServerError)):
            # Nothing is lost yet: the server keeps the messages for the stream.
            self._open_later(error, now, f"its stream cannot be opened: {error}")
        elif self._dialect.resumable or self._dialect.durable:
            self._reopen(now, error)
        elif not self._jobs and not self._submitting:
            self.damaged = True
        else:
            self._lose(str(error), now)

    def handle_timer(self, now: float) -> None:
        """Do what was due by ``now``; harmless if nothing was."""
        if self._open_at is not None and now >= self._open_at:
            self._open_at = None
            self._open_if_needed(now)
        if (due := self._silent_at()) is not None and now >= due:
            silence = (
                f"nothing was heard from the server for {now - self._heard_at:.0f} s: it hangs, a "
                "proxy holds its events back, or a load balancer sends one client's requests to "
                "several servers"
            )
            self._drop_stream()
            if self._dialect.resumable or self._dialect.durable:
                self._reopen(now, JobwireError(silence))
            else:
                self._lose(silence, now)
        while (due := self._untold_at()) is not None and now >= due:
            self._give_up_untold(self._untold[0], now)
        if (due := self._unheard_at()) is not None and now >= due:
            self._give_up_unheard(now)

    def _give_up_untold(self, job: JobMachine, now: float) -> None:
        if self._dialect.durable and job.event_id is not None:
            self._untold.popleft()
            self._actions.append(AskForJob(job.event_id))
            return
        error = ConnectionLostError(
            f"lost the job {job.event_id}: the server that took it and the one that tells of "
            "jobs are not the same, it seems; a load balancer must send all requests of a "
            "client to one server (by a cookie, for instance)",
            event_id=job.event_id,
        )
        self.cancel(job, now, error)

    def _give_up_unheard(self, now: float) -> None:
        unheard, self._unheard = self._unheard, set()
        if self._dialect.durable:
            self._ask_for(unheard)
            return
        why = (
            f"nothing was heard of it for {self._idle_timeout:g} s after its stream had broken and "
            "was opened again; it seems that its end was on the way when that happened"
        )
        for event_id, job in list(self._jobs.items()):
            running = job.state is State.RUNNING
            if job in unheard and job.lose(why, now):
                self._let_go(job, event_id, running=running)

    # -- messages --

    def _receive(self, message: Message, size: int, now: float) -> None:
        if isinstance(message, Heartbeat):
            return
        if isinstance(message, CloseStream):
            # Read to the end: a server that is cut off here drops the session.
            self._stream = _Stream.ENDING
        elif message.event_id is not None:
            if message.event_id in self._jobs or message.event_id in self._stopping:
                self._route(message, now)
            elif self._sending:
                self._keep(message, message.event_id, size)
        elif isinstance(message, UnexpectedError):
            self._stream_failed(message, now)
        elif isinstance(message, Malformed):
            self._give_up(message.error, now)

    def _route(self, message: Message, now: float) -> None:
        event_id = message.event_id or ""
        if (job := self._jobs.get(event_id)) is not None:
            self._failures = 0
            self._unheard.discard(job)
            ran = job.state is State.RUNNING
            if job.receive(message, now):
                self._changed[job] = None
            runs = job.state is State.RUNNING
            if runs and not ran:
                self._stopping.started(job.fn_index)
            if job.state.settled or job.lost:
                del self._jobs[event_id]
                if ran:
                    self._stopping.ended(job.fn_index)
                self._actions += self._stopping.stop_the_rest(job.fn_index)
        elif event_id in self._stopping:
            self._actions += self._stopping.receive(message, event_id)

    def _accepted_too_late(self, job: JobMachine, event_id: str, now: float) -> None:
        # The session broke, or was closed, while the job was on its way. The server
        # may have dropped it with the others, and would never say so.
        kept = self._dialect.durable and job.state.ended
        if (self._closed or kept) and not job.detached:
            self._actions.append(StopJob(event_id, job.fn_index))
        if not job.state.ended:
            job.accept(event_id, now)
            # What came before the break was kept for it, perhaps its end.
            for message, _ in self._unclaimed.pop(event_id, ()):
                job.receive(message, now)
            self._changed[job] = None
        if not job.state.settled:
            job.lose("the session broke while the job was being submitted", now)
            self._changed[job] = None

    def _sent(self, job: JobMachine) -> None:
        self._sending.discard(job)
        self._overflowed.discard(job)
        # Once the session is lost, nobody counts any more who is still on the way.
        if not self._sending and not self.damaged:
            self._unclaimed.clear()
            self._unclaimed_size = 0

    def _keep(self, message: Message, event_id: str, size: int) -> None:
        self._unclaimed_size += size
        if self._unclaimed_size <= self._max_unclaimed_size:
            self._unclaimed.setdefault(event_id, []).append((message, size))
        else:
            self._overflowed |= self._sending
            self._unclaimed.clear()
            self._unclaimed_size = 0

    def _overflow(self, event_id: str) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"more than {self._max_unclaimed_size} bytes came for jobs that the server had "
            "not confirmed",
            event_id=event_id,
        )

    def _stream_failed(self, message: UnexpectedError, now: float) -> None:
        text = message.message or ""
        self._drop_stream()
        if message.session_not_found or "not found" in text.lower():
            self._lose(
                "the server does not know the session: it was restarted, or a load balancer "
                "sends one client's requests to several servers",
                now,
            )
        elif "stopped" in text.lower():
            # It repeats this without end, and never ends the stream.
            self._lose("the server was stopped", now)
        else:
            # Its end of the stream is gone, the session is not. With it went one message.
            # If that was of a job that completed twice (4.31 to 5.45; the text is its id),
            # nobody misses it; else it was of a job that runs, and none can be ruled out.
            error = RemoteProtocolError(f"the server's stream failed: {shown(text)}")
            if not _QUOTED_ID.fullmatch(text):
                for job in [job for job in self._jobs.values() if job.state is State.RUNNING]:
                    self._fail(job, error, now)
            self._reopen(now, error)

    def _fail(self, job: JobMachine, error: RemoteProtocolError, now: float) -> None:
        if job.state is State.RUNNING:
            self._stopping.ended(job.fn_index)
        if job.fail(RemoteProtocolError(str(error), event_id=job.event_id), now):
            self._changed[job] = None
        self._jobs.pop(job.event_id or "", None)

    # -- the stream --

    def _open_if_needed(self, now: float) -> None:
        wanted = self._jobs or self._stopping.listening
        if wanted and self._stream is _Stream.CLOSED and self._open_at is None:
            self._stream = _Stream.OPENING
            self._heard_at = now
            self._actions.append(OpenEventStream(self._last if self._dialect.durable else None))

    def _reopen(self, now: float, error: JobwireError | None = None) -> None:
        """Open the stream again for the jobs that wait on it, but not without end."""
        if error is not None:
            self._unheard.update(self._jobs.values())
            if not self._dialect.durable:
                # What the server wrote before it noticed is gone, even if it keeps the rest.
                for job in self._jobs.values():
                    job.outputs.break_off()
        elif self._failures and self._dialect.durable:
            # It has nothing to tell of these: it may have been started with another store.
            self._ask_for(self._jobs.values())
        if not self._jobs or (error is None and not self._failures):
            self._failures += 1
            self._open_if_needed(now)
            return
        failure = error or RemoteProtocolError("the server ends the stream again and again")
        self._open_later(failure, now, str(failure))

    def _ask_for(self, jobs: Collection[JobMachine]) -> None:
        self._actions += [AskForJob(id) for id, job in self._jobs.items() if job in jobs]

    def _open_later(self, failure: JobwireError, now: float, why: str) -> None:
        """Open the stream after a moment, or give its jobs up if that goes on for too long."""
        delay = self._delay(failure, now)
        if delay is None:
            self._lose(why, now)
        else:
            self._failures += 1
            self._open_at = now + delay

    def _delay(self, failure: JobwireError, now: float) -> float | None:
        attempt = self._failures + 1
        if not self._dialect.durable:
            return self._retry.delay(attempt, failure, jitter=self._jitter, repeatable=True)
        if self._away_since is None:
            self._away_since = now
        delay = self._retry.backoff(attempt, jitter=self._jitter)
        if isinstance(failure, ServerError):
            # It answers; how often it was asked is no reason to give up.
            first = self._retry.delay(1, failure, jitter=self._jitter, repeatable=True)
            if first is None:
                return None
            delay = max(first, delay)
        patience = self._idle_timeout
        over = patience is not None and now + delay > self._away_since + patience
        return None if over else delay

    def _drop_stream(self) -> None:
        self._open_at = None
        if self._stream is not _Stream.CLOSED:
            self._stream = _Stream.CLOSED
            self._actions.append(CloseEventStream())

    def _give_up(self, error: RemoteProtocolError, now: float) -> None:
        """End the stream and every job on it: any of them may have been meant."""
        self._drop_stream()
        for job in list(self._jobs.values()):
            self._fail(job, error, now)
        self._broken()

    def _lose(self, why: str, now: float) -> None:
        for job in self._jobs.values():
            if job.lose(why, now):
                self._changed[job] = None
        self._broken()

    def _broken(self) -> None:
        self.damaged = True
        self._failures = 0
        self._away_since = None
        self._forget_jobs()

    def _forget_jobs(self) -> None:
        if not self._sending:
            self._unclaimed.clear()
            self._unclaimed_size = 0
        self._submitting.clear()
        self._sending.clear()
        self._overflowed.clear()
        self._jobs.clear()
        self._unheard.clear()
        self._stopping.forget()
