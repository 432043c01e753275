"""What a server's HTTP answers mean: values, or errors that say what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from jobwire.exceptions import (
    AuthenticationError,
    NotGradioError,
    QueueFullError,
    RemoteProtocolError,
    ServerError,
    TooManyRequestsError,
    ValidationError,
    shown,
)
from jobwire.protocol.messages import decode_value

__all__ = ("check", "read_config", "read_event_id", "read_json", "read_login")


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
    text = detail if isinstance(detail, str) else shown(body)
    if status == 401:
        raise AuthenticationError(
            f"{url}: the app wants a login; pass auth=(user, password)"
            + (f". It says: {text}" if text else ""),
            status=status,
            body=shown(body),
        )
    if status == 429:
        raise TooManyRequestsError(
            f"{url}: too many requests: {text}",
            body=shown(body),
            retry_after=_retry_after(headers),
        )
    if status == 503 and isinstance(detail, str) and detail.startswith("Queue"):
        raise QueueFullError(f"{url}: {detail}", status=status, body=shown(body))
    if status == 422 and (wrong := _invalid_parameters(detail)):
        lines = "; ".join(f"{name}: {why}" for name, why in wrong.items())
        raise ValidationError(
            f"the app does not accept {len(wrong)} of the arguments: {lines}",
            status=status,
            body=shown(body),
            parameters=wrong,
        )
    raise ServerError(f"{url}: HTTP {status}: {text}", status=status, body=shown(body))


def _detail(body: bytes) -> Any:
    try:
        reply = decode_value(body)
    except RemoteProtocolError:
        return None
    detail = reply.get("detail") if isinstance(reply, dict) else None
    # Since 5.36 the detail of a 401 is an object.
    if isinstance(detail, dict):
        return detail.get("auth_message") or detail.get("error")
    return detail


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
    # The other form, a date, is not worth a clock here.
    value = headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else None
