"""Record the wire of a running ``tests/apps/scenarios.py``: ``python record.py URL``.

Expected outputs are written down here, from what the app's functions give; nothing of
jobwire takes part, so a mistake of jobwire cannot hide in a recording.

Servers before 4.9 give each job a connection, so their scenarios have one job each.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

HERE = Path(__file__).parent

# What only a browser needs, and what differs on every machine.
DROPPED_FROM_CONFIG = frozenset(
    [
        "body_css",
        "css",
        "footer_links",
        "head",
        "i18n_translations",
        "js",
        "layout",
        "root",
        "stylesheets",
    ]
)
KEPT_OF_COMPONENTS = ("id", "type", "skip_api", "component_class_id", "key")
KEPT_OF_PROPS = ("name", "label", "value")

TABLES = [
    [[1, 2, 3], [4, 5, 6]],
    [[1], [4]],
    [[1, 7], [4, 8], [9, 9]],
    [],
    [[5, [1, 2, [3, 4, 5]]], {"k": [1, 2, 3]}],
    [[5, [1, [3]]], {"k": []}],
]
SHAPES = ((3, 2), (1, 2), (4, 3), (2, 1))
SPECIAL = 'naïve ✓ 🎉\n\ttext \\ "quoted"\u2028end'


class Call(NamedTuple):
    """One call, and every output that it must give, as one list of values each."""

    api_name: str
    data: list[Any]
    outputs: list[list[Any]]
    logs: tuple[tuple[str, str], ...] = ()
    progress: dict[str, Any] | None = None


class Scenario(NamedTuple):
    """Calls that share one event stream; the first is cancelled on request."""

    name: str
    calls: tuple[Call, ...]
    cancel: bool = False
    since: tuple[int, ...] = ()


def frame(columns: int, rows: int) -> dict[str, Any]:
    return {
        "headers": [f"c{column}" for column in range(columns)],
        "data": [[f"{row}.{column}" for column in range(columns)] for row in range(rows)],
        "metadata": None,
    }


def mixed(step: int) -> list[Any]:
    return [f"step {step}", {"i": step, "seen": list(range(step)), "flag": step % 2 == 0}]


def words(count: int) -> str:
    return "".join(f"word{index} " for index in range(count))


ECHO = Call("echo", [SPECIAL], [[SPECIAL]])
COUNT = Call("count", [5, 0], [[str(index)] for index in range(5)])
GROW = Call("grow", [40], [[words(count)] for count in range(1, 41)])

SCENARIOS = (
    Scenario("echo", (ECHO,)),
    Scenario("two", (Call("two", ["abc"], [["ABC", 3]]),)),
    Scenario("none", (Call("none", [], [[]]),)),
    Scenario("count", (COUNT,)),
    Scenario("grow", (GROW,)),
    Scenario("tables", (Call("tables", [], [[table] for table in TABLES]),)),
    Scenario("frames", (Call("frames", [], [[frame(*shape)] for shape in SHAPES]),)),
    Scenario("mixed", (Call("mixed", [], [mixed(step) for step in range(4)]),)),
    Scenario(
        "steps",
        (
            Call(
                "steps",
                [3],
                [["done"]],
                progress={"length": 3, "unit": "parts", "progress": None, "desc": "working"},
            ),
        ),
    ),
    Scenario(
        "logs",
        (Call("logs", ["x"], [["x"]], (("info x", "info"), ("warning x", "warning"))),),
    ),
    Scenario("fail_value", (Call("fail", ["value"], []),)),
    Scenario("fail_titled", (Call("fail", ["titled"], []),)),
    Scenario("fail_plain", (Call("fail", [""], []),)),
    Scenario("fail_late", (Call("fail_late", [3], [["0"], ["1"], ["2"]]),)),
    Scenario("remember", (Call("remember", ["a", None], [["a", None]]),)),
    Scenario("nan", (Call("nan", [], [[{"nan": None, "inf": None, "text": "naïve ✓ 🎉"}]]),)),
    Scenario("multiplexed", (Call("count", [4, 0.05], COUNT.outputs[:4]), GROW, ECHO)),
    # As many outputs as came before the server stopped it.
    Scenario(
        "cancelled",
        (Call("count", [400, 0.02], [[str(index)] for index in range(400)]),),
        cancel=True,
        since=(4, 31),
    ),
)


class Recorder:
    """Talks to one server, with nothing but the standard library."""

    def __init__(self, url: str) -> None:
        self.root = url.rstrip("/")
        self.config = json.loads(self.request("config")[2])
        self.version: str = self.config["version"].strip()
        self.number = tuple(int(part) for part in self.version.split(".")[:2])
        self.prefix = (self.config.get("api_prefix") or "").strip("/")
        if self.prefix:
            self.prefix += "/"
        self.info = json.loads(self.request(f"{self.prefix}info")[2])
        self.folder = HERE / self.version
        self.folder.mkdir(exist_ok=True)

    def request(self, path: str, body: Any = None) -> tuple[int, str, bytes]:
        request = urllib.request.Request(f"{self.root}/{path}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, reply.headers["content-type"], reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["content-type"], error.read()

    def stream(self, session: str, on_bytes: Callable[[bytes], None] | None = None) -> bytes:
        """Read the session's stream until the server ends it, or cuts it off."""
        received = b""
        url = f"{self.root}/{self.prefix}queue/data?session_hash={session}"
        with urllib.request.urlopen(url, timeout=30) as reply:
            while True:
                try:
                    chunk = reply.read1(65536)
                except http.client.IncompleteRead as error:
                    chunk = error.partial
                if not chunk:
                    return received
                received += chunk
                if on_bytes is not None:
                    on_bytes(received)

    def fn_index(self, api_name: str) -> int:
        for index, dependency in enumerate(self.config["dependencies"]):
            if dependency["api_name"] == api_name:
                id: int = dependency.get("id", index)
                return id
        raise LookupError(api_name)

    def join(self, api_name: str, data: list[Any], session: str) -> tuple[int, str, bytes]:
        body = {"data": data, "fn_index": self.fn_index(api_name), "session_hash": session}
        return self.request(f"{self.prefix}queue/join", body)

    # -- what is recorded --

    def save(self, name: str, content: Any) -> None:
        text = json.dumps(content, indent=1, ensure_ascii=True)
        (self.folder / f"{name}.json").write_text(text + "\n")

    def record_app(self) -> None:
        config = {
            key: value
            for key, value in self.config.items()
            if key not in DROPPED_FROM_CONFIG and not key.startswith("theme")
        }
        config["components"] = [
            {key: raw[key] for key in KEPT_OF_COMPONENTS if key in raw}
            | {"props": {key: raw["props"][key] for key in KEPT_OF_PROPS if key in raw["props"]}}
            for raw in config["components"]
        ]
        self.save("config", config)
        for endpoint in self.info["named_endpoints"].values():
            endpoint.pop("code_snippets", None)
        self.save("info", self.info)

    def record(self, scenario: Scenario) -> None:
        session = uuid.uuid4().hex[:12]
        jobs = []
        for call in scenario.calls:
            status, _, body = self.join(call.api_name, call.data, session)
            jobs.append(
                {
                    "api_name": f"/{call.api_name}",
                    "fn_index": self.fn_index(call.api_name),
                    "data": call.data,
                    "reply": {"status": status, "body": body.decode()},
                    "event_id": json.loads(body)["event_id"],
                }
            )

        cancelled = not scenario.cancel

        def cancel_after_outputs(received: bytes) -> None:
            nonlocal cancelled
            if not cancelled and received.count(b"process_generating") >= 3:
                cancelled = True
                self.request(
                    f"{self.prefix}cancel",
                    {
                        "session_hash": session,
                        "fn_index": jobs[0]["fn_index"],
                        "event_id": jobs[0]["event_id"],
                    },
                )

        received = self.stream(session, cancel_after_outputs)
        messages = [json.loads(line[6:]) for line in received.splitlines() if line]
        for call, job in zip(scenario.calls, jobs, strict=True):
            job |= self.expect(call, [m for m in messages if m.get("event_id") == job["event_id"]])
        (self.folder / f"{scenario.name}.sse").write_bytes(received)
        self.save(scenario.name, {"jobs": jobs})

    def expect(self, call: Call, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """What a reader of the recording must find; checked where the wire is plain."""
        completed = messages[-1]
        output = completed["output"]
        outputs = call.outputs
        if call.api_name == "frames" and self.number < (4, 20) and self.number != (3, 50):
            for (table,) in outputs:
                table.pop("metadata", None)
        if "data" in output:
            outcome: dict[str, Any] = {"kind": "completed", "result": call.outputs[-1]}
            if output["data"] != outputs[-1]:
                raise AssertionError(f"{call.api_name}: {output['data']} is not {outputs[-1]}")
        elif "error" in output:
            outcome = {
                "kind": "failed",
                "message": output["error"],
                "title": output.get("title") or completed.get("title") or "Error",
                "duration": output.get("duration"),
                "visible": output.get("visible", True),
            }
        else:
            outcome = {"kind": "cancelled"}
            outputs = outputs[: sum(m["msg"] == "process_generating" for m in messages)]
        expected: dict[str, Any] = {"outputs": outputs, "outcome": outcome}
        if call.logs:
            expected["logs"] = call.logs
        if call.progress:
            expected["progress"] = call.progress
        return expected

    # -- servers before 4.9 --

    def save_job(self, scenario: Scenario, received: bytes, kind: str) -> None:
        (call,) = scenario.calls
        lines = received.removesuffix(b"\n").split(b"\n")
        messages = [json.loads(line.removeprefix(b"data: ")) for line in lines if line]
        job = {
            "api_name": f"/{call.api_name}",
            "fn_index": self.fn_index(call.api_name),
            "data": call.data,
            "event_id": next((m["event_id"] for m in messages if m.get("event_id")), None),
        }
        job |= self.expect(call, messages)
        (self.folder / f"{scenario.name}.{kind}").write_bytes(received)
        self.save(scenario.name, {"jobs": [job]})

    async def record_websocket(self, scenario: Scenario) -> None:
        """Record what the server says on a WebSocket, one message in each line."""
        (call,) = scenario.calls
        job = {"fn_index": self.fn_index(call.api_name), "session_hash": uuid.uuid4().hex[:12]}
        received = b""
        async with aiohttp.ClientSession() as http:
            async with http.ws_connect(f"{self.root}/queue/join") as socket:
                async for message in socket:
                    received += message.data.encode() + b"\n"
                    match json.loads(message.data)["msg"]:
                        case "send_hash":
                            await socket.send_json(job)
                        case "send_data":
                            await socket.send_json(job | {"data": call.data})
        self.save_job(scenario, received, "ws")

    def record_job_stream(self, scenario: Scenario) -> None:
        (call,) = scenario.calls
        job = {"fn_index": self.fn_index(call.api_name), "session_hash": uuid.uuid4().hex[:12]}
        query = "&".join(f"{key}={value}" for key, value in job.items())
        received = b""
        with urllib.request.urlopen(f"{self.root}/queue/join?{query}", timeout=30) as reply:
            for line in reply:
                received += line
                if b'"send_data"' in line:
                    asked = json.loads(line.removeprefix(b"data: "))
                    answer = job | {"data": call.data, "event_id": asked["event_id"]}
                    self.request("queue/data", answer)
        self.save_job(scenario, received, "sse")

    def record_session_not_found(self) -> None:
        received = self.stream(uuid.uuid4().hex[:12])
        (self.folder / "session_not_found.sse").write_bytes(received)
        self.save("session_not_found", {"jobs": []})

    def record_refusals(self) -> None:
        """Answers to submissions that no job comes of."""
        refusals = {"malformed": self.request(f"{self.prefix}queue/join", {"fn_index": 0})}
        if self.number >= (5, 45):
            refusals["invalid"] = self.join("even_only", [3], uuid.uuid4().hex[:12])
        self.save(
            "refusals",
            {
                name: {"status": status, "content_type": content_type, "body": body.decode()}
                for name, (status, content_type, body) in refusals.items()
            },
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    recorder = Recorder(parser.parse_args().url)
    recorder.record_app()
    shared = recorder.number >= (4, 9)
    for scenario in SCENARIOS:
        if recorder.number < scenario.since or (not shared and len(scenario.calls) > 1):
            continue
        if shared:
            recorder.record(scenario)
        elif recorder.number >= (4, 0):
            recorder.record_job_stream(scenario)
        else:
            asyncio.run(recorder.record_websocket(scenario))
    if shared:
        recorder.record_session_not_found()
        recorder.record_refusals()
    print(f"recorded gradio {recorder.version} into {recorder.folder.name}/")


if __name__ == "__main__":
    main()
