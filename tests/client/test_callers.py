"""In whose name a call is made: the quota of an app's user, and tokens that apps ask for."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from wire import CLOSE_STREAM, completed

import jobwire
from conftest import Server, running
from faults import LAST_CHUNK, config, event_stream, raw_server, response
from hub import HubServer, HubSpace, hub_server
from jobwire import AsyncClient, Client

RELAY = Path(__file__).parent.parent / "apps" / "relay.py"


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


@pytest.fixture(scope="module")
def relay(hub: HubServer) -> Iterator[Server]:
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with running(app=RELAY, environment=environment) as server:
        hub.spaces["user/space"] = HubSpace(server.url)
        yield server


@pytest.fixture
def user(relay: Server) -> Iterator[Client]:
    with Client(relay.url) as client:
        yield client


# -- ZeroGPU -------------------------------------------------------------------


@pytest.mark.parametrize("api_name", ["/relay", "/relay_job", "/relay_async"])
def test_the_users_quota_is_used_and_nobody_elses(user: Client, api_name: str) -> None:
    def call(name: str | None) -> str:
        headers = {"x-ip-token": name} if name else None
        return str(user.predict("hello", api_name=api_name, headers=headers))

    names = ["ann", None, "bob", "ann", None, "cyd"] * 3
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(call, names)) == [f"hello: {name}" for name in names]


def test_generator_uses_the_quota_of_its_user(user: Client) -> None:
    job = user.submit("n", api_name="/relay_steps", headers={"x-ip-token": "ann"})
    assert list(job) == ["n0: ann", "n1: ann"]


@pytest.mark.parametrize(
    ("api_name", "seen"),
    [
        ("/relay_own", "own"),
        ("/relay_elsewhere", None),  # no Space
        ("/relay_detached", None),  # a thread that no longer knows for whom it works
    ],
)
def test_when_the_users_quota_is_not_used(user: Client, api_name: str, seen: str | None) -> None:
    result = user.predict("hello", api_name=api_name, headers={"x-ip-token": "ann"})
    assert result == f"hello: {seen}"


def test_it_goes_with_the_submission_alone_and_over_the_clients_header(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradio.context import LocalContext

    routes = {
        "/config": response(config()),
        "/gradio_api/queue/join": response({"event_id": "a"}),
        "/gradio_api/queue/data": event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK,
    }
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    with raw_server(routes) as server:
        hub.spaces["user/other"] = HubSpace(server.url)
        with Client("user/other", headers={"X-IP-Token": "client"}) as client:

            class Request:
                headers = {"x-ip-token": "ann"}  # noqa: RUF012

            before = LocalContext.request.set(Request())
            try:
                client.predict("x")
            finally:
                LocalContext.request.reset(before)
            client.predict("x")
        seen = [
            (path.rpartition("/")[2].partition("?")[0], headers["x-ip-token"])
            for _, path, headers, _ in server.requests
        ]
    assert seen.count(("join", "ann")) == 1
    assert {token for name, token in seen if (name, token) != ("join", "ann")} == {"client"}


# -- OAuth ---------------------------------------------------------------------


def test_endpoints_say_whether_they_take_a_token(user: Client) -> None:
    schema = user.schema()
    taken = {name: schema.find(name).oauth_token for name in ("/required", "/optional", "/whose")}
    assert taken == {"/required": "required", "/optional": "optional", "/whose": None}


def test_token_goes_to_endpoints_that_take_one(relay: Server) -> None:
    with Client(relay.url, oauth_token="hf_mine") as client:
        assert client.predict("x", api_name="/required") == "x: hf_mine"
        assert client.predict("x", api_name="/optional") == "x: hf_mine"
        assert client.predict("x", api_name="/whose") == "x: None"


def test_token_that_was_not_given(user: Client) -> None:
    assert user.predict("x", api_name="/optional") == "x: None"
    with pytest.raises(jobwire.AppError, match="logged in"):
        user.predict("x", api_name="/required")


async def test_token_goes_to_nobody_else() -> None:
    other = {"id": 8, "api_name": "other", "inputs": [1], "outputs": [1], "backend_fn": True}
    app = config()
    app["dependencies"].append(other)
    info: dict[str, Any] = {
        "named_endpoints": {
            "/echo": {"parameters": [{"parameter_name": "text"}], "oauth_token": "required"},
            "/other": {"parameters": [{"parameter_name": "text"}], "oauth_token": "what?"},
        }
    }
    routes = {
        "/config": response(app),
        "/gradio_api/info": response(info),
        "/gradio_api/queue/join": response({"event_id": "a"}),
        "/gradio_api/queue/data": event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK,
    }
    with raw_server(routes) as server:
        async with AsyncClient(server.url, oauth_token="hf_mine") as client:
            await client.predict("x", api_name="/echo")
            await client.predict("x", api_name="/other")
        told = [
            (json.loads(body)["fn_index"], json.loads(body).get("oauth_token"))
            for _, path, _, body in server.requests
            if path.endswith("/join")
        ]
        assert told == [(7, "hf_mine"), (8, None)]
        rest = [
            (path, headers, body)
            for _, path, headers, body in server.requests
            if b"_mine" not in body
        ]
        assert "hf_mine" not in str(rest)
