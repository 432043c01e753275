"""Modules that are loaded from a file, rather than imported by name.

Worker processes load the same ones, since they cannot be sure to find them by name.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

__all__ = ("FILES", "load_file_as")

FILES: dict[str, str] = {}
"""By name: the files of the modules that were loaded so."""


def load_file_as(name: str, path: Path) -> ModuleType:
    """Load a file as the module of a name. An error in the file comes as it is."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # noqa: S101
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    FILES[name] = str(path)
    return module
