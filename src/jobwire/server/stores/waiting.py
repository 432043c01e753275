"""The waiting lines of a store that has them in memory."""

from __future__ import annotations

from typing import Protocol

from jobwire.exceptions import QueueFullError
from jobwire.server.line import Line, Place
from jobwire.server.stores.base import Position, Ticket

__all__ = ("Lines", "Waiting", "check_size")


class Waiting(Protocol):
    """A job as the lines see it."""

    ticket: Ticket
    place: Place | None
    """Where it stands; None if it does not wait."""

    @property
    def ready(self) -> bool:
        """Whether it may be taken. Who stands behind one that may not waits for it."""
        ...


class Lines:
    """All waiting lines, by group. Not thread-safe."""

    def __init__(self) -> None:
        self.size = 0
        """How many wait, in all lines."""
        self._lines: dict[str, Line[Waiting]] = {}

    def names(self) -> list[str]:
        """Return the groups in which somebody waits."""
        return [name for name, line in self._lines.items() if line]

    def check_room(self, max_waiting: int | None, *, besides: int = 0) -> None:
        """Refuse a job if there are too many.

        Args:
            max_waiting: How many may wait; None is no limit.
            besides: How many are about to join.

        Raises:
            QueueFullError: So many wait already.
        """
        size = self.size + besides
        if max_waiting is not None and size >= max_waiting:
            # In the words that stock servers have for it.
            raise QueueFullError(
                f"Queue is full. Max size is {max_waiting} and size is {size}.", status=503
            )

    def join(self, item: Waiting) -> Place:
        """Put a job at the end of its sharer's turns; return its place."""
        ticket = item.ticket
        line = self._line(ticket.group)
        item.place = line.join(item, sharer=ticket.sharer, priority=ticket.priority)
        self.size += 1
        return item.place

    def rejoin(self, item: Waiting, turn: int) -> None:
        """Put back a job that had a place, as the last but for who has a later turn."""
        ticket = item.ticket
        line = self._line(ticket.group)
        item.place = line.rejoin(item, sharer=ticket.sharer, priority=ticket.priority, turn=turn)
        self.size += 1

    def take(self, group: str) -> list[Waiting]:
        """Remove who is next in a line, and who can be run together with it."""
        taken: list[Waiting] = []
        line = self._lines.get(group)
        if not line:
            return taken
        head = line.peek()
        while (
            head is not None
            and head.ready
            and (not taken or head.ticket.endpoint == taken[0].ticket.endpoint)
            and len(taken) < head.ticket.batch
        ):
            line.take().place = None
            taken.append(head)
            head = line.peek()
        self.size -= len(taken)
        return taken

    def leave(self, item: Waiting) -> bool:
        """Remove a job; False if it does not wait."""
        if item.place is None:
            return False
        self._lines[item.ticket.group].leave(item.place)
        item.place = None
        self.size -= 1
        return True

    def position(self, item: Waiting) -> Position | None:
        """Return where a job stands; None if it does not wait."""
        if item.place is None:
            return None
        line = self._lines[item.ticket.group]
        return Position(line.rank(item.place), len(line))

    def clear(self) -> None:
        """Send everybody away."""
        self._lines.clear()
        self.size = 0

    def _line(self, group: str) -> Line[Waiting]:
        line = self._lines.get(group)
        if line is None:
            line = self._lines[group] = Line()
        return line


def check_size(size: int, more: int, max_size: int) -> None:
    """Refuse a job if the store would hold too much.

    Args:
        size: Bytes that it holds.
        more: Bytes that the job has.
        max_size: Bytes that it may hold.

    Raises:
        QueueFullError: It would.
    """
    if size + more > max_size:
        raise QueueFullError(
            f"Queue is full. Max size is {max_size} bytes and size is {size}.", status=503
        )
