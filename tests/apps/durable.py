"""Functions that write down that they run, in the file that LEDGER names."""

import asyncio
import os
import time
from collections.abc import Iterator

from jobwire import App, Session

app = App(title="Durable", grace=0.0)
ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(tag: str) -> None:
    os.write(ledger, f"{tag}\n".encode())


@app.endpoint(concurrency_limit=2)
def once(tag: str) -> str:
    note(tag)
    time.sleep(0.002)
    return tag


@app.endpoint(concurrency_limit=2, on_crash="retry", max_retries=1000)
def again(tag: str) -> str:
    note(tag)
    time.sleep(0.002)
    return tag


@app.endpoint(concurrency_limit=2)
def count(tag: str, n: int) -> Iterator[str]:
    note(tag)
    text = ""
    for number in range(n):
        text += f"{number} "
        yield text


@app.endpoint(concurrency_limit=2, on_crash="retry", max_retries=1000, abandon_after=None)
def recount(tag: str, n: int, delay: float = 0.0) -> Iterator[str]:
    note(tag)
    for number in range(n):
        time.sleep(delay)
        yield f"{number}"


@app.endpoint(concurrency_id="held", concurrency_limit=1)
def hold(tag: str, seconds: float = 60.0) -> str:
    note(tag)
    time.sleep(seconds)
    return tag


@app.endpoint(concurrency_id="held")
def behind(tag: str) -> str:
    note(tag)
    return tag


@app.endpoint(concurrency_id="held")
def visits(session: Session) -> int:
    session.state["visits"] = session.state.get("visits", 0) + 1
    return session.state["visits"]


@app.endpoint(concurrency_limit=8)
async def wait(tag: str, seconds: float = 60.0) -> str:
    note(f"{tag} begun")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        note(f"{tag} cancelled")
        raise
    return tag


guarded = App(title="Guarded", grace=0.0, auth=("user", "pass"))
guarded.endpoint(on_crash="retry")(once)
guarded.endpoint(concurrency_limit=8, on_crash="retry", max_retries=1000)(recount)
