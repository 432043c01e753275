"""One loop thread for a process: forks, exits, interrupts, misuse."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import jobwire
from jobwire.sync.loop import loop_thread


def script(code: str, url: str, *, timeout: float = 20) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(code), url],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_clients_share_one_thread(url: str) -> None:
    with jobwire.Client(url) as one, jobwire.Client(url) as two:
        assert one.predict("x", api_name="/echo") == two.predict("x", api_name="/echo")
        assert [t.name for t in threading.enumerate()].count("jobwire") == 1


def test_program_that_closes_nothing_exits_cleanly(url: str) -> None:
    done = script(
        """
        import sys, jobwire
        client = jobwire.Client(sys.argv[1])
        print(client.predict("x", api_name="/echo"))
        job = client.submit(1000, 0.05, api_name="/count")
        print(next(iter(job)))
        """,
        url,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("x\n0\n", "", 0)


def test_callbacks_are_called_though_the_main_thread_has_ended(url: str) -> None:
    done = script(
        """
        import asyncio, sys, threading, jobwire

        def work():
            client = jobwire.Client(sys.argv[1])
            threading.main_thread().join()
            job = client.submit("x", api_name="/echo", result_callbacks=print)
            print(asyncio.run(wait(job)))
            client.close()

        async def wait(job):
            return await asyncio.wrap_future(job)

        threading.Thread(target=work).start()
        """,
        url,
    )
    assert (done.stdout, done.returncode) == ("x\nx\n", 0), done.stderr


def test_client_after_the_interpreter_closed_it(url: str) -> None:
    done = script(
        """
        import atexit, sys, jobwire

        def late():
            client.close()
            try:
                client.predict("x", api_name="/echo")
            except jobwire.ClientClosedError:
                print("closed")

        atexit.register(late)
        client = jobwire.Client(sys.argv[1])
        """,
        url,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("closed\n", "", 0)


def test_interpreter_exits_though_the_server_is_silent(url: str) -> None:
    from faults import cutting_proxy

    with cutting_proxy(url) as proxy:
        code = """
            import sys, jobwire
            client = jobwire.Client(sys.argv[1])
            job = client.submit(1000, 0.05, api_name="/count")
            next(iter(job))
            print("ready", flush=True)
            sys.stdin.readline()
            """
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), proxy.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            proxy.freeze()
            started = time.monotonic()
            process.communicate("\n", timeout=15)
            assert process.returncode == 0
            assert time.monotonic() - started < 6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_makes_clients_of_its_own(url: str) -> None:
    done = script(
        """
        import os, sys, warnings, jobwire
        warnings.simplefilter("ignore")  # 3.12 warns of forks with threads
        parent = jobwire.Client(sys.argv[1])
        parent.predict("x", api_name="/echo")
        pending = parent.submit(100, 0.05, api_name="/count")
        pid = os.fork()
        if pid == 0:
            try:
                parent.predict("x", api_name="/echo")
            except jobwire.LocalProtocolError as error:
                assert "fork" in str(error)
                try:
                    pending.result(5)
                except jobwire.LocalProtocolError:
                    pass
                with jobwire.Client(sys.argv[1]) as client:
                    assert client.predict("y", api_name="/echo") == "y"
                    os._exit(7)
            os._exit(1)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), parent.predict("z", api_name="/echo"))
        parent.close()
        """,
        url,
    )
    assert (done.stdout, done.returncode) == ("7 z\n", 0), done.stderr


def test_ctrl_c_interrupts_a_wait_and_cancels_the_job(url: str) -> None:
    code = """
        import sys, jobwire
        client = jobwire.Client(sys.argv[1])
        print("ready", flush=True)
        try:
            client.predict(1000, 0.05, api_name="/count")
        except KeyboardInterrupt:
            print("interrupted", client.predict("x", api_name="/echo"))
        client.close()
        """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), url], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=15)
    assert (out, process.returncode) == ("interrupted x\n", 0)


async def test_client_works_inside_of_a_running_loop(url: str) -> None:
    # It blocks this loop, which its own loop does not mind.
    with jobwire.Client(url) as client:
        assert client.predict("x", api_name="/echo") == "x"


def test_blocking_in_the_loop_thread_is_refused() -> None:
    loop = loop_thread()

    async def block() -> None:
        loop.run(asyncio.sleep(0))

    with pytest.raises(jobwire.LocalProtocolError, match="wait for itself"):
        loop.run(block())


def test_callback_that_fails_is_logged_and_harms_nobody(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()
    with jobwire.Client(url) as client:
        job = client.submit("x", api_name="/echo")
        job.add_done_callback(lambda _: 1 / 0)
        job.add_done_callback(lambda _: done.set())
        assert done.wait(10)
    assert "a callback failed" in caplog.text


def test_client_that_nobody_holds_is_closed(url: str) -> None:
    client = jobwire.Client(url)
    client.predict("x", api_name="/echo")
    inner = client._client
    del client
    deadline = time.monotonic() + 5
    while not inner._app.closed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert inner._app.closed
    while inner._app.opened and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not inner._app.opened
