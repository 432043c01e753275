"""Hugging Face Spaces: found by name, waited for, copied.

The only file that names the library of the Hub.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import re
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

from jobwire import __version__
from jobwire.exceptions import (
    AuthenticationError,
    ConnectError,
    JobwireError,
    MissingDependencyError,
    RemoteProtocolError,
    ServerError,
    SpaceDuplicationError,
    SpaceError,
    SpaceNotFoundError,
    SpaceTimeoutError,
    TooManyRequestsError,
    TransportError,
    TransportTimeoutError,
    shown,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ("duplicate", "find_running", "is_hugging_face", "space_name", "token_for")

T = TypeVar("T")

logger = logging.getLogger("jobwire")

_POLL = (1.0, 5.0)
"""Seconds between two questions to the Hub about a Space that is not ready: the first
time, and at most. It allows an anonymous client 500 in five minutes."""

_HUB_TIMEOUT = 30.0
"""Seconds for one question to the Hub. Its library waits for ever by itself."""

_HUB = "https://huggingface.co"

_SPACE = re.compile(rf"(?:{re.escape(_HUB)}/spaces/)?([\w-]+/[\w.-]+)/?\Z", re.ASCII)
"""A Space's name, or the address of its page on the Hub, which is not the app's. Owners
have no dots in their names, which hosts do: ``example.com/app`` is no Space."""

# SLEEPING and those that begin with RUNNING are not in the library's list but on the wire.
_ASLEEP = frozenset(["SLEEPING", "STOPPED"])
_COMING = frozenset(["BUILDING", "APP_STARTING"])
_FATAL = {
    "NO_APP_FILE": "it has no app file",
    "CONFIG_ERROR": "its configuration is wrong",
    "BUILD_ERROR": "it could not be built",
    "RUNTIME_ERROR": "it has crashed",
    "PAUSED": "its owner has paused it and must restart it",
    "DELETING": "it is being deleted",
}
"""Stages that no waiting ends. All others are taken for running: so are those in which an
old version still serves while the next one is built, and those that are not known yet."""


class _Space(NamedTuple):
    host: str
    stage: str
    error: str
    hardware: str | None


def space_name(src: str) -> str | None:
    """Return the name of the Space that ``src`` means, as ``OWNER/NAME``; None for an address."""
    match = _SPACE.match(src.strip())
    return match[1] if match and not match[1].startswith("localhost/") else None


def is_hugging_face(url: str) -> bool:
    """Whether a token of this machine may be shown to the host of ``url``."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    host = parts.hostname or ""
    return parts.scheme == "https" and (host == "huggingface.co" or host.endswith(".hf.space"))


async def token_for(token: str | Literal[False] | None, url: str) -> str | None:
    """Return the token to send to the host of ``url``.

    Args:
        token: The caller's own, which is sent to whoever the caller named; False for
            none. None is the one saved on this machine, which only Hugging Face gets.
        url: Where requests will go.

    Raises:
        JobwireError: A saved token has to be renewed first, and that failed.
    """
    if token is not None:
        return token or None
    return await _in_thread(_saved_token) if is_hugging_face(url) else None


def _saved_token() -> str | None:
    try:
        from huggingface_hub import constants, get_token
    except ImportError:
        return os.environ.get("HF_TOKEN", "").strip() or None
    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return None
    with _hub_errors(_HUB):
        return get_token()


# -- finding and waiting -------------------------------------------------------


async def find_running(
    space_id: str,
    token: str | Literal[False] | None,
    timeout: float | None,
    knock: Callable[[str], Awaitable[bool]],
    *,
    verbose: bool = True,
) -> str:
    """Return the address of a Space's app once the app runs.

    Args:
        space_id: The Space.
        token: As for `token_for`.
        timeout: Seconds to wait for a Space that builds, starts or sleeps; None waits
            for ever, 0 not at all.
        knock: Sends a request to the address that it is given, which is what wakes a
            Space that sleeps; returns whether the app answers already.
        verbose: Log, as warnings, that and for what is waited.

    Raises:
        SpaceNotFoundError: There is no such Space, or the token may not see it.
        SpaceTimeoutError: It was not ready in time.
        SpaceError: It is in a stage that no waiting ends.
        MissingDependencyError: The library of the Hub is not installed.
        ConnectError, TransportTimeoutError: The Hub cannot be reached.
        AuthenticationError: The Hub does not accept the token.
        TooManyRequestsError: The Hub asks for more patience than ``timeout`` allows.
        ServerError, RemoteProtocolError: The Hub fails.
    """
    hub = await _Hub.open(token)
    now = asyncio.get_running_loop().time
    started = now()
    space: _Space | None = None
    announced = ""
    delay, longest = _POLL
    while True:
        left = math.inf if timeout is None else timeout - (now() - started)
        pause = delay
        try:
            # The first question gets its time even if the Space gets none.
            limit = _HUB_TIMEOUT if space is None else min(_HUB_TIMEOUT, max(left, 1))
            space = await hub.space(space_id, limit)
        except TooManyRequestsError as error:
            pause = max(pause, error.retry_after or 0)
            if pause > left:
                raise
            if verbose:
                logger.warning("the Hub wants to be asked less often; waiting %.0f s", pause)
        except JobwireError as error:
            if space is None or not _passing(error):
                raise
            logger.debug("asking for the Space %s again: %s", space_id, error)
        else:
            if space.stage in _FATAL:
                why = f": {shown(space.error)}" if space.error else ""
                raise SpaceError(
                    f"the Space {space_id} does not run: {_FATAL[space.stage]} "
                    f"({space.stage}){why}. See {hub.page(space_id)}",
                    space_id=space_id,
                    stage=space.stage,
                )
            if space.stage not in _ASLEEP | _COMING:
                return space.host
        if space is not None:
            if left <= 0:
                raise SpaceTimeoutError(
                    f"the Space {space_id} is not ready after {now() - started:.0f} s "
                    f"({space.stage}); try again later, or wait longer with space_timeout=. "
                    f"See {hub.page(space_id)}",
                    space_id=space_id,
                    stage=space.stage,
                )
            if verbose and space.stage != announced:
                how_long = "until it runs" if timeout is None else f"up to {left:.0f} s"
                logger.warning("the Space %s is %s; waiting %s", space_id, space.stage, how_long)
                announced = space.stage
            if space.stage in _ASLEEP and await knock(space.host):
                return space.host
        await asyncio.sleep(max(0, min(pause, left)))
        delay = min(longest, delay * 1.5)


def _passing(error: JobwireError) -> bool:
    """Whether a question that could be answered before is worth asking again."""
    return isinstance(error, TransportError) or (
        isinstance(error, ServerError) and error.status >= 500
    )


# -- copying -------------------------------------------------------------------


async def duplicate(
    from_id: str,
    to_id: str | None,
    token: str | Literal[False] | None,
    *,
    private: bool,
    hardware: str | None,
    secrets: Mapping[str, str] | None,
    sleep_timeout: int,
    verbose: bool,
) -> str:
    """Make a copy of a Space, unless there is one, and return its name.

    The arguments and errors are those of `AsyncClient.duplicate`.
    """
    hub = await _Hub.open(token)
    from_id = _checked(from_id)
    original = await hub.space(from_id)
    owner, _, name = (to_id or from_id.partition("/")[2]).rpartition("/")
    space_id = _checked(f"{owner or await hub.user()}/{name}")
    try:
        copy = await hub.space(space_id)
    except SpaceNotFoundError:
        if verbose:
            logger.info("duplicating the Space %s as %s", from_id, space_id)
        await hub.copy(from_id, space_id, private, secrets)
        copy = await hub.space(space_id)
    else:
        if verbose:
            logger.info("using the Space %s, which is there already", space_id)
        if secrets:
            warnings.warn(
                f"the Space {space_id} is there already, so its secrets stay as they are",
                stacklevel=2,
            )
    current = copy.hardware or _FREE
    wanted = str(getattr(hardware, "value", hardware) or original.hardware or _FREE)
    if wanted != current:
        # Not for verbose callers only: it costs money.
        logger.warning("the Space %s gets the hardware %s, which may be billed", space_id, wanted)
    await hub.equip(space_id, wanted, change=wanted != current, sleep_time=sleep_timeout * 60)
    return space_id


def _checked(text: str) -> str:
    name = space_name(text)
    if name is None:
        raise SpaceNotFoundError(
            f"{text!r} is no name of a Space, which is OWNER/NAME", space_id=text
        )
    return name


_FREE = "cpu-basic"
"""The hardware of a Space that asked for none; its sleep time cannot be set."""


# -- the Hub -------------------------------------------------------------------


class _Hub:
    """The Hub, asked in threads of their own, because its library blocks."""

    def __init__(self, endpoint: str, token: str | None) -> None:
        self._endpoint = endpoint
        self._token = token

    @classmethod
    async def open(cls, token: str | Literal[False] | None) -> _Hub:
        # Read for each client; the library does when it is imported.
        endpoint = (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")
        return cls(endpoint, await token_for(token, endpoint))

    def page(self, space_id: str) -> str:
        """Return where people see a Space's state."""
        return f"{self._endpoint}/spaces/{space_id}"

    async def space(self, space_id: str, timeout: float | None = None) -> _Space:
        """Return what a Space is doing, within ``timeout`` seconds."""

        def ask(api: HfApi) -> _Space:
            info = api.space_info(space_id, timeout=timeout or _HUB_TIMEOUT)
            runtime = info.runtime
            raw: Mapping[str, Any] = runtime.raw if runtime is not None else {}
            return _Space(
                host=info.host or "",
                stage=str(raw.get("stage") or ""),
                error=str(raw.get("errorMessage") or ""),
                hardware=runtime.hardware if runtime is not None else None,
            )

        return await self._ask(ask, space_id, timeout)

    async def user(self) -> str:
        """Return the name of the account to which the token belongs."""
        if self._token is None:
            raise AuthenticationError(
                "a Space is duplicated into somebody's account, so a token is needed: pass "
                "token=, or log in with `hf auth login`"
            )
        return await self._ask(lambda api: str(api.whoami()["name"]))

    async def copy(
        self, from_id: str, to_id: str, private: bool, secrets: Mapping[str, str] | None
    ) -> None:
        """Make a copy of a Space; its first start has the secrets already."""
        pairs = [{"key": key, "value": value} for key, value in (secrets or {}).items()]

        def ask(api: HfApi) -> None:
            api.duplicate_repo(
                from_id,
                to_id,
                repo_type="space",
                private=private,
                space_secrets=pairs or None,
            )

        with _duplicating(to_id):
            await self._ask(ask, from_id)

    async def equip(self, space_id: str, hardware: str, *, change: bool, sleep_time: int) -> None:
        """Set a Space's hardware, if that is to change, and the idle seconds before it sleeps."""

        def ask(api: HfApi) -> None:
            if change:
                api.request_space_hardware(
                    space_id,
                    hardware,  # type: ignore[arg-type]
                    sleep_time=sleep_time if hardware != _FREE else None,
                )
            elif hardware != _FREE:
                api.set_space_sleep_time(space_id, sleep_time)

        with _duplicating(space_id):
            await self._ask(ask, space_id)

    async def _ask(
        self, question: Callable[[HfApi], T], space_id: str = "", timeout: float | None = None
    ) -> T:
        def ask() -> T:
            try:
                from huggingface_hub import HfApi
            except ImportError as error:
                raise MissingDependencyError(
                    "Spaces are found by name with the library of the Hugging Face Hub: "
                    "pip install 'jobwire[hub]'. A Space's address works without it: "
                    "https://OWNER-NAME.hf.space",
                    name=error.name,
                ) from None
            api = HfApi(
                self._endpoint,
                token=self._token or False,
                library_name="jobwire",
                library_version=__version__,
            )
            with _hub_errors(self._endpoint, space_id, with_token=self._token is not None):
                return question(api)

        try:
            async with asyncio.timeout(timeout or _HUB_TIMEOUT):
                return await _in_thread(ask)
        except TimeoutError as error:
            if isinstance(error, JobwireError):
                raise
            raise TransportTimeoutError(
                f"{self._endpoint}: the Hub did not answer in time"
            ) from None


@contextlib.contextmanager
def _duplicating(space_id: str) -> Iterator[None]:
    try:
        yield
    except TooManyRequestsError:
        raise
    except (ServerError, SpaceError) as error:
        raise SpaceDuplicationError(
            f"the Space could not be duplicated as {space_id}: {error}", space_id=space_id
        ) from error


@contextlib.contextmanager
def _hub_errors(endpoint: str, space_id: str = "", *, with_token: bool = True) -> Iterator[None]:
    """Turn what the Hub's library raises into our errors.

    Theirs are not chained: they hold the request, and that has the token.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except HFValidationError as error:
        raise SpaceNotFoundError(
            f"that is no name of a Space: {shown(str(error))}", space_id=space_id
        ) from None
    except HfHubHTTPError as error:
        raise _refusal(error, endpoint, space_id, with_token) from None
    except (ValueError, LookupError, TypeError) as error:
        raise RemoteProtocolError(
            f"{endpoint} does not answer as the Hub does: {shown(str(error))}"
        ) from None
    except Exception as error:
        # The errors of the HTTP library below, which has changed twice; and offline mode.
        if any("Timeout" in kind.__name__ for kind in type(error).__mro__):
            raise TransportTimeoutError(f"{endpoint}: the Hub did not answer in time") from None
        raise ConnectError(f"cannot reach the Hub at {endpoint}: {shown(str(error))}") from None


def _refusal(error: Any, endpoint: str, space_id: str, with_token: bool) -> JobwireError:
    status: int = error.response.status_code
    headers: Mapping[str, str] = error.response.headers
    words = shown(str(error.server_message or headers.get("x-error-message") or ""))
    told = f": {words}" if words else ""
    if status == 429:
        return TooManyRequestsError(
            f"{endpoint}: too many requests{told}", body=words, retry_after=_retry_after(headers)
        )
    if status == 401 and "credentials" in words:
        return AuthenticationError(
            f"{endpoint} does not accept the token{told}", status=status, body=words
        )
    if space_id and status in (401, 404):
        hint = (
            "if it is private, this token may not see it"
            if with_token
            else "if it is private, pass a token= that may see it"
        )
        return SpaceNotFoundError(f"{endpoint} has no Space {space_id}; {hint}", space_id=space_id)
    if status in (401, 403):
        return AuthenticationError(
            f"{endpoint}: the token does not allow this (HTTP {status}){told}",
            status=status,
            body=words,
        )
    return ServerError(f"{endpoint}: HTTP {status}{told}", status=status, body=words)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    seconds = headers.get("retry-after", "")
    if not seconds.isdecimal():  # then it may be as in the draft that the Hub follows
        found = re.search(r"\bt\s*=\s*(\d+)", headers.get("ratelimit", ""))
        seconds = found[1] if found else ""
    return float(seconds) if seconds else None


async def _in_thread(work: Callable[[], T]) -> T:
    """Run what blocks in a daemon thread: an executor's would hold up the interpreter's exit.

    Cancelling leaves the thread to itself.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_outcome: Callable[[Any], None], outcome: Any) -> None:
        if not future.done():
            set_outcome(outcome)

    def run() -> None:
        set_outcome: Callable[[Any], None]
        try:
            outcome: Any = work()
            set_outcome = future.set_result
        except BaseException as error:
            outcome, set_outcome = error, future.set_exception
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, set_outcome, outcome)
        del outcome  # an error's traceback holds this frame

    threading.Thread(target=run, daemon=True).start()
    return await future
