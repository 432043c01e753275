"""Who may use the server: names and passwords, tokens, cookies.

A login gives a random token, in cookies named as Gradio's are. Only the token's hash is kept.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import inspect
import ipaddress
import math
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qsl

from anyio import to_thread
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Scope

from jobwire.exceptions import JobwireError

__all__ = ("Auth", "Check", "TooManyAttemptsError", "login_without_auth")

Check: TypeAlias = (
    tuple[str, str] | Sequence[tuple[str, str]] | Callable[[str, str], bool | Awaitable[bool]]
)
"""Who may log in: a name and password, several, or a function that decides."""

TOKEN_TTL = 7 * 24 * 3600.0
"""Seconds that a login lasts."""

MAX_TOKENS = 65_536
"""Logins at once; one more ends the oldest. About 20 MB."""

MAX_FORM_SIZE = 64 * 1024
"""Bytes of a login's body: a name and a password."""

ATTEMPTS = 10
"""Wrong passwords from one address within `ATTEMPT_WINDOW`, before it has to wait."""

NAME_ATTEMPTS = 30
"""Wrong passwords for one name, from whatever addresses: more, so that a single address cannot
lock a user out."""

ATTEMPT_WINDOW = 60.0

MAX_COUNTED = 10_000
"""Addresses whose wrong passwords are counted, and names; one more forgets the least recent."""

MAX_TYPE_SIZE = 1024
"""Characters of a Content-Type: its parser takes quadratic time."""

BASIC_TTL = 60.0
"""Seconds that a password sent with each request is believed without asking again."""

MAX_BASIC = 256
"""Such passwords at once."""

DIGEST_SIZE = 32


class TooManyAttemptsError(JobwireError):
    """Too many wrong passwords came from one address, or for one name.

    Attributes:
        retry_after: Seconds until another may be tried.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__("Too many wrong passwords; try again later.")
        self.retry_after = retry_after

    def response(self) -> Response:
        """Return the HTTP answer."""
        headers = {"retry-after": str(math.ceil(self.retry_after))}
        return JSONResponse({"detail": str(self)}, 429, headers)


@dataclass(slots=True)
class _Attempts:
    """The wrong passwords from one address or for one name, and the right to try the next."""

    limit: int
    times: deque[float] = field(default_factory=deque)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def check(self, now: float) -> None:
        """Raise TooManyAttemptsError if too many were wrong of late."""
        while self.times and self.times[0] <= now - ATTEMPT_WINDOW:
            self.times.popleft()
        if len(self.times) >= self.limit:
            raise TooManyAttemptsError(self.times[0] + ATTEMPT_WINDOW - now)


class _Counted(OrderedDict[str | bytes, _Attempts]):
    """Wrong passwords by where they came from, or by whom they were for."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def of(self, key: str | bytes) -> _Attempts:
        attempts = self.setdefault(key, _Attempts(self._limit))
        self.move_to_end(key)
        if len(self) > MAX_COUNTED:
            self.popitem(last=False)
        return attempts


class Auth:
    """Knows the users, issues tokens and recognises them.

    Args:
        check: Who may log in. A function gets name and password; one that is not ``async``
            runs in a thread.
        message: Shown to those who are asked to log in.
        token_ttl: Seconds that a login lasts.
        same_site: Sent with the cookie for HTTPS. ``"none"`` lets pages of other sites that
            ``allowed_origins`` names, or that show the app in a frame, use the login.
        clock: Gives seconds.
    """

    def __init__(
        self,
        check: Check,
        *,
        message: str | None = None,
        token_ttl: float = TOKEN_TTL,
        same_site: Literal["lax", "none"] = "lax",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.message = message
        self.cookie_id = secrets.token_urlsafe(16)
        self._cookies = (
            f"access-token-{self.cookie_id}",
            f"access-token-unsecure-{self.cookie_id}",
        )
        self._cookie_names = tuple(name.encode() for name in self._cookies)
        self._token_ttl = token_ttl
        self._same_site: Literal["lax", "none"] = same_site
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._check: Callable[[str, str], bool | Awaitable[bool]] | None = None
        self._passwords: dict[str, bytes] = {}
        if callable(check):
            self._check = check
        else:
            self._passwords = {user: self._digest(password) for user, password in _pairs(check)}
        # By hash, oldest first: the user and when it ends.
        self._tokens: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._basic: OrderedDict[bytes, float] = OrderedDict()
        self._by_address = _Counted(ATTEMPTS)
        self._by_name = _Counted(NAME_ATTEMPTS)

    # -- passwords --

    async def verify(self, username: str, password: str) -> bool:
        """Say whether a name and a password belong together.

        Takes as long for a user who does not exist.
        """
        if self._check is None:
            known = self._passwords.get(username, bytes(DIGEST_SIZE))
            return hmac.compare_digest(self._digest(password), known)
        if _is_async(self._check):
            good = self._check(username, password)
        else:
            good = await to_thread.run_sync(self._check, username, password)
        return bool(await good if inspect.isawaitable(good) else good)

    @asynccontextmanager
    async def _turn(self, scope: Scope, username: str) -> AsyncIterator[Callable[[], None]]:
        """Have a password verified inside of this, and call what it gives if it is wrong.

        One at a time from each address and for each name: nobody gains by sending many at once.

        Raises:
            TooManyAttemptsError: Too many were wrong of late.
        """
        from_address = self._by_address.of(_network(scope))
        async with from_address.turn:
            from_address.check(self._clock())
            # Only now, so that no address can have all the names forgotten. A check may ignore
            # case; the hash is short, however long the name is.
            for_name = self._by_name.of(self._digest(username.strip().casefold()))
            async with for_name.turn:
                now = self._clock()
                for_name.check(now)

                def wrong() -> None:
                    from_address.times.append(now)
                    for_name.times.append(now)

                yield wrong

    def _digest(self, *parts: str) -> bytes:
        hashed = hashlib.blake2b(key=self._key, digest_size=DIGEST_SIZE)
        for part in parts:
            data = part.encode(errors="surrogatepass")
            hashed.update(len(data).to_bytes(8, "big") + data)
        return hashed.digest()

    # -- tokens --

    def issue(self, username: str) -> str:
        """Return a new token for a user."""
        now = self._clock()
        while self._tokens:  # they end in the order in which they were issued
            oldest = next(iter(self._tokens.values()))
            if oldest[1] > now and len(self._tokens) < MAX_TOKENS:
                break
            self._tokens.popitem(last=False)
        token = secrets.token_urlsafe(32)
        self._tokens[_hash(token)] = username, now + self._token_ttl
        return token

    def revoke(self, token: str) -> None:
        """End one login. Harmless if there is no such."""
        self._tokens.pop(_hash(token), None)

    def revoke_all(self, username: str) -> None:
        """End every login of a user."""
        for key in [key for key, (user, _) in self._tokens.items() if user == username]:
            del self._tokens[key]

    def user_of(self, scope: Scope) -> str | None:
        """Return whom a token in the request's cookies or headers belongs to, if anybody."""
        login = self._login_of(scope)
        return login and login[1]

    def _login_of(self, scope: Scope) -> tuple[str, str] | None:
        """Return the request's token that counts and its user."""
        for token in self._sent_tokens(scope):
            user, end = self._tokens.get(_hash(token), ("", 0.0))
            if end > self._clock():
                return token, user
        return None

    def _sent_tokens(self, scope: Scope) -> Iterator[str]:
        for name, value in scope["headers"]:
            if name == b"cookie":
                for cookie in value.split(b";"):
                    key, _, token = cookie.strip().partition(b"=")
                    if key in self._cookie_names:
                        yield token.decode("latin-1")
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                yield value[7:].strip().decode("latin-1")

    # -- requests --

    async def authenticate(self, scope: Scope) -> str | None:
        """Return who sends a request: by a token, or by HTTP Basic.

        Raises:
            TooManyAttemptsError: The client sent too many wrong passwords.
        """
        if (user := self.user_of(scope)) is not None:
            return user
        for name, value in scope["headers"]:
            if name == b"authorization" and value[:6].lower() == b"basic ":
                return await self._basic_user(scope, value[6:])
        return None

    async def _basic_user(self, scope: Scope, credentials: bytes) -> str | None:
        try:
            text = base64.b64decode(credentials, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        user, colon, password = text.partition(":")
        if not colon:
            return None
        key = self._digest(user, password)
        if self._believes(key):
            return user
        async with self._turn(scope, user) as wrong:
            if not self._believes(key):  # as it may by now, if the client sends many at once
                if not await self.verify(user, password):
                    wrong()
                    return None
                self._basic[key] = self._clock() + BASIC_TTL
                if len(self._basic) > MAX_BASIC:
                    self._basic.popitem(last=False)
        return user

    def _believes(self, key: bytes) -> bool:
        if (end := self._basic.get(key)) is None:
            return False
        if end <= self._clock():
            del self._basic[key]
            return False
        return True

    async def login(self, request: Request) -> Response:
        """Answer ``POST /login``."""
        try:
            username, password = await _read_credentials(request)
            async with self._turn(request.scope, username) as wrong:
                if not await self.verify(username, password):
                    wrong()
                    return JSONResponse({"detail": "Incorrect credentials."}, 400)
        except _BadFormError as error:
            return JSONResponse({"detail": error.detail}, error.status)
        except TooManyAttemptsError as error:
            return error.response()
        token = self.issue(username)
        response = JSONResponse({"success": True})
        for name, secure in zip(self._cookies, (True, False), strict=True):
            response.set_cookie(
                name,
                token,
                max_age=int(self._token_ttl),
                httponly=True,
                secure=secure,
                samesite=self._same_site if secure else "lax",
            )
        return response

    async def logout(self, request: Request) -> Response:
        """Answer ``GET /logout?all_session=true``."""
        response = await login_without_auth(request)
        for name in self._cookies:
            response.delete_cookie(name)
        if (login := self._login_of(request.scope)) is not None:
            token, user = login
            if request.query_params.get("all_session", "true").lower() in ("false", "0"):
                self.revoke(token)
            else:
                self.revoke_all(user)
        return response

    async def login_check(self, request: Request) -> Response:
        """Answer ``GET /login_check``."""
        return self.refusal() if request.scope["user"] is None else JSONResponse(None)

    async def user(self, request: Request) -> Response:
        """Answer ``GET /user``."""
        return JSONResponse(request.scope["user"])

    async def token(self, request: Request) -> Response:
        """Answer ``GET /token``."""
        token, user = self._login_of(request.scope) or (None, None)
        return JSONResponse({"token": token, "user": user})

    def refusal(self) -> Response:
        """Return the answer to a request of nobody known."""
        return JSONResponse(
            {"detail": {"error": "Not authenticated", "auth_message": self.message}},
            401,
            # Not Basic: browsers would ask for a password on their own.
            {"www-authenticate": "Bearer"},
        )


async def login_without_auth(request: Request) -> Response:
    """Answer ``POST /login`` and ``GET /logout`` where nobody needs to log in."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/", 302)


class _BadFormError(Exception):
    """The body of a login cannot be used: an HTTP status and why."""

    def __init__(self, status: int, detail: str | list[dict[str, Any]]) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


async def _read_credentials(request: Request) -> tuple[str, str]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_SIZE:
            raise _BadFormError(413, f"A login may have at most {MAX_FORM_SIZE} bytes.")
    content_type = request.headers.get("content-type", "")
    if len(content_type) > MAX_TYPE_SIZE:
        raise _BadFormError(400, f"The Content-Type has more than {MAX_TYPE_SIZE} characters.")
    match content_type.partition(";")[0].strip().lower():
        case "application/x-www-form-urlencoded":
            try:
                pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100)
            except ValueError as error:
                raise _BadFormError(400, f"The form is malformed: {error}") from None
            fields = dict(pairs)
        case "multipart/form-data":
            fields = await _multipart_fields(request, bytes(body))
        case _:
            fields = {}
    missing = [name for name in ("username", "password") if name not in fields]
    if missing:
        raise _BadFormError(
            422,
            [
                {"type": "missing", "loc": ["body", name], "msg": "Field required in the form"}
                for name in missing
            ],
        )
    return fields["username"].strip(), fields["password"]


async def _multipart_fields(request: Request, body: bytes) -> dict[str, str]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        parser = MultiPartParser(request.headers, stream(), max_files=0, max_fields=100)
        form = await parser.parse()
    except (MultiPartException, ValueError) as error:
        raise _BadFormError(400, f"The form is malformed: {error}") from None
    return {name: value for name, value in form.multi_items() if isinstance(value, str)}


def _pairs(check: object) -> Iterator[tuple[str, str]]:
    match check:
        case (str(user), str(password)):
            yield user, password
        case [_, *_]:
            for pair in check:
                match pair:
                    case (str(user), str(password)):
                        yield user, password
                    case _:
                        raise ValueError("auth must hold pairs of a name and a password")
        case _:
            raise ValueError("auth must be a name and a password, a list of such, or a function")


def _is_async(check: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(check) or inspect.iscoroutinefunction(type(check).__call__)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _network(scope: Scope) -> str:
    """Return what stands for a client when its attempts are counted."""
    client = scope.get("client")
    host = client[0] if client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        # Whoever has one such address has the other 2**64 as well.
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return host
