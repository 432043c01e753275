"""The log of requests."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ("AccessLog",)

_access = logging.getLogger("jobwire.access")
_SHOWN = ("client", "method", "path", "status", "milliseconds")


class AccessLog:
    """Logs each request once it is answered, at INFO; an ASGI application around another.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _access.isEnabledFor(logging.INFO):
            await self._logged(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _logged(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        status = 500

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            client = scope.get("client")
            # Without the query string: it can hold tokens.
            fields = {
                "client": client[0] if client else None,
                "method": scope.get("method", scope["type"]),
                "path": scope["path"],
                "status": status,
                "milliseconds": round((time.perf_counter() - start) * 1000, 3),
                "user": scope.get("user"),
            }
            # A path must not bring line breaks into the log.
            shown = fields | {"path": ascii(scope["path"])[1:-1]}
            # Made by hand: logging would walk the stack for who called it.
            record = logging.LogRecord(
                _access.name,
                logging.INFO,
                __file__,
                0,
                "%s %s %s %d %.1f ms",
                tuple(shown[key] for key in _SHOWN),
                None,
            )
            record.request = fields
            _access.handle(record)
