"""A pytest plugin that writes what a run of the matrix found: scenarios by version.

``PYTHONPATH=tests pytest -p matrix.table --matrix-table FILE -m matrix tests/matrix``
"""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import pytest

HEADINGS = {
    "test_generations": "Calls and jobs",
    "test_components": "Values and files",
}
ABSENT = "\N{EN DASH}"
INTRODUCTION = f"""\
# Servers

What was run with jobwire against real servers, one process for each version. This page
is written by `scripts/matrix-table`, from a run of `tests/matrix`.

✓ works · {ABSENT} the version has no such thing · a number: see below the table · ✗ fails
"""


class Cell(NamedTuple):
    """What one test came to under one version."""

    outcome: str
    reason: str


Row = dict[str, list[Cell]]
ROWS = pytest.StashKey[dict[tuple[str, str], Row]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--matrix-table", metavar="FILE", type=Path, help="write a table to FILE")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    version = item.callspec.params.get("generation") if hasattr(item, "callspec") else None
    if (
        isinstance(item, pytest.Function)
        and version
        and (report.when == "call" or not report.passed)
    ):
        row = item.config.stash[ROWS].setdefault((item.module.__name__, item.originalname), {})
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        row.setdefault(version, []).append(Cell(report.outcome, reason.removeprefix("Skipped: ")))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    target = session.config.getoption("--matrix-table")
    rows = session.config.stash[ROWS]
    if target is not None and rows:
        target.write_text(render(rows), encoding="utf-8")


def render(rows: dict[tuple[str, str], Row]) -> str:
    versions = sorted(
        {version for row in rows.values() for version in row},
        key=lambda version: [int(part) for part in version.split(".")],
    )
    notes: list[str] = []
    lines = [INTRODUCTION]
    for module in dict.fromkeys(module for module, _ in rows):
        lines += [
            f"## {HEADINGS.get(module, module)}\n",
            f"| | {' | '.join(versions)} |",
            f"|---|{'---|' * len(versions)}",
        ]
        for (owner, name), row in rows.items():
            if owner == module:
                title = name.removeprefix("test_").replace("_", " ")
                cells = [show(row.get(version, []), notes) for version in versions]
                lines.append(f"| {title} | {' | '.join(cells)} |")
        lines.append("")
    lines += [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    return "\n".join(lines).rstrip() + "\n"


def show(cells: list[Cell], notes: list[str]) -> str:
    if any(cell.outcome == "failed" for cell in cells):
        return "✗"
    numbers = []
    for cell in cells:
        if cell.outcome == "skipped" and not re.match(r"(since|before) \d", cell.reason):
            if cell.reason not in notes:
                notes.append(cell.reason)
            numbers.append(str(notes.index(cell.reason) + 1))
    mark = "✓" if any(cell.outcome == "passed" for cell in cells) else "" if numbers else ABSENT
    return " ".join([mark, *dict.fromkeys(numbers)]).strip()
