"""The HTTP side: requests into calls, outcomes into responses.

Wire reference: the routes of gradio 5 and 6, below ``/gradio_api``.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Raw, Struct
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from jobwire.exceptions import EndpointNotFoundError, JobwireError, QueueFullError, shown
from jobwire.server import documents, uploads
from jobwire.server.auth import login_without_auth
from jobwire.server.channels import Channel
from jobwire.server.context import Request, Session
from jobwire.server.endpoint import Endpoint
from jobwire.server.errors import InputError, UnavailableError
from jobwire.server.guard import route_path
from jobwire.server.job import Caller
from jobwire.server.job_routes import JobRoutes, after_of
from jobwire.server.service import Service
from jobwire.server.stores.base import JobNotFoundError, KeyReusedError, StoreError
from jobwire.server.streams import EventStream, alive, call_events, outcome, session_events

if TYPE_CHECKING:
    from jobwire.server.app import App

__all__ = ("Router", "Routes", "root_of")

T = TypeVar("T")

MAX_HASH_SIZE = 256
"""Characters of a session's hash; clients make it of 10 to 36."""


MAX_KEY_SIZE = 255
"""Characters of an Idempotency-Key."""


class _JoinBody(Struct):
    data: Raw
    fn_index: int | str | None = None
    session_hash: str | None = None


class _CancelBody(Struct):
    session_hash: str
    fn_index: int
    event_id: str


class _ResetBody(Struct):
    event_id: str


class _BadBodyError(JobwireError):
    """A request's body is not what it should be.

    Attributes:
        detail: What stock servers say of it: the errors, each with its place.
    """

    def __init__(self, message: str, *, place: tuple[str, ...] = ("body",)) -> None:
        super().__init__(message)
        self.detail = [{"type": "value_error", "loc": list(place), "msg": message}]


class _RefusedError(JobwireError):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _InvalidCallError(JobwireError):
    """The arguments do not fit the endpoint."""

    def __init__(self, endpoint: Endpoint, error: InputError) -> None:
        super().__init__(error.message)
        self.endpoint = endpoint
        self.error = error

    @property
    def detail(self) -> list[dict[str, Any]]:
        """One entry for each parameter, the good ones included: what stock clients show."""
        entries = [
            {"__type__": "validate", "is_valid": True, "message": "", "parameter_name": slot.name}
            for slot in self.endpoint.signature.inputs
        ]
        for entry in entries:
            if entry["parameter_name"] == self.error.parameter:
                entry |= {"is_valid": False, "message": self.error.message}
                return entries
        entries.append(
            {
                "__type__": "validate",
                "is_valid": False,
                "message": self.error.message,
                "parameter_name": self.error.parameter or "",
            }
        )
        return entries


Handler = Callable[[HTTPRequest], Awaitable[ASGIApp]]


class Router:
    """Finds the handler of a request, as an ASGI application.

    Most requests are for a path that has no parameter in it: those are looked up. The rest
    is matched by Starlette's routes.
    """

    def __init__(self, table: Iterable[tuple[str, str, Handler]]) -> None:
        self._fixed: dict[tuple[str, str], Handler] = {}
        self._routes: list[Route] = []
        for method, path, handler in table:
            if "{" not in path:
                self._fixed[method, path] = handler
            self._routes.append(Route(path, _Answering(handler), methods=[method]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # the guard has closed it
        handler = self._fixed.get((scope["method"], route_path(scope)))
        if handler is not None:
            await _answer(handler, scope, receive, send)
            return
        allowed: set[str] = set()
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                await route.handle({**scope, **found}, receive, send)
                return
            if match is Match.PARTIAL:
                allowed |= route.methods or set()
        response = _detail(404, "Not Found")
        if allowed:
            response = _detail(405, "Method Not Allowed")
            response.headers["allow"] = ", ".join(sorted(allowed))
        await response(scope, receive, send)


class _Answering:
    """A handler as an ASGI application."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _answer(self._handler, scope, receive, send)


async def _answer(handler: Handler, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        response = await handler(HTTPRequest(scope, receive))
    except JobwireError as error:
        response = _refusal(error)
    except ClientDisconnect:
        return  # nobody is left to answer
    await response(scope, receive, send)


class Routes:
    """The handlers of an app's requests."""

    def __init__(self, app: App) -> None:
        self._app = app

    def table(self) -> Iterator[tuple[str, str, Handler]]:
        """Yield method, path and handler of every route."""
        api: list[tuple[str, str, Handler]] = [
            ("POST", "/queue/join", self.join),
            ("GET", "/queue/data", self.data),
            ("POST", "/run/{name}", self.run),
            ("POST", "/call/{name}", self.call),
            ("GET", "/call/{name}/{event_id}", self.call_data),
            ("POST", "/call/v2/{name}", self.call_named),
            ("GET", "/call/v2/{name}/{event_id}", self.call_data),
            ("POST", "/cancel", self.cancel),
            ("POST", "/reset", self.reset),
            ("GET", "/info", self.info),
            ("GET", "/openapi.json", self.openapi),
            ("GET", "/heartbeat/{session_hash}", self.heartbeat),
            ("POST", "/upload", self.upload),
            ("GET", "/upload_progress", self.upload_progress),
            ("GET", "/file={path:path}", self.file),
            ("GET", "/file/{path:path}", self.file),
            *JobRoutes(self._app).table(),
            ("GET", "/queue/status", self.status),
            ("GET", "/startup-events", self.startup_events),
            ("GET", "/app_id", self.app_id),
            ("GET", "/login_check", self.login_check),
            ("GET", "/user", self.user),
            ("GET", "/token", self.token),
            ("POST", "/api/{name}", self.run),
        ]
        top: list[tuple[str, str, Handler]] = [
            ("GET", "/config", self.config),
            ("POST", "/login", self.login),
            ("GET", "/logout", self.logout),
            ("GET", "/health", self.health),
            ("GET", "/metrics", self.metrics),
            ("GET", "/theme.css", self.theme),
            ("GET", "/favicon.ico", self.favicon),
            ("GET", "/robots.txt", self.robots),
            ("GET", "/", self.index),
        ]
        for prefix, table in ((documents.API_PREFIX, api), ("", top)):
            for method, path, handler in table:
                yield method, prefix + path, handler

    @property
    def _service(self) -> Service:
        return self._app.service

    # -- calls --------------------------------------------------------------------

    async def join(self, request: HTTPRequest) -> Response:
        body = _decode(await request.body(), _JoinBody)
        if not body.session_hash:
            raise _RefusedError(400, "Session hash not found.")
        if body.fn_index is None:
            raise _RefusedError(400, "No function index provided.")
        endpoint = self._service.find(_index(body.fn_index))
        caller = _caller(request, body.session_hash)
        channel = self._channel(body.session_hash, caller)
        values, data = _values(body)
        key = _key(request)
        return _accepted(
            await self._submit(endpoint, values, data, caller, channel=channel, key=key)
        )

    async def data(self, request: HTTPRequest) -> EventStream:
        hash = request.query_params.get("session_hash")
        if hash is None:
            raise _BadBodyError("Field required", place=("query", "session_hash"))
        after = after_of(request)
        service = self._service
        channel = service.channel(hash, request.scope["user"], after=after)
        return EventStream(session_events(channel, service, after=after))

    async def call(self, request: HTTPRequest) -> Response:
        endpoint = self._service.find(request.path_params["name"])
        body = _decode(await request.body(), _JoinBody)
        caller = _caller(request, body.session_hash)
        return _accepted(await self._submit(endpoint, *_values(body), caller, key=_key(request)))

    async def call_named(self, request: HTTPRequest) -> Response:
        endpoint = self._service.find(request.path_params["name"])
        named = _decode(await request.body(), dict[str, Any])
        try:
            values = endpoint.signature.decode_named(named)
        except InputError as error:
            raise _InvalidCallError(endpoint, error) from None
        # As the stdlib writes it: NaN and halves of surrogate pairs are for `decode` to judge.
        data = json.dumps(values).encode()
        caller = _caller(request, None)
        return _accepted(await self._submit(endpoint, values, data, caller, key=_key(request)))

    async def call_data(self, request: HTTPRequest) -> EventStream:
        id = request.path_params["event_id"]
        service = self._service
        try:
            service.ticket(id, request.scope["user"])
        except JobNotFoundError:
            id = ""  # somebody else's is as unknown as one that never was
        return EventStream(
            call_events(
                id,
                store=service.store,
                delivery=service.delivery,
                after=after_of(request),
                on_leave=service.leave_job,
            )
        )

    async def run(self, request: HTTPRequest) -> Response:
        body = _decode(await request.body(), _JoinBody)
        name = request.path_params["name"]
        endpoint = self._service.find(name if body.fn_index is None else _index(body.fn_index))
        service = self._service
        caller = _caller(request, body.session_hash)
        id = await self._submit(endpoint, *_values(body), caller, key=_key(request))
        ended = await outcome(id, store=service.store, delivery=service.delivery)
        output = bytes(ended.output)
        if ended.success and output != b"{}":
            return _json(output)
        return _json(output if not ended.success else b'{"error":"the job was cancelled"}', 500)

    async def cancel(self, request: HTTPRequest) -> Response:
        body = _decode(await request.body(), _CancelBody)
        try:
            done = self._service.cancel(
                body.event_id, session=body.session_hash, username=request.scope["user"]
            )
        except JobNotFoundError:
            done = "unknown"
        return JSONResponse({"success": done != "unknown", "outcome": done})

    async def reset(self, request: HTTPRequest) -> Response:
        # Stock clients send it after each cancel; their servers do nothing either.
        _decode(await request.body(), _ResetBody)
        return JSONResponse({"success": True})

    async def heartbeat(self, request: HTTPRequest) -> EventStream:
        hash = _checked_hash(request.path_params["session_hash"])
        user = request.scope["user"]
        channels = self._service.channels
        channels.open(hash, user)
        self._service.keep_house()
        return EventStream(alive(lambda: channels.get(hash, user)))

    async def _submit(
        self,
        endpoint: Endpoint,
        values: list[Any],
        data: bytes,
        caller: Caller,
        *,
        channel: Channel | None = None,
        key: str | None = None,
    ) -> str:
        session: Session | None = None
        if channel is not None:
            session = channel.session
        elif caller.request.session_hash is not None:
            session = self._channel(caller.request.session_hash, caller).session
        try:
            return await self._service.submit(
                endpoint, values, data, caller, channel=channel, session=session, key=key
            )
        except InputError as error:
            raise _InvalidCallError(endpoint, error) from None

    def _channel(self, hash: str, caller: Caller) -> Channel:
        return self._service.channels.open(_checked_hash(hash), caller.request.username)

    # -- files ----------------------------------------------------------------------

    async def upload(self, request: HTTPRequest) -> Response:
        response = await uploads.upload(
            request,
            self._service.files,
            owner=request.scope["user"],
            progress=self._service.uploads,
            max_body_size=self._app.settings.max_upload_size,
        )
        self._service.keep_house()
        return response

    async def upload_progress(self, request: HTTPRequest) -> Response:
        return await self._service.uploads.respond(request, owner=request.scope["user"])

    async def file(self, request: HTTPRequest) -> Response:
        path = request.path_params["path"]
        return await uploads.download(
            request, self._service.files, path, owner=request.scope["user"]
        )

    # -- what the server says of itself -------------------------------------------------

    async def config(self, request: HTTPRequest) -> Response:
        return JSONResponse(self._config(request))

    async def info(self, request: HTTPRequest) -> Response:
        # Any text is true, also "False", as in gradio.
        everything = bool(request.query_params.get("all_endpoints"))
        return JSONResponse(documents.info(self._app.endpoints.values(), everything))

    async def openapi(self, request: HTTPRequest) -> Response:
        return JSONResponse(
            documents.openapi(
                self._app.facts,
                self._app.endpoints.values(),
                prefix=documents.API_PREFIX,
                root=root_of(request.scope),
            )
        )

    async def index(self, request: HTTPRequest) -> Response:
        if self._app.auth is not None and request.scope["user"] is None:
            return HTMLResponse(documents.login_page(self._app.facts, self._app.auth.message))
        config = self._config(request)
        return HTMLResponse(documents.index_page(config, self._app.endpoints.values()))

    def _config(self, request: HTTPRequest) -> dict[str, Any]:
        return documents.config(
            self._app.facts,
            self._app.endpoints.values(),
            root=root_of(request.scope),
            username=request.scope["user"],
        )

    async def status(self, request: HTTPRequest) -> Response:
        return JSONResponse(
            {
                "msg": "estimation",
                "event_id": None,
                "rank": None,
                "queue_size": self._service.store.waiting(),
                "rank_eta": None,
            }
        )

    async def startup_events(self, request: HTTPRequest) -> Response:
        return JSONResponse(True)

    async def app_id(self, request: HTTPRequest) -> Response:
        return JSONResponse({"app_id": self._app.facts.app_id})

    async def theme(self, request: HTTPRequest) -> Response:
        return PlainTextResponse("", media_type="text/css")

    async def favicon(self, request: HTTPRequest) -> Response:
        return Response(status_code=204)

    async def robots(self, request: HTTPRequest) -> Response:
        return PlainTextResponse("User-agent: *\nDisallow: /\n")

    # -- who is there ------------------------------------------------------------------

    async def login(self, request: HTTPRequest) -> Response:
        if self._app.auth is None:
            return await login_without_auth(request)
        return await self._app.auth.login(request)

    async def logout(self, request: HTTPRequest) -> Response:
        if self._app.auth is None:
            return RedirectResponse(root_of(request.scope) + "/", 302)
        return await self._app.auth.logout(request)

    async def login_check(self, request: HTTPRequest) -> Response:
        return JSONResponse(None)  # whoever comes here is logged in

    async def user(self, request: HTTPRequest) -> Response:
        return JSONResponse(request.scope["user"])

    async def token(self, request: HTTPRequest) -> Response:
        if self._app.auth is None:
            return JSONResponse({"token": None, "user": None})
        return await self._app.auth.token(request)

    # -- for who runs it ---------------------------------------------------------------

    async def health(self, request: HTTPRequest) -> Response:
        if self._service.closed:
            return JSONResponse({"status": "stopping"}, 503)
        return JSONResponse({"status": "ok"})

    async def metrics(self, request: HTTPRequest) -> Response:
        from jobwire.server.metrics import render

        body, media_type = render(self._service)
        return Response(body, headers={"content-type": media_type})


def root_of(scope: Scope) -> str:
    """Return the address at which a caller sees the app, without a trailing slash."""
    host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode(
        "latin-1"
    )
    return f"{scope['scheme']}://{host}{scope.get('root_path', '').rstrip('/')}"


def _caller(request: HTTPRequest, session_hash: str | None) -> Caller:
    scope = request.scope
    client = scope.get("client")
    query: Mapping[str, str] = {}
    if scope["query_string"]:
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    return Caller(
        Request(
            headers={
                name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
            },
            query=query,
            client=client[0] if client else None,
            username=scope["user"],
            session_hash=session_hash,
        ),
        root_of(scope),
    )


def _decode(data: bytes, type: type[T], *, place: tuple[str, ...] = ("body",)) -> T:
    try:
        return msgspec.json.decode(data, type=type)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        reason: Exception = error
    if not isinstance(reason, msgspec.ValidationError):
        # Python writes NaN and Infinity into JSON, and its clients send them.
        try:
            value = json.loads(data)
            if type in (list[Any], dict[str, Any]):
                return msgspec.convert(value, type)
            if isinstance(value, dict) and isinstance(value.get("data"), list):
                value["data"] = json.dumps(value["data"]).encode()
            fields = {k: Raw(v) if isinstance(v, bytes) else v for k, v in value.items()}
            return msgspec.convert(fields, type)
        except (ValueError, msgspec.MsgspecError, AttributeError, RecursionError) as error:
            reason = error
    raise _BadBodyError(f"{reason}: {shown(data)}", place=place)


def _values(body: _JoinBody) -> tuple[list[Any], bytes]:
    data = bytes(body.data)
    return _decode(data, list[Any], place=("body", "data")), data


def _index(value: int | str) -> int:
    try:
        return int(value)
    except ValueError:
        raise _BadBodyError("fn_index is a number", place=("body", "fn_index")) from None


def _checked_hash(hash: str) -> str:
    if len(hash) > MAX_HASH_SIZE:
        raise _BadBodyError(
            f"a session's hash has at most {MAX_HASH_SIZE} characters",
            place=("body", "session_hash"),
        )
    return hash


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


def _accepted(id: str) -> Response:
    return _json(b'{"event_id":"' + id.encode() + b'"}')


def _key(request: HTTPRequest) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= MAX_KEY_SIZE:
        raise _RefusedError(400, f"An Idempotency-Key has 1 to {MAX_KEY_SIZE} characters.")
    return key


def _detail(status: int, detail: Any) -> Response:
    return JSONResponse({"detail": detail}, status)


def _refusal(error: JobwireError) -> Response:
    """Return what answers an error, with the statuses and forms of stock servers.

    Raises:
        JobwireError: It is none of the caller's.
    """
    match error:
        case _BadBodyError() | _InvalidCallError():
            return _detail(422, error.detail)
        case _RefusedError():
            return _detail(error.status, str(error))
        case EndpointNotFoundError():
            return _detail(404, str(error))
        case KeyReusedError():
            return _detail(422, str(error))
        case JobNotFoundError():
            return _detail(404, str(error))
        case StoreError():
            return JSONResponse({"detail": str(error)}, 503, {"retry-after": "1"})
        case QueueFullError():
            return JSONResponse({"detail": str(error)}, 503, {"retry-after": "1"})
        case UnavailableError():
            return _detail(501, str(error))
        case _:
            raise error
