"""The asynchronous client."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import tempfile
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from jobwire import __version__
from jobwire.client.addresses import split_credentials
from jobwire.client.call import Call
from jobwire.client.connections import ConnectionSession
from jobwire.client.deadline import Deadline, check_retries, check_timeout
from jobwire.client.fetch import Fetch
from jobwire.client.headers import lower
from jobwire.client.job import AsyncJob
from jobwire.client.observer import observe
from jobwire.client.opening import AppAddress
from jobwire.client.options import with_httpx_kwargs
from jobwire.client.pending import PendingLimit
from jobwire.client.result import AsyncFileResult
from jobwire.client.retrying import LOADING, retrying
from jobwire.client.session import CLOSE_TIMEOUT, Limits, Session, job_path
from jobwire.client.spaces import duplicate, is_hugging_face, space_name
from jobwire.client.tasks import run_soon
from jobwire.client.transfer import FileTransfer
from jobwire.client.zerogpu import caller_headers
from jobwire.exceptions import (
    AppError,
    ArgumentError,
    AuthenticationError,
    ClientClosedError,
    FileError,
    JobNotFoundError,
    JobwireError,
    LocalProtocolError,
    RemoteProtocolError,
    ServerError,
    UnsupportedProtocolError,
)
from jobwire.protocol.description import describe, listed_info
from jobwire.protocol.job import JobMachine
from jobwire.protocol.limits import (
    IDLE_TIMEOUT,
    MAX_DOWNLOAD_SIZE,
    MAX_EVENT_SIZE,
    SPACE_TIMEOUT,
)
from jobwire.protocol.messages import decode_value
from jobwire.protocol.old_files import reader
from jobwire.protocol.outputs import OutputLog
from jobwire.protocol.payload import bind_arguments, needs_info, presenter
from jobwire.protocol.replies import KnownJob, read_json, read_known_job
from jobwire.protocol.retry import RetryPolicy
from jobwire.protocol.schema import AppSchema, Endpoint
from jobwire.trace import Trace
from jobwire.transports.base import Timeouts, Transport, TransportOptions
from jobwire.types import ProgressUnit

__all__ = ("AsyncClient",)

logger = logging.getLogger("jobwire")

T = TypeVar("T")

JobSession = Session | ConnectionSession

_EVENT_DATA = "event_data"


class AsyncClient:
    """Calls the endpoints of a running Gradio app, from asynchronous code.

    ::

        async with AsyncClient("http://127.0.0.1:7860") as client:
            print(await client.predict("Ada", api_name="/greet"))

            job = await client.submit(10, api_name="/count")
            async for output in job:
                print(output)

    A client belongs to the event loop in which it is first used, and any number of
    that loop's tasks may use it at once. It runs one task for all its jobs; with servers
    before gradio 4.9, which want a connection for each, one for each.

    Args:
        src: The address at which the app's page opens, with ``http://`` or
            ``https://``. Query and fragment are ignored; ``user:password@`` is sent as
            basic authentication, for what may stand in front of the app. Or the name of
            a Space on Hugging Face, ``"OWNER/NAME"``, which takes the library of the
            Hub: ``pip install 'jobwire[hub]'``.
        token: A Hugging Face token, for a private Space. It is sent to the app and, if
            ``src`` is a Space's name, to the Hub; to nobody else. None sends the one
            that is saved on this machine, and only to Hugging Face's own hosts; False
            sends none.
        max_workers: How many submissions may be on their way to the server at once.
            Jobs that the server has taken do not count; see ``max_pending``.
        verbose: Log, at INFO, which app was loaded. Nothing is ever printed.
        auth: ``(user, password)`` for an app that wants a login. Sent only if it does.
        httpx_kwargs: What programs pass to ``gradio_client`` for its HTTP library, and
            what has a meaning without that: ``timeout`` (instead of ``connect_timeout``
            and ``read_timeout``), ``proxy``, ``cookies``, ``verify`` (instead of
            ``ssl_verify``), ``cert``, ``auth`` and ``trust_env``. Not used for the Hub.
        headers: Sent with every request.
        download_files: What becomes of files in outputs. A directory: they are fetched
            into it as they come, and outputs have their paths. None: likewise, into
            ``GRADIO_TEMP_DIR`` or, without that, ``gradio`` in the directory for temporary
            files. ``"lazy"``: outputs have an `AsyncFileResult` in place of each. False:
            they have what the server said, a `FileData`.
        ssl_verify: False accepts any TLS certificate, and with it anybody who gets in
            between.
        analytics_enabled: Has no effect: nothing is ever reported to anybody.
        oauth_token: A Hugging Face token with which the app may act in your name. Sent
            with calls of those endpoints that say they take one (``gr.OAuthToken``).
        connect_timeout: Seconds to make a connection; None waits for ever.
        read_timeout: Seconds without a sign of the server while it answers a request;
            None waits for ever. Jobs may take as long as they like.
        idle_timeout: Seconds of silence on the stream of events after which the jobs
            that wait on it are lost. Servers send a heartbeat every 15 s, so this is
            how a dead connection is noticed; those of gradio 3 are pinged. Also of what
            is told of one job, after a stream that broke was taken up again (4.17 to
            4.23). None waits for ever.
        space_timeout: Seconds to wait for a Space, given by name, that builds, starts or
            sleeps; None waits for ever, 0 not at all.
        timeout: Seconds that a job may take from the call to its result: waiting for the
            app's config, for ``max_pending`` and in the queue, sending and fetching files,
            and trying again included. The job is then cancelled, on the server too, and its
            outcome is `JobTimeoutError`. None for as long as it takes, 0 not at all.
        retries: How often a job may be submitted again if nobody knows what became of it:
            the reply to its submission was lost, or its connection was before it gave an
            output. The function may then run more than once, so say it only where that does
            no harm. What was surely not accepted is tried again whatever this is.
        max_pending: How many jobs may be in flight: those that have been submitted and have
            not ended, whether they wait here, on the server, run, or fetch files. `submit`
            and `predict` wait for a place, first come, first served. None for any number.
        max_event_size: Bytes of one message of the server, hence of one output.
        max_download_size: Bytes of one file that is fetched.
        transport: Makes what sends the requests; None means aiohttp.
        trace: Called with each `jobwire.trace.TraceEvent` of each job; None calls nobody.

    Raises:
        AddressError: ``src`` is no address. (It is first used by `connect`.)
        ArgumentError: A header cannot be sent, ``httpx_kwargs`` has something that has
            no meaning here, or ``timeout``, ``retries`` or ``max_pending`` makes no sense.
        ValueError: ``max_workers`` is less than 1.
    """

    def __init__(
        self,
        src: str,
        token: str | Literal[False] | None = None,
        max_workers: int = 40,
        verbose: bool = True,
        auth: tuple[str, str] | None = None,
        httpx_kwargs: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        download_files: str | os.PathLike[str] | Literal[False] | None = None,
        ssl_verify: bool = True,
        analytics_enabled: bool = True,
        oauth_token: str | None = None,
        connect_timeout: float | None = 10.0,
        read_timeout: float | None = 60.0,
        idle_timeout: float | None = IDLE_TIMEOUT,
        space_timeout: float | None = SPACE_TIMEOUT,
        timeout: float | None = None,
        retries: int = 0,
        max_pending: int | None = None,
        max_event_size: int = MAX_EVENT_SIZE,
        max_download_size: int = MAX_DOWNLOAD_SIZE,
        transport: Callable[[TransportOptions], Transport] | None = None,
        trace: Trace | None = None,
    ) -> None:
        self._trace = trace
        self._space_id = space_name(src)
        address, credentials = (
            split_credentials(src) if self._space_id is None else (self._space_id, None)
        )
        self._verbose = verbose
        self._oauth_token = oauth_token
        own_headers = {"user-agent": f"jobwire/{__version__}", "x-gradio-user": "api"}
        if credentials is not None:
            own_headers["authorization"] = credentials
        options = with_httpx_kwargs(
            TransportOptions(
                headers=own_headers,
                timeouts=Timeouts(connect_timeout, read_timeout),
                verify=ssl_verify,
            ),
            httpx_kwargs or {},
        )
        self._app = AppAddress(
            address,
            space_id=self._space_id,
            options=options._replace(headers={**options.headers, **lower(headers or {})}),
            make_transport=transport or _default_transport(),
            auth=auth,
            token=token,
            space_timeout=space_timeout,
            verbose=verbose,
        )
        self._timeouts = options.timeouts
        self._limits = Limits(self._timeouts, idle_timeout, max_event_size)
        self._lazy_files = download_files == "lazy"
        # None if files are left where they are.
        self._directory = (
            None if download_files is False or self._lazy_files else _directory(download_files)
        )
        self._max_download_size = max_download_size
        self._session_hash = str(uuid.uuid4())
        if max_workers < 1:
            raise ValueError(f"max_workers must be at least 1, not {max_workers}")
        self._gate = asyncio.Semaphore(max_workers)
        self._timeout = check_timeout(timeout)
        self._retries = check_retries(retries)
        self._pending = PendingLimit(max_pending)

        self._loop: asyncio.AbstractEventLoop | None = None
        self._transport: Transport | None = None
        self._schema: AppSchema | None = None
        self._loading: asyncio.Task[None] | None = None
        self._describing: asyncio.Task[AppSchema] | None = None
        self._reloading: asyncio.Task[None] | None = None
        self._stale = False  # a session was lost: another server may be there by now
        # For new jobs: one of each kind that the app's endpoints take.
        self._sessions: dict[type[JobSession], JobSession] = {}
        self._retired: list[JobSession] = []  # those with jobs still in flight
        self._attached: set[Session] = set()  # each for a job that was asked for by its id
        self._tasks: set[asyncio.Task[Any]] = set()
        self._fetches: set[asyncio.Task[Any]] = set()
        self._files: FileTransfer | None = None
        # Replaced by the plain face, which has a file for plain code.
        self._make_file: Callable[[AsyncFileResult], Any] = lambda file: file
        self._closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.src!r})"

    def __str__(self) -> str:
        """How the app is called, if its ``/info`` has been fetched. Does no I/O."""
        schema = self._schema
        return describe(schema) if schema is not None and schema.complete else repr(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    @property
    def src(self) -> str:
        """The app's root, with a trailing slash; a Space's name until `connect` has found it."""
        return self._app.url if self._schema is None else self._schema.url

    @property
    def space_id(self) -> str | None:
        """The Space's name, ``OWNER/NAME``; None if an address was given."""
        return self._space_id

    @property
    def session_hash(self) -> str:
        """The name under which the server keeps this client's state."""
        return self._session_hash

    # -- opening and closing --

    @classmethod
    async def duplicate(
        cls,
        from_id: str,
        to_id: str | None = None,
        token: str | None = None,
        private: bool = True,
        hardware: str | None = None,
        secrets: Mapping[str, str] | None = None,
        sleep_timeout: int = 5,
        max_workers: int = 40,
        verbose: bool = True,
        *,
        space_timeout: float | None = SPACE_TIMEOUT,
    ) -> Self:
        """Copy a Space into your account, and return a connected client of the copy.

        A copy that is there already is used. Hardware other than the free one is billed
        to you. Cancelling this ends the wait, and not what the Hub was told to do.

        Args:
            from_id: The Space to copy, ``OWNER/NAME``.
            to_id: The copy's name. None means that of the original; without an owner,
                it is for the account of the token.
            token: Of the account. None means the one that is saved on this machine.
            private: Whether only you can use the copy, if it is made now.
            hardware: Such as ``"t4-small"``; None means that of the original. A copy
                that is there already is changed as well.
            secrets: Given to the copy if it is made now; if it is there already, that is
                a UserWarning.
            sleep_timeout: Minutes without a request after which the copy sleeps and is
                not billed. The free hardware has a time of its own.
            max_workers: As for the client.
            verbose: As for the client.
            space_timeout: As for the client: a new copy has to be built first.

        Raises:
            SpaceNotFoundError: There is no such Space, or the token may not see it.
            SpaceDuplicationError: The Hub does not make the copy, or not like this.
            AuthenticationError: There is no token, or the Hub does not accept it.
            JobwireError: Whatever `connect` raises.
        """
        space_id = await duplicate(
            from_id,
            to_id,
            token,
            private=private,
            hardware=hardware,
            secrets=secrets,
            sleep_timeout=sleep_timeout,
            verbose=verbose,
        )
        client = cls(space_id, token, max_workers, verbose, space_timeout=space_timeout)
        return await client.__aenter__()

    async def connect(self) -> Self:
        """Fetch the app's ``/config``, unless that was done. Every call does this itself.

        Waits for a Space that is not ready, ``space_timeout`` at most.

        Raises:
            SpaceError, SpaceNotFoundError, SpaceTimeoutError: The Space does not run, or
                there is none, or it was not ready in time.
            MissingDependencyError: ``src`` is a Space's name, and the library of the Hub
                is not installed.
            ConnectError, ConnectionLostError, TransportTimeoutError: The server cannot
                be reached.
            NotGradioError: There is no Gradio app.
            UnsupportedProtocolError: It speaks a protocol that jobwire does not.
            AuthenticationError: It wants a login, or does not accept ``auth``.
            RateLimitedError, ServerError: It refuses.
            ClientClosedError: The client was closed.
        """
        await self._load()
        return self

    async def aclose(self) -> None:
        """Close every connection. Jobs in flight fail with `ClientClosedError`, at once.

        The server is told: it drops the ones that wait and stops generators. That takes
        as long as two answers of the server, two seconds at most. Harmless when
        repeated; the client cannot be used afterwards.

        Raises:
            LocalProtocolError: Called in another event loop than the client's.
        """
        self._check_loop()
        self._closed = True
        sessions = [*self._retired, *self._sessions.values(), *self._attached]
        for session in sessions:
            session.close()
        if self._files is not None:
            self._files.close()
        for task in self._fetches:
            task.cancel()
        for loading in (self._loading, self._describing):
            if loading is not None:
                loading.cancel()
        # Submissions that are on their way: once confirmed, the job can be stopped.
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT)
        tasks = [*self._tasks, *self._fetches]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(session.aclose() for session in sessions))
        self._retired.clear()
        self._attached.clear()
        self._sessions.clear()
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def __aenter__(self) -> Self:
        try:
            return await self.connect()
        except BaseException:
            await self.aclose()
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if getattr(self, "_transport", None) is not None:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)

    # -- calling --

    async def predict(
        self,
        *args: Any,
        api_name: str | None = None,
        fn_index: int | None = None,
        headers: Mapping[str, str] | None = None,
        event_data: Any = None,
        timeout: float | None = None,
        retries: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call an endpoint and wait for its result.

        Cancelling the task that waits cancels the job as well; so does ``timeout``.

        Args:
            *args: The endpoint's arguments, in its order.
            api_name: The endpoint's name, such as ``"/predict"``. May be left out if
                the app has one public endpoint only.
            fn_index: Its number instead; ``api_name`` wins over it.
            headers: Sent with this call, over those of the client.
            event_data, timeout, retries: As for `submit`.
            **kwargs: Arguments by name.

        Returns:
            The value of the endpoint's output; a tuple if it has several, or none. Of
            a generator endpoint: the last.

        Raises:
            EndpointNotFoundError, ArgumentError, JobTimeoutError: As `submit`.
            JobwireError: Whatever `AsyncJob.result` raises.
        """
        job = await self.submit(
            *args,
            api_name=api_name,
            fn_index=fn_index,
            headers=headers,
            event_data=event_data,
            timeout=timeout,
            retries=retries,
            **kwargs,
        )
        try:
            return await job.result()
        except asyncio.CancelledError:
            if not self._closed:
                run_soon(self._tasks, job.cancel())
            raise

    async def submit(
        self,
        *args: Any,
        api_name: str | None = None,
        fn_index: int | None = None,
        headers: Mapping[str, str] | None = None,
        result_callbacks: Callable[..., object] | Sequence[Callable[..., object]] | None = None,
        event_data: Any = None,
        timeout: float | None = None,
        retries: int | None = None,
        **kwargs: Any,
    ) -> AsyncJob:
        """Call an endpoint and return the job, without waiting for the server to take it.

        Waits for a place if the client has a limit (``max_pending``); cancelling the wait
        submits nothing.

        Args:
            *args: The endpoint's arguments, in its order.
            api_name: The endpoint's name, such as ``"/predict"``. May be left out if
                the app has one public endpoint only.
            fn_index: Its number instead; ``api_name`` wins over it.
            headers: Sent with this call, over those of the client.
            result_callbacks: Called by the event loop with the result once there is
                one, in order; with several outputs as several arguments. Not called
                for a job that fails. What one raises is logged.
            event_data: What the app's function gets as its ``gr.EventData``, such as
                ``{"index": 2, "value": "x"}`` for a ``gr.SelectData``; None sends none. An
                endpoint that has a parameter of this name gets it as that; so it is with
                ``timeout`` and ``retries``, for which the client's own hold then.
            timeout: Seconds that the job may take, as for the client. None means the
                client's; ``math.inf`` for as long as it takes.
            retries: How often the job may be submitted again though it may run twice, as
                for the client. None means the client's.
            **kwargs: Arguments by name.

        Raises:
            EndpointNotFoundError: The app has no such endpoint, or it is private.
            ArgumentError: The arguments do not fit its parameters, or ``timeout`` or
                ``retries`` makes no sense.
            JobTimeoutError: ``timeout`` passed before there was a place, or the app was
                loaded; nothing was submitted.
            ClientClosedError: The client was closed.
            JobwireError: Whatever `connect` raises, if the app was not loaded before.
                What goes wrong later is the job's outcome.
        """
        started = asyncio.get_running_loop().time()
        own = {"event_data": event_data, "timeout": timeout, "retries": retries}
        own = {name: value for name, value in own.items() if value is not None}
        try:
            deadline = Deadline.after(self._own_timeout(timeout), started)
        except ArgumentError:  # unless it turns out to be an argument
            deadline = Deadline.after(self._timeout, started)
        async with deadline.limiting("loading the app"):
            schema = await self._load()
            endpoint = schema.find(api_name, fn_index)
            if not schema.complete and (
                self._oauth_token is not None or needs_info(endpoint, args, {**kwargs, **own})
            ):
                schema = await self.schema()
                endpoint = schema.endpoints[endpoint.id]
        for parameter in endpoint.parameters or ():
            if parameter.name in own:
                kwargs[parameter.name] = own.pop(parameter.name)
        deadline = Deadline.after(self._own_timeout(own.get("timeout")), started)
        retries = check_retries(own.get("retries", self._retries))
        fields = {name: value for name, value in own.items() if name == "event_data"}
        if self._oauth_token is not None and endpoint.oauth_token in ("required", "optional"):
            fields["oauth_token"] = self._oauth_token
        transfer = self._transfer(schema)
        data = bind_arguments(endpoint, args, kwargs)
        own_headers = lower(headers or {})
        if self._space_id is not None or is_hugging_face(schema.url):
            own_headers = caller_headers() | own_headers
        call = Call(endpoint, data, own_headers, transfer, fields, schema.max_file_size)

        async with deadline.limiting("waiting for a place (max_pending)"):
            await self._pending.enter()
        try:
            return self._begin(
                schema, call, transfer, deadline, retries, _as_list(result_callbacks)
            )
        except BaseException:
            self._pending.leave()
            raise

    def _begin(
        self,
        schema: AppSchema,
        call: Call,
        transfer: FileTransfer,
        deadline: Deadline,
        retries: int,
        result_callbacks: Sequence[Callable[..., object]],
    ) -> AsyncJob:
        """Make a job that has a place, and begin to submit it."""
        if self._closed:
            raise ClientClosedError("the client was closed meanwhile")
        endpoint = call.endpoint
        session = self._session_for_new_jobs(schema, endpoint)
        job = self._make_job(schema, endpoint, session, transfer, deadline, retries)
        machine = job._machine
        job._observer = observe(self._trace, machine, endpoint, schema.url)
        if job._observer is not None:
            call.headers = {**job._observer.headers, **call.headers}
        job.add_done_callback(lambda _: self._pending.leave())
        if retries:
            job._again = partial(self._deliver_again, job, machine, call, retries)
        for callback in result_callbacks:
            job.add_done_callback(partial(_call_with_result, callback))
        if call.names_server_files:
            job.add_done_callback(_explain_refused_file)
        session.register(job, machine)
        run_soon(self._tasks, self._deliver(job, machine, call))
        return job

    def _make_job(
        self,
        schema: AppSchema,
        endpoint: Endpoint,
        session: JobSession,
        transfer: FileTransfer,
        deadline: Deadline,
        retries: int,
    ) -> AsyncJob:
        fetch, present_file = self._present_files(endpoint, transfer)
        outputs = OutputLog(
            diffs=schema.dialect.diffs,
            present=presenter(endpoint, present_file),
            held=fetch is not None,
            read=reader([component.old_form for component in endpoint.outputs]),
        )
        now = asyncio.get_running_loop().time()
        machine = JobMachine(endpoint.id, outputs, now, repeats=retries)
        return AsyncJob(self, machine, session, deadline, fetch)

    async def job(self, event_id: str) -> AsyncJob:
        """Return a job that the server keeps, whoever submitted it, and whenever.

        Only jobwire's own servers keep jobs: until they have ended, and their results for a
        while longer. ::

            event_id = await (await client.submit(path, api_name="/transcribe")).detach()
            ...
            job = await other_client.job(event_id)  # in another process, the next day
            print(job.status().code, await job.result())

        The job has its outputs from the first on, and goes on as one that was submitted here,
        except that it goes on on the server, too, when the client is closed. It does not count
        for ``max_pending``, and ``timeout`` is not for it.

        Returns when it is known how the job stands, and all of it if it has ended.

        Args:
            event_id: The server's id of the job, `AsyncJob.event_id`.

        Raises:
            ArgumentError: ``event_id`` is no id.
            JobNotFoundError: The server has no such job.
            UnsupportedProtocolError: It does not keep jobs, as no server of Gradio's does.
            EndpointNotFoundError: The app has been changed, and does not have the job's
                endpoint any more.
            JobwireError: Whatever `connect` raises.
        """
        given: Any = event_id
        if not isinstance(given, str) or not given:
            raise ArgumentError(
                f"event_id={event_id!r}: it takes a job's id, which a job has as event_id once the "
                "server took it",
                parameter="event_id",
            )
        schema = await self._load()
        if not schema.dialect.durable:
            raise UnsupportedProtocolError(
                f"{schema.url} is a server of gradio {schema.version}, which keeps no jobs to come "
                "back to; only those of jobwire do",
                version=schema.version,
            )
        known = await self._look_up(schema, event_id)
        endpoint = schema.find(known.endpoint)
        session = Session(
            self._get_transport(),
            schema,
            self._limits,
            known.session_hash or "",
            self._log_in,
            job_id=event_id,
        )
        self._attached.add(session)
        no_deadline = Deadline.after(None, 0.0)
        job = self._make_job(schema, endpoint, session, self._transfer(schema), no_deadline, 0)
        job._machine.detached = True
        job._machine.sent = True

        def leave(_: AsyncJob) -> None:
            session.retire()
            self._attached.discard(session)

        job.add_done_callback(leave)
        session.attach(job, job._machine, event_id)
        await job._catch_up(known, self._timeouts.read)
        return job

    async def _look_up(self, schema: AppSchema, event_id: str) -> KnownJob:
        url = f"{schema.url}{schema.prefix}{job_path(event_id)}"

        async def look() -> KnownJob:
            reply = await self._get_transport().request("GET", url)
            if reply.status == 401 and await self._log_in():
                reply = await self._get_transport().request("GET", url)
            if reply.status == 404:
                raise JobNotFoundError(event_id=event_id)
            return read_known_job(*reply, url=url)

        return await retrying(look, f"looking for the job {event_id}")

    def reset_session(self) -> None:
        """Start a new session: the app's state (``gr.State``) is as for a new visitor.

        Jobs in flight go on in the old one.
        """
        self._session_hash = str(uuid.uuid4())
        self._retire_sessions()

    async def schema(self) -> AppSchema:
        """Return what the app offers, with names, types and descriptions.

        Fetches the app's ``/info`` the first time.

        Raises:
            JobwireError: Whatever `connect` raises.
        """
        schema = await self._load()
        if schema.complete:
            return schema
        # Whoever waits for it shares one try, its failure included.
        if self._describing is None:
            self._describing = run_soon(self._tasks, self._describe(schema))
            self._describing.add_done_callback(_note_failure)
        return await self._shared(self._describing)

    async def _describe(self, schema: AppSchema) -> AppSchema:
        url = f"{schema.url}{schema.prefix}info?serialize=False&all_endpoints=True"

        async def read_info() -> Any:
            return read_json(*await self._get_transport().request("GET", url), url=url)

        info: Any = {}
        try:
            info = await retrying(read_info, f"asking {schema.url} for its API", policy=LOADING)
        except AuthenticationError:
            raise
        except ServerError as error:
            # Some old servers fail to describe themselves. Calls by position need
            # no description.
            logger.warning("the app does not describe its endpoints: %s", error)
        finally:
            self._describing = None
        self._schema = schema.with_info(info)
        return self._schema

    async def view_api(
        self,
        all_endpoints: bool | None = None,
        print_info: bool = True,
        return_format: Literal["dict", "str"] | None = None,
    ) -> dict[str, Any] | str | None:
        """Show what the app offers and how it is called.

        Fetches the app's ``/info`` the first time.

        Args:
            all_endpoints: Show, besides the named endpoints, those without a name and
                those that the app does not list. None shows these only if there are no
                others.
            print_info: Print it to standard output.
            return_format: ``"str"`` returns what is printed; ``"dict"`` what the app
                says of itself, by name and by number, whatever ``all_endpoints`` is;
                None nothing.

        Raises:
            JobwireError: Whatever `connect` raises.
        """
        schema = await self.schema()
        if print_info:
            print(describe(schema, all_endpoints))  # noqa: T201
        if return_format == "str":
            return describe(schema, all_endpoints)
        return listed_info(schema) if return_format == "dict" else None

    # -- inside --

    def _check_loop(self) -> None:
        if self._loop not in (None, asyncio.get_running_loop()):
            raise LocalProtocolError(
                "a client belongs to the event loop in which it was first used, and is closed "
                "there; make one for each loop, or use Client, which works from everywhere"
            )

    async def _load(self) -> AppSchema:
        if self._closed:
            raise ClientClosedError("the client is closed; make a new one")
        self._check_loop()
        self._loop = asyncio.get_running_loop()
        if self._schema is None:
            # Whoever waits for it shares one try, its failure included.
            if self._loading is None:
                self._loading = run_soon(self._tasks, self._open())
                self._loading.add_done_callback(_note_failure)
            await self._shared(self._loading)
        if self._schema is None:
            raise ClientClosedError("the client was closed meanwhile")
        if any(session.damaged for session in self._sessions.values()):
            self._stale = True
        if self._stale:
            await self._load_again()
        return self._schema

    async def _shared(self, task: asyncio.Task[T]) -> T:
        """Wait for what others may wait for as well."""
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._closed:
                raise ClientClosedError("the client was closed meanwhile") from None
            raise

    async def _load_again(self) -> None:
        """See what is at the address now: a server that was restarted knows no login."""
        self._leave_damaged()
        if self._reloading is None:
            self._reloading = run_soon(self._tasks, self._read_again())
        reloading = self._reloading
        try:
            # Never fails by itself; whoever is cancelled leaves it to the others.
            await asyncio.wait([reloading])
        finally:
            if reloading.done():
                self._reloading = None
        if not reloading.cancelled() and isinstance(error := reloading.exception(), JobwireError):
            # The job itself will tell what is wrong.
            logger.debug("the app could not be looked at again: %s", error)

    async def _read_again(self) -> None:
        self._schema = await self._app.read(self._get_transport(), self.src)
        self._stale = False

    async def _open(self) -> None:
        try:
            self._transport, self._schema = await self._app.open()
        finally:
            self._loading = None
        if self._verbose:
            logger.info("loaded %s (gradio %s)", self._schema.url, self._schema.version)

    def _get_transport(self) -> Transport:
        if self._closed:
            raise ClientClosedError("the client is closed; make a new one")
        if self._transport is None:
            raise LocalProtocolError("the app has not been looked for yet")
        return self._transport

    def _take_rendered(self, session: JobSession, config: bytes) -> None:
        """Take on the endpoints that a job has rendered, for as long as its session lasts."""
        if session is not self._sessions.get(Session) or self._schema is None:
            return
        try:
            self._schema = self._schema.with_rendered(decode_value(config))
        except RemoteProtocolError as error:
            logger.warning("what the app rendered cannot be read: %s", error)

    def _session_for_new_jobs(self, schema: AppSchema, endpoint: Endpoint) -> JobSession:
        shared = schema.carrier(endpoint) == "session stream"
        kind: type[JobSession] = Session if shared else ConnectionSession
        self._leave_damaged()
        if kind not in self._sessions:
            common = self._get_transport(), schema, self._limits, self._session_hash
            self._sessions[kind] = (
                Session(*common, self._log_in) if shared else ConnectionSession(*common)
            )
        return self._sessions[kind]

    async def _log_in(self) -> bool:
        """Log in again at a server that does not know us any more; False if we have no login."""
        if not self._app.has_login:
            return False
        await self._load_again()
        return True

    def _leave_damaged(self) -> None:
        """Begin another session if the server has lost track of this one."""
        if not any(session.damaged for session in self._sessions.values()):
            return
        self._stale = True
        # A new name keeps the server's remains of the old session from taking our
        # messages; but an app that keeps state keeps it under the old one.
        if self._schema is None or not self._schema.stateful:
            self._session_hash = str(uuid.uuid4())
        self._retire_sessions()

    def _retire_sessions(self) -> None:
        self._retired = [session for session in self._retired if session.busy]
        for session in self._sessions.values():
            session.retire()
            self._retired.append(session)
        self._sessions.clear()
        if self._schema is not None:
            self._schema = self._schema.without_rendered()

    def _transfer(self, schema: AppSchema) -> FileTransfer:
        if self._files is None:
            self._files = FileTransfer(
                self._get_transport(), schema, self._timeouts, self._max_download_size
            )
        return self._files

    def _present_files(
        self, endpoint: Endpoint, transfer: FileTransfer
    ) -> tuple[Fetch | None, Callable[[dict[str, Any]], Any] | None]:
        """Return what fetches the files of an endpoint's outputs, and what shows them."""
        if self._lazy_files:
            return None, lambda data: self._make_file(AsyncFileResult(transfer, data))
        if self._directory is None or not any(
            component.holds_files and not component.skipped for component in endpoint.outputs
        ):
            return None, None
        fetch = Fetch(transfer, endpoint, self._directory)
        return fetch, fetch.path

    async def _deliver(self, job: AsyncJob, machine: JobMachine, call: Call) -> None:
        try:
            if call.has_files and not await self._send_files(job, machine, call):
                job._session.withdraw(machine)
                return
            async with self._gate:
                session = job._session
                if session.damaged and self._schema is not None and not machine.state.ended:
                    session.withdraw(machine)
                    session = self._session_for_new_jobs(self._schema, call.endpoint)
                    session.register(job, machine)
                    job._session = session
                await session.submit(machine, call.encode(), call.headers)
        except asyncio.CancelledError:
            # The client is being closed; most jobs have failed by now.
            error = ClientClosedError("the client was closed while the job was being submitted")
            if machine.fail(error, asyncio.get_running_loop().time()):
                job._notify()
            raise

    async def _deliver_again(
        self, job: AsyncJob, machine: JobMachine, call: Call, retries: int
    ) -> None:
        """Submit a job that was lost once more, after a moment."""
        if self._closed or self._schema is None:
            error = ClientClosedError("the client was closed before the job was submitted again")
            machine.fail(error, asyncio.get_running_loop().time())
            job._notify()
            return
        session = job._session = self._session_for_new_jobs(self._schema, call.endpoint)
        session.register(job, machine)
        delay = RetryPolicy().backoff(
            retries - machine.repeats,
            jitter=random.random(),  # noqa: S311
        )
        await job._wait_to_retry(delay, "its connection was lost")
        await self._deliver(job, machine, call)

    def _own_timeout(self, timeout: Any) -> float | None:
        return self._timeout if timeout is None else check_timeout(timeout)

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


def _note_failure(task: asyncio.Task[Any]) -> None:
    """See a task's failure, even if all who waited for it were cancelled."""
    if not task.cancelled():
        task.exception()


def _directory(given: str | os.PathLike[str] | None) -> Path:
    """Return where fetched files go.

    Raises:
        FileError: It is there, but no directory.
    """
    if given is None:
        default = os.path.join(tempfile.gettempdir(), "gradio")
        return Path(os.environ.get("GRADIO_TEMP_DIR") or default)
    directory = Path(given)
    if directory.exists() and not directory.is_dir():
        raise FileError(f"download_files={str(given)!r} is no directory", path=str(given))
    return directory


def _default_transport() -> Callable[[TransportOptions], Transport]:
    from jobwire.transports.aiohttp import AiohttpTransport

    return AiohttpTransport


def _as_list(
    callbacks: Callable[..., object] | Sequence[Callable[..., object]] | None,
) -> Sequence[Callable[..., object]]:
    if callbacks is None:
        return ()
    return [callbacks] if callable(callbacks) else callbacks


def _explain_refused_file(job: AsyncJob) -> None:
    error = job._machine.error
    if isinstance(error, AppError) and "not uploaded by a user" in error.message:
        error.add_note(
            "A file of this machine is uploaded if what handle_file() returned is passed as it "
            "is. A plain dict, such as a copy of that, names a file that the server has."
        )


def _call_with_result(callback: Callable[..., object], job: AsyncJob) -> None:
    if job._machine.error is None:
        result = job._machine.outputs.result
        callback(*result) if isinstance(result, tuple) else callback(result)
