"""The load that servers are measured with; the same for each, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import psutil  # type: ignore[import-untyped]
import uvloop
from http_wire import Burst, Connection, Session, Target, fetch
from measuring import Stopwatch, Values, run

SENDERS = 32
"""Connections that jobs are sent on; at most one request is under way on each."""

CROWD = 256
"""The same where so many jobs are queued that how long it takes is not to be waited for."""

RESTART_LIMIT = 120.0
"""Seconds in which a server has to come back."""

READ_LIMIT = 600.0
"""Seconds in which all that was missed has to have come, however many jobs are still to be run."""


class Load(Stopwatch):
    """What a ``with`` block costs: wall time, CPU time here, CPU time of the server."""

    def __init__(self, server: psutil.Process) -> None:
        self._server = server

    def __enter__(self) -> Self:
        self._server_cpu = _cpu_seconds(self._server)
        return super().__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(exc_type, exc, traceback)
        self.server_seconds = _cpu_seconds(self._server) - self._server_cpu

    def shares(self) -> Values:
        return {
            "client_share": self.cpu_seconds / self.seconds,
            "server_share": self.server_seconds / self.seconds,
        }


def _tree(server: psutil.Process) -> list[psutil.Process]:
    return [server, *server.children(recursive=True)]


def _cpu_seconds(server: psutil.Process) -> float:
    times = [process.cpu_times() for process in _tree(server)]
    return float(sum(time.user + time.system for time in times))


def _rss(server: psutil.Process) -> int:
    return sum(int(process.memory_info().rss) for process in _tree(server))


async def _open(target: Target, count: int) -> list[Connection]:
    return [await target.connect() for _ in range(count)]


async def _open_sessions(target: Target, count: int) -> list[Session]:
    return [Session(target, connection) for connection in await _open(target, count)]


async def _call(target: Target, request: bytes) -> None:
    """Send a request on a connection of its own: one that waits is closed by servers."""
    connection = await target.connect()
    status, body = await fetch(connection, request)
    assert status == 200, body
    connection.close()


async def _echo(
    target: Target, server: psutil.Process, jobs: int, sessions: int, limit: float, *, gated: bool
) -> tuple[Burst, Load, Load | None]:
    """Run one burst of echo jobs.

    With ``gated``, a job of the same queue holds them until all are accepted, and the
    clock starts when it is let go; the third value is what it took to get there.
    """
    mine = await _open_sessions(target, sessions)
    senders = await _open(target, min(SENDERS, jobs))
    texts = [f"job {number}" for number in range(jobs)]
    burst = Burst(target, "echo", texts, texts, mine)
    joining = Load(server) if gated else None
    if joining is None:
        with Load(server) as load:
            burst.start(senders)
            await burst.wait(limit)
    else:
        await _call(target, target.join("gate", [], "warden"))
        with joining:
            burst.start(senders)
            await burst.sent()
        await asyncio.sleep(0.2)  # what the server says to accepted jobs is not measured
        assert burst.left == jobs, "jobs ended that were held"
        with Load(server) as load:
            opening = asyncio.create_task(_call(target, target.run("open_gate", [])))
            await burst.wait(limit)
        await opening
    for session in mine:
        await session.close()
    for connection in senders:
        connection.close()
    burst.check()
    return burst, load, joining


async def bursts(
    url: str, pid: int, sizes: list[list[int]], sessions: int, limit: float, gated: bool
) -> Values:
    """Echo jobs, ``size`` at once, each size some times over."""
    server, target = psutil.Process(pid), Target(url)
    await target.read_config()
    await _echo(target, server, 50, sessions, limit, gated=False)
    found: dict[int, Values] = {}
    lost: Counter[str] = Counter()
    for size, times in sizes:
        done = [
            await _echo(target, server, size, min(sessions, size), limit, gated=gated)
            for _ in range(times)
        ]
        ok = sum(burst.ok for burst, _, _ in done) or 1
        for burst, _, _ in done:
            lost += burst.lost
        found[size] = {
            "rate": statistics.median(burst.ok / load.seconds for burst, load, _ in done),
            "messages": sum(burst.message_count for burst, _, _ in done) / ok,
            "server_cpu": sum(load.server_seconds for _, load, _ in done) / ok,
            "client_share": statistics.median(load.shares()["client_share"] for _, load, _ in done),
            "join_rate": statistics.median(
                size / joining.seconds if joining is not None else 0.0 for _, _, joining in done
            ),
        }
    return {"sizes": found, "lost": dict(lost)}


async def latency(url: str, pid: int, calls: int, warm_up: int) -> Values:
    """One echo at a time, until it has completed, over a stream that is open or opened."""
    server, target = psutil.Process(pid), Target(url)
    await target.read_config()
    (session,) = await _open_sessions(target, 1)
    (sender,) = await _open(target, 1)
    texts = [f"call {number}" for number in range(warm_up + calls)]
    seconds = []
    lost: Counter[str] = Counter()
    with Load(server) as load:
        for text in texts:
            burst = Burst(target, "echo", [text], [text], [session])
            start = time.perf_counter()
            burst.start([sender])
            await burst.wait(30)
            seconds.append(time.perf_counter() - start)
            lost += burst.lost
    await session.settle()
    results = [
        message["output"].get("data")
        for message in session.messages()
        if message["msg"] == "process_completed"
    ]
    if results != [[text] for text in texts]:
        lost["wrong result"] += 1
    return {"seconds": seconds[warm_up:], "lost": dict(lost), **load.shares()}


async def generator(url: str, pid: int, outputs: int, limit: float) -> Values:
    """One job with many outputs, each of which is checked."""
    server, target = psutil.Process(pid), Target(url)
    await target.read_config()
    for number in (100, outputs):  # the first to warm up
        (session,) = await _open_sessions(target, 1)
        (sender,) = await _open(target, 1)
        burst = Burst(target, "count", [number], [str(number - 1)], [session])
        with Load(server) as load:
            burst.start([sender])
            await burst.wait(limit)
        await session.close()
        sender.close()
        burst.check()
    values = _outputs(session)
    right = sum(value == str(number) for number, value in enumerate(values))
    return {
        "rate": right / load.seconds,
        "delivered": right / outputs,
        "server_cpu": load.server_seconds / outputs,
        "lost": dict(burst.lost),
        **load.shares(),
    }


def _outputs(session: Session) -> list[Any]:
    """Return each output of the session's only job, with the edits applied."""
    values: list[Any] = []
    for message in session.messages():
        if message["msg"] == "process_generating":
            (value,) = message["output"]["data"]
            if values:
                value = _edited(values[-1], value)
            values.append(value)
    return values


def _edited(value: str, edits: list[tuple[str, list[Any], str]]) -> str:
    for action, path, new in edits:
        assert not path, path
        value = value + new if action == "append" else new
    return value


async def idle(url: str, pid: int, seconds: float, waiting: int) -> Values:
    """What the server does while nothing happens, with some sessions waiting for it."""
    server, target = psutil.Process(pid), Target(url)
    await target.read_config()
    await _echo(target, server, 50, 1, 30, gated=False)
    sessions = await _open_sessions(target, waiting)
    if waiting:
        await _call(target, target.join("gate", [], "warden"))
        (sender,) = await _open(target, 1)
        texts = [f"job {number}" for number in range(waiting)]
        Burst(target, "echo", texts, texts, sessions).start([sender])
    await asyncio.sleep(3)
    with Load(server) as load:
        await asyncio.sleep(seconds)
    return load.shares()


async def memory(
    url: str,
    pid: int,
    jobs: int,
    burst: int,
    sessions: int,
    limit: float,
    store: str,
    result_ttl: float,
    later: int,
) -> Values:
    """The server's resident memory, and the size of its store, as jobs go by, in bursts, each
    with new sessions; and again when all of them have been forgotten and others went by."""
    server, target = psutil.Process(pid), Target(url)
    await target.read_config()
    rss, sizes = [], []
    lost: Counter[str] = Counter()

    async def run(count: int) -> None:
        for _ in range(count // burst):
            done, _, _ = await _echo(target, server, burst, sessions, limit, gated=False)
            lost.update(done.lost)
            rss.append(_rss(server))
            sizes.append(_store_size(store))

    start = time.perf_counter()
    await run(jobs)
    seconds = time.perf_counter() - start
    seen = {"rss": rss[:], "sizes": sizes[:]}
    await asyncio.sleep(result_ttl + 2)
    await run(later)
    return {
        **seen,
        "later_rss": rss[-1],
        "later_size": sizes[-1],
        "jobs": jobs,
        "seconds": seconds,
        "lost": dict(lost),
    }


def _store_size(store: str) -> int:
    """Return the bytes of a store, its logs and notes; 0 if there is none."""
    path = Path(store)
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*") if file.is_file())


async def resume(
    url: str,
    pid: int,
    jobs: int,
    outputs: int,
    times: int,
    server: dict[str, Any] | None = None,
) -> Values:
    """A stream that missed all that some jobs told, and comes back, a few times over.

    With ``server``, it is killed first and started again, so that nothing is in its memory.
    """
    target = Target(url)
    await target.read_config()
    session = uuid.uuid4().hex
    name, value = ("count", outputs) if outputs else ("echo", "text")
    senders = await _open(target, min(SENDERS, jobs))
    accepted = await _send(senders, [target.join(name, [value], session)] * jobs)
    await _all_ended(senders, target, accepted)
    async with _started_again(server, pid, target) as again:
        first, rates, events = [], [], 0
        with Load(psutil.Process(again.pid)) as load:
            for _ in range(times):
                start = time.perf_counter()
                reader = await _read(target, f"{session}&after=0")
                first.append(reader.first - start)
                rates.append(reader.events / (reader.last - start))
                events += reader.events
    return {
        "first": statistics.median(first),
        "rate": statistics.median(rates),
        "delivered": events / (times * jobs * (outputs + 2)),
        "server_cpu": load.server_seconds / events,
        **load.shares(),
    }


async def restart(url: str, pid: int, jobs: int, store: str, server: dict[str, Any]) -> Values:
    """A server that is killed with many jobs waiting, until a new job on the next one has
    ended; then, whether all of the others end, too."""
    target = Target(url)
    await target.read_config()
    await _call(target, target.join("gate", [], "warden"))
    senders = await _open(target, CROWD)
    with Load(psutil.Process(pid)) as joining:
        await _send(
            senders, [target.join("echo", [f"job {number}"], "crowd") for number in range(jobs)]
        )
    size = _store_size(store)
    async with _started_again(server, pid, target) as again:
        (session,) = await _open_sessions(target, 1)
        burst = Burst(target, "echo", ["new"], ["new"], [session])
        burst.start(await _open(target, 1))
        await burst.wait(RESTART_LIMIT)
        answered = time.perf_counter()
        process = psutil.Process(again.pid)
        cpu, rss = _cpu_seconds(process), _rss(process)
        await session.close()
        burst.check()
        left = await _read(target, "crowd&after=0")
    return {
        "join_rate": jobs / joining.seconds,
        "ready": again.ready - again.start,
        "restart": answered - again.start,
        "server_cpu": cpu,
        "rss": rss,
        "ended": left.completed / jobs,
        "size": size,
        "lost": dict(burst.lost),
    }


async def _send(senders: Sequence[Connection], requests: Sequence[bytes]) -> list[str]:
    """Have jobs accepted; return their ids."""
    left = iter(requests)
    accepted: list[str] = []

    async def send(connection: Connection) -> None:
        for request in left:
            status, body = await fetch(connection, request)
            assert status == 200, body
            accepted.append(json.loads(body)["event_id"])

    await asyncio.gather(*map(send, senders))
    return accepted


async def _all_ended(senders: Sequence[Connection], target: Target, jobs: Sequence[str]) -> None:
    left = iter(jobs)

    async def ask(connection: Connection) -> None:
        for job in left:
            request = target.get(f"/gradio_api/jobs/{job}")
            while True:
                _, body = await fetch(connection, request)
                if b'"completed"' in body:
                    break
                await asyncio.sleep(0.01)

    await asyncio.gather(*map(ask, senders))


class _Reader:
    """Counts the events of a stream as they come, and does nothing else with them."""

    def __init__(self) -> None:
        self.events = 0
        self.completed = 0
        self.first = self.last = 0.0
        self.ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._rest = b""

    def receive(self, data: bytes) -> None:
        self.last = time.perf_counter()
        self.first = self.first or self.last
        # What is cut, as chunks are anywhere, is counted with what follows.
        data = self._rest + data
        end = data.rfind(b"\n\n") + 2
        if end < 2:
            end = 0
        self.events += data.count(b'"seq":', 0, end)
        self.completed += data.count(b'"process_completed"', 0, end)
        self._rest = data[end:]


async def _read(target: Target, session: str) -> _Reader:
    """Read a session's stream to its end."""
    reader = _Reader()
    connection = await target.connect()
    connection.send(target.stream(session), reader.receive, reader.ended.set_result)
    status = await asyncio.wait_for(reader.ended, READ_LIMIT)
    assert status == 200, status
    connection.close()
    return reader


class _Again(NamedTuple):
    """A server that was started again: its process, when that was, and when it answered."""

    pid: int
    start: float
    ready: float


@contextlib.asynccontextmanager
async def _started_again(
    server: dict[str, Any] | None, pid: int, target: Target
) -> AsyncIterator[_Again]:
    """Kill a server and start it again; without ``server``, leave it as it is."""
    if server is None:
        now = time.perf_counter()
        yield _Again(pid, now, now)
        return
    os.kill(pid, signal.SIGKILL)
    start = time.perf_counter()
    again = subprocess.Popen(  # noqa: ASYNC220
        server["command"],
        cwd=server["folder"],
        env=os.environ | server["environment"],
        stderr=subprocess.DEVNULL,
    )
    try:
        while not await _answers(target, "/health"):
            assert again.poll() is None, "the server ended"
            assert time.perf_counter() - start < RESTART_LIMIT, "the server does not come back"
            await asyncio.sleep(0.01)
        yield _Again(again.pid, start, time.perf_counter())
    finally:
        again.kill()
        again.wait()


async def _answers(target: Target, path: str) -> bool:
    try:
        connection = await target.connect()
    except OSError:
        return False
    status, _ = await fetch(connection, target.get(path))
    connection.close()
    return status == 200


async def plain(url: str, pid: int, path: str, field: str, calls: int, connections: int) -> Values:
    """The plain request, JSON in and out, on connections that are kept."""
    server, target = psutil.Process(pid), Target(url)
    texts = [f"call {number}" for number in range(calls)]
    values = [{field: [text] if field == "data" else text} for text in texts]
    requests = iter(
        [(text, target.post(path, value)) for text, value in zip(texts, values, strict=True)]
    )
    seconds: list[float] = []
    lost: Counter[str] = Counter()

    async def send(connection: Connection) -> None:
        for text, request in requests:
            start = time.perf_counter()
            status, body = await fetch(connection, request)
            seconds.append(time.perf_counter() - start)
            if status != 200:
                lost[f"status {status}"] += 1
            elif f'"{text}"'.encode() not in body:
                lost["wrong result"] += 1

    senders = await _open(target, connections)
    for _ in range(50):
        await fetch(senders[0], target.post(path, values[0]))
    with Load(server) as load:
        await asyncio.gather(*map(send, senders))
    ok = calls - sum(lost.values())
    return {
        "seconds": seconds,
        "rate": ok / load.seconds,
        "server_cpu": load.server_seconds / calls,
        "lost": dict(lost),
        **load.shares(),
    }


if __name__ == "__main__":
    uvloop.install()
    run(bursts, latency, generator, idle, memory, resume, restart, plain)
