"""Files that travel within values: data: URLs, good and bad."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwire.exceptions import RemoteProtocolError
from jobwire.protocol.inline import (
    inline_content,
    inline_name,
    inline_size,
    inline_type,
    inline_url,
    is_inline,
)


@given(st.binary(), st.sampled_from([None, "image/png"]))
def test_content_survives_its_url(content: bytes, mime_type: str | None) -> None:
    url = inline_url(content, mime_type)
    assert is_inline(url)
    assert inline_content(url) == content
    assert inline_size(url) == len(content)
    assert inline_type(url) == (mime_type or "application/octet-stream")


@pytest.mark.parametrize(
    ("url", "mime_type", "name"),
    [
        ("data:image/png;base64,", "image/png", "image.png"),
        ("data:image/svg+xml;base64,", "image/svg+xml", "image.svg"),
        ("data:IMAGE/JPEG;base64,", "image/jpeg", "image.jpeg"),
        ("data:text/vtt;charset=utf-8;base64,", "text/vtt", "text.vtt"),
        ("data:text/plain,", "text/plain", "text.plain"),
        ("data:;base64,", "application/octet-stream", "file"),
        ("data:,", "application/octet-stream", "file"),
        ("data:application/pdf;base64,", "application/pdf", "file"),
        ("data:../../etc;base64,", "../../etc", "file"),
        ("data:image/../../x;base64,", "image/../../x", "file"),
    ],
)
def test_type_and_name(url: str, mime_type: str, name: str) -> None:
    assert (inline_type(url), inline_name(url)) == (mime_type, name)


def test_content_that_is_not_base64() -> None:
    assert inline_content("data:text/plain,a%20note") == b"a note"
    assert inline_size("data:text/plain,a%20note") is None


@pytest.mark.parametrize("url", ["data:image/png", "data:;base64,A", "data:;base64,AAA"])
def test_damaged_content(url: str) -> None:
    with pytest.raises(RemoteProtocolError, match="damaged"):
        inline_content(url)


def test_damaged_content_is_shown_in_part() -> None:
    url = "data:;base64," + base64.b64encode(bytes(100_000)).decode()[:-1]
    with pytest.raises(RemoteProtocolError) as caught:
        inline_content(url)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("url", [None, 3, "", "http://a/b", "/tmp/data:x", "dat"])
def test_what_is_not_inline(url: object) -> None:
    assert not is_inline(url)
