"""Server-sent events: bytes in, events out, and back.

Follows the "event stream" section of the WHATWG HTML standard, except that an
event's data stays bytes: whoever reads it knows whether it is JSON, and decoding
once is enough.
"""

from __future__ import annotations

from typing import NamedTuple

from jobwire.exceptions import RemoteProtocolError
from jobwire.protocol.limits import MAX_EVENT_SIZE

__all__ = ("SSEParser", "ServerSentEvent", "encode_event")

_BOM = b"\xef\xbb\xbf"


class ServerSentEvent(NamedTuple):
    """One event.

    Attributes:
        data: The ``data`` lines, joined by a line feed; bytes that should be UTF-8.
        event: The event's type; empty if the stream named none, which means
            ``message``.
        id: The last id that the stream set, which may be an earlier event's; empty
            if none.
    """

    data: bytes
    event: str = ""
    id: str = ""


class SSEParser:
    """Turns the bytes of one event stream into events.

    Give it bytes as they come, cut anywhere. Use a new parser for each connection:
    the standard says that an event which the end of the stream cuts off is dropped,
    and dropping the parser does that.

    Attributes:
        retry: The reconnection time that the stream asked for, in milliseconds; None
            if it asked for none.
    """

    def __init__(self, *, max_event_size: int = MAX_EVENT_SIZE) -> None:
        self.retry: int | None = None
        self._max_event_size = max_event_size
        self._at_start = True  # a byte order mark may come
        self._skip_lf = False  # the last byte was a CR; an LF now belongs to it
        self._line: list[bytes] = []  # the pieces of a line that has not ended
        self._line_size = 0
        self._data: list[bytes] = []
        self._data_size = 0  # with a line feed after each line
        self._too_large = False
        self._event = ""
        self._id = ""

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Take bytes from the stream and return the events they complete.

        Args:
            data: Any number of bytes, cut anywhere, even inside a UTF-8 sequence or
                between a CR and its LF.

        Returns:
            The completed events, in order; empty if none is complete.

        Raises:
            RemoteProtocolError: An event is larger than ``max_event_size`` bytes. The
                parser is of no more use. Events completed by the same bytes are
                returned first and the error is raised by the next call.
        """
        if self._too_large:
            raise self._overflow()
        if self._at_start:
            data = self._take_line() + data
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._keep(data)
                return []
            self._at_start = False
            data = data.removeprefix(_BOM)
        if self._skip_lf and data:
            self._skip_lf = False
            data = data.removeprefix(b"\n")

        events: list[ServerSentEvent] = []
        if b"\n" not in data and b"\r" not in data:
            # Kept in pieces: joining each time would take quadratic time on an event
            # of many megabytes.
            self._keep(data)
        else:
            lines = (self._take_line() + data).splitlines()  # of bytes: CR, LF, CRLF only
            rest = b""
            if data.endswith((b"\n", b"\r")):
                self._skip_lf = data.endswith(b"\r")
            else:
                rest = lines.pop()
            for line in lines:
                if line.startswith(b"data: "):
                    self._add_data(line[6:])
                elif line:
                    self._field(line)
                elif self._data:
                    events.append(self._take_event())
                else:
                    self._event = ""
                if self._too_large:
                    break
            else:
                self._keep(rest)
        if self._too_large and not events:
            raise self._overflow()
        return events

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._line.append(piece)
            self._line_size += len(piece)
            # It is taken for data, which it need not be: what else can be that long?
            if self._data_size + self._line_size - len(b"data: ") > self._max_event_size:
                self._too_large = True

    def _take_line(self) -> bytes:
        line = b"".join(self._line)
        self._line.clear()
        self._line_size = 0
        return line

    def _add_data(self, value: bytes) -> None:
        self._data.append(value)
        self._data_size += len(value) + 1
        if self._data_size - 1 > self._max_event_size:
            self._too_large = True

    def _take_event(self) -> ServerSentEvent:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        event = ServerSentEvent(data, self._event, self._id)
        self._data.clear()
        self._data_size = 0
        self._event = ""
        return event

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._add_data(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 16:
            self.retry = int(value)
        # A line that begins with a colon is a comment and has an empty name; the
        # standard ignores unknown names as well.

    def _overflow(self) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"an event of the stream is larger than {self._max_event_size} bytes; "
            "if the app really returns that much in one value, raise max_event_size, "
            "or let it return a file"
        )


def encode_event(
    data: bytes | str = b"", *, event: str = "", id: str = "", retry: int | None = None
) -> bytes:
    """Encode one event, ready to be sent.

    Args:
        data: The payload. Line breaks in it are kept (each of CR, LF and CRLF
            arrives as LF).
        event: The event's type; empty leaves it out.
        id: The event's id; empty leaves it out.
        retry: A reconnection time in milliseconds; None leaves it out.

    Raises:
        ValueError: ``event`` or ``id`` has a line break, or ``id`` a NUL: it would
            end the field, or be ignored.
    """
    for field, value in (("event", event), ("id", id)):
        if "\n" in value or "\r" in value or "\0" in value:
            raise ValueError(f"{field} must not have a line break or a NUL: {value!r}")
    if isinstance(data, str):
        data = data.encode()
    lines = []
    if event:
        lines.append(b"event: " + event.encode())
    if id:
        lines.append(b"id: " + id.encode())
    if retry is not None:
        lines.append(b"retry: %d" % retry)
    # A sentinel keeps a trailing line break and makes empty data one empty line.
    lines += [b"data: " + line for line in (data + b".").splitlines()]
    lines[-1] = lines[-1][:-1]
    return b"\n".join(lines) + b"\n\n"
