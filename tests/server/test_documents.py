"""What a server tells about itself. That stock clients understand it, ``stock/`` shows."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from html import unescape
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
import schemathesis
from schemathesis.core.result import Ok

from jobwire import App, Session
from jobwire.protocol.schema import parse_config
from jobwire.server import documents

ROOT = "https://example.org/app"


class Color(Enum):
    RED = "red"
    GREEN = "green"


@dataclass
class Node:
    """Contains itself."""

    name: str
    children: "list[Node]" = field(default_factory=list)


def named_like_it() -> type:
    class Node(msgspec.Struct):
        size: int

    return Node


OtherNode = named_like_it()


def build(**options: Any) -> App:
    app = App(title="A <b>title</b>", description="For </script> & all", **options)

    @app.endpoint
    def everything(
        text: str,
        whole: int,
        ratio: float = 0.5,
        flag: bool = True,
        color: Color = Color.RED,
        sizes: list[Literal[1, 2]] | None = None,
        file: Path | None = None,
        files: list[Path] | None = None,
        node: Node | None = None,
    ) -> Iterator[tuple[str, Node]]:
        """Do it <all>.

        Args:
            text: What & why.
        """
        yield text, Node(text)

    @app.endpoint(queue=False, batch=True)
    def other(nodes: list[OtherNode]) -> list[int]:  # type: ignore[valid-type]
        return [node.size for node in nodes]  # type: ignore[attr-defined]

    @app.endpoint(visibility="undocumented")
    def quiet() -> Path:
        return Path()

    @app.endpoint(visibility="private")
    def secret(password: str) -> str:
        return password

    return app


@pytest.fixture
def app() -> App:
    return build()


def config_of(app: App, username: str | None = None) -> dict[str, Any]:
    return documents.config(app.facts, app.endpoints.values(), root=ROOT, username=username)


def openapi_of(app: App, **options: Any) -> dict[str, Any]:
    return documents.openapi(app.facts, app.endpoints.values(), prefix="/gradio_api", **options)


def page_of(app: App, username: str | None = None) -> str:
    return documents.index_page(config_of(app, username), app.endpoints.values())


# -- /config -----------------------------------------------------------------------


def test_config_is_read_by_our_own_client(app: App) -> None:
    schema = parse_config(config_of(app), url=f"{ROOT}/")
    assert schema.title == "A <b>title</b>"
    assert schema.prefix == "gradio_api/"
    everything = schema.find("/everything")
    assert everything.generator
    assert [c.type for c in everything.inputs] == [
        "textbox", "number", "number", "checkbox", "dropdown", "dropdown", "file", "file", "json",
    ]  # fmt: skip
    assert [c.type for c in everything.outputs] == ["textbox", "json"]
    assert not any(c.skipped for c in (*everything.inputs, *everything.outputs))
    assert schema.find("/quiet").visibility == "undocumented"


def test_config_is_whole(app: App) -> None:
    config = config_of(app)
    ids = [component["id"] for component in config["components"]]
    assert len(set(ids)) == len(ids)

    def laid_out(layout: dict[str, Any]) -> list[int]:
        return [layout["id"], *(id for c in layout.get("children", ()) for id in laid_out(c))]

    assert laid_out(config["layout"]) == [0, *ids]
    assert config["page"][""]["components"] == ids
    for dependency in config["dependencies"]:
        ((button, event),) = dependency["targets"]
        assert event == "click"
        assert {button, *dependency["inputs"], *dependency["outputs"]} <= set(ids)
        # Whoever loads the app must not make batches of its own.
        assert dependency["batch"] is False
    assert [d["queue"] for d in config["dependencies"]] == [True, False, True]
    assert json.loads(json.dumps(config)) == config


def test_defaults_and_choices_are_shown(app: App) -> None:
    props = {c["props"].get("label"): c["props"] for c in config_of(app)["components"]}
    assert props["ratio"]["value"] == 0.5
    assert props["flag"]["value"] is True
    assert "value" not in props["text"]
    assert props["text"]["info"] == "What & why."
    assert props["color"]["choices"] == [["red", "red"], ["green", "green"]]
    assert props["sizes"]["multiselect"] is True
    assert props["whole"]["precision"] == 0
    assert "precision" not in props["ratio"]
    assert (props["file"]["file_count"], props["files"]["file_count"]) == ("single", "multiple")


def test_private_endpoints_are_told_nowhere(app: App) -> None:
    everything = (
        config_of(app),
        documents.info(app.endpoints.values(), all_endpoints=True),
        openapi_of(app),
        page_of(app),
    )
    assert not [text for text in map(str, everything) if "secret" in text or "password" in text]


def test_heartbeat_is_for_sessions(app: App) -> None:
    assert config_of(app)["connect_heartbeat"] is False

    @app.endpoint
    def visit(session: Session) -> None:
        pass

    assert config_of(app)["connect_heartbeat"] is True


def test_facts(app: App) -> None:
    config = config_of(build(max_file_size=5, show_errors=True), username="me")
    assert config["max_file_size"] == 5
    assert config["show_error"] is True
    assert config["username"] == "me"
    assert config["root"] == ROOT
    assert 0 <= config["app_id"] < 2**64
    assert config["app_id"] != config_of(app)["app_id"]


# -- /info -------------------------------------------------------------------------


def test_info(app: App) -> None:
    told = documents.info(app.endpoints.values())
    assert list(told["named_endpoints"]) == ["/everything", "/other"]
    assert told["unnamed_endpoints"] == {}
    everything = told["named_endpoints"]["/everything"]
    assert everything["description"] == "Do it <all>."
    named = {p["parameter_name"]: p for p in everything["parameters"]}
    assert named["text"]["python_type"] == {"type": "str", "description": "What & why."}
    assert [name for name, p in named.items() if not p["parameter_has_default"]] == [
        "text",
        "whole",
    ]
    assert named["color"]["parameter_default"] == "red"
    assert named["node"]["parameter_default"] is None
    assert [p["component"] for p in everything["returns"]] == ["Textbox", "Json"]
    assert json.loads(json.dumps(told)) == told


def test_info_of_undocumented_endpoints_is_for_those_who_ask(app: App) -> None:
    told = documents.info(app.endpoints.values(), all_endpoints=True)
    assert list(told["named_endpoints"]) == ["/everything", "/other", "/quiet"]
    assert told["named_endpoints"]["/quiet"]["api_visibility"] == "undocumented"


def test_examples_are_accepted(app: App) -> None:
    for name, told in documents.info(app.endpoints.values())["named_endpoints"].items():
        signature = app.endpoints[name[1:]].signature
        examples = [p["example_input"] for p in told["parameters"] if "path" not in str(p["type"])]
        slots = [slot for slot in signature.inputs if slot.component != "file"]
        assert len(examples) == len(slots)
        values = {slot.name: value for slot, value in zip(slots, examples, strict=True)}
        files: Any = None  # no example that is left names a file
        signature.decode(signature.decode_named(values), files=files)


# -- /openapi.json -----------------------------------------------------------------


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_openapi_can_be_read(app: App) -> None:
    document = openapi_of(app)
    schema = schemathesis.openapi.from_dict(document)
    found = list(schema.get_all_operations())
    operations = [result.ok() for result in found if isinstance(result, Ok)]
    assert len(operations) == len(found)
    assert {operation.path for operation in operations} == set(document["paths"])
    ids = [operation.definition.raw["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    for reference in references(document):
        place: Any = document
        for key in reference.removeprefix("#/").split("/"):
            place = place[key]


def test_types_of_one_name_stay_apart(app: App) -> None:
    schemas = openapi_of(app)["components"]["schemas"]
    first, second = (schemas[name] for name in schemas if name.startswith("Node"))
    assert [set(s["properties"]) for s in (first, second)] == [{"name", "children"}, {"size"}]
    assert list(references(first)) == ["#/components/schemas/Node"]


def test_openapi_of_named_and_listed_arguments(app: App) -> None:
    paths = openapi_of(app)["paths"]

    def body(path: str) -> Any:
        content = paths[f"/gradio_api/{path}"]["post"]["requestBody"]["content"]
        return content["application/json"]["schema"]

    named = body("call/v2/everything")
    assert named["required"] == ["text", "whole"]
    assert named["properties"]["ratio"]["anyOf"] == [{"type": "number"}, {"type": "null"}]
    listed = body("call/everything")["properties"]["data"]
    assert (listed["minItems"], listed["maxItems"]) == (2, 9)
    assert listed["prefixItems"] == list(named["properties"].values())
    assert body("run/everything") == body("call/everything")
    assert not [path for path in paths if "quiet" in path]


def test_openapi_of_logins() -> None:
    open_document, guarded = openapi_of(build()), openapi_of(build(auth=("user", "pass")))
    assert "security" not in open_document
    assert guarded["security"] == [{"basic": []}, {"token": []}]
    for document, asked in ((open_document, False), (guarded, True)):
        for path, methods in document["paths"].items():
            for operation in methods.values():
                assert ("401" in operation["responses"]) is (asked and path != "/health")


def test_openapi_of_an_app_below_a_path(app: App) -> None:
    assert openapi_of(app, root=ROOT)["servers"] == [{"url": ROOT}]


# -- the page ----------------------------------------------------------------------


def test_page_escapes_what_it_shows(app: App) -> None:
    page = page_of(app)
    assert "<h1>A &lt;b&gt;title&lt;/b&gt;</h1>" in page
    assert "Do it &lt;all&gt;." in page
    assert "What &amp; why." in page
    assert page.count("<script>") == page.count("</script>") == 1
    assert not re.search(r'(src|href)="(?!data:)', page)  # it loads nothing


def test_page_carries_the_config_as_stock_clients_look_for_it(app: App) -> None:
    found = re.search(r"window.gradio_config = (.*?);[\s]*</script>", page_of(app))
    assert found is not None
    assert json.loads(found[1]) == config_of(app)


@pytest.mark.parametrize("username", [None, "me"])
def test_page_says_how_to_call(app: App, username: str | None) -> None:
    snippets = list(map(unescape, re.findall(r"<pre>(.*?)</pre>", page_of(app, username), re.S)))
    assert len(snippets) == 4
    curl, python = snippets[:2]
    words = shlex.split(curl, comments=True)
    assert f"{ROOT}/gradio_api/call/v2/everything" in words
    assert json.loads(words[words.index("-d") + 1]) == {"text": "Hello!!", "whole": 3}
    assert f"{ROOT}/gradio_api/call/everything/EVENT_ID" in words
    compile(python, "page", "exec")
    assert 'api_name="/everything"' in python
    assert ("-u" in words, "auth=" in python) == ((True, True) if username else (False, False))


def test_page_of_files(app: App) -> None:
    @app.endpoint
    def convert(file: Path, more: list[Path]) -> Path:
        return file

    page = page_of(app)
    assert "/upload" in page
    assert "more=[handle_file(" in page


def test_page_of_an_empty_app() -> None:
    assert "no public endpoints" in page_of(App())


def test_login_page_tells_nothing_of_the_endpoints(app: App) -> None:
    page = documents.login_page(app.facts, "Ask <me>")
    assert "Ask &lt;me&gt;" in page
    assert "everything" not in page
    found = re.search(r"window.gradio_config = (.*?);[\s]*</script>", page)
    assert found is not None
    assert json.loads(found[1])["auth_required"] is True
    assert json.loads(found[1])["auth_message"] == "Ask <me>"
