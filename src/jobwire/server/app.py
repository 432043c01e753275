"""The app: Python functions behind the Gradio wire protocol."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import warnings
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from starlette.types import ASGIApp, Receive, Scope, Send

from jobwire.exceptions import ArgumentError, JobwireError
from jobwire.server.access_log import AccessLog
from jobwire.server.auth import Auth
from jobwire.server.declaration import make_endpoint
from jobwire.server.documents import Facts
from jobwire.server.endpoint import Endpoint, OnCrash, Priority, Visibility, Where
from jobwire.server.executors.base import is_worker
from jobwire.server.guard import Guard
from jobwire.server.routes import Router, Routes
from jobwire.server.service import Service
from jobwire.server.settings import (
    Authentication,
    Settings,
    changed_arguments,
    check_arguments,
    parse_port,
    parse_size,
    path_of_url,
)

__all__ = ("App", "is_loading")

F = TypeVar("F", bound=Callable[..., Any])

MIB = 1024 * 1024

is_loading: ContextVar[bool] = ContextVar("is_loading", default=False)
"""Whether a program is run only to find its app: then `App.launch` serves nothing."""


class App:
    """Typed Python functions behind the Gradio wire protocol, as an ASGI application.

    Run it with ``jobwire serve module:app``, with `launch`, with any ASGI server, or
    mounted in a Starlette or FastAPI application. ``gradio_client``, ``@gradio/client``,
    curl and browsers can call it as they call a Gradio 6 app.

    One app belongs to one process. An app that is served in several event loops keeps the jobs
    of each apart.

    Args:
        title: Its name.
        description: What it is for.
        auth: Who may use it: ``(user, password)``, several such pairs, or a function, which
            may be ``async``, that gets both and returns whether they are right. None lets
            everybody in.
        auth_message: Shown to those who have to log in.
        max_size: How many jobs may wait, of all endpoints; more are refused with 503. None
            is no limit.
        max_threads: How many plain functions run at the same time, of all endpoints.
        executor: Where functions run of which the endpoint does not say: ``"thread"`` is this
            process, ``"process"`` are worker processes, which can be killed.
        max_processes: How many worker processes there are, and so how many functions run in
            them at the same time; None is one for each core.
        max_jobs_per_process: How many calls a worker process gets before a fresh one replaces
            it; None is no limit.
        default_concurrency_limit: How many jobs of an endpoint run at the same time, where
            the endpoint does not say; None is no limit.
        result_ttl: Seconds for which a job's results can be read after its end.
        session_ttl: Seconds without a call after which a session's state is forgotten.
        upload_ttl: Seconds for which an uploaded file is kept if no job uses it; after a
            job's end as well.
        abandon_after: Seconds without anybody who listens after which the job of a generator is
            cancelled. None never does it. An endpoint may say otherwise for itself.
        max_body_size: Bytes of a request, uploads excepted.
        max_file_size: Bytes of an uploaded file; None is no limit.
        max_upload_size: Bytes of all files of one upload; None is no limit.
        max_storage_size: Bytes of all files that are kept; None is no limit.
        max_output_size: Bytes of all that one job gives, as JSON.
        max_results_size: Bytes of all arguments and outputs that are kept in memory; beyond
            it, the oldest results are forgotten early, and then new jobs are refused. None is
            no limit.
        show_errors: Show callers the text of every error. Otherwise they only see what an
            `AppError` says, and the kind of other errors; texts may hold secrets.
        allowed_hosts: The names by which the server may be addressed, such as
            ``["example.org", "*.example.org"]``. None allows any, except that a server on a
            loopback address then wants to be called ``localhost`` or by a loopback address,
            so that no web page can reach it under a name of its own.
        allowed_origins: The web pages of other sites that may call, such as
            ``["https://example.org"]``; ``"*"`` is all, without logins.
        store: Where jobs are kept: ``"memory:"``, or ``"sqlite:PATH"``, a file that they
            outlive the process in. None is memory, unless ``jobwire serve`` says otherwise.
        grace: Seconds that running jobs have for coming to their end when the server is told
            to stop.

    Raises:
        ArgumentError: A setting makes no sense.
    """

    def __init__(
        self,
        *,
        title: str = "jobwire",
        description: str = "",
        auth: Authentication | None = None,
        auth_message: str | None = None,
        max_size: int | None = 100_000,
        max_threads: int = 40,
        executor: Where = "thread",
        max_processes: int | None = None,
        max_jobs_per_process: int | None = None,
        default_concurrency_limit: int | None = 1,
        result_ttl: float = 300.0,
        session_ttl: float = 3600.0,
        upload_ttl: float = 3600.0,
        abandon_after: float | None = 60.0,
        max_body_size: int = 16 * MIB,
        max_file_size: int | None = 1024 * MIB,
        max_upload_size: int | None = 4096 * MIB,
        max_storage_size: int | None = 16 * 1024 * MIB,
        max_output_size: int = 64 * MIB,
        max_results_size: int | None = 1024 * MIB,
        show_errors: bool = False,
        allowed_hosts: Sequence[str] | None = None,
        allowed_origins: Sequence[str] = (),
        store: str | None = None,
        grace: float = 5.0,
    ) -> None:
        self.settings = Settings(
            title=title,
            description=description,
            auth=auth,
            auth_message=auth_message,
            max_size=max_size,
            max_threads=max_threads,
            executor=executor,
            max_processes=max_processes,
            max_jobs_per_process=max_jobs_per_process,
            default_concurrency_limit=default_concurrency_limit,
            result_ttl=result_ttl,
            session_ttl=session_ttl,
            upload_ttl=upload_ttl,
            abandon_after=abandon_after,
            max_body_size=max_body_size,
            max_file_size=max_file_size,
            max_upload_size=max_upload_size,
            max_storage_size=max_storage_size,
            max_output_size=max_output_size,
            max_results_size=max_results_size,
            show_errors=show_errors,
            allowed_hosts=allowed_hosts,
            allowed_origins=allowed_origins,
            store=store,
            grace=grace,
        )
        self.endpoints: dict[str, Endpoint] = {}
        """By name, in the order of declaration."""
        self.auth: Auth | None = None
        self._app_id = secrets.randbits(64)
        self._stack: ASGIApp | None = None
        self._services: dict[asyncio.AbstractEventLoop, Service] = {}
        self.configure()

    # -- declaring ----------------------------------------------------------------------

    @overload
    def endpoint(self, function: F, /) -> F: ...

    @overload
    def endpoint(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        visibility: Visibility = "public",
        queue: bool = True,
        batch: bool = False,
        max_batch_size: int = 4,
        concurrency_limit: int | Literal["default"] | None = "default",
        concurrency_id: str | None = None,
        time_limit: float | None = None,
        priority: Priority = 0,
        executor: Where | None = None,
        show_errors: bool | None = None,
        abandon_after: float | Literal["default"] | None = "default",
        on_crash: OnCrash = "fail",
        max_retries: int = 1,
    ) -> Callable[[F], F]: ...

    def endpoint(
        self,
        function: F | None = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        visibility: Visibility = "public",
        queue: bool = True,
        batch: bool = False,
        max_batch_size: int = 4,
        concurrency_limit: int | Literal["default"] | None = "default",
        concurrency_id: str | None = None,
        time_limit: float | None = None,
        priority: Priority = 0,
        executor: Where | None = None,
        show_errors: bool | None = None,
        abandon_after: float | Literal["default"] | None = "default",
        on_crash: OnCrash = "fail",
        max_retries: int = 1,
    ) -> F | Callable[[F], F]:
        """Offer a function to callers: ``@app.endpoint`` or ``@app.endpoint(...)``.

        Its inputs and outputs come from its annotations: what callers send is converted
        and checked before the job is accepted. A generator gives many outputs; a ``tuple``
        is several outputs at once. Plain functions run in threads, ``async`` ones in the
        event loop, unless ``executor`` says otherwise. Parameters of type `Progress`, `Request`,
        `Session` or `CancelToken` are filled by the server.

        Args:
            function: The function; it is returned as it is.
            name: Its name for callers; None takes the function's.
            description: For callers; None takes the docstring.
            visibility: ``"public"``; ``"undocumented"``, which can be called but is not
                listed; ``"private"``, which callers cannot call.
            queue: Whether its jobs wait for a slot. Those of False run at once, as many as
                come (plain functions: ``max_threads``).
            batch: The function takes several jobs at once: a list for each parameter, and
                returns a list for each output.
            max_batch_size: How many jobs it takes at most.
            concurrency_limit: How many of its jobs run at the same time; None is no limit,
                except that plain functions need a thread each.
            concurrency_id: Endpoints with the same one share a waiting line and its slots;
                of their limits the smallest counts. None is a line of its own.
            time_limit: Seconds that a job may run; then it fails, and is stopped as one
                that is cancelled. None is no limit.
            executor: ``"process"`` runs it in a worker process, which has to be able to import
                it by name, and ``"thread"`` in this one; None is where the app says.
            priority: Which jobs of a line go first: the higher, the earlier. A function of
                the `Request` can tell callers apart.
            show_errors: As for the app; None takes the app's.
            abandon_after: Seconds without anybody who listens after which a job is cancelled;
                ``"default"`` is the app's for generators and never for others, None is never.
            on_crash: What becomes of a job that ran when the server died, if its store outlives
                it: it fails, and says that it may be submitted again, or it is run again.
            max_retries: How often it is run again at most, with ``on_crash="retry"``.

        Raises:
            DeclarationError: The function cannot be an endpoint: an annotation that JSON
                has nothing for, a name that is taken, ...
        """

        def declare(function: F) -> F:
            endpoint = make_endpoint(
                function,
                self.endpoints,
                self.settings,
                name=name,
                description=description,
                visibility=visibility,
                queue=queue,
                batch=batch,
                max_batch_size=max_batch_size,
                concurrency_limit=concurrency_limit,
                concurrency_id=concurrency_id,
                time_limit=time_limit,
                priority=priority,
                executor=executor,
                show_errors=show_errors,
                abandon_after=abandon_after,
                on_crash=on_crash,
                max_retries=max_retries,
            )
            self.endpoints[endpoint.api_name] = endpoint
            return function

        return declare if function is None else declare(function)

    def api(
        self,
        fn: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        concurrency_limit: int | Literal["default"] | None = "default",
        concurrency_id: str | None = None,
        queue: bool = True,
        batch: bool = False,
        max_batch_size: int = 4,
        api_visibility: Visibility = "public",
        time_limit: float | None = None,
        stream_every: float = 0.5,
    ) -> Any:
        """Offer a function to callers, with the arguments of ``gradio.Server.api``.

        For programs that move over; `endpoint` says what the arguments mean. As there, a
        name that is taken gets a number. ``time_limit`` holds for every function here, and
        ``stream_every`` has no effect: no endpoint takes a stream of inputs.

        Raises:
            DeclarationError: As `endpoint`.
        """
        del stream_every

        def declare(function: F) -> F:
            wanted = name or function.__name__
            free, number = wanted, 0
            while free in self.endpoints:
                number += 1
                free = f"{wanted}_{number}"
            endpoint = make_endpoint(
                function,
                self.endpoints,
                self.settings,
                name=free,
                description=description,
                visibility=api_visibility,
                queue=queue,
                batch=batch,
                max_batch_size=max_batch_size,
                concurrency_limit=concurrency_limit,
                concurrency_id=concurrency_id,
                time_limit=time_limit,
                priority=0,
                executor=None,
                show_errors=None,
            )
            self.endpoints[endpoint.api_name] = endpoint
            return function

        return declare if fn is None else declare(fn)

    # -- serving ------------------------------------------------------------------------

    def configure(self, **settings: Any) -> None:
        """Change settings, by the names of the constructor's arguments. Before serving.

        Raises:
            ArgumentError: One makes no sense.
            RuntimeError: The app is being served.
        """
        if self._stack is not None:
            raise RuntimeError("the app is being served already; set this up before")
        changed = replace(self.settings, **settings)
        auth = changed.auth
        self.auth = None if auth is None else Auth(auth, message=changed.auth_message)
        self.settings = changed

    def launch(
        self,
        inline: bool | None = None,
        inbrowser: bool = False,
        share: bool | None = None,
        debug: bool = False,
        max_threads: int | None = None,
        auth: Authentication | None = None,
        auth_message: str | None = None,
        prevent_thread_lock: bool = False,
        show_error: bool | None = None,
        server_name: str | None = None,
        server_port: int | None = None,
        *,
        height: int = 500,
        width: int | str = "100%",
        favicon_path: str | Path | None = None,
        ssl_keyfile: str | Path | None = None,
        ssl_certfile: str | Path | None = None,
        ssl_keyfile_password: str | None = None,
        ssl_verify: bool = True,
        quiet: bool = False,
        footer_links: Any = None,
        run_history: bool | None = None,
        allowed_paths: Sequence[str] | None = None,
        blocked_paths: Sequence[str] | None = None,
        root_path: str | None = None,
        app_kwargs: dict[str, Any] | None = None,
        state_session_capacity: int = 10000,
        share_server_address: str | None = None,
        share_server_protocol: Literal["http", "https"] | None = None,
        share_server_tls_certificate: str | None = None,
        auth_dependency: Callable[..., Any] | None = None,
        max_file_size: str | int | None = None,
        enable_monitoring: bool | None = None,
        strict_cors: bool = True,
        node_server_name: str | None = None,
        node_port: int | None = None,
        ssr_mode: bool | None = None,
        pwa: bool | None = None,
        mcp_server: bool | None = None,
        i18n: Any = None,
        theme: Any = None,
        css: str | None = None,
        css_paths: Any = None,
        js: str | Literal[True] | None = None,
        head: str | None = None,
        head_paths: Any = None,
        num_workers: int | None = None,
    ) -> tuple[App, str, str]:
        """Serve the app, with the arguments of ``gradio.Server.launch``.

        Blocks until the server is stopped, with Ctrl-C or SIGTERM, unless
        ``prevent_thread_lock``: then it serves in a thread, and the interpreter's end ends it.
        In a program that ``jobwire serve`` runs it only says that it is not needed, and in a
        worker process, which runs the program to find its functions, it does nothing.

        Arguments that are not listed here are accepted for programs that move over, and have
        no effect, which a warning says.

        Args:
            inbrowser: Open the page in a browser.
            share: Not offered, as ``mcp_server``, ``auth_dependency``, ``allowed_paths`` and
                ``blocked_paths``.
            max_threads: As for the app; None leaves it.
            auth: Likewise.
            auth_message: Likewise.
            prevent_thread_lock: See above.
            show_error: ``show_errors`` of all endpoints; None leaves it.
            server_name: The address to listen on; None is ``GRADIO_SERVER_NAME`` of the
                environment, else 127.0.0.1, so that only this machine reaches it.
            server_port: The port; None is ``GRADIO_SERVER_PORT`` of the environment, else the
                first free one from 7860 on. 0 is any.
            ssl_keyfile: The TLS key; with ``ssl_certfile``, the server speaks HTTPS.
            ssl_certfile: The TLS certificate.
            ssl_keyfile_password: The key's password.
            quiet: Print nothing.
            root_path: The path below which a proxy shows the app. Of a full URL, the path; the
                address that callers are told comes from their ``Host`` header.
            max_file_size: As for the app, in bytes, or such as ``"5mb"``; None leaves it.

        Returns:
            The app, its address, and an empty text where gradio has its share link.

        Raises:
            ArgumentError: Something is asked for that is not offered, or makes no sense.
            OSError: The address or the port cannot be used.
        """
        arguments = locals()
        if is_worker():
            return self, "", ""
        changed = changed_arguments(App.launch, arguments)
        ignored = check_arguments(changed)
        if ssl_keyfile is not None and ssl_certfile is None:
            raise ArgumentError("ssl_keyfile needs ssl_certfile, too", parameter="ssl_certfile")
        for name, file in (("ssl_certfile", ssl_certfile), ("ssl_keyfile", ssl_keyfile)):
            if file is not None and not Path(file).is_file():
                raise ArgumentError(f"{name}: there is no file {file}", parameter=name)
        host = server_name or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
        port = parse_port(server_port)
        changes = {
            "max_threads": max_threads,
            "auth": auth,
            "auth_message": auth_message,
            "max_file_size": max_file_size and parse_size(max_file_size, parameter="max_file_size"),
        }
        self.configure(**{name: value for name, value in changes.items() if value is not None})
        if ignored:
            warnings.warn(f"launch() has no use for {', '.join(ignored)}", stacklevel=2)
        if show_error is not None:
            for endpoint in self.endpoints.values():
                endpoint.show_errors = show_error
        if is_loading.get():
            kept = {"show_error", *(name for name, value in changes.items() if value is not None)}
            unused = ", ".join(name for name in changed if name not in kept)
            print(  # noqa: T201
                "jobwire: launch() only sets the app up here, `jobwire serve` serves it"
                + (f", without its {unused}" if unused else ""),
                file=sys.stderr,
            )
            return self, "", ""
        from jobwire.server.serve import BackgroundServer, free_port, run

        if port is None:
            port = free_port(host)
        options = {
            "ssl_keyfile": ssl_keyfile,
            "ssl_certfile": ssl_certfile,
            "ssl_keyfile_password": ssl_keyfile_password,
            "root_path": path_of_url(root_path or ""),
        }
        url = ""

        def announce(address: str) -> None:
            nonlocal url
            url = address
            if not quiet:
                print(f"jobwire serves {self.settings.title!r} at {url}")  # noqa: T201
            if inbrowser:
                import webbrowser

                webbrowser.open(url)

        if prevent_thread_lock:
            server = BackgroundServer(self, host=host, port=port, **options)
            server.start()
            announce(server.url)
        else:
            run(self, host=host, port=port, on_start=announce, **options)
        return self, url, ""

    @property
    def facts(self) -> Facts:
        """What the app says about itself."""
        settings = self.settings
        return Facts(
            title=settings.title,
            description=settings.description,
            app_id=self._app_id,
            max_file_size=settings.max_file_size,
            show_errors=settings.show_errors,
            auth=self.auth is not None,
        )

    @property
    def service(self) -> Service:
        """The running server, of the event loop that asks."""
        loop = asyncio.get_running_loop()
        service = self._services.get(loop)
        if service is None:
            for other_loop, other in list(self._services.items()):
                if other_loop.is_closed():
                    other.close()
                    del self._services[other_loop]
            service = self._services[loop] = Service(self.endpoints, self.settings)
        return service

    async def open(self) -> None:
        """Get ready to serve in this event loop: wait until the worker processes can work.

        ASGI servers that announce the start of their application need not call it, and an
        app without functions in worker processes has nothing to wait for. Cancelling it ends
        the workers.

        Raises:
            DeclarationError: A function cannot be called in a worker process.
            WorkerError: The workers cannot import the app, or crash.
        """
        try:
            await self.service.queue.ready()
        except BaseException:
            self.close()
            self._services.pop(asyncio.get_running_loop(), None)
            raise

    async def stop(self, grace: float | None = None) -> None:
        """Stop taking jobs in this event loop, and let those that run come to their end.

        Then those that have not ended fail, and say why; in a store that outlives the process
        they stay. Streams tell it, and can still be read until `close`.

        Args:
            grace: Seconds that running jobs have; None is the app's.
        """
        service = self._services.get(asyncio.get_running_loop())
        if service is not None:
            await service.drain(self.settings.grace if grace is None else grace)
            service.stop()

    def close(self) -> None:
        """Stop serving in this event loop: jobs that have not ended fail, and say why.

        In a store that outlives the process they stay: those that wait run after its next
        start, and with those that run is done what their endpoint's ``on_crash`` says.

        ASGI servers that announce the end of their application need not call it. Harmless
        when repeated.
        """
        service = self._services.get(asyncio.get_running_loop())
        if service is not None:
            service.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI request."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if self._stack is None:
            self._stack = self._make_stack()
        path = scope.get("path", "")
        if path.endswith("/") and path != f"{scope.get('root_path', '')}/":
            # Stock clients up to 4.x write a slash at the end of some paths.
            scope = {**scope, "path": path.rstrip("/")}
        await self._stack(scope, receive, send)

    def _make_stack(self) -> ASGIApp:
        settings = self.settings
        guard = Guard(
            Router(Routes(self).table()),
            auth=self.auth,
            allowed_hosts=settings.allowed_hosts,
            allowed_origins=settings.allowed_origins,
            max_body_size=settings.max_body_size,
        )
        return AccessLog(guard)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.open()
                except JobwireError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                self.close()
                self._services.pop(asyncio.get_running_loop(), None)
                await send({"type": "lifespan.shutdown.complete"})
                return
