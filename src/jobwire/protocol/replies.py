"""What a server's HTTP answers mean: values, or errors that say what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NoReturn

from msgspec import MsgspecError, Struct
from msgspec.json import decode

from jobwire.exceptions import (
    AuthenticationError,
    NotGradioError,
    QueueFullError,
    RateLimitedError,
    RemoteProtocolError,
    ServerError,
    ValidationError,
    shown,
)
from jobwire.protocol.messages import Message, ProcessCompleted, decode_message, decode_value

__all__ = (
    "KnownJob",
    "check",
    "read_cancel",
    "read_config",
    "read_event_id",
    "read_json",
    "read_known_job",
    "read_login",
    "read_output",
    "refuse_websocket",
)


class KnownJob(Struct):
    """What a server that keeps jobs says of one.

    Attributes:
        endpoint: The name of what it calls, with a leading slash.
        status: Where it is.
        rank: Jobs ahead of it, while it waits.
        queue_size: Jobs that wait with it, while it does.
        rank_eta: Seconds to its result, as far as is known.
    """

    endpoint: str
    status: Literal["waiting", "running", "completed", "failed", "cancelled"]
    rank: int | None = None
    queue_size: int | None = None
    rank_eta: float | None = None

    @property
    def ended(self) -> bool:
        """Whether it has its outcome."""
        return self.status not in ("waiting", "running")


def read_config(status: int, headers: Mapping[str, str], body: bytes, *, url: str) -> Any:
    """Return the decoded answer to a GET of ``url``, an app's ``/config``.

    Raises:
        AuthenticationError: The app wants a login.
        NotGradioError: It is no JSON, or there is nothing.
        ServerError: The server refuses for another reason.
    """
    if status in (404, 405) or (status == 200 and not _is_json(headers, body)):
        seen = headers.get("content-type", "").partition(";")[0] or "no content type"
        raise NotGradioError(
            f"{url} is no Gradio app's config: HTTP {status}, {seen}: {shown(body)}. Give the "
            "address at which the app's page opens; of a Space that is "
            "https://OWNER-NAME.hf.space",
            url=url,
            status=status,
        )
    check(status, headers, body, url=url)
    try:
        return decode_value(body)
    except RemoteProtocolError as error:
        raise NotGradioError(f"{url}: {error}", url=url, status=status) from None


def _is_json(headers: Mapping[str, str], body: bytes) -> bool:
    return "json" in headers.get("content-type", "") or body.lstrip()[:1] in (b"{", b"[")


def read_json(status: int, headers: Mapping[str, str], body: bytes, *, url: str) -> Any:
    """Return the decoded answer of any other route.

    Raises:
        ServerError: The server refuses (and its subclasses).
        RemoteProtocolError: The answer is no JSON.
    """
    check(status, headers, body, url=url)
    return decode_value(body)


def read_event_id(status: int, headers: Mapping[str, str], body: bytes, *, url: str) -> str:
    """Return the job's id from the answer to its submission.

    Raises:
        QueueFullError: The queue takes no more.
        ValidationError: The app's validators said no.
        ServerError: The server refuses for another reason (and its subclasses).
        RemoteProtocolError: The answer has no id.
    """
    reply = read_json(status, headers, body, url=url)
    event_id = reply.get("event_id") if isinstance(reply, dict) else None
    if not isinstance(event_id, str) or not event_id:
        raise RemoteProtocolError(f"{url} answers without a job's id: {shown(body)}")
    return event_id


def read_cancel(status: int, headers: Mapping[str, str], body: bytes, *, url: str) -> str | None:
    """Return what a server says that it did to a job that was cancelled; None if it does not say.

    Raises:
        ServerError: The server refuses (and its subclasses).
    """
    check(status, headers, body, url=url)
    outcome = _fields(body).get("outcome")
    return outcome if isinstance(outcome, str) else None


def read_known_job(status: int, headers: Mapping[str, str], body: bytes, *, url: str) -> KnownJob:
    """Return what a server that keeps jobs says of one.

    Raises:
        ServerError: The server refuses (and its subclasses).
        RemoteProtocolError: The answer makes no sense.
    """
    check(status, headers, body, url=url)
    try:
        return decode(body, type=KnownJob)
    except MsgspecError as error:
        raise RemoteProtocolError(f"{url} describes no job ({error}): {shown(body)}") from None


def read_output(
    status: int, headers: Mapping[str, str], body: bytes, *, url: str, batch: bool = False
) -> Message:
    """Return the answer to a direct call as the message with which a queue ends a job.

    Args:
        status: Of the answer.
        headers: Of the answer.
        body: Of the answer.
        url: What was asked.
        batch: It was a batch of one, and has a list of values for each output.

    Raises:
        ServerError: The server refuses (and its subclasses). That the app's function
            failed is no refusal.
        RemoteProtocolError: The answer makes no sense.
    """
    failed = status == 500 and "error" in _fields(body)
    if not failed:
        check(status, headers, body, url=url)
    success = b"false" if failed else b"true"
    message = decode_message(
        b'{"msg":"process_completed","success":%b,"output":%b}' % (success, body)
    )
    if batch and not failed and isinstance(message, ProcessCompleted):
        columns = decode_value(message.output.data or None)
        if not isinstance(columns, list) or not all(isinstance(c, list) and c for c in columns):
            raise RemoteProtocolError(f"{url} answers without a batch of outputs: {shown(body)}")
        output: Any = message.output  # its values may be decoded, see `decode_value`
        output.data = [column[0] for column in columns]
    return message


def read_login(status: int, body: bytes, *, url: str) -> None:
    """Raise AuthenticationError unless the answer to a login says that it succeeded."""
    if status == 200:
        return
    if status in (301, 302, 303, 307, 308, 404, 405):
        raise AuthenticationError(
            f"{url}: the app takes no user name and password (HTTP {status}); leave auth out, "
            "or, if something in front of the app asks for it, pass headers=",
            status=status,
            body=shown(body),
        )
    raise AuthenticationError(
        f"{url}: the app does not accept the user name and password (HTTP {status}): {shown(body)}",
        status=status,
        body=shown(body),
    )


def check(status: int, headers: Mapping[str, str], body: bytes, *, url: str) -> None:
    """Raise the error that fits, unless the status is 200."""
    if status != 200:
        _refuse(status, headers, body, url)


def _refuse(status: int, headers: Mapping[str, str], body: bytes, url: str) -> NoReturn:
    detail = _detail(body)
    text = detail if isinstance(detail, str) else _title(body) or shown(body)
    if status == 413:
        text += "; what is sent is larger than the server, or a proxy before it, takes"
    if status == 401:
        raise AuthenticationError(
            f"{url}: the app wants a login; pass auth=(user, password)"
            + (f". It says: {text}" if text else ""),
            status=status,
            body=shown(body),
        )
    if status == 429:
        raise RateLimitedError(
            f"{url}: too many requests: {text}",
            body=shown(body),
            retry_after=_retry_after(headers),
        )
    if status == 503 and isinstance(detail, str) and detail.startswith("Queue"):
        raise QueueFullError(
            f"{url}: {detail}",
            status=status,
            body=shown(body),
            retry_after=_retry_after(headers),
        )
    if status == 422 and (wrong := _invalid_parameters(detail)):
        lines = "; ".join(f"{name}: {why}" for name, why in wrong.items())
        raise ValidationError(
            f"the app does not accept {len(wrong)} of the arguments: {lines}",
            status=status,
            body=shown(body),
            parameters=wrong,
        )
    raise ServerError(
        f"{url}: HTTP {status}: {text}",
        status=status,
        body=shown(body),
        retry_after=_retry_after(headers),
    )


def refuse_websocket(status: int, headers: Mapping[str, str], text: str) -> NoReturn:
    """Raise the error that fits an answer which opens no WebSocket.

    Args:
        status: Of the answer.
        headers: Of the answer.
        text: What there is to say of it.

    Raises:
        AuthenticationError: The app, or what is in front of it, wants a login.
        RateLimitedError: The server limits how often it may be asked.
        ServerError: It refuses for another reason.
    """
    if status in (401, 403):
        text += "; if the app wants a login, pass auth=(user, password)"
        raise AuthenticationError(text, status=status)
    kind = RateLimitedError if status == 429 else ServerError
    raise kind(text, status=status, retry_after=_retry_after(headers))


def _fields(body: bytes) -> Mapping[str, Any]:
    try:
        reply = decode_value(body)
    except RemoteProtocolError:
        return {}
    return reply if isinstance(reply, dict) else {}


def _detail(body: bytes) -> Any:
    detail = _fields(body).get("detail")
    # Since 5.36 the detail of a 401 is an object.
    if isinstance(detail, dict):
        return detail.get("auth_message") or detail.get("error")
    return detail


def _title(body: bytes) -> str:
    """Return the title of a page: with proxies, that says it all."""
    page = body[:1000].decode("utf-8", "replace")
    found = re.search("<title[^>]*>(.*?)</title", page, re.IGNORECASE | re.DOTALL)
    return shown(found[1]) if found else ""


def _invalid_parameters(detail: Any) -> dict[str, str]:
    """Tell a validator's answer from that of a body that is malformed; both are 422."""
    if not isinstance(detail, list):
        return {}
    return {
        str(entry.get("parameter_name") or f"param_{index}"): str(entry.get("message") or "")
        for index, entry in enumerate(detail)
        if isinstance(entry, dict)
        and entry.get("__type__") == "validate"
        and entry.get("is_valid") is False
    }


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the server asks for; None if it does not, or makes no sense."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    # A date is meant by the server's clock, and so is that of its answer.
    then, now = _timestamp(value), _timestamp(headers.get("date", ""))
    return None if then is None or now is None else max(0.0, then - now)


def _timestamp(date: str) -> float | None:
    """Return an HTTP date in seconds since the epoch; None if it is none."""
    try:
        return parsedate_to_datetime(date).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None
