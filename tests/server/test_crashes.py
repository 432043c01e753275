"""A server that is killed at random moments under load, and a ledger of what became of it all."""

from __future__ import annotations

import contextlib
import json
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from jobwire.protocol.diff import apply_edits
from server.conftest import Serving
from server.http_app import API, Http, Stream

CLIENTS = 4
JOBS = 12  # of one client at a time
KINDS = ("once", "again", "count", "recount")


class Client(threading.Thread):
    """Submits jobs and follows them, whatever happens to the server, until it is told to stop."""

    def __init__(self, url: str, number: int, seed: int) -> None:
        super().__init__(name=f"Thread-client-{number}")
        self.accepted: dict[str, tuple[str, str]] = {}  # by id: what, and its tag
        self.events: list[dict[str, Any]] = []  # with a number
        self.resumed = 0
        self.stopping = threading.Event()
        self.error: BaseException | None = None
        self._http = Http(url, session=secrets.token_hex(8))
        self._random = random.Random(f"{seed} {number}")
        self._number = number
        self._last = 0
        self._open: set[str] = set()

    def run(self) -> None:
        try:
            rounds = 0
            while not self.stopping.is_set() or self._open:
                if not self.stopping.is_set():
                    for job in range(JOBS):
                        kind = self._random.choice(KINDS)
                        self._submit(kind, f"{self._number}.{rounds}.{job}")
                self._follow()
                rounds += 1
        except BaseException as error:
            self.error = error

    def _submit(self, kind: str, tag: str) -> None:
        """Submit a job until the server says that it has it; once, however often it takes."""
        data: list[Any] = [tag]
        if kind.endswith("count"):
            data.append(self._random.choice([3, 30, 300]))
        key = {"idempotency-key": tag, "content-type": "application/json"}
        while True:
            with contextlib.suppress(OSError, HTTPException):
                body = {
                    "data": data,
                    "fn_index": self._http.index(kind),
                    "session_hash": self._http.session,
                }
                answer = self._http.ask("POST", f"{API}/queue/join", json.dumps(body).encode(), key)
                if answer.status == 200:
                    id = answer.json["event_id"]
                    assert id not in self.accepted
                    self.accepted[id] = kind, tag
                    self._open.add(id)
                    return
                assert answer.status == 503, answer
            time.sleep(0.01)

    def _follow(self) -> None:
        """Read what there is to hear of the jobs, from where the last stream stopped."""
        path = f"{API}/queue/data?session_hash={self._http.session}&after={self._last}"
        try:
            with Stream(self._http.open("GET", path)) as stream:
                while (message := stream.message()) is not None:
                    if "seq" in message:
                        self._last = message["seq"]
                        self.events.append(message)
                        if message["msg"] == "process_completed":
                            self._open.discard(message["event_id"])
                    elif message["msg"] == "close_stream":
                        return
        except (OSError, HTTPException, json.JSONDecodeError):
            pass  # cut, perhaps in the middle of a line: what was cut comes again, whole
        self.resumed += 1
        time.sleep(0.01)


def check(clients: list[Client], runs: Counter[str]) -> Counter[str]:
    """Compare what clients were told with what was run; return how many jobs ended how."""
    ledger: Counter[str] = Counter()
    for client in clients:
        if client.error is not None:
            raise client.error
        numbers = [event["seq"] for event in client.events]
        assert numbers == sorted(set(numbers)), "an event came twice, or out of order"
        by_job: dict[str, list[dict[str, Any]]] = {id: [] for id in client.accepted}
        for event in client.events:
            by_job[event["event_id"]].append(event)
        for id, events in by_job.items():
            kind, tag = client.accepted[id]
            ends = [event for event in events if event["msg"] == "process_completed"]
            assert len(ends) == 1, (kind, tag, events)
            assert events[-1] is ends[0]
            starts = sum(event["msg"] == "process_starts" for event in events)
            retries = kind in ("again", "recount")
            assert runs[tag] <= 1 or retries, f"{tag} of {kind} was run {runs[tag]} times"
            assert starts <= runs[tag] + 1
            if not ends[0]["success"]:
                assert not retries
                assert ends[0]["output"]["retryable"] is True
                ledger["interrupted"] += 1
                continue
            assert runs[tag] >= 1
            ledger["completed"] += 1
            ledger["run again"] += runs[tag] > 1
            outputs = told(events)
            if kind == "count":
                whole = [" ".join(map(str, range(n + 1))) + " " for n in range(len(outputs))]
                assert outputs == whole
                assert ends[0]["output"]["data"] == outputs[-1:]
            elif kind == "recount":
                # Each run counts from 0, and the last one to its end.
                final = int(outputs[-1])
                assert outputs[-final - 1 :] == [str(n) for n in range(final + 1)]
            else:
                assert ends[0]["output"]["data"] == [tag]
        ledger["events"] += len(numbers)
        ledger["streams resumed"] += client.resumed
    return ledger


def told(events: list[dict[str, Any]]) -> list[str]:
    outputs: list[str] = []
    for event in events:
        if event["msg"] == "process_generating":
            data = event["output"]["data"]
            outputs.append(apply_edits(outputs[-1], data[0]) if outputs else data[0])
    return outputs


def survive(kills: int, seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Kill a server so many times; return the ledger."""
    monkeypatch.setenv("LEDGER", str(folder / "ledger"))
    store = f"sqlite:{folder / 'jobs.db'}"
    options = "apps.durable:app", "--no-access-log", "--store", store
    rng = random.Random(seed)
    with ending(Serving(*options)) as serving:
        serving.wait_until_ready()
        clients = [Client(serving.url, number, seed) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            for _ in range(kills):
                time.sleep(rng.uniform(0.0, 0.4))
                serving.kill()
                serving.__init__(*options, port=serving.port)  # type: ignore[misc]
                # Now and then it is killed before it is ready.
                if rng.random() < 0.9:
                    serving.wait_until_ready()
        finally:
            for client in clients:
                client.stopping.set()
            for client in clients:
                client.join(30)
        left = [
            (client.accepted[id], client._http.get(f"{API}/jobs/{id}").body)
            for client in clients
            if client.is_alive()
            for id in client._open
        ]
        assert not left, (left, "".join(serving.log))
    runs = Counter((folder / "ledger").read_text().split())
    accepted = sum(len(client.accepted) for client in clients)
    ledger = check(clients, runs)
    assert ledger["completed"] + ledger["interrupted"] == accepted
    assert set(runs) <= {tag for client in clients for _, tag in client.accepted.values()}
    return ledger | Counter(kills=kills, accepted=accepted)


@contextlib.contextmanager
def ending(serving: Serving) -> Iterator[Serving]:
    try:
        yield serving
    finally:
        serving.kill()


def test_nothing_is_lost_or_done_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = survive(12, 1, tmp_path, monkeypatch)
    assert ledger["interrupted"], ledger
    assert ledger["completed"] > 100, ledger


@pytest.mark.matrix
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(4))
def test_hundreds_of_crashes(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = survive(100, seed, tmp_path, monkeypatch)
    print(f"seed {seed}: {dict(ledger)}")
    assert ledger["completed"] > 1000, ledger
