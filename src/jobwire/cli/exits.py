"""Exit codes, and what an error means for a person at a terminal."""

from __future__ import annotations

from enum import IntEnum

from jobwire.exceptions import (
    AppError,
    ArgumentError,
    AuthenticationError,
    ConnectionLostError,
    DownloadError,
    EndpointNotFoundError,
    FileError,
    JobCancelledError,
    JobTimeoutError,
    JobwireError,
    MissingDependencyError,
    ProtocolError,
    ServerError,
    SpaceError,
    TransportError,
    ValidationError,
)

__all__ = ("ExitCode", "exit_code")


class ExitCode(IntEnum):
    """What the program's exit code says."""

    OK = 0
    APP_FAILED = 1
    """The app's function raised an error."""
    USAGE = 2
    """Wrong arguments: of this program, or for the endpoint; or no such endpoint; or a
    library is missing."""
    UNREACHABLE = 3
    """No connection, or the server did not answer in time; or a Space does not run."""
    PROTOCOL = 4
    """Something answers, but it is no Gradio app, or it talks nonsense."""
    REFUSED = 5
    """The server refused the job: the queue is full, too many requests, ..."""
    LOGIN = 6
    """The app wants a login, or did not accept the one given."""
    LOST = 7
    """The connection broke, and the job may or may not have run; or a file of its result could
    not be fetched."""
    CANCELLED = 8
    """The job was cancelled on the server."""
    TIMEOUT = 124
    """``--timeout`` passed; the job was cancelled. As of timeout(1)."""
    INTERRUPTED = 130
    """Ctrl-C; the job was cancelled. As shells have it."""


_CODES: tuple[tuple[type[JobwireError], ExitCode], ...] = (
    (AppError, ExitCode.APP_FAILED),
    (ArgumentError, ExitCode.USAGE),
    (EndpointNotFoundError, ExitCode.USAGE),
    (FileError, ExitCode.USAGE),
    (ValidationError, ExitCode.USAGE),
    (AuthenticationError, ExitCode.LOGIN),
    (ServerError, ExitCode.REFUSED),
    (SpaceError, ExitCode.UNREACHABLE),
    (MissingDependencyError, ExitCode.USAGE),
    (ConnectionLostError, ExitCode.LOST),
    (DownloadError, ExitCode.LOST),
    (TransportError, ExitCode.UNREACHABLE),
    (ProtocolError, ExitCode.PROTOCOL),
    (JobCancelledError, ExitCode.CANCELLED),
    (JobTimeoutError, ExitCode.TIMEOUT),
)


def exit_code(error: JobwireError) -> ExitCode:
    """Return the exit code that fits an error."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return ExitCode.PROTOCOL
