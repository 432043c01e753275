"""Drive stock ``gradio_client``, of any version: ``python official.py URL GUARDED_URL``.

Prints a JSON object with what each scenario below gave, or how it failed.
"""

import asyncio
import json
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gradio_client import Client, handle_file

URL, GUARDED = sys.argv[1:3]
FOLDER = Path(tempfile.mkdtemp())


def connect(url: str = URL, **options: Any) -> Client:
    # It would read all certificates of the machine for each request.
    options["ssl_verify"] = False
    return Client(url, verbose=False, download_files=FOLDER / "downloads", **options)


def failure(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Say how a call failed."""
    try:
        return {"no failure": call(*args, **kwargs)}
    except Exception as error:
        told = {name: getattr(error, name, None) for name in ("title", "duration", "visible")}
        return {"type": type(error).__name__, "text": str(error), **told}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def statuses(job: Any) -> list[Any]:
    """Return every status that a poll sees, without repeats."""
    seen: list[Any] = []
    while not job.done():
        status = job.status()
        if not seen or seen[-1] != status:
            seen.append(status)
        time.sleep(0.002)
    return seen


def predict() -> Any:
    client = connect()
    return [
        client.predict("naïve ✓ 🎉", api_name="/echo"),
        client.predict("hi", api_name="/two"),
        client.predict(api_name="/none"),
        client.predict("x", api_name="/direct"),
        client.predict("x", fn_index=client._infer_fn_index("/echo", None)),
        client.predict("x", api_name="/later"),
        client.predict("x", api_name="/quiet_echo"),
    ]


def arguments() -> Any:
    client = connect()
    return [
        client.predict(1, api_name="/add"),
        client.predict(1, 10, api_name="/add"),
        client.predict(1, c=2, api_name="/add"),
        client.predict(b=1, a=1, c=1.25, api_name="/add"),
        client.predict("red", api_name="/pick"),
        client.predict("green", sizes=[1, 3], api_name="/pick"),
    ]


def wrong_arguments() -> Any:
    client = connect()
    return [
        failure(client.predict, "one", api_name="/add"),
        failure(client.predict, api_name="/add"),
        failure(client.predict, 1, 2, 3, 4, api_name="/add"),
        failure(client.predict, "blue", api_name="/pick"),
        failure(client.predict, "x", api_name="/nothing"),
        failure(client.predict, "x", api_name="/private_echo"),
        client.predict("still there", api_name="/echo"),
    ]


def values() -> Any:
    client = connect()
    return [
        client.predict("a bb", api_name="/words"),
        client.predict("a bb", api_name="/lengths"),
        client.predict({"x": 1}, api_name="/move"),
        client.predict({"x": 1, "y": 0.5}, 2, api_name="/move"),
        client.predict(api_name="/odd"),
    ]


def outputs() -> Any:
    client = connect()
    jobs = {
        "grow": client.submit(30, api_name="/grow"),
        "tables": client.submit(api_name="/tables"),
        "mixed": client.submit(api_name="/mixed"),
        "ticks": client.submit(5, api_name="/ticks"),
    }
    slow = client.submit(4, 0.05, api_name="/count")
    early = [next(slow), time.monotonic()]
    rest = list(slow)
    results = {name: [job.result(), job.outputs()] for name, job in jobs.items()}
    return results | {"iterated": [early[0], *rest], "echo": echo_outputs(client)}


def echo_outputs(client: Client) -> Any:
    job = client.submit("x", api_name="/echo")
    job.result()
    return job.outputs()


def progress() -> Any:
    client = connect()
    found = {}
    for name in ("steps", "steps_as_in_gradio"):
        seen = statuses(client.submit(3, api_name=f"/{name}"))
        found[name] = [
            [[unit.index, unit.length, unit.unit, unit.desc] for unit in status.progress_data]
            for status in seen
            if status.progress_data
        ]
    return found


def logs() -> Any:
    job = connect().submit("x", api_name="/logs")
    seen = [status.log for status in statuses(job) if status.log]
    return [list(log) for log in dict.fromkeys(seen)]


def updates() -> Any:
    """What asynchronous iteration gives; since 2.0."""

    async def collect() -> list[Any]:
        job = connect().submit(3, 0.02, api_name="/count")
        return [update async for update in job]

    found = asyncio.run(collect())
    codes = [update.code.value for update in found if update.type == "status"]
    return {
        "codes": list(dict.fromkeys(codes)),
        "outputs": [update.outputs for update in found if update.type == "output"],
    }


def errors() -> Any:
    client = connect()
    late = client.submit("late", api_name="/fail")
    return {
        "titled": failure(client.predict, "titled", api_name="/fail"),
        "value": failure(client.predict, "value", api_name="/fail"),
        "late": [failure(late.result), late.outputs()],
        "direct": failure(client.predict, api_name="/direct_fail"),
        "after": client.predict("x", api_name="/echo"),
    }


def queue() -> Any:
    """A waiting job sees its place, and one that is cancelled does not run."""
    client, tag = connect(), f"queue {time.time_ns()}"
    first = client.submit(0.5, f"{tag} first", api_name="/slow")
    wait_until(lambda: first.status().code.name == "PROCESSING")
    second = client.submit(0.05, f"{tag} 2", api_name="/slow")
    wait_until(lambda: second.status().rank == 0)
    third = client.submit(0.05, f"{tag} 3", api_name="/slow")
    wait_until(lambda: third.status().rank == 1)
    place = third.status()
    cancelled = second.cancel()
    wait_until(lambda: third.status().rank == 0 or third.done())
    return {
        "place": [place.code.name, place.rank, place.queue_size],
        "cancelled": cancelled,
        "results": [first.result() == f"slept {tag} first", third.result() == f"slept {tag} 3"],
        "after": client.predict("x", api_name="/echo"),
    }


def cancel() -> Any:
    """Cancelled functions are told; other jobs of the same function go on."""
    client, tag = connect(), f"cancel {time.time_ns()}"

    def ended(name: object) -> bool:
        return client.predict(f"{tag} {name}", api_name="/was_ended") is True

    jobs = [client.submit(60, 0.02, f"{tag} {n}", api_name="/count") for n in range(3)]
    for job in jobs:
        next(job)
    answers = [jobs[1].cancel()]
    wait_until(lambda: ended(1))
    others = [jobs[0].result(), jobs[2].result(), ended(0), ended(2)]
    blocked = client.submit(30, f"{tag} slow", api_name="/slow")
    waiting = client.submit(f"{tag} later", 30, api_name="/later")

    def cancel_running(name: str, job: Any) -> bool:
        wait_until(lambda: job.status().code.name == "PROCESSING")
        done: bool = job.cancel()
        wait_until(lambda: ended(name))
        return done

    answers += [cancel_running("slow", blocked), cancel_running("later", waiting)]
    return {"answers": answers, "others": others, "ended": [ended("slow"), ended("later")]}


def files() -> Any:
    client = connect()
    first, second = FOLDER / "first ✓ #1 100%.txt", FOLDER / "second.txt"
    first.write_text("first\n" * 1000)
    second.write_text("second")
    shouted = Path(client.predict(handle_file(first), api_name="/shout"))
    again = Path(client.predict(handle_file(shouted), api_name="/shout"))
    parts = client.predict("a b", api_name="/parts")
    return {
        "same": shouted.read_text() == first.read_text().upper() == again.read_text(),
        "name": shouted.name,
        "joined": client.predict([handle_file(second), handle_file(second)], api_name="/join"),
        "parts": {name: Path(path).read_text() for name, path in parts.items()},
        "foreign": failure(
            client.predict,
            {"path": "/etc/passwd", "meta": {"_type": "nothing"}},
            api_name="/shout",
        ),
    }


def view_api() -> Any:
    client = connect()
    told = client.view_api(print_info=False, return_format="dict")
    text = client.view_api(print_info=False, return_format="str")
    return {
        "names": sorted(told["named_endpoints"]),
        "unnamed": told["unnamed_endpoints"],
        "add": told["named_endpoints"]["/add"],
        "lines": [line.strip() for line in text.splitlines() if "color" in line or "file" in line],
    }


def sessions() -> Any:
    one, two = connect(), connect()
    seen = [one.predict(api_name="/visits") for _ in range(3)]
    seen += [two.predict(api_name="/visits"), one.predict(api_name="/visits")]
    one.reset_session()
    return [*seen, one.predict(api_name="/visits")]


def many() -> Any:
    def results(name: str, count: Iterable[int]) -> list[Any]:
        client = connect()
        # Versions 1.x lock up with more than 40 jobs at once, on every server.
        jobs = [client.submit(str(i) if name == "echo" else i, api_name=f"/{name}") for i in count]
        return [job.result() for job in jobs]

    def found() -> Any:
        return {
            "echo": results("echo", range(30)),
            "double": results("double", range(20)),
            "batches": max(results("batches", range(12))),
        }

    if not version("gradio_client").startswith("1."):
        return found()
    # They also give up jobs that they submit just when they leave their stream for having
    # no other; whether they do is chance.
    for _ in range(20):
        with suppress(CancelledError):
            return found()
    return found()


def in_a_row() -> Any:
    client = connect()
    return [client.predict(str(i), api_name="/echo") for i in range(20)]


def threads() -> Any:
    client = connect()
    results: list[Any] = []

    def call(n: int) -> None:
        results.extend(client.predict(f"{n}", api_name="/later") for _ in range(5))

    workers = [threading.Thread(target=call, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sorted(results)


def callbacks() -> Any:
    client = connect()
    results: list[Any] = []
    job = client.submit(3, api_name="/count", result_callbacks=[results.append])
    job.result()
    wait_until(lambda: bool(results))
    return results


def login() -> Any:
    client = connect(GUARDED, auth=("user", "pass"))
    path = FOLDER / "own.txt"
    path.write_text("own")
    own = client.predict(handle_file(path), api_name="/shout")
    return {
        "none": failure(connect, GUARDED),
        "wrong": failure(connect, GUARDED, auth=("user", "wrong")),
        "user": client.predict(api_name="/whoami"),
        "iterated": list(client.submit(3, api_name="/count")),
        "file": Path(own).read_text(),
        "cancel": client.submit(1000, 0.01, api_name="/count").cancel(),
    }


SCENARIOS = (
    predict, arguments, wrong_arguments, values, outputs, progress, logs, updates, errors, queue,
    cancel, files, view_api, sessions, many, in_a_row, threads, callbacks, login,
)  # fmt: skip


def run(scenario: Callable[[], Any], results: dict[str, Any]) -> None:
    start = time.monotonic()
    try:
        results[scenario.__name__] = scenario()
    except BaseException:
        results[scenario.__name__] = {"failed": traceback.format_exc()}
    print(f"{scenario.__name__} {time.monotonic() - start:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    results: dict[str, Any] = {}
    for scenario in SCENARIOS:
        # A client that hangs hangs for ever.
        results[scenario.__name__] = {"failed": "it took more than twenty seconds"}
        worker = threading.Thread(target=run, args=(scenario, results), daemon=True)
        worker.start()
        worker.join(20)
    print(json.dumps(results), flush=True)
    os._exit(0)
