"""Which server speaks how."""

import pytest

from jobwire.exceptions import UnsupportedProtocolError
from jobwire.protocol.dialects import Dialect, parse_version, select_dialect

NEWEST = Dialect(
    carrier="session stream",
    diffs=True,
    announces_close=True,
    resumable=False,
    durable=False,
    cancel="cancel",
    precise_cancel=True,
    batches=True,
    old_files=False,
)
V3 = NEWEST._replace(precise_cancel=False)
OLD_V3 = V3._replace(cancel="reset")
V2 = OLD_V3._replace(announces_close=False, resumable=True)
V1 = V2._replace(diffs=False, resumable=False)
SSE = V1._replace(carrier="job stream", batches=False)
WS = V1._replace(carrier="websocket", old_files=True)


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
        (None, "3.23.0\n", WS),
        ("", "3.50.2", WS),
        ("ws", "3.50.2", WS),
        (None, "3.9", WS),
        ("sse", "4.0.2", SSE),
        ("sse", "4.8.0", SSE),
        ("sse_v1", "4.9.0", V1._replace(batches=False)),
        ("sse_v1", "4.10.0", V1._replace(batches=False)),
        ("sse_v1", "4.11", V1),
        ("sse_v1", "4.16.0", V1),
        ("sse_v2", "4.17", V2),
        ("sse_v2", "4.20.1", V2),
        ("sse_v2.1", "4.21.0", V2),
        ("sse_v3", "4.22.0", OLD_V3._replace(resumable=True)),
        ("sse_v3", "4.23.99", OLD_V3._replace(resumable=True)),
        ("sse_v3", "4.24", OLD_V3),
        ("sse_v3", "4.24.0", OLD_V3),
        ("sse_v3", "4.30.5", OLD_V3),
        ("sse_v3", "4.31", V3),
        ("sse_v3", "5.50.0", V3),
        ("sse_v3", "6.13.0", V3),
        ("sse_v3", "6.14", NEWEST),
        ("sse_v3", "6.31.0\n", NEWEST),
        ("sse_v3", "10.0.0", NEWEST),
        ("sse_v3", "", NEWEST),
        ("sse_v9", "9.1.0", NEWEST),
        ("sse_new", "6.31.0", NEWEST),
    ],
)
def test_dialect_of_a_server(protocol: str | None, version: str, dialect: Dialect) -> None:
    assert select_dialect(protocol, version) == dialect


def test_servers_of_jobwire_keep_jobs() -> None:
    dialect = select_dialect("sse_v3", "6.31.0", durable=True)
    assert dialect == NEWEST._replace(durable=True, cancel="job")


@pytest.mark.parametrize("protocol", ["grpc", "SSE", "ssev1", "sse-v1"])
def test_protocols_of_others_are_refused_by_name(protocol: str) -> None:
    with pytest.raises(UnsupportedProtocolError, match="jobwire speaks ws, sse and") as caught:
        select_dialect(protocol, "9.0.0\n")
    assert caught.value.protocol == protocol
    assert caught.value.version == "9.0.0"
    assert repr(protocol) in str(caught.value)
    assert "gradio 9.0.0)" in str(caught.value)


def test_refused_server_without_a_version_is_said_to_have_none() -> None:
    with pytest.raises(UnsupportedProtocolError, match="gradio of unknown version") as caught:
        select_dialect("grpc", " ")
    assert caught.value.version == ""
