"""Run jobs through a proxy that injects faults: ``python -m soak.drive --seconds 900``.

The seed decides which jobs there are, and which fault the nth request of a route meets.
With ``--client gradio_client`` the same is done to that client, for comparison.
"""

import argparse
import os
import random
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import IO, Any, get_args

import jobwire
from chaos import Fault, Request, answer, chaos_proxy
from conftest import APP, running
from faults import response
from soak.ledger import HUNG, RESULT, Entry, Kind, Ledger
from soak.witness import Witness

SOAKING = APP.with_name("soaking.py")
CLIENTS = 3
WORKERS = 12
READ_TIMEOUT = 2.0
IDLE_TIMEOUT = 4.0
"""The server is told to send a heartbeat each second."""

WATCHDOG = 60.0
"""Seconds after which a job counts as hung. None may take a tenth of that."""

KINDS: tuple[Kind, ...] = get_args(Kind)

_BAD_GATEWAY = answer(response("<html><h1>502 Bad Gateway</h1></html>", 502))
_BUSY = answer(response({"detail": "slow down"}, 429, headers="retry-after: 0\r\n"))
_ANYWHERE: list[Callable[[random.Random], Fault]] = [
    lambda r: Fault("cut", at=r.randrange(4000)),
    lambda r: Fault("reset", at=r.randrange(4000)),
    lambda r: Fault("half-close", at=r.randrange(4000)),
    lambda r: Fault("delay", at=r.randrange(500), seconds=r.uniform(0.05, 0.5)),
    lambda r: Fault("split", at=r.randrange(500)),
    lambda r: Fault("stall", at=r.randrange(4000)),
    lambda r: Fault("insert", at=r.randrange(4000), data=r.randbytes(7)),
    lambda r: Fault("cut", at=0),
    lambda r: Fault("reset", at=r.randrange(200), towards="server"),
    lambda r: Fault("cut", at=r.randrange(200), towards="server"),
    lambda r: Fault("stall", at=r.randrange(200), towards="server"),
    lambda r: _BAD_GATEWAY,
    lambda r: _BUSY,
]
_RATES = {"queue/data": 0.8, "queue/join": 0.06, "cancel": 0.2, "upload": 0.15, "file=": 0.15}
"""How many of the requests of each route meet a fault."""


class Chaos:
    """A plan that is drawn from a seed.

    Attributes:
        struck: How often each kind of fault was planned, by route.
    """

    def __init__(self, seed: int, trace: IO[str] | None = None) -> None:
        self._seed = seed
        self._trace = trace
        self._met: Counter[str] = Counter()
        self.struck: Counter[tuple[str, str]] = Counter()
        self.on = True

    def __call__(self, request: Request) -> Fault | None:
        fault = self._draw(request)
        if self._trace is not None:
            line = f"{time.monotonic():.3f} {request.number} {request.path} {fault}"
            body = request.start.partition(b"\r\n\r\n")[2]
            self._trace.write(f"{line:.200} {body[:300]!r}\n")
        return fault

    def _draw(self, request: Request) -> Fault | None:
        route = next((route for route in _RATES if route in request.path), None)
        if route is None or not self.on:
            return None
        self._met[route] += 1
        rng = random.Random(f"{self._seed} {route} {self._met[route]}")
        if rng.random() >= _RATES[route]:
            return None
        fault = rng.choice(_ANYWHERE)(rng)
        if fault.kind == "insert" and route == "file=":
            return None  # nobody can tell such a file from the one that was meant
        self.struck[route, fault.kind] += 1
        return fault


class Soak:
    """One run.

    Args:
        name: ``jobwire`` or ``gradio_client``.
        url: Where the app is, behind the proxy.
        seed: Decides what jobs there are.
        watchdog: Seconds after which a job counts as hung.
    """

    def __init__(self, name: str, url: str, seed: int, watchdog: float) -> None:
        self.ledger = Ledger()
        self.replaced = 0
        self._name = name
        self._url = url
        self._seed = seed
        self._watchdog = watchdog
        self._folder = Path(tempfile.mkdtemp(prefix="soak-"))
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._clients = [self._connect() for _ in range(CLIENTS)]

    def _connect(self) -> Any:
        folder = str(self._folder / "fetched")
        if self._name == "gradio_client":
            import gradio_client

            return gradio_client.Client(
                self._url,
                verbose=False,
                download_files=folder,
                httpx_kwargs={"timeout": 10 * READ_TIMEOUT},
                analytics_enabled=False,
            )
        return jobwire.Client(
            self._url,
            verbose=False,
            download_files=folder,
            read_timeout=READ_TIMEOUT,
            idle_timeout=IDLE_TIMEOUT,
        )

    def run(self, seconds: float) -> None:
        """Run jobs for so long."""
        workers = [
            threading.Thread(target=self._work, args=(number,), daemon=True)
            for number in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        began = time.monotonic()
        while (left := began + seconds - time.monotonic()) > 0:
            self._stopped.wait(min(left, 60.0))
            print(f"{time.monotonic() - began:6.0f} s: {len(self.ledger.entries)} jobs", flush=True)
        self._stopped.set()
        deadline = time.monotonic() + 2 * self._watchdog
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def _work(self, worker: int) -> None:
        number = 0
        while not self._stopped.is_set():
            rng = random.Random(f"{self._seed} {worker} {number}")
            try:
                self._one(f"t{worker}x{number}", worker % CLIENTS, rng)
            except Exception:
                traceback.print_exc()
            number += 1

    def _one(self, tag: str, index: int, rng: random.Random) -> None:
        kind = rng.choices(KINDS, [5, 3, 6, 2, 2])[0]
        entry = Entry(tag, kind, [tag])
        arguments: list[Any] = [tag]
        if kind == "slow":
            arguments.append(rng.uniform(0, 0.5))
        elif kind == "count":
            n = rng.randint(1, 40)
            arguments += [n, rng.choice([0, 0.001, 0.01])]
            entry.expected = [f"{tag}:{i}" for i in range(n)]
        elif kind == "fail":
            entry.expected = []
        elif kind == "shout":
            path = self._folder / f"{tag}.txt"
            path.write_text(f"text of {tag}")
            arguments.append(self._file(str(path)))
            entry.expected = [f"TEXT OF {tag.upper()}"]
        client, began = self._clients[index], time.monotonic()
        try:
            job = client.submit(*arguments, api_name=f"/{kind}")
            if self._name == "jobwire":
                entry.ends = 0
                job.add_done_callback(lambda _: self._note_end(entry))
            if rng.random() < 0.1:
                entry.cancelled = True
                self._stopped.wait(rng.uniform(0, 0.5))
                job.cancel()
            self._await(entry, job)
        except Exception as error:
            self._note_error(entry, error)
        entry.seconds = time.monotonic() - began
        if self._name == "jobwire":
            self._settle(entry)
        elif entry.outcome == HUNG:
            # It may never work again.
            self.replaced += 1
            self._clients[index] = self._connect()
        with self._lock:
            self.ledger.entries.append(entry)

    def _await(self, entry: Entry, job: Any) -> None:
        try:
            job.result(timeout=self._watchdog)
            entry.outcome = RESULT
        except Exception as error:
            self._note_error(entry, error)
        if entry.outcome == HUNG:
            print(f"hung: {entry.tag} {entry.kind} {job!r}", flush=True)
        communicator = getattr(job, "communicator", None)
        entry.event_id = job.event_id if communicator is None else communicator.event_id
        outputs = job.outputs()
        if entry.kind == "shout":
            outputs = [Path(output).read_text() for output in outputs if isinstance(output, str)]
        entry.outputs = outputs if entry.kind != "fail" else []

    def _note_error(self, entry: Entry, error: Exception) -> None:
        entry.outcome = type(error).__name__
        if self._name == "jobwire":
            entry.typed = isinstance(error, jobwire.JobwireError)
        else:
            # The app's error, its HTTP library's, and the cancel that was asked for.
            entry.typed = (
                entry.outcome == "AppError"
                or type(error).__module__.startswith("httpx")
                or (isinstance(error, CancelledError) and entry.cancelled)
            )
        if isinstance(error, TimeoutError) and type(error).__module__ != "jobwire.exceptions":
            entry.outcome, entry.typed = HUNG, True

    def _note_end(self, entry: Entry) -> None:
        with self._lock:
            entry.ends = (entry.ends or 0) + 1

    def _settle(self, entry: Entry) -> None:
        """Wait until callbacks have run, which they do after the result is there."""
        deadline = time.monotonic() + 5
        while entry.ends == 0 and entry.outcome != HUNG and time.monotonic() < deadline:
            time.sleep(0.001)

    def _file(self, path: str) -> Any:
        if self._name == "gradio_client":
            import gradio_client

            return gradio_client.handle_file(path)
        return jobwire.handle_file(path)


def soak(
    name: str,
    seconds: float,
    seed: int,
    watchdog: float = WATCHDOG,
    trace: IO[str] | None = None,
) -> tuple[str, list[str]]:
    """Run one client for so long; return a report, and what it did wrong, a line each."""
    witness, chaos = Witness(trace), Chaos(seed, trace)
    environment = {"GRADIO_HEARTBEAT_INTERVAL": "1"}
    with running(app=SOAKING, environment=environment) as server:
        with chaos_proxy(server.url, chaos) as proxy:
            proxy.observer = witness.see
            run = Soak(name, proxy.url, seed, watchdog)
            run.run(seconds)
            chaos.on = False
            if name == "jobwire":
                after = [client.predict("after", api_name="/echo") for client in run._clients]
                run.close()
            else:
                after = ["after"] * CLIENTS
            with jobwire.Client(server.url) as direct:
                ran = direct.predict(api_name="/ran")
        wrong = run.ledger.faults(witness, ran)
    if after != ["after"] * CLIENTS:
        wrong.append(f"unusable: the clients say {after} afterwards")
    struck = ", ".join(
        f"{route} {kind} {count}" for (route, kind), count in sorted(chaos.struck.items())
    )
    sorts = Counter(line.partition("): ")[2].partition(":")[0] for line in wrong)
    report = "\n".join(
        [
            f"{name}, seed {seed}, {seconds:.0f} s: {len(proxy.requests)} requests, "
            f"{chaos.struck.total()} faults",
            run.ledger.summary(),
            f"clients replaced after a hang: {run.replaced}",
            f"faults: {struck}",
            f"wrong: {len(wrong)} {dict(sorts) if sorts else ''}",
        ]
    )
    return report, wrong


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--client", choices=["jobwire", "gradio_client"], default="jobwire")
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--watchdog", type=float, default=WATCHDOG)
    parser.add_argument("--trace", type=argparse.FileType("w"), help="write all that goes by")
    options = parser.parse_args()
    report, wrong = soak(
        options.client, options.seconds, options.seed, options.watchdog, options.trace
    )
    print(report)
    for line in wrong[:200]:
        print(" ", line)
    sys.stdout.flush()
    if options.client == "gradio_client":
        os._exit(bool(wrong))  # threads that hang would keep the process
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
