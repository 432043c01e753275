"""Server messages in short: what a server would send, as bytes of its stream."""

import json
from typing import Any

from jobwire.protocol.sse import encode_event


def message(msg: str, event_id: str | None = None, **fields: Any) -> bytes:
    return encode_event(json.dumps({"msg": msg, "event_id": event_id, **fields}))


def estimation(event_id: str, rank: int = 0, size: int = 1, eta: float | None = None) -> bytes:
    return message("estimation", event_id, rank=rank, queue_size=size, rank_eta=eta)


def starts(event_id: str, eta: float | None = None) -> bytes:
    return message("process_starts", event_id, eta=eta)


def generating(event_id: str, *data: Any) -> bytes:
    return message(
        "process_generating",
        event_id,
        output={"data": list(data), "is_generating": True},
        success=True,
    )


def completed(event_id: str, *data: Any) -> bytes:
    return message(
        "process_completed",
        event_id,
        output={"data": list(data), "is_generating": False},
        success=True,
    )


def failed(event_id: str, error: str | None, **output: Any) -> bytes:
    return message("process_completed", event_id, output={"error": error, **output}, success=False)


def stopped(event_id: str) -> bytes:
    """How a server ends a cancelled job: as a success without data."""
    return message("process_completed", event_id, output={}, success=True)


CLOSE_STREAM = message("close_stream")
HEARTBEAT = message("heartbeat")
SESSION_NOT_FOUND = message(
    "unexpected_error", None, message="404: Not Found", session_not_found=True, success=False
)
SERVER_STOPPED = message(
    "unexpected_error", None, message="Server stopped unexpectedly.", success=False
)
