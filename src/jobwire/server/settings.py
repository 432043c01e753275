"""What an app is told when it is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

__all__ = ("Authentication", "Settings")

Authentication = (
    tuple[str, str] | Sequence[tuple[str, str]] | Callable[[str, str], bool | Awaitable[bool]]
)
"""A user and a password, several of them, or a function that says whether they are right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of an app. See `jobwire.App` for what they mean."""

    title: str
    description: str
    auth: Authentication | None
    auth_message: str | None
    max_size: int | None
    max_threads: int
    default_concurrency_limit: int | None
    result_ttl: float
    session_ttl: float
    upload_ttl: float
    abandon_after: float | None
    max_body_size: int
    max_file_size: int | None
    max_upload_size: int | None
    max_output_size: int
    show_errors: bool
    allowed_hosts: Sequence[str] | None
    allowed_origins: Sequence[str]
