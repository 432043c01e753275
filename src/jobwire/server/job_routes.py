"""Single jobs over HTTP, by their id: what is known of one, its events, its end.

Whoever has the id of a job may do all of this with it, from any process and at any time while
the job's results are kept; where there are logins, only its owner.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from jobwire.server.streams import EventStream, session_events

if TYPE_CHECKING:
    from jobwire.server.app import App
    from jobwire.server.service import Service
    from jobwire.server.stores.base import Ticket

__all__ = ("JobRoutes", "after_of", "describe")

MAX_LISTED = 1000
"""Jobs of one list."""

LISTED = 100


class JobRoutes:
    """The handlers below ``/jobs``."""

    def __init__(self, app: App) -> None:
        self._app = app

    def table(self) -> Iterator[tuple[str, str, Callable[[HTTPRequest], Awaitable[ASGIApp]]]]:
        """Yield method, path below the API's prefix, and handler of each route."""
        yield "GET", "/jobs", self.list
        yield "GET", "/jobs/{id}", self.show
        yield "GET", "/jobs/{id}/events", self.events
        yield "POST", "/jobs/{id}/cancel", self.cancel
        yield "DELETE", "/jobs/{id}", self.forget

    @property
    def _service(self) -> Service:
        return self._app.service

    async def list(self, request: HTTPRequest) -> Response:
        if self._app.auth is None:
            # An id lets everybody read a job, so none can be told to everybody.
            detail = "Jobs are listed where there are logins only, to each user their own."
            return JSONResponse({"detail": detail}, 403)
        text = request.query_params.get("limit", "")
        limit = min(int(text), MAX_LISTED) if text.isascii() and text.isdigit() else LISTED
        service = self._service
        found = service.store.latest(request.scope["user"], limit=limit)
        return JSONResponse({"jobs": [describe(ticket, service) for ticket in found]})

    async def show(self, request: HTTPRequest) -> Response:
        known = describe(self._ticket(request), self._service)
        if self._app.auth is None:
            # It would let whoever was given one job read all others of the session.
            del known["session_hash"]
        return JSONResponse(known)

    async def events(self, request: HTTPRequest) -> EventStream:
        service = self._service
        channel = service.job_channel(self._ticket(request).id)
        return EventStream(session_events(channel, service, after=after_of(request)))

    async def cancel(self, request: HTTPRequest) -> Response:
        outcome = self._service.queue.cancel(self._ticket(request).id)
        return JSONResponse({"success": True, "outcome": outcome})

    async def forget(self, request: HTTPRequest) -> Response:
        id = self._ticket(request).id
        if not self._service.store.forget(id):
            return JSONResponse({"detail": "The job has not ended; cancel it first."}, 409)
        self._service.keep_house()
        return JSONResponse({"success": True})

    def _ticket(self, request: HTTPRequest) -> Ticket:
        """Return the job that a request names.

        Raises:
            JobNotFoundError: There is no such job of that user.
        """
        return self._service.ticket(request.path_params["id"], request.scope["user"])


def after_of(request: HTTPRequest) -> int | None:
    """Return the number of the last event that a client has had; None if it does not say."""
    # Browsers send the header when they come back, with the address that they began with.
    for text in (request.headers.get("last-event-id"), request.query_params.get("after")):
        if text is not None and text.isascii() and text.isdigit() and len(text) < 19:
            return int(text)
    return None


class _Output(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw()


class _Ending(msgspec.Struct):
    success: bool
    output: _Output


def describe(ticket: Ticket, service: Service) -> dict[str, Any]:
    """Return what there is to say of a job now."""
    known: dict[str, Any] = {
        "event_id": ticket.id,
        "endpoint": f"/{ticket.endpoint}",
        "session_hash": ticket.session,
        "created": ticket.created,
        "status": "running",
        "last": 0,
    }
    found = service.store.outcome(ticket.id)
    if found is not None:
        known["last"], event = found
        known["status"] = status_of(event)
    elif (position := service.store.position(ticket.id)) is not None:
        estimate = service.queue.estimate(ticket.id)
        known |= {
            "status": "waiting",
            "rank": position.rank,
            "queue_size": position.size,
            "rank_eta": None if estimate is None else estimate.eta,
        }
    return known


def status_of(outcome: bytes) -> str:
    """Return how a job ended, by its outcome."""
    ending = msgspec.json.decode(outcome, type=_Ending)
    if not ending.success:
        return "failed"
    return "completed" if bytes(ending.output.data) else "cancelled"
