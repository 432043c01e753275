"""Which token goes where: over real sockets, every request looked at."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from wire import CLOSE_STREAM, completed

import jobwire
from faults import LAST_CHUNK, RawServer, config, event_stream, raw_server, response
from hub import HubServer, HubSpace, hub_server
from jobwire import Client
from networks import Authority, HttpProxy, http_proxy

SAVED = "hf_SAVED"
GIVEN = "hf_GIVEN"


def app() -> dict[str, Any]:
    return {
        "/config": response(config()),
        "/gradio_api/queue/join": response({"event_id": "a"}),
        "/gradio_api/queue/data": event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK,
    }


@pytest.fixture(params=["environment", "file", "no library"])
def saved(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Save a token on this machine, in one of the ways there are."""
    if request.param == "file":
        (tmp_path / "token").write_text(SAVED)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    else:
        monkeypatch.setenv("HF_TOKEN", f"{SAVED}\n")
    if request.param == "no library":
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    return str(request.param)


@pytest.fixture
def host() -> Iterator[RawServer]:
    with raw_server(app()) as server:
        yield server


def tokens(server: RawServer) -> set[str | None]:
    """Return every token that was shown to an app, in whatever header."""
    assert server.requests
    assert not any("hf_" in headers.get("authorization", "") for *_, headers, _ in server.requests)
    return {headers.get("x-hf-authorization") for _, _, headers, _ in server.requests}


@pytest.fixture
def hugging_face(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[HubServer, RawServer, HttpProxy]]:
    """The Hub and a Space at their real names, which a proxy leads to this machine."""
    authority = Authority(tmp_path)
    with (
        hub_server(authority.server("huggingface.co")) as hub,
        raw_server(app(), authority.server("user-space.hf.space")) as space,
        http_proxy({"huggingface.co": hub.port, "user-space.hf.space": space.port}) as proxy,
    ):
        hub.spaces["user/space"] = HubSpace("https://user-space.hf.space")
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("SSL_CERT_FILE", authority.file)
        huggingface_hub.close_session()
        yield hub, space, proxy
        huggingface_hub.close_session()


# -- given by hand -------------------------------------------------------------


def test_given_token_goes_to_the_app(host: RawServer) -> None:
    with Client(host.url, GIVEN) as client:
        client.predict("x")
    assert tokens(host) == {f"Bearer {GIVEN}"}


def test_given_token_of_a_space_goes_to_the_hub_and_to_the_app(
    host: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_server() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.spaces["user/space"] = HubSpace(host.url, ["BUILDING", "RUNNING"])
        with Client("user/space", GIVEN) as client:
            client.predict("x")
        assert hub.tokens() == tokens(host) == {f"Bearer {GIVEN}"}


def test_own_header_wins_over_the_token(host: RawServer) -> None:
    with Client(host.url, GIVEN, headers={"X-HF-Authorization": "Bearer mine"}) as client:
        client.predict("x")
    assert tokens(host) == {"Bearer mine"}


def test_given_token_does_not_follow_a_redirect_to_another_host(host: RawServer) -> None:
    elsewhere = response("", 302, headers=f"location: {host.url}config\r\n")
    with raw_server({"/config": elsewhere}) as server:
        with pytest.raises(jobwire.NotGradioError):
            Client(server.url.replace("127.0.0.1", "localhost"), GIVEN)
    assert host.requests == []


@pytest.mark.parametrize("token", [True, 5, b"hf_x"])
def test_token_that_is_none(token: Any) -> None:
    with pytest.raises(jobwire.ArgumentError, match="token"):
        Client("http://127.0.0.1:9", token)


# -- saved on this machine -----------------------------------------------------


def test_saved_token_does_not_reach_another_host(saved: str, host: RawServer) -> None:
    with Client(host.url) as client:
        client.predict("x")
    assert tokens(host) == {None}


def test_saved_token_does_not_reach_another_hub_nor_its_spaces(
    host: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SAVED)
    with hub_server() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.spaces["user/space"] = HubSpace(host.url, ["SLEEPING", "RUNNING"])
        with Client("user/space") as client:
            client.predict("x")
        assert hub.tokens() == tokens(host) == {None}


def test_saved_token_goes_to_a_space_at_its_address(
    saved: str, hugging_face: tuple[HubServer, RawServer, HttpProxy]
) -> None:
    hub, space, proxy = hugging_face
    with Client("https://user-space.hf.space") as client:
        client.predict("x")
    assert tokens(space) == {f"Bearer {SAVED}"}
    assert hub.requests == []
    assert SAVED not in str(proxy.requests)


def test_saved_token_goes_to_the_hub_and_to_the_space(
    hugging_face: tuple[HubServer, RawServer, HttpProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, space, proxy = hugging_face
    monkeypatch.setenv("HF_TOKEN", SAVED)
    with Client("user/space") as client:
        assert client.src == "https://user-space.hf.space/"
        client.predict("x")
    assert hub.tokens() == tokens(space) == {f"Bearer {SAVED}"}
    assert SAVED not in str(proxy.requests)


def test_hub_that_names_a_strange_host_does_not_send_the_saved_token_there(
    hugging_face: tuple[HubServer, RawServer, HttpProxy],
    host: RawServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub, _, _ = hugging_face
    monkeypatch.setenv("HF_TOKEN", SAVED)
    hub.spaces["user/space"].host = host.url
    with Client("user/space") as client:
        client.predict("x")
    assert hub.tokens() == {f"Bearer {SAVED}"}
    assert tokens(host) == {None}


def test_given_token_wins_over_the_saved_one(
    hugging_face: tuple[HubServer, RawServer, HttpProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, space, _ = hugging_face
    monkeypatch.setenv("HF_TOKEN", SAVED)
    Client("user/space", GIVEN).close()
    assert hub.tokens() == tokens(space) == {f"Bearer {GIVEN}"}


@pytest.mark.parametrize("token", [False, ""])
def test_no_token_at_all(
    hugging_face: tuple[HubServer, RawServer, HttpProxy],
    monkeypatch: pytest.MonkeyPatch,
    token: Any,
) -> None:
    hub, space, _ = hugging_face
    monkeypatch.setenv("HF_TOKEN", SAVED)
    Client("user/space", token).close()
    Client("https://user-space.hf.space", token).close()
    assert hub.tokens() == tokens(space) == {None}


def test_saved_token_stays_if_the_machine_says_so(
    hugging_face: tuple[HubServer, RawServer, HttpProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, space, _ = hugging_face
    monkeypatch.setenv("HF_TOKEN", SAVED)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    Client("user/space").close()
    assert hub.tokens() == tokens(space) == {None}


# -- told to nobody ------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 401, 404, 429, 500])
def test_tokens_are_in_no_log_no_repr_and_no_error(
    status: int,
    hugging_face: tuple[HubServer, RawServer, HttpProxy],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub, _, _ = hugging_face
    monkeypatch.setenv("HF_TOKEN", SAVED)
    told: list[str] = []
    with caplog.at_level(logging.DEBUG):
        for token in (None, GIVEN):
            if status != 200:
                hub.refusals += [response({"error": "no"}, status, headers="Retry-After: 9\r\n")]
            try:
                with Client("user/space", token, oauth_token="hf_OAUTH", space_timeout=1) as client:
                    told += [repr(client), repr(client.schema()), repr(client.submit("x"))]
            except jobwire.JobwireError as error:
                chain: BaseException | None = error
                while chain is not None:
                    told += [repr(chain), str(vars(chain))]
                    chain = chain.__cause__
    told += [record.getMessage() for record in caplog.records]
    assert told
    assert not any(secret in text for text in told for secret in (SAVED, GIVEN, "hf_OAUTH"))
    assert os.environ["HF_TOKEN"] == SAVED
