"""One isolated environment for the server and for each client, built when first needed."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ("CACHE", "ROOT", "BuildError", "Environment", "existing", "node", "python")

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "bench"

BUILD_LIMIT = 900.0
"""Seconds that building one environment may take."""


class BuildError(Exception):
    """An environment cannot be built; says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A place to run scripts in.

    Attributes:
        home: Its directory.
        interpreter: What runs a script there.
        versions: What is installed, as far as it matters.
    """

    home: Path
    interpreter: str
    versions: dict[str, str]


def python(
    name: str, requirements: Sequence[str], report: Sequence[str], *, rebuild: bool = False
) -> Environment:
    """Return a virtual environment with the newest of each requirement.

    Args:
        name: Of the environment.
        requirements: What to install, as pip takes it.
        report: The distributions whose versions matter.
        rebuild: Build it anew, whatever is there.

    Raises:
        BuildError: The installer failed.
    """
    home = CACHE / name
    folder, suffix = ("Scripts", ".exe") if sys.platform == "win32" else ("bin", "")
    interpreter = str(home / folder / f"python{suffix}")
    if _is_missing(home, [sys.version, *requirements]) or rebuild:
        uv = _find_uv()
        shutil.rmtree(home, ignore_errors=True)
        if uv:
            _build([*uv, "venv", "--quiet", "--python", sys.executable, str(home)])
            install = [*uv, "pip", "install", "--quiet", "--python", interpreter]
        else:
            _build([sys.executable, "-m", "venv", str(home)])
            install = [interpreter, "-m", "pip", "install", "--quiet"]
        _build([*install, *requirements])
        _mark_complete(home, [sys.version, *requirements])
    return existing(interpreter, report)


def existing(interpreter: str, report: Sequence[str]) -> Environment:
    """Return an environment that is there already.

    Raises:
        BuildError: One of the distributions to report is not installed in it.
    """
    code = (
        "import json, platform, sys; from importlib.metadata import version; "
        "print(json.dumps({'python': platform.python_version(),"
        " **{name: version(name) for name in sys.argv[1:]}}))"
    )
    versions = json.loads(_build([interpreter, "-c", code, *report]))
    return Environment(Path(interpreter).parents[1], interpreter, versions)


def node(name: str, package: str, *, rebuild: bool = False) -> Environment:
    """Return a node project with the newest of one package.

    Raises:
        BuildError: There is no node or npm, or npm failed.
    """
    interpreter, npm = shutil.which("node"), shutil.which("npm")
    if interpreter is None or npm is None:
        raise BuildError("node and npm are not installed")
    home = CACHE / name
    if _is_missing(home, [package]) or rebuild:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        (home / "package.json").write_text('{"private": true, "type": "module"}\n')
        options = ["--no-audit", "--no-fund", "--loglevel=error"]
        _build([npm, "install", *options, package], cwd=home)
        _mark_complete(home, [package])
    manifest = home / "node_modules" / package / "package.json"
    version = json.loads(manifest.read_text())["version"]
    versions = {"node": _build([interpreter, "--version"]).strip(), package: version}
    return Environment(home, interpreter, versions)


def _find_uv() -> list[str] | None:
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv")
    return [found] if found else None


def _is_missing(home: Path, contents: Sequence[str]) -> bool:
    mark = home / "complete.json"
    return not mark.exists() or json.loads(mark.read_text()) != list(contents)


def _mark_complete(home: Path, contents: Sequence[str]) -> None:
    (home / "complete.json").write_text(json.dumps(list(contents)))


def _build(command: Sequence[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=cwd, check=True, capture_output=True, text=True, timeout=BUILD_LIMIT
        )
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{' '.join(command)} failed:\n{error.stderr or error.stdout}") from None
    except subprocess.TimeoutExpired:
        raise BuildError(f"{' '.join(command)} did not end within {BUILD_LIMIT:.0f} s") from None
    return done.stdout
