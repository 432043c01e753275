"""Jobs that each have a connection of their own: carries out what `ConnectionProtocol` decides."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from jobwire.client.job import AsyncJob
from jobwire.client.retrying import submitting
from jobwire.client.session import (
    CLOSE_TIMEOUT,
    EVENTS,
    Limits,
    check_stream,
    stop_job,
)
from jobwire.client.tasks import run_soon
from jobwire.exceptions import JobwireError, ServerError
from jobwire.protocol.connection import (
    AnswerData,
    AnswerHash,
    CloseConnection,
    ConnectionProtocol,
)
from jobwire.protocol.job import JobMachine
from jobwire.protocol.payload import batch_body, extend_body
from jobwire.protocol.replies import check, read_output, refuse_websocket
from jobwire.protocol.schema import AppSchema, Endpoint
from jobwire.protocol.stopping import StopJob
from jobwire.transports.base import Timeouts, Transport, WebSocketRefusedError

__all__ = ("ConnectionSession",)

logger = logging.getLogger("jobwire")

MAX_CONNECTIONS = 100
"""Jobs that may have a connection at once; others wait here. Each is an open file for this
process and for the server, and a process may have but 256 on some systems."""

SETTLE_TIME = 5.0
"""Seconds that a server gets to notice, at its next output, that nobody listens to a generator
any more. Until then it would take the next call of the function in the session for the same."""


class _Carried:
    """A job, what is sent for it, and its connection."""

    def __init__(
        self, job: AsyncJob, machine: JobMachine, endpoint: Endpoint, protocol: ConnectionProtocol
    ) -> None:
        self.job = job
        self.machine = machine
        self.endpoint = endpoint
        self.protocol = protocol
        self.session_hash = ""
        self.body = b""
        self.headers: Mapping[str, str] = {}
        self.task: asyncio.Task[None] | None = None
        self.stop: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.seen = machine.version


class ConnectionSession:
    """The jobs of one client where each has a connection: a WebSocket, a stream, or a request.

    Runs one task for each job, `MAX_CONNECTIONS` of which do more than wait.

    Args:
        transport: Sends the requests.
        schema: The app.
        limits: What it bears.
        session_hash: Under which name the app keeps this client's state.
    """

    damaged = False
    """A connection that breaks harms no other job."""

    durable = False
    """No server that wants this keeps jobs."""

    def __init__(
        self, transport: Transport, schema: AppSchema, limits: Limits, session_hash: str
    ) -> None:
        self.session_hash = session_hash
        self._transport = transport
        self._schema = schema
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[JobMachine, _Carried] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stops: set[asyncio.Task[Any]] = set()
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        # On 3.x, by function: whose turn it is in our session, and names that are free.
        self._turns: dict[int, asyncio.Lock] = {}
        self._names: dict[int, list[str]] = {}

    @property
    def busy(self) -> bool:
        """Jobs are in flight, or the server is still to be told of some."""
        return bool(self._jobs or self._tasks)

    def _url(self, path: str) -> str:
        return f"{self._schema.url}{self._schema.prefix}{path}"

    def register(self, job: AsyncJob, machine: JobMachine) -> None:
        """Take on a job that is to be sent; `submit` or `withdraw` must follow.

        Args:
            job: Is told of each change.
            machine: The same job's sans-IO side.
        """
        endpoint = self._schema.endpoints[machine.fn_index]
        queued = self._schema.carrier(endpoint) != "request"
        protocol = ConnectionProtocol(
            machine,
            # A direct call is answered when it has run, and that may take any time.
            answer_timeout=self._limits.timeouts.read if queued else None,
            max_event_size=self._limits.max_event_size,
        )
        self._jobs[machine] = _Carried(job, machine, endpoint, protocol)

    def withdraw(self, machine: JobMachine) -> None:
        """Give a job up that was not sent; another session may take it."""
        self._jobs.pop(machine, None)

    def stops(self, fn_index: int) -> set[asyncio.Task[Any]]:
        """Return nothing: here each job is stopped alone."""
        return set()

    async def submit(self, machine: JobMachine, body: bytes, headers: Mapping[str, str]) -> None:
        """Begin to send a job. What comes of it is found in the job; raises nothing.

        Args:
            machine: A registered job.
            body: The job, without its session.
            headers: Added to the client's own.
        """
        carried = self._jobs.get(machine)
        if carried is not None:  # else it was cancelled
            carried.body, carried.headers = body, headers
            carried.task = run_soon(self._tasks, self._run(carried))

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
        carried = self._jobs.get(machine)
        if carried is None:  # settled
            ended = machine.give_up(error, now)
            job._notify()
            return ended
        cancelled = carried.protocol.cancel(now, error)
        self._carry_out(carried)
        telling = [task for task in (carried.task, carried.stop) if task is not None]
        if carried.protocol.closed and telling:
            await asyncio.wait(telling)
        return cancelled

    def retire(self) -> None:
        """Take no more jobs. Nothing is kept for those to come, so nothing is closed."""

    def close(self) -> None:
        """Fail the jobs in flight at once, and begin to tell the server. Does not wait."""
        for carried in list(self._jobs.values()):
            carried.protocol.close(self._loop.time())
            self._carry_out(carried)

    async def aclose(self) -> None:
        """Wait until the server was told, for a moment, and end every task.

        Harmless when repeated.
        """
        self.close()
        if self._stops:
            await asyncio.wait(self._stops, timeout=CLOSE_TIMEOUT)
        tasks = [*self._tasks, *self._stops]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- carrying out what the protocol decides --

    def _carry_out(self, carried: _Carried) -> list[AnswerHash | AnswerData]:
        """Do what can be done at once; return what the job's own task must still send."""
        answers: list[AnswerHash | AnswerData] = []
        for action in carried.protocol.actions():
            match action:
                case AnswerHash() | AnswerData():
                    answers.append(action)
                case StopJob():
                    stop = stop_job(
                        self._transport.request, self._schema, self.session_hash, action
                    )
                    carried.stop = run_soon(self._stops, stop)
                case CloseConnection():
                    # The task itself sees that there is no more to do.
                    if carried.task is not None and carried.task is not asyncio.current_task():
                        carried.task.cancel()
        machine = carried.machine
        if (machine.state.settled or machine.lost) and self._jobs.get(machine) is carried:
            del self._jobs[machine]
            if machine.lost:
                carried.job._submit_again()
        if carried.seen != carried.machine.version:
            carried.seen = carried.machine.version
            carried.job._notify()
        self._set_timer(carried)
        return [] if carried.protocol.closed else answers

    def _set_timer(self, carried: _Carried) -> None:
        due = carried.protocol.next_timer()
        if carried.timer is not None and due is None:
            carried.timer.cancel()
            carried.timer = None
        elif carried.timer is None and due is not None:
            carried.timer = self._loop.call_at(due, self._on_timer, carried)

    def _on_timer(self, carried: _Carried) -> None:
        carried.timer = None
        carried.protocol.handle_timer(self._loop.time())
        self._carry_out(carried)

    async def _run(self, carried: _Carried) -> None:
        """See a job to its end."""
        protocol, now = carried.protocol, self._loop.time
        try:
            async with self._own_name(carried), self._connections:
                await self._connect(carried)
        except JobwireError as error:
            protocol.receive_error(error, now())
        except Exception as error:
            # A job must have an outcome, whatever it is that we did not think of.
            logger.exception("a job could not be seen to its end")
            protocol.rejected(JobwireError(f"the job failed on this side: {error!r}"), now())
        else:
            protocol.receive_eof(now())
        self._carry_out(carried)

    @asynccontextmanager
    async def _own_name(self, carried: _Carried) -> AsyncGenerator[None]:
        """Give a job a session hash under which no other job of its function runs.

        Servers before 4.0 tell jobs apart by these two alone, and send the progress and the
        outputs of one to the other.
        """
        carried.session_hash = self.session_hash
        id = carried.endpoint.id
        if self._schema.carrier(carried.endpoint) != "websocket":
            yield
        elif carried.endpoint.stateful:
            turn = self._turns.setdefault(id, asyncio.Lock())
            await turn.acquire()
            try:
                yield
            finally:
                if carried.endpoint.generator and carried.protocol.abandoned:
                    self._loop.call_later(SETTLE_TIME, turn.release)
                else:
                    turn.release()
        else:
            free = self._names.setdefault(id, [self.session_hash])
            carried.session_hash = free.pop() if free else str(uuid.uuid4())
            try:
                yield
            finally:
                if not carried.protocol.abandoned:
                    free.append(carried.session_hash)

    async def _connect(self, carried: _Carried) -> None:
        """Have the job over its connection; try again if there is none."""
        carried.body = extend_body(carried.body, session_hash=carried.session_hash)
        carrier = self._schema.carrier(carried.endpoint)
        attempt = {
            "websocket": self._over_websocket,
            "job stream": self._over_stream,
            "request": self._over_request,
        }[carrier]

        async def connect() -> None:
            carried.protocol.connecting(self._loop.time())
            self._set_timer(carried)
            try:
                await attempt(carried)
            except JobwireError:
                carried.protocol.unconnected()
                self._set_timer(carried)
                raise

        # A proxy may refuse for a moment. Nothing can have run before the server asked for
        # the arguments.
        await submitting(
            connect,
            carried.job,
            repeatable=lambda error: carrier != "request" and isinstance(error, ServerError),
        )

    # -- the three kinds of connection --

    async def _over_websocket(self, carried: _Carried) -> None:
        connection = self._transport.websocket(
            self._url("queue/join"),
            max_size=self._limits.max_event_size,
            headers=carried.headers,
            timeouts=self._limits.timeouts,
            idle_timeout=self._limits.idle_timeout,
        )
        try:
            async with connection as socket:
                async for message in socket.messages():
                    carried.protocol.receive_message(message, self._loop.time())
                    for answer in self._carry_out(carried):
                        await socket.send(_answer(carried, answer).decode())
                    if carried.protocol.closed:
                        return
        except WebSocketRefusedError as error:
            refuse_websocket(error.status, error.headers, str(error))

    async def _over_stream(self, carried: _Carried) -> None:
        url = self._url("queue/join")
        query = f"fn_index={carried.endpoint.id}&session_hash={carried.session_hash}"
        async with self._transport.stream(
            f"{url}?{query}",
            headers={**EVENTS, **carried.headers},
            timeouts=Timeouts(self._limits.timeouts.connect, None),
        ) as stream:
            await check_stream(stream, url)
            async for chunk in stream.chunks():
                carried.protocol.receive_data(chunk, self._loop.time())
                for answer in self._carry_out(carried):
                    await self._post_answer(carried, answer)
                if carried.protocol.closed:
                    return

    async def _post_answer(self, carried: _Carried, answer: AnswerHash | AnswerData) -> None:
        url = self._url("queue/data")
        try:
            reply = await self._transport.request(
                "POST", url, body=_answer(carried, answer), headers=carried.headers
            )
            check(*reply, url=url)
        except JobwireError as error:
            carried.protocol.rejected(error, self._loop.time())
            self._carry_out(carried)

    async def _over_request(self, carried: _Carried) -> None:
        carried.protocol.sending()
        url = self._url("run/predict")
        batch = carried.endpoint.batch
        reply = await self._transport.request(
            "POST",
            url,
            body=batch_body(carried.body) if batch else carried.body,
            headers=carried.headers,
            timeouts=Timeouts(self._limits.timeouts.connect, None),
        )
        message = read_output(*reply, url=url, batch=batch)
        carried.protocol.receive(message, self._loop.time())


def _answer(carried: _Carried, answer: AnswerHash | AnswerData) -> bytes:
    if isinstance(answer, AnswerHash):
        fields = {"fn_index": carried.endpoint.id, "session_hash": carried.session_hash}
        return json.dumps(fields).encode()
    if answer.event_id is None:
        return carried.body
    return extend_body(carried.body, event_id=answer.event_id)
