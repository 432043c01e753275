"""What callers send that cannot be: the answer, and that nobody else is harmed by it."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import secrets
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]
import pytest

from server.conftest import Serving, serving_app
from server.http_app import API, Answer, Http, eventually
from server.types_app import LIMITS, app

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def picky() -> Iterator[Serving]:
    with serving_app("server.types_app:app") as serving:
        yield serving


@pytest.fixture
def http_(picky: Serving) -> Http:
    return Http(picky.url).as_new()


Log = Callable[[], str]


@pytest.fixture
def log(picky: Serving) -> Log:
    """What the server logged since the test began."""
    begin = len(picky.log)

    def log() -> str:
        mark = secrets.token_hex(4)
        Http(picky.url).run("complain", mark)  # what was logged before comes before it
        eventually(lambda: any(mark in line for line in picky.log[begin:]))
        return "".join(picky.log[begin:])

    return log


@pytest.fixture(autouse=True)
def unharmed(picky: Serving, log: Log, request: pytest.FixtureRequest) -> Iterator[None]:
    """Another client's job runs meanwhile, and ends well; the log has nothing to complain of."""
    other = Http(picky.url).as_new()
    tag = secrets.token_hex(4)
    id = other.post("/call/held", {"data": [tag], "session_hash": other.session}).json["event_id"]
    yield
    assert other.get(f"{API}/queue/status").json["queue_size"] == 0
    assert other.run("release", tag).status == 200
    with other.follow("held", id) as stream:
        assert stream.events() == [("complete", [f"{tag} is well"])]
    if request.node.get_closest_marker("xfail") is None:
        assert "Traceback" not in (written := log()), written


def send(http_: Http, route: str, name: str, values: dict[str, Any]) -> Answer:
    """Call an endpoint in one of the ways there are."""
    if route == "/call/v2":
        return http_.post(f"/call/v2/{name}", values)
    body: dict[str, Any] = {"data": list(values.values())}
    if route == "/queue/join":
        body |= {"fn_index": http_.index(name), "session_hash": http_.session}
        return http_.post(route, body)
    return http_.post(f"{route}/{name}", body)


ROUTES = ("/queue/join", "/call", "/call/v2", "/run", "/api")


# -- arguments ----------------------------------------------------------------------


class Wrong(NamedTuple):
    endpoint: str
    values: dict[str, Any]
    parameter: str
    reason: str


PLAIN = {"text": "t", "number": 1, "ratio": 0.5, "flag": True}
TEXTS = {
    "data": "YQ==",
    "day": "2020-01-01",
    "moment": "2020-01-01T00:00:00",
    "clock": "12:00:00",
    "span": "P1D",
    "id": "0" * 32,
    "price": "1.5",
}
CHOICES = {"one": "a", "number": 1, "color": "red", "level": 1, "many": ["x"]}
NESTED = {
    "numbers": [1],
    "table": {"a": 1.5},
    "by_number": {"1": "a"},
    "pair": [1, "a"],
    "unique": [1],
    "either": 1,
    "grid": [[1.5, None]],
}
MODELS = {
    "movie": {"name": "m", "year": 1},
    "pair": [1, "a"],
    "point": {"x": 1},
    "tree": {"name": "t", "children": [{"name": "u"}]},
    "box": {"size": 1},
    "person": {"name": "p"},
}
BOUNDED = {"small": 1, "word": "ab", "few": [1], "half": 0.5}

GOOD: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "texts": TEXTS,
    "choices": CHOICES,
    "nested": NESTED,
    "models": MODELS,
    "bounded": BOUNDED,
    "files": {"one": None, "many": []},
    "add": {"a": 1},
}
WRONG = [
    Wrong(name, {**GOOD.get(name, {}), parameter: value}, parameter, reason)
    for name, parameter, value, reason in [
        ("plain", "text", 1, "expected str, got int"),
        ("plain", "text", None, "expected str, got null"),
        ("plain", "text", ["t"], "expected str, got array"),
        ("plain", "text", {}, "expected str, got object"),
        ("plain", "number", "1", "expected int, got str"),
        ("plain", "number", 1.5, "expected int, got float"),
        ("plain", "number", True, "expected int, got bool"),
        ("plain", "ratio", "0.5", "expected float, got str"),
        ("plain", "ratio", True, "expected float, got bool"),
        ("plain", "flag", 1, "expected bool, got int"),
        ("plain", "flag", "true", "expected bool, got str"),
        ("plain", "flag", None, "expected bool, got null"),
        ("texts", "data", "%%%", "base64"),
        ("texts", "day", "yesterday", "date"),
        ("texts", "moment", "2020-13-01T00:00:00", "datetime"),
        ("texts", "clock", "25:00", "time"),
        ("texts", "span", "long", "duration"),
        ("texts", "id", "me", "UUID"),
        ("texts", "price", "cheap", "decimal"),
        ("choices", "one", "c", "choose from 'a', 'b'"),
        ("choices", "one", 1, "expected str"),
        ("choices", "number", 3, "choose from 1, 2"),
        ("choices", "color", "blue", "choose from 'red', 'green'"),
        ("choices", "color", ["red"], "expected str"),
        ("choices", "level", 5, "choose from 1, 10"),
        ("choices", "many", ["x", "z"], "'z'"),
        ("choices", "many", "x", "expected array"),
        ("nested", "numbers", [1, "2"], "at numbers[1]"),
        ("nested", "numbers", {"0": 1}, "expected array, got object"),
        ("nested", "table", {"a": "b"}, "expected float, got str"),
        ("nested", "table", [["a", 1]], "expected object, got array"),
        ("nested", "by_number", {"one": "a"}, "a key"),
        ("nested", "pair", [1], "length 2"),
        ("nested", "pair", [1, "a", 2], "length 2"),
        ("nested", "unique", [[1]], "expected int"),
        ("nested", "either", 1.5, "expected int | str"),
        ("nested", "grid", [[1, "x"]], "at grid[0][1]"),
        ("models", "movie", {"name": "m"}, "year"),
        ("models", "movie", {"name": "m", "year": "1999"}, "at movie.year"),
        ("models", "pair", ["a", 1], "expected int"),
        ("models", "point", {"x": "1"}, "at point.x"),
        ("models", "point", [1, 2], "expected object"),
        ("models", "tree", {"name": "t", "children": [{}]}, "children[0]"),
        ("models", "box", {"size": 11}, "<= 10"),
        ("models", "box", {"size": 1, "point": {}}, "box.point"),
        ("models", "person", {"name": ""}, "person.name"),
        ("models", "person", {"name": "p", "age": -1}, "person.age"),
        ("bounded", "small", 10, "<= 9"),
        ("bounded", "small", -1, ">= 0"),
        ("bounded", "word", "", "length >= 1"),
        ("bounded", "word", "AB", "matching regex"),
        ("bounded", "few", [1, 2, 3], "length <= 2"),
        ("bounded", "half", 1, "< 1"),
        ("count", "n", 6, "<= 5"),
        ("doubles", "number", "x", "expected int, got str"),
        ("files", "one", "a.txt", "as an object with its path"),
        ("files", "one", {"url": "http://x"}, "upload it first"),
        ("files", "one", {"path": 5}, "upload it first"),
        ("files", "one", {"path": "/etc/passwd"}, "not allowed"),
        ("files", "one", {"path": "../../etc/passwd"}, "not allowed"),
        ("files", "one", {"path": "f" * 32 + "/a"}, "not allowed"),
        ("files", "one", {"path": "a\0b"}, "not allowed"),
        ("add", "b", "2", "expected int, got str"),
    ]
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda w: f"{w.endpoint}.{w.parameter}-{w.reason}")
def test_values_that_do_not_fit(http_: Http, wrong: Wrong) -> None:
    for route in ROUTES:
        answer = send(http_, route, wrong.endpoint, wrong.values)
        assert answer.status == 422, answer
        assert answer.headers["content-type"] == "application/json"
        names = [entry["parameter_name"] for entry in answer.detail]
        assert names == [slot.name for slot in app.endpoints[wrong.endpoint].signature.inputs]
        for entry in answer.detail:
            assert entry["__type__"] == "validate"
            assert entry["is_valid"] is (entry["parameter_name"] != wrong.parameter)
            assert bool(entry["message"]) is not entry["is_valid"]
            if not entry["is_valid"]:
                assert wrong.reason in entry["message"]


@pytest.mark.parametrize("name", list(GOOD)[:6])
def test_the_values_that_were_changed_do_fit(http_: Http, name: str) -> None:
    good = GOOD[name]
    assert send(http_, "/run", name, good).status == 200
    id = send(http_, "/call/v2", name, good).json["event_id"]
    with http_.follow(name, id) as stream:
        assert stream.events()[-1][0] == "complete"


@pytest.mark.parametrize("route", [route for route in ROUTES if route != "/call/v2"])
def test_missing_and_surplus_values(http_: Http, route: str) -> None:
    missing = send(http_, route, "plain", {"text": "t", "number": 1})
    assert missing.status == 422
    (entry,) = [entry for entry in missing.detail if not entry["is_valid"]]
    assert entry["parameter_name"] == "ratio"
    assert "ratio" in entry["message"]
    assert "flag" in entry["message"]
    surplus = send(http_, route, "add", {"a": 1, "b": 2, "c": 3})
    assert surplus.status == 422
    (entry,) = [entry for entry in surplus.detail if not entry["is_valid"]]
    assert "3 values were sent, but it takes 2: a, b (optional)" in entry["message"]


def test_missing_and_surplus_names(http_: Http) -> None:
    missing = http_.post("/call/v2/plain", {"text": "t"})
    assert missing.status == 422
    assert [e["parameter_name"] for e in missing.detail if not e["is_valid"]] == ["number"]
    surplus = http_.post("/call/v2/plain", PLAIN | {"txt": "t"})
    assert surplus.status == 422
    (entry,) = [entry for entry in surplus.detail if not entry["is_valid"]]
    assert entry["parameter_name"] == "txt"
    assert "did you mean 'text'?" in entry["message"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not(http_: Http, value: float) -> None:
    """Python's clients send them."""
    assert send(http_, "/run", "plain", PLAIN | {"ratio": value}).json["data"][2] is None
    refused = send(http_, "/run", "plain", PLAIN | {"number": value})
    assert refused.status == 422
    assert [e["parameter_name"] for e in refused.detail if not e["is_valid"]] == ["number"]


@pytest.mark.parametrize(
    ("name", "values"),
    [("plain", PLAIN | {"ratio": math.nan}), ("add", {"a": 1, "b": math.nan})],
)
def test_numbers_that_json_has_not_by_name(http_: Http, name: str, values: dict[str, Any]) -> None:
    by_place, by_name = (send(http_, route, name, values) for route in ("/call", "/call/v2"))
    assert by_name.status == by_place.status


@pytest.mark.parametrize("number", [2**53 + 1, 2**64, 10**30, -(10**400)])
def test_large_integers_are_kept(http_: Http, number: int) -> None:
    assert send(http_, "/run", "add", {"a": number, "b": 0}).json["data"] == [number]


def test_integers_that_no_server_reads(http_: Http) -> None:
    body = b'{"data":[' + b"9" * 5000 + b"]}"  # more digits than Python converts
    answer = http_.post("/run/add", body)
    assert answer.status == 422
    assert answer.detail[0]["loc"][0] == "body"


HALF = "half a pair: \ud800"


@pytest.mark.parametrize(
    "route",
    [
        pytest.param(
            route,
        )
        if route == "/call/v2"
        else route
        for route in ROUTES
    ],
)
@pytest.mark.parametrize("value", [HALF, [HALF], {HALF: 1}], ids=["text", "list", "key"])
def test_halves_of_surrogate_pairs(http_: Http, value: Any, route: str) -> None:
    refused = send(http_, route, "add", {"a": value})
    assert refused.status == 422
    accepted = send(http_, route, "anything", {"value": value})
    assert accepted.status in (200, 422), accepted
    assert accepted.headers["content-type"] == "application/json"


def test_halves_of_surrogate_pairs_come_back_whole(http_: Http) -> None:
    answer = send(http_, "/run", "plain", PLAIN | {"text": HALF})
    assert answer.json["data"][0] == "half a pair: \ufffd"


@pytest.mark.parametrize("depth", [500, 20_000])
def test_deep_nesting(http_: Http, depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    head = b'{"fn_index":%d,"session_hash":"s",' % http_.index("anything")
    for path, body in [
        ("/queue/join", head + b'"data":[' + deep + b"]}"),
        ("/call/anything", b'{"data":[' + deep + b"]}"),
        ("/call/v2/anything", b'{"value":' + deep + b"}"),
        ("/run/anything", b'{"data":[' + deep + b"]}"),
    ]:
        answer = http_.post(path, body)
        # What can be read may still be too deep to be sent back, which fails the job.
        assert answer.status in ((200, 500) if depth == 500 else (422,)), answer
        assert answer.headers["content-type"] == "application/json"
    # A tree of dataclasses is read by recursion, too.
    tree = b'{"data":[' + b'{"name":"a","children":[' * 1000 + b"]}" * 1000 + b"]}"
    assert http_.post("/run/models", tree).status == 422


def test_an_error_does_not_repeat_all_that_was_sent(http_: Http) -> None:
    for body in (b'{"data": [' + b'"x' * 20_000, json.dumps({"n": "x" * 20_000}).encode()):
        for path in ("/call/v2/count", "/run/count", "/queue/join", "/cancel"):
            answer = http_.post(path, body)
            assert answer.status == 422
            assert len(answer.body) < 2000


# -- bodies -------------------------------------------------------------------------

BODIES = {
    "empty": b"",
    "blank": b"  \n",
    "open": b"{",
    "text": b"data=1",
    "array": b"[]",
    "null": b"null",
    "number": b"5",
    "string": b'"data"',
    "trailing": b'{"data": [1], "event_id": "x", "session_hash": "s", "fn_index": 1} x',
    "single quotes": b"{'data': [1]}",
    "invalid UTF-8": b'{"data": ["\xff"], "event_id": "\xff", "session_hash": "s", "fn_index": 1}',
    "UTF-16": json.dumps({"n": 1}).encode("utf-16")[:-1],
    "no data": b'{"daten": [1]}',
    "data is null": b'{"data": null, "session_hash": "s", "fn_index": 1}',
    "data is text": b'{"data": "1", "session_hash": "s", "fn_index": 1}',
    "data is an object": b'{"data": {"0": 1}, "session_hash": "s", "fn_index": 1}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_bodies_that_are_not_what_they_should_be(http_: Http, body: bytes) -> None:
    calls = "/call/add", "/call/v2/add", "/run/add", "/api/add"
    for path in ("/queue/join", *calls, "/cancel", "/reset"):
        if path == "/reset" and body == BODIES["invalid UTF-8"]:
            continue  # what is not decoded is not looked at
        answer = http_.post(path, body)
        assert answer.status == 422, (path, answer)
        assert answer.headers["content-type"] == "application/json"
        assert answer.detail
        for entry in answer.detail:
            if "__type__" not in entry:
                assert entry["loc"][0] == "body"
                assert entry["msg"]
                assert entry["type"]


@pytest.mark.parametrize(
    "type", ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=x"]
)
def test_the_content_type_does_not_matter(http_: Http, type: str) -> None:
    """As curl sends ``-d`` by default."""
    answer = http_.ask("POST", f"{API}/run/add", b'{"data":[1]}', {"content-type": type})
    assert answer.json["data"] == [3]


@pytest.mark.parametrize("path", ["/queue/join", "/call/anything", "/call/v2/anything", "/cancel"])
def test_bodies_that_are_too_large(http_: Http, path: str) -> None:
    body = json.dumps({"data": ["x" * LIMITS["max_body_size"]]}).encode()
    answer = http_.post(path, body)
    assert answer.status == 413
    assert f"{LIMITS['max_body_size']} bytes" in answer.detail


def test_chunked_bodies_that_are_too_large(http_: Http) -> None:
    connection = http_.open("GET", "/health")
    with contextlib.closing(connection):
        connection.getresponse().read()
        chunks = iter([b"x" * 1024] * 65)
        connection.request("POST", f"{API}/run/add", chunks, encode_chunked=True)
        response = connection.getresponse()
        assert response.status == 413
        assert f"{LIMITS['max_body_size']} bytes" in json.loads(response.read())["detail"]


def test_a_body_of_exactly_the_limit(http_: Http) -> None:
    rest = len(json.dumps({"data": [""]}))
    body = json.dumps({"data": ["x" * (LIMITS["max_body_size"] - rest)]}).encode()
    assert len(body) == LIMITS["max_body_size"]
    assert http_.post("/run/anything", body).status == 200


@pytest.mark.parametrize("path", ["/queue/join", "/run/add", "/cancel"])
def test_a_client_that_leaves_while_it_sends(http_: Http, log: Log, path: str) -> None:
    head = f"POST {API}{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection((http_.host, http_.port)) as raw:
        raw.sendall(head.encode() + b"{")
    assert "Traceback" not in log()


# -- names, indices, ids ------------------------------------------------------------


@pytest.mark.parametrize("name", ["nope", "ADD", "hidden", "%61dd%00", "x" * 1000])
def test_endpoints_that_are_not_there(http_: Http, name: str) -> None:
    for route in ("/call", "/call/v2", "/run", "/api"):
        answer = http_.post(f"{route}/{name}", {"data": [1]})
        assert answer.status == 404
        assert answer.headers["content-type"] == "application/json"
        if name in ("nope", "ADD", "hidden"):
            assert f"there is no endpoint /{name}" in answer.detail
            assert "/add" in answer.detail
        assert ", /hidden" not in answer.detail


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({}, 400, "Session hash not found."),
        ({"fn_index": 1}, 400, "Session hash not found."),
        ({"fn_index": 1, "session_hash": None}, 400, "Session hash not found."),
        ({"fn_index": 1, "session_hash": ""}, 400, "Session hash not found."),
        ({"session_hash": "s"}, 400, "No function index provided."),
        ({"session_hash": "s", "fn_index": None}, 400, "No function index provided."),
        ({"session_hash": "s", "fn_index": 999}, 404, "fn_index 999"),
        ({"session_hash": "s", "fn_index": -1}, 404, "fn_index -1"),
        ({"session_hash": "s", "fn_index": 10**30}, 404, "fn_index 1000"),
        (
            {"session_hash": "s", "fn_index": app.endpoints["hidden"].id},
            404,
            "there is no endpoint",
        ),
        ({"session_hash": "s", "fn_index": "add"}, 422, "fn_index"),
        ({"session_hash": "s", "fn_index": "9" * 5000}, 422, "fn_index"),
        ({"session_hash": "s", "fn_index": "\u00b2"}, 422, "fn_index"),
        ({"session_hash": "s", "fn_index": 1.5}, 422, "fn_index"),
        ({"session_hash": "s", "fn_index": [1]}, 422, "fn_index"),
        ({"session_hash": "s", "fn_index": True}, 422, "fn_index"),
        ({"session_hash": 5, "fn_index": 1}, 422, "session_hash"),
        ({"session_hash": ["s"], "fn_index": 1}, 422, "session_hash"),
        ({"session_hash": "s" * 257, "fn_index": 1}, 422, "session_hash"),
    ],
)
def test_joins_without_what_they_need(
    http_: Http, fields: dict[str, Any], status: int, words: str
) -> None:
    answer = http_.post("/queue/join", {"data": [1], **fields})
    assert answer.status == status, answer
    assert words in json.dumps(answer.detail)


@pytest.mark.parametrize(
    "session", ["s" * 256, "../../etc", "a b", "ü", "0", "null", "a\r\nb: c", "\0", "%2e", "a&b=c"]
)
def test_strange_sessions_are_sessions(http_: Http, session: str) -> None:
    session += " " + secrets.token_hex(4) if len(session) < 256 else ""
    id = http_.join("add", 1, session=session)
    with http_.stream(quote(session)) as stream:
        completed = stream.until("process_completed")
    assert completed["event_id"] == id
    assert completed["output"]["data"] == [3]


def test_half_a_surrogate_pair_is_a_session(http_: Http) -> None:
    id = http_.join("add", 1, session="\ud800")
    assert http_.cancel(id, session="\ud800")["success"] is True


@pytest.mark.parametrize("path", ["/queue/data?session_hash=", "/heartbeat/"])
def test_sessions_that_are_too_long(http_: Http, path: str) -> None:
    answer = http_.get(f"{API}{path}{'s' * 257}")
    if path.startswith("/heartbeat"):
        assert answer.status == 422
    else:
        assert b'"session_not_found":true' in answer.body


@pytest.mark.parametrize("id", ["x", "0" * 32, "%00", "%ff", "..", "a%0d%0ab", "x" * 10_000])
def test_unknown_jobs(http_: Http, id: str) -> None:
    for path in ("/call/add", "/call/v2/add", "/call/nope"):
        answer = http_.get(f"{API}{path}/{id}")
        assert answer.status == 200  # in the stream, as gradio
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.body == b'event: error\ndata: "404: Not Found"\n\n'


@pytest.mark.parametrize("id", ["x", "", "0" * 32, "\ud800", "x" * 10_000])
def test_unknown_jobs_are_not_cancelled(http_: Http, id: str) -> None:
    assert http_.cancel(id) == {"success": False, "outcome": "unknown"}


@pytest.mark.parametrize(
    "change",
    [
        {"event_id": 5},
        {"event_id": None},
        {"session_hash": 5},
        {"fn_index": "x"},
        {"fn_index": None},
    ],
    ids=str,
)
def test_cancels_that_are_not_what_they_should_be(http_: Http, change: dict[str, Any]) -> None:
    body = {"event_id": "x", "session_hash": "s", "fn_index": 0} | change
    answer = http_.post("/cancel", body)
    assert answer.status == 422
    assert next(iter(change)) in json.dumps(answer.detail)


def test_nobody_cancels_the_jobs_of_others(http_: Http) -> None:
    tag = secrets.token_hex(4)
    id = http_.post("/call/held", {"data": [tag], "session_hash": http_.session}).json["event_id"]
    assert http_.cancel(id, session="other")["success"] is False
    assert http_.cancel(id) == {"success": True, "outcome": "cancelled"}


# -- files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "%252e%252e%252fetc%252fpasswd",
        "..\\..\\etc\\passwd",
        "/proc/self/environ",
        "a%00b",
        "%ff",
        "http://localhost/",
        "C:\\windows\\win.ini",
        "x" * 10_000,
        "{token}/../{token}/a.txt",
        "{token}/../a.txt",
        "{token}/b.txt",
        "{token}/",
        "{token}",
        "{token}/a.txt/..",
        "{token}/a.txt%00",
    ],
)
def test_paths_that_climb(http_: Http, path: str) -> None:
    (stored,) = http_.upload(("a.txt", b"secret")).json
    token = stored.partition("/")[0]
    for form in ("/file=", "/file/"):
        answer = http_.get(API + form + path.replace("{token}", token))
        assert answer.status in (403, 404), answer
        assert answer.headers["content-type"] == "application/json"
        assert len(answer.body) < 2000
    assert http_.get(f"{API}/file={stored}").body == b"secret"


@pytest.mark.parametrize(
    "name", ["../../a.txt", "/etc/passwd", "..\\..\\a.txt", "..", ".", "", "a\tb.txt", "x" * 3000]
)
def test_names_that_climb(http_: Http, name: str) -> None:
    (stored,) = http_.upload((name, b"mine")).json
    token, _, kept = stored.partition("/")
    assert len(token) == 32
    assert "/" not in kept
    assert kept not in ("", ".", "..")
    assert http_.get(f"{API}/file={stored}").body == b"mine"


def test_uploads_past_the_limits(http_: Http) -> None:
    limit = LIMITS["max_file_size"]
    assert http_.upload(("a", b"x" * limit)).status == 200
    answer = http_.upload(("a", b"x" * (limit + 1)))
    assert answer.status == 413
    assert f"{limit} bytes" in answer.detail
    assert "'a'" in answer.detail
    answer = http_.upload(*[("a", b"x" * limit)] * 4)
    assert answer.status == 413
    assert f"{LIMITS['max_upload_size']} bytes" in answer.detail


@pytest.mark.parametrize(
    ("type", "body", "status"),
    [
        ("application/json", b"{}", 400),
        ("", b"", 400),
        ("multipart/form-data", b"--x--\r\n", 400),
        ("multipart/form-data; boundary=x", b"", 400),
        ("multipart/form-data; boundary=x", b"nonsense", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nno colon\r\n\r\n\r\n--x--\r\n", 400),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nabc',
            400,
        ),
        ("multipart/form-data; boundary=" + "x" * 5000, b"--x--\r\n", 400),
    ],
)
def test_uploads_that_are_malformed(http_: Http, type: str, body: bytes, status: int) -> None:
    answer = http_.ask("POST", f"{API}/upload", body, {"content-type": type})
    assert answer.status == status, answer
    assert isinstance(answer.detail, str)


def test_parts_that_are_no_files(http_: Http) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    type = {"content-type": "multipart/form-data; boundary=x"}
    few = http_.ask("POST", f"{API}/upload", part * 10 + b"--x--\r\n", type)
    assert (few.status, few.json) == (200, [])
    many = http_.ask("POST", f"{API}/upload", part * 100 + b"--x--\r\n", type)
    assert many.status == 413


def test_progress_of_uploads_that_are_not_there(http_: Http) -> None:
    for query in ("", "?upload_id=", "?upload_id=" + "x" * 1000):
        answer = http_.get(f"{API}/upload_progress{query}")
        assert answer.status in (404, 422)
        assert answer.detail


# -- HTTP ---------------------------------------------------------------------------

METHODS = [
    ("GET", "/queue/join", "POST"),
    ("PUT", "/queue/join", "POST"),
    ("POST", "/queue/data", "GET"),
    ("GET", "/call/add", "POST"),
    ("DELETE", "/call/add", "POST"),
    ("PATCH", "/run/add", "POST"),
    ("GET", "/cancel", "POST"),
    ("GET", "/upload", "POST"),
    ("POST", "/file=x", "GET"),
    ("POST", "/info", "GET"),
    ("OPTIONS", "/queue/join", "POST"),
    ("TRACE", "/queue/join", "POST"),
]


@pytest.mark.parametrize(("method", "path", "allowed"), METHODS)
def test_methods_that_are_not_allowed(http_: Http, method: str, path: str, allowed: str) -> None:
    answer = http_.ask(method, API + path)
    assert answer.status == 405
    assert allowed in answer.headers["allow"]


def test_the_answer_to_a_wrong_method(http_: Http) -> None:
    assert http_.get(f"{API}/queue/join").json == {"detail": "Method Not Allowed"}


@pytest.mark.parametrize(
    "path", ["/nope", "/gradio_api", "/gradio_api/", "/gradio_api/call", "/../config", "/a//b"]
)
def test_paths_that_are_not_there(http_: Http, path: str) -> None:
    answer = http_.get(path)
    assert answer.status == 404
    assert answer.json == {"detail": "Not Found"}


def raw(http_: Http, request: bytes) -> bytes:
    """Send bytes and read the start of the answer."""
    with socket.create_connection((http_.host, http_.port), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(65536)


@pytest.mark.parametrize(
    "request_",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
        *(
            b"POST /gradio_api/run/add HTTP/1.1\r\nHost: localhost\r\n" + rest
            for rest in (
                b"Content-Length: abc\r\n\r\n",
                b"Content-Length: -5\r\n\r\n",
                b"Content-Length: 99999999999999999999999\r\n\r\n",
                b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
                b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
            )
        ),
    ],
)
def test_requests_that_are_not_http(http_: Http, request_: bytes) -> None:
    assert raw(http_, request_).startswith(b"HTTP/1.1 400 ")


def test_chunks_that_are_no_chunks(http_: Http, log: Log) -> None:
    request = b"POST /gradio_api/run/add HTTP/1.1\r\nHost: localhost\r\n"
    answer = raw(http_, request + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in log()


@pytest.mark.parametrize("host", [b"", b"Host: evil.example\r\n", b"Host: localhost@evil\r\n"])
def test_hosts_that_are_not_ours(http_: Http, host: bytes) -> None:
    assert raw(http_, b"GET /config HTTP/1.1\r\n" + host + b"\r\n").startswith(b"HTTP/1.1 421 ")


@pytest.mark.parametrize("path", ["/", "/gradio_api/queue/join", "/gradio_api/queue/data"])
def test_websockets(http_: Http, path: str) -> None:
    """There are none: refused, or taken for the request without the upgrade."""
    answer = raw(
        http_,
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode(),
    )
    status = int(answer.split()[1])
    assert status != 101
    assert status < 500


@pytest.mark.parametrize(
    "start", [b"GET /health HTTP/1.1\r\nX: ", b"GET /"], ids=["header", "path"]
)
def test_a_request_without_end(http_: Http, picky: Serving, start: bytes) -> None:
    process = psutil.Process(picky.process.pid)
    before = process.memory_info().rss
    with socket.create_connection((http_.host, http_.port), timeout=10) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(start)
            for _ in range(32):
                connection.sendall(b"a" * MIB)
        eventually(lambda: http_.get("/health").status == 200)
        assert process.memory_info().rss - before < 16 * MIB


def test_many_bad_requests_over_one_connection(http_: Http) -> None:
    connection = http_.open("GET", "/health")
    with contextlib.closing(connection):
        connection.getresponse().read()
        bodies = [*BODIES.values(), b"x" * (LIMITS["max_body_size"] + 1)]
        for path, body in itertools.product(("/run/add", "/call/v2/add", "/queue/join"), bodies):
            connection.request("POST", API + path, body)
            response = connection.getresponse()
            response.read()
            assert response.status in (400, 413, 422)
        connection.request("POST", f"{API}/run/add", b'{"data":[1]}')
        assert json.loads(connection.getresponse().read())["data"] == [3]
