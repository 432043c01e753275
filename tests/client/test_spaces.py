"""Spaces by name: found on the Hub, waited for, woken; through the Hub's own library."""

import asyncio
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import huggingface_hub
import pytest
from wire import CLOSE_STREAM, completed

import jobwire
from conftest import Eventually
from faults import HANG, LAST_CHUNK, RawServer, config, event_stream, raw_server, response
from hub import HubServer, HubSpace, hub_server
from jobwire import AsyncClient, Client
from jobwire.client import spaces
from jobwire.client.spaces import is_hugging_face, space_name

JOIN = response({"event_id": "a"})
PAGE = response("<html>Preparing Space", 503)


def app() -> dict[str, Any]:
    return {
        "/config": response(config()),
        "/gradio_api/queue/join": JOIN,
        "/gradio_api/queue/data": event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK,
    }


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(spaces, "_POLL", (0.02, 0.1))
    yield
    huggingface_hub.close_session()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with hub_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def host() -> Iterator[RawServer]:
    with raw_server(app()) as server:
        yield server


@pytest.mark.parametrize(
    ("src", "name"),
    [
        ("user/space", "user/space"),
        (" user/space/ ", "user/space"),
        ("a-b_c/x.y-z_1", "a-b_c/x.y-z_1"),
        ("https://huggingface.co/spaces/user/space", "user/space"),
        ("https://user-space.hf.space", None),
        ("https://huggingface.co/user/model", None),
        ("http://127.0.0.1:7860/app", None),
        ("127.0.0.1/app", None),
        ("localhost/app", None),
        ("localhost:7860/app", None),
        ("example.com/app", None),
        ("space", None),
        ("a/b/c", None),
        ("", None),
    ],
)
def test_what_is_the_name_of_a_space(src: str, name: str | None) -> None:
    assert space_name(src) == name


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("https://huggingface.co/", True),
        ("https://user-space.hf.space/", True),
        ("https://user-space.hf.space:443/", True),
        ("https://USER-SPACE.HF.SPACE/", True),
        ("http://user-space.hf.space/", False),
        ("http://huggingface.co/", False),
        ("https://hf.space.example.com/", False),
        ("https://evilhf.space/", False),
        ("https://evilhuggingface.co/", False),
        ("https://x.huggingface.co.example.com/", False),
        ("https://huggingface.co@example.com/", False),
        ("https://abc.gradio.live/", False),
        ("http://127.0.0.1:7860/", False),
        ("https://[hf.space/", False),
    ],
)
def test_who_is_hugging_face(url: str, trusted: bool) -> None:
    assert is_hugging_face(url) is trusted


# -- finding -------------------------------------------------------------------


def test_space_is_found_by_name(hub: HubServer, url: str) -> None:
    hub.spaces["user/space"] = HubSpace(url)
    with Client("user/space") as client:
        assert (client.src, client.space_id) == (url, "user/space")
        assert client.predict("x", api_name="/echo") == "x"
    assert hub.paths() == ["/api/spaces/user/space"]


async def test_space_is_found_by_name_from_asynchronous_code(hub: HubServer, url: str) -> None:
    hub.spaces["user/space"] = HubSpace(url)
    client = AsyncClient("user/space")
    assert (client.src, repr(client)) == ("user/space", "AsyncClient('user/space')")
    async with client:
        assert await client.predict("x", api_name="/echo") == "x"


def test_address_has_no_space_id_and_does_not_ask_the_hub(hub: HubServer, url: str) -> None:
    with Client(url) as client:
        assert client.space_id is None
    assert hub.requests == []


async def test_the_loop_goes_on_while_the_hub_thinks(
    hub: HubServer, eventually: Eventually
) -> None:
    hub.refusals.append(HANG)
    client = AsyncClient("user/space")
    task = asyncio.create_task(client.connect())
    # The loop has to run for this to come true.
    await asyncio.to_thread(eventually, lambda: bool(hub.requests))
    started = time.monotonic()
    await client.aclose()
    with pytest.raises(jobwire.ClientClosedError):
        await task
    assert time.monotonic() - started < 0.5


def test_space_that_does_not_exist(hub: HubServer) -> None:
    with pytest.raises(jobwire.SpaceNotFoundError, match="has no Space user/none") as caught:
        Client("user/none")
    assert (caught.value.space_id, caught.value.stage) == ("user/none", None)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("src", ["user/a--b", "user/.git", f"user/{'a' * 200}"])
def test_name_that_no_space_can_have(hub: HubServer, src: str) -> None:
    with pytest.raises(jobwire.SpaceNotFoundError, match="no name of a Space"):
        Client(src)
    assert hub.requests == []


@pytest.mark.parametrize("endpoint", ["http://[::1", "no address"])
def test_hub_at_no_address(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(jobwire.JobwireError, match=r"\[::1|no address"):
        Client("user/space")


def test_private_space(hub: HubServer, host: RawServer) -> None:
    hub.spaces["user/space"] = HubSpace(host.url, token="hf_me")
    with pytest.raises(jobwire.SpaceNotFoundError, match=r"private.*pass a token="):
        Client("user/space")
    with pytest.raises(jobwire.SpaceNotFoundError, match=r"private.*may not see it") as caught:
        Client("user/space", token="hf_other")
    assert "hf_other" not in str(caught.value)
    with Client("user/space", token="hf_me") as client:
        assert client.predict("x") == "x"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            response(
                {"error": "Invalid username or password."},
                401,
                headers="X-Error-Message: Invalid credentials in Authorization header\r\n",
            ),
            jobwire.AuthenticationError,
        ),
        (response({"error": "no"}, 403), jobwire.AuthenticationError),
        (response({"error": "private"}, 401), jobwire.SpaceNotFoundError),
        (response("oops", 500), jobwire.ServerError),
        (response("<html>what", 200), jobwire.RemoteProtocolError),
        (response(b"[]", 200), jobwire.RemoteProtocolError),
        (b"SSH-2.0\r\nconnection: close", jobwire.ConnectError),
    ],
    ids=["token", "forbidden", "private", "failed", "page", "other JSON", "no HTTP"],
)
def test_hub_that_refuses_or_talks_nonsense(
    hub: HubServer, answer: bytes, error: type[Exception]
) -> None:
    hub.refusals.append(answer)
    with pytest.raises(error) as caught:
        Client("user/space", token="hf_secret")
    assert type(caught.value) is error
    assert "hf_secret" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_hub_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(jobwire.ConnectError, match=r"Hub at http://127\.0\.0\.1:9"):
        Client("user/space")


def test_hub_that_does_not_answer(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "_HUB_TIMEOUT", 0.3)
    hub.refusals.append(HANG)
    with pytest.raises(jobwire.TransportTimeoutError, match="Hub"):
        Client("user/space")


def test_hub_library_that_is_offline(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(jobwire.ConnectError, match="offline"):
        Client("user/space")


def test_without_the_library_names_cannot_be_used_but_addresses_can(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(jobwire.MissingDependencyError, match=r"pip install 'jobwire\[hub\]'") as e:
        Client("user/space")
    assert isinstance(e.value, ImportError)
    assert e.value.name == "huggingface_hub"
    with Client(url) as client:
        assert client.predict("x", api_name="/echo") == "x"


# -- waiting -------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["RUNNING", "RUNNING_BUILDING", "RUNNING_APP_STARTING", "NEW"])
def test_space_that_runs_is_not_waited_for(hub: HubServer, host: RawServer, stage: str) -> None:
    hub.spaces["user/space"] = HubSpace(host.url, [stage])
    with Client("user/space", space_timeout=0):
        assert len(hub.requests) == 1


@pytest.mark.parametrize("timeout", [10, None])
def test_space_that_starts_is_waited_for(
    hub: HubServer, host: RawServer, caplog: pytest.LogCaptureFixture, timeout: float | None
) -> None:
    stages = ["BUILDING", "BUILDING", "APP_STARTING", "APP_STARTING", "RUNNING"]
    hub.spaces["user/space"] = HubSpace(host.url, stages)
    with Client("user/space", space_timeout=timeout) as client:
        assert client.predict("x") == "x"
    assert len(hub.requests) == 5
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line.split(";")[0] for line in said] == [
        "the Space user/space is BUILDING",
        "the Space user/space is APP_STARTING",
    ]
    assert said[0].endswith("until it runs" if timeout is None else "up to 10 s")
    assert [path for path in host.paths() if path == "/config"] == ["/config"]


def test_nothing_is_said_if_not_verbose(
    hub: HubServer, host: RawServer, caplog: pytest.LogCaptureFixture
) -> None:
    hub.spaces["user/space"] = HubSpace(host.url, ["BUILDING", "RUNNING"])
    with Client("user/space", verbose=False):
        assert [r for r in caplog.records if r.name == "jobwire"] == []


@pytest.mark.parametrize("stage", ["SLEEPING", "STOPPED"])
def test_space_that_sleeps_is_woken(hub: HubServer, stage: str) -> None:
    space = hub.spaces["user/space"] = HubSpace(stages=[stage])
    routes = app()

    def wake(_: bytes) -> bytes:
        routes["/config"] = response(config())
        space.stages = ["APP_STARTING", "RUNNING"]
        return PAGE

    routes["/config"] = wake
    with raw_server(routes) as host:
        space.host = host.url
        with Client("user/space") as client:
            assert client.predict("x") == "x"
        assert len(hub.requests) == 3


def test_space_that_is_awake_before_the_hub_knows_is_not_waited_for(
    hub: HubServer, host: RawServer
) -> None:
    hub.spaces["user/space"] = HubSpace(host.url, ["SLEEPING"])
    with Client("user/space") as client:
        assert client.predict("x") == "x"
    assert len(hub.requests) == 1


@pytest.mark.parametrize("stage", ["BUILDING", "SLEEPING"])
@pytest.mark.parametrize("timeout", [0, 0.3])
def test_wait_has_an_end(hub: HubServer, stage: str, timeout: float) -> None:
    with raw_server({"/config": PAGE}) as host:
        hub.spaces["user/space"] = HubSpace(host.url, [stage])
        started = time.monotonic()
        with pytest.raises(jobwire.SpaceTimeoutError, match=stage) as caught:
            Client("user/space", space_timeout=timeout)
        assert timeout <= time.monotonic() - started < timeout + 2
        assert (caught.value.stage, caught.value.space_id) == (stage, "user/space")
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value, ValueError)
        assert timeout > 0 or (len(hub.requests), host.requests) == (1, [])


@pytest.mark.parametrize(
    "stage",
    ["NO_APP_FILE", "CONFIG_ERROR", "BUILD_ERROR", "RUNTIME_ERROR", "PAUSED", "DELETING"],
)
def test_stage_that_no_waiting_ends(hub: HubServer, stage: str) -> None:
    hub.spaces["user/space"] = HubSpace(stages=["BUILDING", stage], error="exit code: 1")
    with pytest.raises(jobwire.SpaceError, match=rf"{stage}.*exit code: 1") as caught:
        Client("user/space", space_timeout=None)
    assert type(caught.value) is jobwire.SpaceError
    assert (caught.value.stage, caught.value.space_id) == (stage, "user/space")
    assert isinstance(caught.value, ValueError)
    assert f"{hub.url}spaces/user/space" in str(caught.value)
    assert len(hub.requests) == 2


@pytest.mark.parametrize(
    "header", ["Retry-After: 1", 'RateLimit: "api";r=0;t=1'], ids=lambda header: header[:5]
)
def test_hub_that_asks_for_patience_gets_it(hub: HubServer, host: RawServer, header: str) -> None:
    hub.spaces["user/space"] = HubSpace(host.url)
    hub.refusals.append(response({"error": "slow down"}, 429, headers=f"{header}\r\n"))
    started = time.monotonic()
    with Client("user/space"):
        assert time.monotonic() - started >= 1
    assert len(hub.requests) == 2


def test_hub_that_asks_for_more_patience_than_there_is(hub: HubServer) -> None:
    hub.refusals.append(response({"error": "slow"}, 429, headers="Retry-After: 700\r\n"))
    with pytest.raises(jobwire.TooManyRequestsError) as caught:
        Client("user/space")
    assert caught.value.retry_after == 700
    assert len(hub.requests) == 1


def test_hub_may_fail_for_a_moment_during_the_wait(hub: HubServer, host: RawServer) -> None:
    hub.spaces["user/space"] = HubSpace(host.url, ["BUILDING", "RUNNING"])
    hub.refusals += [None, response("oops", 502), b"connection: close"]
    with Client("user/space"):
        assert len(hub.requests) == 4


def test_hub_that_falls_silent_does_not_prolong_the_wait(hub: HubServer) -> None:
    hub.spaces["user/space"] = HubSpace(stages=["BUILDING"])
    hub.refusals += [None, HANG, HANG, HANG]
    started = time.monotonic()
    with pytest.raises(jobwire.SpaceTimeoutError, match="BUILDING"):
        Client("user/space", space_timeout=0.3)
    assert time.monotonic() - started < 3


async def test_wait_can_be_cancelled(hub: HubServer) -> None:
    hub.spaces["user/space"] = HubSpace(stages=["BUILDING"])
    client = AsyncClient("user/space", space_timeout=None)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.connect(), 0.3)
    waiting = asyncio.create_task(client.connect())
    await asyncio.sleep(0.1)
    await client.aclose()
    with pytest.raises(jobwire.ClientClosedError):
        await waiting
    asked = len(hub.requests)
    await asyncio.sleep(0.3)
    assert len(hub.requests) == asked


async def test_space_is_looked_for_again_after_a_failure(hub: HubServer, host: RawServer) -> None:
    hub.spaces["user/space"] = HubSpace("http://127.0.0.1:9")
    client = AsyncClient("user/space")
    with pytest.raises(jobwire.ConnectError):
        await client.connect()
    hub.spaces["user/space"].host = host.url
    assert await client.predict("x") == "x"
    await client.aclose()
