"""Under gevent's monkey patching, where threads are greenlets."""

from hosts.programs import run

GREENLETS = """
import gevent, sys, jobwire
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0.01)
ticking = gevent.spawn(tick)
with jobwire.Client(sys.argv[1]) as client:
    job = client.submit(10, 0.05, api_name="/count")
    print(list(job) == [str(i) for i in range(10)], ticks > 10)
    calls = [gevent.spawn(client.predict, str(i), api_name="/echo") for i in range(20)]
    gevent.joinall(calls)
    print([call.value for call in calls] == [str(i) for i in range(20)])
    job = client.submit(10**6, 0.05, api_name="/count")
    next(job)
    print(job.cancel(), job.cancelled())
    try:
        client.submit(30, "x", api_name="/slow").result(0.1)
    except TimeoutError:
        print("timed out")
ticking.kill()
"""
EXPECTED = "True True\nTrue\nTrue True\ntimed out\n"


def test_patched_before_the_import(url: str) -> None:
    done = run("from gevent import monkey; monkey.patch_all()\n" + GREENLETS, url, options=())
    assert (done.stdout, done.stderr, done.returncode) == (EXPECTED, "", 0)


def test_patched_after_the_import(url: str) -> None:
    done = run(
        "import jobwire\nfrom gevent import monkey; monkey.patch_all()\n" + GREENLETS,
        url,
        options=(),
    )
    assert (done.stdout, done.stderr, done.returncode) == (EXPECTED, "", 0)


def test_exit_with_jobs_in_flight(url: str) -> None:
    done = run(
        """
        from gevent import monkey; monkey.patch_all()
        import sys, jobwire
        client = jobwire.Client(sys.argv[1])
        job = client.submit(10**6, 0.05, api_name="/count", result_callbacks=print)
        print(next(job))
        """,
        url,
        options=(),
    )
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 0)


def test_client_from_before_the_patching_is_refused_and_a_new_one_works(url: str) -> None:
    # What gevent itself says of threads from before is not ours.
    done = run(
        f"""
import sys, warnings, jobwire
warnings.simplefilter("ignore")
before = jobwire.Client(sys.argv[1])
print(before.predict("x", api_name="/echo"))
from gevent import monkey; monkey.patch_all()
try:
    before.predict("y", api_name="/echo")
except jobwire.LocalProtocolError as error:
    print("gevent" in str(error))
{GREENLETS}
        """,
        url,
        options=(),
    )
    assert (done.stdout, done.returncode) == (f"x\nTrue\n{EXPECTED}", 0), done.stderr


def test_loops_beside_a_plain_client_are_what_python_refuses(url: str) -> None:
    done = run(
        """
        from gevent import monkey; monkey.patch_all()
        import asyncio, sys, jobwire

        async def work():
            async with jobwire.AsyncClient(sys.argv[1]) as client:
                return await client.predict("x", api_name="/echo")

        print(asyncio.run(work()))  # works as long as it is alone
        with jobwire.Client(sys.argv[1]) as client:
            working = work()
            try:
                asyncio.run(working)
            except RuntimeError as error:
                print(error)
            working.close()
            print(client.predict("y", api_name="/echo"))
        """,
        url,
        options=(),
    )
    expected = "x\nasyncio.run() cannot be called from a running event loop\ny\n"
    assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)
