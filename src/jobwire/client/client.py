"""The asynchronous client."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self

from jobwire import __version__
from jobwire.client.addresses import split_credentials
from jobwire.client.call import Call
from jobwire.client.deadline import Deadline, check_retries, check_timeout
from jobwire.client.delivery import Delivery
from jobwire.client.headers import lower
from jobwire.client.job import AsyncJob
from jobwire.client.loading import LoadedApp
from jobwire.client.observer import observe
from jobwire.client.opening import AppAddress
from jobwire.client.options import with_httpx_kwargs
from jobwire.client.output_files import OutputFiles
from jobwire.client.pending import PendingLimit
from jobwire.client.session import CLOSE_TIMEOUT, Limits
from jobwire.client.sessions import JobSession, Sessions
from jobwire.client.spaces import duplicate, is_hugging_face, space_name
from jobwire.client.tasks import run_soon
from jobwire.client.transfer import FileTransfer
from jobwire.client.zerogpu import caller_headers
from jobwire.exceptions import ArgumentError, ClientClosedError, UnsupportedProtocolError
from jobwire.protocol.description import describe, listed_info
from jobwire.protocol.job import JobMachine
from jobwire.protocol.limits import (
    IDLE_TIMEOUT,
    MAX_DOWNLOAD_SIZE,
    MAX_EVENT_SIZE,
    SPACE_TIMEOUT,
)
from jobwire.protocol.payload import bind_arguments, needs_info
from jobwire.protocol.schema import AppSchema, Endpoint
from jobwire.trace import Trace
from jobwire.transports.base import Timeouts, Transport, TransportOptions

__all__ = ("AsyncClient",)


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
        where = AppAddress(
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
        self._tasks: set[asyncio.Task[Any]] = set()
        self._fetches: set[asyncio.Task[Any]] = set()
        self._app = LoadedApp(where, self._tasks, verbose=verbose)
        limits = Limits(self._timeouts, idle_timeout, max_event_size)
        self._sessions = Sessions(self._app, limits)
        self._output_files = OutputFiles(download_files)
        self._max_download_size = max_download_size
        self._files: FileTransfer | None = None
        self._delivery = Delivery(self._app, self._sessions, self._tasks, max_workers)
        self._timeout = check_timeout(timeout)
        self._retries = check_retries(retries)
        self._pending = PendingLimit(max_pending)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.src!r})"

    def __str__(self) -> str:
        """How the app is called, if its ``/info`` has been fetched. Does no I/O."""
        schema = self._app.schema
        return describe(schema) if schema is not None and schema.complete else repr(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    @property
    def src(self) -> str:
        """The app's root, with a trailing slash; a Space's name until `connect` has found it."""
        return self._app.url

    @property
    def space_id(self) -> str | None:
        """The Space's name, ``OWNER/NAME``; None if an address was given."""
        return self._space_id

    @property
    def session_hash(self) -> str:
        """The name under which the server keeps this client's state."""
        return self._sessions.session_hash

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
        self._app.check_loop()
        self._app.close()
        self._sessions.close()
        if self._files is not None:
            self._files.close()
        for task in self._fetches:
            task.cancel()
        # Submissions that are on their way: once confirmed, the job can be stopped.
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT)
        tasks = [*self._tasks, *self._fetches]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sessions.aclose()
        await self._app.aclose()

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
        app = getattr(self, "_app", None)  # None if the arguments were no good
        if app is not None and app.opened:
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
            if not self._app.closed:
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
        if self._app.closed:
            raise ClientClosedError("the client was closed meanwhile")
        endpoint = call.endpoint
        session = self._sessions.for_new_job(schema, endpoint)
        job = self._make_job(schema, endpoint, session, transfer, deadline, retries)
        machine = job._machine
        job._observer = observe(self._trace, machine, endpoint, schema.url)
        if job._observer is not None:
            call.headers = {**job._observer.headers, **call.headers}
        job.add_done_callback(lambda _: self._pending.leave())
        for callback in result_callbacks:
            job.add_done_callback(partial(_call_with_result, callback))
        self._delivery.begin(job, call, retries)
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
        outputs, fetch = self._output_files.log(schema, endpoint, transfer)
        now = asyncio.get_running_loop().time()
        machine = JobMachine(endpoint.id, outputs, now, repeats=retries)
        return AsyncJob(self, machine, session, deadline, fetch)

    async def job(self, event_id: str) -> AsyncJob:
        """Return a job that the server keeps, whoever submitted it, and whenever.

        Only jobwire's own servers keep jobs: until they have ended, and their results for as
        long as the app says (its ``result_ttl``, 300 seconds by default). ::

            event_id = await (await client.submit(path, api_name="/transcribe")).detach()
            ...
            job = await other_client.job(event_id)  # in another process, later
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
        known = await self._sessions.look_up(schema, event_id)
        endpoint = schema.find(known.endpoint)
        session = self._sessions.attach(event_id)
        no_deadline = Deadline.after(None, 0.0)
        job = self._make_job(schema, endpoint, session, self._transfer(schema), no_deadline, 0)
        job._machine.detached = True
        job._machine.sent = True
        self._sessions.begin(job, session, event_id)
        try:
            await job._catch_up(known, self._timeouts.read)
        except BaseException:
            session.close()
            raise
        return job

    def reset_session(self) -> None:
        """Start a new session: the app's state (``gr.State``) is as for a new visitor.

        Jobs in flight go on in the old one.
        """
        self._sessions.reset()

    async def schema(self) -> AppSchema:
        """Return what the app offers, with names, types and descriptions.

        Fetches the app's ``/info`` the first time.

        Raises:
            JobwireError: Whatever `connect` raises.
        """
        await self._load()
        return await self._app.described()

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

    async def _load(self) -> AppSchema:
        """Return what the app offers now; see `connect` for what it raises."""
        await self._app.load()
        self._sessions.leave_damaged()
        return await self._app.current()

    def _take_rendered(self, session: JobSession, config: bytes) -> None:
        self._sessions.take_rendered(session, config)

    def _transfer(self, schema: AppSchema) -> FileTransfer:
        if self._files is None:
            self._files = FileTransfer(
                self._app.transport, schema, self._timeouts, self._max_download_size
            )
        return self._files

    def _own_timeout(self, timeout: Any) -> float | None:
        return self._timeout if timeout is None else check_timeout(timeout)


def _default_transport() -> Callable[[TransportOptions], Transport]:
    from jobwire.transports.aiohttp import AiohttpTransport

    return AiohttpTransport


def _as_list(
    callbacks: Callable[..., object] | Sequence[Callable[..., object]] | None,
) -> Sequence[Callable[..., object]]:
    if callbacks is None:
        return ()
    return [callbacks] if callable(callbacks) else callbacks


def _call_with_result(callback: Callable[..., object], job: AsyncJob) -> None:
    if job._machine.error is None:
        result = job._machine.outputs.result
        callback(*result) if isinstance(result, tuple) else callback(result)
