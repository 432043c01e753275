"""What is declared of a function, checked, and made into an endpoint."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from jobwire.server.context import Progress, Request, Session
from jobwire.server.endpoint import Endpoint, OnCrash, Priority, Visibility, Where
from jobwire.server.errors import DeclarationError
from jobwire.server.execution import INJECTABLE
from jobwire.server.settings import Settings, is_count, is_optional, is_seconds
from jobwire.server.signature import Signature, inspect_function

__all__ = ("inspect_endpoint", "make_endpoint")

_NAME = re.compile(r"[\w.-]{1,100}", re.ASCII)


def make_endpoint(
    function: Callable[..., Any],
    others: Mapping[str, Endpoint],
    settings: Settings,
    *,
    name: str | None,
    description: str | None,
    visibility: Visibility,
    queue: bool,
    batch: bool,
    max_batch_size: int,
    concurrency_limit: int | Literal["default"] | None,
    concurrency_id: str | None,
    time_limit: float | None,
    priority: Priority,
    executor: Where | None,
    show_errors: bool | None,
    abandon_after: float | Literal["default"] | None = "default",
    on_crash: OnCrash = "fail",
    max_retries: int = 1,
) -> Endpoint:
    """Make an endpoint of a function, with the options of `App.endpoint`.

    Args:
        function: The function.
        others: The app's endpoints so far, by name.
        settings: The app's, where the options do not say.
        name: As for `App.endpoint`, and so are the others.

    Raises:
        DeclarationError: As `App.endpoint`.
    """
    # First what the rest of this relies on.
    if not (name is None or isinstance(name, str)):
        raise DeclarationError(f"an endpoint's name is a text, or None, not {name!r}")
    signature, track_tqdm = inspect_endpoint(function, batch=batch, name=name)
    api_name = name or signature.name
    if not _NAME.fullmatch(api_name):
        raise DeclarationError(
            f"{api_name!r} cannot name an endpoint: it goes into addresses, so use ASCII "
            "letters, digits, '_', '-' and '.'; name=... gives another name"
        )
    if api_name in others:
        raise DeclarationError(
            f"there is an endpoint /{api_name} already; name=... gives this one another"
        )
    if batch and signature.kind not in ("function", "coroutine"):
        raise DeclarationError(
            f"/{api_name} is a generator; only functions can take a batch of jobs"
        )
    _check_options(
        api_name,
        description=description,
        visibility=visibility,
        queue=queue,
        batch=batch,
        max_batch_size=max_batch_size,
        concurrency_limit=concurrency_limit,
        concurrency_id=concurrency_id,
        time_limit=time_limit,
        priority=priority,
        executor=executor,
        show_errors=show_errors,
        abandon_after=abandon_after,
        on_crash=on_crash,
        max_retries=max_retries,
    )
    limit = (
        settings.default_concurrency_limit if concurrency_limit == "default" else concurrency_limit
    )
    return Endpoint(
        id=len(others),
        api_name=api_name,
        function=function,
        signature=signature,
        description=signature.description if description is None else description,
        visibility=visibility,
        queue=queue,
        batch=batch,
        max_batch_size=max_batch_size,
        # Names of endpoints have no slash, so no concurrency_id is one of these.
        concurrency_id=(concurrency_id or f"/{api_name}") if queue else f"/{api_name}/unqueued",
        concurrency_limit=limit if queue else None,
        time_limit=time_limit,
        priority=priority,
        show_errors=settings.show_errors if show_errors is None else show_errors,
        abandon_after=(
            settings.abandon_after
            if abandon_after == "default" and signature.kind.endswith("generator")
            else None
            if abandon_after == "default"
            else abandon_after
        ),
        on_crash=on_crash,
        max_retries=max_retries,
        track_tqdm=track_tqdm,
        executor=executor,
    )


def inspect_endpoint(
    function: Callable[..., Any], *, batch: bool, name: str | None
) -> tuple[Signature, bool]:
    """Return a function's signature, and whether the bars of ``tqdm`` are its progress."""
    signature = inspect_function(function, injectable=INJECTABLE, batch=batch, name=name)
    if batch and {Session, Request} & set(signature.injected.values()):
        raise DeclarationError(
            f"{signature.name}: a batch has the jobs of several callers, so it cannot have the "
            "Session or the Request of one of them"
        )
    defaults = (p.default for p in inspect.signature(function).parameters.values())
    return signature, any(isinstance(value, Progress) and value.track_tqdm for value in defaults)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


_is_text_or_none = is_optional(lambda value: isinstance(value, str))

_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "description": (_is_text_or_none, "a text, or None"),
    "visibility": (
        lambda value: value in get_args(Visibility),
        "'public', 'undocumented' or 'private'",
    ),
    "queue": (_is_bool, "True or False"),
    "batch": (_is_bool, "True or False"),
    "max_batch_size": (is_count, "an int of at least 1"),
    "concurrency_limit": (
        lambda value: value == "default" or value is None or is_count(value),
        "an int of at least 1, 'default', or None for no limit",
    ),
    "concurrency_id": (_is_text_or_none, "a text, or None"),
    "time_limit": (
        is_optional(lambda value: is_seconds(value) and value > 0),
        "a number of seconds above 0, or None for no limit",
    ),
    "executor": (
        is_optional(lambda value: value in get_args(Where)),
        "'thread', 'process', or None for what the app says",
    ),
    "priority": (
        lambda value: isinstance(value, int) or callable(value),
        "an int, or a function of the Request that returns one",
    ),
    "abandon_after": (
        lambda value: value in ("default", None) or is_seconds(value),
        "a number of seconds, 0 or more, 'default', or None for never",
    ),
    "on_crash": (lambda value: value in get_args(OnCrash), "'fail' or 'retry'"),
    "max_retries": (is_count, "an int of at least 1"),
    "show_errors": (is_optional(_is_bool), "True, False, or None for what the app says"),
}


def _check_options(api_name: str, **options: Any) -> None:
    """Check what was said about an endpoint, by the names of the arguments of `App.endpoint`.

    Raises:
        DeclarationError: One makes no sense.
    """
    for name, value in options.items():
        is_right, expected = _RULES[name]
        if not is_right(value):
            raise DeclarationError(f"/{api_name}: {name} is {expected}, not {value!r}")
