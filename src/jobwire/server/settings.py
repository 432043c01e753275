"""What an app is told when it is made or launched, and what becomes of nonsense."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from jobwire.exceptions import ArgumentError
from jobwire.server.stores import check_address

__all__ = (
    "Authentication",
    "Settings",
    "changed_arguments",
    "check_arguments",
    "is_count",
    "is_optional",
    "is_seconds",
    "parse_port",
    "parse_size",
    "path_of_url",
)

Authentication = (
    tuple[str, str] | Sequence[tuple[str, str]] | Callable[[str, str], bool | Awaitable[bool]]
)
"""A user and a password, several of them, or a function that says whether they are right."""

_HOST = re.compile(r"\*|(\*\.)?[^\s/*]+")
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/*]+/?", re.IGNORECASE)
_SIZE = re.compile(r"(\d+) *([kmgt]?)i?b", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of an app. See `jobwire.App` for what they mean.

    Raises:
        ArgumentError: One makes no sense.
    """

    title: str
    description: str
    auth: Authentication | None
    auth_message: str | None
    max_size: int | None
    max_threads: int
    executor: str
    max_processes: int | None
    max_jobs_per_process: int | None
    default_concurrency_limit: int | None
    result_ttl: float
    session_ttl: float
    upload_ttl: float
    abandon_after: float | None
    max_body_size: int
    max_file_size: int | None
    max_upload_size: int | None
    max_storage_size: int | None
    max_output_size: int
    max_results_size: int | None
    show_errors: bool
    allowed_hosts: Sequence[str] | None
    allowed_origins: Sequence[str]
    store: str | None
    grace: float

    def __post_init__(self) -> None:
        for names, is_right, expected in _RULES:
            for name in names.split():
                value = getattr(self, name)
                if not is_right(value):
                    raise ArgumentError(f"{name} is {expected}, not {value!r}", parameter=name)


def is_count(value: Any) -> bool:
    """Whether a value is an int of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_seconds(value: Any) -> bool:
    """Whether a value is a number of at least 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def is_optional(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return whether a value is None or right."""
    return lambda value: value is None or is_right(value)


def parse_size(size: str | int, *, parameter: str) -> int:
    """Return bytes, which may be given as in ``"5mb"``; a kilobyte has 1024, as in gradio.

    Raises:
        ArgumentError: It is no size.
    """
    if isinstance(size, int):
        return size
    found = _SIZE.fullmatch(str(size).strip())
    if found is None:
        raise ArgumentError(
            f"{parameter} is a number of bytes, or a text such as '5mb', not {size!r}",
            parameter=parameter,
        )
    power = " kmgt".index(found[2].lower() or " ")
    return int(found[1]) * int(1024**power)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    """Return whether a value is a collection of texts of a form."""

    def check(value: Any) -> bool:
        return (
            isinstance(value, Collection)
            and not isinstance(value, (str, bytes))
            and all(isinstance(each, str) and pattern.fullmatch(each) for each in value)
        )

    return check


_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("title description", _is_text, "a text"),
    ("auth_message", is_optional(_is_text), "a text, or None"),
    ("max_threads max_body_size max_output_size", is_count, "an int of at least 1"),
    (
        "max_size default_concurrency_limit max_file_size max_upload_size max_storage_size "
        "max_results_size max_jobs_per_process",
        is_optional(is_count),
        "an int of at least 1, or None for no limit",
    ),
    (
        "store",
        is_optional(check_address),
        "'memory:', 'sqlite:PATH', or None for where it is served to say",
    ),
    (
        "max_processes",
        is_optional(is_count),
        "an int of at least 1, or None for one for each core",
    ),
    ("executor", lambda value: value in ("thread", "process"), "'thread' or 'process'"),
    ("result_ttl session_ttl upload_ttl grace", is_seconds, "a number of seconds, 0 or more"),
    ("abandon_after", is_optional(is_seconds), "a number of seconds, 0 or more, or None"),
    ("show_errors", lambda value: isinstance(value, bool), "True or False"),
    (
        "allowed_hosts",
        is_optional(_are(_HOST)),
        "a list of names such as 'example.org', '*.example.org' or '*', or None for any",
    ),
    (
        "allowed_origins",
        _are(_ORIGIN),
        "a list of origins such as 'https://example.org', without a path, or '*' for all",
    ),
)


# -- arguments of launch ------------------------------------------------------------------

_REFUSED = {
    "share": "jobwire has no public relay; put the server behind a proxy or a tunnel of your own",
    "mcp_server": "jobwire does not speak MCP",
    "auth_dependency": "give auth=... a function of user and password, or put a proxy in front",
    "allowed_paths": "only files that endpoints return are served; return a pathlib.Path",
    "blocked_paths": "only files that endpoints return are served; there is nothing to block",
}
"""Arguments of ``gradio.Server.launch`` that promise what there is not, and what to do."""

_IGNORED = {
    "inline", "debug", "height", "width", "favicon_path", "ssl_verify", "footer_links",
    "run_history", "app_kwargs", "state_session_capacity", "share_server_address",
    "share_server_protocol", "share_server_tls_certificate", "enable_monitoring", "strict_cors",
    "node_server_name", "node_port", "ssr_mode", "pwa", "i18n", "theme", "css", "css_paths", "js",
    "head", "head_paths", "num_workers",
}  # fmt: skip
"""Those that do not matter to callers of functions."""


def changed_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> list[str]:
    """Return the names of the arguments that say something: not False where None would do."""
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if (default := parameter.default) is not parameter.empty
        and (value := arguments[name]) is not default
        and bool(value != default)
        and bool(value or default)
    ]


def check_arguments(changed: Sequence[str]) -> list[str]:
    """Return those of the given arguments of ``launch`` that have no effect.

    Raises:
        ArgumentError: One promises what there is not.
    """
    for name in changed:
        if name in _REFUSED:
            raise ArgumentError(f"{name} is not offered: {_REFUSED[name]}", parameter=name)
    return [name for name in changed if name in _IGNORED]


def parse_port(given: int | None) -> int | None:
    """Return the port to listen on; None if any may be taken that is free.

    Raises:
        ArgumentError: It is none.
    """
    name, port = "server_port", given
    if given is None:
        name, text = "GRADIO_SERVER_PORT", os.environ.get("GRADIO_SERVER_PORT")
        if not text:
            return None
        port = int(text) if text.isascii() and text.isdigit() else -1
    if not isinstance(port, int) or not 0 <= port <= 65535:
        shown = os.environ[name] if given is None else given
        raise ArgumentError(f"{name} is a port from 0 to 65535, not {shown!r}", parameter=name)
    return port


def path_of_url(root: str) -> str:
    """Return the path of what may be a full URL."""
    return urlsplit(root).path if root.startswith(("http://", "https://")) else root
