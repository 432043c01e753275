"""A server that speaks what the Hugging Face Hub speaks about Spaces, over real sockets."""

import contextlib
import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from faults import RawServer, response

MISSING = response({"error": "Repository not found"}, 404, headers="X-Error-Code: RepoNotFound\r\n")


@dataclass
class HubSpace:
    """A Space on the Hub.

    Attributes:
        host: Where its app is.
        stages: What it is doing: one for each time that it is asked; the last one stays.
        token: Who may see it; None for everybody.
        hardware: What it runs on.
        error: What the Hub says of its failure.
    """

    host: str = "http://127.0.0.1:9"
    stages: list[str] = field(default_factory=lambda: ["RUNNING"])
    token: str | None = None
    hardware: str | None = "cpu-basic"
    error: str | None = None

    def info(self, id: str) -> dict[str, Any]:
        stage = self.stages.pop(0) if len(self.stages) > 1 else self.stages[0]
        return {"id": id, "host": self.host, "private": False, "runtime": self.runtime(stage)}

    def runtime(self, stage: str = "BUILDING") -> dict[str, Any]:
        hardware = {"current": self.hardware, "requested": self.hardware}
        runtime = {"stage": stage, "hardware": hardware}
        return runtime | ({"errorMessage": self.error} if self.error else {})


class HubServer(RawServer):
    """The Hub; its account ``me`` belongs to the token ``hf_me``.

    ``refusals`` are given instead of answers, one for each request; None is none.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__({}, tls)
        self.spaces: dict[str, HubSpace] = {}
        self.refusals: list[Any] = []
        self.new_space: Callable[[], HubSpace] = HubSpace

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        if self.refusals and (refusal := self.refusals.pop(0)) is not None:
            return refusal
        token = headers.get("authorization", "").removeprefix("Bearer ")
        path, _, _ = path.partition("?")
        if path == "/api/whoami-v2":
            if token != "hf_me":
                return response({"error": "Invalid username or password."}, 401)
            return response({"name": "me", "type": "user"})
        owner, name, *rest = path.removeprefix("/api/spaces/").split("/")
        space = self.spaces.get(f"{owner}/{name}")
        if space is None or (space.token is not None and token != space.token):
            return MISSING
        fields = json.loads(body or b"{}")
        match method, rest:
            case "GET", []:
                return response(space.info(f"{owner}/{name}"))
            case "GET", ["runtime"]:  # gradio_client asks this
                return response(space.info("")["runtime"])
            case "POST", ["duplicate"]:
                if fields["repository"] in self.spaces:
                    return response({"error": "it exists"}, 409)
                self.spaces[fields["repository"]] = self.new_space()
                return response({"url": f"{self.url}spaces/{fields['repository']}"})
            case "POST", ["hardware"]:
                space.hardware = fields["flavor"]
                return response(space.runtime())
            case "POST", ["sleeptime"]:
                return response(space.runtime())
        return response("no such route", 404)

    def tokens(self) -> set[str | None]:
        """Every token that was shown, None for a request without."""
        return {headers.get("authorization") for _, _, headers, _ in self.requests}

    def posts(self) -> list[tuple[str, dict[str, Any]]]:
        return [
            (path, json.loads(body)) for method, path, _, body in self.requests if method == "POST"
        ]


@contextlib.contextmanager
def hub_server(tls: ssl.SSLContext | None = None) -> Iterator[HubServer]:
    server = HubServer(tls)
    try:
        yield server
    finally:
        server.stop()
