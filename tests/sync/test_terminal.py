"""A job on a terminal, as it is seen there, and as plain lines elsewhere."""

import fcntl
import io
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyte
import pytest

import jobwire
from jobwire import Client, OutputUpdate, ProgressUnit, Status, StatusUpdate, Update
from jobwire.sync.terminal import Lines, Live, make_display

SCRIPT = """
import sys, jobwire
client = jobwire.Client(sys.argv[1])
"""


class Screen:
    """A terminal with a program's standard error on it."""

    def __init__(self, columns: int = 80, lines: int = 12) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._leader, self.follower = pty.openpty()
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self.follower, termios.TIOCSWINSZ, size)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def __iter__(self) -> Iterator[list[str]]:
        """What is to be seen, after each piece that the program writes."""
        while True:
            try:
                written = os.read(self._leader, 65536)
            except OSError:  # nobody has it open any more
                return
            self._stream.feed(written)
            yield self.lines

    def close(self) -> None:
        os.close(self._leader)


@contextmanager
def program(
    code: str, url: str, screen: Screen, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT + code, url],
        stdout=subprocess.PIPE,
        stderr=screen.follower,
        text=True,
        env={**inherited, "TERM": "xterm", **environment},
    )
    os.close(screen.follower)
    with process:
        try:
            yield process
        finally:
            process.kill()
            screen.close()


def test_progress_in_place_and_logs_above_it(url: str) -> None:
    code = """
print(client.submit("x", api_name="/logs").progress_bar())
print(client.submit(4, api_name="/steps").progress_bar())
"""
    screen = Screen()
    with program(code, url, screen) as process:
        seen = list(screen)
        assert process.communicate()[0] == "x\ndone\n"
    above = ["info: info x", "warning: warning x"]
    bars = [f"  {'━' * n}{'─' * (30 - n)}" for n in (0, 8, 15, 22)]
    drawn = [[*above, "running", f"{bar} working: {i}/4 parts"] for i, bar in enumerate(bars)]
    assert sum(lines in seen for lines in drawn) >= 2  # of what came together, one is drawn
    assert screen.lines == above  # the rest is erased
    assert not screen.screen.cursor.hidden


def test_place_in_the_queue(url: str) -> None:
    code = """
first, second, third = (client.submit(0.6, name, api_name="/slow") for name in "abc")
first.event_id or next(first.updates())
print(third.progress_bar())
"""
    screen = Screen()
    with program(code, url, screen) as process:
        seen = [lines[0] for lines in screen if lines]
        assert process.communicate()[0].startswith("slept")
    assert any(line.startswith("queued, ") and "waiting" in line for line in seen)
    assert screen.lines == []


def test_failure_is_raised(url: str) -> None:
    code = """
try:
    client.submit("titled", api_name="/fail").progress_bar()
except jobwire.AppError as error:
    print(error.title)
"""
    screen = Screen()
    with program(code, url, screen) as process:
        assert list(screen)
        assert process.communicate()[0] == "Oops\n"


def test_ctrl_c_leaves_the_job_alone(url: str) -> None:
    code = """
job = client.submit(1000, 0.05, api_name="/count")
try:
    job.progress_bar()
except KeyboardInterrupt:
    print(job.done(), job.cancel())
"""
    screen = Screen()
    with program(code, url, screen) as process:
        for lines in screen:
            if lines and lines[0].startswith("running"):
                process.send_signal(signal.SIGINT)
                break
        assert list(screen)
        assert process.communicate()[0] == "False True\n"
    assert not screen.screen.cursor.hidden


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"COLUMNS": "7"}])
def test_terminal_that_can_do_nothing_gets_lines(url: str, environment: dict[str, str]) -> None:
    screen = Screen()
    code = 'print(client.submit(2, api_name="/steps").progress_bar())'
    with program(code, url, screen, **environment) as process:
        raw = [lines for lines in screen if lines][-1]
        assert process.communicate()[0] == "done\n"
    assert raw[-2:] == ["running, working: 1/2 parts", "finished"]


def test_redirected(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    assert client.submit(3, api_name="/steps").progress_bar() == "done"
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == ["running, working: 2/3 parts", "finished"]
    with pytest.raises(jobwire.AppError):
        client.submit("titled", api_name="/fail").progress_bar()
    assert capsys.readouterr().err.splitlines()[-1] == "failed"


def test_without_standard_error(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert client.submit("x", api_name="/echo").progress_bar() == "x"


def status(code: Status, **fields: Any) -> StatusUpdate:
    return replace(StatusUpdate(code, None, None, None, None, None, None), **fields)


def at(index: float, length: float | None = 100, desc: str = "read") -> StatusUpdate:
    return status(Status.PROGRESS, progress_data=[ProgressUnit(index, length, "rows", None, desc)])


def lines_of(updates: Iterable[Update], clock: Callable[[], float] = lambda: 0.0) -> list[str]:
    out = io.StringIO()
    with Lines(out, clock=clock) as display:
        for update in updates:
            display.show([update])
    return out.getvalue().splitlines()


def test_lines_are_few() -> None:
    steps = [at(index) for index in range(100)]
    assert lines_of(steps) == [f"running, read: {i}/100 rows" for i in range(0, 100, 10)]
    assert len(lines_of([*steps, *(at(i, desc="write") for i in range(100))])) == 20
    unknown = [at(index, None) for index in range(100)]
    assert lines_of(unknown) == ["running, read: 0 rows"]
    waiting = [status(Status.IN_QUEUE, rank=rank, queue_size=99) for rank in range(98, -1, -1)]
    assert lines_of(waiting) == ["queued, 98 ahead of 99 waiting"]


def test_lines_come_now_and_then_though_little_changes() -> None:
    seconds = iter(range(100))
    lines = lines_of([at(index, None) for index in range(12)], lambda: next(seconds))
    assert lines == [f"running, read: {i} rows" for i in (0, 5, 10)]


def test_lines_of_logs_and_of_a_job_that_ends() -> None:
    lines = lines_of(
        [
            status(Status.LOG, log=("twice", "info")),
            status(Status.LOG, log=("twice", "info")),
            OutputUpdate("never told"),
            status(Status.CANCELLED, success=False),
        ]
    )
    assert lines == ["info: twice", "info: twice", "cancelled"]


class Terminal(io.StringIO):
    encoding = "utf-8"


def test_foreign_text_moves_no_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    evil = "a\x1b[2Jb\r\n\tc\x9b31m"
    screen = pyte.Screen(40, 8)
    stream = pyte.Stream(screen)
    terminal = Terminal()
    with Live(terminal, outputs=True) as display:
        display.show(
            [
                status(Status.LOG, log=(evil, evil)),
                OutputUpdate(evil),
                OutputUpdate("宽" * 40),
                at(1, 0, desc=evil),
            ]
        )
    stream.feed(terminal.getvalue().replace("\n", "\r\n"))
    shown = [line.rstrip() for line in screen.display]
    assert shown[:2] == ["a?[2Jb c?31m: a?[2Jb c?31m", "a?[2Jb c?31m"]
    assert shown[2].replace(" ", "").startswith("宽宽宽")
    assert shown[2].endswith("...")
    assert shown[3:] == [""] * 5


def test_bars_of_all_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    terminal.encoding = "ascii"
    units = [ProgressUnit(progress=0.5), ProgressUnit(7, None, "rows", None, "x"), ProgressUnit()]
    many = [ProgressUnit(progress=2.0)] * 20
    with Live(terminal) as display:
        display.show([status(Status.PROGRESS, progress_data=[*units, *many])])
        drawn = terminal.getvalue().split("\x1b[J")[-1].splitlines()
    assert drawn[:4] == ["running", f"  {'#' * 10}{'-' * 9} 50%", "  x: 7 rows", "  "]
    assert drawn[4:] == [f"  {'#' * 19} 200%"] * 5


def test_display_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_display(io.StringIO()), Lines)
    terminal = Terminal()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    assert isinstance(make_display(terminal), Live)
    monkeypatch.delenv("COLUMNS")  # and it has no file descriptor to ask
    assert isinstance(make_display(terminal), Lines)
