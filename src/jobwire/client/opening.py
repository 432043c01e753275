"""Opening an app: where it is, whether it runs, what it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

from jobwire.client.addresses import join, root, same_place
from jobwire.client.headers import lower
from jobwire.client.retrying import LOADING, retrying
from jobwire.client.spaces import find_running, token_for
from jobwire.exceptions import ArgumentError, AuthenticationError, JobwireError, NotGradioError
from jobwire.protocol.replies import read_config, read_login
from jobwire.protocol.schema import AppSchema, parse_config
from jobwire.transports.base import Response, Timeouts, Transport, TransportOptions

__all__ = ("AppAddress",)

_MAX_REDIRECTS = 5

_KNOCK_TIMEOUTS = Timeouts(connect=5.0, read=5.0)
"""For the request that wakes a Space, whose answer may be long in coming."""


class AppAddress:
    """An app that somebody named, and what it takes to open it.

    Args:
        url: Its root, with a trailing slash; of a Space, its name.
        space_id: The Space's name; None if an address was given.
        options: How requests are sent, without the token.
        make_transport: Makes what sends them.
        auth: ``(user, password)``; sent only if the app asks.
        token: As for the client: sent to the app's own host alone.
        space_timeout: As for the client.
        verbose: As for the client.

    Raises:
        ArgumentError: The token cannot be sent.
    """

    def __init__(
        self,
        url: str,
        *,
        space_id: str | None,
        options: TransportOptions,
        make_transport: Callable[[TransportOptions], Transport],
        auth: tuple[str, str] | None,
        token: str | Literal[False] | None,
        space_timeout: float | None,
        verbose: bool,
    ) -> None:
        if token is not None and token is not False and not isinstance(token, str):
            raise ArgumentError("token is a string, None or False", parameter="token")
        _header(token or None)  # whether it can be sent
        self.url = url
        self._space_id = space_id
        self._options = options
        self._make_transport = make_transport
        self._auth = auth
        self._token: str | Literal[False] | None = token
        self._space_timeout = space_timeout
        self._verbose = verbose

    @property
    def has_login(self) -> bool:
        """Whether there is a name and a password for an app that wants them."""
        return self._auth is not None

    async def open(self) -> tuple[Transport, AppSchema]:
        """Find the app, log in if need be, and read its ``/config``.

        Returns:
            What sends requests to it, for the caller to close; and what it offers.

        Raises:
            JobwireError: As `AsyncClient.connect`.
        """
        url = self.url
        if self._space_id is not None:
            host = await find_running(
                self._space_id,
                self._token,
                self._space_timeout,
                self._knock,
                verbose=self._verbose,
            )
            url = root(host)
        transport = await self._transport_to(url)
        try:
            read = partial(self.read, transport, url)
            return transport, await retrying(read, f"loading {url}", policy=LOADING)
        except BaseException:
            await transport.aclose()
            raise

    async def read(self, transport: Transport, url: str) -> AppSchema:
        """Read an app's ``/config``, and log in if need be.

        Args:
            transport: Sends requests to it.
            url: Its root.

        Raises:
            JobwireError: As `AsyncClient.connect`.
        """
        url, reply = await _get_config(transport, url)
        if reply.status == 401 and self._auth is not None:
            await _login(transport, url, *self._auth)
            url, reply = await _get_config(transport, url)
        return parse_config(read_config(*reply, url=f"{url}config"), url=url)

    async def _transport_to(self, url: str) -> Transport:
        token = _header(await token_for(self._token, url))
        headers = {**token, **self._options.headers}
        return self._make_transport(self._options._replace(headers=headers))

    async def _knock(self, host: str) -> bool:
        """Send a request to a Space that sleeps; return whether its app answers already."""
        url = f"{root(host)}config"
        transport = await self._transport_to(url)
        try:
            reply = await transport.request("GET", url, timeouts=_KNOCK_TIMEOUTS)
            read_config(*reply, url=url)
        except AuthenticationError:
            return True  # it is the app that wants a login
        except JobwireError:
            return False
        else:
            return True
        finally:
            await transport.aclose()


async def _get_config(transport: Transport, url: str) -> tuple[str, Response]:
    """Fetch an app's config, following redirects that stay on the host that was named.

    Returns:
        The app's root, which may have turned out to be another, and the answer.
    """
    for _ in range(_MAX_REDIRECTS):
        reply = await transport.request("GET", f"{url}config")
        if reply.status not in (301, 302, 303, 307, 308):
            return url, reply
        target = join(f"{url}config", reply.headers.get("location", ""))
        if not same_place(url, target) or not urlsplit(target).path.endswith("/config"):
            raise NotGradioError(
                f"{url}config redirects to {target}; if the app is there and you trust it, give "
                "that address",
                url=f"{url}config",
                status=reply.status,
            )
        url = root(target.partition("?")[0].removesuffix("config"))
    raise NotGradioError(f"{url} redirects more than {_MAX_REDIRECTS} times", url=url, status=302)


async def _login(transport: Transport, url: str, user: str, password: str) -> None:
    fields = {"username": user, "password": password}
    reply = await transport.request("POST", f"{url}login", body=fields)
    read_login(reply.status, reply.body, url=f"{url}login")


def _header(token: str | None) -> dict[str, str]:
    return {} if token is None else lower({"x-hf-authorization": f"Bearer {token}"})
