"""Every kind of value and file, on every generation of servers.

Of each: given by the client, got by the function, given back, and got by the client.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import jobwire
from apps.media import mp4, png, wav
from conftest import Server, running
from jobwire import Client, handle_file
from matrix.test_generations import VERSIONS, build

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(600)]

APP = Path(__file__).parents[1] / "apps" / "components.py"
Version = tuple[int, ...]
Give = Callable[[str], Any]


def parse(version: str) -> Version:
    return tuple(map(int, version.split(".")))


@pytest.fixture(scope="module", params=VERSIONS)
def generation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    version: str = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("server")))
        with running(python=str(build(version, VERSIONS[version])), app=APP) as server:
            yield server


@pytest.fixture
def version(generation: Server, request: pytest.FixtureRequest) -> Version:
    return parse(request.node.callspec.params["generation"])


@pytest.fixture
def app(generation: Server, tmp_path: Path) -> Iterator[Client]:
    with Client(generation.url, download_files=tmp_path / "downloads") as client:
        yield client


@pytest.fixture
def give(tmp_path: Path) -> Give:
    """Make an input file of a name, with what such a file has in it."""
    contents = {".txt": b"a note", ".png": png(), ".wav": wav(), ".obj": b"v 0 0 0\n"}

    def give(name: str) -> Any:
        path = tmp_path / name
        suffix = Path(name).suffix
        path.write_bytes(mp4() if suffix == ".mp4" else contents[suffix])
        return handle_file(path)

    return give


@pytest.fixture
def got(tmp_path: Path) -> Callable[[str], tuple[str, bytes]]:
    """Say what was downloaded, which lies where it was to be put."""

    def got(path: str) -> tuple[str, bytes]:
        assert Path(path).is_relative_to(tmp_path / "downloads")
        return Path(path).name, Path(path).read_bytes()

    return got


Got = Callable[[str], tuple[str, bytes]]


def since(version: Version, first: Version) -> None:
    """Skip what servers before a version lack: the first here that is known to have it."""
    if version < first:
        pytest.skip(f"since {'.'.join(map(str, first))}")


def before(version: Version, first: Version) -> None:
    """Skip what servers since a version lack."""
    if version >= first:
        pytest.skip(f"before {'.'.join(map(str, first))}")


# -- files ---------------------------------------------------------------------


def test_one_file(app: Client, give: Give, got: Got) -> None:
    note = give("note.txt")
    copy = ("copy of note.txt", b"a note+")
    assert got(app.predict(note, api_name="/file")) == copy
    assert got(app.predict(note, api_name="/direct_file")) == copy
    assert got(app.predict(note, api_name="/uploaded")) == copy
    assert app.predict(note, api_name="/optional_file") == "got a note"
    assert app.predict(None, api_name="/optional_file") == "got nothing"
    assert app.predict(api_name="/no_file") is None
    assert got(app.predict(api_name="/empty_file")) == ("empty.bin", b"")


def test_several_files(app: Client, give: Give, got: Got) -> None:
    files = app.predict([give("a.txt"), give("b.txt")], api_name="/files")
    assert [got(file)[0] for file in files] == ["copy of a.txt", "copy of b.txt"]
    one, two = map(got, app.predict(api_name="/same_name"))
    assert (one, two) == (("same.txt", b"one"), ("same.txt", b"two"))


def test_names_of_files(app: Client, give: Give, got: Got, version: Version) -> None:
    name, content = got(app.predict(give("odd & 100%#+✓.txt"), api_name="/file"))
    assert content == b"a note+"
    names = ["with space.txt", "per%cent.txt", "hash#tag.txt", "ünïcode ✓.txt", "plus+&=.txt"]
    files = [got(path) for path in app.predict(api_name="/odd_names")]
    assert [content for _, content in files] == [name.encode() for name in names]
    if version >= (6, 12):  # servers before take some characters out
        assert name == "copy of odd & 100%#+✓.txt"
        assert [name for name, _ in files] == names


def test_files_that_are_defaults(app: Client, version: Version) -> None:
    since(version, (4, 23))
    assert app.predict(api_name="/default_file") == "the default"


def test_files_of_generators(app: Client, got: Got) -> None:
    parts = [(f"part{i}.txt", f"part {i}".encode()) for i in range(3)]
    assert [got(path) for path in app.submit(3, api_name="/growing_files")] == parts
    lists = [[got(path) for path in paths] for paths in app.submit(3, api_name="/growing_lists")]
    assert lists == [parts[:1], parts[:2], parts]


def test_files_in_updates(app: Client, got: Got) -> None:
    update = app.predict(api_name="/file_in_update")
    assert (update["label"], got(update["value"])) == ("renamed", ("new.txt", b"new"))


def test_files_that_stay_on_the_server(generation: Server, give: Give, tmp_path: Path) -> None:
    with Client(generation.url, download_files="lazy") as client:
        copy = client.predict(give("note.txt"), api_name="/file")
        assert copy.save(tmp_path / "saved.txt").read_bytes() == b"a note+"
        assert client.predict(copy, api_name="/file").bytes() == b"a note++"
        assert client.predict(handle_file(copy.url), api_name="/optional_file") == "got a note+"
        image = client.predict(give("red.png"), api_name="/image")
        assert image.bytes().startswith(b"\x89PNG")
        again = client.predict(image, api_name="/image_in")
        assert again.bytes().startswith(b"\x89PNG")
        assert client.predict(again, api_name="/image").name.endswith(".png")
        with image.open() as file:
            assert file.read(4) == b"\x89PNG"


def test_files_as_the_server_names_them(generation: Server, give: Give) -> None:
    with Client(generation.url, download_files=False) as client:
        copy = client.predict(give("note.txt"), api_name="/file")
        assert Path(copy["path"]).name == copy["orig_name"] == "copy of note.txt"
        assert copy["size"] == 7
        assert client.predict(copy, api_name="/optional_file") == "got a note+"
        image = client.predict(give("red.png"), api_name="/image")
        assert client.predict(image, api_name="/image_in")["path"].endswith(".png")


def test_images(app: Client, give: Give, got: Got) -> None:
    name, content = got(app.predict(give("red.png"), api_name="/image"))
    assert name.endswith(".png")
    assert content.startswith(b"\x89PNG")
    assert got(app.predict(give("red.png"), api_name="/image_in"))[1].startswith(b"\x89PNG")
    assert app.predict(None, api_name="/image") is None


def test_drawings(app: Client, give: Give, version: Version) -> None:
    before(version, (4,))
    given = {"image": give("red.png"), "mask": give("mask.png")}
    assert app.predict(given, api_name="/sketch") == {"image": "89504e47", "mask": "89504e47"}


def test_sound(app: Client, give: Give, got: Got, version: Version) -> None:
    name, sound = got(app.predict(give("tone.wav"), api_name="/audio"))
    assert sound == wav()
    assert name == "tone.wav" or version < (4,)  # the part that is played is in the name then
    assert got(app.predict(give("tone.wav"), api_name="/audio_in"))[1] == wav() + b"+"


def test_video(app: Client, give: Give, got: Got, version: Version) -> None:
    clip: Any = give("clip.mp4")
    clip = clip if version >= (6,) else {"video": clip, "subtitles": None}
    result = app.predict(clip, api_name="/video")
    film = result if version >= (6,) else result["video"]
    assert got(film) == ("clip.mp4", mp4())
    assert got(app.predict(clip, api_name="/video_in"))[1] == mp4() + b"+"


def test_models(app: Client, give: Give, got: Got) -> None:
    assert got(app.predict(api_name="/model"))[0] == "triangle.obj"
    assert got(app.predict(give("a.obj"), api_name="/model_in"))[1] == b"v 0 0 0\n+"


def test_download_button(app: Client, got: Got, version: Version) -> None:
    since(version, (4, 21))
    assert got(app.predict(api_name="/download"))[0] == "triangle.obj"


def test_galleries(app: Client, give: Give, got: Got, version: Version) -> None:
    items = app.predict(api_name="/gallery")
    assert [(got(item["image"])[0], item["caption"]) for item in items] == [
        ("a.png", "first"),
        ("b.png", None),
    ]
    if version >= (4, 20) or version < (4,):
        given = [{"image": give("red.png"), "caption": "red"}]
        assert app.predict(given, api_name="/gallery_in") == [["red.png", "red"]]


def test_annotated_images(app: Client, got: Got) -> None:
    result = app.predict(api_name="/annotated")
    assert got(result["image"])[1] == png()
    (annotation,) = result["annotations"]
    assert annotation["label"] == "corner"
    assert got(annotation["image"])[1].startswith(b"\x89PNG")


def test_image_editor(app: Client, give: Give, got: Got, version: Version) -> None:
    since(version, (4, 10))
    result = app.predict(api_name="/edited")
    assert got(result["background"])[1] == png()
    assert [got(layer)[1] for layer in result["layers"]] == [png(9)]
    given = {"background": give("a.png"), "layers": [], "composite": give("b.png")}
    assert app.predict(given, api_name="/editor") == ["a.png", 0, "b.png"]


def test_image_slider(app: Client, give: Give, got: Got, version: Version) -> None:
    since(version, (5, 27))
    assert [got(path)[0] for path in app.predict(api_name="/slider_out")] == [
        "left.png",
        "right.png",
    ]
    given = [give("a.png"), None]
    assert app.predict(given, api_name="/slider_in") == ["a.png", None]


def test_addresses_that_the_server_does_not_fetch(app: Client, version: Version) -> None:
    before(version, (4,))
    for name in ("/file", "/image", "/model_in"):
        with pytest.raises(jobwire.ArgumentError, match="fetch https://example"):
            app.predict(handle_file("https://example.com/a.png"), api_name=name)


def test_files_in_chats(app: Client, give: Give, got: Got, version: Version) -> None:
    history = app.predict(api_name="/chat_out")
    if version >= (6,):
        shown = history[1]["content"][0]
        message = {"role": "user", "content": [{"type": "file", "file": give("red.png")}]}
        assert app.predict([message], api_name="/chat_in")[0]["role"] == "user"
    elif version >= (4, 44):
        shown = history[1]["content"]
    else:
        ((_, shown),) = history
        if version < (4,):
            given = [[{"file": give("red.png"), "alt_text": "red"}, "answer"]]
            ((image, answer),) = app.predict(given, api_name="/chat_in")
            assert (Path(image[0]).name, image[1], answer) == ("red.png", "red", "answer")
    assert got(shown["file"])[1] == png()


def test_multimodal_text(app: Client, give: Give, got: Got, version: Version) -> None:
    since(version, (4, 22))
    given = {"text": "t", "files": [give("note.txt")]}
    assert app.predict(given, api_name="/multimodal") == ["t", ["note.txt"]]
    result = app.predict(api_name="/multimodal_out")
    assert (result["text"], [got(path) for path in result["files"]]) == (
        "see",
        [("see.txt", b"see")],
    )


def test_streamed_sound(app: Client, got: Got, version: Version) -> None:
    if version < (5,):
        pytest.skip("what these servers stream can be read once, so it is not fetched yet")
    if not shutil.which("ffmpeg"):
        pytest.skip("the server needs ffmpeg for it")
    job = app.submit(2, api_name="/spoken")
    name, sound = got(job.result(20))
    assert (name, sound[:2]) == ("chunk.aac", b"\xff\xf1")
    assert len(job.outputs()) == 2


def test_json_with_paths(app: Client, version: Version) -> None:
    if (4,) <= version < (4, 22):
        # These servers take whatever has a path for a file, and fail if it is none; 4.21
        # says that it is one.
        pytest.skip("the server itself takes JSON that has a `path` in it for a file")
    expected = {"path": "/not/a/file", "size": 3, "inner": [{"path": "relative"}]}
    assert app.predict(api_name="/with_path") == expected


# -- values --------------------------------------------------------------------


def test_choices(app: Client) -> None:
    given = ("a", ["a", "b"], ["b"], "c", True)
    names = ("one", "several", "boxes", "radio", "checked")
    assert app.predict(*given, api_name="/choices") == dict(zip(names, given, strict=True))
    assert app.predict(api_name="/every_choice") == ("a", ["a", "b"], ["b"], "b", True)


def test_defaults(app: Client, version: Version) -> None:
    since(version, (4, 23))
    assert app.predict(3, api_name="/numbers") == 7
    assert app.predict(3, slider=1, api_name="/numbers") == 4


def test_numbers_and_texts(app: Client) -> None:
    assert app.predict(2.5, api_name="/number") == 2.5
    assert app.predict(3, 5, api_name="/numbers") == 8
    assert app.predict(api_name="/texts") == ("# title", "<b>bold</b>", "print(1)")
    assert app.predict("#ff0000", api_name="/color") == "#ff0000"


def test_moments(app: Client, version: Version) -> None:
    since(version, (4, 38))
    moment = "2026-01-02 03:04:05"
    assert app.predict(moment, api_name="/when") == moment
    assert app.predict(moment, api_name="/datetime") == moment


def test_tables(app: Client) -> None:
    table = {"headers": ["a", "b"], "data": [[1, 2], [3, 4]]}
    assert app.predict(table, api_name="/table") == table["data"]
    assert app.predict(3, api_name="/large_table")["data"] == [[0, 0], [1, 1], [2, 4]]


def test_labels(app: Client) -> None:
    label = app.predict(api_name="/label")
    assert (label["label"], label["confidences"][1]["confidence"]) == ("cat", 0.25)
    spans = app.predict(api_name="/highlighted")
    named = [span["class_or_confidence"] if isinstance(span, dict) else span[1] for span in spans]
    assert named == ["+", None]


def test_plots(app: Client, version: Version) -> None:
    since(version, (4, 44))
    assert app.predict(api_name="/plot")["type"] == "plotly"


def test_updates_instead_of_values(app: Client, version: Version) -> None:
    update = {"__type__": "update"}
    assert app.predict(api_name="/update") == {**update, "value": "new", "label": "renamed"}
    assert app.predict(api_name="/update_only") == {**update, "visible": False}
    assert app.predict(api_name="/update_some") == ("first", update)
    if version >= (4, 44):
        assert app.predict(api_name="/skipped") == update
        assert app.submit(3, api_name="/skipped_later").result(10) == "2"


def test_layout_among_outputs(app: Client) -> None:
    assert app.predict(api_name="/layout_last") == "shown"
    assert app.predict(api_name="/layout_between") == ("left", "right")
    assert app.predict(api_name="/layout_only") == ()


# -- what callers do not give --------------------------------------------------


def test_state_in_every_position(app: Client) -> None:
    assert [app.predict("t", api_name="/state_first") for _ in range(2)] == ["t0", "t1"]
    assert [app.predict("l", "r", api_name="/state_middle") for _ in range(2)] == [
        ("l0r", 0),
        ("l1r", 1),
    ]
    assert [app.predict("t", api_name="/state_last") for _ in range(2)] == ["t0", "t1"]
    assert [app.predict("a", "b", api_name="/states") for _ in range(2)] == ["0a0b", "1a10b"]
    assert app.predict(api_name="/state_only") == ()


def test_buttons_among_inputs(app: Client, version: Version) -> None:
    if version < (4,):  # a button is an argument as others are
        assert app.predict("go", "t", api_name="/button_first") == "go:t"
        return
    assert app.predict("t", api_name="/button_first") == "go:t"
    assert app.predict("l", "r", api_name="/button_middle") == "l:go:r"
    assert app.predict("l", "b", "r", api_name="/button_middle") == "l:b:r"
    assert app.predict("t", api_name="/button_and_state") == "0:go:t"


# -- ways of being called ------------------------------------------------------


def test_batches(app: Client) -> None:
    jobs = [app.submit("ab", n, api_name="/batch") for n in range(1, 8)]
    assert [job.result(10) for job in jobs] == ["ab" * n for n in range(1, 8)]
    assert app.predict("ab", api_name="/batch_pair") == ("AB", 2)


def test_functions_that_do_not_queue(app: Client) -> None:
    assert app.predict("d", api_name="/direct") == "d"


def test_validators(app: Client, version: Version) -> None:
    since(version, (5, 45))
    assert app.predict(1, "x", api_name="/validated") == "x 1"
    with pytest.raises(jobwire.ValidationError) as caught:
        app.predict(-1, "", api_name="/validated")
    assert caught.value.parameters == {"n": "must be positive", "text": "must not be empty"}


def test_private_and_unlisted(app: Client, version: Version) -> None:
    with pytest.raises(jobwire.EndpointNotFoundError):
        app.predict("x", api_name="/private")
    assert app.predict("x", api_name="/undocumented") == "undocumented x"
    if version >= (4, 12):
        assert app.predict("x", api_name="/lambda") == "unnamed x"


def test_functions_without_components(app: Client, give: Give, got: Got, version: Version) -> None:
    since(version, (5, 50))
    assert app.predict(2, ["a", "b"], api_name="/typed") == (4.0, ["b", "a"])
    assert app.predict(words=["a"], number=1, scale=3, api_name="/typed") == (3, ["a"])
    assert list(app.submit(3, api_name="/typed_stream")) == ["0", "1", "2"]
    assert app.predict("x", api_name="/typed_nothing") == ()
    assert got(app.predict(give("note.txt"), api_name="/typed_file")) == ("note.txt", b"a note")


def test_chat_interface(app: Client) -> None:
    first = app.predict("one", api_name="/chat")
    second = app.predict("two", api_name="/chat")
    assert first == "0 before one"
    assert second in ("1 before two", "2 before two")  # messages count in pairs or alone


def test_event_data(app: Client) -> None:
    third = {"index": 2, "value": "third"}
    assert app.predict(event_data=third, api_name="/selected") == "2 third"
    assert app.predict("t", api_name="/triggered") == "t None"


def test_listeners_that_are_rendered_later(app: Client, version: Version) -> None:
    since(version, (4, 31))
    assert app.predict(2, api_name="/apply") == ()
    assert [app.predict("x", api_name=f"/made_{i}") for i in range(2)] == ["x", "x"]
    assert app.predict(1, api_name="/apply") == ()
    with pytest.raises(jobwire.EndpointNotFoundError):
        app.predict("x", api_name="/made_1")


def test_app_of_functions_alone(
    generation: Server, version: Version, request: pytest.FixtureRequest
) -> None:
    since(version, (6, 31))
    python = str(build(request.node.callspec.params["generation"], []))
    with running("--server", python=python, app=APP) as server, Client(server.url) as client:
        assert client.predict(21, api_name="/double") == 42
        assert list(client.submit(n=3, api_name="/count")) == ["0", "1", "2"]
