"""Files in values: found by schema and mark, replaced without copying the rest."""

from typing import Any

import pytest
from hypothesis import given
from strategies import json_values

from jobwire.protocol.files import (
    FileInput,
    file_key,
    file_path,
    holds_files,
    is_file,
    replace_values,
    server_path,
)
from jobwire.protocol.media import is_media_stream, media_name

META = {"_type": "gradio.FileData"}

FILE = {"properties": {"path": {}, "url": {}, "meta": {}}, "type": "object"}
OLD_FILE = {"properties": {"path": {}, "url": {}, "orig_name": {}}, "type": "object"}


@pytest.mark.parametrize(
    "schema",
    [
        FILE,
        OLD_FILE,
        {"type": "array", "items": FILE},
        {"anyOf": [FILE, {"type": "null"}]},
        {"$defs": {"F": FILE}, "properties": {"image": {"$ref": "#/$defs/F"}}},
        {"$defs": {"A": {"items": {"$ref": "#/$defs/A"}}, "F": FILE}, "anyOf": [
            {"$ref": "#/$defs/A"}, {"$ref": "#/$defs/F"}]},
    ],
)  # fmt: skip
def test_schema_that_says_file(schema: Any) -> None:
    assert holds_files(schema)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        True,
        {},
        [],
        "file",
        {"type": "string"},
        {"type": {}, "description": "any valid json"},
        {"properties": {"path": {"type": "string"}}},
        {"properties": ["path", "meta"]},
        {"$defs": {"F": FILE}, "type": "string"},
        {"$ref": "#/$defs/missing"},
        {"$ref": 5, "$defs": []},
        {"$defs": {"A": {"items": {"$ref": "#/$defs/A"}}}, "$ref": "#/$defs/A"},
    ],
)
def test_schema_that_does_not(schema: Any) -> None:
    assert not holds_files(schema)


@given(json_values())
def test_no_schema_is_too_odd(schema: Any) -> None:
    assert holds_files(schema) in (True, False)


@pytest.mark.parametrize(
    ("value", "whether"),
    [
        ({"path": "a", "meta": META}, True),
        ({"path": "a", "meta": {"_type": "other"}}, False),
        ({"path": "a", "url": None, "orig_name": "b"}, True),  # before 4.21
        ({"path": "a"}, False),
        ({"path": None, "url": "data:image/png;base64,", "meta": META}, False),
        ({"path": "", "meta": META}, False),
        ({"path": ["a"], "meta": META}, False),
        (["path", "meta"], False),
        ("a", False),
    ],
)
def test_what_is_a_file(value: Any, whether: bool) -> None:
    assert is_file(value) is whether


def test_files_are_replaced_wherever_they_are() -> None:
    a, b = {"path": "a", "meta": META}, {"path": "b", "meta": META}
    value = {"text": "x", "files": [a, (b, 1)], "rest": [{"deep": [2]}]}
    new = replace_values(value, is_file, lambda file: file["path"])
    assert new == {"text": "x", "files": ["a", ["b", 1]], "rest": [{"deep": [2]}]}
    assert new["rest"] is value["rest"]
    assert value["files"] == [a, (b, 1)]


@given(json_values())
def test_values_without_files_are_not_copied(value: Any) -> None:
    assert replace_values(value, lambda _: False, lambda _: None) is value


def test_what_was_replaced_is_not_looked_into() -> None:
    seen: list[Any] = []
    replace_values([FileInput(path="a", inner=FileInput(path="b"))], is_input, seen.append)
    assert [file["path"] for file in seen] == ["a"]


def is_input(value: Any) -> bool:
    return isinstance(value, FileInput)


def test_key_tells_files_apart() -> None:
    assert file_key({"path": "a", "url": "u"}) == file_key({"url": "u", "path": "a", "size": 1})
    assert file_key({"path": "a", "url": "u"}) != file_key({"path": "a", "url": "v"})
    assert file_key({"path": "a", "url": 5}) == file_key({"path": "a"})


@pytest.mark.parametrize("path", ["/tmp/a.txt", "a b#c?d%e/ä", "C:\\x\\y", "http://h/x?y=1"])
def test_path_of_a_file_survives_its_address(path: str) -> None:
    api = "http://host/app/gradio_api/"
    assert server_path(api + file_path(path), api) == path
    assert server_path(api + file_path(path) + "?download=1#top", api) == path


@pytest.mark.parametrize("url", ["http://other/gradio_api/file=a", "http://host/file=a", "", "x"])
def test_address_of_no_file_of_the_app(url: str) -> None:
    assert server_path(url, "http://host/gradio_api/") is None


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("audio.wav", "audio.aac"),
        ("clip.mp4", "clip.ts"),
        ("a.b.WEBM", "a.b.ts"),
        ("", "file.aac"),
        (None, "file.aac"),
        ("../x.wav", "x.aac"),
    ],
)
def test_name_of_a_stream(name: str | None, called: str) -> None:
    assert media_name({"orig_name": name}) == called


@pytest.mark.parametrize(
    ("data", "whether"),
    [
        ({"is_stream": True, "path": "s/1/2/playlist.m3u8"}, True),
        ({"is_stream": True, "path": "s/1/2"}, False),
        ({"is_stream": False, "path": "s/1/2/playlist.m3u8"}, False),
        ({"path": "s/1/2/playlist.m3u8"}, False),
    ],
)
def test_what_is_a_stream(data: Any, whether: bool) -> None:
    assert is_media_stream(data) is whether
