"""Where the queue and the jobs' events are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args
from urllib.parse import parse_qsl

from jobwire.exceptions import ArgumentError
from jobwire.server.stores.base import Store
from jobwire.server.stores.journal import Synchronous
from jobwire.server.stores.memory import MemoryStore
from jobwire.server.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from jobwire.server.settings import Settings

__all__ = ("check_address", "make_store", "sqlite_path")


def make_store(settings: Settings) -> Store:
    """Make the store that an app wants. It is not open yet.

    Raises:
        ArgumentError: Its address makes no sense.
    """
    path, synchronous = _parse(settings.store or "memory:")
    if path is None:
        return MemoryStore(
            result_ttl=settings.result_ttl,
            max_log_size=settings.max_output_size,
            max_size=settings.max_results_size,
        )
    return SqliteStore(
        path,
        result_ttl=settings.result_ttl,
        max_log_size=settings.max_output_size,
        max_size=settings.max_results_size,
        synchronous=synchronous,
    )


def check_address(address: object) -> bool:
    """Whether it is the address of a store."""
    try:
        _parse(str(address))
    except ArgumentError:
        return False
    return isinstance(address, str)


def sqlite_path(address: str) -> Path:
    """Return the file of a store.

    Raises:
        ArgumentError: It is the address of none that lies in a file.
    """
    path, _ = _parse(address)
    if path is None:
        raise ArgumentError(f"{address} keeps its jobs in no file", parameter="store")
    return path


def _parse(address: str) -> tuple[Path | None, Synchronous]:
    scheme, colon, rest = address.partition(":")
    if scheme == "memory" and colon and not rest:
        return None, "full"
    path, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    synchronous = options.pop("synchronous", "full")
    if scheme == "sqlite" and path and not options:
        for level in get_args(Synchronous):
            if synchronous == level:
                return Path(path), level
    raise ArgumentError(
        "store is 'memory:' or 'sqlite:PATH', which may end in '?synchronous=' and 'off', "
        f"'normal' or 'full', not {address!r}",
        parameter="store",
    )
