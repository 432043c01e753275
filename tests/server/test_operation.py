"""What those who run a server rely on: health, metrics, the log, and who may do what."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import logging
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobwire.server.guard import PUBLIC
from jobwire.server.routes import Routes
from server.http_app import API, Http, Stage, eventually, leaving_no_threads

USERS = [("ada", "one"), ("bob", "two")]


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Stage, Http]]:
    stage = Stage()
    with stage.shared() as http_:
        yield stage, http_


@pytest.fixture
def stage(shared: tuple[Stage, Http]) -> Stage:
    shared[0].reset()
    return shared[0]


@pytest.fixture
def http_(shared: tuple[Stage, Http], stage: Stage) -> Http:
    return shared[1].as_new()


# -- health -------------------------------------------------------------------------


def test_health(http_: Http) -> None:
    for path in ("/health", "/health/"):
        answer = http_.get(path)
        assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert http_.ask("HEAD", "/health").status == 200


def test_health_while_the_server_stops() -> None:
    stage = Stage()
    with stage.serving() as http_:
        assert http_.get("/health").status == 200
        http_.service.loop.call_soon_threadsafe(http_.service.close)
        eventually(lambda: http_.get("/health").status == 503)
        assert http_.get("/health").json == {"status": "stopping"}
        answer = http_.post("/call/echo", {"data": ["x"]})
        assert answer.status == 503
        assert answer.detail == "Queue is stopped."


def test_small_documents(http_: Http) -> None:
    assert http_.get(f"{API}/startup-events").json is True
    assert http_.get(f"{API}/app_id").json == {"app_id": http_.get("/config").json["app_id"]}
    assert http_.get(f"{API}/user").json is None
    assert http_.get(f"{API}/token").json == {"token": None, "user": None}
    assert http_.get(f"{API}/login_check").json is None
    assert http_.get("/theme.css").headers["content-type"].startswith("text/css")
    assert http_.get("/favicon.ico").status == 204
    status = http_.get(f"{API}/queue/status").json
    assert status["msg"] == "estimation"
    assert status["queue_size"] == 0


# -- metrics ------------------------------------------------------------------------

Sample = tuple[str, frozenset[tuple[str, str]]]


def metrics(http_: Http) -> dict[Sample, float]:
    answer = http_.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def jobs(values: dict[Sample, float], endpoint: str, outcome: str) -> float:
    labels = {("endpoint", endpoint), ("outcome", outcome)}
    return values["jobwire_jobs_total", frozenset(labels)]


def gauge(values: dict[Sample, float], name: str) -> float:
    return values[f"jobwire_{name}", frozenset()]


def test_metrics_count() -> None:
    stage = Stage()
    with stage.serving() as http_:
        before = metrics(http_)
        assert not any(value for (name, _), value in before.items() if "_jobs" in name)
        for _ in range(3):
            assert http_.run("echo", "x").status == 200
        http_.run("direct", "x")
        assert http_.run("fail").status == http_.run("crash").status == 500
        assert http_.run("add", "x").status == 422  # was no job
        running = http_.join("hold", "a")
        assert stage.started["a"].wait(10)
        waiting = http_.join("hold", "b")
        cancelled = http_.join("hold", "c")
        assert http_.cancel(cancelled)["outcome"] == "removed"
        during = metrics(http_)
        assert gauge(during, "waiting") == 1
        assert gauge(during, "running") == 1
        assert gauge(during, "sessions") >= 1
        assert gauge(during, "uptime_seconds") > 0
        stage.gates["a"].set()
        stage.gates["b"].set()
        with http_.stream() as stream:
            ended = {message["event_id"] for message in stream.messages()} - {None}
        assert ended >= {running, waiting}
        eventually(lambda: gauge(metrics(http_), "running") == 0)
        after = metrics(http_)
    assert jobs(after, "/echo", "completed") == 3
    assert jobs(after, "/direct", "completed") == 1
    assert jobs(after, "/fail", "failed") == jobs(after, "/crash", "failed") == 1
    assert jobs(after, "/add", "completed") == jobs(after, "/add", "failed") == 0
    assert jobs(after, "/hold", "completed") == 2
    assert jobs(after, "/hold", "cancelled") == 1
    assert gauge(after, "waiting") == 0
    seconds = "jobwire_function_seconds_total"
    assert after[seconds, frozenset({("endpoint", "/hold")})] > 0
    assert after[seconds, frozenset({("endpoint", "/wait")})] == 0


# -- errors -------------------------------------------------------------------------


def test_errors_stay_in_the_log(http_: Http, caplog: pytest.LogCaptureFixture) -> None:
    answer = http_.run("crash")
    assert answer.status == 500
    assert "ValueError" in answer.json["error"]
    assert b"secret" not in answer.body
    (record,) = [record for record in caplog.records if record.name == "jobwire.server"]
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "/crash failed"
    assert record.exc_info is not None
    assert "a secret of the server" in caplog.text
    assert "Traceback" in caplog.text


def test_errors_are_hidden_in_every_way_to_read_them(http_: Http) -> None:
    with http_.follow("crash", http_.call("crash")) as stream:
        ((kind, call),) = stream.events()
    assert kind == "error"
    http_.join("crash")
    with http_.stream() as other:
        message = other.until("process_completed")
    for told in (call, message["output"]):
        assert "ValueError" in told["error"]
        assert "secret" not in json.dumps(told)
    assert "secret" not in json.dumps(message)


def test_errors_meant_for_callers_are_told_and_not_logged(
    http_: Http, caplog: pytest.LogCaptureFixture
) -> None:
    answer = http_.run("fail")
    assert answer.status == 500
    assert answer.json == {
        "error": "it went wrong",
        "title": "Oops",
        "duration": 3,
        "visible": True,
    }
    assert not caplog.records


def test_show_errors() -> None:
    stage = Stage(show_errors=True)

    @stage.app.endpoint(show_errors=False)
    def discreet() -> None:
        raise ValueError("another secret")

    with stage.serving() as http_:
        assert http_.get("/config").json["show_error"] is True
        assert http_.run("crash").json["error"] == "a secret of the server"
        assert b"another secret" not in http_.run("discreet").body


def test_an_endpoint_may_show_errors() -> None:
    stage = Stage()

    @stage.app.endpoint(show_errors=True)
    def frank() -> None:
        raise ValueError("no secret")

    with stage.serving() as http_:
        assert http_.run("frank").json["error"] == "no secret"
        assert b"secret of the server" not in http_.run("crash").body


@pytest.mark.parametrize("path", ["/config?x=1", "/nope?x=1", f"{API}/queue/data?session_hash=x"])
def test_the_access_log(path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="jobwire.access"):
        stage = Stage(auth=USERS)
        with stage.serving() as http_:
            ada = login(http_, "ada")
            ada.get(path)
            http_.get(path)

            def requests() -> list[logging.LogRecord]:
                return [each for each in caplog.records if each.name == "jobwire.access"]

            eventually(lambda: len(requests()) == 3)  # written after the answer
            _, known, unknown = requests()
    bare = path.partition("?")[0]
    fields: Any = known.request  # type: ignore[attr-defined]
    assert fields.items() >= {
        "client": "127.0.0.1", "method": "GET", "path": bare, "user": "ada"
    }.items()  # fmt: skip
    assert unknown.request["user"] is None  # type: ignore[attr-defined]
    assert unknown.request["status"] == 401  # type: ignore[attr-defined]
    assert re.fullmatch(
        rf"127\.0\.0\.1 GET {re.escape(bare)} \d{{3}} \d+\.\d ms", known.getMessage()
    )
    assert "x=1" not in caplog.text
    assert "session_hash" not in caplog.text
    assert "one" not in caplog.text


# -- logins -------------------------------------------------------------------------


def login(http_: Http, user: str) -> Http:
    """Return a caller with the cookies of a login."""
    form = urlencode({"username": user, "password": dict(USERS)[user]}).encode()
    type = {"content-type": "application/x-www-form-urlencoded"}
    answer = http_.ask("POST", "/login", form, type)
    assert answer.json == {"success": True}
    cookies = [cookie.partition(";")[0] for cookie in answer.headers.get_all("set-cookie", [])]
    return http_.as_new({"Cookie": "; ".join(cookies)})


@pytest.fixture(scope="module")
def closed() -> Iterator[tuple[Stage, Http]]:
    stage = Stage(auth=USERS, auth_message="Say who you are.")
    stage.app.configure(max_threads=8)
    with leaving_no_threads(), stage.serving() as http_:
        ada = login(http_, "ada")
        ada.upload(("warm.txt", b""))  # anyio's thread, and ours
        ids = [ada.call("wait", f"{number}") for number in range(8)]
        for number in range(8):
            assert stage.started[f"{number}"].wait(10)
        for id in ids:
            ada.cancel(id)
        yield stage, http_


@pytest.fixture
def anybody(closed: tuple[Stage, Http]) -> Http:
    closed[0].reset()
    return closed[1].as_new()


@pytest.fixture
def ada(anybody: Http) -> Http:
    return login(anybody, "ada")


@pytest.fixture
def bob(anybody: Http) -> Http:
    return login(anybody, "bob")


def routes() -> list[tuple[str, str]]:
    found = [
        (method, re.sub(r"{\w+(:path)?}", "x", path))
        for method, path, _ in Routes(Stage().app).table()
    ]
    assert len(found) > 25
    return found


@pytest.mark.parametrize(("method", "path"), routes())
def test_every_route_wants_a_login(anybody: Http, method: str, path: str) -> None:
    body = b'{"data":["x"],"fn_index":0,"session_hash":"s","event_id":"x"}'
    for variant in (path, f"{path}/" if path != "/" else path, f"{path}?__theme=dark"):
        for headers in (
            {},
            {"Cookie": "access-token=x"},
            {"Authorization": "Bearer x"},
            {"X-Gradio-User": "ada"},
        ):
            answer = anybody.ask(method, variant, body if method == "POST" else None, headers)
            if path in PUBLIC:
                assert answer.status != 401, (variant, headers)
            else:
                assert answer.status == 401, (variant, headers)
                assert answer.detail == {
                    "error": "Not authenticated",
                    "auth_message": "Say who you are.",
                }
                assert answer.headers["www-authenticate"] == "Bearer"


def test_the_public_routes_are_few_and_tell_nothing(anybody: Http) -> None:
    public = {path for _, path in routes() if path in PUBLIC}
    documents = {"/favicon.ico", "/robots.txt", "/theme.css"}
    assert public == {"/", "/login", "/logout", "/health"} | documents
    page = anybody.get("/").body.decode()
    assert "Say who you are." in page
    assert "/echo" not in page
    assert "dependencies" not in page


@pytest.mark.parametrize(
    "path",
    ["//config", "/./config", "/x/../config", "/config;x", "/Config", "/%63onfig", "/config%2f",
     "/config/", "/health/../config", "/login/../config", "/health/config", "/gradio_api/../config",
     "/gradio_api/file=../config", "/login%2f..%2fconfig"],
)  # fmt: skip
def test_no_detour_leads_past_the_login(anybody: Http, path: str) -> None:
    answer = anybody.get(path)
    assert answer.status in (401, 404)
    assert b"dependencies" not in answer.body


def test_methods_need_a_login_too(anybody: Http) -> None:
    for method in ("HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert anybody.ask(method, "/config").status == 401


def test_ways_to_log_in(anybody: Http, ada: Http) -> None:
    assert ada.get("/config").json["username"] == "ada"
    assert ada.get(f"{API}/user").json == "ada"
    assert ada.get(f"{API}/login_check").status == 200
    token = ada.get(f"{API}/token").json["token"]
    bearer = anybody.as_new({"Authorization": f"Bearer {token}"})
    assert bearer.get(f"{API}/user").json == "ada"
    basic = base64.b64encode(b"bob:two").decode()
    assert anybody.as_new({"Authorization": f"Basic {basic}"}).get(f"{API}/user").json == "bob"
    wrong = base64.b64encode(b"bob:one").decode()
    assert anybody.as_new({"Authorization": f"Basic {wrong}"}).get("/config").status == 401


def test_a_logout_ends_the_login(anybody: Http) -> None:
    ada, also_ada = login(anybody, "ada"), login(anybody, "ada")
    assert ada.get("/logout?all_session=false").status in (302, 303, 307)
    assert ada.get("/config").status == 401
    assert also_ada.get("/config").status == 200
    ada = login(anybody, "ada")
    ada.get("/logout")
    assert ada.get("/config").status == also_ada.get("/config").status == 401


def test_cookies_are_of_one_server(ada: Http) -> None:
    with Stage(auth=USERS).serving() as other:
        assert other.as_new(ada._headers).get("/config").status == 401


def test_users_do_not_read_each_others_jobs(ada: Http, bob: Http) -> None:
    id = ada.call("echo", "a secret of ada")
    with ada.follow("echo", id) as stream:
        assert stream.events() == [("complete", ["a secret of ada"])]
    for name in ("echo", "add", "v2/echo"):
        with bob.follow(name, id) as stream:
            assert stream.events() == [("error", "404: Not Found")]


def test_users_do_not_cancel_each_others_jobs(
    closed: tuple[Stage, Http], ada: Http, bob: Http
) -> None:
    stage, _ = closed
    for submit in (ada.call, ada.join):
        stage.started["w"].clear()
        id = submit("wait", "w")
        assert stage.started["w"].wait(10)
        for session in (ada.session, bob.session):
            assert bob.cancel(id, session)["success"] is False
        assert ada.cancel(id) == {"success": True, "outcome": "told"}


def test_sessions_of_one_name_are_each_users_own(ada: Http, bob: Http) -> None:
    id = ada.join("echo", "a secret of ada", session="same")
    with bob.stream("same") as stream:
        (message,) = stream.messages()
        assert message["session_not_found"] is True
    bobs = bob.join("echo", "x", session="same")
    with bob.stream("same") as stream:
        assert {message["event_id"] for message in stream.messages()} == {bobs, None}
    with ada.stream("same") as stream:
        assert {message["event_id"] for message in stream.messages()} == {id, None}


def test_a_stream_is_not_taken_over_by_another_user(
    closed: tuple[Stage, Http], ada: Http, bob: Http
) -> None:
    stage, _ = closed
    ada.join("feed", "t", session="same")
    with ada.stream("same") as stream, bob.stream("same"):
        stage.feeds["t"].put("x")
        stage.feeds["t"].put(None)
        assert stream.until("process_completed")["output"]["data"] == ["x"]


def test_state_is_each_users_own(ada: Http, bob: Http) -> None:
    for expected in (1, 2):
        assert ada.run("visits", session="state").json["data"] == [expected]
    assert bob.run("visits", session="state").json["data"] == [1]


def test_files_are_each_users_own(ada: Http, bob: Http, anybody: Http) -> None:
    (path,) = ada.upload(("a.txt", b"a secret")).json
    assert ada.get(f"{API}/file={path}").body == b"a secret"
    refused = bob.get(f"{API}/file={path}")
    assert refused.status == 403
    assert refused.body == bob.get(f"{API}/file={'0' * 32}/a.txt").body.replace(
        b"0" * 32, path.partition("/")[0].encode()
    )
    assert anybody.get(f"{API}/file={path}").status == 401
    wrong = bob.run("shout", {"path": path})
    assert wrong.status == 422
    assert "not allowed" in json.dumps(wrong.detail)
    (shouted,) = ada.run("shout", {"path": path}).json["data"]
    assert ada.get(f"{API}/file={shouted['path']}").body == b"A SECRET"
    assert bob.get(f"{API}/file={shouted['path']}").status == 403


def test_the_progress_of_uploads_is_each_users_own(
    ada: Http, bob: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ada.service.uploads, "_wait", 0.1)
    body = b'--x\r\ncontent-disposition: form-data; name="files"; filename="a"\r\n\r\n'
    connection = http.client.HTTPConnection(ada.host, ada.port, timeout=10)
    try:
        connection.putrequest("POST", f"{API}/upload?upload_id=same")
        for name, value in {
            **ada._headers,
            "Content-Type": "multipart/form-data; boundary=x",
            "Content-Length": str(len(body) + 100),
        }.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        progress = ada.open("GET", f"{API}/upload_progress?upload_id=same")
        response = progress.getresponse()
        assert response.status == 200
        assert bob.get(f"{API}/upload_progress?upload_id=same").status == 404
        response.close()
        progress.close()
    finally:
        connection.close()


def test_a_function_decides_who_may_come() -> None:
    asked: list[tuple[str, str]] = []

    async def check(user: str, password: str) -> bool:
        await asyncio.sleep(0)
        asked.append((user, password))
        return password == dict(USERS).get(user)

    with Stage(auth=check).serving() as http_:
        assert login(http_, "ada").get("/config").json["username"] == "ada"
        assert asked == [("ada", "one")]
