"""The sessions of one client: which one takes a job, and what becomes of those that are left."""

from __future__ import annotations

import asyncio
import uuid

from jobwire.client.connections import ConnectionSession
from jobwire.client.job import AsyncJob
from jobwire.client.loading import LoadedApp
from jobwire.client.retrying import retrying
from jobwire.client.session import Limits, Session, job_path
from jobwire.exceptions import JobNotFoundError
from jobwire.protocol.replies import KnownJob, read_known_job
from jobwire.protocol.schema import AppSchema, Endpoint

__all__ = ("JobSession", "Sessions")

JobSession = Session | ConnectionSession


class Sessions:
    """Gives each job its session, and leaves sessions that the server has lost track of.

    New jobs go into one session, or into two if some endpoints want a connection for each job.
    A session that is left lasts until its jobs have ended.

    Attributes:
        session_hash: The name under which the server keeps the client's state.

    Args:
        app: Is told when a session was lost.
        limits: What the client bears.
    """

    def __init__(self, app: LoadedApp, limits: Limits) -> None:
        self.session_hash = str(uuid.uuid4())
        self._app = app
        self._limits = limits
        # For new jobs: one of each kind that the app's endpoints take.
        self._current: dict[type[JobSession], JobSession] = {}
        self._retired: list[JobSession] = []  # those with jobs still in flight
        self._attached: set[Session] = set()  # each for a job that was asked for by its id

    @property
    def damaged(self) -> bool:
        """Whether the server has lost track of a session that new jobs would go into."""
        return any(session.damaged for session in self._current.values())

    def for_new_job(self, schema: AppSchema, endpoint: Endpoint) -> JobSession:
        """Return the session for a job of an endpoint.

        Raises:
            ClientClosedError: The app was closed.
        """
        shared = schema.carrier(endpoint) == "session stream"
        kind: type[JobSession] = Session if shared else ConnectionSession
        self.leave_damaged()
        if kind not in self._current:
            common = self._app.transport, schema, self._limits, self.session_hash
            self._current[kind] = (
                Session(*common, self.log_in, self.follow) if shared else ConnectionSession(*common)
            )
        return self._current[kind]

    async def log_in(self) -> bool:
        """Log in again at a server that does not know us any more; False if we have no login."""
        if not self._app.has_login:
            return False
        self.leave_damaged()
        await self._app.look_again()
        return True

    def take_rendered(self, session: JobSession, config: bytes) -> None:
        """Take on the endpoints that a job has rendered, for as long as its session lasts.

        Args:
            session: The job's.
            config: The server's word of them.
        """
        if session is self._current.get(Session):
            self._app.add_rendered(config)

    # -- leaving sessions --

    def reset(self) -> None:
        """Begin another session, under another name. Jobs in flight go on in theirs."""
        self.session_hash = str(uuid.uuid4())
        self._retire()

    def leave_damaged(self) -> None:
        """Begin another session if the server has lost track of this one."""
        if not self.damaged:
            return
        self._app.doubt()
        schema = self._app.schema
        # A new name keeps the server's remains of the old session from taking our
        # messages; but an app that keeps state keeps it under the old one.
        if schema is None or not schema.stateful:
            self.session_hash = str(uuid.uuid4())
        self._retire()

    def _retire(self) -> None:
        self._retired = [session for session in self._retired if session.busy]
        for session in self._current.values():
            session.retire()
            self._retired.append(session)
        self._current.clear()
        self._app.drop_rendered()

    # -- jobs of others --

    async def look_up(self, schema: AppSchema, event_id: str) -> KnownJob:
        """Return what the server knows of a job that may be of any session.

        Raises:
            JobNotFoundError: It has no such job.
            JobwireError: It cannot be reached, or refuses.
        """
        url = f"{schema.url}{schema.prefix}{job_path(event_id)}"

        async def look() -> KnownJob:
            reply = await self._app.transport.request("GET", url)
            if reply.status == 401 and await self.log_in():
                reply = await self._app.transport.request("GET", url)
            if reply.status == 404:
                raise JobNotFoundError(event_id=event_id)
            return read_known_job(*reply, url=url)

        return await retrying(look, f"looking for the job {event_id}")

    def attach(self, event_id: str) -> Session:
        """Return a session that is to follow one job alone.

        Args:
            event_id: The job, which may be of any session.
        """
        schema = self._app.schema
        assert schema is not None  # noqa: S101  (or nobody would know of a job)
        session = Session(
            self._app.transport,
            schema,
            self._limits,
            self.session_hash,
            self.log_in,
            self.follow,
            job_id=event_id,
        )
        self._attached.add(session)
        return session

    def follow(self, job: AsyncJob, event_id: str) -> None:
        """Follow a job alone from now on, whose session may have been told all of it before."""
        session = job._session = self.attach(event_id)
        self.begin(job, session, event_id)

    def begin(self, job: AsyncJob, session: Session, event_id: str) -> None:
        """Begin to follow a job, until it has ended."""
        job.add_done_callback(lambda _: self._leave(session))
        session.attach(job, job._machine, event_id)

    def _leave(self, session: Session) -> None:
        session.retire()
        self._attached.discard(session)

    # -- the end --

    def _all(self) -> list[JobSession]:
        return [*self._retired, *self._current.values(), *self._attached]

    def close(self) -> None:
        """Fail the jobs in flight at once, and begin to tell the server. Does not wait."""
        for session in self._all():
            session.close()

    async def aclose(self) -> None:
        """Wait until the server was told, for a moment, and end every task.

        Harmless when repeated.
        """
        await asyncio.gather(*(session.aclose() for session in self._all()))
        self._retired.clear()
        self._attached.clear()
        self._current.clear()
