"""One session whose jobs share an event stream: carries out what `SessionProtocol` decides."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from jobwire.client.job import AsyncJob
from jobwire.client.retrying import retrying, submitting, until_known
from jobwire.client.tasks import run_soon
from jobwire.exceptions import (
    ConnectionLostError,
    JobCancelledError,
    JobwireError,
    ServerError,
    TransportError,
)
from jobwire.protocol.job import JobMachine
from jobwire.protocol.payload import extend_body
from jobwire.protocol.replies import check, read_cancel, read_event_id
from jobwire.protocol.retry import RetryPolicy
from jobwire.protocol.schema import AppSchema
from jobwire.protocol.session import (
    AskForJob,
    CloseEventStream,
    OpenEventStream,
    SessionProtocol,
)
from jobwire.protocol.stopping import NO_FUNCTION, StopJob
from jobwire.transports.base import (
    MAX_ERROR_SIZE,
    Response,
    ResponseStream,
    Timeouts,
    Transport,
    read_start,
)

__all__ = (
    "CLOSE_TIMEOUT",
    "EVENTS",
    "Limits",
    "Session",
    "check_stream",
    "job_path",
    "stop_job",
)

logger = logging.getLogger("jobwire")

EVENTS = {"accept": "text/event-stream", "accept-encoding": "identity"}
"""Headers of a request for an event stream. Proxies that compress hold events back."""

_STOP_TIMEOUTS = Timeouts(connect=5.0, read=10.0)
"""For telling the server to stop a job: the caller of ``cancel`` waits for it."""

_STOP_TIME = 15.0
"""Seconds for all of that, however slowly the answer drips."""

_STOPPING = RetryPolicy(attempts=3, patience=2.0)
"""How often it is told: a job whose cancel is lost runs on, and may cost money."""

_STOP_PAUSES = (0.0, 0.1, 0.5)
"""Seconds before it is told again that failed at that."""

_MAX_STOPS = 40
"""How many such requests may be on their way at once; as for submissions."""

CLOSE_TIMEOUT = 1.0
"""Seconds for telling the server, when a client is closed, what it need not do."""

_KEY = "idempotency-key"

_HEARTBEAT_RETRY = (1.0, 60.0)
"""Seconds before a lost heartbeat is taken up again: the first time, and at most."""


class Limits(NamedTuple):
    """What a client bears from a server.

    Attributes:
        timeouts: For the heads of answers, and for what is sent on their own.
        idle_timeout: Seconds of silence after which a connection with jobs counts as
            dead, if it can be told; None waits for ever.
        max_event_size: Bytes of one message.
    """

    timeouts: Timeouts
    idle_timeout: float | None
    max_event_size: int


class Session:
    """The jobs that share one session hash, hence one event stream and one state.

    Runs at most two tasks, however many jobs there are: one reads the event stream
    while jobs are in flight; one holds the heartbeat of an app that keeps state, so
    that the server knows when it may forget it.

    Args:
        transport: Sends the requests.
        schema: The app.
        limits: What it bears.
        session_hash: Under which name.
        log_in: Called when the server does not know us any more, as after its restart. Returns
            False if that cannot be helped.
        follow: Called with a job that the server had before, and its id, to have it followed
            alone.
        job_id: A job of any session, to follow alone, in place of this session's.
    """

    def __init__(
        self,
        transport: Transport,
        schema: AppSchema,
        limits: Limits,
        session_hash: str,
        log_in: Callable[[], Awaitable[bool]],
        follow: Callable[[AsyncJob, str], object],
        *,
        job_id: str | None = None,
    ) -> None:
        self.session_hash = session_hash
        self._transport = transport
        self._schema = schema
        self._timeouts = limits.timeouts
        self._patience = limits.idle_timeout
        self._log_in = log_in
        self._follow = follow
        self._job_id = job_id
        self._protocol = SessionProtocol(
            schema.dialect,
            idle_timeout=limits.idle_timeout,
            max_event_size=limits.max_event_size,
            jitter=random.random(),  # noqa: S311
        )
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[JobMachine, AsyncJob] = {}
        self._reader: asyncio.Task[None] | None = None
        self._heartbeat: asyncio.Task[None] | None = None
        self._cancelled: dict[str, JobCancelledError] = {}  # while the server is told
        self._stops: set[asyncio.Task[Any]] = set()
        # Of those, the ones that stop every job of a function.
        self._wide_stops: dict[int, set[asyncio.Task[Any]]] = {}
        self._stop_gate = asyncio.Semaphore(_MAX_STOPS)
        self._timer: asyncio.TimerHandle | None = None
        self._retired = False

    @property
    def damaged(self) -> bool:
        """New jobs belong into another session: the server has lost track of this one."""
        return self._protocol.damaged

    @property
    def durable(self) -> bool:
        """The server keeps jobs, whether we follow them or not."""
        return self._schema.dialect.durable

    @property
    def busy(self) -> bool:
        """Jobs are in flight."""
        return bool(self._jobs)

    def _url(self, path: str) -> str:
        return f"{self._schema.url}{self._schema.prefix}{path}"

    def register(self, job: AsyncJob, machine: JobMachine) -> None:
        """Take on a job that is to be sent; `submit` or `withdraw` must follow.

        Args:
            job: Is told of each change.
            machine: The same job's sans-IO side.
        """
        self._protocol.submit(machine)
        self._jobs[machine] = job

    def withdraw(self, machine: JobMachine) -> None:
        """Give a job up that was not sent; another session may take it."""
        self._protocol.withdraw(machine)
        self._jobs.pop(machine, None)
        self._carry_out()

    def attach(self, job: AsyncJob, machine: JobMachine, event_id: str) -> None:
        """Take on a job that the server has."""
        self.register(job, machine)
        self._protocol.accepted(machine, event_id, self._loop.time())
        self._carry_out()

    def stops(self, fn_index: int) -> set[asyncio.Task[Any]]:
        """Return the tasks that tell the server to stop all jobs of a function.

        One that is overtaken by a new job would stop that, too.
        """
        return self._wide_stops.get(fn_index, set())

    async def submit(self, machine: JobMachine, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a job. What comes of it is found in the job; raises nothing of its own.

        Args:
            machine: A registered job.
            body: The job, without its session.
            headers: Added to the client's own.
        """
        if machine.state.ended:
            self.withdraw(machine)
            return
        self._protocol.sending(machine)
        job = self._jobs[machine]
        url = self._url("queue/join")
        body = extend_body(body, session_hash=self.session_hash)
        keyed = self._schema.dialect.durable
        # The caller's own key may be that of an earlier job.
        known = keyed and _KEY in headers
        if keyed and not known:
            headers = {**headers, _KEY: uuid.uuid4().hex}

        async def send() -> str:
            reply = await self._request("POST", url, body=body, headers=headers)
            return read_event_id(*reply, url=url)

        join = partial(until_known, send, job, self._patience) if keyed else send
        try:
            event_id = await submitting(join, job)
        except JobwireError as error:
            self._protocol.rejected(machine, error, self._loop.time())
        except Exception as error:
            # A job must have an outcome, whatever it is that we did not think of.
            logger.exception("a job could not be submitted")
            failure = JobwireError(f"the job could not be submitted: {error!r}")
            self._protocol.rejected(machine, failure, self._loop.time())
        else:
            missed = known or (keyed and self._protocol.misses(machine))
            if missed and not machine.state.ended:
                # This session's stream may have told all of it already, or be no more.
                self._protocol.hand_over(machine)
                del self._jobs[machine]
                self._follow(job, event_id)
            else:
                self._protocol.accepted(machine, event_id, self._loop.time())
            if self._schema.wants_heartbeat and self._heartbeat is None and not self._retired:
                self._heartbeat = self._loop.create_task(self._beat())
        self._carry_out()

    async def cancel(
        self, job: AsyncJob, machine: JobMachine, error: JobwireError | None = None
    ) -> bool:
        """End a job and wait until the server was told, as far as it can be now.

        Args:
            job: The job.
            machine: Its sans-IO side.
            error: Why it is given up; None if it was cancelled.
        """
        now = self._loop.time()
        if machine not in self._jobs:  # settled, or on its way from one session to another
            ended = machine.give_up(error, now)
            job._notify()
            return ended
        cancelled = self._protocol.cancel(machine, now, error)
        if isinstance(machine.error, JobCancelledError) and machine.event_id is not None:
            self._cancelled[machine.event_id] = machine.error
        if stops := self._carry_out():
            await asyncio.wait(stops)
        self._cancelled.pop(machine.event_id or "", None)
        return cancelled

    def retire(self) -> None:
        """Close the session once its last job has ended."""
        self._retired = True
        self._carry_out()

    def close(self) -> None:
        """Fail the jobs in flight at once, and begin to tell the server. Does not wait."""
        self._protocol.close(self._loop.time())
        self._carry_out()

    async def aclose(self) -> None:
        """Wait until the server was told, for a moment, and end every task.

        Harmless when repeated.
        """
        self.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stops:
            await asyncio.wait(self._stops, timeout=CLOSE_TIMEOUT)
        tasks = [task for task in (self._reader, self._heartbeat, *self._stops) if task]
        self._reader = self._heartbeat = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- carrying out what the protocol decides --

    def _carry_out(self) -> list[asyncio.Task[Any]]:
        """Do what the protocol wants; return the tasks that tell the server to stop jobs."""
        stops = []
        for action in self._protocol.actions():
            match action:
                case OpenEventStream(after):
                    self._reader = self._loop.create_task(self._read(after))
                case CloseEventStream():
                    if self._reader is not None:
                        self._reader.cancel()
                        self._reader = None
                case AskForJob(event_id):
                    run_soon(self._stops, self._ask(event_id))
                case StopJob():
                    stop = run_soon(self._stops, self._stop(action))
                    stops.append(stop)
                    if action.fn_index != NO_FUNCTION:
                        wide = self._wide_stops.setdefault(action.fn_index, set())
                        wide.add(stop)
                        stop.add_done_callback(wide.discard)
        for machine in self._protocol.changed():
            if machine.lost:
                self._jobs.pop(machine)._submit_again()
                continue
            settled = machine.state.settled
            job = self._jobs.pop(machine) if settled else self._jobs[machine]
            job._notify()
        self._set_timer()
        if self._retired and not self._jobs:
            for task in (self._reader, self._heartbeat):
                if task is not None:
                    task.cancel()
            self._reader = self._heartbeat = None
        return stops

    def _set_timer(self) -> None:
        due = self._protocol.next_timer()
        if self._timer is not None:
            # A timer that is early finds nothing to do and is set again; only one
            # that would be late must be replaced. So no message moves it.
            if due is not None and self._timer.when() <= due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._protocol.handle_timer(self._loop.time())
        self._carry_out()

    async def _read(self, after: int | None) -> None:
        """Feed the event stream to the protocol until it ends.

        Args:
            after: The number after which it is to go on; None from where the server will.
        """
        protocol, now = self._protocol, self._loop.time
        me = asyncio.current_task()
        try:
            async with self._open_stream(after) as stream:
                protocol.stream_opened(now())
                async for chunk in stream.chunks():
                    protocol.receive_data(chunk, now())
                    self._carry_out()
                    if self._reader is not me:
                        return  # it was given up, and perhaps another one opened
        except Exception as error:
            if not isinstance(error, JobwireError):
                logger.exception("the event stream could not be read")
                error = TransportError(f"the event stream could not be read: {error!r}")
            if self._reader is me:
                protocol.receive_error(error, now())
                if not protocol.damaged:
                    logger.info("the event stream is opened again: %s", error)
        else:
            protocol.receive_eof(now())
        if self._reader is me:
            self._reader = None
            self._carry_out()

    async def _request(self, method: Literal["GET", "POST"], url: str, **options: Any) -> Response:
        """Send a request, and once more when that took a login."""
        reply = await self._transport.request(method, url, **options)
        if reply.status == 401 and await self._log_in():
            reply = await self._transport.request(method, url, **options)
        return reply

    @asynccontextmanager
    async def _open_stream(self, after: int | None) -> AsyncGenerator[ResponseStream]:
        """Open the event stream, for which it logs in once if the server wants that."""
        if self._job_id is not None:
            url = self._url(f"{job_path(self._job_id)}/events?after={after}")
        else:
            number = "" if after is None else f"&after={after}"
            url = self._url(f"queue/data?session_hash={self.session_hash}{number}")
        # Silence is the protocol's business; it knows whether anything is awaited.
        timeouts = Timeouts(self._timeouts.connect, None)
        logged_in = False
        while True:
            async with self._transport.stream(url, headers=EVENTS, timeouts=timeouts) as stream:
                if stream.status != 401 or logged_in or not await self._log_in():
                    await check_stream(stream, url.partition("?")[0])
                    yield stream
                    return
            logged_in = True

    async def _stop(self, action: StopJob) -> None:
        async with self._stop_gate:
            outcome = await stop_job(self._request, self._schema, self.session_hash, action)
        if (error := self._cancelled.get(action.event_id)) is not None:
            error.outcome = outcome

    async def _ask(self, event_id: str) -> None:
        """See whether the server still knows a job. That it cannot be asked is logged."""
        url = self._url(job_path(event_id))
        try:
            async with self._stop_gate:
                reply = await self._request("GET", url)
        except JobwireError as error:
            logger.debug("the server could not be asked for %s: %s", event_id, error)
            return
        if reply.status == 404:
            self._protocol.forgotten(event_id, self._loop.time())
            self._carry_out()

    async def _beat(self) -> None:
        url = self._url(f"heartbeat/{self.session_hash}")
        delay, longest = _HEARTBEAT_RETRY
        while True:
            try:
                async with self._transport.stream(
                    url, headers=EVENTS, timeouts=Timeouts(read=None)
                ) as stream:
                    if 400 <= stream.status < 500 and stream.status != 429:
                        return  # the server has no such route
                    async for _ in stream.chunks():
                        delay = _HEARTBEAT_RETRY[0]
            except JobwireError as error:
                logger.debug("the heartbeat was lost: %s", error)
            await asyncio.sleep(delay)
            delay = min(longest, 2 * delay)


async def check_stream(stream: ResponseStream, url: str) -> None:
    """Raise the error that fits, unless the server answers with what was asked for.

    Raises:
        ServerError: The server refuses (and its subclasses).
    """
    if stream.status != 200:
        body = await read_start(stream, MAX_ERROR_SIZE)
        check(stream.status, stream.headers, body, url=url)


def job_path(event_id: str) -> str:
    """Return where a server that keeps jobs has one, below the prefix of its API."""
    return f"jobs/{quote(event_id, safe='')}"


async def stop_job(
    request: Callable[..., Awaitable[Response]],
    schema: AppSchema,
    session_hash: str,
    action: StopJob,
) -> str | None:
    """Tell the server to stop a job. That it could not be told is logged.

    It is told again where that may help. Nothing is stopped twice by that, and no other job:
    those that a repetition could hit wait until this is done.

    Args:
        request: Sends a request, as `Transport.request`.
        schema: The app.
        session_hash: The session of the job.
        action: What to stop.

    Returns:
        What the server says that it did; None if it does not say.
    """
    fields: dict[str, Any] = {"event_id": action.event_id}
    route: str = schema.dialect.cancel
    if route == "cancel":
        fields |= {"session_hash": session_hash, "fn_index": action.fn_index}
    elif route == "job":
        route, fields = f"{job_path(action.event_id)}/cancel", {}
    url = f"{schema.url}{schema.prefix}{route}"
    body = json.dumps(fields).encode()

    async def tell() -> str | None:
        reply = await request("POST", url, body=body, timeouts=_STOP_TIMEOUTS)
        for pause in _STOP_PAUSES:
            if reply.status != 500:
                break
            # The server closes the generator, and so does the job when it ends meanwhile; who
            # comes second fails (4.31 to 6.31). Asked again, it finds that there is none, or
            # one that it has begun anew.
            logger.debug("the server failed while it stopped %s; asking again", action.event_id)
            await asyncio.sleep(pause)
            reply = await request("POST", url, body=body, timeouts=_STOP_TIMEOUTS)
        return read_cancel(*reply, url=url)

    try:
        async with asyncio.timeout(_STOP_TIME):
            return await retrying(
                tell,
                f"stopping {action.event_id}",
                repeatable=lambda error: isinstance(error, (ServerError, ConnectionLostError)),
                policy=_STOPPING,
            )
    except (JobwireError, TimeoutError) as error:
        why = str(error) or f"it did not answer within {_STOP_TIME:g} s"
        logger.warning("the server could not be told to stop %s: %s", action.event_id, why)
        return None
