"""One job over a connection of its own, as servers before 4.9 have it.

The connection is a WebSocket (3.x) or an event stream (4.0 to 4.8); the conversation is
the same. `ConnectionProtocol` does no I/O and knows no clock. Tell it what happened, with
``now`` in monotonic seconds; afterwards, always, carry out ``actions()``, look whether the
job changed, and see ``next_timer()``.

What servers do, each found by experiment:

* They ask for the arguments when the job's turn has come, and wait 5 s for them (4.x) or
  60 s (3.x). Until then nothing can have run.
* Some say nothing for as long as a job waits or runs: 3.x never sends a heartbeat, 4.0
  sends one. So silence means nothing once the job is accepted; that the other end is gone
  is found out beneath this protocol.
* A job whose connection is gone is not run when its turn comes. 3.x stops a generator that
  runs at its next output, too; 4.x wants to be told.
"""

from __future__ import annotations

from dataclasses import dataclass

from jobwire.exceptions import (
    ClientClosedError,
    JobwireError,
    QueueFullError,
    RemoteProtocolError,
    TransportTimeoutError,
)
from jobwire.protocol.job import JobMachine, State
from jobwire.protocol.limits import MAX_EVENT_SIZE
from jobwire.protocol.messages import (
    Message,
    ProcessCompleted,
    ProcessGenerating,
    QueueFull,
    SendData,
    SendHash,
    decode_message,
)
from jobwire.protocol.sse import SSEParser
from jobwire.protocol.stopping import StopJob
from jobwire.types import Status

__all__ = ("AnswerData", "AnswerHash", "CloseConnection", "ConnectionAction", "ConnectionProtocol")


@dataclass(frozen=True, slots=True)
class AnswerHash:
    """Tell the server, on the connection, for which session and function the job is."""


@dataclass(frozen=True, slots=True)
class AnswerData:
    """Send the server the job's arguments: on the connection, or as a request of its own.

    Attributes:
        event_id: What to name in that request; None to send them on the connection.
    """

    event_id: str | None


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Drop the connection; do not report that. Always the last action."""


ConnectionAction = AnswerHash | AnswerData | StopJob | CloseConnection


class ConnectionProtocol:
    """A job and the connection that tells of it.

    Attributes:
        closed: Nothing more need be told, and nothing will come out.
    """

    def __init__(
        self,
        job: JobMachine,
        *,
        answer_timeout: float | None,
        max_event_size: int = MAX_EVENT_SIZE,
    ) -> None:
        """
        Args:
            job: What the server's messages are for.
            answer_timeout: Seconds that the server has to accept the job; None waits for
                ever.
            max_event_size: Bytes of one event, where the connection is a stream of them.
        """
        self.closed = False
        self._job = job
        self._answer_timeout = answer_timeout
        self._max_event_size = max_event_size
        self._parser = SSEParser(max_event_size=max_event_size)
        self._started_at: float | None = None
        self._asked = False  # for the arguments
        self._finished = False  # on the server
        self._actions: list[ConnectionAction] = []

    # -- what comes out --

    def actions(self) -> list[ConnectionAction]:
        """Return what is to be done now, in order, and forget it."""
        actions, self._actions = self._actions, []
        return actions

    def next_timer(self) -> float | None:
        """Return when to call `handle_timer`, in monotonic seconds; None for never."""
        if (
            self.closed
            or self._started_at is None
            or self._answer_timeout is None
            or self._job.state is not State.SUBMITTING
        ):
            return None
        return self._started_at + self._answer_timeout

    @property
    def abandoned(self) -> bool:
        """Whether the server may still run the job, though it has ended here."""
        ended = self.closed or self._job.state.settled
        return ended and self._asked and not self._finished

    # -- what this side wants --

    def connecting(self, now: float) -> None:
        """Note that the connection is being made, perhaps once more."""
        self._started_at = now
        self._parser = SSEParser(max_event_size=self._max_event_size)

    def unconnected(self) -> None:
        """Note that it could not be made; until it is tried again, no answer is due."""
        self._started_at = None

    def sending(self) -> None:
        """Note that the arguments are on their way, in a request that nobody asked for."""
        self._job.sent = True

    def cancel(self, now: float, error: JobwireError | None = None) -> bool:
        """End the job, and see that the server stops it as soon as it can.

        Args:
            now: Monotonic seconds.
            error: Why it is given up; None if it was cancelled.

        Returns:
            False if the job had ended before; nothing changes then.
        """
        job, running = self._job, self._job.state is State.RUNNING
        fate = "the job was cancelled before the server asked for its arguments: it is not run"
        if self._asked or job.sent:
            fate = (
                "the job was cancelled; the server stops it at its next output, and cannot stop "
                "what is no generator"
            )
        if not job.give_up(error, now, fate):
            return False
        if not running or job.event_id is None or job.outputs.yielded:
            self._drop(stop=running)
        # Else the server has no generator to stop yet, and would run one to its end if the
        # connection were gone. The first output says that there is one.
        return True

    def close(self, now: float) -> None:
        """Fail the job, have the server stop it, and drop the connection."""
        running = self._job.state is State.RUNNING
        error = ClientClosedError(
            "the client was closed while the job was in flight", event_id=self._job.event_id
        )
        self._job.fail(error, now)
        if not self.closed:
            self._drop(stop=running)

    # -- what happens to the connection --

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes of an event stream, cut anywhere."""
        if self.closed:
            return
        try:
            events = self._parser.feed(data)
        except RemoteProtocolError as error:
            self.receive_error(error, now)
            return
        for event in events:
            self.receive_message(event.data, now)

    def receive_message(self, data: bytes, now: float) -> None:
        """Take one whole message, as a WebSocket carries them."""
        self.receive(decode_message(data), now)

    def receive(self, message: Message, now: float) -> None:
        """Take one message, decoded."""
        if self.closed:
            return
        self._finished = isinstance(message, ProcessCompleted)
        if self._job.state.ended:
            if self._finished or isinstance(message, ProcessGenerating):
                self._drop(stop=not self._finished)
            return
        match message:
            case SendHash():
                self._actions.append(AnswerHash())
                return
            case QueueFull():
                error = QueueFullError("the app's queue is full; try again when it has run jobs")
                self._job.fail(error, now)
            case _:
                if self._job.state is State.SUBMITTING:
                    self._job.accept(None, now)
                if (
                    self._job.receive(message, now)
                    and isinstance(message, SendData)
                    and not self._asked
                ):
                    self._asked = self._job.sent = True
                    self._actions.append(AnswerData(message.event_id))
        if self._job.state.settled:
            self._drop()

    def receive_eof(self, now: float) -> None:
        """Note that the server ended the connection in the ordinary way."""
        why = "the server closed the connection before the end of the job"
        if self._job.code is Status.SENDING_DATA:
            why += "; it seems that the arguments took longer to arrive than it waits for them"
        self._lose(why, now)

    def receive_error(self, error: JobwireError, now: float) -> None:
        """Note that the connection could not be made, or that it broke."""
        if self._job.state is State.SUBMITTING or isinstance(error, RemoteProtocolError):
            self.rejected(error, now)
        else:
            self._lose(str(error), now)

    def rejected(self, error: JobwireError, now: float) -> None:
        """Note that the server refused the job, or the arguments that it had asked for."""
        if not self.closed:
            self._job.reject(error, now)
            self._drop()

    def handle_timer(self, now: float) -> None:
        """Do what was due by ``now``; harmless if nothing was."""
        due = self.next_timer()
        if due is not None and now >= due:
            text = f"the server did not accept the job within {self._answer_timeout:g} s"
            self.rejected(TransportTimeoutError(text), now)

    # -- inside --

    def _lose(self, why: str, now: float) -> None:
        if not self.closed:
            self._job.lose(why, now)
            self._drop()

    def _drop(self, *, stop: bool = False) -> None:
        self.closed = True
        if stop and self._job.event_id is not None:
            self._actions.append(StopJob(self._job.event_id, self._job.fn_index))
        self._actions.append(CloseConnection())
