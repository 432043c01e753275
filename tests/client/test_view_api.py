"""What clients show of the app they call, beside what gradio_client shows of it."""

import threading
from typing import Any

import pytest

import jobwire
import peer
from faults import raw_server, response
from jobwire import AsyncClient, Client


def view(client: Client, format: Any = "dict", every: bool | None = None) -> Any:
    return client.view_api(every, print_info=False, return_format=format)


def test_dictionary_is_that_of_gradio_client(url: str, client: Client) -> None:
    ours = view(client)
    assert ours == peer.view_api(url)
    assert "/plain" in ours["named_endpoints"]
    assert list(ours["named_endpoints"]) == list(peer.view_api(url)["named_endpoints"])


def test_dictionary_of_an_app_with_files(studio: str) -> None:
    with Client(studio) as client:
        ours, theirs = view(client), peer.view_api(studio)
        text = view(client, "str")
        everything = view(client, "str", True)
    logos = [info["named_endpoints"]["/mark"]["parameters"][2] for info in (ours, theirs)]
    urls = [logo["parameter_default"].pop("url") for logo in logos]
    assert ours == theirs
    # Without all_endpoints, gradio 6.31 gives the address of its example in place of it.
    assert urls[0].endswith("/logo.png")
    assert f'logo=handle_file("{studio}gradio_api/file=' in text
    assert "    Write down what is said. Takes any recording.\n" in text
    assert "/hidden" not in text
    assert "/hidden" in everything
    assert "/private" not in everything


def test_what_is_printed_is_what_is_returned(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client.view_api() is None
    printed = capsys.readouterr().out
    assert printed == f"{view(client, 'str')}\n"
    assert "client.predict(a, b='3', api_name=\"/plain\") -> out" in printed
    assert str(client) == view(client, "str")
    assert repr(client) == f"Client('{client.src}')"
    assert capsys.readouterr().out == ""


async def test_asynchronous(async_client: AsyncClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert str(async_client) == repr(async_client)  # nothing is fetched for it
    assert await async_client.view_api() is None
    text = await async_client.view_api(print_info=False, return_format="str")
    assert capsys.readouterr().out == f"{text}\n"
    assert str(async_client) == text
    info = await async_client.view_api(print_info=False, return_format="dict")
    assert isinstance(info, dict)
    assert "/plain" in info["named_endpoints"]
    assert repr(async_client) == f"AsyncClient('{async_client.src}')"


def test_str_never_raises(client: Client, url: str) -> None:
    # Whoever prints a client in a done callback of an AsyncJob is in the loop's thread.
    found: list[str] = []
    done = threading.Event()

    def look() -> None:
        found.append(str(client))
        done.set()

    client._loop._loop.call_soon_threadsafe(look)
    assert done.wait(10)
    assert found == [repr(client)]
    client.close()
    assert str(client) == repr(client)


def test_str_of_an_app_that_refuses_to_describe_itself() -> None:
    config = {"version": "6.31.0", "protocol": "sse_v3", "components": [], "dependencies": []}
    refused = response({"detail": "Not authenticated"}, 401)
    with (
        raw_server({"/config": response(config), "/info": refused}) as server,
        Client(server.url) as client,
    ):
        assert str(client) == repr(client)
        with pytest.raises(jobwire.AuthenticationError):
            client.view_api()


def test_pretty(client: Client) -> None:
    from IPython.lib.pretty import pretty

    assert pretty(client) == str(client)  # type: ignore[no-untyped-call]
    assert "/plain" in str(client)
