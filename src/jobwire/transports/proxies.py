"""The proxy that the environment names for an address."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

__all__ = ("find_proxy",)

_PORTS = {"http": 80, "https": 443}


def find_proxy(url: str) -> str | None:
    """Return the proxy for a URL, None if there is none; never one for this machine.

    Reads ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, in small letters
    as well, which win; without them, what macOS and Windows are set to. ``NO_PROXY`` is a
    list with commas: ``*`` for every host; names, which stand for those that end in them
    too, with or without a dot or ``*.`` in front; addresses and networks (``10.0.0.0/8``).
    A port after a name or an address means that port only.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or _is_this_machine(host):
        return None
    port = parts.port or _PORTS.get(parts.scheme, 0)
    excepted = [name.strip().lower() for name in proxies.get("no", "").split(",")]
    # Python knows what the system is set to, but no networks, no stars and no IPv6.
    if proxy_bypass(f"{host}:{port}") or any(_matches(name, host, port) for name in excepted):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _matches(name: str, host: str, port: int) -> bool:
    """Whether an entry of ``NO_PROXY`` is about a host."""
    if "/" in name:
        try:
            return ip_address(host) in ip_network(name, strict=False)
        except ValueError:
            return False
    try:
        parts = urlsplit(f"//{name}" if name.count(":") < 2 or "]" in name else f"//[{name}]")
        wanted, only = (parts.hostname or "").removeprefix("*").lstrip("."), parts.port
    except ValueError:
        return False
    if only not in (None, port):
        return False
    return bool(wanted) and (host == wanted or host.endswith(f".{wanted}"))
