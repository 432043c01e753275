"""Files in the values of Gradio 3, made into those of 4.x and back.

The values are what 3.41.2 and 3.50.2 sent, and took.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import OLD_VERSIONS, read_json
from strategies import json_values

from jobwire.protocol.files import is_file
from jobwire.protocol.inline import inline_url
from jobwire.protocol.messages import Value
from jobwire.protocol.old_files import Form, find_form, from_old, reader, to_old
from jobwire.protocol.outputs import OutputCursor, OutputLog
from jobwire.protocol.schema import parse_config
from jobwire.types import OutputUpdate

META = {"_type": "gradio.FileData"}
IMAGE = inline_url(b"pixels", "image/png")
FORMS: tuple[Form, ...] = ("file", "image", "video", "gallery", "annotated image", "chat")


def old(path: str = "/tmp/a/a.txt", **more: Any) -> dict[str, Any]:
    return {"name": path, "data": None, "is_file": True, **more}


def new(path: str = "/tmp/a/a.txt", **more: Any) -> dict[str, Any]:
    fields = {"url": None, "size": None, "orig_name": None, "mime_type": None, "meta": META}
    return {"path": path, **fields, **more}


NEW_IMAGE = new("image.png", url=IMAGE, size=6, mime_type="image/png")

SUBTITLES = inline_url(b"WEBVTT", "text/vtt")


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        ("file", old(orig_name="a.txt", size=3), new(orig_name="a.txt", size=3)),
        ("file", [old("a"), old("b")], [new("a"), new("b")]),
        ("file", None, None),
        (
            "file",
            {"name": "b.txt", "data": inline_url(b"b"), "is_file": False},
            new(
                "b.txt",
                url=inline_url(b"b"),
                size=1,
                orig_name="b.txt",
                mime_type="application/octet-stream",
            ),
        ),
        ("image", IMAGE, NEW_IMAGE),
        ("image", None, None),
        ("video", [old("a.mp4"), None], {"video": new("a.mp4"), "subtitles": None}),
        (
            "video",
            [old("a.mp4"), {"name": None, "data": SUBTITLES, "is_file": False}],
            {
                "video": new("a.mp4"),
                "subtitles": new("text.vtt", url=SUBTITLES, size=6, mime_type="text/vtt"),
            },
        ),
        (
            "gallery",
            [[old("a.png"), "first"], old("b.png")],
            [
                {"image": new("a.png"), "caption": "first"},
                {"image": new("b.png"), "caption": None},
            ],
        ),
        (
            "annotated image",
            [old("a.png"), [[old("b.png"), "corner"]]],
            {
                "image": new("a.png"),
                "annotations": [{"image": new("b.png"), "label": "corner"}],
            },
        ),
        (
            "chat",
            [["look", old("a.png", mime_type="image/png", alt_text="red")], [None, "text"]],
            [
                ["look", {"file": new("a.png", mime_type="image/png"), "alt_text": "red"}],
                [None, "text"],
            ],
        ),
        (
            "image",
            {"__type__": "update", "label": "x", "value": IMAGE},
            {"__type__": "update", "label": "x", "value": NEW_IMAGE},
        ),
        (
            "file",
            {"__type__": "update", "visible": False},
            {"__type__": "update", "visible": False},
        ),
        # What is not as expected; a stream cannot be fetched by its name.
        *(
            (form, value, value)
            for form, value in [
                ("file", {"name": "id", "is_stream": True, "is_file": False}),
                ("file", {"name": "", "data": None, "is_file": True}),
                ("file", "a.txt"),
                ("image", "http://example.com/a.png"),
                ("video", [1]),
                ("gallery", [1, None, [1, 2, 3]]),
                ("annotated image", [None]),
                ("chat", [["", ""]]),
            ]
        ),
    ],
)
def test_output(form: Form, value: Any, expected: Any) -> None:
    result = from_old(form, value)
    assert result == expected


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        ("file", new("a", orig_name="x"), old("a", orig_name="x")),
        ("file", [new("a"), new("b")], [old("a", orig_name=None), old("b", orig_name=None)]),
        ("file", NEW_IMAGE, {"name": "image.png", "data": IMAGE, "is_file": False}),
        ("image", NEW_IMAGE, IMAGE),
        ("image", IMAGE, IMAGE),
        ("image", {"image": NEW_IMAGE, "mask": NEW_IMAGE}, {"image": IMAGE, "mask": IMAGE}),
        ("video", new("a"), old("a", orig_name=None)),
        ("video", {"video": new("a")}, [old("a", orig_name=None), None]),
        ("video", {"video": new("a"), "subtitles": None}, [old("a", orig_name=None), None]),
        (
            "gallery",
            [{"image": new("a"), "caption": "c"}, {"image": new("b"), "caption": None}],
            [[old("a", orig_name=None), "c"], old("b", orig_name=None)],
        ),
        (
            "chat",
            [[{"file": new("a"), "alt_text": "c"}, "text"]],
            [[old("a", orig_name=None, mime_type=None, alt_text="c"), "text"]],
        ),
        # Callers may write what these servers take.
        ("file", old("a"), old("a")),
        ("video", [old("a"), None], [old("a"), None]),
        ("gallery", [[old("a"), "c"]], [[old("a"), "c"]]),
        ("chat", None, None),
    ],
)
def test_input(form: Form, value: Any, expected: Any) -> None:
    assert to_old(form, value) == expected


@given(st.sampled_from(FORMS), json_values())
def test_nothing_is_too_odd(form: Form, value: Any) -> None:
    from_old(form, value)
    to_old(form, value)


@pytest.mark.parametrize(
    ("component", "form"),
    [
        ({"type": "file", "serializer": "FileSerializable"}, "file"),
        ({"type": "image", "serializer": "ImgSerializable"}, "image"),
        ({"type": "my own", "serializer": "VideoSerializable"}, "video"),
        ({"type": "chatbot", "serializer": "JSONSerializable"}, "chat"),
        ({"type": "audio"}, "file"),
        ({"type": "json", "serializer": "JSONSerializable"}, None),
        ({"type": "textbox", "serializer": "StringSerializable"}, None),
        ({}, None),
    ],
)
def test_form_of_a_component(component: dict[str, Any], form: Form | None) -> None:
    assert find_form(component) == form


@pytest.mark.parametrize("version", [*OLD_VERSIONS, "6.31.0"])
def test_only_servers_before_4_have_old_forms(version: str) -> None:
    config = read_json(version, "config")
    props: dict[str, Any] = {"props": {}}
    config["components"].append({"id": 10_000, "type": "image", "skip_api": False, **props})
    schema = parse_config(config, url="http://test/")
    is_old = version < "4"
    assert schema.components[10_000].old_form == ("image" if is_old else None)
    assert schema.components[10_000].holds_files is is_old
    assert schema.dialect.old_files is is_old


def test_outputs_without_files_are_not_read() -> None:
    assert reader([None, None]) is None


def test_outputs_are_read_whatever_their_number() -> None:
    read = reader([None, "image"])
    assert read is not None
    assert read([IMAGE, IMAGE, IMAGE]) == [IMAGE, NEW_IMAGE, IMAGE]
    assert read([IMAGE]) == [IMAGE]


def test_log_gives_every_reader_the_new_form() -> None:
    log = OutputLog(
        diffs=False, present=lambda values: values[0], held=True, read=reader(["image"])
    )
    data: Value = [IMAGE]
    log.append(data)
    log.finish(data)
    ahead = OutputCursor(log, with_result=True, ahead=True)
    assert [ahead.next(), ahead.next()] == [
        OutputUpdate([NEW_IMAGE]),
        OutputUpdate([NEW_IMAGE], final=True),
    ]
    log.release(ahead.position)
    assert log.outputs() == [NEW_IMAGE]
    assert log.result == NEW_IMAGE
    assert is_file(log.result)
