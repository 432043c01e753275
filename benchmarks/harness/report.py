"""Results as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from harness.plans import Figure, Measure, Results, Target

__all__ = ("measure_table", "table", "target_rows", "target_table")


def measure_table(measure: Measure, results: Results, *, kind: str = "client") -> str:
    """Return a table with a row for each peer, a ``kind``, and what went wrong below it."""
    compared = measure.reference in results and len(results) > 1
    header = [kind, "runs"]
    for figure in measure.figures:
        header.append(figure.name)
        if compared and figure.compared:
            header.append(_multiple(measure))
    rows = []
    for peer in results:
        row = [peer, str(sum(outcome is not None for outcome in results[peer]))]
        for figure in measure.figures:
            row.append(_cell(figure, results, peer))
            if compared and figure.compared:
                ratio = _ratio(figure, results, peer, measure.reference)
                row.append("" if ratio is None else f"{ratio:.2f}")
        rows.append(row)
    return "\n".join([table(header, rows), *_problems(results)])


def target_rows(name: str, measure: Measure, results: Results) -> list[list[str]]:
    """Return a row for each target: what, the bound, what was seen, whether it is met."""
    rows = []
    for target in measure.targets:
        if target.peer not in results:
            continue
        seen = _seen(target, results, measure.reference)
        bound = f"{target.bound:g}" + (f" {_multiple(measure)}" if target.basis == "ratio" else "")
        sign = "at most" if target.at_most else "at least"
        if seen is None:
            text, verdict = "nothing", "missed"
        else:
            met = seen <= target.bound if target.at_most else seen >= target.bound
            text = f"{seen:.2f}" if target.basis == "ratio" else f"{seen:.{target.figure.digits}f}"
            verdict = "met" if met and not list(_hung(results, target.peer)) else "missed"
        what = f"{target.figure.name} ({target.basis})"
        rows.append([name, target.peer, what, f"{sign} {bound}", text, verdict])
    return rows


def target_table(rows: Sequence[Sequence[str]], *, kind: str = "client") -> str:
    """Return the targets of all measures as one table."""
    return table(["measure", kind, "figure", "target", "seen", "verdict"], rows)


def _multiple(measure: Measure) -> str:
    return f"x {measure.reference.split()[0]}"


def _seen(target: Target, results: Results, reference: str) -> float | None:
    if target.basis == "ratio":
        return _ratio(target.figure, results, target.peer, reference)
    numbers = [
        number for number in _numbers(target.figure, results, target.peer) if number is not None
    ]
    if not numbers:
        return None
    if target.basis == "total":
        return sum(numbers)
    if target.basis == "worst":
        return max(numbers) if target.at_most else min(numbers)
    return statistics.median(numbers)


def _numbers(figure: Figure, results: Results, peer: str) -> list[float | None]:
    return [
        figure.read(outcome.values) if outcome is not None and outcome.values is not None else None
        for outcome in results[peer]
    ]


def _ratio(figure: Figure, results: Results, peer: str, reference: str) -> float | None:
    """Return how many times the reference's number a peer's is: the median of the rounds.

    A machine that others use is slower in one round than in the next, for everybody.
    """
    if reference not in results:
        return None
    pairs = zip(_numbers(figure, results, peer), _numbers(figure, results, reference), strict=True)
    ratios = [mine / theirs for mine, theirs in pairs if mine is not None and theirs]
    return statistics.median(ratios) if ratios else None


def _cell(figure: Figure, results: Results, peer: str) -> str:
    numbers = [number for number in _numbers(figure, results, peer) if number is not None]
    if not numbers:
        measured = any(outcome is not None and outcome.values for outcome in results[peer])
        return "-" if measured else "none"
    if figure.total:
        return f"{sum(numbers):,.{figure.digits}f}"
    middle, low, high = (
        f"{number:,.{figure.digits}f}"
        for number in (statistics.median(numbers), min(numbers), max(numbers))
    )
    return middle if low == high else f"**{middle}** ({low} to {high})"


def _problems(results: Results) -> Iterator[str]:
    """Yield a line for each thing that went wrong, with how often it did."""
    for peer in results:
        seen: dict[str, int] = {}
        for problem in _hung(results, peer):
            seen[problem] = seen.get(problem, 0) + 1
        for problem, times in seen.items():
            yield f"\n- {peer}: {times} of its runs gave nothing: {problem}"
        jobs: dict[str, int] = {}
        for outcome in results[peer]:
            if outcome is not None and outcome.values is not None:
                for why, count in outcome.values.get("lost", {}).items():
                    jobs[why] = jobs.get(why, 0) + count
        for why, count in jobs.items():
            yield f"\n- {peer}: {count} jobs lost: {why}"


def _hung(results: Results, peer: str) -> Iterator[str]:
    for outcome in results[peer]:
        if outcome is not None and outcome.problem is not None:
            yield outcome.problem


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as wide as its longest cells."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )
