"""What an app offers, in words: of recorded apps, and of whatever a server may say."""

import copy
from typing import Any

import pytest
from hypothesis import given
from recorded import VERSIONS, read_json, read_schema
from strategies import Json, json_values

from jobwire.protocol.description import describe, listed_info, literal
from jobwire.protocol.schema import AppSchema, parse_config

NEWEST = VERSIONS[-1]
FILE = {"path": "/srv/a b.png", "url": "http://x/a%22b.png", "meta": {"_type": "gradio.FileData"}}


def bare(version: str = NEWEST) -> AppSchema:
    """Return what ``/config`` alone tells."""
    return parse_config(read_json(version, "config"), url="http://test/")


def make(*endpoints: dict[str, Any]) -> AppSchema:
    """Return an app that describes its endpoints so; ``config`` is what its config has."""
    config = [
        {"api_name": "predict", "inputs": [], "outputs": [], **endpoint.pop("config", {})}
        for endpoint in endpoints
    ]
    schema = parse_config(
        {"version": "6.31.0", "protocol": "sse_v3", "components": [], "dependencies": config},
        url="http://test/",
    )
    named = {f"/{raw['api_name']}": e for raw, e in zip(config, endpoints, strict=True)}
    return schema.with_info({"named_endpoints": named, "unnamed_endpoints": {}})


def parameter(**fields: Any) -> dict[str, Any]:
    return {
        "label": "A label",
        "parameter_name": "a",
        "parameter_has_default": False,
        "parameter_default": None,
        "python_type": {"type": "str", "description": ""},
        "component": "Textbox",
        **fields,
    }


def value(label: str) -> dict[str, Any]:
    return {"label": label, "python_type": {"type": "str"}, "component": "Textbox"}


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_apps(version: str) -> None:
    schema = read_schema(version)
    text = describe(schema)
    assert f"gradio {version}" in text
    assert 'client.predict(api_name="/none") -> ()\n    Takes nothing.\n    Gives nothing.' in text
    assert ") -> (out, out2)\n    Takes:" in text
    assert 'api_name="/grow") -> out\n    Gives many outputs' in text
    assert "/false" not in text
    for endpoint in schema.callable_endpoints:
        assert f'api_name="{endpoint.api_name}")' in text


def test_parameters_of_a_new_app_and_of_an_old_one() -> None:
    new = describe(read_schema(NEWEST))
    assert "client.predict(a, b='3', api_name=\"/plain\") -> out\n" in new
    assert "      a: str (required)  [Textbox]\n      b: str = '3'  [Textbox]\n" in new
    # Servers before 4.23 tell neither names nor defaults.
    old = describe(read_schema("4.10.0"))
    assert 'client.predict(a, b, api_name="/plain") -> out\n' in old


def test_app_that_does_not_describe_itself() -> None:
    schema = bare().with_info({})
    text = describe(schema)
    assert 'client.predict(a, b, api_name="/plain") -> out\n' in text
    assert "a: Any (required)  [textbox]" in text
    assert listed_info(schema) == {"named_endpoints": {}, "unnamed_endpoints": {}}


def test_description_and_defaults() -> None:
    text = describe(
        make(
            {
                "parameters": [
                    parameter(parameter_name="image", parameter_has_default=True,
                              parameter_default=FILE, component="Image",
                              python_type={"type": "filepath", "description": "an\nimage"}),
                    parameter(parameter_name="n", parameter_has_default=True),
                ],
                "returns": [value("Große Antwort!"), value("2nd"),
                            value("class"), value("?")],
                "description": "First line.\n    Second line.\n",
            }
        )
    )  # fmt: skip
    file = 'handle_file("http://x/a%22b.png")'
    assert text == (
        "http://test/ · gradio 6.31.0\n"
        "\n"
        f'client.predict(image={file}, n=None, api_name="/predict")'
        " -> (Große_Antwort, _2nd, _class, value_3)\n"
        "    First line.\n"
        "    Second line.\n"
        "    Takes:\n"
        f"      image: filepath = {file}  [Image]  an image\n"
        "      n: str | None = None  [Textbox]\n"
        "    Gives:\n"
        "      Große Antwort!: str  [Textbox]\n"
        "      2nd: str  [Textbox]\n"
        "      class: str  [Textbox]\n"
        "      ?: str  [Textbox]\n"
    )


def test_a_terminal_is_given_no_commands() -> None:
    evil = "x\x1b[2J\x07"
    entry = {
        "parameters": [parameter(python_type={"type": evil, "description": evil})],
        "returns": [value(evil)],
        "description": evil,
    }
    text = describe(make({**entry, "config": {"api_name": evil}})._replace(title=evil))
    assert text.replace("\n", "").isprintable()


def test_token() -> None:
    entry = {"parameters": [], "returns": [], "oauth_token": "optional"}
    assert "takes your Hugging Face token (optional)" in describe(make(entry))
    assert "token" not in describe(make({**entry, "oauth_token": None}))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("it's", '"it\'s"'),
        ([1, None, True], "[1, None, True]"),
        ({"files": [FILE]}, "{'files': [handle_file(\"http://x/a%22b.png\")]}"),
        ({**FILE, "url": None}, 'handle_file("/srv/a b.png")'),
        ({**FILE, "url": "/gradio_api/file=x"}, 'handle_file("http://test/app/gradio_api/file=x")'),
        ({"path": "x"}, "{'path': 'x'}"),
        ([[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]], "[" * 20 + "..." + "]" * 20),
        ("x" * 300, "'" + "x" * 196 + "..."),
    ],
)
def test_defaults_as_python(value: Any, text: str) -> None:
    assert literal(value, "http://test/app/") == text


def test_endpoints_that_are_not_listed() -> None:
    empty: dict[str, Any] = {"parameters": [], "returns": []}
    hidden = {**empty, "config": {"api_name": "hidden", "api_visibility": "undocumented"}}
    unnamed = {**empty, "config": {"api_name": None}}
    schema = make({**empty}, {**hidden}, {**unnamed})
    assert "/hidden" not in describe(schema)
    assert "2 more, shown by view_api(all_endpoints=True)" in describe(schema)
    assert "more, shown" not in describe(schema, all_endpoints=True)
    assert 'client.predict(api_name="/hidden") -> ()' in describe(schema, all_endpoints=True)
    assert "client.predict(fn_index=2) -> ()" in describe(schema, all_endpoints=True)
    alone = make({**unnamed})
    assert "client.predict(fn_index=0) -> ()" in describe(alone)
    assert "1 more" in describe(alone, all_endpoints=False)
    assert describe(make()).endswith("It offers no endpoints to callers.\n")


@pytest.mark.parametrize(
    ("entry", "listed"),
    [
        ({}, True),
        ({"api_visibility": "public"}, True),
        ({"api_visibility": "undocumented"}, False),
        ({"show_api": True}, True),
        ({"show_api": False}, False),
        ("nonsense", False),
    ],
)
def test_what_the_dictionary_lists(entry: Any, listed: bool) -> None:
    info = {"named_endpoints": {"/x": entry}, "unnamed_endpoints": {"3": entry}, "other": 1}
    found = listed_info(bare().with_info(info))
    assert found == {
        "named_endpoints": {"/x": {}} if listed else {},
        "unnamed_endpoints": {"3": {}} if listed else {},
        "other": 1,
    }


def test_the_dictionary_is_the_callers_own() -> None:
    schema = read_schema(NEWEST)
    before = copy.deepcopy(listed_info(schema))
    listed_info(schema)["named_endpoints"]["/plain"]["parameters"].clear()
    assert listed_info(schema) == before


def test_code_snippets_are_not_kept() -> None:
    info = read_json(NEWEST, "info")
    info["named_endpoints"]["/plain"]["code_snippets"] = {"python": "print()"}
    schema = bare().with_info(info)
    assert "code_snippets" not in str(schema.info)
    assert "code_snippets" in info["named_endpoints"]["/plain"]  # the caller's, as it was


@given(json_values())
def test_nothing_that_a_server_says_breaks_it(info: Json) -> None:
    schema = bare()
    for said in (info, {"named_endpoints": {"/plain": info}},
                 {"named_endpoints": {"/plain": {"parameters": [info], "returns": [
                     {"type": info, "python_type": info, "label": info}]}}}):  # fmt: skip
        described = schema.with_info(said)
        assert "/plain" in describe(described, all_endpoints=True)
        assert set(listed_info(described)) >= {"named_endpoints", "unnamed_endpoints"}
