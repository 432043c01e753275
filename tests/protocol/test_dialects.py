"""Which server speaks how."""

import pytest

from jobwire.exceptions import UnsupportedProtocolError
from jobwire.protocol.dialects import Dialect, parse_version, select_dialect

NEWEST = Dialect(
    diffs=True, announces_close=True, resumable=False, cancel="cancel", precise_cancel=True
)


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("4.44.1", (4, 44, 1)),
        ("6.0", (6, 0)),
        ("6", (6,)),
        ("3.23.0\n", (3, 23, 0)),
        (" 4.9.1 ", (4, 9, 1)),
        ("4.44.1b2\n", (4, 44, 1)),
        ("5.0.0-beta.3", (5, 0, 0)),
        ("6.31.0.dev0", (6, 31, 0)),
        ("4.", (4,)),
    ],
)
def test_version_is_its_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert parse_version(version) == numbers


@pytest.mark.parametrize("version", ["", "\n", "main", "v4.10", ".5"])
def test_version_without_numbers_is_newer_than_all(version: str) -> None:
    assert parse_version(version) > (100,)


def test_version_of_absurd_length_is_an_answer_like_any_other() -> None:
    assert isinstance(parse_version("9" * 5000), tuple)


@pytest.mark.parametrize(
    ("protocol", "version", "dialect"),
    [
        ("sse_v1", "4.9.0", Dialect(False, False, False, "reset", False)),
        ("sse_v1", "4.16.0", Dialect(False, False, False, "reset", False)),
        ("sse_v2", "4.17", Dialect(True, False, True, "reset", False)),
        ("sse_v2", "4.20.1", Dialect(True, False, True, "reset", False)),
        ("sse_v2.1", "4.21.0", Dialect(True, False, True, "reset", False)),
        ("sse_v3", "4.22.0", Dialect(True, True, True, "reset", False)),
        ("sse_v3", "4.23.99", Dialect(True, True, True, "reset", False)),
        ("sse_v3", "4.24", Dialect(True, True, False, "reset", False)),
        ("sse_v3", "4.24.0", Dialect(True, True, False, "reset", False)),
        ("sse_v3", "4.30.5", Dialect(True, True, False, "reset", False)),
        ("sse_v3", "4.31", Dialect(True, True, False, "cancel", False)),
        ("sse_v3", "5.50.0", Dialect(True, True, False, "cancel", False)),
        ("sse_v3", "6.13.0", Dialect(True, True, False, "cancel", False)),
        ("sse_v3", "6.14", NEWEST),
        ("sse_v3", "6.31.0\n", NEWEST),
        ("sse_v3", "10.0.0", NEWEST),
        ("sse_v3", "", NEWEST),
        ("sse_v9", "9.1.0", NEWEST),
        ("sse_new", "6.31.0", NEWEST),
    ],
)
def test_dialect_of_a_server(protocol: str, version: str, dialect: Dialect) -> None:
    assert select_dialect(protocol, version) == dialect


@pytest.mark.parametrize(
    ("protocol", "version", "name"),
    [
        (None, "3.23.0\n", "ws"),
        ("", "3.50.2", "ws"),
        ("ws", "3.50.2", "ws"),
        ("sse", "4.0.2", "sse"),
        ("grpc", "9.0.0", "grpc"),
    ],
)
def test_protocols_of_others_are_refused_by_name(
    protocol: str | None, version: str, name: str
) -> None:
    with pytest.raises(UnsupportedProtocolError, match="jobwire speaks sse_v1 to sse_v3") as caught:
        select_dialect(protocol, version)
    assert caught.value.protocol == name
    assert caught.value.version == version.strip()
    assert repr(name) in str(caught.value)
    assert f"gradio {version.strip()}" in str(caught.value)


def test_refused_server_without_a_version_is_said_to_have_none() -> None:
    with pytest.raises(UnsupportedProtocolError, match="gradio of unknown version") as caught:
        select_dialect("sse", " ")
    assert caught.value.version == ""
