"""What the server does, apart from HTTP: takes calls, and follows, cancels and forgets them."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from jobwire.exceptions import AppError, EndpointNotFoundError, QueueFullError
from jobwire.server.abandonment import Abandonment
from jobwire.server.channels import Channel, Channels
from jobwire.server.context import Request, Session
from jobwire.server.delivery import Delivery
from jobwire.server.endpoint import Endpoint
from jobwire.server.files import FileStore
from jobwire.server.job import Caller, Job, JobFiles
from jobwire.server.queue import Cancellation, Queue, Workers
from jobwire.server.recovery import decode_caller, decode_data, encode_caller, last_output
from jobwire.server.stores import make_store
from jobwire.server.stores.base import JobNotFoundError, Ticket
from jobwire.server.uploads import UploadProgress

if TYPE_CHECKING:
    from jobwire.server.settings import Settings

__all__ = ("Service",)

MAX_SESSIONS = 10_000
"""Sessions that are kept, as in gradio."""

ID_SIZE = 16
"""Random bytes of a job's id: who has it can read the job, so it cannot be guessed."""

IDS_AT_ONCE = 256

CONFIRM_DELAY = 0.02
"""Seconds after the end of a session's stream before ``gradio_client`` is told that a new job
was accepted. One that learns of the job before it has read the stream's end takes it for one
of that stream's, and gives it up."""

NEWS_DELAY = 0.05
"""Seconds after that before a stream that is open already brings it news of the job. Before
2.x, a job that ends before it has noted the job's id breaks its stream; it looks for news 20
times a second, so it does not lose by it."""

EMPTY_TTL = 1.0
"""Seconds for which a session without state is remembered after its stream."""

HOUSEKEEPING_INTERVAL = 1.0
"""Seconds between two looks for what has expired, as long as there is something to expire."""


class Service:
    """The running server of an app. Belongs to one event loop.

    Args:
        endpoints: By name.
        settings: See `Settings`.
    """

    def __init__(self, endpoints: Mapping[str, Endpoint], settings: Settings) -> None:
        self.loop = asyncio.get_running_loop()
        self.endpoints = endpoints
        self.started = time.monotonic()
        self.delivery = Delivery()
        self.store = make_store(settings)
        self.store.open(
            self.delivery.wake, {e.api_name: e.concurrency_id for e in endpoints.values()}
        )
        self.queue = Queue(
            endpoints,
            self.store,
            max_size=settings.max_size,
            max_threads=settings.max_threads,
            workers=Workers(
                settings.executor == "process",
                settings.max_processes or os.cpu_count() or 1,
                settings.max_jobs_per_process,
            ),
            on_end=self._ended,
            on_progress=self.delivery.wake_for_progress,
            revive=self._revive,
        )
        self.channels = Channels(self._make_channel, ttl=settings.session_ttl, most=MAX_SESSIONS)
        self.files = FileStore(
            self.store.file_root,
            index=self.store.file_index,
            max_file_size=settings.max_file_size,
            max_size=settings.max_storage_size,
            ttl=settings.upload_ttl,
        )
        self.uploads = UploadProgress()
        self.closed = False
        self._stopped = False
        self._released = False
        self._abandonment = Abandonment(
            has_listener=self.delivery.has_listener, give_up=self._give_up
        )
        self._held: dict[str, JobFiles] = {}  # of jobs that have ended
        self._ids: list[str] = []  # for jobs to come
        self._housekeeping: asyncio.TimerHandle | None = None
        self._recover()

    def _recover(self) -> None:
        for id, paths in self.store.holds().items():
            self._held[id] = JobFiles(self.files, owner=None, root="", held=paths)
        self.queue.recover()
        if self.store.durable:
            self.keep_house()

    # -- calls ---------------------------------------------------------------------

    def find(self, name: str | int) -> Endpoint:
        """Return the endpoint with a name, or an id.

        Raises:
            EndpointNotFoundError: There is none for callers.
        """
        if isinstance(name, int):
            found = next((e for e in self.endpoints.values() if e.id == name), None)
        else:
            found = self.endpoints.get(name)
        if found is None or found.visibility == "private":
            names = [e.label for e in self.endpoints.values() if e.visibility == "public"]
            wanted = f"fn_index {name}" if isinstance(name, int) else f"/{name}"
            raise EndpointNotFoundError(
                f"there is no endpoint {wanted}; there is {', '.join(names) or 'none at all'}",
                endpoint=name,
                available=names,
            )
        return found

    async def submit(
        self,
        endpoint: Endpoint,
        values: Sequence[Any],
        data: bytes,
        caller: Caller,
        *,
        channel: Channel | None = None,
        session: Session | None = None,
        key: str | None = None,
    ) -> str:
        """Accept a call.

        Args:
            endpoint: What to call.
            values: The arguments as decoded JSON, one for each input; those at the end
                may be missing if they have defaults.
            data: The same as JSON.
            caller: Who calls.
            channel: Where to tell of the job; None if callers will come and ask.
            session: The caller's session; None for one that is thrown away.
            key: Calls of the user with the same one are the same call; None if it has none.

        Returns:
            The job's id.

        Raises:
            InputError: The arguments do not fit.
            QueueFullError: Too many jobs wait, or the server is about to stop.
            KeyReusedError: The key came before, with another call.
            StoreError: The job cannot be kept.
        """
        if self.closed:
            raise QueueFullError("Queue is stopped.", status=503)
        request = caller.request
        id = self._new_id()
        files = self._files(id, caller)
        if channel is not None:
            channel.add(id, delay=NEWS_DELAY if caller.is_stock_python else 0.0)
        try:
            args = endpoint.signature.decode(values, files=files)
            session = session or Session(None, request.username)
            job = Job(id, endpoint, args, session=session, request=request, files=files)
            priority = endpoint.priority
            session._jobs.add(id)
            accepted = await self.queue.submit(
                job,
                data,
                priority=priority if isinstance(priority, int) else priority(request),
                sharer=request.username or session.id or request.client or "",
                told=channel is not None,
                caller=encode_caller(caller) if self.store.durable else b"",
                key=key and _scoped(key, request),
            )
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):  # else it may be accepted
                self._undo(id, files, session, channel)
            raise
        if accepted != id:
            self._undo(id, files, session, channel)
            if channel is not None:
                channel.add(accepted)
            return accepted
        if endpoint.abandon_after is not None and not self.delivery.has_listener(id):
            self._abandonment.leave([id], endpoint.abandon_after)
        if channel is not None and caller.is_stock_python:
            await asyncio.sleep(max(0.0, channel.ended + CONFIRM_DELAY - time.monotonic()))
        self.keep_house()
        return id

    def _undo(
        self, id: str, files: JobFiles, session: Session | None, channel: Channel | None
    ) -> None:
        files.release()
        if session is not None:
            session._jobs.discard(id)
        if channel is not None:
            channel.drop(id)

    def _files(self, id: str, caller: Caller, held: Sequence[str] = ()) -> JobFiles:
        return JobFiles(
            self.files,
            owner=caller.request.username,
            root=caller.root,
            held=held,
            on_publish=partial(self.store.hold, id) if self.store.durable else None,
        )

    def _revive(self, ticket: Ticket) -> Job:
        """Make a job of what was kept of it. Any thread may call it.

        Raises:
            InputError: The function takes other arguments by now.
            AppError: There is no such function any more.
        """
        endpoint = self.endpoints.get(ticket.endpoint)
        if endpoint is None:
            raise AppError(f"there is no endpoint /{ticket.endpoint} any more", title="Gone")
        caller = decode_caller(ticket)
        held = self._held.pop(ticket.id, None)
        files = self._files(ticket.id, caller, held.paths if held is not None else ())
        if held is not None:
            held.release()
        args = endpoint.signature.decode(decode_data(ticket.data), files=files)
        session = (
            Session(None, ticket.user)
            if ticket.session is None
            else self.channels.session(ticket.session, ticket.user)
        )
        session._jobs.add(ticket.id)
        if endpoint.abandon_after is not None:
            self.loop.call_soon_threadsafe(
                self._abandonment.leave, [ticket.id], endpoint.abandon_after
            )
        return Job(
            ticket.id,
            endpoint,
            args,
            session=session,
            request=caller.request,
            files=files,
            last=last_output(self.store, ticket.id) if ticket.starts else None,
        )

    def _new_id(self) -> str:
        # Drawn in bulk: a system call gives up the interpreter lock, and a thread takes it.
        if not self._ids:
            random = secrets.token_hex(ID_SIZE * IDS_AT_ONCE)
            self._ids = [
                random[start : start + 2 * ID_SIZE] for start in range(0, len(random), 2 * ID_SIZE)
            ]
        return self._ids.pop()

    def ticket(self, id: str, username: str | None) -> Ticket:
        """Return what is known of a user's job.

        Raises:
            JobNotFoundError: There is none with that id, or it is somebody else's.
        """
        ticket = self.store.ticket(id)
        if ticket.user != username:
            raise JobNotFoundError(event_id=id)
        return ticket

    def cancel(self, id: str, *, session: str | None, username: str | None) -> Cancellation:
        """Cancel a job.

        Args:
            id: The job.
            session: The session that it belongs to; None for a job without one.
            username: Who asks.

        Raises:
            JobNotFoundError: There is no such job of that session and user.
        """
        ticket = self.ticket(id, username)
        if ticket.session is not None and ticket.session != session:
            raise JobNotFoundError(event_id=id)
        return self.queue.cancel(id)

    def channel(self, hash: str, username: str | None, *, after: int | None) -> Channel | None:
        """Return the channel of a session that opens a stream; None if there is no such session.

        Args:
            hash: The session.
            username: Whose.
            after: The number of the last event that the client has had; None if it cannot say.
        """
        channel = self.channels.get(hash, username)
        if channel is not None and after is None:
            return channel
        # What it has been told is forgotten here, but not in the store; nor is what came before
        # a restart.
        firsts = self.store.of_session(hash, username, after=after)
        if channel is None:
            if not firsts:
                return None
            channel = self.channels.open(hash, username)
        channel.expect(firsts, after=after)
        return channel

    def job_channel(self, id: str) -> Channel:
        """Return a channel of its own for a job."""
        channel = self._make_channel(Session(None, None), time.monotonic())
        channel.add(id)
        return channel

    def leave(self, channel: Channel) -> None:
        """A session's stream is over; if it broke, what nobody waits for is stopped in a while."""
        if channel.session.id is None:  # it was made for one stream
            jobs = channel.jobs
            for id in jobs:
                channel.drop(id)
                self.leave_job(id)
        elif not channel.pending:
            self.loop.call_later(EMPTY_TTL, self.channels.forget_if_empty, channel)
        else:
            for id in channel.jobs:
                self.leave_job(id)

    def leave_job(self, id: str) -> None:
        """Somebody who listened to a job is gone."""
        job = self.queue.jobs.get(id)
        if job is not None and job.endpoint.abandon_after is not None:
            self._abandonment.leave([id], job.endpoint.abandon_after)

    def _give_up(self, id: str) -> None:
        if id in self.queue.jobs and not self.closed:
            self.queue.cancel(id)

    def _make_channel(self, session: Session, now: float) -> Channel:
        return Channel(session, store=self.store, queue=self.queue, delivery=self.delivery, now=now)

    # -- the end of things ------------------------------------------------------------

    def _ended(self, job: Job) -> None:
        job.session._jobs.discard(job.id)
        # A function that goes on after its end may give files yet.
        if job.files or (job.run is not None and job.run.stopped):
            self._held[job.id] = job.files

    def keep_house(self) -> None:
        """Forget what has expired, now and then, until there is nothing left to expire."""
        if self._housekeeping is None and not self.closed:
            self._housekeeping = self.loop.call_later(HOUSEKEEPING_INTERVAL, self._keep_house)

    def _keep_house(self) -> None:
        self._housekeeping = None
        expired, due = self.store.expire()
        for id in expired:
            self.delivery.forget(id)
            if (files := self._held.pop(id, None)) is not None:
                files.release()
        dues = [due, self.channels.expire(), self.files.expire()]
        times = [each for each in dues if each is not None]
        if self.queue.jobs:
            times.append(HOUSEKEEPING_INTERVAL)
        if times and not self.closed:
            self._housekeeping = self.loop.call_later(
                max(HOUSEKEEPING_INTERVAL, min(times)), self._keep_house
            )

    async def drain(self, grace: float) -> None:
        """Accept no more jobs and start none, and let those that run come to their end.

        Args:
            grace: Seconds that they have for it.
        """
        self.closed = True
        await self.queue.drain(grace)

    def stop(self) -> None:
        """Stop: jobs that did not end fail, or are left in a store that outlives the server.
        Streams tell it. Harmless when repeated."""
        if self._stopped:
            return
        self.closed = self._stopped = True
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        self.queue.close()
        self.store.flush()
        self.delivery.close()

    def close(self) -> None:
        """Stop, and release what the server holds. Harmless when repeated."""
        if not self._released:
            self._released = True
            self.stop()
            self.files.close()
            if self.store.durable:
                self.store.close()


def _scoped(key: str, request: Request) -> str:
    """Return an idempotency key as it is kept: nobody can find a job with another's key."""
    if request.username is not None:
        whose = ["user", request.username]
    elif request.session_hash is not None:
        whose = ["session", request.session_hash]
    else:
        whose = ["client", request.client or ""]
    parts = b"\0".join(part.encode("utf-8", "surrogatepass") for part in [*whose, key])
    return blake2b(parts, digest_size=20).hexdigest()
