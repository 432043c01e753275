"""The load that servers are measured with; the same for each, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import time
import uuid
from collections import Counter
from types import TracebackType
from typing import Any, Self

import psutil  # type: ignore[import-untyped]
import uvloop
from http_wire import Burst, Connection, Session, Target, fetch
from measuring import Stopwatch, Values, run

SENDERS = 32
"""Connections that jobs are sent on; at most one request is under way on each."""


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


async def memory(url: str, pid: int, jobs: int, burst: int, sessions: int, limit: float) -> Values:
    """The server's resident memory as jobs go by, in bursts, each with new sessions."""
    server, target = psutil.Process(pid), Target(url)
    await target.read_config()
    rss = []
    lost: Counter[str] = Counter()
    start = time.perf_counter()
    for _ in range(jobs // burst):
        done, _, _ = await _echo(target, server, burst, sessions, limit, gated=False)
        lost += done.lost
        rss.append(_rss(server))
    return {"rss": rss, "jobs": jobs, "seconds": time.perf_counter() - start, "lost": dict(lost)}


async def resume(url: str, pid: int, outputs: int) -> Values:
    """A stream that missed all outputs of a job: until the first is there, and from then on."""
    target = Target(url)
    await target.read_config()
    session, sender = uuid.uuid4().hex, await target.connect()
    _, body = await fetch(sender, target.join("count", [outputs], session))
    job = json.loads(body)["event_id"]
    while b'"completed"' not in body:
        _, body = await fetch(sender, target.get(f"/gradio_api/jobs/{job}"))
        await asyncio.sleep(0.05)
    reader = await target.connect()
    path = f"/gradio_api/queue/data?session_hash={session}&after=0"
    parts: list[bytes] = []
    times: list[float] = []
    ended = asyncio.get_running_loop().create_future()

    def receive(data: bytes) -> None:
        parts.append(data)
        times.append(time.perf_counter())

    start = time.perf_counter()
    reader.send(target.get(path), receive, ended.set_result)
    await asyncio.wait_for(ended, 60)
    events = b"".join(parts).count(b'"seq":')
    return {
        "first": times[0] - start,
        "rate": events / (times[-1] - start),
        "delivered": events / (outputs + 2),
    }


async def restart(
    url: str, pid: int, jobs: int, command: list[str], folder: str, ready: str
) -> Values:
    """A server that is killed with many jobs waiting, until it answers again, and runs them."""
    target = Target(url)
    await target.read_config()
    await _call(target, target.join("gate", [], "warden"))
    texts = [f"job {number}" for number in range(jobs)]
    senders = await _open(target, 64)
    requests = iter([target.join("echo", [text], "crowd") for text in texts])

    async def send(connection: Connection) -> None:
        for request in requests:
            status, body = await fetch(connection, request)
            assert status == 200, body

    await asyncio.gather(*map(send, senders))
    store = os.path.join(folder, command[-1].removeprefix("sqlite:").partition("?")[0])
    size = os.stat(store).st_size
    os.kill(pid, signal.SIGKILL)
    start = time.perf_counter()
    again = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
    try:
        while True:
            try:
                connection = await target.connect()
                status, _ = await fetch(connection, target.get(ready))
                connection.close()
                if status == 200:
                    break
            except OSError:
                pass
            assert time.perf_counter() - start < 60
            await asyncio.sleep(0.01)
        seconds = time.perf_counter() - start
        rss = psutil.Process(again.pid).memory_info().rss
        connection = await target.connect()
        _, body = await fetch(connection, target.get("/gradio_api/queue/status"))
        waiting = json.loads(body)["queue_size"]
        return {"restart": seconds, "rss": rss, "waiting": waiting, "size": size}
    finally:
        again.kill()
        again.wait()


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
