"""What a client was sent, read from the bytes that the proxy passed on to it."""

import json
import threading
import time
from collections import Counter, defaultdict
from typing import IO, Any

from chaos import Exchange


class _Body:
    """Takes a chunked answer apart, as it comes; stops at what is broken."""

    def __init__(self) -> None:
        self._rest = b""
        self._in_head = True
        self._events = b""
        self._broken = False

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Return the messages that these bytes complete."""
        if self._broken:
            return []
        self._rest += data
        if self._in_head:
            head, found, rest = self._rest.partition(b"\r\n\r\n")
            if not found:
                return []
            self._in_head = False
            self._rest = rest
            if not head.startswith(b"HTTP/1.1 200") or b"chunked" not in head.lower():
                self._broken = True
                return []
        while (end := self._rest.find(b"\r\n")) >= 0:
            try:
                size = int(self._rest[:end], 16)
            except ValueError:
                self._broken = True
                break
            if size == 0 or len(self._rest) < end + 2 + size + 2:
                break
            if self._rest[end + 2 + size : end + 4 + size] != b"\r\n":
                self._broken = True
                break
            self._events += self._rest[end + 2 : end + 2 + size]
            self._rest = self._rest[end + 4 + size :]
        *whole, self._events = self._events.split(b"\n\n")
        return [json.loads(event.removeprefix(b"data: ")) for event in whole if event]


class Witness:
    """Notes which messages came through to the client, by the job that they are for.

    Attributes:
        outputs: How many outputs before the end, by event id.
        ends: The messages that told how a job ended, by event id.
    """

    def __init__(self, trace: IO[str] | None = None) -> None:
        """
        Args:
            trace: Where to write each message that came through.
        """
        self._trace = trace
        self._lock = threading.Lock()
        self._bodies: dict[int, _Body] = defaultdict(_Body)
        self.outputs: Counter[str] = Counter()
        self.ends: dict[str, dict[str, Any]] = {}

    def see(self, exchange: Exchange, data: bytes) -> None:
        """Take what was passed on to the client. An `Observer` of the proxy."""
        if not exchange.request.path.endswith("queue/data"):
            return
        with self._lock:
            for message in self._bodies[exchange.request.number].feed(data):
                if self._trace is not None and message["msg"] != "heartbeat":
                    line = f"{time.monotonic():.3f} {exchange.request.number} {message}"
                    self._trace.write(f"{line:.300}\n")
                event_id = message.get("event_id")
                if event_id is None:
                    continue
                if message["msg"] == "process_generating":
                    self.outputs[event_id] += 1
                elif message["msg"] == "process_completed":
                    self.ends[event_id] = message
