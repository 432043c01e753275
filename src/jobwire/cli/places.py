"""Where jobs are looked at: a store's file, or a server's address."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from jobwire.exceptions import ArgumentError, ConnectError, ServerError
from jobwire.protocol.messages import encode_message
from jobwire.protocol.sse import SSEParser
from jobwire.server.job_routes import status_of
from jobwire.server.run import cancelled_event
from jobwire.server.stores import sqlite_path
from jobwire.server.stores.base import StoreError
from jobwire.server.stores.journal import ENDED, STARTED, Journal, Stored
from jobwire.server.stores.sqlite import SqliteStore

__all__ = ("Place", "StorePlace", "UrlPlace", "find_place")

LOOK_INTERVAL = 0.1
"""Seconds between two looks into a store that another process writes to: no file can tell."""

TIMEOUT = 60.0
"""Seconds of silence after which a server counts as gone; streams give a sign of life each 15."""


class Place(Protocol):
    """Where there are jobs. Every method raises a `JobwireError` that says what is wrong."""

    def list(self, limit: int) -> list[dict[str, Any]]:
        """Return what is known of the latest jobs, the newest first."""
        ...

    def show(self, id: str) -> dict[str, Any]:
        """Return what is known of a job."""
        ...

    def follow(self, id: str, after: int) -> Iterator[dict[str, Any]]:
        """Yield the messages of a job until it ends, from an event on."""
        ...

    def cancel(self, id: str) -> str:
        """Cancel a job; return what that did."""
        ...

    def purge(self, id: str | None) -> int:
        """Forget a job that has ended, or all; return how many."""
        ...


def find_place(place: str, auth: str | None) -> Place:
    """Return the place that a command line names."""
    if place.startswith("sqlite:"):
        return StorePlace(sqlite_path(place))
    if "://" not in place and Path(place).is_file():
        return StorePlace(Path(place))
    return UrlPlace(place if "://" in place else f"http://{place}", auth)


class StorePlace:
    """The file of a store. It is read beside a running server, and changed without one only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise ArgumentError(f"there is no store {path}", parameter="place")

    def list(self, limit: int) -> list[dict[str, Any]]:
        with closing(self._open()) as journal:
            return [
                _described(stored, journal)
                for stored in journal.latest(None, everybody=True, limit=limit)
            ]

    def show(self, id: str) -> dict[str, Any]:
        with closing(self._open()) as journal:
            return _described(journal.find(id), journal)

    def follow(self, id: str, after: int) -> Iterator[dict[str, Any]]:
        with closing(self._open()) as journal:
            while True:
                stored = journal.find(id)
                events, numbers, following = journal.events(
                    stored.number, after, None, max_size=256 * 1024
                )
                for number, event in zip(numbers, events, strict=True):
                    yield {**json.loads(event), "seq": number}
                    after = number
                if stored.state == ENDED and not following:
                    return
                if not events:
                    time.sleep(LOOK_INTERVAL)

    def cancel(self, id: str) -> str:
        with closing(self._open_alone()) as store:
            store.ticket(id)
            waited = store.withdraw(id)
            if not store.finish(id, encode_message(cancelled_event(id))):
                return "ended"
            return "removed" if waited else "cancelled"

    def purge(self, id: str | None) -> int:
        with closing(self._open_alone()) as store:
            if id is None:
                count = 0
                while expired := store.expire()[0]:
                    count += len(expired)
                    store.flush()
                return count
            if not store.forget(id):
                raise ArgumentError(f"the job {id} has not ended; cancel it first", parameter="id")
            return 1

    def backup(self, target: Path) -> None:
        """Copy the store as it is at one moment, while it is in use.

        Raises:
            StoreError: The copy cannot be written.
        """
        if target.exists():
            raise ArgumentError(f"{target} is there already", parameter="target")
        with closing(self._open()) as journal:
            journal.backup(target)

    def _open(self) -> Journal:
        return Journal(self._path, read_only=True)

    def _open_alone(self) -> SqliteStore:
        store = SqliteStore(self._path, result_ttl=0.0, max_log_size=2**62)
        try:
            store.open(lambda news, last: None, {})
        except StoreError as error:
            if "locked" in str(error):
                raise StoreError(
                    f"a server is using {self._path}; name its address instead of the store"
                ) from None
            raise
        return store


class UrlPlace:
    """The address of a jobwire server."""

    def __init__(self, url: str, auth: str | None) -> None:
        self._api = f"{url.rstrip('/')}/gradio_api/jobs"
        self._headers: dict[str, str] = {}
        if auth:
            token = base64.b64encode(auth.encode()).decode()
            self._headers["authorization"] = f"Basic {token}"

    def list(self, limit: int) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = self._ask("GET", f"?limit={limit}")["jobs"]
        return jobs

    def show(self, id: str) -> dict[str, Any]:
        return self._ask("GET", f"/{_quoted(id)}")

    def follow(self, id: str, after: int) -> Iterator[dict[str, Any]]:
        while True:
            parser = SSEParser()
            with self._open("GET", f"/{_quoted(id)}/events?after={after}") as answer:
                while chunk := answer.read1(65536):
                    for event in parser.feed(chunk):
                        message = json.loads(event.data)
                        after = message.get("seq", after)
                        if message["msg"] == "close_stream":
                            return
                        yield message
            time.sleep(LOOK_INTERVAL)  # it is being started again, perhaps

    def cancel(self, id: str) -> str:
        outcome: str = self._ask("POST", f"/{_quoted(id)}/cancel")["outcome"]
        return outcome

    def purge(self, id: str | None) -> int:
        if id is None:
            raise ArgumentError(
                "a server forgets jobs one by one; give an id, or name its store", parameter="id"
            )
        self._ask("DELETE", f"/{_quoted(id)}")
        return 1

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        with self._open(method, path) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def _open(self, method: str, path: str) -> Any:
        request = urllib.request.Request(  # noqa: S310
            self._api + path, method=method, headers=self._headers
        )
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
        except urllib.error.HTTPError as error:
            with error:
                text = error.read(65536).decode("utf-8", "replace")
            try:
                text = json.loads(text)["detail"]
            except (ValueError, KeyError, TypeError):
                text = f"{self._api} answers with {error.code}; is it a jobwire server?"
            raise ServerError(f"{text}", status=error.code) from None
        except (OSError, ValueError) as error:
            raise ConnectError(f"{self._api} cannot be reached: {error}") from None


def _described(stored: Stored, journal: Journal) -> dict[str, Any]:
    ticket = stored.ticket
    status = "running" if stored.state == STARTED else "waiting"
    if stored.state == ENDED:
        status = status_of(journal.event(stored.number, stored.last))
    return {
        "event_id": ticket.id,
        "endpoint": f"/{ticket.endpoint}",
        "user": ticket.user,
        "session_hash": ticket.session,
        "created": ticket.created,
        "status": status,
        "last": stored.last,
    }


def _quoted(id: str) -> str:
    return urllib.parse.quote(id, safe="")
