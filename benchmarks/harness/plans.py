"""The words that measures are written in."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.processes import Outcome

__all__ = ("LOST", "P50", "P90", "Figure", "Measure", "Plan", "Results", "Target", "Values")

Values = Mapping[str, Any]
Results = Mapping[str, Sequence[Outcome | None]]
"""By peer: the outcome of each round, None for rounds without this peer."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that is read off the values of one run.

    Attributes:
        name: With its unit, as the heading of a column.
        read: Reads it; None if it was not part of this run.
        digits: Behind the point.
        total: Summed over the runs, where others are given as median and spread.
        compared: Given as a multiple of the reference's too.
    """

    name: str
    read: Callable[[Values], float | None]
    digits: int = 1
    total: bool = False
    compared: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """How one peer takes part in a measure.

    Attributes:
        rounds: How many times it is measured.
        arguments: What is different for it.
        quick: What is different again if it is to be over soon.
    """

    rounds: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """What jobwire is to reach.

    Attributes:
        figure: Which.
        peer: Whose.
        basis: ``ratio``: of the median to the reference's; ``median`` or ``worst`` of the runs;
            or ``total``.
        bound: What it is compared with.
        at_most: It may be smaller, not larger; False the other way round.
    """

    figure: Figure
    peer: str
    basis: Literal["ratio", "median", "worst", "total"]
    bound: float
    at_most: bool = True


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that is measured, in rounds, one peer after the other in each.

    Attributes:
        title: For people.
        peers: Who takes part, in order.
        figures: What is read off.
        targets: What jobwire is to reach.
        kind: The measure as the peers' scripts call it; None for importing, which
            takes neither a script nor a server.
        arguments: For the peers.
        wants: What they are told besides of the server, by name.
        environment: Variables for the server.
        limit: Seconds after which a run counts as hung.
        warm_up: Begin with a round that does not count: it compiles what is imported.
        reference: The peer that others are given as multiples of.
    """

    title: str
    peers: Mapping[str, Plan]
    figures: Sequence[Figure]
    targets: Sequence[Target]
    kind: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    wants: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    limit: float = 120.0
    warm_up: bool = False
    reference: str = "bare aiohttp"

    def rounds(self, at_most: int | None = None) -> range:
        """Return the numbers of the rounds, from 1; 0 is a round that does not count."""
        last = max(plan.rounds for plan in self.peers.values())
        return range(0 if self.warm_up else 1, min(last, at_most or last) + 1)


def _percentile(percent: int) -> Callable[[Values], float]:
    return lambda values: 1000 * statistics.quantiles(values["seconds"], n=100)[percent - 1]


P50 = Figure("p50, ms", _percentile(50), digits=2)
P90 = Figure("p90, ms", _percentile(90), digits=2)
LOST = Figure(
    "jobs lost",
    lambda values: sum(values["lost"].values()),
    digits=0,
    total=True,
    compared=False,
)
