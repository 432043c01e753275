"""What is wrong with a function, what was sent to it or what it returned; what is missing."""

from __future__ import annotations

from jobwire.exceptions import ArgumentError, JobwireError

__all__ = ("DeclarationError", "InputError", "OutputError", "UnavailableError")


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
