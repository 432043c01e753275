"""What an app offers, read from real configs and from broken ones."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import OLD_VERSIONS, VERSIONS, read_json, read_schema
from strategies import Json, json_values

from jobwire.exceptions import (
    EndpointNotFoundError,
    NotGradioError,
    RemoteProtocolError,
    UnsupportedProtocolError,
)
from jobwire.protocol.dialects import select_dialect
from jobwire.protocol.schema import AppSchema, Component, Endpoint, Parameter, parse_config

URL = "http://test/"
NEWEST = VERSIONS[-1]

NAMES = [
    *("echo", "plain", "two", "none", "count", "grow", "tables", "frames", "mixed", "slow"),
    *("slow_wide", "steps", "logs", "fail", "fail_late", "remember", "between", "nan", "direct"),
]
GENERATORS = {"/count", "/grow", "/tables", "/frames", "/mixed", "/fail_late"}

each_version = pytest.mark.parametrize("version", OLD_VERSIONS + VERSIONS)


def has_parameter_names(version: str) -> bool:
    return tuple(map(int, version.split("."))) >= (4, 23)


def make_config(*dependencies: Any, components: Any = (), **fields: Any) -> dict[str, Any]:
    return {
        "version": "6.31.0",
        "protocol": "sse_v3",
        "components": list(components),
        "dependencies": list(dependencies),
        **fields,
    }


def parse(*dependencies: Any, **fields: Any) -> AppSchema:
    return parse_config(make_config(*dependencies, **fields), url=URL)


def dependency(api_name: object = "predict", **fields: Any) -> dict[str, Any]:
    return {"api_name": api_name, "inputs": [], "outputs": [], **fields}


def component(id: int, type: str = "textbox", label: object = "", **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": type, "props": {"label": label}, **fields}


def refusal(schema: AppSchema, *args: Any) -> EndpointNotFoundError:
    with pytest.raises(EndpointNotFoundError) as caught:
        schema.find(*args)
    return caught.value


# -- real apps --


@each_version
def test_endpoints_of_a_real_app(version: str) -> None:
    schema = read_schema(version)
    names = [f"/{name}" for name in NAMES]
    if version in ("5.50.0", "6.31.0"):
        names.append("/even_only")
    assert [endpoint.api_name for endpoint in schema.callable_endpoints] == names
    assert all(endpoint.visibility == "public" for endpoint in schema.callable_endpoints)
    assert list(schema.endpoints) == list(range(len(names) + 1))
    for index, name in enumerate(NAMES):
        assert schema.find(f"/{name}") is schema.find(name) is schema.find(fn_index=index)
    generators = {e.api_name for e in schema.endpoints.values() if e.generator}
    assert generators == GENERATORS
    assert not any(endpoint.batch for endpoint in schema.endpoints.values())
    assert [e.api_name for e in schema.endpoints.values() if not e.queued] == ["/direct"]
    stateful = [e.api_name for e in schema.endpoints.values() if e.stateful]
    assert stateful == ["/remember", "/between"]


@each_version
def test_private_endpoint_of_a_real_app_is_not_found(version: str) -> None:
    schema = read_schema(version)
    private = schema.endpoints[19]
    assert private.visibility == "private"
    assert private.runs
    assert "made it private" in str(refusal(schema, None, 19))
    for name in ("false", "/false", "echo_1", "None"):
        assert "has no endpoint" in str(refusal(schema, name))


@each_version
def test_app_itself(version: str) -> None:
    schema = read_schema(version)
    config = read_json(version, "config")
    assert schema.url == URL
    assert schema.title == "Gradio"
    assert schema.version == version
    assert schema.dialect == select_dialect(config.get("protocol"), version)
    assert schema.prefix == ("gradio_api/" if version[0] in "56" else "")
    assert schema.stateful
    assert schema.wants_heartbeat == (version in ("4.44.1", "5.50.0", "6.31.0"))
    assert schema.complete
    assert not parse_config(config, url=URL).complete


@each_version
def test_inputs_and_outputs_include_the_skipped_ones(version: str) -> None:
    schema = parse_config(read_json(version, "config"), url=URL)
    remember = schema.find("remember")
    assert [(c.type, c.label, c.skipped) for c in remember.inputs] == [
        ("textbox", "a", False),
        ("state", "", True),
    ]
    assert [(c.type, c.skipped) for c in remember.outputs] == [("textbox", False), ("state", True)]
    assert remember.inputs[1].id == remember.outputs[1].id
    between = schema.find("between")
    assert [c.skipped for c in between.inputs] == [False, True, False]
    assert schema.find("none").inputs == schema.find("none").outputs == ()


@each_version
def test_parameters_come_with_info(version: str) -> None:
    assert parse_config(read_json(version, "config"), url=URL).find("plain").parameters is None
    plain = read_schema(version).find("plain")
    second = {"has_default": True, "default": "3"} if has_parameter_names(version) else {}
    assert plain.parameters == (
        Parameter("a", "Textbox", "str", ""),
        Parameter("b", "Textbox", "str", "", **second),  # type: ignore[arg-type]
    )
    assert plain.returns == (Parameter("out", "Textbox", "str", ""),)


@each_version
def test_parameters_leave_out_the_skipped_ones(version: str) -> None:
    between = read_schema(version).find("between")
    assert between.parameters is not None
    names = ["first", "last"] if has_parameter_names(version) else ["a", "b"]
    assert [parameter.name for parameter in between.parameters] == names
    assert between.returns is not None
    assert [parameter.name for parameter in between.returns] == ["out"]


@each_version
def test_private_endpoints_get_no_parameters(version: str) -> None:
    private = read_schema(version).endpoints[19]
    assert private.parameters is None
    assert private.returns is None


@each_version
def test_lists_with_gaps_are_read_by_id(version: str) -> None:
    """Hot reload and ``gr.render`` leave gaps in both lists."""
    config, info = read_json(version, "config"), read_json(version, "info")
    whole = parse_config(config, url=URL).with_info(info)
    gapped = copy.deepcopy(config)
    for index, raw in enumerate(gapped["dependencies"]):
        raw["id"] = index  # as servers since 4.32 do
    del gapped["dependencies"][3], gapped["dependencies"][0]
    gapped["components"].reverse()
    schema = parse_config(gapped, url=URL).with_info(info)
    assert list(schema.endpoints) == [id for id in whole.endpoints if id not in (0, 3)]
    assert schema.endpoints == {
        id: endpoint for id, endpoint in whole.endpoints.items() if id not in (0, 3)
    }
    assert schema.find("plain").id == schema.find(fn_index=1).id == 1
    assert "no endpoint '/echo'" in str(refusal(schema, "echo"))
    assert "none with that index" in str(refusal(schema, None, 3))


# -- finding endpoints --


def test_unknown_name_offers_the_nearest() -> None:
    error = refusal(read_schema(NEWEST), "/ecko")
    assert "http://test/ has no endpoint '/ecko'; did you mean /echo?" in str(error)
    assert error.endpoint == "/ecko"
    assert error.available == (*(f"/{name}" for name in NAMES), "/even_only")
    error = refusal(read_schema(NEWEST), "slow_wid")
    assert "did you mean /slow_wide" in str(error)
    assert "has no endpoint '/slow_wid'" in str(error)


def test_unknown_name_that_is_near_nothing_offers_what_there_is() -> None:
    text = str(refusal(read_schema(NEWEST), "qqqqqq"))
    assert "did you mean" not in text
    assert "it has: /echo, /plain, /two" in text
    assert text.endswith("/steps and 8 more")


def test_nearest_names_are_not_offered_twice() -> None:
    schema = parse(dependency("aaaa", id=0), dependency("bbbb", id=1))
    assert str(refusal(schema, "aaab")).endswith("did you mean /aaaa? others: /bbbb")
    only = parse(dependency("aaaa"))
    assert str(refusal(only, "aaab")).endswith("did you mean /aaaa?")


def test_the_only_public_endpoint_needs_no_name() -> None:
    schema = parse(
        dependency("hidden", api_visibility="private"),
        dependency("quiet", api_visibility="undocumented"),
        dependency("predict", api_visibility="public"),
        dependency("page", backend_fn=False),
    )
    assert schema.find().api_name == "/predict"


def test_several_public_endpoints_need_a_name() -> None:
    error = refusal(parse(dependency("a"), dependency("b")))
    assert "http://test/ has 2 public endpoints, so say which: it has: /a, /b" in str(error)
    assert error.endpoint is None
    assert error.available == ("/a", "/b")


def test_app_without_public_endpoints_says_so() -> None:
    schema = parse(dependency("hidden", api_visibility="private"))
    for args in ((), ("hidden",), (None, 0)):
        error = refusal(schema, *args)
        assert "it offers none to callers" in str(error)
        assert error.available == ()
    assert schema.callable_endpoints == []


def test_name_wins_over_index() -> None:
    schema = parse(dependency("a"), dependency("b"))
    assert schema.find("b", 0).id == 1


def test_slashes_in_front_of_a_name_do_not_matter() -> None:
    schema = parse(dependency("a/b"), dependency("c"))
    assert schema.find("a/b") is schema.find("/a/b") is schema.find("//a/b")


def test_undocumented_endpoint_can_be_called_but_is_not_offered() -> None:
    schema = parse(
        dependency("new", api_visibility="undocumented"), dependency("old", show_api=False)
    )
    for index, name in enumerate(("new", "old")):
        endpoint = schema.find(name)
        assert endpoint.visibility == "undocumented"
        assert schema.find(fn_index=index) is endpoint
    assert refusal(schema).available == ()


def test_browser_only_endpoint_cannot_be_called() -> None:
    schema = parse(dependency("js_fn", backend_fn=False), dependency("predict"))
    assert not schema.endpoints[0].runs
    assert "no endpoint '/js_fn'" in str(refusal(schema, "js_fn"))
    assert "fn_index=0 cannot be called: it only runs in the browser" in str(
        refusal(schema, None, 0)
    )


@pytest.mark.parametrize("index", [2, -1, 10**30])
def test_unknown_index_is_not_found(index: int) -> None:
    error = refusal(parse(dependency("a"), dependency("b")), None, index)
    assert f"fn_index={index} cannot be called: there is none with that index" in str(error)
    assert error.endpoint == index


def test_private_namesake_does_not_hide_a_public_endpoint() -> None:
    schema = parse(dependency("a", api_visibility="private"), dependency("a"))
    assert schema.find("a").id == 1


def test_label_names_an_endpoint_to_people() -> None:
    schema = parse(dependency("predict"), dependency(None))
    assert schema.find("predict").label == "/predict"
    assert schema.find(fn_index=1).label == "fn_index=1"


# -- visibility in every generation --


@pytest.mark.parametrize(
    ("fields", "visibility"),
    [
        ({"api_name": "a"}, "public"),
        ({"api_name": None}, "public"),
        ({"api_name": "a", "show_api": True}, "public"),
        ({"api_name": "a", "show_api": False}, "undocumented"),
        ({"api_name": False}, "private"),
        ({"api_name": False, "show_api": True}, "private"),
        ({"api_name": "a", "api_visibility": "public"}, "public"),
        ({"api_name": "a", "api_visibility": "undocumented"}, "undocumented"),
        ({"api_name": "false", "api_visibility": "private"}, "private"),
        ({"api_name": "false", "api_visibility": "public"}, "public"),
        ({"api_name": "a", "api_visibility": "secret"}, "public"),
    ],
    ids=str,
)
def test_visibility(fields: dict[str, Any], visibility: str) -> None:
    assert parse(dependency(**fields)).endpoints[0].visibility == visibility


# -- components --


@pytest.mark.parametrize(
    ("fields", "skipped"),
    [
        ({"type": "textbox"}, False),
        ({"type": "textbox", "skip_api": True}, True),
        ({"type": "state", "skip_api": False}, False),
        ({"type": "state"}, True),
        ({"type": "row"}, True),
        ({"type": "tabitem"}, True),
        ({"type": "dataset"}, True),
        ({"type": "button"}, False),
        ({"type": "row", "skip_api": None}, True),
    ],
    ids=str,
)
def test_skipped_components_are_marked_or_known(fields: dict[str, Any], skipped: bool) -> None:
    schema = parse(dependency(inputs=[7]), components=[component(7, **fields)])
    assert schema.find().inputs == (Component(7, fields["type"], "", skipped),)


def test_state_makes_an_app_stateful() -> None:
    assert parse(components=[component(1, "state")]).stateful
    assert not parse(components=[component(1)]).stateful


def test_component_that_is_not_listed_is_an_input_all_the_same() -> None:
    schema = parse(dependency(inputs=[1, 9], outputs=[9]), components=[component(1, label="one")])
    assert schema.find().inputs == (
        Component(1, "textbox", "one", False),
        Component(9, "", "", False),
    )
    assert schema.find().outputs == (Component(9, "", "", False),)


# -- the rest of the config --


@pytest.mark.parametrize(
    ("fields", "prefix"),
    [
        ({}, ""),
        ({"api_prefix": None}, ""),
        ({"api_prefix": ""}, ""),
        ({"api_prefix": "/"}, ""),
        ({"api_prefix": "/gradio_api"}, "gradio_api/"),
        ({"api_prefix": "gradio_api/"}, "gradio_api/"),
        ({"api_prefix": "/a/b/"}, "a/b/"),
    ],
    ids=str,
)
def test_prefix_ends_in_a_slash_or_is_empty(fields: dict[str, Any], prefix: str) -> None:
    assert parse(**fields).prefix == prefix


@pytest.mark.parametrize(
    ("fields", "wants"),
    [
        ({}, False),
        ({"connect_heartbeat": True}, True),
        ({"connect_heartbeat": False}, False),
        ({"connect_heartbeat": 1}, False),
        ({"connect_heartbeat": None}, False),
    ],
    ids=str,
)
def test_heartbeat_is_wanted_where_the_config_says_so(fields: dict[str, Any], wants: bool) -> None:
    assert parse(**fields).wants_heartbeat is wants


def test_root_of_the_config_is_not_believed() -> None:
    assert parse(root="http://internal:7860/").url == URL


def test_version_is_stripped() -> None:
    assert parse(version="6.31.0\n").version == "6.31.0"
    assert parse(version=None).version == ""


def test_flags_of_endpoints() -> None:
    schema = parse(
        dependency("a", types={"generator": True}, batch=True),
        dependency("b", types={}),
        dependency("c"),
    )
    assert [(e.generator, e.batch) for e in schema.endpoints.values()] == [
        (True, True),
        (False, False),
        (False, False),
    ]


def test_protocol_of_others_is_refused() -> None:
    with pytest.raises(UnsupportedProtocolError) as caught:
        parse(protocol="http", version="4.0.2\n")
    assert caught.value.protocol == "http"
    assert caught.value.version == "4.0.2"


@pytest.mark.parametrize("protocol", ["ws", None, 5, ""])
def test_config_without_a_protocol_is_of_gradio_3(protocol: object) -> None:
    assert parse(protocol=protocol, version="3.50.2").dialect.carrier == "websocket"
    config = make_config(version="3.50.2")
    del config["protocol"]
    assert parse_config(config, url=URL).dialect.carrier == "websocket"


@pytest.mark.parametrize(
    ("enabled", "fields", "queued"),
    [
        (True, {}, True),
        (True, {"queue": None}, True),
        (True, {"queue": True}, True),
        (True, {"queue": False}, False),
        # A direct call would give its first output only.
        (True, {"queue": False, "types": {"generator": True}}, True),
        (False, {}, False),
        (False, {"queue": None}, False),
        (False, {"queue": True}, False),
        (False, {"types": {"generator": True}}, False),
        (None, {"queue": None}, True),
    ],
)
def test_endpoint_is_queued_as_it_says_or_as_its_app(
    enabled: bool | None, fields: dict[str, Any], queued: bool
) -> None:
    schema = parse(dependency(**fields), enable_queue=enabled)
    assert schema.endpoints[0].queued is queued


@pytest.mark.parametrize(
    ("protocol", "version", "fields", "carrier"),
    [
        ("ws", "3.50.2", {}, "websocket"),
        ("ws", "3.50.2", {"queue": False}, "request"),
        ("ws", "3.50.2", {"batch": True}, "websocket"),
        ("sse", "4.0.2", {}, "job stream"),
        ("sse", "4.0.2", {"queue": False}, "request"),
        ("sse", "4.0.2", {"batch": True}, "request"),
        ("sse_v1", "4.10.0", {"queue": False}, "session stream"),
        ("sse_v1", "4.10.0", {"batch": True}, "request"),
        ("sse_v1", "4.11.0", {"batch": True}, "session stream"),
        ("sse_v3", "6.31.0", {"queue": False, "batch": True}, "session stream"),
    ],
)
def test_what_carries_the_jobs_of_an_endpoint(
    protocol: str, version: str, fields: dict[str, Any], carrier: str
) -> None:
    schema = parse(dependency(**fields), protocol=protocol, version=version)
    assert schema.carrier(schema.endpoints[0]) == carrier


def test_endpoint_that_touches_state_is_stateful() -> None:
    schema = parse(
        dependency(inputs=[1], outputs=[1]),
        dependency(inputs=[1, 2], outputs=[1]),
        dependency(inputs=[1], outputs=[1, 2]),
        components=[component(1), component(2, "state")],
    )
    assert [e.stateful for e in schema.endpoints.values()] == [False, True, True]


def test_protocol_of_the_future_is_taken_for_the_newest() -> None:
    assert parse(protocol="sse_v9", version="9.0.0").dialect == select_dialect("sse_v3", "6.31.0")


# -- broken input --


@pytest.mark.parametrize(
    "config",
    [
        None,
        [],
        "config",
        5,
        {},
        {"components": []},
        {"dependencies": []},
        {"components": {}, "dependencies": []},
        {"components": [], "dependencies": None},
        {"auth_required": True, "auth_message": None},
    ],
    ids=repr,
)
def test_json_that_is_no_config_is_no_gradio(config: object) -> None:
    with pytest.raises(NotGradioError, match="http://test/config is JSON, but no Gradio") as caught:
        parse_config(config, url=URL)
    assert caught.value.url == "http://test/config"
    assert caught.value.status == 200


def test_config_that_is_no_gradios_is_quoted_in_part() -> None:
    with pytest.raises(NotGradioError) as caught:
        parse_config({"a": "x" * 10_000}, url=URL)
    assert len(str(caught.value)) < 500


def test_entries_that_make_no_sense_are_left_out() -> None:
    schema = parse(
        None,
        5,
        [],
        dependency("a", inputs=None, outputs=[1], types=None),
        components=[None, 5, [], {}, {"id": "1"}, {"id": 1, "type": None, "props": None}],
    )
    assert schema.endpoints == {
        3: Endpoint(3, "/a", "public", True, (), (Component(1, "", "", False),), False, False)
    }


@pytest.mark.parametrize("id", [[1], {"a": 1}, None, "1"], ids=repr)
def test_inputs_that_make_no_sense_do_no_harm(id: object) -> None:
    (component,) = parse(dependency(inputs=[id])).find().inputs
    assert not component.skipped


odd = json_values(leaves=3)
ids = st.lists(st.integers(0, 3) | odd, max_size=3)
odd_dependencies = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(0, 3) | odd,
        "api_name": st.sampled_from(["predict", False]) | odd,
        "api_visibility": odd,
        "show_api": st.booleans() | odd,
        "backend_fn": st.booleans() | odd,
        "inputs": ids | odd,
        "outputs": ids | odd,
        "types": st.fixed_dictionaries({"generator": odd}) | odd,
        "batch": odd,
    },
)
odd_components = st.fixed_dictionaries(
    {"id": st.integers(0, 3) | odd},
    optional={
        "type": st.sampled_from(["state", "textbox"]) | odd,
        "props": st.fixed_dictionaries({"label": odd}) | odd,
        "skip_api": st.booleans() | odd,
    },
)
odd_configs = st.fixed_dictionaries(
    {
        "components": st.lists(odd_components | odd, max_size=4),
        "dependencies": st.lists(odd_dependencies | odd, max_size=4),
        "protocol": st.sampled_from(["sse_v1", "sse_v3"]),
    },
    optional={
        "version": odd,
        "api_prefix": odd,
        "title": odd,
    },
)


odd_entries = st.fixed_dictionaries(
    {}, optional={"parameters": ids | st.lists(odd_components), "returns": ids, "description": odd}
)
odd_infos = st.fixed_dictionaries(
    {
        "named_endpoints": st.dictionaries(st.just("/predict"), odd_entries | odd) | odd,
        "unnamed_endpoints": st.dictionaries(st.sampled_from("0123"), odd_entries | odd) | odd,
    }
)


@given(odd_configs | odd, odd_infos | odd, st.text() | st.integers())
def test_any_config_is_read_or_refused(config: Json, info: Json, wanted: str | int) -> None:
    try:
        schema = parse_config(config, url=URL).with_info(info)
    except RemoteProtocolError:
        return
    try:
        if isinstance(wanted, str):
            schema.find(wanted)
        else:
            schema.find(fn_index=wanted)
    except EndpointNotFoundError:
        pass


# -- /info --


def with_info(entry: object, key: str = "named_endpoints", name: str = "/predict") -> Endpoint:
    return parse(dependency()).with_info({key: {name: entry}}).find()


def test_unnamed_endpoints_are_found_by_index() -> None:
    schema = parse(dependency(None), dependency("b"))
    described = schema.with_info(
        {
            "named_endpoints": {"/b": {"parameters": [], "returns": []}},
            "unnamed_endpoints": {"0": {"parameters": [{"label": "x"}], "returns": []}},
        }
    )
    assert described.find(fn_index=0).parameters == (Parameter("x", "", "Any", ""),)
    assert described.find("b").parameters == ()
    assert described.complete


def test_description_is_kept() -> None:
    assert with_info({"description": "What it does."}).description == "What it does."
    assert with_info({"description": None}).description == ""
    assert with_info({}).description == ""


def test_parameter_has_everything_that_info_tells() -> None:
    raw = {
        "label": "How many",
        "parameter_name": "n",
        "parameter_has_default": True,
        "parameter_default": None,
        "component": "Number",
        "python_type": {"type": "float", "description": "a number"},
    }
    endpoint = with_info({"parameters": [raw], "returns": [raw]})
    assert endpoint.parameters == (Parameter("n", "Number", "float", "a number", True, None),)
    assert endpoint.returns == endpoint.parameters


def test_names_are_labels_on_servers_that_tell_none_as_long_as_they_differ() -> None:
    labels = ["text", "", "text", "number", None]
    endpoint = with_info({"parameters": [{"label": label} for label in labels]})
    assert endpoint.parameters is not None
    assert [parameter.name for parameter in endpoint.parameters] == [
        "text",
        "param_1",
        "param_2",
        "number",
        "param_4",
    ]


def test_no_two_parameters_share_a_name() -> None:
    labels = ["param_1", "", "param_1", "param_3", "param_3"]
    endpoint = with_info({"parameters": [{"label": label} for label in labels]})
    assert endpoint.parameters is not None
    assert len({parameter.name for parameter in endpoint.parameters}) == len(labels)


@pytest.mark.parametrize("entry", [None, 5, [], "x"], ids=repr)
def test_entry_that_makes_no_sense_describes_nothing(entry: object) -> None:
    endpoint = with_info(entry)
    assert endpoint.parameters is None
    assert endpoint.returns is None


def test_parameters_that_make_no_sense_are_left_nameless() -> None:
    assert with_info({"parameters": 5, "returns": None}).parameters is None
    assert with_info({"parameters": [None, 5, {"python_type": 5}]}).parameters == (
        Parameter("param_0", "", "Any", ""),
        Parameter("param_1", "", "Any", ""),
        Parameter("param_2", "", "Any", ""),
    )


@pytest.mark.parametrize("info", [None, 5, [], {}, {"named_endpoints": []}], ids=repr)
def test_info_that_makes_no_sense_changes_nothing_but_that_it_was_read(info: object) -> None:
    schema = parse(dependency())
    nothing: dict[str, Any] = {"named_endpoints": {}, "unnamed_endpoints": {}}
    assert schema.with_info(info) == schema._replace(complete=True, info=nothing)


def test_info_leaves_the_first_schema_as_it_was() -> None:
    schema = parse(dependency())
    schema.with_info({"named_endpoints": {"/predict": {"parameters": []}}})
    assert schema.find().parameters is None
    assert not schema.complete


def test_name_that_is_none_names_nothing() -> None:
    name: Any = False  # as an app hides an endpoint
    with pytest.raises(EndpointNotFoundError, match="/False"):
        read_schema(NEWEST).find(name)


# -- what a function renders --


def rendered(*names: str, first: int, owner: int | None = 0) -> dict[str, Any]:
    return {
        "render_id": owner,
        "components": [
            {"id": first + 100, "type": "textbox", "props": {"label": "x"}, "skip_api": False}
        ],
        "dependencies": [
            {"id": first + i, "api_name": name, "inputs": [first + 100], "outputs": [0]}
            for i, name in enumerate(names)
        ],
    }


def test_rendered_endpoints_can_be_called_until_they_are_rendered_anew() -> None:
    app = read_schema(NEWEST)
    once = app.with_rendered(rendered("left", "right", first=200))
    assert once.find("/right").inputs[0].label == "x"
    assert once.find("/right").rendered_in == 0
    again = once.with_rendered(rendered("left_1", first=202))
    assert again.find("/left_1").id == 202
    with pytest.raises(EndpointNotFoundError):
        again.find("/right")
    both = again.with_rendered(rendered("three", first=300, owner=1))
    assert {both.find(name).id for name in ("/left_1", "/three", "/echo")} >= {202, 300}
    assert both.without_rendered().endpoints == app.endpoints
    assert app.without_rendered() is app


@pytest.mark.parametrize("config", [None, [], {}, {"components": 5, "dependencies": "x"}])
def test_rendering_that_makes_no_sense_adds_nothing(config: Any) -> None:
    app = read_schema(NEWEST)
    assert app.with_rendered(config).endpoints == app.endpoints
