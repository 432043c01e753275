"""The life of one job, from being submitted to its one outcome.

Everything that changes a job's state is in `TRANSITIONS`. A signal that has no entry
in a job's state changes nothing: servers send a second completion for some cancelled
jobs, estimations that are late, and messages for jobs that were cancelled here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType

from msgspec import UNSET, Raw, UnsetType

from jobwire.exceptions import (
    AppError,
    ConnectionLostError,
    JobCancelledError,
    JobwireError,
    LocalProtocolError,
    RemoteProtocolError,
)
from jobwire.protocol.messages import (
    Estimation,
    Log,
    Malformed,
    Message,
    Output,
    ProcessCompleted,
    ProcessGenerating,
    ProcessStarts,
    ProcessStreaming,
    Progress,
    SendData,
    UnexpectedError,
)
from jobwire.protocol.outputs import OutputLog
from jobwire.protocol.retry import is_refusal
from jobwire.types import ProgressUnit, Status

__all__ = ("TRANSITIONS", "JobMachine", "Signal", "State")


class State(Enum):
    """Where a job is."""

    SUBMITTING = auto()
    """The request was made; the server has not confirmed it."""
    ACCEPTED = auto()
    """The server confirmed it and gave it an id."""
    QUEUED = auto()
    """It waits for its turn."""
    RUNNING = auto()
    """Its function runs."""
    FETCHING = auto()
    """The server has told its end; files that its outputs name are still being fetched."""
    COMPLETED = auto()
    """It gave its result."""
    FAILED = auto()
    """It ended with an error: the app's, the network's, or of the protocol."""
    CANCELLED = auto()
    """It was cancelled, here or on the server."""

    @property
    def ended(self) -> bool:
        """Whether this is one of the three ends, which nothing leaves."""
        return self in _ENDS

    @property
    def settled(self) -> bool:
        """Whether the server will tell nothing more of it."""
        return self in _ENDS or self is State.FETCHING


_ENDS = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})


class Signal(Enum):
    """What can happen to a job."""

    ACCEPT = auto()
    ESTIMATE = auto()
    SEND = auto()
    """Its turn has come, and the server asks for its arguments (before 4.9)."""
    START = auto()
    """Also every sign that it runs: progress, a log line, an output."""
    REPEAT = auto()
    """It is to be submitted again: nobody knows what became of it, and it may run twice."""
    SETTLE = auto()
    """The server tells how it ends, for a job whose outputs are held back."""
    COMPLETE = auto()
    FAIL = auto()
    CANCEL = auto()


_END = {
    Signal.SETTLE: State.FETCHING,
    Signal.COMPLETE: State.COMPLETED,
    Signal.FAIL: State.FAILED,
    Signal.CANCEL: State.CANCELLED,
}

TRANSITIONS: Mapping[State, Mapping[Signal, State]] = MappingProxyType(
    {
        State.SUBMITTING: {
            Signal.ACCEPT: State.ACCEPTED,
            Signal.REPEAT: State.SUBMITTING,
            Signal.FAIL: State.FAILED,
            Signal.CANCEL: State.CANCELLED,
        },
        State.ACCEPTED: {
            Signal.ESTIMATE: State.QUEUED,
            Signal.SEND: State.QUEUED,
            # An app that caches (gr.cache) answers without queueing or starting.
            Signal.START: State.RUNNING,
            Signal.REPEAT: State.SUBMITTING,
            **_END,
        },
        State.QUEUED: {
            Signal.ESTIMATE: State.QUEUED,
            Signal.SEND: State.QUEUED,
            Signal.START: State.RUNNING,
            Signal.REPEAT: State.SUBMITTING,
            **_END,
        },
        State.RUNNING: {
            Signal.START: State.RUNNING,
            Signal.REPEAT: State.SUBMITTING,
            **_END,
        },
        State.FETCHING: {
            Signal.COMPLETE: State.COMPLETED,
            Signal.FAIL: State.FAILED,
            Signal.CANCEL: State.CANCELLED,
        },
        State.COMPLETED: {},
        State.FAILED: {},
        State.CANCELLED: {},
    }
)


class JobMachine:
    """One job, as far as the wire tells about it.

    Attributes:
        fn_index: The endpoint's id on the server.
        event_id: The server's id of the job; None until it is confirmed, until its turn
            comes (4.0 to 4.8), or for ever (before 4.0).
        state: Where the job is.
        code: The last thing that happened to it, in the words that callers know.
        rank: Jobs ahead of it; None if unknown or running.
        queue_size: Jobs that wait with it; None if unknown or running.
        eta: Seconds to the result, as last told; None if unknown.
        progress: The last progress; None if there was none.
        outputs: What it gave and logged.
        rendered: What its function has rendered anew, as raw JSON; None if nothing, or once
            somebody took it.
        error: Why it failed or was cancelled; None otherwise.
        sent: The server may have its arguments, so that it may run.
        repeats: How often it may still be submitted again, when nobody knows what became of
            it: its caller says that running it twice does no harm.
        lost: It was lost, and is to be submitted again. Whoever does that clears it.
        detached: It is the server's to keep: closing the client does not stop it there.
        version: Grows with each change, so that a reader knows whether it is up to
            date.
        changed_at: ``now`` of the last change, in monotonic seconds.
    """

    __slots__ = (
        "_may_have_run",
        "_outcome",
        "changed_at",
        "code",
        "detached",
        "error",
        "eta",
        "event_id",
        "fn_index",
        "lost",
        "outputs",
        "progress",
        "queue_size",
        "rank",
        "rendered",
        "repeats",
        "sent",
        "state",
        "version",
    )

    def __init__(self, fn_index: int, outputs: OutputLog, now: float, *, repeats: int = 0) -> None:
        self.fn_index = fn_index
        self.event_id: str | None = None
        self.state = State.SUBMITTING
        self.code = Status.STARTING
        self.rank: int | None = None
        self.queue_size: int | None = None
        self.eta: float | None = None
        self.progress: list[ProgressUnit] | None = None
        self.outputs = outputs
        self.rendered: bytes | None = None
        self.error: JobwireError | None = None
        self.version = 0
        self.changed_at = now
        self.sent = False
        self.repeats = repeats
        self.lost = False
        self.detached = False
        self._may_have_run = False  # when it was submitted before
        # How it will end when its files are there.
        self._outcome: tuple[Signal, Status, JobwireError | None] | None = None

    # -- what this side decides --

    def accept(self, event_id: str | None, now: float) -> None:
        """Note that the server confirmed the job, with an id if it gives one.

        Raises:
            LocalProtocolError: It was confirmed or ended before.
        """
        if not self._signal(Signal.ACCEPT, Status.JOINING_QUEUE, now):
            raise LocalProtocolError(f"a job that is {self.state.name} cannot be accepted")
        self.event_id = event_id
        self.progress = None  # of sending files, or of trying again

    def send(self, progress: list[ProgressUnit], now: float) -> None:
        """Note how much of its files was sent; changes nothing once the job was confirmed."""
        self._prepare(Status.SENDING_DATA, progress, now)

    def wait(self, why: str, now: float) -> None:
        """Note that its submission is tried again after a while; as `send`."""
        self._prepare(Status.STARTING, [ProgressUnit(desc=why)], now)

    def _prepare(self, code: Status, progress: list[ProgressUnit], now: float) -> None:
        if self.state is State.SUBMITTING:
            self.code = code
            self.progress = progress
            self.changed_at = now
            self.version += 1

    def repeat(self, now: float) -> bool:
        """Use up one of the `repeats`; False if there is none, or it must not be repeated.

        What has given outputs is not: readers would get them twice.
        """
        if self.repeats < 1 or self.outputs.yielded:
            return False
        if not self._signal(Signal.REPEAT, Status.STARTING, now):
            return False
        self.repeats -= 1
        self._may_have_run |= self.sent
        self.event_id = self.rank = self.queue_size = self.eta = self.progress = None
        return True

    @property
    def failing(self) -> bool:
        """Whether the server has told that it failed, though its files are being fetched."""
        return self._outcome is not None and self._outcome[0] is Signal.FAIL

    def fetched(self, now: float) -> bool:
        """End the job as the server told: its files are there. False if it has not told."""
        if self._outcome is None:
            return False
        return self._end(*self._outcome, now)

    def reject(self, error: JobwireError, now: float) -> bool:
        """End the job because it could not be submitted; False if it had ended before."""
        if self.state is State.SUBMITTING and self.sent and not is_refusal(error):
            error.args = (
                f"{error}; nobody knows whether the server took the job. It may have run, and it "
                "was not submitted again (retries= allows that)",
            )
        return self.fail(error, now)

    def fail(self, error: JobwireError, now: float) -> bool:
        """End the job with an error; False if it had ended before."""
        return self._end(Signal.FAIL, Status.FINISHED, error, now)

    def cancel(self, why: str, now: float) -> bool:
        """End the job as cancelled; False if it had ended before."""
        error = JobCancelledError(why, event_id=self.event_id)
        return self._end(Signal.CANCEL, Status.CANCELLED, error, now)

    def give_up(
        self, error: JobwireError | None, now: float, fate: str = "the job was cancelled"
    ) -> bool:
        """End the job from this side; False if it had ended before.

        Args:
            error: Why; None if it was cancelled.
            now: Monotonic seconds.
            fate: What to say if it was cancelled.
        """
        return self.fail(error, now) if error else self.cancel(fate, now)

    def lose(self, why: str, now: float) -> bool:
        """Note that the job's connection is gone; False if it had ended before.

        It is to be submitted again (`lost`), if it may be, and ends otherwise.
        """
        if self.repeat(now):
            self.lost = True
            return True
        ran = "may have run" if self.sent or self._may_have_run else "has not run"
        error = ConnectionLostError(
            f"lost the job {self.event_id or self._unnamed()}: {why}; it {ran}, and it was not "
            "submitted again",
            event_id=self.event_id,
            outputs=self.outputs.outputs,
        )
        return self.fail(error, now)

    def _unnamed(self) -> str:
        if self.state is State.SUBMITTING:
            return "(not confirmed by the server)"
        return "(to which the server gave no id)"

    # -- what the server says --

    def receive(self, message: Message, now: float) -> bool:
        """Take a message for this job; False if it changed nothing."""
        match message:
            case Estimation():
                if not self._signal(Signal.ESTIMATE, Status.IN_QUEUE, now):
                    return False
                self.rank = message.rank
                self.queue_size = message.queue_size
                self.eta = message.rank_eta
            case SendData():
                if not self._signal(Signal.SEND, Status.SENDING_DATA, now):
                    return False
                self.event_id = message.event_id or self.event_id
                self.rank = self.queue_size = None
            case ProcessStarts():
                if not self._start(Status.PROCESSING, now):
                    return False
                self.outputs.mend()
                self.eta = message.eta
            case Progress():
                if not self._start(Status.PROGRESS, now):
                    return False
                self.progress = message.progress_data
            case Log():
                # Only the code changes: rank, ETA and progress are still true.
                if not self._signal(Signal.START, Status.LOG, now):
                    return False
                self.outputs.append_log(message)
            case ProcessGenerating() | ProcessStreaming():
                if isinstance(message.output.data, UnsetType) or not self._start(
                    Status.ITERATING, now
                ):
                    return False
                self.outputs.append(
                    message.output.data, whole=isinstance(message, ProcessStreaming)
                )
                self._note_rendered(message.output)
            case ProcessCompleted():
                return self._complete(message.output, message, now)
            case UnexpectedError():
                return self.fail(
                    RemoteProtocolError(
                        f"the server failed outside of the app: {message.message}",
                        event_id=self.event_id,
                    ),
                    now,
                )
            case Malformed():
                return self.fail(message.error, now)
            case _:
                return False
        return True

    def _start(self, code: Status, now: float) -> bool:
        if not self._signal(Signal.START, code, now):
            return False
        self.rank = self.queue_size = None
        return True

    def _complete(self, output: Output, message: ProcessCompleted, now: float) -> bool:
        if Signal.SETTLE not in TRANSITIONS[self.state]:
            return False
        if output.error is not UNSET or message.success is False:
            if output.retryable and self.repeat(now):
                self.lost = True
                return True
            error = self._app_error(output, message.title)
            return self._settle(Signal.FAIL, error, now)
        if isinstance(output.data, UnsetType):
            # A cancelled job looks like a success without data (4.31 to 6.31).
            return self.cancel("the job was cancelled on the server, not by this client", now)
        try:
            self.outputs.finish(output.data)
        except RemoteProtocolError as error:
            error.event_id = self.event_id
            return self.fail(error, now)
        self._note_rendered(output)
        return self._settle(Signal.COMPLETE, None, now)

    def _note_rendered(self, output: Output) -> None:
        if isinstance(output.render_config, Raw) and (config := bytes(output.render_config)):
            self.rendered = None if config == b"null" else config

    def _app_error(self, output: Output, title: str | None) -> AppError:
        if output.error in (None, UNSET):
            text = (
                "the app failed and does not tell callers why; its owner can see the "
                "reason in its log, and show it with launch(show_error=True)"
            )
        else:
            text = str(output.error)
        return AppError(
            text,
            output.duration,
            output.visible,
            # The outer title is null when a generator fails after its first output.
            output.title or title or "Error",
            event_id=self.event_id,
            retryable=output.retryable,
        )

    def _settle(self, signal: Signal, error: JobwireError | None, now: float) -> bool:
        """Take the end that the server told, at once or when the outputs were prepared."""
        if not self.outputs.held:
            return self._end(signal, Status.FINISHED, error, now)
        self._outcome = (signal, Status.FINISHED, error)
        return self._signal(Signal.SETTLE, self.code, now)

    # -- the only two places that write the state --

    def _signal(self, signal: Signal, code: Status, now: float) -> bool:
        state = TRANSITIONS[self.state].get(signal)
        if state is None:
            return False
        self.state = state
        self.code = code
        self.changed_at = now
        self.version += 1
        return True

    def _end(self, signal: Signal, code: Status, error: JobwireError | None, now: float) -> bool:
        if not self._signal(signal, code, now):
            return False
        self.rank = 0
        self.queue_size = self.eta = None
        self.error = error
        if error is not None:
            error.may_have_run = self._may_have_run or (self.sent and not is_refusal(error))
        return True
