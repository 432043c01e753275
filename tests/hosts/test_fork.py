"""Forks with a live client: children get clients of their own, the parent goes on."""

import os
from pathlib import Path

import pytest

from faults import config, raw_server, response
from hosts.programs import run, run_file

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

QUIET = ("-W", "ignore")  # 3.12 warns of forks with threads


def test_child_that_throws_the_parents_client_away_harms_nobody(url: str) -> None:
    done = run(
        """
        import gc, os, sys, jobwire
        with jobwire.Client(sys.argv[1]) as client:
            jobs = [client.submit(20, 0.05, api_name="/count") for _ in range(3)]
            next(iter(jobs[0]))
            pid = os.fork()
            if pid == 0:
                client.close()  # does nothing
                own = jobwire.Client(sys.argv[1])
                assert own.predict("y", api_name="/echo") == "y"
                own.close()
                del client, jobs
                gc.collect()
                sys.exit(7)  # through the with-block, and what runs at exit
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            print([job.result(10) for job in jobs], client.predict("z", api_name="/echo"))
        """,
        url,
        options=QUIET,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("7\n['19', '19', '19'] z\n", "", 0)


def test_server_sees_the_parent_close_though_a_child_lives() -> None:
    with raw_server({"/config": response(config()).replace(b"connection: close\r\n", b"")}) as app:
        done = run(
            """
            import os, socket, sys, jobwire
            client = jobwire.Client(sys.argv[1])
            def connections():
                # As the kernel has them, whoever holds them.
                port = f":{int(sys.argv[1].rstrip('/').rpartition(':')[2]):04X}"
                lines = open("/proc/net/tcp").read().splitlines()[1:]
                return sum(line.split()[2].endswith(port) and line.split()[3] == "01"
                           for line in lines)
            before = connections()
            back, forth = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(forth)
                os.read(back, 1)  # until the parent lets go
                os._exit(0)
            os.close(back)
            client.close()
            print(before, connections())
            os.close(forth)
            os.waitpid(pid, 0)
            """,
            app.url,
            options=QUIET,
        )
    assert (done.stdout, done.stderr, done.returncode) == ("1 0\n", "", 0)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(url: str, method: str, tmp_path: Path) -> None:
    done = run_file(
        tmp_path / "program.py",
        """
        import multiprocessing, sys, jobwire

        def work(url, text):
            with jobwire.Client(url) as client:
                job = client.submit(3, 0.01, api_name="/count")
                return client.predict(text, api_name="/echo"), list(job)

        if __name__ == "__main__":
            url = sys.argv[1]
            with jobwire.Client(url) as client:
                pending = client.submit(30, 0.05, api_name="/count")
                next(iter(pending))
                with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
                    print(pool.starmap(work, [(url, "a"), (url, "b")]))
                print(pending.result(10), client.predict("z", api_name="/echo"))
        """,
        url,
        method,
        options=QUIET,
    )
    expected = [(text, ["0", "1", "2"]) for text in "ab"]
    assert (done.stdout, done.stderr, done.returncode) == (f"{expected}\n29 z\n", "", 0)


def test_child_whose_parent_waits_in_the_client(url: str) -> None:
    done = run(
        """
        import os, sys, threading, jobwire
        client = jobwire.Client(sys.argv[1])
        results = []
        def wait():
            results.append(client.predict(1, "x", api_name="/slow_wide"))
        threads = [threading.Thread(target=wait) for _ in range(4)]
        for thread in threads:
            thread.start()
        pids = []
        for _ in range(5):
            if (pid := os.fork()) == 0:
                with jobwire.Client(sys.argv[1]) as own:
                    os._exit(own.predict("y", api_name="/echo") == "y")
            pids.append(pid)
        print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids])
        for thread in threads:
            thread.join()
        print(results)
        client.close()
        """,
        url,
        options=QUIET,
    )
    assert done.stderr == ""
    assert (done.stdout, done.returncode) == (f"{[1] * 5}\n{['slept x'] * 4}\n", 0)
