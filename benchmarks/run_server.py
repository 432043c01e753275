"""Measure the jobwire server side by side with others, under the same load.

``python benchmarks/run_server.py`` builds what it needs below ``.cache/bench``, starts each
server afresh for each run, loads it from another process, and prints tables. See
README.md for what each measure means.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from harness import environments
from harness.environments import CACHE, ROOT, Environment
from harness.plans import Measure, Results
from harness.processes import Outcome, ServerError, run, serve
from harness.report import measure_table, table, target_rows, target_table
from harness.server_measures import MEASURES, PROMISED, PROMISES, SERVERS
from harness.telling import circumstances, commit, load, say, say_outcome

HERE = Path(__file__).resolve().parent
QUICK_ROUNDS = 1

LOAD = "load"
"""The environment of the load."""

ENVIRONMENTS = {
    LOAD: (["httptools", "psutil", "uvloop"], ["httptools", "uvloop"]),
    "jobwire-server": (
        ["--editable", f"{ROOT}[cli,server]"],
        ["jobwire", "starlette", "uvicorn", "uvloop", "httptools", "msgspec"],
    ),
    "server": (["gradio"], ["gradio", "starlette", "uvicorn"]),
    "litserve": (["litserve"], ["litserve", "fastapi", "uvicorn"]),
    "fastapi": (["fastapi", "uvicorn[standard]"], ["fastapi", "starlette", "uvicorn", "uvloop"]),
}
"""By name: what to install, and what to report the versions of."""

BIAS = """\
This was written by the people who wrote jobwire, who chose what to measure. Server and load
share one machine and its cores, and loopback has no latency to hide. The functions do
nothing, so that what is seen is all the server's; with a function that takes 100 ms, they
would differ by little. The load posts faster than any one client does: a queue is as long as
it can be, which is where gradio, that tells every waiting job of every start, is slowest.
gradio runs as `pip install gradio` leaves it, which is without uvloop and httptools, and
jobwire, LitServe and FastAPI with them, as theirs do. jobwire keeps its jobs in memory
here, as gradio does, or in an SQLite file on the disk of the machine, where it says so.
A server that is started again finds that file in the memory of the system, as after a crash,
not as after a reboot. Only jobwire can be measured in that, and in streams that come back.
Absolute numbers belong to this machine on this day; the ratios, each taken
within a round and then the median of the rounds, are what counts. gradio runs fewer rounds and
smaller loads where it would take hours, and its spread says less. The load's own use of
a core is shown where it might be what limits: above 90 %, a rate is a lower bound."""


def main() -> None:
    options = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that servers end too
    started = time.monotonic()
    at, load_before = commit(), load()  # both may change while this runs
    try:
        places = _build_environments(options)
    except environments.BuildError as error:
        sys.exit(f"{error}")
    used = {
        name: place
        for name, place in places.items()
        if name == LOAD or any(SERVERS[server].environment == name for server in options.servers)
    }
    target = HERE / "results" / f"{datetime.now().astimezone():%Y-%m-%d}-server.md"
    measured: dict[str, Results] = {}
    text = ""
    for name in options.only:
        measured[name] = _measure(
            name, MEASURES[name], places, options.servers, quick=options.quick
        )
        how = circumstances(used, at=at, load_before=load_before, started=started)
        text = _report(measured, how)
        if options.write:  # each time: what was measured is kept if the rest is given up
            target.parent.mkdir(exist_ok=True)
            target.write_text(text, encoding="utf-8")
    print(text)
    if options.write:
        say(f"written to {target.relative_to(ROOT)}")


def _parse() -> argparse.Namespace:
    def some_of(known: Mapping[str, object]) -> Callable[[str], list[str]]:
        def names(text: str) -> list[str]:
            chosen = text.split(",")
            if unknown := set(chosen) - set(known):
                raise argparse.ArgumentTypeError(
                    f"{', '.join(sorted(unknown))}: there are only {', '.join(known)}"
                )
            return chosen

        return names

    def environment(text: str) -> tuple[str, str]:
        name, _, interpreter = text.partition("=")
        if name not in ENVIRONMENTS or not Path(interpreter).is_file():
            raise argparse.ArgumentTypeError(
                f"{text}: is not NAME=PYTHON, where NAME is one of {', '.join(ENVIRONMENTS)}"
            )
        return name, str(Path(interpreter).absolute())  # servers run in their own directory

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--only",
        type=some_of(MEASURES),
        default=list(MEASURES),
        metavar="MEASURE,...",
        help=f"of {', '.join(MEASURES)}",
    )
    parser.add_argument(
        "--servers",
        type=some_of(SERVERS),
        default=list(SERVERS),
        metavar="SERVER,...",
        help=f"of {', '.join(SERVERS)}",
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"no more than {QUICK_ROUNDS} round of each"
    )
    parser.add_argument("--write", action="store_true", help="write results/DATE-server.md as well")
    parser.add_argument(
        "--rebuild", action="store_true", help="build the environments anew, with what is newest"
    )
    parser.add_argument(
        "--environment",
        type=environment,
        action="append",
        default=[],
        metavar="NAME=PYTHON",
        help="use an environment that exists, instead of building "
        f"{', '.join(ENVIRONMENTS)}; may be given again",
    )
    return parser.parse_args()


def _build_environments(options: argparse.Namespace) -> dict[str, Environment]:
    say("environments: building what is missing")
    existing = dict(options.environment)
    needed = {LOAD} | {
        SERVERS[server].environment
        for name in options.only
        for server in MEASURES[name].peers
        if server in options.servers
    }
    return {
        name: environments.existing(existing[name], report)
        if name in existing
        else environments.python(name, requirements, report, rebuild=options.rebuild)
        for name, (requirements, report) in ENVIRONMENTS.items()
        if name in needed
    }


def _measure(
    name: str,
    measure: Measure,
    places: Mapping[str, Environment],
    servers: list[str],
    *,
    quick: bool,
) -> Results:
    peers = [peer for peer in measure.peers if peer in servers]
    results: dict[str, list[Outcome | None]] = {peer: [] for peer in peers}
    for number in measure.rounds(QUICK_ROUNDS if quick else None):
        for peer in peers:
            outcome = None
            if number <= measure.peers[peer].rounds:
                outcome = _run(name, measure, peer, places)
                say_outcome(name, number, peer, outcome)
            results[peer].append(outcome)
    return results


def _run(name: str, measure: Measure, peer: str, places: Mapping[str, Environment]) -> Outcome:
    """Start the server, put the load on it, and end both."""
    assert measure.kind is not None
    served = SERVERS[peer]
    client = [places[LOAD].interpreter, str(HERE / "peers" / "load.py"), measure.kind]
    plan = measure.peers[peer]
    log = CACHE / f"{served.environment}-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="store-", dir=CACHE) as folder:
        store = str(Path(folder) / "store.db")
        command = [
            places[served.environment].interpreter,
            *(part.replace("{store}", store) for part in served.command),
        ]
        try:
            with serve(
                command,
                log,
                ready=served.ready,
                folder=HERE / "servers",
                environment=measure.environment,
            ) as server:
                port = server.url.rpartition(":")[2]
                known = {
                    "store": store,
                    **served.plain,
                    "server": {
                        "command": [part.replace("{port}", port) for part in command],
                        "folder": str(HERE / "servers"),
                        "environment": measure.environment,
                    },
                }
                arguments = {
                    "url": server.url,
                    "pid": server.pid,
                    **measure.arguments,
                    **plan.arguments,
                    **{name: known[name] for name in measure.wants},
                }
                return run([*client, json.dumps(arguments)], limit=measure.limit)
        except ServerError as error:
            return Outcome(None, f"{error}")


def _report(measured: Mapping[str, Results], how: str) -> str:
    parts = [
        f"# Servers side by side, {datetime.now().astimezone():%Y-%m-%d}\n",
        "Median of the runs (smallest to largest). `x gradio`, `x FastAPI`: median of the "
        "ratios\nto that server in the same round.\n",
        "## Targets\n",
        target_table(
            [row for name in measured for row in target_rows(name, MEASURES[name], measured[name])],
            kind="server",
        ),
        "",
    ]
    for name, results in measured.items():
        measure = MEASURES[name]
        parts += [
            f"## {name}: {measure.title}\n",
            measure_table(measure, results, kind="server"),
            "",
        ]
    if any(MEASURES[name].kind == "plain" for name in measured):
        parts += [
            "## What a plain request promises\n",
            table(["server", "checked", "runs", "if there are many"], PROMISES),
            "",
            PROMISED,
            "",
        ]
    parts += ["## How\n", how, "## Bias\n", BIAS, ""]
    return "\n".join(parts)


if __name__ == "__main__":
    main()
