"""Tells whoever wants to know what happens to a job."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence
from typing import Literal

from jobwire.client.headers import lower
from jobwire.protocol.job import JobMachine, State
from jobwire.protocol.schema import Endpoint
from jobwire.trace import (
    JobAccepted,
    JobEnded,
    JobOutput,
    JobRetried,
    JobStarted,
    JobSubmitted,
    Trace,
    TraceEvent,
)

__all__ = ("Observer", "observe")

logger = logging.getLogger("jobwire")

_numbers = itertools.count(1)

_OUTCOMES: dict[State, Literal["completed", "failed", "cancelled"]] = {
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
}


def observe(
    trace: Trace | None, machine: JobMachine, endpoint: Endpoint, src: str
) -> Observer | None:
    """Return what tells of a new job, having told that there is one; None if nobody listens.

    Args:
        trace: Listens. So does the log, at DEBUG.
        machine: The job.
        endpoint: What it calls.
        src: The app's address.
    """
    listeners = [] if trace is None else [trace]
    if logger.isEnabledFor(logging.DEBUG):
        listeners.append(_log)
    return Observer(listeners, machine, endpoint, src) if listeners else None


class Observer:
    """Compares a job with what was told of it, and tells the rest.

    Attributes:
        headers: What the listeners want to be sent with the job.
    """

    def __init__(
        self, listeners: Sequence[Trace], machine: JobMachine, endpoint: Endpoint, src: str
    ) -> None:
        self._listeners = listeners
        self._machine = machine
        self._number = next(_numbers)
        # Monotonic seconds to wall-clock seconds.
        self._wall = time.time() - machine.changed_at
        self._accepted = self._started = False
        self._attempts = 1
        self._position = 0
        self._outputs = 0
        submitted = JobSubmitted(self._number, self._now, src, endpoint.api_name, endpoint.id)
        self._tell(submitted)
        self.headers: dict[str, str] = {}
        try:
            self.headers = lower(submitted.headers)
        except Exception:
            logger.exception("the headers of a trace cannot be sent")

    @property
    def _now(self) -> float:
        return self._wall + self._machine.changed_at

    def _tell(self, event: TraceEvent) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                logger.exception("a trace failed")

    def retry(self, delay: float, reason: str) -> None:
        """Tell that the job is submitted again.

        Args:
            delay: In so many seconds.
            reason: Why.
        """
        self._attempts += 1
        self._accepted = self._started = False
        self._tell(JobRetried(self._number, self._now, self._attempts, delay, reason))

    def look(self) -> None:
        """Tell what is new. Called after each change of the job."""
        machine, outputs = self._machine, self._machine.outputs
        state = machine.state
        ran = state in (State.RUNNING, State.FETCHING, State.COMPLETED)
        if not self._accepted and (ran or state in (State.ACCEPTED, State.QUEUED)):
            self._accepted = True
            self._tell(JobAccepted(self._number, self._now, machine.event_id))
        if not self._started and ran:
            self._started = True
            self._tell(JobStarted(self._number, self._now))
        if self._position < outputs.size:
            sizes = outputs.sizes(self._position)
            self._position = outputs.size
            for size in sizes:
                self._tell(JobOutput(self._number, self._now, self._outputs, size))
                self._outputs += 1
        if state.ended and self._listeners:
            self._tell(
                JobEnded(
                    self._number,
                    self._now,
                    machine.event_id,
                    _OUTCOMES[state],
                    self._outputs,
                    machine.error,
                )
            )
            self._listeners = ()


def _log(event: TraceEvent) -> None:
    logger.debug("%s", event)
