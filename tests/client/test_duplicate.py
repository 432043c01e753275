"""Copies of Spaces: what the Hub is told, in which order, and what is done with an answer."""

import logging
from collections.abc import Iterator

import huggingface_hub
import pytest

import jobwire
from faults import RawServer, config, raw_server, response
from hub import HubServer, HubSpace, hub_server
from jobwire import AsyncClient, Client
from jobwire.client import spaces


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(spaces, "_POLL", (0.02, 0.1))
    yield
    huggingface_hub.close_session()


@pytest.fixture
def host() -> Iterator[RawServer]:
    with raw_server({"/config": response(config())}) as server:
        yield server


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, host: RawServer) -> Iterator[HubServer]:
    with hub_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.spaces["user/space"] = HubSpace(host.url)
        server.new_space = lambda: HubSpace(host.url, ["BUILDING", "RUNNING"])
        yield server


def test_copy_is_made_once(hub: HubServer, host: RawServer) -> None:
    for _ in range(2):
        with Client.duplicate("user/space", token="hf_me") as client:
            assert (client.space_id, client.src) == ("me/space", host.url)
    copying = {"repository": "me/space", "visibility": "private"}
    assert hub.posts() == [("/api/spaces/user/space/duplicate", copying)]
    assert hub.tokens() == {"Bearer hf_me"}
    assert {headers["x-hf-authorization"] for *_, headers, _ in host.requests} == {"Bearer hf_me"}


async def test_copy_is_made_from_asynchronous_code(hub: HubServer, host: RawServer) -> None:
    async with await AsyncClient.duplicate("user/space", token="hf_me") as client:
        assert (client.space_id, client.src) == ("me/space", host.url)


@pytest.mark.parametrize(
    ("to_id", "made"),
    [(None, "me/space"), ("copy", "me/copy"), ("me/copy", "me/copy"), ("team/copy", "team/copy")],
)
def test_name_of_the_copy(hub: HubServer, to_id: str | None, made: str) -> None:
    with Client.duplicate("user/space", to_id, "hf_me", private=False) as client:
        assert client.space_id == made
    [(_, fields)] = hub.posts()
    assert fields == {"repository": made, "visibility": "public"}


def test_secrets_are_there_when_the_copy_starts(hub: HubServer) -> None:
    Client.duplicate("user/space", token="hf_me", secrets={"KEY": "value"}).close()
    [(_, fields)] = hub.posts()
    assert fields["secrets"] == [{"key": "KEY", "value": "value"}]


def test_secrets_of_a_copy_that_is_there_stay(hub: HubServer, host: RawServer) -> None:
    hub.spaces["me/space"] = HubSpace(host.url)
    with pytest.warns(UserWarning, match="me/space is there already") as caught:
        Client.duplicate("user/space", token="hf_me", secrets={"KEY": "SECRET"}).close()
    assert "SECRET" not in str(caught[0].message)
    assert hub.posts() == []


def test_hardware_is_asked_for_and_sleeps(
    hub: HubServer, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO):
        Client.duplicate("user/space", token="hf_me", hardware="t4-small", sleep_timeout=7).close()
    assert hub.posts()[1:] == [
        ("/api/spaces/me/space/hardware", {"flavor": "t4-small", "sleepTimeSeconds": 420})
    ]
    said = [record.getMessage() for record in caplog.records if record.name == "jobwire"]
    assert said[0] == "duplicating the Space user/space as me/space"
    assert "t4-small, which may be billed" in said[1]
    assert capsys.readouterr() == ("", "")


def test_hardware_is_that_of_the_original(hub: HubServer) -> None:
    hub.spaces["user/space"].hardware = "a10g-small"
    Client.duplicate("user/space", token="hf_me").close()
    assert hub.posts()[1:] == [
        ("/api/spaces/me/space/hardware", {"flavor": "a10g-small", "sleepTimeSeconds": 300})
    ]


def test_hardware_that_is_there_only_gets_its_sleep_time(hub: HubServer, host: RawServer) -> None:
    hub.spaces["me/space"] = HubSpace(host.url, hardware="t4-small")
    hardware = huggingface_hub.SpaceHardware.T4_SMALL
    Client.duplicate("user/space", token="hf_me", hardware=hardware).close()
    assert hub.posts() == [("/api/spaces/me/space/sleeptime", {"seconds": 300})]


def test_hardware_may_be_given_back(hub: HubServer, host: RawServer) -> None:
    hub.spaces["me/space"] = HubSpace(host.url, hardware="t4-small")
    Client.duplicate("user/space", token="hf_me", hardware="cpu-basic").close()
    assert hub.posts() == [("/api/spaces/me/space/hardware", {"flavor": "cpu-basic"})]


@pytest.mark.parametrize(("from_id", "to_id"), [("space", None), ("user/space", "a b/c")])
def test_name_that_is_none(hub: HubServer, from_id: str, to_id: str | None) -> None:
    with pytest.raises(jobwire.SpaceNotFoundError, match="OWNER/NAME"):
        Client.duplicate(from_id, to_id, "hf_me")
    assert hub.posts() == []


def test_original_that_does_not_exist(hub: HubServer) -> None:
    with pytest.raises(jobwire.SpaceNotFoundError, match="user/none"):
        Client.duplicate("user/none", token="hf_me")
    assert hub.posts() == []


@pytest.mark.parametrize(
    ("token", "words"), [(None, "hf auth login"), ("hf_wrong", "does not allow|not accept")]
)
def test_account_is_needed(hub: HubServer, token: str | None, words: str) -> None:
    with pytest.raises(jobwire.AuthenticationError, match=words):
        Client.duplicate("user/space", token=token)
    assert hub.posts() == []


@pytest.mark.parametrize("status", [402, 403, 500])
@pytest.mark.parametrize("step", ["duplicate", "hardware"])
def test_hub_that_refuses(hub: HubServer, host: RawServer, step: str, status: int) -> None:
    refusal = response({"error": "pay first"}, status)
    # The original, the account and the copy are looked at before.
    hub.refusals = [None, None, None, refusal]
    if step == "hardware":
        hub.spaces["me/space"] = HubSpace(host.url)
    with pytest.raises(jobwire.SpaceDuplicationError, match=r"me/space.*pay first") as caught:
        Client.duplicate("user/space", token="hf_me", hardware="t4-small")
    assert caught.value.space_id == "me/space"
    assert hub.requests[-1][1].endswith(step)


def test_copy_that_does_not_get_ready(hub: HubServer) -> None:
    hub.new_space = lambda: HubSpace(stages=["BUILDING"])
    with pytest.raises(jobwire.SpaceTimeoutError, match="me/space"):
        Client.duplicate("user/space", token="hf_me", space_timeout=0.1)
