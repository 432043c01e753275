"""The client, for plain code."""

from __future__ import annotations

import contextlib
import os
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from jobwire.protocol.limits import (
    IDLE_TIMEOUT,
    MAX_DOWNLOAD_SIZE,
    MAX_EVENT_SIZE,
    SPACE_TIMEOUT,
)

# Everything else is loaded when the first client is made, so that a program which may
# never call an app pays nothing for being able to.
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from types import TracebackType

    from jobwire.client.result import AsyncFileResult
    from jobwire.protocol.schema import AppSchema
    from jobwire.sync.job import Job
    from jobwire.trace import Trace
    from jobwire.transports.base import Transport, TransportOptions

__all__ = ("Client",)


class Client:
    """Calls the endpoints of a running Gradio app.

    ::

        with Client("http://127.0.0.1:7860") as client:
            print(client.predict("Ada", api_name="/greet"))

            for output in client.submit(10, api_name="/count"):
                print(output)

    Connects when it is made. Any number of threads may use a client at once; all
    clients of a process share one thread that does the work. A client that is not
    closed is closed when nobody holds it or a job of it any more.

    The arguments are those of `AsyncClient` (a lazy file is a `FileResult` here), and so
    are the errors, those of `AsyncClient.connect` included.
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
        from jobwire.client.client import AsyncClient
        from jobwire.sync.loop import loop_thread

        self._client = AsyncClient(
            src,
            token,
            max_workers,
            verbose,
            auth,
            httpx_kwargs,
            headers=headers,
            download_files=download_files,
            ssl_verify=ssl_verify,
            analytics_enabled=analytics_enabled,
            oauth_token=oauth_token,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            idle_timeout=idle_timeout,
            space_timeout=space_timeout,
            timeout=timeout,
            retries=retries,
            max_pending=max_pending,
            max_event_size=max_event_size,
            max_download_size=max_download_size,
            transport=transport,
            trace=trace,
        )
        self._loop = loop_thread()
        self._loop.adopt(self._client)
        self._client._output_files.make_file = partial(_make_file, weakref.ref(self))
        weakref.finalize(self, self._loop.discard, self._client).atexit = False
        try:
            self._loop.run(self._client.connect())
        except BaseException:
            self.close()
            raise

    @classmethod
    def duplicate(
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
        """Copy a Space into your account, and return a client of the copy.

        Blocks until the copy runs. See `AsyncClient.duplicate`.
        """
        from jobwire.client.spaces import duplicate
        from jobwire.sync.loop import loop_thread

        space_id = loop_thread().run(
            duplicate(
                from_id,
                to_id,
                token,
                private=private,
                hardware=hardware,
                secrets=secrets,
                sleep_timeout=sleep_timeout,
                verbose=verbose,
            )
        )
        return cls(space_id, token, max_workers, verbose, space_timeout=space_timeout)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.src!r})"

    def __str__(self) -> str:
        """How the app is called. Fetches its ``/info`` the first time; never raises.

        The short form, if the app cannot be asked: it does not answer, the client is
        closed, or this is a thread that must not wait.
        """
        from jobwire.exceptions import JobwireError

        with contextlib.suppress(JobwireError):
            return str(self.view_api(print_info=False, return_format="str"))
        return repr(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    @property
    def src(self) -> str:
        """The app's root, with a trailing slash."""
        return self._client.src

    @property
    def space_id(self) -> str | None:
        """The Space's name, ``OWNER/NAME``; None if an address was given."""
        return self._client.space_id

    @property
    def session_hash(self) -> str:
        """The name under which the server keeps this client's state."""
        return self._client.session_hash

    def close(self) -> None:
        """Close every connection. See `AsyncClient.aclose`.

        Does nothing in a forked child: the connections are the parent's.
        """
        from jobwire.exceptions import ClientClosedError

        if self._loop.inherited:
            return
        with contextlib.suppress(ClientClosedError):  # the interpreter's exit was first
            self._loop.run(self._client.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def predict(
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
        """Call an endpoint and wait for its result. See `AsyncClient.predict`.

        Blocks until the job has ended, for ``timeout`` seconds at most. Ctrl-C cancels the
        job.
        """
        return self._loop.run(
            self._client.predict(
                *args,
                api_name=api_name,
                fn_index=fn_index,
                headers=headers,
                event_data=event_data,
                timeout=timeout,
                retries=retries,
                **kwargs,
            )
        )

    def submit(
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
    ) -> Job:
        """Call an endpoint and return the job, without waiting for the server to take it.

        See `AsyncClient.submit`. Blocks only while ``/info`` is fetched, the first time
        that it is needed, and until there is a place if the client has a limit
        (``max_pending``); Ctrl-C submits nothing then. ``result_callbacks`` run in the
        threads that `Job.add_done_callback` describes.
        """
        job = self._loop.run(
            self._submit(
                *args,
                api_name=api_name,
                fn_index=fn_index,
                headers=headers,
                event_data=event_data,
                timeout=timeout,
                retries=retries,
                **kwargs,
            )
        )
        if result_callbacks is not None:
            callbacks = [result_callbacks] if callable(result_callbacks) else result_callbacks
            for callback in callbacks:
                job.add_done_callback(partial(_call_with_result, callback))
        return job

    async def _submit(self, *args: Any, **kwargs: Any) -> Job:
        from jobwire.sync.job import Job

        return Job(self, await self._client.submit(*args, **kwargs))

    def job(self, event_id: str) -> Job:
        """Return a job that the server keeps, whoever submitted it. See `AsyncClient.job`.

        Blocks until it is known how the job stands.
        """
        return self._loop.run(self._attach(event_id))

    async def _attach(self, event_id: str) -> Job:
        from jobwire.sync.job import Job

        return Job(self, await self._client.job(event_id))

    def reset_session(self) -> None:
        """Start a new session. See `AsyncClient.reset_session`."""
        self._loop.run(self._reset_session())

    async def _reset_session(self) -> None:
        self._client.reset_session()

    def schema(self) -> AppSchema:
        """Return what the app offers. See `AsyncClient.schema`."""
        return self._loop.run(self._client.schema())

    def view_api(
        self,
        all_endpoints: bool | None = None,
        print_info: bool = True,
        return_format: Literal["dict", "str"] | None = None,
    ) -> dict[str, Any] | str | None:
        """Show what the app offers and how it is called. See `AsyncClient.view_api`."""
        view = partial(self._client.view_api, all_endpoints, False)
        if print_info:
            # Here, since notebooks tell by the thread which cell prints.
            print(self._loop.run(view("str")))  # noqa: T201
        return self._loop.run(view(return_format))


def _make_file(client: weakref.ref[Client], file: AsyncFileResult) -> Any:
    from jobwire.sync.result import FileResult

    # Whoever asks holds the client: it is asked for outputs of its own jobs.
    owner = client()
    return file if owner is None else FileResult(owner, file)


def _call_with_result(callback: Callable[..., object], job: Future[Any]) -> None:
    if not job.cancelled() and job.exception() is None:
        result = job.result()
        callback(*result) if isinstance(result, tuple) else callback(result)
