"""Files in the values of servers before 4.0: made into those of 4.x, and back.

There a file is ``{"name", "data", "is_file"}``. Its ``name`` is its path on the server; with
``is_file`` false it is in ``data`` itself, a ``data:`` URL. An image is such a URL and no more.
What 4.x has as a dict of several values is a list of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from jobwire.protocol.files import FILE_META, is_file, replace_values
from jobwire.protocol.inline import inline_name, inline_size, inline_type, is_inline

__all__ = ("Form", "fetches_addresses", "find_form", "from_old", "reader", "to_old")

Form = Literal["file", "image", "video", "gallery", "annotated image", "chat"]
"""How the values of a component hold files."""

_FORMS: Mapping[str, Form] = {
    # What a component of any name says of itself,
    "FileSerializable": "file",
    "ImgSerializable": "image",
    "VideoSerializable": "video",
    "GallerySerializable": "gallery",
    # and kinds of component that say that they hold any JSON, or say nothing.
    "annotatedimage": "annotated image",
    "audio": "file",
    "chatbot": "chat",
    "file": "file",
    "gallery": "gallery",
    "image": "image",
    "model3d": "file",
    "uploadbutton": "file",
    "video": "video",
}


def find_form(component: Mapping[str, Any]) -> Form | None:
    """Return how a component's values hold files; None if they hold none.

    Args:
        component: Its entry in ``/config``.
    """
    form = _FORMS.get(str(component.get("serializer")))
    return form or _FORMS.get(str(component.get("type")))


def fetches_addresses(kind: str) -> bool:
    """Whether the server fetches an address that it is given as an input of a kind."""
    return kind in ("audio", "video")


def reader(forms: Sequence[Form | None]) -> Callable[[list[Any]], list[Any]] | None:
    """Return what makes outputs of 4.x of those of an endpoint; None if they hold no files.

    Args:
        forms: How each of the outputs holds files.
    """
    if not any(forms):
        return None

    def read(values: list[Any]) -> list[Any]:
        known = [
            value if form is None else from_old(form, value)
            for form, value in zip(forms, values, strict=False)
        ]
        return known + values[len(known) :]

    return read


def from_old(form: Form, value: Any) -> Any:
    """Return an output as servers of 4.x give it. What is not as expected is left alone."""
    if isinstance(value, dict) and "__type__" in value:  # an update
        if "value" not in value:
            return value
        return {**value, "value": from_old(form, value["value"])}
    match form, value:
        case "image", str() if is_inline(value):
            return _inline_file(value)
        case "video", [video, subtitles]:
            value = {"video": video, "subtitles": subtitles}
        case "gallery", list():
            value = [_named(item, "image", "caption") for item in value]
        case "annotated image", [image, list() as areas]:
            areas = [_named(area, "image", "label") for area in areas]
            value = {"image": image, "annotations": areas}
        case "chat", list():
            return replace_values(value, _is_old_file, _chat_file)
    return replace_values(value, _is_old_file, _new_file)


def to_old(form: Form, value: Any) -> Any:
    """Return an input of 4.x as servers before take it; other things are left alone.

    Args:
        form: How the component's values hold files.
        value: With the content of its files in their ``url``, if the form is ``image``.
    """
    match form, value:
        case "image", _:
            return replace_values(value, is_file, lambda file: file.get("url"))
        case "video", {"video": video, **rest}:
            value = [video, rest.get("subtitles")]
        case "gallery", list():
            value = [_listed(item) for item in value]
        case "chat", list():
            value = replace_values(value, _is_chat_file, _old_chat_file)
    return replace_values(value, is_file, _old_file)


def _named(item: Any, file: str, text: str) -> Any:
    """Give names to a file and what is written under it, which may be missing."""
    if _is_old_file(item):
        return {file: item, text: None}
    match item:
        case [first, second]:
            return {file: first, text: second}
    return item


def _listed(item: Any) -> Any:
    match item:
        case {"image": image, "caption": str() as caption}:
            return [image, caption]
        case {"image": image}:
            return image
    return item


def _is_old_file(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("is_file"), bool):
        return False
    if is_inline(value.get("data")):
        return True
    return value["is_file"] and isinstance(value.get("name"), str) and value["name"] != ""


def _new_file(old: Mapping[str, Any]) -> dict[str, Any]:
    if is_inline(old.get("data")):
        return _inline_file(old["data"], old.get("orig_name") or old.get("name"))
    fields = {key: old.get(key) for key in ("size", "orig_name", "mime_type")}
    return {"path": old["name"], "url": None, **fields, "meta": FILE_META}


def _inline_file(url: str, name: str | None = None) -> dict[str, Any]:
    return {
        "path": name or inline_name(url),
        "url": url,
        "size": inline_size(url),
        "orig_name": name,
        "mime_type": inline_type(url),
        "meta": FILE_META,
    }


def _old_file(file: Mapping[str, Any]) -> dict[str, Any]:
    if is_inline(file.get("url")):
        name = file.get("orig_name") or file["path"]
        return {"name": name, "data": file["url"], "is_file": False}
    return {"name": file["path"], "data": None, "is_file": True, "orig_name": file.get("orig_name")}


def _chat_file(old: Mapping[str, Any]) -> dict[str, Any]:
    return {"file": _new_file(old), "alt_text": old.get("alt_text")}


def _is_chat_file(value: Any) -> bool:
    return isinstance(value, dict) and is_file(value.get("file"))


def _old_chat_file(value: Mapping[str, Any]) -> dict[str, Any]:
    file = value["file"]
    more = {"mime_type": file.get("mime_type"), "alt_text": value.get("alt_text")}
    return {**_old_file(file), **more}
