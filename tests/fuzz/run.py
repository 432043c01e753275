"""Fuzz one target for so many seconds: ``python -m fuzz.run TARGET SECONDS``.

Takes atheris, which is not installed with the rest: not every platform has it.
"""

import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["jobwire"]):
    from fuzz.targets import EVENTS, TARGETS

SEEDS = {
    "sse": [b"\x03" + event for event in EVENTS],
    "messages": [event.removeprefix(b"data: ").strip() for event in EVENTS],
    "diffs": [
        b'[{"a":[1,2]},[["add",["a",2],3],["delete",["a",0],null],["append",["a",0],"x"]]]',
        b'["text",[["append",[],"more"]]]',
        b"[[1,2,3],[1,3]]",
    ],
    "schema": [
        json.dumps(
            {
                "version": "6.31.0",
                "protocol": "sse_v3",
                "api_prefix": "/gradio_api",
                "components": [{"id": 1, "type": "textbox", "props": {"label": "x"}}],
                "dependencies": [
                    {"id": 7, "api_name": "echo", "inputs": [1], "outputs": [1], "backend_fn": True}
                ],
                "info": {
                    "named_endpoints": {
                        "/echo": {
                            "parameters": [
                                {"label": "x", "parameter_name": "x", "type": {}, "component": "T"}
                            ],
                            "returns": [],
                        }
                    },
                    "unnamed_endpoints": {},
                },
            }
        ).encode()
    ],
    "playlists": [b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nsegment.ts\n#EXT-X-ENDLIST\n"],
    "sessions": [bytes([2, 0, 1, 4, 5, 13, 29, 45]), bytes([3, 0, 8, 1, 9, 4, 3, 5, 5, 7, 6])],
}


def main() -> None:
    name, seconds = sys.argv[1:3]

    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for number, seed in enumerate(SEEDS[name]):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", "-print_final_stats=1", str(corpus)],
        TARGETS[name],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
