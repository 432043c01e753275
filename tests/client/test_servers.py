"""Servers that are set up in other ways: login, sub-path, small queue, hidden errors."""

from collections.abc import Iterator

import pytest

import jobwire
from conftest import Server, running
from jobwire import Client


@pytest.fixture(scope="module")
def locked() -> Iterator[Server]:
    with running("--auth") as server:
        yield server


@pytest.fixture(scope="module")
def mounted() -> Iterator[Server]:
    with running("--mount", path="/sub/app/") as server:
        yield server


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    with running("--max-size", "1", "--hide-errors") as server:
        yield server


def test_login(locked: Server) -> None:
    with Client(locked.url, auth=("user", "pass")) as client:
        assert client.predict("x", api_name="/echo") == "x"
        assert client.predict("x", api_name="/plain") == "x:3"  # /info wants the login too
        assert list(client.submit(3, api_name="/count")) == ["0", "1", "2"]


@pytest.mark.parametrize("auth", [None, ("user", "wrong"), ("", "")])
def test_login_that_is_missing_or_wrong(locked: Server, auth: tuple[str, str] | None) -> None:
    with pytest.raises(jobwire.AuthenticationError) as caught:
        Client(locked.url, auth=auth)
    assert caught.value.status == {None: 401, ("", ""): 422}.get(auth, 400)
    assert isinstance(caught.value, ValueError)
    assert "wrong" not in str(caught.value)


def test_login_that_nobody_asked_for_is_not_sent(url: str) -> None:
    with Client(url, auth=("user", "pass")) as client:
        assert client.predict("x", api_name="/echo") == "x"


@pytest.mark.parametrize("tail", ["", "?__theme=dark", "#top"])
def test_app_below_a_path(mounted: Server, tail: str) -> None:
    with Client(mounted.url.rstrip("/") + tail) as client:
        assert client.src == mounted.url
        assert client.predict("x", api_name="/plain") == "x:3"
        assert list(client.submit(3, api_name="/count")) == ["0", "1", "2"]
        job = client.submit(1000, 0.02, api_name="/count")
        next(iter(job))
        assert job.cancel()


def test_root_of_a_server_whose_app_lies_elsewhere_is_no_app(mounted: Server) -> None:
    with pytest.raises(jobwire.NotGradioError, match="404"):
        Client(f"http://127.0.0.1:{mounted.port}")


def test_full_queue_is_told_and_other_jobs_go_on(small: Server) -> None:
    with Client(small.url) as client:
        jobs = [client.submit(0.4, str(i), api_name="/slow") for i in range(12)]
        errors = [error for job in jobs if (error := job.exception(timeout=20)) is not None]
        assert {type(error) for error in errors} == {jobwire.QueueFullError}
        assert jobwire.QueueError is jobwire.QueueFullError
        assert 0 < len(errors) < 12
        assert "max size" in str(errors[0]).lower()
        assert client.predict("x", api_name="/echo") == "x"


def test_hidden_error_says_what_to_do(small: Server) -> None:
    with Client(small.url) as client:
        with pytest.raises(jobwire.AppError, match="show_error=True"):
            client.predict("value", api_name="/fail")
        with pytest.raises(jobwire.AppError, match="a <b>bad</b> thing"):
            client.predict("titled", api_name="/fail")
