"""Measure jobwire side by side with other clients, against one real Gradio server.

``python benchmarks/run.py`` builds what it needs below ``.cache/bench``, starts the
server, measures in rounds, one client after the other in each, and prints tables.
See README.md for what each measure means.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from harness import environments
from harness.environments import CACHE, ROOT, Environment
from harness.measures import IMPORTS, MEASURES, PEERS
from harness.plans import Measure, Results
from harness.processes import Outcome, ServerError, run, serve
from harness.report import measure_table, target_rows, target_table
from harness.telling import circumstances, commit, load, say, say_outcome

HERE = Path(__file__).resolve().parent
QUICK_ROUNDS = 2

BIAS = """\
This was written by the people who wrote jobwire, who chose what to measure. Server and
clients share one machine, its cores, and perhaps other work: a client that uses little
CPU leaves more to the server, and gets its answers sooner. Loopback has no latency to
hide; over a real network the server and the wire are nearly all of a call, and clients
differ less. The app does nothing, so the share of the client is as large as it can be.
`bare` knows one server of today and checks next to nothing; it is a yardstick, not a
client. Absolute numbers belong to this machine on this day; the ratios, each taken
within a round and then the median of the rounds, are what counts. Clients that run
fewer rounds than others do so because they are slow, and their spread says less."""


def main() -> None:
    options = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that servers end too
    started = time.monotonic()
    at, load_before = commit(), load()  # both may change while this runs
    try:
        places = _build_environments(options.rebuild)
        measured = {
            name: _measure(name, MEASURES[name], places, quick=options.quick)
            for name in options.only
        }
    except (environments.BuildError, ServerError) as error:
        sys.exit(f"{error}")
    how = circumstances(places, at=at, load_before=load_before, started=started)
    text = _report(measured, how)
    print(text)
    if options.write:
        target = HERE / "results" / f"{datetime.now().astimezone():%Y-%m-%d}-client.md"
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")
        say(f"written to {target.relative_to(ROOT)}")


def _parse() -> argparse.Namespace:
    def measures(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(MEASURES):
            raise argparse.ArgumentTypeError(
                f"{', '.join(sorted(unknown))}: there are only {', '.join(MEASURES)}"
            )
        return names

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--only",
        type=measures,
        default=list(MEASURES),
        metavar="MEASURE,...",
        help=f"of {', '.join(MEASURES)}",
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"no more than {QUICK_ROUNDS} rounds of each"
    )
    parser.add_argument("--write", action="store_true", help="write results/DATE-client.md as well")
    parser.add_argument(
        "--rebuild", action="store_true", help="build the environments anew, with what is newest"
    )
    return parser.parse_args()


# -- measuring --


def _build_environments(rebuild: bool) -> dict[str, Environment]:
    say("environments: building what is missing")
    places = {
        "server": environments.python("server", ["gradio"], ["gradio"], rebuild=rebuild),
        "gradio_client": environments.python(
            "gradio_client", ["gradio_client", "psutil"], ["gradio_client"], rebuild=rebuild
        ),
        "jobwire": environments.python(
            "jobwire",
            ["--editable", str(ROOT), "aiohttp", "psutil"],
            ["jobwire", "aiohttp", "msgspec"],
            rebuild=rebuild,
        ),
    }
    try:
        places["node"] = environments.node("node", "@gradio/client", rebuild=rebuild)
        # Modules are looked for beside the script that imports them.
        for script in (HERE / "peers").glob("*.mjs"):
            shutil.copy(script, places["node"].home)
    except environments.BuildError as error:
        say(f"skipping @gradio/client: {error}")
    return places


def _measure(
    name: str, measure: Measure, places: Mapping[str, Environment], *, quick: bool
) -> Results:
    if measure.kind is None:
        return _measure_imports(name, measure, places, quick=quick)
    commands = {}
    for peer in measure.peers:
        place = places.get(PEERS[peer].environment)
        if place is not None:
            folder = place.home if PEERS[peer].environment == "node" else HERE / "peers"
            commands[peer] = [place.interpreter, str(folder / PEERS[peer].script), measure.kind]
    results: dict[str, list[Outcome | None]] = {peer: [] for peer in commands}
    log = CACHE / f"server-{name}.log"
    command = [places["server"].interpreter, str(HERE / "server_app.py"), "{port}"]
    with serve(command, log) as server:
        for number in measure.rounds(QUICK_ROUNDS if quick else None):
            for peer, client in commands.items():
                plan = measure.peers[peer]
                outcome = None
                if number <= plan.rounds:
                    arguments = {
                        "url": server.url,
                        **measure.arguments,
                        **plan.arguments,
                        **(plan.quick if quick else {}),
                    }
                    outcome = run([*client, json.dumps(arguments)], limit=measure.limit)
                    say_outcome(name, number, peer, outcome)
                if number > 0:
                    results[peer].append(outcome)
    return results


def _measure_imports(
    name: str, measure: Measure, places: Mapping[str, Environment], *, quick: bool
) -> Results:
    results: dict[str, list[Outcome | None]] = {peer: [] for peer in measure.peers}
    for number in measure.rounds(QUICK_ROUNDS if quick else None):
        zero = 0.0
        for peer, (place, code) in IMPORTS.items():
            command = [places[place].interpreter, "-c", code]
            outcome = run(command, limit=measure.limit, reports=False)
            say_outcome(name, number, peer, outcome)
            if outcome.values is not None:
                seconds = outcome.values["process_seconds"]
                zero = zero or seconds
                outcome = Outcome({**outcome.values, "net_seconds": seconds - zero})
            if number > 0:
                results[peer].append(outcome)
    return results


# -- telling --


def _report(measured: Mapping[str, Results], how: str) -> str:
    parts = [
        f"# Clients side by side, {datetime.now().astimezone():%Y-%m-%d}\n",
        "Median of the runs (smallest to largest). `x bare`: median of the ratios to `bare`\n"
        "in the same round.\n",
        "## Targets\n",
        target_table(
            [row for name in measured for row in target_rows(name, MEASURES[name], measured[name])]
        ),
        "",
    ]
    for name, results in measured.items():
        measure = MEASURES[name]
        parts += [f"## {measure.title}\n", measure_table(measure, results), ""]
    parts += [
        "## How\n",
        how,
        "## Bias\n",
        BIAS,
        "",
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    main()
