"""Programs that run in interpreters of their own, as users run them."""

import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

STRICT = ("-X", "dev", "-W", "error")
"""Python says what was not closed, and every warning is an error."""

_PRELUDE = "import logging; logging.getLogger('asyncio').setLevel(logging.ERROR)\n"
"""Or asyncio, which -X dev has talk, reports what takes 0.1 s on a busy machine."""

INTERRUPT = """
import _thread, signal, sys, threading, time

def interrupt_once_blocked(*names):
    # Ctrl-C for the main thread, as soon as it waits within these functions.
    main = threading.main_thread().ident
    def watch():
        while True:
            frame, wanted = sys._current_frames()[main], list(names)
            while frame is not None and wanted:
                if frame.f_code.co_name == wanted[-1]:
                    wanted.pop()
                frame = frame.f_back
            if not wanted:
                signal.pthread_kill(main, signal.SIGINT)
                return
            time.sleep(0.01)
    threading.Thread(target=watch, daemon=True).start()
"""
"""For programs that interrupt themselves. Innermost function last."""


def run(
    code: str, *arguments: str, options: Sequence[str] = STRICT, timeout: float = 30
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; fail if it takes longer than ``timeout`` seconds."""
    return subprocess.run(
        [sys.executable, *options, "-c", _PRELUDE + textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def run_file(
    path: Path, code: str, *arguments: str, options: Sequence[str] = STRICT, timeout: float = 30
) -> subprocess.CompletedProcess[str]:
    """Run a program that others import, as the children of multiprocessing do."""
    path.write_text(_PRELUDE + textwrap.dedent(code))
    return subprocess.run(
        [sys.executable, *options, str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


class Waiting:
    """A program that has printed ``ready`` and ends when it may."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def end(self, timeout: float = 30) -> tuple[str, str, int, float]:
        """Let it end; return what it printed and said, its status, and the seconds it took."""
        started = time.monotonic()
        out, err = self._process.communicate("\n", timeout=timeout)
        return out, err, self._process.returncode, time.monotonic() - started


@contextmanager
def waiting(code: str, *arguments: str, options: Sequence[str] = STRICT) -> Iterator[Waiting]:
    """Start a program, and have it wait for `Waiting.end` once its own code has run."""
    code = _PRELUDE + textwrap.dedent(code) + "\nprint('ready', flush=True)\nsys.stdin.readline()\n"
    with subprocess.Popen(
        [sys.executable, *options, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield Waiting(process)
        finally:
            process.kill()
