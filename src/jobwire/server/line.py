"""A waiting line: who is next, and how many are ahead of whom."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Generic, TypeVar

__all__ = ("Line", "Place")

T = TypeVar("T")

Place = tuple[int, int, int]
"""Where something stands in its line: priority (negated), turn, order of arrival."""

_TRIM = 1024
"""Entries at the front that were taken, before the list is cut: rare enough to cost nothing."""


class Line(Generic[T]):
    """Higher priority first; then the sharers in turns; then first come, first served.

    Turns are those of fair queueing: the first job of each sharer comes before the
    second of any, counted from the turn that is being served. Somebody who joins with
    one job so waits for at most one job of each other sharer, however many those have.

    A job's place is fixed when it joins, so the line is a sorted list. Joining, leaving
    and asking for a rank take a binary search and at most one move of pointers within a
    block of memory; taking the next takes neither. Not thread-safe.
    """

    __slots__ = ("_arrivals", "_entries", "_head", "_served", "_turns")

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, int, str, T]] = []
        self._head = 0  # entries before it were taken
        self._arrivals = 0
        self._served: dict[int, int] = {}  # by priority: the turn being served
        # By priority and sharer: the turn of its last job, and how many wait.
        self._turns: dict[tuple[int, str], list[int]] = {}

    def __len__(self) -> int:
        return len(self._entries) - self._head

    def join(self, item: T, *, sharer: str, priority: int = 0) -> Place:
        """Put an item in the line and return its place."""
        served = self._served.get(priority, 0)
        mine = self._turns.get((priority, sharer))
        if mine is None:
            mine = self._turns[priority, sharer] = [served, 1]
        else:
            mine[0] += 1
            mine[1] += 1
        self._arrivals += 1
        entry = (-priority, mine[0], self._arrivals, sharer, item)
        entries = self._entries
        if not entries or entries[-1] < entry:
            entries.append(entry)
        else:
            insort(entries, entry, lo=self._head)
        return entry[:3]

    def peek(self) -> T | None:
        """Return who is next; None if nobody waits."""
        return self._entries[self._head][4] if len(self) else None

    def take(self) -> T:
        """Remove who is next and return it.

        Raises:
            IndexError: Nobody waits.
        """
        entry = self._entries[self._head]
        self._served[-entry[0]] = entry[1]
        self._head += 1
        self._gone(entry)
        if self._head == len(self._entries) or self._head > _TRIM:
            del self._entries[: self._head]
            self._head = 0
        return entry[4]

    def leave(self, place: Place) -> T:
        """Remove the item at a place and return it.

        Raises:
            KeyError: It is not waiting.
        """
        index = self._find(place)
        entry = self._entries.pop(index)
        self._gone(entry)
        return entry[4]

    def rank(self, place: Place) -> int:
        """Return how many are ahead of the item at a place.

        Raises:
            KeyError: It is not waiting.
        """
        return self._find(place) - self._head

    def _find(self, place: Place) -> int:
        # A place sorts before the entry that begins with it.
        index = bisect_left(self._entries, place, lo=self._head)
        if index == len(self._entries) or self._entries[index][:3] != place:
            raise KeyError(place)
        return index

    def _gone(self, entry: tuple[int, int, int, str, T]) -> None:
        key = -entry[0], entry[3]
        mine = self._turns[key]
        mine[1] -= 1
        if not mine[1]:
            del self._turns[key]
        if not len(self) and len(self._served) > 1:
            self._served.clear()
