"""What a job gave, in order: a log that any number of readers follow.

A generator that streams a growing text sends the text once in small pieces. The log
keeps those pieces as they came, so its size is the size of what arrived; a value is
built when a reader comes to it, from the value that this reader had before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw

from jobwire.exceptions import RemoteProtocolError
from jobwire.protocol.diff import apply_edits
from jobwire.protocol.messages import Log, Value, decode_value
from jobwire.types import OutputUpdate

__all__ = ("OutputCursor", "OutputLog", "Present", "Read")

Present = Callable[[list[Any]], Any]
"""Makes what callers see of one value for each of an endpoint's outputs."""

Read = Callable[[list[Any]], list[Any]]
"""Makes values as 4.x has them of those of an older server."""

_UNKNOWN: Any = object()


class _Gap:
    """In place of outputs of which some may be missing."""


_GAP = _Gap()


class OutputLog:
    """The outputs and log lines of one job, oldest first.

    A log can hold outputs back from its readers until somebody has prepared them, as by
    fetching the files that they name: that one reads ahead and releases them in order.

    Args:
        diffs: Outputs after the first are edits of the one before.
        present: Makes what callers see of an output's values.
        held: Hold outputs back until they are released.
        read: Applied to the values of each output first; None if there is no need.

    Attributes:
        held: See above.
        last_log: ``(text, level)`` of the last log line; None if there was none.
        yielded: There was an output, before any result.
    """

    __slots__ = (
        "_broken",
        "_diffs",
        "_entries",
        "_has_result",
        "_present",
        "_read",
        "_released",
        "_result",
        "_result_size",
        "_values",
        "held",
        "last_log",
        "yielded",
    )

    def __init__(
        self, *, diffs: bool, present: Present, held: bool = False, read: Read | None = None
    ) -> None:
        self.held = held
        self.yielded = False
        self.last_log: tuple[str, str] | None = None
        self._diffs = diffs
        self._present = present
        self._read = read or (lambda values: values)
        self._entries: list[Value | Log | _Gap] = []
        self._broken = False  # an output may have been lost
        self._released = 0
        self._has_result = False
        self._result_size: int | None = None
        self._values: list[Any] = []  # of the result
        self._result: Any = _UNKNOWN  # as callers see it, once somebody has asked

    def append(self, data: Value, *, whole: bool = False) -> None:
        """Add an output: raw JSON, or decoded.

        Args:
            data: One value for each of the endpoint's outputs.
            whole: This job's outputs are never edits of the one before, whatever its
                server does for others.
        """
        if whole:
            self._diffs = False
        self.yielded = True
        if not (self._broken and self._diffs):
            # A Raw keeps the whole event alive that it was cut from.
            self._entries.append(bytes(data) if isinstance(data, Raw) else data)
        elif not self._entries or self._entries[-1] is not _GAP:
            self._entries.append(_GAP)

    def break_off(self) -> None:
        """Note that outputs may have been lost, so that edits of them tell nothing.

        Those that still come are left out. The result is whole, and ends the sequence.
        """
        self._broken = True

    def mend(self) -> None:
        """Note that no output was lost after all: the job begins only now."""
        self._broken = False

    def append_log(self, line: Log) -> None:
        """Add a log line."""
        self._entries.append(line)
        self.last_log = (line.log, line.level)

    def finish(self, data: Value) -> None:
        """Add the result, after which nothing comes.

        Raises:
            RemoteProtocolError: The result is damaged, or no list. It is not added then.
        """
        self._values = self._read(_values(data))
        self._has_result = True
        self._result_size = _size(data)

    def release(self, position: int) -> None:
        """Let readers have the first ``position`` outputs and lines of a log that holds.

        The result, if there is one, is at the position after the last of them.
        """
        self._released = max(self._released, position)

    @property
    def readable(self) -> int:
        """How many outputs and lines readers may have, the result included."""
        return self._released if self.held else self.size

    @property
    def size(self) -> int:
        """How many outputs and lines there are, the result included."""
        return len(self._entries) + self._has_result

    def sizes(self, position: int) -> list[int | None]:
        """Return the bytes of each output after the first ``position`` outputs and lines.

        Those on the wire, None for what came decoded. The result counts if it is the only
        output.
        """
        entries = self._entries[position:]
        sizes = [_size(entry) for entry in entries if not isinstance(entry, (Log, _Gap))]
        if self._has_result and not self.yielded and position < self.size:
            sizes.append(self._result_size)
        return sizes

    @property
    def result(self) -> Any:
        """The result, as callers see it; None before they may have it."""
        if not self._has_result or self.readable < self.size:
            return None
        if self._result is _UNKNOWN:
            self._result = self._present(self._values)
        return self._result

    def outputs(self) -> list[Any]:
        """Return all outputs so far, as callers see them, oldest first."""
        cursor = OutputCursor(self)
        outputs = []
        while (entry := cursor.next()) is not None:
            if isinstance(entry, OutputUpdate):
                outputs.append(entry.outputs)
        return outputs


class OutputCursor:
    """One reader's place in an `OutputLog`; each sees everything, from the first on.

    The values it gives share structure with each other wherever an edit did not
    touch them: read them, do not change them.

    Args:
        log: What to read.
        with_result: Give the result even if it was an output already. A generator's
            result repeats its last output, so readers of outputs do not want it.
        ahead: Read what is held back, too, and leave values as the server sent them, a
            list of one for each of the endpoint's outputs.

    Attributes:
        position: How many outputs and lines were read, or passed over.
    """

    __slots__ = ("_ahead", "_log", "_lost", "_values", "_with_result", "position")

    def __init__(self, log: OutputLog, *, with_result: bool = False, ahead: bool = False) -> None:
        self.position = 0
        self._log = log
        self._with_result = with_result
        self._ahead = ahead
        self._values: list[Any] | None = None
        self._lost = False

    def next(self) -> OutputUpdate | Log | None:
        """Return what comes next, or None if nothing is there, perhaps not yet.

        Where an edit could not be made, the outputs from there on are unknown and
        left out; the result, which is always whole, then ends the sequence.
        """
        log = self._log
        readable = log.size if self._ahead else log.readable
        entries = log._entries
        while self.position < min(readable, len(entries)):
            entry = entries[self.position]
            self.position += 1
            if isinstance(entry, Log):
                return entry
            if isinstance(entry, _Gap):
                self._lost = True
            elif not self._lost:
                try:
                    values = log._read(self._advance(entry))
                    return OutputUpdate(values if self._ahead else log._present(values))
                except RemoteProtocolError:
                    self._lost = True
        if log._has_result and self.position == len(entries) < readable:
            self.position += 1
            if self._with_result or self._lost or self._values is None:
                return OutputUpdate(log._values if self._ahead else log.result, final=True)
        return None

    def _advance(self, entry: Value) -> list[Any]:
        data = _values(entry)
        if self._log._diffs and self._values is not None:
            # A reloaded app can have more outputs than before: those are edits to null.
            old = self._values + [None] * (len(data) - len(self._values))
            data = [apply_edits(value, edits) for value, edits in zip(old, data, strict=False)]
        self._values = data
        return data


def _size(data: Value) -> int | None:
    return memoryview(data).nbytes if isinstance(data, (bytes, Raw)) else None


def _values(data: Value) -> list[Any]:
    values = decode_value(data)
    if not isinstance(values, list):
        raise RemoteProtocolError(
            f"the outputs of a job are a list, the server sent {type(values).__name__}"
        )
    return values
