"""The app as it was found: loaded once, described when asked, looked at again after a loss."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, TypeVar

from jobwire.client.opening import AppAddress
from jobwire.client.retrying import LOADING, retrying
from jobwire.client.tasks import run_soon
from jobwire.exceptions import (
    AuthenticationError,
    ClientClosedError,
    JobwireError,
    LocalProtocolError,
    RemoteProtocolError,
    ServerError,
)
from jobwire.protocol.messages import decode_value
from jobwire.protocol.replies import read_json
from jobwire.protocol.schema import AppSchema
from jobwire.transports.base import Transport

__all__ = ("LoadedApp",)

logger = logging.getLogger("jobwire")

T = TypeVar("T")


class LoadedApp:
    """An app, what sends requests to it, and what is known of it.

    Belongs to the event loop in which it is loaded. Tasks that want the same of it at once
    share the work, and cancelling one leaves it to the others.

    Attributes:
        schema: What the app offers; None until it was loaded.
        closed: Nothing can be asked of it any more.

    Args:
        address: Where it is, and how it is opened.
        tasks: Holds the tasks that are begun here. Whoever closes the app ends them.
        verbose: Log, at INFO, that it was loaded.
    """

    def __init__(
        self, address: AppAddress, tasks: set[asyncio.Task[Any]], *, verbose: bool
    ) -> None:
        self.schema: AppSchema | None = None
        self.closed = False
        self._address = address
        self._tasks = tasks
        self._verbose = verbose
        self._loop: asyncio.AbstractEventLoop | None = None
        self._transport: Transport | None = None
        self._loading: asyncio.Task[None] | None = None
        self._reloading: asyncio.Task[None] | None = None
        self._describing: asyncio.Task[AppSchema] | None = None
        self._doubted = False

    @property
    def url(self) -> str:
        """Its root, with a trailing slash; a Space's name until it was found."""
        return self._address.url if self.schema is None else self.schema.url

    @property
    def opened(self) -> bool:
        """There are connections, or may be."""
        return self._transport is not None

    @property
    def has_login(self) -> bool:
        """Whether there is a name and a password for an app that wants them."""
        return self._address.has_login

    @property
    def transport(self) -> Transport:
        """What sends requests to it.

        Raises:
            ClientClosedError: It was closed.
            LocalProtocolError: It was not loaded.
        """
        self._check_open()
        if self._transport is None:
            raise LocalProtocolError("the app has not been looked for yet")
        return self._transport

    def _check_open(self) -> None:
        if self.closed:
            raise ClientClosedError("the client is closed; make a new one")

    def check_loop(self) -> None:
        """See that this is the loop that it belongs to, if there is one yet.

        Raises:
            LocalProtocolError: It is another.
        """
        if self._loop not in (None, asyncio.get_running_loop()):
            raise LocalProtocolError(
                "a client belongs to the event loop in which it was first used, and is closed "
                "there; make one for each loop, or use Client, which works from everywhere"
            )

    # -- what it offers --

    async def load(self) -> None:
        """Find the app and read its ``/config``, unless that was done.

        Raises:
            JobwireError: As `AsyncClient.connect`.
        """
        self._check_open()
        self.check_loop()
        self._loop = asyncio.get_running_loop()
        if self.schema is None:
            # Whoever waits for it shares one try, its failure included.
            if self._loading is None:
                self._loading = run_soon(self._tasks, self._open())
                self._loading.add_done_callback(_note_failure)
            await self._shared(self._loading)
        self._loaded()

    async def _open(self) -> None:
        try:
            self._transport, self.schema = await self._address.open()
        finally:
            self._loading = None
        if self._verbose:
            logger.info("loaded %s (gradio %s)", self.schema.url, self.schema.version)

    def _loaded(self) -> AppSchema:
        if self.schema is None:
            raise ClientClosedError("the client was closed meanwhile")
        return self.schema

    def doubt(self) -> None:
        """Note that a session was lost: another server may be there by now."""
        self._doubted = True

    async def current(self) -> AppSchema:
        """Return what a loaded app offers, after another look at it if that is in doubt.

        Raises:
            ClientClosedError: It was closed meanwhile.
        """
        if self._doubted:
            await self.look_again()
        return self._loaded()

    async def look_again(self) -> None:
        """See what is at the address now: a server that was restarted knows no login.

        That it could not be seen is logged.
        """
        if self._reloading is None or self._reloading.done():  # nobody was left to see its end
            self._reloading = run_soon(self._tasks, self._read_again())
            self._reloading.add_done_callback(_note_failure)
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
        self.schema = await self._address.read(self.transport, self.url)
        self._doubted = False

    async def described(self) -> AppSchema:
        """Return what a loaded app offers, with what its ``/info`` says, fetched the first time.

        Raises:
            JobwireError: The server cannot be reached, or wants a login.
        """
        schema = self._loaded()
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
            return read_json(*await self.transport.request("GET", url), url=url)

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
        self.schema = self._loaded().with_info(info)  # perhaps looked at again meanwhile
        return self.schema

    async def _shared(self, task: asyncio.Task[T]) -> T:
        """Wait for what others may wait for as well."""
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self.closed:
                raise ClientClosedError("the client was closed meanwhile") from None
            raise

    def add_rendered(self, config: bytes) -> None:
        """Take on the endpoints that a job has rendered.

        Args:
            config: The server's word of them. That it cannot be read is logged.
        """
        if self.schema is None:
            return
        try:
            self.schema = self.schema.with_rendered(decode_value(config))
        except RemoteProtocolError as error:
            logger.warning("what the app rendered cannot be read: %s", error)

    def drop_rendered(self) -> None:
        """Forget the endpoints that jobs have rendered: their session is over."""
        if self.schema is not None:
            self.schema = self.schema.without_rendered()

    # -- the end --

    def close(self) -> None:
        """Take nothing on any more, and break off what is being loaded. Does not wait."""
        self.closed = True
        for loading in (self._loading, self._describing):
            if loading is not None:
                loading.cancel()

    async def aclose(self) -> None:
        """Close every connection. Harmless when repeated."""
        self.close()
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()


def _note_failure(task: asyncio.Task[Any]) -> None:
    """See a task's failure, even if all who waited for it were cancelled."""
    if not task.cancelled():
        task.exception()
