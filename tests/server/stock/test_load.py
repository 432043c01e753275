"""``gr.load`` of our app in a real Gradio app, called through that one."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobwire
from server.stock.test_curl import curl, events, post

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def client(loaded: str) -> Iterator[jobwire.Client]:
    with jobwire.Client(loaded) as client:
        yield client


def test_values(client: jobwire.Client) -> None:
    assert client.predict("naïve ✓ 🎉", api_name="/echo") == "naïve ✓ 🎉"
    assert client.predict("hi", api_name="/two") == ("HI", 2)
    assert client.predict({"x": 1}, api_name="/move") == {"x": 2, "y": 1.0}
    assert client.predict("green", [1], api_name="/pick") == "green [1]"
    assert client.predict("x", api_name="/later") == "X"
    assert client.predict("x", api_name="/direct") == "x"


def test_defaults(client: jobwire.Client) -> None:
    assert client.predict(1, api_name="/add") == 3.5
    assert client.predict(1, 10, api_name="/add") == 11.5


def test_generator(client: jobwire.Client) -> None:
    # A loaded generator is a function for Gradio: it gives the last output.
    assert client.predict(3, api_name="/grow") == "word0 word1 word2 "


def test_batches(client: jobwire.Client) -> None:
    jobs = [client.submit(i, api_name="/double") for i in range(6)]
    assert [job.result(timeout=20) for job in jobs] == [0, 2, 4, 6, 8, 10]


def test_errors(client: jobwire.Client) -> None:
    with pytest.raises(jobwire.AppError, match="a <b>bad</b> thing"):
        client.predict("titled", api_name="/fail")
    with pytest.raises(jobwire.AppError, match="color"):
        client.predict("blue", [1], api_name="/pick")
    assert client.predict("x", api_name="/echo") == "x"


def test_files(loaded: str, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("through both")
    api = f"{loaded}/gradio_api"
    uploaded = json.loads(curl(f"{api}/upload", "-F", f"files=@{path}"))
    data = {"path": uploaded[0], "meta": {"_type": "gradio.FileData"}}
    id = post(f"{api}/call/shout", {"data": [data]})["event_id"]
    (_, (shouted,)) = events(f"{api}/call/shout/{id}")[-1]
    # Gradio fetches files of loaded apps for its own callers only from Hugging Face.
    assert curl(shouted["url"].partition("/proxy=")[2]) == "THROUGH BOTH"
