"""What a function uses while it runs: progress, log lines, the token of its end."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from tqdm import tqdm  # type: ignore[import-untyped]

from jobwire.exceptions import JobCancelledError
from jobwire.server.context import Bar, CancelToken, Level, Progress, current_run, log
from jobwire.types import ProgressUnit

Units = list[ProgressUnit]


class Recorder:
    """A run that keeps all that it is told."""

    def __init__(self) -> None:
        self.stopped = False
        self.track_tqdm = False
        self.stop_event: threading.Event | None = None
        self.bars: list[Bar[Any]] = []
        self.told: list[Units] = []
        self.lines: list[tuple[str, Level, str, float | None, bool]] = []

    def tell_progress(self, units: Units) -> None:
        self.told.append(units)

    def tell_log(
        self, message: str, level: Level, title: str, duration: float | None, visible: bool
    ) -> None:
        self.lines.append((message, level, title, duration, visible))

    def stop(self) -> None:
        self.stopped = True
        if self.stop_event is not None:
            self.stop_event.set()

    @property
    def steps(self) -> list[list[float | None]]:
        """Of each report, the index of each bar."""
        return [[unit.index for unit in units] for units in self.told]


@pytest.fixture
def run() -> Iterator[Recorder]:
    run = Recorder()
    token = current_run.set(run)
    yield run
    current_run.reset(token)


@pytest.fixture
def progress(run: Recorder) -> Progress:
    return Progress().bound(run)


# -- called ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "unit"),
    [
        ((0.25,), ProgressUnit(unit="steps", progress=0.25)),
        ((0.5, "half"), ProgressUnit(unit="steps", progress=0.5, desc="half")),
        ((0.5, "half", 8, "rows"), ProgressUnit(None, 8, "rows", 0.5, "half")),
        (((3, 10),), ProgressUnit(3, 10, "steps")),
        (((3, None), "reading"), ProgressUnit(3, None, "steps", None, "reading")),
        (((3, 10), "reading", 99, "rows"), ProgressUnit(3, 10, "rows", None, "reading")),
        ((None, "thinking"), ProgressUnit(unit="steps", desc="thinking")),
    ],
)
def test_call_is_one_unit(
    run: Recorder, progress: Progress, args: tuple[Any, ...], unit: ProgressUnit
) -> None:
    progress(*args)
    assert run.told == [[unit]]


def test_call_comes_after_the_bars(run: Recorder, progress: Progress) -> None:
    for _ in progress.track([1], desc="outer"):
        progress(0.5, desc="inner")
    assert run.told == [
        [ProgressUnit(0, 1, "steps", None, "outer")],
        [
            ProgressUnit(0, 1, "steps", None, "outer"),
            ProgressUnit(None, None, "steps", 0.5, "inner"),
        ],
        [ProgressUnit(1, 1, "steps", None, "outer")],
    ]


# -- bars -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["track", "tqdm"])
def test_bar_follows_an_iteration(run: Recorder, progress: Progress, name: str) -> None:
    items = list(getattr(progress, name)("abc", desc="letters", unit="letter"))
    assert items == ["a", "b", "c"]
    assert run.told == [[ProgressUnit(n, 3, "letter", None, "letters")] for n in range(4)]
    assert run.bars == []


def test_length_is_asked_for_if_there_is_one(progress: Progress) -> None:
    assert progress.track([1, 2]).total == 2
    assert progress.track([1, 2], total=7).total == 7
    assert progress.track(iter([1, 2])).total is None
    assert progress.track(None).total is None
    assert len(progress.track(range(5))) == 5
    assert len(progress.track(iter([]))) == 0


def test_nothing_to_iterate_over(run: Recorder, progress: Progress) -> None:
    assert list(progress.track([])) == []
    assert run.told == [[ProgressUnit(0, 0, "steps")]]
    assert run.bars == []


def test_bars_nest(run: Recorder, progress: Progress) -> None:
    for _ in progress.track("ab"):
        for _ in progress.track("xy"):
            pass
    assert run.steps == [
        [0],
        [0, 0],
        [0, 1],
        [0, 2],
        [1],
        [1, 0],
        [1, 1],
        [1, 2],
        [2],
    ]
    assert run.bars == []


@pytest.mark.parametrize("depth", [1, 2])
def test_bar_that_is_left_early_is_gone(run: Recorder, progress: Progress, depth: int) -> None:
    for _ in progress.track("abc"):
        if depth == 1:
            break
        for _ in progress.track("xyz"):
            break
        assert len(run.bars) == 1
        break
    assert run.bars == []
    progress(1.0)
    assert len(run.told[-1]) == 1


def test_bar_is_gone_after_an_error_inside(run: Recorder, progress: Progress) -> None:
    with pytest.raises(ValueError, match="inside"):  # noqa: PT012
        for _ in progress.track("abc"):
            for _ in progress.track("xyz"):
                raise ValueError("inside")
    assert run.bars == []


def test_bar_is_gone_after_an_error_of_the_iterable(run: Recorder, progress: Progress) -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("of the iterable")

    with pytest.raises(ValueError, match="of the iterable"):
        list(progress.track(failing()))
    assert run.steps == [[0], [1]]
    assert run.bars == []


def test_bar_is_moved_by_hand(run: Recorder, progress: Progress) -> None:
    bar: Bar[None] = progress.track(None, desc="bytes", total=10, unit="B")
    with bar:
        bar.update(4)
        progress.update(5)
        bar.update()
    assert run.told == [[ProgressUnit(n, 10, "B", None, "bytes")] for n in (4, 9, 10)]
    assert run.bars == []
    progress.update()
    assert len(run.told) == 3


def test_update_moves_the_innermost_bar(run: Recorder, progress: Progress) -> None:
    for _ in progress.track("a"):
        with progress.track(None, total=2):
            progress.update()
        progress.update(0.5)
    assert run.steps == [[0], [0, 1], [0.5], [1.5]]


def test_bars_are_closed_in_any_order(run: Recorder, progress: Progress) -> None:
    outer: Bar[None] = progress.track(None)
    inner: Bar[None] = progress.track(None)
    outer.close()
    inner.update()
    assert run.steps == [[1]]
    outer.close()
    inner.close()
    assert run.bars == []


async def letters() -> AsyncIterator[str]:
    for letter in "abc":
        await asyncio.sleep(0)
        yield letter


async def test_bar_follows_an_asynchronous_iteration(run: Recorder, progress: Progress) -> None:
    assert [item async for item in progress.track(letters(), total=3)] == ["a", "b", "c"]
    assert run.told == [[ProgressUnit(n, 3, "steps")] for n in range(4)]
    assert run.bars == []


async def test_asynchronous_bar_is_gone_after_an_error_inside(
    run: Recorder, progress: Progress
) -> None:
    with pytest.raises(ValueError, match="inside"):  # noqa: PT012
        async for _ in progress.track(letters()):
            raise ValueError("inside")
    await asyncio.sleep(0.01)  # the event loop closes what was left
    assert run.bars == []


async def test_asynchronous_bar_that_is_left_early_is_gone(
    run: Recorder, progress: Progress
) -> None:
    async for _ in progress.track(letters()):
        break
    run.told.clear()
    async for _ in progress.track(letters(), total=3):
        await asyncio.sleep(0.01)  # the event loop closes what was left
    assert [units[-1] for units in run.told] == [ProgressUnit(n, 3, "steps") for n in range(4)]
    assert len(run.told[-1]) == 1
    assert run.bars == []


async def test_wrong_kind_of_loop(progress: Progress) -> None:
    with pytest.raises(TypeError, match="async for"):
        list(progress.track(letters()))
    with pytest.raises(TypeError, match="plain `for`"):
        async for _ in progress.track([1]):
            pass
    with pytest.raises(TypeError, match="nothing to iterate"):
        list(progress.track(None))


# -- where ----------------------------------------------------------------------------


async def test_outside_of_a_job_nothing_happens() -> None:
    progress = Progress()
    progress(0.5)
    progress((1, 2))
    progress.update()
    for each in progress.track("abc"):
        assert each
        list(progress.tqdm("xyz"))
    assert [item async for item in progress.track(letters())] == ["a", "b", "c"]
    bar: Bar[None] = progress.track(None)
    with bar:
        bar.update()
    assert not CancelToken().cancelled
    CancelToken().raise_if_cancelled()
    with pytest.raises(RuntimeError, match="belongs to no job"):
        CancelToken().wait(0)


def test_progress_of_a_default_finds_the_job_of_its_context(run: Recorder) -> None:
    progress = Progress()
    progress(0.5)
    list(progress.track("ab"))
    assert run.steps == [[None], [0], [1], [2]]


def test_progress_of_the_job_works_in_any_thread(run: Recorder, progress: Progress) -> None:
    def work() -> None:
        assert current_run.get() is None
        progress(0.5)
        list(progress.track("ab"))
        Progress()(0.75)  # of no job, here

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(10)
    assert run.steps == [[None], [0], [1], [2]]


def test_jobs_do_not_see_the_progress_of_each_other() -> None:
    first, second = Recorder(), Recorder()
    progress = Progress()

    def work(run: Recorder, total: int) -> None:
        current_run.set(run)
        for _ in progress.track(range(total)):
            barrier.wait(10)

    barrier = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(copy_context().run, work, run, 50) for run in (first, second)]
        for future in futures:
            future.result(10)
    for run in (first, second):
        assert run.told == [[ProgressUnit(n, 50, "steps")] for n in range(51)]


def test_each_call_raises_once_the_job_is_over(run: Recorder, progress: Progress) -> None:
    items = iter(progress.track("abc"))
    next(items)
    bar: Bar[None] = progress.track(None)
    run.stop()
    for call in (
        lambda: progress(0.5),
        lambda: progress.update(),
        lambda: bar.update(),
        lambda: list(progress.track("ab")),
        lambda: next(items),
    ):
        with pytest.raises(JobCancelledError):
            call()
    assert run.steps == [[0]]


# -- the library tqdm -------------------------------------------------------------------


def bar_of_tqdm(*args: Any, **options: Any) -> Any:
    return tqdm(*args, mininterval=0, file=io.StringIO(), **options)


@pytest.fixture
def tracking(run: Recorder, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(tqdm, "monitor_interval", 0)  # its thread stays for good
    Progress(track_tqdm=True)
    run.track_tqdm = True
    return run


def test_tqdm_is_tracked(tracking: Recorder) -> None:
    for _ in bar_of_tqdm("abc", desc="letters", unit="letter"):
        pass
    # How often it shows itself is for tqdm to say.
    (first,), (last,) = tracking.told[0], tracking.told[-1]
    assert first == ProgressUnit(0, 3, "letter", None, "letters")
    assert last.length == 3
    indexes = [units[0].index or 0 for units in tracking.told]
    assert indexes == sorted(set(indexes))
    assert tracking.bars == []


def test_bars_of_tqdm_nest_among_ours(tracking: Recorder) -> None:
    for _ in Progress().track("a"):
        for _ in bar_of_tqdm("xy"):
            with bar_of_tqdm(total=5) as inner:
                inner.update(5)
    assert {len(units) for units in tracking.told} == {1, 2, 3}
    assert [0, 0, 5] in tracking.steps
    assert tracking.told[-1] == [ProgressUnit(1, 1, "steps")]
    assert tracking.bars == []


def test_tqdm_that_is_left_early_is_gone(tracking: Recorder) -> None:
    for _ in bar_of_tqdm("abc"):
        break
    assert tracking.bars == []
    with pytest.raises(ValueError, match="inside"):  # noqa: PT012
        for _ in bar_of_tqdm("abc"):
            raise ValueError("inside")
    assert tracking.bars == []


def test_tqdm_is_not_tracked_unless_asked_for(tracking: Recorder) -> None:
    tracking.track_tqdm = False
    shown = io.StringIO()
    assert list(tqdm("abc", mininterval=0, file=shown)) == ["a", "b", "c"]
    assert tracking.told == []
    assert "3/3" in shown.getvalue()


def test_tqdm_outside_of_a_job_is_as_ever(tracking: Recorder) -> None:
    def work() -> str:
        shown = io.StringIO()
        assert list(tqdm("abc", mininterval=0, file=shown)) == ["a", "b", "c"]
        return shown.getvalue()

    with ThreadPoolExecutor(1) as pool:
        assert "3/3" in pool.submit(work).result(10)
    assert tracking.told == []


def test_disabled_tqdm_shows_nothing(tracking: Recorder) -> None:
    assert list(bar_of_tqdm("abc", disable=True)) == ["a", "b", "c"]
    assert tracking.told == []


def test_tqdm_stops_a_job_that_is_over(tracking: Recorder) -> None:
    seen = 0
    with pytest.raises(JobCancelledError):  # noqa: PT012
        for _ in bar_of_tqdm(range(10_000)):
            seen += 1
            if seen == 3:
                tracking.stop()
    assert seen < 10_000
    assert tracking.bars == []


# -- log lines --------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["info", "warning", "error", "success"])
def test_log_line_goes_to_the_caller(
    run: Recorder, caplog: pytest.LogCaptureFixture, level: Level
) -> None:
    caplog.set_level(logging.INFO)
    write = getattr(log, level)
    write("hello")
    write("bye", title="Parting", duration=None, visible=False)
    write(ValueError("text of its own"))
    assert run.lines == [
        ("hello", level, level.capitalize(), 10, True),
        ("bye", level, "Parting", None, False),
        ("text of its own", level, level.capitalize(), 10, True),
    ]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("level", "number"),
    [
        ("info", logging.INFO),
        ("success", logging.INFO),
        ("warning", logging.WARNING),
        ("error", logging.ERROR),
    ],
)
def test_log_line_outside_of_a_job_goes_to_the_log(
    caplog: pytest.LogCaptureFixture, level: str, number: int
) -> None:
    caplog.set_level(logging.INFO)
    getattr(log, level)("100 % done")
    assert caplog.record_tuples == [("jobwire.server", number, "100 % done")]


def test_log_line_of_a_users_thread_goes_to_the_log(
    run: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(log.warning, "lost").result(10)
        pool.submit(copy_context().run, log.warning, "found").result(10)
    assert [record.message for record in caplog.records] == ["lost"]
    assert [line[0] for line in run.lines] == ["found"]


# -- the token ----------------------------------------------------------------------------


def test_token_of_a_running_job(run: Recorder) -> None:
    token = CancelToken(run)
    assert not token.cancelled
    token.raise_if_cancelled()
    assert not token.wait(0)
    assert not token.wait(0.001)


def test_token_of_a_job_that_is_over(run: Recorder) -> None:
    run.stop()
    token = CancelToken(run)
    assert token.cancelled
    assert token.wait()
    with pytest.raises(JobCancelledError):
        token.raise_if_cancelled()


@pytest.mark.parametrize("waiters", [1, 3])
def test_wait_ends_with_the_job(run: Recorder, waiters: int) -> None:
    token = CancelToken(run)
    with ThreadPoolExecutor(waiters) as pool:
        futures = [pool.submit(token.wait, 10) for _ in range(waiters)]
        run.stop()
        assert [future.result(5) for future in futures] == [True] * waiters


def test_stop_is_not_missed_whenever_it_comes() -> None:
    with ThreadPoolExecutor(1) as pool:
        for _ in range(300):
            run = Recorder()
            future = pool.submit(CancelToken(run).wait, 10)
            run.stop()
            assert future.result(5)


def test_two_tokens_of_one_job_hear_of_its_end(run: Recorder) -> None:
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(token.wait, 10) for token in (CancelToken(run), CancelToken(run))]
        run.stop()
        assert [future.result(5) for future in futures] == [True, True]
