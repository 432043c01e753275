"""What is measured of the client, with whom, how often, and what jobwire is to reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.plans import LOST, P50, P90, Figure, Measure, Plan, Target

__all__ = ("IMPORTS", "MEASURES", "PEERS", "Peer")

BARE = "bare aiohttp"
SYNC = "jobwire Client"
ASYNC = "jobwire AsyncClient"
PYTHON = "gradio_client"
JS = "@gradio/client"


@dataclass(frozen=True, slots=True)
class Peer:
    """A client that takes part.

    Attributes:
        script: In ``peers/``.
        environment: Where it runs.
    """

    script: str
    environment: Literal["jobwire", "gradio_client", "node"]


PEERS = {
    BARE: Peer("bare.py", "jobwire"),
    SYNC: Peer("jobwire_sync.py", "jobwire"),
    ASYNC: Peer("jobwire_async.py", "jobwire"),
    JS: Peer("official_js.mjs", "node"),
    PYTHON: Peer("official_python.py", "gradio_client"),
}

RATE = Figure("jobs/s", lambda values: values["ok"] / values["seconds"])
CPU = Figure(
    "client CPU per job, ms",
    lambda values: 1000 * values["cpu_seconds"] / (values["ok"] + sum(values["lost"].values())),
    digits=2,
)
IN_FLIGHT = Figure("jobs in flight", lambda values: values["accepted"], digits=0, compared=False)
THREADS = Figure(
    "threads more than before",
    lambda values: values["during"] - values["before"],
    digits=0,
    compared=False,
)
PEAK = Figure("growth at the peak, MB", lambda values: values["peak_growth"] / 1e6, compared=False)
HELD = Figure(
    "growth while the job is held, MB", lambda values: values["held_growth"] / 1e6, compared=False
)
START = Figure("wall time, ms", lambda values: 1000 * values["process_seconds"])
IMPORT = Figure(START.name, START.read, compared=False)
IMPORT_NET = Figure(
    "without the interpreter's own, ms",
    lambda values: 1000 * values["net_seconds"],
    compared=False,
)

BURST_LIMIT = 90.0
"""Seconds that the jobs of a burst have to end; then they are lost."""


def _burst(endpoint: str, concurrency: str) -> Measure:
    return Measure(
        title=f"200 echo jobs at once on one client; the server runs {concurrency} at a time",
        peers={BARE: Plan(20), SYNC: Plan(20), ASYNC: Plan(20), JS: Plan(5), PYTHON: Plan(3)},
        figures=(RATE, CPU, LOST),
        targets=[
            target
            for peer in (SYNC, ASYNC)
            for target in (
                Target(LOST, peer, "total", 0),
                Target(RATE, peer, "ratio", 0.9, at_most=False),
                Target(CPU, peer, "ratio", 1.5),
            )
        ],
        kind="burst",
        arguments={"jobs": 200, "endpoint": endpoint, "limit": BURST_LIMIT},
        limit=BURST_LIMIT + 30,
    )


MEASURES: Mapping[str, Measure] = {
    "latency": Measure(
        title="One echo call at a time, 100 calls after 10 to warm up",
        peers={BARE: Plan(7), SYNC: Plan(7), ASYNC: Plan(7), JS: Plan(7), PYTHON: Plan(3)},
        figures=(P50, P90),
        targets=[Target(P50, SYNC, "ratio", 1.15), Target(P50, ASYNC, "ratio", 1.15)],
        kind="latency",
        arguments={"calls": 100, "warm_up": 10},
    ),
    "burst": _burst("/echo", "1 (Gradio's default)"),
    "burst-wide": _burst("/echo_wide", "40"),
    "threads": Measure(
        title="Threads with many jobs in flight on one client",
        peers={SYNC: Plan(3, {"jobs": 2000}), PYTHON: Plan(3, {"jobs": 40})},
        figures=(IN_FLIGHT, THREADS),
        targets=[
            Target(THREADS, SYNC, "worst", 2),
            Target(IN_FLIGHT, SYNC, "worst", 2000, at_most=False),
        ],
        kind="threads",
        arguments={"limit": 90.0},
    ),
    "memory": Measure(
        title="Memory: a generator yields a text that grows to 8,000 words; only its result is "
        "asked for",
        peers={BARE: Plan(3), SYNC: Plan(3), ASYNC: Plan(3), PYTHON: Plan(3)},
        figures=(PEAK, HELD),
        targets=[Target(PEAK, SYNC, "worst", 15), Target(PEAK, ASYNC, "worst", 15)],
        kind="memory",
        arguments={"outputs": 8000},
    ),
    "import": Measure(
        title="Importing the client, in a new process",
        peers={"python -c pass": Plan(15), SYNC: Plan(15), PYTHON: Plan(15)},
        figures=(IMPORT, IMPORT_NET),
        targets=[Target(IMPORT, SYNC, "median", 100)],
        limit=60.0,
        warm_up=True,
    ),
    "start": Measure(
        title="A new process: import the client, connect, make one call",
        peers={BARE: Plan(7), SYNC: Plan(7), ASYNC: Plan(7), JS: Plan(7), PYTHON: Plan(7)},
        figures=(START,),
        targets=(),
        kind="start",
        limit=60.0,
        warm_up=True,
    ),
}

IMPORTS = {
    "python -c pass": ("jobwire", "pass"),
    # The last statement is not measurable; what it checks is promised.
    SYNC: (
        "jobwire",
        "import jobwire; jobwire.Client; import sys; assert 'aiohttp' not in sys.modules",
    ),
    PYTHON: ("gradio_client", "from gradio_client import Client"),
}
"""By peer: the environment, and the code that is timed. The first is the others' zero."""
