"""What is wrong with a function, with what it was sent or returned, and with the server."""

from __future__ import annotations

from jobwire.exceptions import ArgumentError, JobwireError

__all__ = ("DeclarationError", "InputError", "OutputError", "UnavailableError", "WorkerError")


class DeclarationError(JobwireError, TypeError):
    """A function cannot be an endpoint as it is written."""


class InputError(ArgumentError):
    """The values that a caller sent do not fit the function's parameters.

    Attributes:
        endpoint: The function's name.
        parameter: The parameter concerned, as callers name it; None if it is about all
            of them.
        message: What is wrong, for somebody who sees beside it which parameter it is.
    """

    @property
    def message(self) -> str:
        return str(self).removeprefix(f"{self.endpoint}: parameter {self.parameter!r}: ")


class OutputError(JobwireError, TypeError):
    """A function returned or yielded what cannot be sent, or not what it declares."""


class UnavailableError(JobwireError):
    """A part of the server needs a package that is not installed."""


class WorkerError(JobwireError):
    """A worker process ended before its job did, or could not be started.

    Attributes:
        exit_code: Of the process: negative if a signal ended it, and then the signal's number;
            None if it is not known, or the process has not ended.
    """

    def __init__(self, message: str, *, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
