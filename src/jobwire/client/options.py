"""What ``httpx_kwargs`` asks for, in the terms of the transport.

Programs written for ``gradio_client`` pass it to set deadlines, proxies and TLS. jobwire
does not use httpx, so what has a meaning here is translated, and what has none is refused
with a hint: an option that is silently dropped may be one that somebody relied on.
"""

from __future__ import annotations

import math
import os
import re
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit, urlunsplit

from jobwire.exceptions import ArgumentError
from jobwire.transports.base import Certificate, Timeouts, TransportOptions

__all__ = ("with_httpx_kwargs",)

_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_COOKIE_VALUE = re.compile(r"[\x21-\x3a\x3c-\x7e]*\Z")  # no blanks, no semicolon

_USELESS: dict[str, tuple[object, str]] = {
    # name: (the value that asks for nothing, what to do instead)
    "app": (None, "for an app in this process, give the address at which it is served"),
    "base_url": ("", "give the app's address as src"),
    "default_encoding": ("utf-8", "Gradio apps answer in UTF-8"),
    "event_hooks": ({}, "to see or change requests, pass transport="),
    "follow_redirects": (False, "give the address that the redirect leads to as src"),
    "headers": (None, "pass headers= to the client, or to a call"),
    "http1": (True, "to speak anything else, pass transport="),
    "http2": (False, "to speak it, pass transport="),
    "limits": (None, "max_workers= limits the submissions that are on their way"),
    "max_redirects": (None, "none are followed, except within the host of src"),
    "mounts": ({}, "proxy= takes one proxy; for anything else, pass transport="),
    "params": ({}, "the query is the protocol's; what an app takes are its arguments"),
    "proxies": (None, "it is called proxy, and takes one address"),
    "transport": (None, "pass transport= to the client; it takes jobwire's, not httpx's"),
}
"""What httpx takes, and a client of an app has no use for."""


def with_httpx_kwargs(options: TransportOptions, kwargs: Mapping[str, Any]) -> TransportOptions:
    """Return the options with what ``httpx_kwargs`` asks for, which wins over what is there.

    Neither argument is changed. No file is read: what ``verify`` and ``cert`` name is
    looked at when the first connection is made.

    Args:
        options: What the client's other arguments have come to.
        kwargs: By name, as `AsyncClient` describes them.

    Raises:
        ArgumentError: A name has no meaning here, or a value is none that it takes. The
            message does not quote values, which may be secret.
    """
    for name, value in kwargs.items():
        if name in _READERS:
            options = _READERS[name](options, value)
            continue
        nothing, advice = _USELESS.get(name, (None, f"it takes {', '.join(_READERS)}"))
        if value is not None and value != nothing:
            raise ArgumentError(
                f"httpx_kwargs: {name!r} has no meaning here; {advice}", parameter=name
            )
    return options


def _refuse(name: str, accepted: str, value: object) -> NoReturn:
    raise ArgumentError(
        f"httpx_kwargs: {name!r} takes {accepted}, not {type(value).__name__} like this one",
        parameter=name,
    )


_SECONDS = "seconds greater than 0, None for no limit, (connect, read), or an httpx.Timeout"


def _timeout(options: TransportOptions, value: Any) -> TransportOptions:
    pair: tuple[Any, Any]
    if isinstance(value, tuple):
        if not 2 <= len(value) <= 4:
            _refuse("timeout", _SECONDS, value)
        pair = value[0], value[1]
    elif hasattr(value, "connect") and hasattr(value, "read"):  # an httpx.Timeout
        pair = (value.connect, value.read)
    else:
        pair = (value, value)
    return options._replace(timeouts=Timeouts(*map(_seconds, pair)))


def _seconds(value: Any) -> float | None:
    if value is None or value == math.inf:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        _refuse("timeout", _SECONDS, value)
    return float(value)


def _proxy(options: TransportOptions, value: Any) -> TransportOptions:
    if value is None:
        return options
    accepted = "an http:// or https:// address, or an httpx.URL or httpx.Proxy of one"
    auth: Any = None
    address = value
    if hasattr(value, "url"):  # an httpx.Proxy
        if getattr(value, "headers", None) or getattr(value, "ssl_context", None):
            _refuse("proxy", "a proxy without headers and TLS context of its own", value)
        address, auth = value.url, getattr(value, "auth", None)
    if not isinstance(address, str) and not hasattr(address, "raw_scheme"):  # an httpx.URL
        _refuse("proxy", accepted, value)
    try:
        parts = urlsplit(str(address))
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, usable = None, False
    if parts is None or not usable:
        _refuse("proxy", accepted, value)
    if auth:
        user, password = (quote(part, safe="") for part in auth)
        parts = parts._replace(netloc=f"{user}:{password}@{parts.netloc.rpartition('@')[2]}")
    return options._replace(proxy=urlunsplit(parts))


def _cookies(options: TransportOptions, value: Any) -> TransportOptions:
    accepted = "a dict, pairs, or an httpx.Cookies, of text without blanks and semicolons"
    if not value:
        return options
    pairs: Iterable[Any] = value.items() if isinstance(value, Mapping) else value
    try:
        cookies = dict(pairs)
    except (TypeError, ValueError):
        _refuse("cookies", accepted, value)
    for name, text in cookies.items():
        if (
            not isinstance(name, str)
            or not isinstance(text, str)
            or not _COOKIE_NAME.match(name)
            or not _COOKIE_VALUE.match(text)
        ):
            _refuse("cookies", accepted, value)
    return options._replace(cookies={**options.cookies, **cookies})


def _verify(options: TransportOptions, value: Any) -> TransportOptions:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, (bool, str, ssl.SSLContext)):
        _refuse("verify", "True, False, the path of a PEM file or directory, or a context", value)
    return options._replace(verify=value)


def _cert(options: TransportOptions, value: Any) -> TransportOptions:
    if value is None:
        return options
    parts = value if isinstance(value, tuple) else (value,)
    paths = [os.fspath(part) if isinstance(part, os.PathLike) else part for part in parts]
    texts = all(isinstance(path, str) or (path is None and at > 0) for at, path in enumerate(paths))
    if not texts or not 1 <= len(paths) <= 3:
        _refuse("cert", "the path of a PEM file, (file, key) or (file, key, password)", value)
    return options._replace(certificate=Certificate(*paths))


def _auth(options: TransportOptions, value: Any) -> TransportOptions:
    if value is None:
        return options
    if not isinstance(value, tuple) or len(value) != 2:
        _refuse(
            "auth", "(user, password); anything else can be sent with headers= of the client", value
        )
    pair = [part.encode() if isinstance(part, str) else part for part in value]
    if not all(isinstance(part, bytes) for part in pair):
        _refuse("auth", "(user, password), both text", value)
    header = f"Basic {b64encode(b':'.join(pair)).decode()}"
    return options._replace(headers={**options.headers, "authorization": header})


def _trust_env(options: TransportOptions, value: Any) -> TransportOptions:
    if not isinstance(value, bool):
        _refuse("trust_env", "True or False", value)
    return options._replace(trust_env=value)


_READERS: dict[str, Callable[[TransportOptions, Any], TransportOptions]] = {
    "timeout": _timeout,
    "proxy": _proxy,
    "cookies": _cookies,
    "verify": _verify,
    "cert": _cert,
    "auth": _auth,
    "trust_env": _trust_env,
}
