"""What became of each job of a run, held against what must have become of it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from soak.witness import Witness

Kind = Literal["echo", "slow", "count", "fail", "shout"]

RESULT = "result"
APP_ERROR = "AppError"
HUNG = "hung"
LATE = ("DownloadError",)
"""How a job may end that the server has told the end of: its files are fetched after that."""


@dataclass
class Entry:
    """One job.

    Attributes:
        tag: Its name, which no other has.
        kind: The endpoint.
        expected: The outputs that it gives if nothing happens to it.
        outcome: `RESULT`, the name of an error, or `HUNG`.
        typed: The error, if there is one, is one that the client documents.
        outputs: Those that it had when it had ended.
        ends: How often it told that it ended.
        event_id: The server's id.
        cancelled: It was cancelled, or that was tried.
        seconds: How long it took.
    """

    tag: str
    kind: Kind
    expected: list[str]
    outcome: str = ""
    typed: bool = True
    outputs: list[str] = field(default_factory=list)
    ends: int | None = None
    event_id: str | None = None
    cancelled: bool = False
    seconds: float = 0.0


class Ledger:
    """Every job of a run."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def faults(self, witness: Witness, ran: Mapping[str, int]) -> list[str]:
        """Return what went wrong that is the client's fault, a line each; empty is well.

        Args:
            witness: What the client was sent.
            ran: How often the server ran each job, by tag.
        """
        return [
            f"{entry.tag} {entry.kind} ({entry.outcome}, {entry.event_id}): {fault}"
            for entry in self.entries
            for fault in self._faults_of(entry, witness, ran.get(entry.tag, 0))
        ]

    def _faults_of(self, entry: Entry, witness: Witness, ran: int) -> list[str]:
        faults = []
        if entry.outcome == HUNG:
            faults.append("hung: it did not end")
        if entry.ends not in (None, 1):
            faults.append(f"ends: it ended {entry.ends} times")
        if not entry.typed:
            faults.append("untyped: an error that nobody can expect")
        if entry.outputs != entry.expected[: len(entry.outputs)]:
            faults.append(f"order: outputs {entry.outputs}, not {entry.expected}")
        if entry.outcome == RESULT and entry.outputs != entry.expected:
            faults.append(f"short: only {len(entry.outputs)} of {len(entry.expected)} outputs")
        if entry.outcome == APP_ERROR and entry.kind != "fail":
            faults.append("wrong: the function did not fail")
        if entry.outcome == RESULT and ran != 1:
            faults.append(f"doubled: the server ran it {ran} times")
        if entry.outcome == "ConnectError" and entry.event_id is None and ran:
            faults.append("wrong: it is said not to have been sent, but it ran")
        if entry.event_id is not None and not entry.cancelled:
            faults += self._lost(entry, witness)
        return faults

    def _lost(self, entry: Entry, witness: Witness) -> list[str]:
        assert entry.event_id is not None
        faults = []
        if entry.event_id in witness.ends:
            kept = (APP_ERROR if entry.kind == "fail" else RESULT,)
            if entry.outcome not in kept + (LATE if entry.kind == "shout" else ()):
                faults.append("lost: its end was delivered")
        if entry.kind == "count" and len(entry.outputs) < witness.outputs[entry.event_id]:
            faults.append(
                f"lost: {witness.outputs[entry.event_id]} outputs were delivered, "
                f"{len(entry.outputs)} are there"
            )
        return faults

    def summary(self) -> str:
        """Return a table of the outcomes, by endpoint."""
        kinds = sorted({entry.kind for entry in self.entries})
        counts = Counter((entry.outcome, entry.kind) for entry in self.entries)
        totals = Counter(entry.outcome for entry in self.entries)
        lines = [f"{'outcome':<28}" + "".join(f"{kind:>8}" for kind in kinds) + f"{'all':>9}"]
        for outcome, total in totals.most_common():
            cells = "".join(f"{counts[outcome, kind]:>8}" for kind in kinds)
            lines.append(f"{outcome:<28}{cells}{total:>9}")
        cells = "".join(f"{sum(e.kind == kind for e in self.entries):>8}" for kind in kinds)
        lines.append(f"{'all':<28}{cells}{len(self.entries):>9}")
        times = sorted(entry.seconds for entry in self.entries) or [0.0]
        lines.append(
            f"seconds to an outcome: median {times[len(times) // 2]:.2f}, "
            f"99 of 100 within {times[len(times) * 99 // 100]:.2f}, longest {times[-1]:.2f}"
        )
        return "\n".join(lines)
