"""The yardstick: as little client as the protocol sse_v3 allows, on aiohttp.

It knows one server of today, trusts it, and decodes what it must. It is fast, and
correct for what is measured here: no job is lost, whatever order things come in. It
pools connections and limits submissions exactly as jobwire does.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from types import TracebackType
from typing import Any, Self

import aiohttp
from measuring import run_async

MAX_SUBMISSIONS = 40
KEEPALIVE = 4.0


class BareClient:
    """One session with a server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session_hash = str(uuid.uuid4())
        self._gate = asyncio.Semaphore(MAX_SUBMISSIONS)
        self._futures: dict[str, asyncio.Future[Any]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        async with self._http.get(f"{self._url}/config") as response:
            config = await response.json()
        self._prefix = f"{self._url}{config['api_prefix']}/queue"
        self._functions = {f"/{fn['api_name']}": fn["id"] for fn in config["dependencies"]}
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        await self._http.close()

    async def submit(self, value: Any, *, api_name: str) -> asyncio.Task[Any]:
        return asyncio.create_task(self.predict(value, api_name=api_name))

    async def predict(self, value: Any, *, api_name: str) -> Any:
        body = {
            "data": [value],
            "fn_index": self._functions[api_name],
            "session_hash": self._session_hash,
        }
        async with self._gate, self._http.post(f"{self._prefix}/join", json=body) as response:
            response.raise_for_status()
            event_id = json.loads(await response.read())["event_id"]
        future = self._future(event_id)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read())
        try:
            return await future
        finally:
            del self._futures[event_id]

    def _future(self, event_id: str) -> asyncio.Future[Any]:
        # Whoever comes first makes it: a message can overtake the reply that has the id.
        future = self._futures.get(event_id)
        if future is None:
            future = self._futures[event_id] = asyncio.get_running_loop().create_future()
        return future

    async def _read(self) -> None:
        try:
            # The server may end a stream just as another job joins: open it again.
            while any(not future.done() for future in self._futures.values()):
                await self._read_stream()
        except Exception as error:
            for future in self._futures.values():
                if not future.done():
                    future.set_exception(ConnectionError(str(error)))

    async def _read_stream(self) -> None:
        url = f"{self._prefix}/data?session_hash={self._session_hash}"
        announced = False
        async with self._http.get(url) as response:
            response.raise_for_status()
            rest = b""
            async for chunk in response.content.iter_any():
                *events, rest = (rest + chunk).split(b"\n\n")
                for event in events:
                    message = json.loads(event.removeprefix(b"data: "))
                    announced |= message["msg"] == "close_stream"
                    self._receive(message)
        if not announced:
            raise ConnectionError("the stream ended early")

    def _receive(self, message: dict[str, Any]) -> None:
        kind = message["msg"]
        if kind == "unexpected_error":
            raise ConnectionError(message["message"])
        if kind == "process_completed":
            future = self._future(message["event_id"])
            if future.done():
                return
            if message["success"]:
                future.set_result(message["output"]["data"][0])
            else:
                future.set_exception(RuntimeError(message["output"]["error"]))
        elif message.get("event_id") is not None:
            self._future(message["event_id"])


if __name__ == "__main__":
    run_async(BareClient)
