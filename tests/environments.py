"""Environments of servers and clients below ``.cache``, made once and kept."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

CACHE = Path(__file__).parents[1] / ".cache"


def made(folder: Path, make: Callable[[Path], None]) -> Path:
    """Have a folder made unless it is complete; other processes that want it wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    done = folder / "complete"
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not done.exists():
            make(folder)
            done.touch()
    return folder


def python_with(folder: Path, *requirements: str) -> Path:
    """Return the Python of an environment that has some packages."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"

    def make(folder: Path) -> None:
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--clear", folder], check=True)
        subprocess.run(
            [*uv, "pip", "install", "--quiet", "--python", python, *requirements], check=True
        )

    made(folder, make)
    return python
