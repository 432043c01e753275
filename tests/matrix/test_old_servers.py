"""What is particular to servers before 4.9, whose jobs each have a connection."""

import time
from collections.abc import Iterator

import pytest

import jobwire
from conftest import Eventually, Server, running
from faults import cutting_proxy
from jobwire import Client
from matrix.test_generations import VERSIONS, build

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(120)]

OLD = ("3.41.2", "3.50.2", "4.0.2")
each_version = pytest.mark.parametrize("version", OLD)
each_with_websockets = pytest.mark.parametrize("version", OLD[:2])


def python(version: str) -> str:
    return str(build(version, VERSIONS[version]))


@pytest.fixture(scope="module", params=OLD)
def old(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running("--extras", python=python(request.param)) as server:
        yield server


@pytest.fixture
def app(old: Server) -> Iterator[Client]:
    with Client(old.url) as client:
        yield client


def outcomes(job: jobwire.Job) -> list[str]:
    """Return the progress that a job reported, in its order."""
    return [
        f"{unit.index}/{unit.length}"
        for update in job.updates()
        if isinstance(update, jobwire.StatusUpdate)
        for unit in update.progress_data or ()
    ]


def test_statuses_come_in_their_order(app: Client) -> None:
    job = app.submit(3, api_name="/steps")
    codes = [update.code for update in job.updates() if isinstance(update, jobwire.StatusUpdate)]
    assert codes == sorted(codes)
    assert {jobwire.Status.IN_QUEUE, jobwire.Status.SENDING_DATA} < set(codes)
    assert job.result() == "done"


def test_jobs_of_one_function_keep_their_progress_apart(app: Client) -> None:
    jobs = [app.submit(n, api_name="/steps") for n in (2, 3, 4, 5)]
    for n, job in zip((2, 3, 4, 5), jobs, strict=True):
        seen = outcomes(job)
        assert seen
        assert {entry.partition("/")[2] for entry in seen} == {str(n)}
        assert seen == sorted(seen)


def test_jobs_that_share_state_take_turns(app: Client) -> None:
    jobs = [app.submit(word, api_name="/remember") for word in "abcde"]
    longest = max((job.result(timeout=20) for job in jobs), key=len)
    assert sorted(longest.split()) == list("abcde")


def test_stateful_generator_can_be_called_again_after_a_cancel(app: Client) -> None:
    job = app.submit(50, 0.2, api_name="/tally")
    assert next(iter(job)) == "0/1"
    assert job.cancel()
    steps = [output.split("/") for output in app.submit(3, 0.2, api_name="/tally")]
    assert [step for step, _ in steps] == ["0", "1", "2"]
    totals = [int(total) for _, total in steps]
    assert totals == [totals[0], totals[0] + 1, totals[0] + 2]
    assert totals[0] < 10  # the first was stopped


def test_call_past_the_queue(app: Client) -> None:
    blockers = [app.submit(0.5, "x", api_name="/slow") for _ in range(5)]
    assert app.predict("x", api_name="/direct") == "x"
    assert not all(job.done() for job in blockers)


@pytest.mark.parametrize("version", ["3.41.2", "3.50.2", "4.0.2", "4.10.0"])
def test_batch_endpoint_works_and_the_queue_survives_it(version: str) -> None:
    with running("--extras", python=python(version)) as server, Client(server.url) as client:
        jobs = [client.submit("ab", word, api_name="/pair") for word in "xyz"]
        assert [job.result(timeout=20) for job in jobs] == [(f"ab+{word}", 2) for word in "xyz"]
        assert client.predict("on", api_name="/echo") == "on"
        with pytest.raises(jobwire.AppError, match="a bad pair"):
            client.predict("bad", "x", api_name="/pair")


def test_cancelled_waiting_job_is_never_run(app: Client, eventually: Eventually) -> None:
    busy = [app.submit(0.6, f"busy{i}", api_name="/traced") for i in range(4)]
    waiting = app.submit(0, "never", api_name="/traced")
    eventually(lambda: waiting.status().code is jobwire.Status.IN_QUEUE)
    assert waiting.cancel()
    assert app.submit(0, "after", api_name="/traced").result(timeout=30) == "after"
    assert [job.result(timeout=30) for job in busy] == [f"busy{i}" for i in range(4)]
    ran = app.predict(api_name="/ran").split()
    assert "after" in ran
    assert "never" not in ran


def test_cancelled_plain_function_lets_the_next_one_run(
    app: Client, eventually: Eventually
) -> None:
    job = app.submit(1, "x", api_name="/traced")
    eventually(job.running)
    started = time.monotonic()
    assert job.cancel()
    assert time.monotonic() - started < 0.9
    with pytest.raises(jobwire.JobCancelledError):
        job.result()
    assert app.predict(0, "y", api_name="/traced") == "y"


def test_closed_client_fails_its_jobs_at_once(old: Server) -> None:
    client = Client(old.url)
    jobs = [client.submit(100, 0.1, api_name="/count") for _ in range(6)]
    next(iter(jobs[0]))
    started = time.monotonic()
    client.close()
    assert time.monotonic() - started < 3
    for job in jobs:
        assert isinstance(job.exception(), jobwire.ClientClosedError)
    with Client(old.url) as other:
        assert other.predict(2, 0, api_name="/count") == "1"


def test_jobs_that_wait_are_lost_by_name_with_their_connection(old: Server) -> None:
    with cutting_proxy(old.url) as proxy, Client(proxy.url) as client:
        jobs = [client.submit(0.6, str(i), api_name="/traced") for i in range(6)]
        updates = jobs[-1].updates()
        while next(updates).code is not jobwire.Status.IN_QUEUE:  # type: ignore[union-attr]
            pass
        proxy.cut()
        for job in jobs:
            assert isinstance(job.exception(timeout=10), jobwire.ConnectionLostError)
        assert client.predict("on", api_name="/echo") == "on"


@each_version
def test_login(version: str) -> None:
    with running("--auth", python=python(version)) as server:
        with Client(server.url, auth=("user", "pass")) as client:
            assert client.predict("x", api_name="/echo") == "x"
            assert client.predict("x", api_name="/direct") == "x"
            assert list(client.submit(3, 0, api_name="/count")) == ["0", "1", "2"]
        for auth in (None, ("user", "wrong")):
            with pytest.raises(jobwire.AuthenticationError):
                Client(server.url, auth=auth)


@each_version
def test_full_queue_and_hidden_errors(version: str) -> None:
    options = ("--max-size", "1", "--hide-errors", "--workers", "1")
    with running(*options, python=python(version)) as server, Client(server.url) as client:
        jobs = [client.submit(0.4, str(i), api_name="/slow") for i in range(8)]
        errors = [error for job in jobs if (error := job.exception(timeout=20)) is not None]
        assert {type(error) for error in errors} == {jobwire.QueueFullError}
        assert 0 < len(errors) < 8
        with pytest.raises(jobwire.AppError, match="show_error=True"):
            client.predict("value", api_name="/fail")
        with pytest.raises(jobwire.AppError, match="a bad thing"):
            client.predict("", api_name="/fail")
        with pytest.raises(jobwire.AppError, match="failed after outputs"):
            client.predict(2, api_name="/fail_late")


@each_version
def test_app_below_a_path(version: str) -> None:
    with (
        running("--mount", python=python(version), path="/sub/app/") as server,
        Client(server.url) as client,
    ):
        assert client.predict("x", "4", api_name="/plain") == "x:4"
        assert list(client.submit(3, 0, api_name="/count")) == ["0", "1", "2"]


@each_with_websockets
def test_app_without_a_queue(version: str) -> None:
    with (
        running("--no-queue", python=python(version)) as server,
        Client(server.url) as client,
    ):
        assert client.predict("naïve ✓ 🎉", api_name="/echo") == "naïve ✓ 🎉"
        assert [client.predict(word, api_name="/remember") for word in "ab"] == ["a", "a b"]
        with pytest.raises(jobwire.AppError, match="plain value error"):
            client.predict("value", api_name="/fail")


@each_with_websockets
def test_live_server_may_be_silent_and_a_dead_connection_is_noticed(version: str) -> None:
    with running(python=python(version)) as server, cutting_proxy(server.url) as proxy:
        with Client(proxy.url, idle_timeout=0.6) as client:
            assert client.predict(2, "x", api_name="/slow") == "slept x"
            job = client.submit(100, 0.05, api_name="/count")
            next(iter(job))
            proxy.freeze()
            with pytest.raises(jobwire.ConnectionLostError, match="nothing was heard"):
                job.result(timeout=10)


@each_version
def test_killed_server_loses_the_jobs_and_refuses_new_ones(version: str) -> None:
    with running(python=python(version)) as server, Client(server.url) as client:
        jobs = [client.submit(100, 0.05, api_name="/count") for _ in range(3)]
        next(iter(jobs[0]))
        server.process.kill()
        for job in jobs:
            with pytest.raises((jobwire.ConnectionLostError, jobwire.ConnectError)):
                job.result(timeout=20)
        assert isinstance(jobs[0].exception(), jobwire.ConnectionLostError)
        with pytest.raises(jobwire.ConnectError):
            client.predict("x", api_name="/echo")
