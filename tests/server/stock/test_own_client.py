"""jobwire's own client against jobwire's own server: the scenarios that any server passes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobwire
from apps import functions
from conftest import Eventually
from server.conftest import Serving


@pytest.fixture
def client(serving: Serving) -> Iterator[jobwire.Client]:
    with jobwire.Client(serving.url) as client:
        yield client


def test_values_and_arguments(client: jobwire.Client) -> None:
    assert client.predict("naïve ✓ 🎉", api_name="/echo") == "naïve ✓ 🎉"
    assert client.predict("hi", api_name="/two") == ("HI", 2)
    assert client.predict(api_name="/none") == ()
    assert client.predict(1, c=2, api_name="/add") == 5.0
    assert client.predict({"x": 1}, api_name="/move") == {"x": 2, "y": 1.0}
    assert client.predict("x", api_name="/direct") == "x"
    assert client.predict("x", api_name="/quiet_echo") == "x"


def test_wrong_arguments(client: jobwire.Client) -> None:
    with pytest.raises(jobwire.ValidationError, match=r"a: .*int"):
        client.predict("one", api_name="/add")
    with pytest.raises(jobwire.EndpointNotFoundError):
        client.predict("x", api_name="/private_echo")
    assert client.predict("x", api_name="/echo") == "x"


@pytest.mark.parametrize("name", ["tables", "mixed", "grow"])
def test_every_output(client: jobwire.Client, name: str) -> None:
    args = (30,) if name == "grow" else ()
    expected = list(getattr(functions, name)(*args))
    assert list(client.submit(*args, api_name=f"/{name}")) == expected


def test_outputs_come_as_they_are_made(client: jobwire.Client) -> None:
    job = client.submit(5, 0.1, api_name="/count")
    start = time.monotonic()
    assert next(iter(job)) == "0"
    assert time.monotonic() - start < 0.4
    assert job.result(timeout=10) == "4"


def test_progress_and_logs(client: jobwire.Client) -> None:
    units = [
        update.progress_data
        for update in client.submit(2, api_name="/steps").updates()
        if isinstance(update, jobwire.StatusUpdate) and update.progress_data
    ]
    assert {tuple(unit.desc for unit in nested) for nested in units} >= {("outer", "inner")}
    updates = client.submit("x", api_name="/logs").updates()
    logs = [u.log for u in updates if isinstance(u, jobwire.StatusUpdate) and u.log]
    assert logs == [("info x", "info"), ("warning x", "warning")]


def test_errors(client: jobwire.Client) -> None:
    with pytest.raises(jobwire.AppError) as caught:
        client.predict("titled", api_name="/fail")
    told = caught.value
    assert (told.message, told.title, told.duration, told.visible) == (
        "a <b>bad</b> thing",
        "Oops",
        7,
        False,
    )
    with pytest.raises(jobwire.AppError, match="ValueError") as caught:
        client.predict("value", api_name="/fail")
    assert "secret" not in str(caught.value)
    job = client.submit("late", api_name="/fail")
    with pytest.raises(jobwire.AppError, match="failed after outputs"):
        job.result(timeout=10)
    assert job.outputs() == ["one", "two"]


def test_state_goes_with_the_session(client: jobwire.Client, serving: Serving) -> None:
    assert [client.predict(api_name="/visits") for _ in range(2)] == [1, 2]
    with jobwire.Client(serving.url) as other:
        assert other.predict(api_name="/visits") == 1
    client.reset_session()
    assert client.predict(api_name="/visits") == 1


def test_many_jobs(client: jobwire.Client) -> None:
    jobs = [client.submit(str(i), api_name="/echo") for i in range(500)]
    assert [job.result(timeout=20) for job in jobs] == [str(i) for i in range(500)]
    assert [client.predict(str(i), api_name="/echo") for i in range(50)] == list(
        map(str, range(50))
    )


def test_cancelled_generator_is_closed_and_others_go_on(
    client: jobwire.Client, eventually: Eventually
) -> None:
    tag = f"own {time.time_ns()}"
    jobs = [client.submit(40, 0.02, f"{tag} {n}", api_name="/count") for n in range(3)]
    for job in jobs:
        next(iter(job))
    assert jobs[1].cancel()
    with pytest.raises(jobwire.JobCancelledError):
        jobs[1].result()
    eventually(lambda: client.predict(f"{tag} 1", api_name="/was_ended") is True)
    assert jobs[0].result(timeout=10) == jobs[2].result(timeout=10) == "39"


def test_cancelled_waiting_job_does_not_run(client: jobwire.Client, eventually: Eventually) -> None:
    first = client.submit(0.4, "first", api_name="/slow")
    eventually(first.running)
    second = client.submit(0.05, "second", api_name="/slow")
    third = client.submit(0.05, "third", api_name="/slow")
    eventually(lambda: third.status().rank == 1)
    assert second.cancel()
    eventually(lambda: third.status().rank == 0 or third.done())
    assert first.result(timeout=10) == "slept first"
    assert third.result(timeout=10) == "slept third"


def test_login(guarded: Serving) -> None:
    with pytest.raises(jobwire.AuthenticationError):
        jobwire.Client(guarded.url)
    with jobwire.Client(guarded.url, auth=("user", "pass")) as client:
        assert client.predict(api_name="/whoami") == "user"
        assert list(client.submit(3, api_name="/count")) == ["0", "1", "2"]


def test_files_go_there_and_back(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "two words.txt").write_text("hello")
    with jobwire.Client(serving.url, download_files=tmp_path / "here") as client:
        file = jobwire.handle_file(tmp_path / "two words.txt")
        path = Path(client.predict(file, api_name="/shout"))
        assert (path.name, path.read_text()) == ("shouted two words.txt", "HELLO")
        assert client.predict([file, file], separator="-", api_name="/join") == "hello-hello"
        with pytest.raises(jobwire.ValidationError):
            client.predict(str(tmp_path / "two words.txt"), api_name="/shout")


def test_files_within_values_are_told_by_the_schema(serving: Serving, tmp_path: Path) -> None:
    with jobwire.Client(serving.url, download_files=tmp_path) as client:
        parts = client.predict("a b", api_name="/parts")
        assert all(Path(path).is_relative_to(tmp_path) for path in parts.values())
        assert client.predict(api_name="/odd")  # JSON of no such schema
