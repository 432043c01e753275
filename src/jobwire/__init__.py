"""Call Gradio apps from Python, and serve Python functions as one.

Every call is a job, and every job has one outcome.

The names below are the public ones. They are loaded when they are first used, so
``import jobwire`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobwire.client.client import AsyncClient
    from jobwire.client.files import file, handle_file
    from jobwire.client.job import AsyncJob
    from jobwire.client.result import AsyncFileResult
    from jobwire.exceptions import (
        AddressError,
        AppError,
        ArgumentError,
        AuthenticationError,
        ClientClosedError,
        ConnectError,
        ConnectionLostError,
        DownloadError,
        EndpointNotFoundError,
        FileError,
        InvalidAPIEndpointError,
        JobCancelledError,
        JobNotFoundError,
        JobTimeoutError,
        JobwireError,
        LocalProtocolError,
        MissingDependencyError,
        NotGradioError,
        ProtocolError,
        QueueError,
        QueueFullError,
        RateLimitedError,
        RemoteProtocolError,
        ServerError,
        SpaceDuplicationError,
        SpaceError,
        SpaceNotFoundError,
        SpaceTimeoutError,
        TooManyRequestsError,
        TransportError,
        TransportTimeoutError,
        UnsupportedProtocolError,
        ValidationError,
    )
    from jobwire.protocol.schema import AppSchema, Component, Endpoint, Parameter
    from jobwire.server.app import App
    from jobwire.server.context import CancelToken, Progress, Request, Session, log
    from jobwire.server.errors import DeclarationError, InputError, OutputError
    from jobwire.sync.client import Client
    from jobwire.sync.job import Job
    from jobwire.sync.result import FileResult
    from jobwire.types import FileData, OutputUpdate, ProgressUnit, Status, StatusUpdate, Update

__version__ = "0.1.0"

__all__ = (
    "AddressError",
    "App",
    "AppError",
    "AppSchema",
    "ArgumentError",
    "AsyncClient",
    "AsyncFileResult",
    "AsyncJob",
    "AuthenticationError",
    "CancelToken",
    "Client",
    "ClientClosedError",
    "Component",
    "ConnectError",
    "ConnectionLostError",
    "DeclarationError",
    "DownloadError",
    "Endpoint",
    "EndpointNotFoundError",
    "FileData",
    "FileError",
    "FileResult",
    "InputError",
    "InvalidAPIEndpointError",
    "Job",
    "JobCancelledError",
    "JobNotFoundError",
    "JobTimeoutError",
    "JobwireError",
    "LocalProtocolError",
    "MissingDependencyError",
    "NotGradioError",
    "OutputError",
    "OutputUpdate",
    "Parameter",
    "Progress",
    "ProgressUnit",
    "ProtocolError",
    "QueueError",
    "QueueFullError",
    "RateLimitedError",
    "RemoteProtocolError",
    "Request",
    "ServerError",
    "Session",
    "SpaceDuplicationError",
    "SpaceError",
    "SpaceNotFoundError",
    "SpaceTimeoutError",
    "Status",
    "StatusUpdate",
    "TooManyRequestsError",
    "TransportError",
    "TransportTimeoutError",
    "UnsupportedProtocolError",
    "Update",
    "ValidationError",
    "__version__",
    "file",
    "handle_file",
    "log",
)

_MODULES = {
    "App": "jobwire.server.app",
    "AsyncClient": "jobwire.client.client",
    "AsyncFileResult": "jobwire.client.result",
    "AsyncJob": "jobwire.client.job",
    "Client": "jobwire.sync.client",
    "FileResult": "jobwire.sync.result",
    "Job": "jobwire.sync.job",
    **dict.fromkeys(("file", "handle_file"), "jobwire.client.files"),
    **dict.fromkeys(("AppSchema", "Component", "Endpoint", "Parameter"), "jobwire.protocol.schema"),
    **dict.fromkeys(
        ("CancelToken", "Progress", "Request", "Session", "log"), "jobwire.server.context"
    ),
    **dict.fromkeys(("DeclarationError", "InputError", "OutputError"), "jobwire.server.errors"),
    **dict.fromkeys(
        ("FileData", "OutputUpdate", "ProgressUnit", "Status", "StatusUpdate", "Update"),
        "jobwire.types",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    # Whatever is not named above is an error.
    module = _MODULES.get(name, "jobwire.exceptions")
    try:
        value = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if not module.startswith("jobwire.server."):
            raise
        raise ImportError(
            f"jobwire.{name} needs {error.name}: pip install 'jobwire[server]'", name=error.name
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
