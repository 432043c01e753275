"""Every error that jobwire raises, in one tree.

.. code-block:: text

    JobwireError
    ├── TransportError                    the network
    │   ├── ConnectError                  no connection; nothing was sent
    │   │   └── AddressError              there can be none (also a ValueError)
    │   ├── TransportTimeoutError         a deadline passed (also a TimeoutError)
    │   └── ConnectionLostError           lost after the request was sent
    ├── ProtocolError                     somebody broke the wire protocol
    │   ├── LocalProtocolError            the caller did (a bug to report)
    │   └── RemoteProtocolError           the server did
    │       ├── NotGradioError            the URL answers, but is no Gradio app
    │       └── UnsupportedProtocolError  a protocol that jobwire does not speak
    ├── ServerError                       the server refused the request
    │   ├── AuthenticationError           (also a ValueError)
    │   ├── QueueFullError                importable as QueueError too
    │   ├── RateLimitedError              importable as TooManyRequestsError too
    │   └── ValidationError               the app's validators said no (also a ValueError)
    ├── AppError                          the app's function failed (also a ValueError)
    ├── FileError                         a file cannot be sent (also a ValueError)
    ├── DownloadError                     a file of a job's outputs cannot be had
    ├── SpaceError                        a Space cannot be used (also a ValueError)
    │   ├── SpaceNotFoundError            there is none, or it is private
    │   ├── SpaceTimeoutError             not ready in time (also a TimeoutError)
    │   └── SpaceDuplicationError         it could not be duplicated as asked
    ├── EndpointNotFoundError             no such endpoint (also a ValueError);
    │                                     importable as InvalidAPIEndpointError too
    ├── ArgumentError                     arguments do not fit (also a TypeError)
    ├── MissingDependencyError            a library is not there (also an ImportError)
    ├── JobNotFoundError                  the server keeps no such job
    ├── JobCancelledError                 (also a concurrent.futures.CancelledError)
    ├── JobTimeoutError                   its timeout passed (also a TimeoutError)
    └── ClientClosedError                 the client was closed

The builtin bases are those that ``gradio_client`` raises in the same places, so
``except`` clauses written for it keep working. What an error knows is in its
attributes; the text only repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

__all__ = (
    "AddressError",
    "AppError",
    "ArgumentError",
    "AuthenticationError",
    "ClientClosedError",
    "ConnectError",
    "ConnectionLostError",
    "DownloadError",
    "EndpointNotFoundError",
    "FileError",
    "InvalidAPIEndpointError",
    "JobCancelledError",
    "JobNotFoundError",
    "JobTimeoutError",
    "JobwireError",
    "LocalProtocolError",
    "MissingDependencyError",
    "NotGradioError",
    "ProtocolError",
    "QueueError",
    "QueueFullError",
    "RateLimitedError",
    "RemoteProtocolError",
    "ServerError",
    "SpaceDuplicationError",
    "SpaceError",
    "SpaceNotFoundError",
    "SpaceTimeoutError",
    "TooManyRequestsError",
    "TransportError",
    "TransportTimeoutError",
    "UnsupportedProtocolError",
    "ValidationError",
)

MAX_SHOWN = 200
"""Characters of foreign text that an error message quotes: enough to recognise
an HTML page or a proxy's answer, too few to fill a terminal."""


def shown(text: str | bytes) -> str:
    """Return ``text`` on one line and cut to `MAX_SHOWN` characters, for a message."""
    if isinstance(text, bytes):
        text = text[: 4 * MAX_SHOWN].decode("utf-8", "replace")
    text = " ".join(text.split())
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


class JobwireError(Exception):
    """Base class of every error that jobwire raises on purpose.

    Attributes:
        may_have_run: Of the error that ended a job: whether the app's function has run, may
            have, or may run still. False if it surely has not and will not, so that
            calling again repeats nothing.
    """

    may_have_run: bool = False


class _UnfinishedError(JobwireError):
    """What the errors of jobs that this side gives up have in common."""

    def __init__(
        self,
        message: str,
        *,
        event_id: str | None = None,
        outputs: Sequence[Any] | Callable[[], list[Any]] = (),
    ) -> None:
        super().__init__(message)
        self.event_id = event_id
        self._outputs = outputs

    @property
    def outputs(self) -> list[Any]:
        return self._outputs() if callable(self._outputs) else list(self._outputs)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, {**vars(self), "_outputs": self.outputs}


# -- the network ---------------------------------------------------------------


class TransportError(JobwireError):
    """The network failed."""


class ConnectError(TransportError):
    """No connection could be made, so the server saw nothing of the request."""


class AddressError(ConnectError, ValueError):
    """What was given as an app's address is none."""


class TransportTimeoutError(TransportError, TimeoutError):
    """The server did not answer before a deadline."""


class ConnectionLostError(_UnfinishedError, TransportError):
    """The connection broke after the request was sent.

    Most Gradio servers forget a session whose stream breaks: what was queued
    is dropped and results still to come are thrown away. Submitting again is the
    only way on, and it is for you to decide (``retries=`` does it), because the function
    may have run: see ``may_have_run``.

    Attributes:
        event_id: The server's id of the job; None if the connection broke before
            the server confirmed the job, which then may or may not be running, or if
            the server gives none (before gradio 4.9).
        outputs: The outputs that had arrived, oldest first. A list, built when it
            is asked for.
    """


# -- the protocol --------------------------------------------------------------


class ProtocolError(JobwireError):
    """Somebody broke the wire protocol."""


class LocalProtocolError(ProtocolError):
    """The caller of a protocol object used it wrongly."""


class RemoteProtocolError(ProtocolError):
    """The server sent something that the protocol does not allow.

    Attributes:
        event_id: The job that it concerned, or None.
    """

    def __init__(self, message: str, *, event_id: str | None = None) -> None:
        super().__init__(message)
        self.event_id = event_id


class NotGradioError(RemoteProtocolError, ValueError):
    """Something answers at the URL, but it is no Gradio app.

    Attributes:
        url: What was fetched.
        status: The HTTP status.
    """

    def __init__(self, message: str, *, url: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.url = url
        self.status = status


class UnsupportedProtocolError(RemoteProtocolError, ValueError):
    """The server speaks a protocol that jobwire does not know.

    Attributes:
        protocol: The name that the server gave.
        version: The server's Gradio version.
    """

    def __init__(self, message: str, *, protocol: str = "", version: str = "") -> None:
        super().__init__(message)
        self.protocol = protocol
        self.version = version


# -- refusals ------------------------------------------------------------------


class ServerError(JobwireError):
    """The server refused a request; no job was accepted.

    Unless ``may_have_run`` says otherwise: a proxy that answers 502 or 504 may have passed
    the request on.

    Attributes:
        status: The HTTP status.
        body: The start of the answer, at most 200 characters.
        retry_after: Seconds after which to ask again, if the server said so; else None.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        body: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.retry_after = retry_after


class AuthenticationError(ServerError, ValueError):
    """The app wants a login, or did not accept the one given."""


class QueueFullError(ServerError):
    """The app's queue takes no more jobs for now."""


QueueError = QueueFullError
"""The name that ``gradio_client`` has for it."""


class RateLimitedError(ServerError):
    """The server limits how often it may be asked (HTTP 429)."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 429,
        body: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status, body=body, retry_after=retry_after)


TooManyRequestsError = RateLimitedError
"""The name that ``gradio_client`` has for it."""


class ValidationError(ServerError, ValueError):
    """The app's validators did not accept the arguments.

    Attributes:
        parameters: ``{parameter name: what is wrong with it}``, in the order of the
            endpoint's parameters.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 422,
        body: str = "",
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, status=status, body=body)
        self.parameters = dict(parameters or {})


# -- Spaces --------------------------------------------------------------------


class SpaceError(JobwireError, ValueError):
    """A Hugging Face Space cannot be used as it is.

    Attributes:
        space_id: The Space, as ``OWNER/NAME``.
        stage: What the Hub says that it is doing, such as ``"BUILD_ERROR"`` or
            ``"PAUSED"``; None if that is not known.
    """

    def __init__(self, message: str, *, space_id: str = "", stage: str | None = None) -> None:
        super().__init__(message)
        self.space_id = space_id
        self.stage = stage


class SpaceNotFoundError(SpaceError):
    """The Hub knows no such Space, or does not show it to whoever holds this token."""


class SpaceTimeoutError(SpaceError, TimeoutError):
    """The Space still builds, starts or sleeps, and was waited for as long as was asked."""


class SpaceDuplicationError(SpaceError):
    """The Hub does not make the copy, or not with the hardware or the settings asked for."""


# -- outcomes of a job ---------------------------------------------------------


class AppError(JobwireError, ValueError):
    """The app's function failed, and this is what it said.

    Attributes:
        message: The app's words. An app may put HTML into them.
        title: The heading that the web page shows above them.
        duration: Seconds for which the web page shows them; None if the app did not say,
            or means until closed.
        visible: False if the web page does not show them at all.
        event_id: The server's id of the job.
        retryable: The function is not to blame: the server was stopped while it ran. Another
            try may succeed, if the function may run twice.
    """

    def __init__(
        self,
        message: str = "Error raised.",
        duration: float | None = 10,
        visible: bool = True,
        title: str = "Error",
        *,
        event_id: str | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.message = message
        self.title = title
        self.duration = duration
        self.visible = visible
        self.event_id = event_id


class JobCancelledError(JobwireError, CancelledError):
    """The job was cancelled, here or on the server.

    If it was here, the text says what that does on the server, which cannot stop everything.

    Attributes:
        event_id: The server's id of the job; None if it was cancelled before the
            server confirmed it.
        outcome: What the server did, in its words, once ``cancel`` has returned: ``removed``
            from the queue; ``closing`` a generator at its next output; ``cancelled`` where it
            awaited; ``told``; ``killed``, with its process; ``unstoppable``, so that it runs to
            its end; or ``ended`` before. None if it was not cancelled here, or the server does
            not say: only those of jobwire do.
    """

    def __init__(self, message: str, *, event_id: str | None = None) -> None:
        super().__init__(message)
        self.event_id = event_id
        self.outcome: str | None = None


class JobNotFoundError(JobwireError):
    """The server has no such job: it never had, or the job's results have expired.

    Where there are logins, other users' jobs are not there either.

    Attributes:
        event_id: The id that was asked for.
    """

    def __init__(self, message: str = "", *, event_id: str = "") -> None:
        super().__init__(
            message
            or f"there is no job {event_id}, or its results have expired, or it is another user's"
        )
        self.event_id = event_id


class JobTimeoutError(_UnfinishedError, TimeoutError):
    """The job did not end within its ``timeout``, and was cancelled, on the server too.

    Attributes:
        event_id: The server's id of the job; None if it had not given one yet.
        outputs: The outputs that had arrived, oldest first. A list, built when it
            is asked for.
    """


class ClientClosedError(JobwireError):
    """The client was closed while the job was in flight, or before the call.

    Attributes:
        event_id: The server's id of the job; None if there was none yet.
    """

    def __init__(self, message: str, *, event_id: str | None = None) -> None:
        super().__init__(message)
        self.event_id = event_id


# -- files ---------------------------------------------------------------------


class FileError(JobwireError, ValueError):
    """A file of this machine cannot be sent, or a directory cannot take files.

    Attributes:
        path: The file, as it was given.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class DownloadError(JobwireError):
    """A file that an app gave cannot be brought to this machine.

    Nothing else is lost: the rest of the output is in `output`, and the file may be there
    for another try. ``__cause__`` has the failure of the network or the disk, if it was one.

    Attributes:
        url: Where the file is.
        file: What the app says of it: its FileData.
        output: The job's output that names it, as the server sent it: one value for each
            of the endpoint's outputs; None for a file that was fetched by hand.
        event_id: The server's id of the job; None for a file that was fetched by hand.
    """

    def __init__(
        self,
        message: str,
        *,
        url: str = "",
        file: Mapping[str, Any] | None = None,
        output: Sequence[Any] | None = None,
        event_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.url = url
        self.file = dict(file or {})
        self.output = list(output) if output is not None else None
        self.event_id = event_id


# -- the caller's input --------------------------------------------------------


class EndpointNotFoundError(JobwireError, ValueError):
    """The app has no such endpoint, or does not offer it to callers.

    Attributes:
        endpoint: What was asked for: a name, an index, or None if nothing was named.
        available: The names that can be called.
    """

    def __init__(
        self, message: str, *, endpoint: str | int | None = None, available: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.available = tuple(available)


InvalidAPIEndpointError = EndpointNotFoundError
"""The name that ``gradio_client`` has for it."""


class ArgumentError(JobwireError, TypeError):
    """The arguments do not fit the endpoint's parameters, or those of a client.

    Attributes:
        endpoint: The endpoint's name; empty if no endpoint is concerned.
        parameter: The parameter concerned, or None if it is about all of them.
    """

    def __init__(self, message: str, *, endpoint: str = "", parameter: str | None = None) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.parameter = parameter


class MissingDependencyError(JobwireError, ImportError):
    """A library that this takes is not installed. The message says how to install it."""
