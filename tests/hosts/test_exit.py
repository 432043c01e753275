"""The interpreter ends while jobs are in flight and callbacks run."""

import pytest

from faults import cutting_proxy
from hosts.programs import waiting

BUSY = """
import sys, time, jobwire
client = jobwire.Client(sys.argv[1])
jobs = [client.submit(1000, 0.05, api_name="/count") for _ in range(3)]
jobs += [client.submit(100, "x", api_name="/slow") for _ in range(3)]
for job in jobs[:3]:
    next(iter(job))
"""

CALLING_BACK = """
import threading
called = threading.Event()
def block(result):
    called.set()
    time.sleep(100)
for job in [client.submit(str(i), api_name="/echo", result_callbacks=block) for i in range(5)]:
    job.result()
called.wait()
"""

WAITING = """
import threading
def wait():
    try:
        jobs[0].result()
    except jobwire.ClientClosedError:
        pass  # as it should be
threading.Thread(target=wait, daemon=True).start()
threading.Thread(target=lambda: list(jobs[1].updates()), daemon=True).start()
"""


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(BUSY, id="jobs in flight"),
        pytest.param(BUSY + CALLING_BACK, id="callbacks running"),
        pytest.param(BUSY + WAITING, id="threads waiting"),
    ],
)
@pytest.mark.parametrize("mute", [False, True], ids=["", "mute server"])
def test_end_is_quick_and_silent(url: str, code: str, mute: bool) -> None:
    with cutting_proxy(url) as proxy, waiting(code, proxy.url) as program:
        if mute:
            proxy.freeze()
        out, err, status, seconds = program.end()
    assert (out, err, status) == ("", "", 0)
    assert seconds < 3
