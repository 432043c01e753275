"""What of a call is kept beside its arguments, and how a job is made of it after a restart."""

from __future__ import annotations

import json
from typing import Any, cast

import msgspec
from msgspec import UNSET, Struct

from jobwire.protocol.diff import apply_edits
from jobwire.protocol.messages import ProcessGenerating, decode_message, decode_value
from jobwire.server.context import Request
from jobwire.server.job import Caller
from jobwire.server.stores.base import Store, Ticket

__all__ = ("decode_caller", "decode_data", "encode_caller", "last_output")

_SECRETS = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Headers that are not kept: they let whoever reads the store pass for the caller."""


class _Kept(Struct, array_like=True):
    headers: dict[str, str]
    query: dict[str, str]
    client: str | None
    root: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Kept).decode


def encode_caller(caller: Caller) -> bytes:
    """Return what is kept of a request."""
    request = caller.request
    kept = _Kept(
        {name: value for name, value in request.headers.items() if name.lower() not in _SECRETS},
        dict(request.query),
        request.client,
        caller.root,
    )
    try:
        return _encode(kept)
    except UnicodeError:  # halves of surrogate pairs in the query
        kept.query = {}
        return _encode(kept)


def decode_caller(ticket: Ticket) -> Caller:
    """Return the request that brought a job, from what was kept of it."""
    kept = _decode(ticket.caller)
    return Caller(
        Request(kept.headers, kept.query, kept.client, ticket.user, ticket.session), kept.root
    )


def decode_data(data: bytes) -> list[Any]:
    """Return the arguments of a call from their JSON, which may be what only Python writes."""
    try:
        return msgspec.json.decode(data, type=list[Any])
    except (msgspec.MsgspecError, UnicodeError):
        return cast("list[Any]", json.loads(data))


def last_output(store: Store, id: str) -> list[Any] | None:
    """Return the last output in a job's log, made whole; None if there is none."""
    values: list[Any] | None = None
    after, following = 0, 1
    while following:
        events, _, numbers, following = store.read(id, after)
        for event in events:
            message = decode_message(event)
            if isinstance(message, ProcessGenerating) and message.output.data is not UNSET:
                data = decode_value(message.output.data)
                if values is not None:
                    data = [apply_edits(*pair) for pair in zip(values, data, strict=True)]
                values = data
        after = numbers[-1] if numbers else after
    return values
