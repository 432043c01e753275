"""A waiting line: who is next, and how many are ahead of whom."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import Any, Generic, TypeVar, cast

__all__ = ("Line", "Place")

T = TypeVar("T")

Place = tuple[int, int, int]
"""Where something stands in its line: priority (negated), turn, order of arrival."""

_TRIM = 1024
"""Entries at the front that were taken, before the list is cut: rare enough to cost nothing."""


class Line(Generic[T]):
    """Higher priority first; then the sharers in turns; then first come, first served.

    In a turn, each sharer has one job. Who joins has his jobs in the turns from the next one
    on, one in each: he waits for at most two jobs of each other sharer, however many those
    have. Nobody joins the turn that is being served, so it ends, and nobody waits for ever.

    A job's place is fixed when it joins, so the line is a sorted list. Joining, leaving
    and asking for a rank take a binary search and at most one move of pointers within a
    block of memory; taking the next takes neither. Not thread-safe.
    """

    __slots__ = ("_arrivals", "_entries", "_head", "_levels")

    def __init__(self) -> None:
        # Those before the head were taken, and are None: they hold nothing in memory.
        self._entries: list[Any] = []
        self._head = 0
        self._arrivals = 0
        self._levels: dict[int, _Level] = {}  # by priority

    def __len__(self) -> int:
        return len(self._entries) - self._head

    def join(self, item: T, *, sharer: str, priority: int = 0) -> Place:
        """Put an item in the line and return its place."""
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = _Level()
        self._arrivals += 1
        entry = (-priority, level.join(sharer), self._arrivals, sharer, item)
        entries = self._entries
        if not len(self) or entries[-1] < entry:
            entries.append(entry)
        else:
            insort(entries, entry, lo=self._head)
        return entry[:3]

    def rejoin(self, item: T, *, sharer: str, priority: int, turn: int) -> Place:
        """Put back an item with the turn that it had, and return its place.

        Of those with the same turn, it stands behind those that were put back before. Who
        joins afterwards has his turns from the one after the first that is waited for.
        """
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = _Level()
        self._arrivals += 1
        level.rejoin(sharer, turn)
        entry = (-priority, turn, self._arrivals, sharer, item)
        if not len(self) or self._entries[-1] < entry:
            self._entries.append(entry)
        else:
            insort(self._entries, entry, lo=self._head)
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
        self._entries[self._head] = None
        self._head += 1
        priority, turn, _, sharer, item = entry
        self._levels[-priority].take(sharer, turn)
        self._trim(-priority)
        return cast("T", item)

    def leave(self, place: Place) -> T:
        """Remove the item at a place and return it.

        Raises:
            KeyError: It is not waiting.
        """
        priority, turn, _, sharer, item = self._entries.pop(self._find(place))
        self._levels[-priority].leave(sharer, turn)
        self._trim(-priority)
        return cast("T", item)

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

    def _trim(self, priority: int) -> None:
        if not self._levels[priority].waiting:
            del self._levels[priority]
        if self._head == len(self._entries) or self._head > _TRIM:
            del self._entries[: self._head]
            self._head = 0


class _Level:
    """The turns of those who wait with one priority."""

    __slots__ = ("_served", "_turns", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self._served = -1  # the turn that is being served; nobody joins it any more
        self._turns: dict[str, deque[int]] = {}  # of each sharer's waiting jobs, in order

    def join(self, sharer: str) -> int:
        turns = self._turns.get(sharer)
        if turns is None:
            turns = self._turns[sharer] = deque()
        turn = (turns[-1] if turns else self._served) + 1
        turns.append(turn)
        self.waiting += 1
        return turn

    def rejoin(self, sharer: str, turn: int) -> None:
        turns = self._turns.get(sharer)
        if turns is None:
            turns = self._turns[sharer] = deque()
        if turns and turns[-1] > turn:
            turns.insert(bisect_left(turns, turn), turn)
        else:
            turns.append(turn)
        self._served = turn if not self.waiting else min(self._served, turn)
        self.waiting += 1

    def take(self, sharer: str, turn: int) -> None:
        self._served = turn
        self.leave(sharer, turn)

    def leave(self, sharer: str, turn: int) -> None:
        turns = self._turns[sharer]
        self.waiting -= 1
        if turns[0] == turn:
            turns.popleft()
        elif turns[-1] == turn:
            turns.pop()
        else:
            del turns[bisect_left(turns, turn)]
        if not turns:
            del self._turns[sharer]
