"""The waiting line: whose turn it is, how many are ahead, and what is left of who has gone."""

import gc
import itertools
import weakref
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobwire.server import line as line_module
from jobwire.server.line import Line, Place


@dataclass
class Model:
    """The same, the slow way."""

    waiting: list[tuple[int, int, int, str]] = field(default_factory=list)
    served: dict[int, int] = field(default_factory=dict)
    arrivals: int = 0

    def join(self, sharer: str, priority: int) -> Place:
        turns = [
            turn for level, turn, _, who in self.waiting if (-level, who) == (priority, sharer)
        ]
        turn = max(turns, default=self.served.get(priority, -1)) + 1
        self.arrivals += 1
        self.waiting.append((-priority, turn, self.arrivals, sharer))
        self.waiting.sort()
        return -priority, turn, self.arrivals

    def take(self) -> int:
        level, turn, arrival, _ = self.waiting.pop(0)
        self.served[-level] = turn
        self._tidy()
        return arrival

    def leave(self, place: Place) -> None:
        self.waiting = [each for each in self.waiting if each[:3] != place]
        self._tidy()

    def arrived(self) -> list[int]:
        return [place[2] for place in self.waiting]

    def _tidy(self) -> None:
        """With nobody left, turns begin anew."""
        levels = {-place[0] for place in self.waiting}
        self.served = {level: turn for level, turn in self.served.items() if level in levels}


def drained(line: Line[int]) -> list[int]:
    return [line.take() for _ in range(len(line))]


def agree(line: Line[int], model: Model, places: dict[int, Place]) -> None:
    assert len(line) == len(model.waiting)
    assert bool(line) is bool(model.waiting)
    assert line.peek() == (model.waiting[0][2] if model.waiting else None)
    for rank, arrival in enumerate(model.arrived()):
        assert line.rank(places[arrival]) == rank
    for arrival in places.keys() - set(model.arrived()):
        with pytest.raises(KeyError):
            line.rank(places[arrival])
        with pytest.raises(KeyError):
            line.leave(places[arrival])


def play(steps: tuple[tuple[str, str, int], ...]) -> None:
    """Do the steps in both; a ``leave`` is of the n-th who waits."""
    line: Line[int] = Line()
    model = Model()
    places: dict[int, Place] = {}
    for step, sharer, number in steps:
        if step == "join":
            place = line.join(model.arrivals + 1, sharer=sharer, priority=number)
            model.join(sharer, number)  # the turns of an empty line may start anew
            places[place[2]] = place
        elif step == "take" and model.waiting:
            assert line.take() == model.take()
        elif step == "leave" and model.waiting:
            arrival = model.arrived()[number % len(model.waiting)]
            assert line.leave(places[arrival]) == arrival
            model.leave(next(each[:3] for each in model.waiting if each[2] == arrival))
        agree(line, model, places)
    assert drained(line) == model.arrived()


JOINS = [("join", sharer, priority) for sharer in "ab" for priority in (0, 1)]


@pytest.mark.parametrize("length", range(1, 6))
def test_every_short_history_is_as_the_model_says(length: int) -> None:
    for steps in itertools.product([*JOINS, ("take", "", 0), ("leave", "", 1)], repeat=length):
        play(steps)


steps = st.one_of(
    st.tuples(st.just("join"), st.sampled_from("abc"), st.integers(-1, 1)),
    st.tuples(st.just("take"), st.just(""), st.just(0)),
    st.tuples(st.just("leave"), st.just(""), st.integers(0, 20)),
)


@pytest.mark.parametrize("trim", [0, 3, 1024])
@given(st.lists(steps, max_size=60))
def test_long_histories_are_as_the_model_says(
    trim: int, history: list[tuple[str, str, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_module, "_TRIM", trim)
        play(tuple(history))


def test_places_stay_right_over_many_trims() -> None:
    line: Line[int] = Line()
    places = [line.join(number, sharer="a") for number in range(5000)]
    for taken in range(4999):
        assert line.take() == taken
        assert line.rank(places[taken + 1]) == 0
        assert line.rank(places[-1]) == 4998 - taken
        with pytest.raises(KeyError):
            line.rank(places[taken])


def test_nobody_is_next_in_an_empty_line() -> None:
    line: Line[int] = Line()
    assert line.peek() is None
    with pytest.raises(IndexError):
        line.take()
    place = line.join(1, sharer="a")
    assert line.leave(place) == 1
    assert line.peek() is None
    with pytest.raises(IndexError):
        line.take()


# -- fairness ---------------------------------------------------------------------


joins_and_takes = st.lists(
    st.one_of(st.sampled_from("abcd"), st.none()),  # who joins; None: the next is taken
    min_size=5,
    max_size=80,
)


@settings(max_examples=300)
@given(joins_and_takes)
def test_who_joins_with_one_job_waits_for_two_of_each_other(history: list[str | None]) -> None:
    line: Line[str] = Line()
    waiting: Counter[str] = Counter()
    ahead: dict[str, Counter[str]] = {}  # of those whose only job waits: what went before it
    for sharer in [*history, *[None] * len(history)]:
        if sharer is not None:
            if waiting[sharer] == 0:
                ahead[sharer] = Counter()
            line.join(sharer, sharer=sharer)
            waiting[sharer] += 1
        elif line:
            taken = line.take()
            waiting[taken] -= 1
            ahead.pop(taken, None)
            for others in ahead.values():
                others[taken] += 1
                assert others[taken] <= 2


def test_jobs_of_many_take_turns() -> None:
    line: Line[str] = Line()
    for sharer in "abc":
        for number in range(3):
            line.join(f"{sharer}{number}", sharer=sharer)
    taken = [line.take() for _ in range(4)]
    line.join("d0", sharer="d")
    taken += [line.take() for _ in range(len(line))]
    assert taken == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2", "d0"]


def test_newcomers_without_end_keep_nobody_waiting() -> None:
    line: Line[str] = Line()
    for number in range(3):
        line.join(f"old {number}", sharer="old")
    taken = []
    for number in range(20):
        line.join(f"new {number}", sharer=f"new {number}")
        taken.append(line.take())
    assert {"old 0", "old 1", "old 2"} <= set(taken)


def test_higher_priority_goes_first_whoever_it_is() -> None:
    line: Line[str] = Line()
    line.join("low", sharer="a", priority=-5)
    line.join("usual", sharer="b")
    for number in range(3):
        line.join(f"high {number}", sharer="c", priority=7)
    assert [line.take() for _ in range(5)] == ["high 0", "high 1", "high 2", "usual", "low"]


def test_who_always_has_a_job_in_the_line_takes_turns_too() -> None:
    line: Line[str] = Line()
    line.join("b0", sharer="b")
    line.join("b1", sharer="b")
    line.join("a", sharer="a")
    taken = []
    for _ in range(20):
        taken.append(line.take())
        if taken[-1] == "a":
            line.join("a", sharer="a")
    assert "b1" in taken


def test_jobs_that_left_do_not_count_for_turns() -> None:
    line: Line[str] = Line()
    places = [line.join(f"a{number}", sharer="a") for number in range(100)]
    for place in places[1:]:
        line.leave(place)
    for number in range(10):
        line.join(f"b{number}", sharer="b")
    line.join("a again", sharer="a")
    taken = [line.take() for _ in range(len(line))]
    assert taken.index("a again") <= 4


# -- what stays --------------------------------------------------------------------


class Item:
    pass


def kept(line: Line[Item]) -> int:
    """How much a line holds in its tables."""
    levels = line._levels.values()
    return len(line._entries) + sum(1 + len(level._turns) for level in levels)


@pytest.mark.parametrize("sharers", [30, 20_000])
def test_tables_stay_small_while_the_line_never_is_empty(sharers: int) -> None:
    line: Line[Item] = Line()
    for number in range(20):
        line.join(Item(), sharer=f"first {number}", priority=number % 3)
    most = 0
    for number in range(20_000):
        line.join(Item(), sharer=f"sharer {number % sharers}", priority=number % 3)
        line.take()
        most = max(most, kept(line))
    assert most <= 1024 + 500


def test_tables_are_empty_after_all_left() -> None:
    line: Line[Item] = Line()
    for _ in range(3):
        places = [line.join(Item(), sharer=f"{n % 7}", priority=n % 3) for n in range(500)]
        for place in reversed(places):
            line.leave(place)
        assert kept(line) == 0


def test_tables_stay_small_while_jobs_come_and_leave() -> None:
    line: Line[Item] = Line()
    line.join(Item(), sharer="first")
    for number in range(1000):
        line.leave(line.join(Item(), sharer=f"{number % 7}"))
    assert kept(line) <= 40


def test_taken_item_is_let_go_while_others_wait() -> None:
    line: Line[Item] = Line()
    item = Item()
    gone = weakref.ref(item)
    line.join(item, sharer="a")
    line.join(Item(), sharer="a")
    line.take()
    del item
    gc.collect()
    assert gone() is None


def test_taken_item_is_let_go_when_the_last_leaves() -> None:
    line: Line[Item] = Line()
    item = Item()
    gone = weakref.ref(item)
    line.join(item, sharer="a")
    place = line.join(Item(), sharer="a")
    line.take()
    del item
    line.leave(place)
    gc.collect()
    assert gone() is None


def test_line_that_is_built_again_has_the_same_order() -> None:
    line: Line[str] = Line()
    places: dict[str, Place] = {}
    for who in "aaabbc":
        name = f"{who}{len(places)}"
        places[name] = line.join(name, sharer=who)
    places["high"] = line.join("high", sharer="a", priority=1)
    assert [line.take() for _ in range(2)] == ["high", "a0"]
    waiting = sorted((place, name) for name, place in places.items() if name not in ("high", "a0"))
    again: Line[str] = Line()
    for (priority, turn, _), name in waiting:
        again.rejoin(name, sharer=name[0], priority=-priority, turn=turn)
    first = again.rejoin("first", sharer="x", priority=0, turn=0)
    assert again.rank(first) == 2  # behind those of the same turn
    order = [again.take() for _ in range(len(again))]
    assert order == ["b3", "c5", "first", "a1", "b4", "a2"]
