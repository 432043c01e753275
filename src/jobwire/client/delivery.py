"""Jobs on their way to the server: files first, then the submission, and that again if need be."""

from __future__ import annotations

import asyncio
import logging
import random
from functools import partial
from typing import Any

from jobwire.client.call import Call
from jobwire.client.job import AsyncJob
from jobwire.client.loading import LoadedApp
from jobwire.client.sessions import JobSession, Sessions
from jobwire.client.tasks import run_soon
from jobwire.exceptions import AppError, ClientClosedError, JobwireError
from jobwire.protocol.job import JobMachine
from jobwire.protocol.retry import RetryPolicy
from jobwire.types import ProgressUnit

__all__ = ("Delivery",)

logger = logging.getLogger("jobwire")


class Delivery:
    """Brings jobs to the server. What comes of it is found in the job.

    Args:
        app: The app.
        sessions: Where a job goes whose own session was lost.
        tasks: Holds one task for each job that is on its way.
        max_workers: How many submissions may be on their way at once.

    Raises:
        ValueError: ``max_workers`` is less than 1.
    """

    def __init__(
        self,
        app: LoadedApp,
        sessions: Sessions,
        tasks: set[asyncio.Task[Any]],
        max_workers: int,
    ) -> None:
        if max_workers < 1:
            raise ValueError(f"max_workers must be at least 1, not {max_workers}")
        self._app = app
        self._sessions = sessions
        self._tasks = tasks
        self._gate = asyncio.Semaphore(max_workers)

    def begin(self, job: AsyncJob, call: Call, retries: int) -> None:
        """Begin to submit a job to its session.

        Args:
            job: A new one.
            call: What it sends.
            retries: How often it may be submitted again.
        """
        machine = job._machine
        if call.names_server_files:
            job.add_done_callback(_explain_refused_file)
        if retries:
            job._again = partial(self._deliver_again, job, machine, call, retries)
        job._session.register(job, machine)
        run_soon(self._tasks, self._deliver(job, machine, call))

    async def _deliver(self, job: AsyncJob, machine: JobMachine, call: Call) -> None:
        try:
            if call.has_files and not await self._send_files(job, machine, call):
                job._session.withdraw(machine)
                return
            while True:
                async with self._gate:
                    session = self._session_of(job, machine, call)
                    if not (stops := session.stops(machine.fn_index)):
                        await session.submit(machine, call.encode(), call.headers)
                        return
                await asyncio.wait(stops)
        except asyncio.CancelledError:
            # The client is being closed; most jobs have failed by now.
            error = ClientClosedError("the client was closed while the job was being submitted")
            if machine.fail(error, asyncio.get_running_loop().time()):
                job._notify()
            raise

    def _session_of(self, job: AsyncJob, machine: JobMachine, call: Call) -> JobSession:
        """Return the job's session: another one if the server has lost track of its own."""
        session, schema = job._session, self._app.schema
        if session.damaged and schema is not None and not machine.state.ended:
            session.withdraw(machine)
            session = job._session = self._sessions.for_new_job(schema, call.endpoint)
            session.register(job, machine)
        return session

    async def _deliver_again(
        self, job: AsyncJob, machine: JobMachine, call: Call, retries: int
    ) -> None:
        """Submit a job that was lost once more, after a moment."""
        if self._app.closed or self._app.schema is None:
            error = ClientClosedError("the client was closed before the job was submitted again")
            machine.fail(error, asyncio.get_running_loop().time())
            job._notify()
            return
        session = job._session = self._sessions.for_new_job(self._app.schema, call.endpoint)
        session.register(job, machine)
        delay = RetryPolicy().backoff(
            retries - machine.repeats,
            jitter=random.random(),  # noqa: S311
        )
        await job._wait_to_retry(delay, "its connection was lost")
        await self._deliver(job, machine, call)

    async def _send_files(self, job: AsyncJob, machine: JobMachine, call: Call) -> bool:
        """Send the files of a call; False if the job has ended, by that or meanwhile."""
        loop = asyncio.get_running_loop()

        def note(unit: ProgressUnit) -> None:
            machine.send([unit], loop.time())
            job._notify()

        sending = loop.create_task(call.send_files(note))
        job.add_done_callback(lambda _: sending.cancel())
        try:
            await asyncio.wait([sending])
            if not sending.cancelled() and (error := sending.exception()) is not None:
                if not isinstance(error, JobwireError):
                    logger.error("the files of a job could not be sent", exc_info=error)
                    error = JobwireError(f"the job's files could not be sent: {error!r}")
                machine.fail(error, loop.time())
                job._notify()
        finally:
            sending.cancel()
        return not machine.state.ended


def _explain_refused_file(job: AsyncJob) -> None:
    error = job._machine.error
    if isinstance(error, AppError) and "not uploaded by a user" in error.message:
        error.add_note(
            "A file of this machine is uploaded if what handle_file() returned is passed as it "
            "is. A plain dict, such as a copy of that, names a file that the server has."
        )
