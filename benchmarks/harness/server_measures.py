"""What is measured of servers, which ones, how often, and what jobwire is to reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.plans import LOST, P50, P90, Figure, Measure, Plan, Target, Values

__all__ = ("MEASURES", "PROMISED", "PROMISES", "SERVERS", "Served")

JOBWIRE = "jobwire"
JOBWIRE_LOG = "jobwire with access log"
SQLITE = "jobwire sqlite"
SQLITE_NORMAL = "jobwire sqlite normal"
JOBWIRE_ASYNC = "jobwire async def"
GRADIO = "gradio"
LITSERVE = "LitServe"
FASTAPI = "FastAPI"
FASTAPI_ASYNC = "FastAPI async def"


@dataclass(frozen=True, slots=True)
class Served:
    """A server that takes part.

    Attributes:
        environment: Where it runs.
        command: What its Python runs, in ``servers/``; ``{port}`` stands for the port, and
            ``{store}`` for a file that is its own.
        ready: The path that it answers when it is ready.
        plain: For the load: how it takes the plain request.
    """

    environment: str
    command: Sequence[str]
    ready: str = "/config"
    plain: Mapping[str, str] = field(
        default_factory=lambda: {"path": "/gradio_api/run/plain", "field": "data"}
    )


_SERVE = ["-m", "jobwire", "serve", "jobwire_app:app", "--port", "{port}"]
_JOBWIRE = [*_SERVE, "--store", "memory:"]
_STORE = "sqlite:{store}"
_FASTAPI = ["-m", "uvicorn", "fastapi_app:app", "--port", "{port}", "--no-access-log"]

SERVERS = {
    JOBWIRE: Served("jobwire-server", [*_JOBWIRE, "--no-access-log"]),
    JOBWIRE_LOG: Served("jobwire-server", _JOBWIRE),
    SQLITE: Served("jobwire-server", [*_SERVE, "--no-access-log", "--store", _STORE]),
    SQLITE_NORMAL: Served(
        "jobwire-server",
        [*_SERVE, "--no-access-log", "--store", f"{_STORE}?synchronous=normal"],
    ),
    JOBWIRE_ASYNC: Served(
        "jobwire-server",
        [*_JOBWIRE, "--no-access-log"],
        plain={"path": "/gradio_api/run/plain_async", "field": "data"},
    ),
    GRADIO: Served("server", ["gradio_app.py", "{port}"]),
    LITSERVE: Served(
        "litserve",
        ["litserve_app.py", "{port}"],
        ready="/health",
        plain={"path": "/plain", "field": "text"},
    ),
    FASTAPI: Served(
        "fastapi", _FASTAPI, ready="/openapi.json", plain={"path": "/plain", "field": "text"}
    ),
    FASTAPI_ASYNC: Served(
        "fastapi", _FASTAPI, ready="/openapi.json", plain={"path": "/plain_async", "field": "text"}
    ),
}

PROMISES = [
    ["jobwire", "against the annotations", "in a thread, or the event loop", "waits for a thread"],
    ["gradio", "by its component", "in a thread, or the event loop", "waits for a thread"],
    ["LitServe", "by what the app writes", "in a worker process", "waits in its queue, 30 s"],
    ["FastAPI", "against the annotations", "in a thread, or the event loop", "waits for a thread"],
]
"""Server, how a plain request is checked, where it runs, and what if the server is busy."""

PROMISED = """\
None of them keeps the result: when the connection is lost, so is the answer. jobwire and
gradio have the other way too, which the other measures take: a job that is queued, has a
rank, progress, logs and several outputs, and can be cancelled; a plain request, with
`queue=False`, passes all that by. The events of a job can be had again, and from elsewhere,
only from jobwire. LitServe spreads over processes and devices, batches requests and streams
answers, and as functions run in other processes, they cannot hold up the one that answers,
as they can elsewhere. FastAPI is the least that a typed JSON route costs, and promises
nothing about jobs."""


# -- figures --


def _of_size(size: int, key: str, factor: float = 1.0) -> Callable[[Values], float | None]:
    def read(values: Values) -> float | None:
        found = values["sizes"].get(str(size))
        return None if found is None else factor * found[key]

    return read


def _with_joins(size: int) -> Callable[[Values], float | None]:
    def read(values: Values) -> float | None:
        found = values["sizes"].get(str(size))
        return None if found is None else 1 / (1 / found["join_rate"] + 1 / found["rate"])

    return read


def _size_at(share: float) -> Callable[[Values], float | None]:
    def read(values: Values) -> float | None:
        size: int = values["sizes"][round(share * (len(values["sizes"]) - 1))]
        return size / 1e6 if size else None

    return read


def _store_growth(values: Values) -> float | None:
    before = _size_at(0.4)(values)
    return None if before is None else values["later_size"] / 1e6 / before


def _last_to_first(values: Values) -> float | None:
    sizes = values["sizes"]
    return sizes["10000"]["rate"] / sizes["100"]["rate"] if "10000" in sizes else None


def _at(share: float) -> Callable[[Values], float]:
    return lambda values: _settled(values["rss"], share) / 1e6


def _settled(rss: Sequence[int], share: float) -> float:
    """Return the memory when a share of the jobs was done: the middle of some looks."""
    at = round(share * (len(rss) - 1))
    around = sorted(rss[max(0, at - 2) : at + 3])
    return around[len(around) // 2]


RATES = {
    size: Figure(f"jobs/s, {size:,} at once", _of_size(size, "rate"), digits=0)
    for size in (100, 1600, 10_000)
}
LAST_TO_FIRST = Figure("10,000 / 100", _last_to_first, digits=2, compared=False)
MESSAGES = Figure("messages per job, 400 at once", _of_size(400, "messages"))
JOB_CPU = Figure("server CPU per job (1,600), ms", _of_size(1600, "server_cpu", 1000), digits=3)
CLIENT = Figure(
    "client's use of a core (1,600), %",
    _of_size(1600, "client_share", 100),
    digits=0,
    compared=False,
)
JOINS = Figure("joins/s while held (1,600)", _of_size(1600, "join_rate"), digits=0)

BOTH = [
    Figure(f"jobs/s with the joins, {size:,}", _with_joins(size), digits=0)
    for size in (400, 10_000)
]

OUTPUTS = Figure("outputs/s", lambda values: values["rate"], digits=0)
DELIVERED = Figure(
    "delivered, %", lambda values: 100 * values["delivered"], digits=0, compared=False
)
OUTPUT_CPU = Figure(
    "server CPU per output, ms", lambda values: 1000 * values["server_cpu"], digits=3
)
SHARE = Figure(
    "client's use of a core, %",
    lambda values: 100 * values["client_share"],
    digits=0,
    compared=False,
)
IDLE = Figure("CPU, % of a core", lambda values: 100 * values["server_share"], digits=2)

JOBS = Figure("jobs", lambda values: values["jobs"], digits=0, compared=False)
RSS = [
    Figure(f"MB at {100 * share:.0f} %", _at(share), compared=False)
    for share in (0.05, 0.4, 0.7, 1.0)
]
GROWTH = Figure(
    "growth from 40 to 100 %, MB",
    lambda values: (_settled(values["rss"], 1) - _settled(values["rss"], 0.4)) / 1e6,
    compared=False,
)
GROWTH_PER_JOB = Figure(
    "the same per job, bytes",
    lambda values: (
        (_settled(values["rss"], 1) - _settled(values["rss"], 0.4)) / (0.6 * values["jobs"])
    ),
    digits=0,
    compared=False,
)

LATER = Figure("MB later", lambda values: values["later_rss"] / 1e6, compared=False)
STORE_SIZES = [
    *(
        Figure(f"store at {100 * share:.0f} %, MB", _size_at(share), compared=False)
        for share in (0.4, 1.0)
    ),
    Figure("store later, MB", lambda values: values["later_size"] / 1e6 or None, compared=False),
]
STORE_GROWTH = Figure("store later / at 40 %", _store_growth, digits=2, compared=False)

FIRST = Figure("to the first, ms", lambda values: 1000 * values["first"], compared=False)
MISSED = Figure("events/s", lambda values: values["rate"], digits=0, compared=False)
EVENT_CPU = Figure(
    "server CPU per event, ms",
    lambda values: 1000 * values["server_cpu"],
    digits=4,
    compared=False,
)
QUEUED = Figure("joins/s", lambda values: values["join_rate"], digits=0, compared=False)
READY = Figure("to /health, s", lambda values: values["ready"], digits=2, compared=False)
RESTART = Figure("to a new echo, s", lambda values: values["restart"], digits=2, compared=False)
RESTART_CPU = Figure(
    "server CPU until then, s", lambda values: values["server_cpu"], digits=2, compared=False
)
ENDED = Figure(
    "old jobs completed, %", lambda values: 100 * values["ended"], digits=1, compared=False
)
STORE_SIZE = Figure("store, MB", lambda values: values["size"] / 1e6, compared=False)
RESTARTED_RSS = Figure("MB in memory", lambda values: values["rss"] / 1e6, compared=False)

REQUESTS = Figure("requests/s", lambda values: values["rate"], digits=0)
REQUEST_CPU = Figure(
    "server CPU per request, ms", lambda values: 1000 * values["server_cpu"], digits=3
)


# -- measures --

RESULT_TTL = 5
"""Seconds for which results are kept, if nothing else is said, by `jobwire_app`."""

KEPT_LONG = {"RESULT_TTL": "600"}
"""Where what was done before is to be found, however slow the machine is."""

BURST_LIMIT = 30.0
"""Seconds that the jobs of a burst have to end; then they are lost."""

PATIENCE = 400.0
"""The same for gradio, which needs most of it for 1,600."""


def _bursts(title: str, *, sessions: int, gated: bool, rounds: int) -> Measure:
    sizes = {"sizes": [[100, 5], [400, 3], [1600, 3], [10_000, 1]]}
    few = {"sizes": [[100, 2], [400, 1]], "limit": PATIENCE}
    return Measure(
        title=title,
        peers={
            JOBWIRE: Plan(rounds, sizes),
            SQLITE: Plan(rounds, sizes),
            **({} if gated else {SQLITE_NORMAL: Plan(rounds, sizes)}),
            **({} if gated else {JOBWIRE_LOG: Plan(rounds, sizes)}),
            GRADIO: Plan(1, few),  # 1,600 at once take it more than five minutes
        },
        figures=[
            *RATES.values(),
            LAST_TO_FIRST,
            MESSAGES,
            JOB_CPU,
            CLIENT,
            *([JOINS, *BOTH] if gated else []),
            LOST,
        ],
        targets=[
            *(Target(rate, JOBWIRE, "median", 4000, at_most=False) for rate in RATES.values()),
            *(Target(rate, SQLITE, "median", 2000, at_most=False) for rate in RATES.values()),
            Target(LAST_TO_FIRST, SQLITE, "median", 0.8, at_most=False),
            Target(LAST_TO_FIRST, JOBWIRE, "median", 0.8, at_most=False),
            Target(MESSAGES, JOBWIRE, "worst", 5),
            Target(LOST, JOBWIRE, "total", 0),
        ],
        kind="bursts",
        arguments={"sessions": sessions, "gated": gated, "limit": BURST_LIMIT},
        limit=1.5 * PATIENCE,
        reference=GRADIO,
    )


def _latency(
    title: str,
    *,
    jobwire: Mapping[str, Any],
    gradio: Mapping[str, Any],
    targets: Sequence[Target],
) -> Measure:
    return Measure(
        title=title,
        peers={
            JOBWIRE: Plan(5, jobwire),
            SQLITE: Plan(5, jobwire),
            SQLITE_NORMAL: Plan(5, jobwire),
            GRADIO: Plan(3, gradio),
        },
        figures=(P50, P90, LOST),
        targets=targets,
        kind="latency",
        reference=GRADIO,
    )


def _resume(title: str, arguments: Mapping[str, Any], wants: Sequence[str] = ()) -> Measure:
    return Measure(
        title=title,
        peers={SQLITE: Plan(3)},
        figures=(FIRST, MISSED, DELIVERED, EVENT_CPU, SHARE),
        targets=[
            Target(FIRST, SQLITE, "median", 200),
            Target(MISSED, SQLITE, "median", 50_000, at_most=False),
            Target(DELIVERED, SQLITE, "worst", 100, at_most=False),
        ],
        kind="resume",
        arguments={"times": 5, **arguments},
        wants=wants,
        environment=KEPT_LONG,
    )


def _plain(title: str, arguments: Mapping[str, Any], figures: Sequence[Figure]) -> Measure:
    few = {"calls": 1000}
    return Measure(
        title=title,
        peers={
            JOBWIRE: Plan(3),
            JOBWIRE_ASYNC: Plan(3),
            GRADIO: Plan(2, few),
            LITSERVE: Plan(3),
            FASTAPI: Plan(3),
            FASTAPI_ASYNC: Plan(3),
        },
        figures=(*figures, REQUEST_CPU, SHARE, LOST),
        targets=(),
        kind="plain",
        arguments=arguments,
        wants=["path", "field"],
        reference=FASTAPI,
    )


MEASURES: Mapping[str, Measure] = {
    "echo": _bursts(
        "Echo jobs sent as fast as the server takes them, from one session; the queue fills "
        "while it drains",
        sessions=1,
        gated=False,
        rounds=3,
    ),
    "echo-50": _bursts(
        "The same from 50 sessions, each with its stream", sessions=50, gated=False, rounds=2
    ),
    "queued": _bursts(
        "Echo jobs that are all queued before the first may run, from one session",
        sessions=1,
        gated=True,
        rounds=3,
    ),
    "queued-50": _bursts("The same from 50 sessions", sessions=50, gated=True, rounds=2),
    "latency": _latency(
        "One echo job at a time, each as soon as the last has completed",
        jobwire={"calls": 1000, "warm_up": 100},
        gradio={"calls": 200, "warm_up": 20},
        targets=[
            Target(P50, JOBWIRE, "median", 1.5),
            Target(P50, SQLITE, "median", 3.0),
            Target(LOST, JOBWIRE, "total", 0),
        ],
    ),
    "generator": Measure(
        title="One generator, all of whose outputs are delivered",
        peers={
            JOBWIRE: Plan(5, {"outputs": 40_000}),
            SQLITE: Plan(5, {"outputs": 40_000}),
            SQLITE_NORMAL: Plan(5, {"outputs": 40_000}),
            GRADIO: Plan(2, {"outputs": 4000}),
        },
        figures=(OUTPUTS, DELIVERED, OUTPUT_CPU, SHARE, LOST),
        targets=[
            Target(OUTPUTS, JOBWIRE, "median", 20_000, at_most=False),
            Target(OUTPUTS, SQLITE, "median", 10_000, at_most=False),
            Target(DELIVERED, JOBWIRE, "worst", 100, at_most=False),
        ],
        kind="generator",
        arguments={"limit": 60.0},
        reference=GRADIO,
    ),
    "idle": Measure(
        title="A server with nothing to do, after 50 jobs",
        peers={JOBWIRE: Plan(1), SQLITE: Plan(1), GRADIO: Plan(1)},
        figures=(IDLE,),
        targets=[Target(IDLE, JOBWIRE, "median", 0.19)],
        kind="idle",
        arguments={"seconds": 20.0, "waiting": 0},
        reference=GRADIO,
    ),
    "idle-50": Measure(
        title="50 sessions wait for a job each, with open streams, and nothing moves",
        peers={JOBWIRE: Plan(1), GRADIO: Plan(1)},
        figures=(IDLE,),
        targets=(),
        kind="idle",
        arguments={"seconds": 20.0, "waiting": 50},
        reference=GRADIO,
    ),
    "memory": Measure(
        title="Resident memory and size of the store as jobs go by, in bursts from 20 new "
        f"sessions each, with results that are kept for {RESULT_TTL} s; later is after all of "
        "them have expired, and 20 % more jobs have gone by",
        peers={
            JOBWIRE: Plan(1, {"jobs": 100_000, "burst": 1000, "later": 20_000}),
            SQLITE: Plan(1, {"jobs": 100_000, "burst": 1000, "later": 20_000}),
            GRADIO: Plan(1, {"jobs": 2000, "burst": 100, "later": 400}),
        },
        figures=(
            JOBS,
            *RSS,
            LATER,
            GROWTH,
            GROWTH_PER_JOB,
            *STORE_SIZES,
            STORE_GROWTH,
            LOST,
        ),
        targets=[
            Target(GROWTH, JOBWIRE, "worst", 3),
            Target(GROWTH, SQLITE, "worst", 3),
            Target(STORE_GROWTH, SQLITE, "worst", 1.5),
            Target(LOST, JOBWIRE, "total", 0),
            Target(LOST, SQLITE, "total", 0),
        ],
        kind="memory",
        arguments={"sessions": 20, "limit": 60.0, "result_ttl": RESULT_TTL},
        wants=["store"],
        limit=900.0,
        reference=GRADIO,
    ),
    "resume": _resume(
        "A stream that missed one job's 10,000 outputs, and comes back",
        {"jobs": 1, "outputs": 10_000},
    ),
    "resume-jobs": _resume(
        "A stream that missed all of 5,000 jobs without outputs", {"jobs": 5000, "outputs": 0}
    ),
    "resume-disk": _resume(
        "A stream that missed one job's 10,000 outputs, and comes back to the next server",
        {"jobs": 1, "outputs": 10_000, "times": 1},
        wants=["server"],
    ),
    "resume-jobs-disk": _resume(
        "A stream that missed all of 5,000 jobs, and comes back to the next server",
        {"jobs": 5000, "outputs": 0, "times": 1},
        wants=["server"],
    ),
    "restart": Measure(
        title="Killed with 100,000 jobs waiting, until the next server has done a new job",
        peers={SQLITE: Plan(2, {"jobs": 100_000})},
        figures=(QUEUED, READY, RESTART, RESTART_CPU, ENDED, STORE_SIZE, RESTARTED_RSS, LOST),
        targets=[
            Target(RESTART, SQLITE, "worst", 2),
            Target(ENDED, SQLITE, "worst", 100, at_most=False),
        ],
        kind="restart",
        wants=["store", "server"],
        environment=KEPT_LONG,
        limit=900.0,
    ),
    "plain": _plain(
        "The plain request, POST and answer, one at a time",
        {"calls": 3000, "connections": 1},
        (P50, P90),
    ),
    "plain-32": _plain(
        "The plain request on 32 connections at once",
        {"calls": 10_000, "connections": 32},
        (REQUESTS,),
    ),
}
