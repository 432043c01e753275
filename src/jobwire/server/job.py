"""A call that was accepted, and what belongs to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from jobwire.server.context import Request, Session
from jobwire.server.files import FileNotAllowedError, FileStore

if TYPE_CHECKING:
    from jobwire.server.endpoint import Endpoint
    from jobwire.server.run import Run

__all__ = ("Caller", "Job", "JobFiles")


class Caller(NamedTuple):
    """Who calls, and from where.

    Attributes:
        request: What functions see of it.
        root: The address at which the caller sees the app, without a trailing slash.
    """

    request: Request
    root: str

    @property
    def is_stock_python(self) -> bool:
        """Whether it is ``gradio_client``, whose races a fast server would win."""
        return "gradio_client/" in self.request.headers.get("user-agent", "")


class JobFiles:
    """The files of one job: those that it was given and those that it returned.

    They are kept as long as the job's results. Safe to use from several threads.

    Args:
        store: Where they lie.
        owner: Whose they are.
        root: The address at which the caller sees the app.
        held: Those that are known already.
        on_publish: Called with the path of each that the job returned, before anybody can
            know it.
    """

    __slots__ = ("_held", "_lock", "_on_publish", "_owner", "_released", "_root", "_store")

    def __init__(
        self,
        store: FileStore,
        *,
        owner: str | None,
        root: str,
        held: Iterable[str] = (),
        on_publish: Callable[[str], None] | None = None,
    ) -> None:
        self._on_publish = on_publish
        self._store = store
        self._owner = owner
        self._root = root
        self._released = False
        self._lock = threading.Lock()
        self._held: list[str] = []
        for path in held:
            with suppress(FileNotAllowedError):
                self._hold(path)

    def __bool__(self) -> bool:
        return bool(self._held)

    @property
    def paths(self) -> tuple[str, ...]:
        """How they are named to callers."""
        return tuple(self._held)

    def open(self, path: str) -> Path:
        """Return where a file lies that a client named.

        Raises:
            FileNotAllowedError: It is not there, or not for this user.
        """
        file = self._store.open(path, owner=self._owner)
        self._hold(path)
        return file

    def publish(self, path: Path) -> dict[str, Any]:
        """Copy in a file that the function returned; return its description for callers.

        Raises:
            OSError: It cannot be read, or is no file.
        """
        data = self._store.publish(path, owner=self._owner)
        self._hold(data["path"])
        if self._on_publish is not None:
            self._on_publish(data["path"])
        data["url"] = f"{self._root}/gradio_api/file={quote(data['path'])}"
        return data

    def release(self) -> None:
        """Let the files expire, and those that are still to come."""
        with self._lock:
            self._released = True
            held, self._held = self._held, []
        for path in held:
            self._store.release(path)

    def _hold(self, path: str) -> None:
        with self._lock:
            if not self._released:
                self._store.retain(path)
                self._held.append(path)


class Job:
    """A call that was accepted.

    Attributes:
        id: ``event_id`` on the wire.
        endpoint: What was called.
        args: The arguments, converted.
        session: The caller's session.
        request: The request that brought it.
        files: The uploaded files that it uses and the files that it gave.
        last: The last output that an execution before this one gave, on the wire; None if there
            was none.
        run: Its execution; None while it waits.
    """

    __slots__ = ("args", "endpoint", "files", "id", "last", "request", "run", "session")

    def __init__(
        self,
        id: str,
        endpoint: Endpoint,
        args: list[Any],
        *,
        session: Session,
        request: Request,
        files: JobFiles,
        last: list[Any] | None = None,
    ) -> None:
        self.last = last
        self.id = id
        self.endpoint = endpoint
        self.args = args
        self.session = session
        self.request = request
        self.files = files
        self.run: Run | None = None
