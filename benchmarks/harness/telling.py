"""What is said while measuring, and about the circumstances."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from harness.environments import ROOT, Environment
from harness.processes import Outcome

__all__ = ("circumstances", "commit", "load", "say", "say_outcome")


def circumstances(
    places: Mapping[str, Environment], *, at: str, load_before: str, started: float
) -> str:
    """Return a list of what the numbers were taken with, for the end of a report.

    Args:
        places: By name, the environments.
        at: The commit of jobwire.
        load_before: The load average at the beginning.
        started: When that was, on the monotonic clock.
    """
    now = datetime.now().astimezone()
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    minutes = (time.monotonic() - started) / 60
    versions = [
        f"{place}: " + ", ".join(f"{name} {version}" for name, version in found.versions.items())
        for place, found in places.items()
    ]
    lines = [
        f"command: `{command}`, {minutes:.0f} minutes, until {now:%Y-%m-%d %H:%M %Z}",
        f"jobwire at {at}",
        *versions,
        f"machine: {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs; "
        f"load average {load_before} before, {load()} after",
    ]
    return "\n".join(f"- {line}" for line in lines) + "\n"


def commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = " with changes in src" if git("status", "--porcelain", "--", "src") else ""
        return git("rev-parse", "--short=12", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return "an unknown commit"


def load() -> str:
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


def say_outcome(name: str, number: int, peer: str, outcome: Outcome) -> None:
    text = outcome.problem
    if outcome.values is not None:
        text = f"{outcome.values['process_seconds']:.2f} s"
    say(f"{name} {number}: {peer}: {text}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
