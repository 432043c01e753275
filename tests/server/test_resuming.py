"""Streams that are taken up again, jobs that are asked for by their id, calls that are repeated."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.http_app import API, Http, Stage, Stream, eventually

STORES = ["memory:", "sqlite"]


@pytest.fixture(params=STORES)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    store = request.param if request.param == "memory:" else f"sqlite:{tmp_path / 'jobs.db'}"
    return Stage(store=store)


@pytest.fixture
def http_(stage: Stage) -> Iterator[Http]:
    with stage.serving() as http_:
        yield http_


def resume(http_: Http, after: int, path: str | None = None, **headers: str) -> Stream:
    path = path or f"/queue/data?session_hash={http_.session}"
    mark = "&" if "?" in path else "?"
    return Stream(http_.open("GET", f"{API}{path}{mark}after={after}", headers=headers))


def numbered(messages: list[Any]) -> list[Any]:
    return [message for message in messages if "seq" in message]


def test_events_are_numbered_and_told_from_any_number_on(stage: Stage, http_: Http) -> None:
    ids = [http_.join("grow", 5), http_.join("echo", "x")]
    with http_.stream() as stream:
        whole = numbered(stream.messages())
    numbers = [message["seq"] for message in whole]
    assert numbers == sorted(set(numbers))
    assert {message["event_id"] for message in whole} == set(ids)
    for index, after in enumerate([0, *numbers]):
        with resume(http_, after) as stream:
            messages = stream.messages()
        assert numbered(messages) == whole[index:]
        assert messages[-1]["msg"] == "close_stream"


def test_a_cut_stream_goes_on_where_it_stopped(stage: Stage, http_: Http) -> None:
    http_.join("feed", "t")
    seen: list[Any] = []
    for text in ("a", "ab", "abc", None):
        stage.feeds["t"].put(text)
        stream = resume(http_, seen[-1]["seq"] if seen else 0)
        seen.append(stream.message())
        if not text:
            seen += numbered(stream.messages())
            stream.close()
        else:
            stream.reset()
    kinds = [message["msg"] for message in seen]
    assert kinds == ["process_starts", *["process_generating"] * 3, "process_completed"]


def test_an_outcome_that_was_not_read_can_be_had_later(http_: Http) -> None:
    http_.join("echo", "x")
    with http_.stream() as stream:
        starts, completed, _ = stream.messages()
    eventually(lambda: not http_.service.channels.get(http_.session, None))
    with resume(http_, starts["seq"]) as stream:
        assert numbered(stream.messages()) == [completed]


def test_browsers_come_back_with_a_header(http_: Http) -> None:
    http_.join("grow", 3)
    path = f"{API}/queue/data?session_hash={http_.session}&after=0"
    blocks = http_.ask("GET", path).body.split(b"\n\n")
    for block in blocks[:-2]:
        id, data = block.split(b"\n")
        assert int(id.removeprefix(b"id: ")) == json.loads(data.removeprefix(b"data: "))["seq"]
    third = blocks[2].split(b"\n")[0].removeprefix(b"id: ")
    again = http_.ask("GET", path, headers={"last-event-id": third.decode()})
    assert again.body.split(b"\n\n") == blocks[3:]


def test_streams_without_a_number_have_no_id_lines(http_: Http) -> None:
    http_.join("echo", "x")
    body = http_.ask("GET", f"{API}/queue/data?session_hash={http_.session}").body
    assert b"\nid:" not in b"\n" + body


def test_nonsense_for_a_number_is_none(http_: Http) -> None:
    http_.join("echo", "x")
    for number in ("", "x", "-1", "1" * 30, "\xb2"):
        path = f"{API}/queue/data?session_hash={http_.session}"
        body = http_.ask("GET", path, headers={"last-event-id": number}).body
        assert b"id:" not in body


def test_a_call_is_resumed_by_its_id(http_: Http) -> None:
    id = http_.call("grow", 4)
    path = f"{API}/call/grow/{id}"
    blocks = http_.ask("GET", f"{path}?after=0").body.split(b"\n\n")
    assert [block.split(b"\n")[0] for block in blocks[:-1]] == [
        *[b"event: generating"] * 4,
        b"event: complete",
    ]
    second = blocks[1].split(b"\n")[1].removeprefix(b"id: ").decode()
    assert http_.ask("GET", f"{path}?after={second}").body.split(b"\n\n") == blocks[2:]
    assert (
        http_.ask("GET", path, headers={"last-event-id": second}).body.split(b"\n\n") == blocks[2:]
    )
    assert b"id: " not in http_.ask("GET", path).body


def test_a_job_by_its_id(stage: Stage, http_: Http) -> None:
    first, second = http_.join("hold", "1"), http_.join("hold", "2")
    assert stage.started["1"].wait(10)
    assert http_.get(f"{API}/jobs/{first}").json["status"] == "running"
    waiting = http_.get(f"{API}/jobs/{second}").json
    assert (waiting["status"], waiting["rank"], waiting["queue_size"]) == ("waiting", 0, 1)
    assert waiting["endpoint"] == "/hold"
    # Whoever was given one job must not be able to read the others of its session.
    assert "session_hash" not in waiting
    assert http_.ask("DELETE", f"{API}/jobs/{first}").status == 409
    assert http_.post(f"/jobs/{second}/cancel", {}).json == {"success": True, "outcome": "removed"}
    stage.gates["1"].set()
    with resume(http_, 0, f"/jobs/{first}/events") as stream:
        messages = stream.messages()
    kinds = [message["msg"] for message in messages]
    assert kinds == ["process_starts", "process_completed", "close_stream"]
    assert {message["event_id"] for message in numbered(messages)} == {first}
    assert http_.get(f"{API}/jobs/{first}").json["status"] == "completed"
    eventually(lambda: http_.get(f"{API}/jobs/{second}").json["status"] == "cancelled")
    assert http_.post(f"/jobs/{second}/cancel", {}).json["outcome"] == "ended"
    assert http_.ask("DELETE", f"{API}/jobs/{first}").json == {"success": True}
    for method in ("GET", "DELETE"):
        assert http_.ask(method, f"{API}/jobs/{first}").status == 404


def test_two_may_follow_a_job(stage: Stage, http_: Http) -> None:
    id = http_.join("feed", "t")
    with http_.stream() as session, resume(http_, 0, f"/jobs/{id}/events") as one:
        with resume(http_, 0, f"/jobs/{id}/events") as two:
            stage.feeds["t"].put("a")
            stage.feeds["t"].put(None)
            told = [numbered(stream.messages()) for stream in (session, one, two)]
    assert told[0] == told[1] == told[2]
    assert len(told[0]) == 3


def test_jobs_are_not_listed_without_logins(http_: Http) -> None:
    assert http_.get(f"{API}/jobs").status == 403


# -- idempotency ---------------------------------------------------------------------


def submit(http_: Http, key: str, name: str, *data: Any, session: str | None = None) -> Any:
    body = {"data": data, "fn_index": http_.index(name), "session_hash": session or http_.session}
    headers = {"idempotency-key": key, "content-type": "application/json"}
    return http_.ask("POST", f"{API}/queue/join", json.dumps(body).encode(), headers)


def test_a_call_with_the_same_key_is_the_same_job(stage: Stage, http_: Http) -> None:
    id = submit(http_, "key", "hold", "t").json["event_id"]
    assert submit(http_, "key", "hold", "t").json["event_id"] == id
    stage.gates["t"].set()
    with http_.stream() as stream:
        assert len(numbered(stream.messages())) == 2
    assert submit(http_, "key", "hold", "t").json["event_id"] == id  # after its end
    assert submit(http_, "another", "echo", "t").json["event_id"] != id
    assert submit(http_, "key", "hold", "t", session="other").json["event_id"] != id


def test_a_key_is_for_one_call(http_: Http) -> None:
    assert submit(http_, "key", "echo", "t").status == 200
    for name, text in (("echo", "u"), ("direct", "t")):
        answer = submit(http_, "key", name, text)
        assert answer.status == 422
        assert "Idempotency-Key" in answer.detail
    assert submit(http_, "", "echo", "t").status == 400
    assert submit(http_, "x" * 256, "echo", "t").status == 400


# -- abandonment ----------------------------------------------------------------------


def test_a_generator_that_nobody_listens_to_is_stopped() -> None:
    stage = Stage(abandon_after=0.1)
    with stage.serving() as http_:
        ids = [http_.join("feed", "joined"), http_.call("feed", "called")]
        kept = http_.join("feed", "heard")
        with resume(http_, 0, f"/jobs/{kept}/events") as stream:
            assert stream.until("process_starts")
            eventually(lambda: not http_.service.queue.jobs.keys() & set(ids))
            time.sleep(0.2)  # longer than it would have been kept
            assert kept in http_.service.queue.jobs
        eventually(lambda: kept not in http_.service.queue.jobs)
        for tag in ("joined", "called", "heard"):
            stage.feeds[tag].put("unwanted")
        eventually(lambda: sorted(stage.closed) == ["called", "heard", "joined"])


def test_an_endpoint_says_for_itself_when_it_is_abandoned() -> None:
    stage = Stage(abandon_after=None)

    @stage.app.endpoint(abandon_after=0.05)
    async def forever() -> None:
        import asyncio

        await asyncio.sleep(60)

    with stage.serving() as http_:
        id = http_.join("forever")
        eventually(lambda: id not in http_.service.queue.jobs)
        eventually(lambda: http_.get(f"{API}/jobs/{id}").json["status"] == "cancelled")
