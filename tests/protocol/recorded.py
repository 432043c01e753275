"""The recordings in ``tests/vectors``, see the README there."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from jobwire.protocol.schema import AppSchema, parse_config

VECTORS = Path(__file__).parent.parent / "vectors"

OLD_VERSIONS = ("3.41.2", "3.50.2", "4.0.2")
"""Those that give each job a connection."""

VERSIONS = ("4.10.0", "4.20.1", "4.21.0", "4.44.1", "5.50.0", "6.31.0")


class RecordedJob(NamedTuple):
    """One job of a recording, and what must come of it."""

    api_name: str
    fn_index: int
    data: list[Any]
    event_id: str
    outputs: list[list[Any]]
    outcome: dict[str, Any]
    reply: dict[str, Any] = {}  # noqa: RUF012
    logs: list[list[str]] = []  # noqa: RUF012
    progress: dict[str, Any] | None = None


class Recording(NamedTuple):
    """One connection's event stream, or messages line by line, and its jobs."""

    version: str
    name: str
    stream: bytes
    jobs: tuple[RecordedJob, ...]

    def __str__(self) -> str:
        return f"{self.version}-{self.name}"


def read_json(version: str, name: str) -> Any:
    return json.loads((VECTORS / version / f"{name}.json").read_text())


def read_recording(version: str, name: str) -> Recording:
    jobs = tuple(RecordedJob(**job) for job in read_json(version, name)["jobs"])
    kind = "ws" if version.startswith("3.") else "sse"
    return Recording(version, name, (VECTORS / version / f"{name}.{kind}").read_bytes(), jobs)


def read_schema(version: str) -> AppSchema:
    """Return the app as a client knows it, after ``/config`` and ``/info``."""
    config, info = read_json(version, "config"), read_json(version, "info")
    return parse_config(config, url="http://test/").with_info(info)


def read_recordings(*versions: str) -> list[Recording]:
    return [
        read_recording(version, path.stem)
        for version in versions
        for path in sorted((VECTORS / version).iterdir())
        if path.suffix != ".json"
    ]


RECORDINGS = read_recordings(*VERSIONS)
OLD_RECORDINGS = read_recordings(*OLD_VERSIONS)
