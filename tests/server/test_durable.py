"""What a server does with a store that outlives it, and with one that it cannot use."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from jobwire.exceptions import QueueFullError
from jobwire.server.stores.base import JobNotFoundError, StoreError, Ticket
from jobwire.server.stores.journal import VERSION, Batch
from jobwire.server.stores.sqlite import SqliteStore, marks_of
from server.conftest import TESTS, Serving
from server.http_app import API, Http, eventually

PROGRAM = [sys.executable, "-m", "jobwire"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger"))
    return tmp_path / "jobs.db"


def ran(store: Path) -> list[str]:
    return store.with_name("ledger").read_text().split()


@contextlib.contextmanager
def durable(store: Path, *options: str, app: str = "apps.durable:app") -> Iterator[Serving]:
    serving = Serving(app, "--no-access-log", "--store", f"sqlite:{store}", *options)
    try:
        serving.wait_until_ready()
        yield serving
    finally:
        serving.kill()


def outcome(http_: Http, id: str) -> tuple[str, Any]:
    """Wait for a job's end; give what the simple API says of it."""
    with http_.follow("job", id) as stream:
        return stream.events()[-1]


# -- restarts ---------------------------------------------------------------------------


def test_queued_jobs_run_in_order_after_a_crash(store: Path) -> None:
    with durable(store) as serving:
        http_ = Http(serving.url)
        first = http_.call("hold", "first")
        eventually(lambda: ran(store) == ["first"])
        ids = [http_.join("behind", f"{who}{n}", session=who) for who in "abc" for n in range(3)]
    with durable(store) as serving:
        http_ = Http(serving.url)
        kind, error = outcome(http_, first)
        assert (kind, error["title"], error["retryable"]) == ("error", "Interrupted", True)
        for id in ids:
            assert outcome(http_, id)[0] == "complete"
        assert ran(store) == [
            "first", "a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"
        ]  # fmt: skip
    with durable(store) as serving:  # and what has ended is left alone
        assert outcome(Http(serving.url), ids[0]) == ("complete", ["a0"])
        assert len(ran(store)) == 10


def test_job_that_is_to_be_run_again_is_and_tells_changes_of_what_it_told(store: Path) -> None:
    with durable(store) as serving:
        http_ = Http(serving.url)
        id = http_.join("recount", "t", 4, 0.2)
        with http_.stream() as stream:
            assert stream.until("process_generating")
    with durable(store) as serving:
        http_ = Http(serving.url)
        assert outcome(http_, id) == ("complete", ["3"])
        assert ran(store) == ["t", "t"]
        with http_.follow("recount", id) as stream:
            given = [data for kind, data in stream.events() if kind == "generating"]
        assert given[-4:] == [["0"], ["1"], ["2"], ["3"]]


def test_waiting_job_is_cancelled_after_a_crash(store: Path) -> None:
    with durable(store) as serving:
        http_ = Http(serving.url)
        http_.call("hold", "first")
        id = http_.call("behind", "x")
    with durable(store) as serving:
        http_ = Http(serving.url)
        http_.call("hold", "second")
        http_.post(f"/jobs/{id}/cancel", {})
        assert outcome(http_, id)[0] in ("complete",)
    assert ran(store)[0] == "first"


def test_job_of_an_endpoint_that_is_no_more_fails(store: Path) -> None:
    with durable(store) as serving:
        http_ = Http(serving.url)
        http_.call("hold", "first")
        id = http_.call("behind", "x")
    with durable(store, app="server.tools_app:app") as serving:
        kind, error = outcome(Http(serving.url), id)
        assert (kind, error["title"]) == ("error", "Gone")


def test_files_outlive_a_crash(store: Path) -> None:
    with durable(store, app="apps.served:app") as serving:
        http_ = Http(serving.url)
        (path,) = http_.upload(("said.txt", b"quietly")).json
        id = http_.call("shout", {"path": path, "meta": {"_type": "gradio.FileData"}})
        kind, (given,) = outcome(http_, id)
        assert kind == "complete"
        lost = store.with_name("jobs.db-files") / "lost"
        lost.mkdir()
    with durable(store, app="apps.served:app") as serving:
        http_ = Http(serving.url)
        for each, content in ((given["path"], b"QUIETLY"), (path, b"quietly")):
            assert http_.get(f"{API}/file={quote(each)}").body == content
        assert not lost.exists()
        again = http_.call("shout", {"path": path, "meta": {"_type": "gradio.FileData"}})
        assert outcome(http_, again)[0] == "complete"


def test_sessions_are_told_of_their_jobs_after_a_crash_without_a_number(store: Path) -> None:
    with durable(store) as serving:
        http_ = Http(serving.url)
        http_.call("hold", "first")
        id = http_.join("behind", "x")
    with durable(store) as serving:
        with Http(serving.url).stream("s") as stream:
            told = stream.until("process_completed")
        assert (told["event_id"], told["output"]["data"]) == (id, ["x"])


# -- the end ----------------------------------------------------------------------------


def test_server_that_is_stopped_lets_jobs_end_and_takes_no_more(store: Path) -> None:
    with durable(store, "--grace", "20") as serving:
        http_ = Http(serving.url)
        running = http_.call("hold", "running", 1.0)
        waiting = http_.call("behind", "waiting")
        with http_.follow("hold", running) as stream:
            eventually(lambda: "running" in ran(store))
            serving.process.send_signal(signal.SIGTERM)
            eventually(lambda: http_.get("/health").status == 503)
            refused = http_.post("/call/once", {"data": ["x"]})
            assert refused.status == 503
            assert refused.headers["retry-after"]
            assert stream.events() == [("complete", ["running"])]
        assert serving.process.wait(10) == 0
    assert ran(store) == ["running"]
    with durable(store) as serving:
        assert outcome(Http(serving.url), waiting) == ("complete", ["waiting"])


def test_streams_are_told_that_the_server_stops(store: Path) -> None:
    with durable(store, "--grace", "0") as serving:
        http_ = Http(serving.url)
        id = http_.join("hold", "t")
        path = f"{API}/queue/data?session_hash=s&after=0"
        with contextlib.closing(http_.open("GET", path)) as connection:
            eventually(lambda: "t" in ran(store))
            serving.process.send_signal(signal.SIGTERM)
            body = connection.getresponse().read()
        assert b'"server_stopping"' in body
        assert b"process_completed" not in body
        assert serving.process.wait(10) == 0
    with durable(store) as serving:
        assert outcome(Http(serving.url), id)[1]["retryable"] is True


# -- stores that cannot be used -------------------------------------------------------------


def refused(store: object, **options: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [*PROGRAM, "serve", "apps.durable:app", "--port", "0", "--store", f"sqlite:{store}"],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=30,
        **options,
    )
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    return done.stderr


def make_store(path: Path) -> None:
    store = SqliteStore(path, result_ttl=60, max_log_size=1000)
    store.open(lambda news, last: None, {})
    store.close()


def test_store_of_another_server_is_refused(store: Path) -> None:
    with durable(store):
        assert "another server has" in refused(store)


def test_store_of_a_later_version_is_refused(store: Path) -> None:
    make_store(store)
    with contextlib.closing(sqlite3.connect(store)) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    assert "a later version of jobwire" in refused(store)


def test_other_databases_and_other_files_are_refused(store: Path) -> None:
    with contextlib.closing(sqlite3.connect(store)) as database:
        database.execute("CREATE TABLE mine (x)")
    assert "no store of jobwire" in refused(store)
    store.write_bytes(b"it is a text " * 1000)
    assert "is damaged, or no store" in refused(store)


def test_damaged_store_is_refused(store: Path) -> None:
    make_store(store)
    whole = store.read_bytes()
    store.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    assert "cannot be" in refused(store)


def test_store_that_cannot_be_made_is_refused(store: Path) -> None:
    assert "No such file or directory" in refused(store.parent / "nowhere" / "jobs.db")
    store.mkdir()
    assert "cannot be" in refused(store)


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user")
def test_store_that_may_not_be_written_is_refused(store: Path) -> None:
    make_store(store)
    marks_of(store).chmod(0o666)
    store.chmod(0o444)
    with pytest.raises(StoreError, match="cannot be used: Permission denied"):
        as_nobody(store)


def as_nobody(path: Path) -> None:
    """Open a store as a user who may only read it."""
    os.seteuid(65534)
    try:
        store = SqliteStore(path, result_ttl=60, max_log_size=1000)
        store.open(lambda news, last: None, {})
        store.close()
    finally:
        os.seteuid(0)


# -- a full disk ------------------------------------------------------------------------------


def test_full_disk_refuses_jobs_and_loses_none(store: Path) -> None:
    """A limit of the kernel's on the size of files stands for the disk."""
    with durable(store) as serving:
        http_ = Http(serving.url)
        http_.call("hold", "first")
        pid = serving.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (2_000_000, hard))
        accepted = []
        answer = http_.post("/call/behind", {"data": ["x" * 100_000]})
        while answer.status == 200:
            accepted.append(answer.json["event_id"])
            assert len(accepted) < 100
            answer = http_.post("/call/behind", {"data": ["x" * 100_000]})
        assert answer.status == 503
        assert answer.headers["retry-after"]
        assert "cannot keep the job" in answer.detail
        assert http_.get("/health").status == 200
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
        accepted.append(http_.call("behind", "small"))
    with durable(store) as serving:
        http_ = Http(serving.url)
        for id in accepted:
            assert outcome(http_, id)[0] == "complete"
        assert len(ran(store)) == 1 + len(accepted)


async def test_what_was_done_while_the_disk_was_full_is_kept_for_later(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db", result_ttl=60, max_log_size=10_000_000)
    store.open(lambda news, last: None, {})
    try:
        await store.enqueue(Ticket("a", "f", b"", "line"), max_waiting=None)
        store.claim("line")
        assert store._journal is not None
        writer = store._journal._writer
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count = {pages + 1}")
        for number in range(20):
            store.append("a", b"%d" % number + b"x" * 10_000)
        with pytest.raises(StoreError, match="full"):
            await store.enqueue(Ticket("b", "f", b"x" * 10_000, "line"), max_waiting=None)
        assert store.waiting() == 0
        writer.execute("PRAGMA max_page_count = 1000000")
        await store.enqueue(Ticket("c", "f", b"", "line"), max_waiting=None)
        store.flush()
        assert len(store.read("a").events) == 20
    finally:
        store.close()


# -- the store by itself ------------------------------------------------------------------------


def open_store(path: Path, **options: Any) -> SqliteStore:
    store = SqliteStore(path, **{"result_ttl": 60, "max_log_size": 1_000_000, **options})
    store.open(lambda news, last: None, {})
    return store


async def test_what_is_forgotten_as_soon_as_it_is_written_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobwire.server.stores.sqlite.CACHE_COUNT", 1)
    store = open_store(tmp_path / "jobs.db", result_ttl=0)
    try:
        assert store._journal is not None
        write = store._journal.write

        def write_and_expire(batch: Batch) -> None:
            write(batch)
            if batch.ended:
                store.expire()

        monkeypatch.setattr(store._journal, "write", write_and_expire)
        for id in "abc":
            await store.enqueue(Ticket(id, "f", b"[1]", "line"), max_waiting=None)
            store.claim("line")
            store.finish(id, b"{}")
            await asyncio.to_thread(store.flush)
        assert not store._cached
        assert store._cached_size == 0
    finally:
        await asyncio.wait_for(asyncio.to_thread(store.close), 5)


async def test_what_was_claimed_counts_as_started_at_once(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = open_store(path)
    for id in "abc":
        await store.enqueue(Ticket(id, "f", b"[1]", "line"), max_waiting=None)
    store.flush()
    copied = tmp_path / "copied.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # the store cannot write meanwhile
        store.claim("line")
        for end in ("", "-wal", "-run"):  # as a crash would leave it
            shutil.copy(f"{path}{end}", f"{copied}{end}")
        other.execute("ROLLBACK")
    store.close()
    store = open_store(copied)
    try:
        assert [ticket.id for ticket in store.interrupted()] == ["a"]
        assert [t.id for t in store.claim("line")] == ["b"]
    finally:
        store.close()


async def test_large_arguments_are_read_when_they_are_needed(tmp_path: Path) -> None:
    data = b'["' + b"x" * 100_000 + b'"]'
    store = open_store(tmp_path / "jobs.db")
    await store.enqueue(Ticket("a", "f", data, "line"), max_waiting=None)
    store.close()
    store = open_store(tmp_path / "jobs.db")
    (ticket,) = store.claim("line")
    assert ticket.data == data
    store.close()


async def test_oldest_results_make_room(tmp_path: Path) -> None:
    store = open_store(tmp_path / "jobs.db", max_size=1000)
    for id in "ab":
        await store.enqueue(Ticket(id, "f", b"", "line"), max_waiting=None)
        store.finish(id, b"x" * 400)
    store.flush()
    await store.enqueue(Ticket("c", "f", b"x" * 400, "line"), max_waiting=None)
    assert store.expire()[0] == ["a"]
    with pytest.raises(QueueFullError, match="Max size is 1000 bytes"):
        await store.enqueue(Ticket("d", "f", b"x" * 900, "line"), max_waiting=None)
    store.close()


async def test_long_log_leaves_memory_and_is_read_all_the_same(tmp_path: Path) -> None:
    store = open_store(tmp_path / "jobs.db", max_log_size=10_000_000)
    await store.enqueue(Ticket("a", "f", b"", "line"), max_waiting=None)
    events = [b"%06d" % number + b"x" * 1000 for number in range(4000)]
    for number, event in enumerate(events):
        store.append("a", event)
        if number % 500 == 0:
            store.flush()
    store.flush()
    assert store._entries["a"].tail.held < 2_000_000
    read: list[bytes] = []
    after = 0
    while piece := store.read("a", after).events:
        read += piece
        after = store.read("a", after).numbers[-1]
    assert read == events
    store.close()


async def test_logs_of_a_session_are_read_together(tmp_path: Path) -> None:
    ids = [f"{number}" for number in range(300)]
    store = open_store(tmp_path / "jobs.db", result_ttl=600)
    for id in ids:
        large = 1000 if id == "7" else 1  # than what is read together
        session = None if id == "9" else f"{int(id) % 2}"
        await store.enqueue(Ticket(id, "f", b"", "line", session=session), max_waiting=None)
        for event in (b"first", b"second" * 50 * large):
            store.append(id, event + b" of " + id.encode())
        store.finish(id, b"end")
    store.flush()
    logs = {id: store.read(id, max_size=10**6) for id in ids}
    pieces = {id: store.read(id, log.numbers[0], until=log.numbers[1]) for id, log in logs.items()}
    store.close()

    store = open_store(tmp_path / "jobs.db", result_ttl=600)
    assert store._journal is not None
    statements: list[str] = []
    store._journal._reader.set_trace_callback(statements.append)
    assert {id: store.read(id, max_size=10**6) for id in ids[::2]} == {
        id: logs[id] for id in ids[::2]
    }
    assert len(statements) < 10
    assert {id: store.read(id, max_size=10**6) for id in ids} == logs
    for id, log in logs.items():
        assert store.read(id, log.numbers[0], until=log.numbers[1]) == pieces[id]
    assert store.read("20") == logs["20"]
    assert store.forget("22")
    for _ in range(2):
        assert store.read("20") == logs["20"]
        with pytest.raises(JobNotFoundError):
            store.read("22")
        store.flush()
    store.close()


async def test_what_cannot_be_read_is_an_error_of_the_store(tmp_path: Path) -> None:
    store = open_store(tmp_path / "jobs.db")
    assert store._journal is not None
    store._journal._writer.execute("DROP TABLE jobs")
    for read in (store.ticket, store.read, store.outcome):
        with pytest.raises(StoreError, match="cannot be read: no such table"):
            read("unknown")
    store.close()


async def test_keys_are_known_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        store = open_store(tmp_path / "jobs.db")
        ids = [
            await store.enqueue(Ticket(id, "f", b"[1]", "line", key="k"), max_waiting=None)
            for id in ("a", "b")
        ]
        assert ids == ["a", "a"]
        assert store.waiting() == 1
        store.close()


async def test_callers_with_one_key_wait_for_the_same_commit(tmp_path: Path) -> None:
    store = open_store(tmp_path / "jobs.db")
    ids = await asyncio.gather(
        *(
            store.enqueue(Ticket(f"{n}", "f", b"", "line", key="k"), max_waiting=None)
            for n in range(5)
        )
    )
    assert ids == ["0"] * 5
    store.close()


# -- the command line -------------------------------------------------------------------------


def jobwire(*arguments: str) -> str:
    done = subprocess.run(
        [*PROGRAM, "jobs", *arguments], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done
    return done.stdout


@pytest.mark.timeout(180)  # it starts a dozen programs
def test_jobs_of_a_store_and_of_a_server(store: Path, tmp_path: Path) -> None:
    place = f"sqlite:{store}"
    with durable(store) as serving:
        http_ = Http(serving.url)
        done, held, waiting = (
            http_.call("count", "t", 3),
            http_.call("hold", "h"),
            http_.call("behind", "w"),
        )
        outcome(http_, done)
        eventually(lambda: "h" in ran(store))
        listed = json.loads(jobwire("list", place, "--json"))
        assert [(job["event_id"], job["status"]) for job in listed] == [
            (waiting, "waiting"), (held, "running"), (done, "completed")
        ]  # fmt: skip
        for where in (place, serving.url):
            assert json.loads(jobwire("show", where, done))["status"] == "completed"
            lines = [json.loads(line) for line in jobwire("follow", where, done).splitlines()]
            assert [line["msg"] for line in lines] == [
                "process_starts", *["process_generating"] * 3, "process_completed"
            ]  # fmt: skip
        refusal = subprocess.run(
            [*PROGRAM, "jobs", "cancel", place, waiting], capture_output=True, text=True
        )
        assert refusal.returncode == 2
        assert "name its address" in refusal.stderr
        assert jobwire("cancel", serving.url, waiting) == "removed\n"
        copy = tmp_path / "copy.db"
        jobwire("backup", place, str(copy))
    assert jobwire("cancel", place, held) == "cancelled\n"
    time.sleep(0.01)
    assert jobwire("purge", place) == "forgot 3 jobs\n"
    assert json.loads(jobwire("list", place, "--json")) == []
    with durable(copy) as serving:  # as it was
        http_ = Http(serving.url)
        assert http_.get(f"{API}/jobs/{done}").json["status"] == "completed"
        assert outcome(http_, held)[1]["retryable"] is True
