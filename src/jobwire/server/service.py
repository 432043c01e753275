"""What the server does, apart from HTTP: takes calls, and follows, cancels and forgets them."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobwire.exceptions import EndpointNotFoundError, QueueFullError
from jobwire.server.channels import Channel, Channels
from jobwire.server.context import Session
from jobwire.server.delivery import Delivery
from jobwire.server.endpoint import Endpoint
from jobwire.server.files import FileStore
from jobwire.server.job import Caller, Job, JobFiles
from jobwire.server.queue import Cancellation, Queue, Workers
from jobwire.server.stores.base import JobNotFoundError, Store, Ticket
from jobwire.server.stores.memory import MemoryStore
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
        self.store: Store = MemoryStore(
            result_ttl=settings.result_ttl,
            max_log_size=settings.max_output_size,
            max_size=settings.max_results_size,
        )
        self.store.open(self.delivery.wake)
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
        )
        self.channels = Channels(self._make_channel, ttl=settings.session_ttl, most=MAX_SESSIONS)
        self.files = FileStore(
            max_file_size=settings.max_file_size,
            max_size=settings.max_storage_size,
            ttl=settings.upload_ttl,
        )
        self.uploads = UploadProgress()
        self.closed = False
        self._abandon_after = settings.abandon_after
        self._held: dict[str, JobFiles] = {}  # of jobs that have ended
        self._ids: list[str] = []  # for jobs to come
        self._housekeeping: asyncio.TimerHandle | None = None

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
    ) -> Job:
        """Accept a call.

        Args:
            endpoint: What to call.
            values: The arguments as decoded JSON, one for each input; those at the end
                may be missing if they have defaults.
            data: The same as JSON.
            caller: Who calls.
            channel: Where to tell of the job; None if callers will come and ask.
            session: The caller's session; None for one that is thrown away.

        Raises:
            InputError: The arguments do not fit.
            QueueFullError: Too many jobs wait, or the server is about to stop.
        """
        if self.closed:
            raise QueueFullError("Queue is stopped.", status=503)
        request = caller.request
        files = JobFiles(self.files, owner=request.username, root=caller.root)
        id = self._new_id()
        try:
            args = endpoint.signature.decode(values, files=files)
            session = session or Session(None, request.username)
            job = Job(id, endpoint, args, session=session, request=request, files=files)
            priority = endpoint.priority
            session._jobs.add(id)
            await self.queue.submit(
                job,
                data,
                priority=priority if isinstance(priority, int) else priority(request),
                sharer=request.username or session.id or request.client or "",
            )
        except BaseException:
            files.release()
            if session is not None:
                session._jobs.discard(id)
            raise
        if channel is not None:
            channel.add(id, delay=NEWS_DELAY if caller.is_stock_python else 0.0)
        if channel is not None and caller.is_stock_python:
            await asyncio.sleep(max(0.0, channel.ended + CONFIRM_DELAY - time.monotonic()))
        self.keep_house()
        return job

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
            raise JobNotFoundError(id)
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
            raise JobNotFoundError(id)
        return self.queue.cancel(id)

    def leave(self, channel: Channel) -> None:
        """A session's stream is over; if it broke, its generators are stopped in a while."""
        if not channel.pending:
            self.loop.call_later(EMPTY_TTL, self.channels.forget_if_empty, channel)
        elif self._abandon_after is not None:
            self.loop.call_later(self._abandon_after, self._abandon, channel, channel.streams)

    def _abandon(self, channel: Channel, streams: int) -> None:
        if channel.streams != streams:
            return  # it came back; what happened since is another matter
        for id in channel.jobs:
            job = self.queue.jobs.get(id)
            if job is not None and job.endpoint.signature.kind.endswith("generator"):
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

    def close(self) -> None:
        """Stop: jobs that did not end fail, and files are deleted. Harmless when repeated."""
        if self.closed:
            return
        self.closed = True
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        self.queue.close()
        self.files.close()
