"""Ctrl-C wherever plain code waits."""

from pathlib import Path

import pytest

from hosts.programs import INTERRUPT, run

TESTS = str(Path(__file__).parents[1])

# What waits, and in which functions, the innermost last.
WAITS = {
    "result": ("job.result()", ("result", "wait")),
    "exception": ("job.exception()", ("exception", "wait")),
    "predict": ("client.predict(10**6, 0.05, api_name='/count')", ("predict", "run", "wait")),
    "iteration": ("list(job)", ("__next__", "wait")),
    "updates": ("list(job.updates())", ("__next__", "wait")),
}


@pytest.mark.parametrize("name", WAITS)
def test_interrupt_ends_the_wait_and_leaves_the_job_alone(url: str, name: str) -> None:
    statement, functions = WAITS[name]
    done = run(
        f"""{INTERRUPT}
import jobwire
with jobwire.Client(sys.argv[1]) as client:
    job = client.submit(10**6, 0.05, api_name="/count")
    next(job)
    interrupt_once_blocked(*{functions!r})
    try:
        {statement}
    except KeyboardInterrupt:
        print("interrupted", job.running(), client.predict("x", api_name="/echo"))
""",
        url,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted True x\n", "", 0)


def test_interrupted_cancel_has_cancelled(url: str) -> None:
    done = run(
        f"""{INTERRUPT}
sys.path.insert(0, {TESTS!r})
import jobwire
from faults import cutting_proxy
with cutting_proxy(sys.argv[1]) as proxy, jobwire.Client(proxy.url) as client:
    job = client.submit(10**6, 0.05, api_name="/count")
    next(job)
    proxy.freeze()  # so that there is something to wait for
    interrupt_once_blocked("cancel", "run", "wait")
    try:
        job.cancel()
    except KeyboardInterrupt:
        print("interrupted", job.cancelled())
""",
        url,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted True\n", "", 0)


def test_interrupted_iteration_loses_no_output(url: str) -> None:
    done = run(
        f"""{INTERRUPT}
import jobwire
with jobwire.Client(sys.argv[1]) as client:
    outputs = iter(client.submit(60, 0.02, api_name="/count"))
    seen, interrupts = [], 0
    interrupt_once_blocked("__next__", "wait")
    while len(seen) < 60:
        try:
            seen.append(next(outputs))
        except KeyboardInterrupt:
            interrupts += 1
            interrupt_once_blocked("__next__", "wait")
    print(seen == [str(i) for i in range(60)], interrupts > 10)
""",
        url,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("True True\n", "", 0)
