"""Addresses of apps: reading what somebody gives, and telling whether two are one place."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import unquote, urljoin, urlsplit

from jobwire.exceptions import AddressError

__all__ = ("join", "root", "same_place", "split_credentials")


def join(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError:
        return location


def same_place(old: str, new: str) -> bool:
    """Whether a redirect stays with the server that was named: same host, same port."""
    try:
        before, after = urlsplit(old), urlsplit(new)
        ports = (before.port, after.port)
    except ValueError:
        return False
    if before.hostname != after.hostname:
        return False
    if (before.scheme, after.scheme) == ("http", "https"):
        return ports[0] in (None, 80) and ports[1] in (None, 443)
    return before.scheme == after.scheme and ports[0] == ports[1]


def split_credentials(src: str) -> tuple[str, str | None]:
    """Return an app's root without credentials, so that none are ever shown, and a header."""
    address = root(src)
    parts = urlsplit(address)
    if parts.username is None:
        return address, None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    header = f"Basic {b64encode(pair.encode()).decode()}"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), header


def root(src: str) -> str:
    """Return an app's address with a trailing slash, and without query and fragment."""
    try:
        parts = urlsplit(src.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, usable = None, False
    if parts is None or not usable:
        raise AddressError(
            f"{src.rpartition('@')[2]!r} is no address of an app; give the one at which its page "
            "opens, such as http://127.0.0.1:7860 or https://OWNER-NAME.hf.space, or a Space's "
            "name, OWNER/NAME"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/"
