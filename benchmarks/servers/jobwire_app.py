"""The functions that servers are measured with: ``jobwire serve jobwire_app:app``."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

from jobwire import App

app = App(title="bench", result_ttl=float(os.environ.get("RESULT_TTL", "5")))
opened = threading.Event()


@app.endpoint(concurrency_id="gated")
def echo(text: str) -> str:
    return text


@app.endpoint(queue=False)
def plain(text: str) -> str:
    return text


@app.endpoint(queue=False)
async def plain_async(text: str) -> str:
    return text


@app.endpoint()
def count(n: int) -> Iterator[str]:
    for number in range(n):
        yield str(number)


@app.endpoint(concurrency_id="gated")
def gate() -> str:
    """Keep the queue of ``echo`` from moving, until ``open_gate`` is called."""
    opened.wait(600)
    opened.clear()
    return "open"


@app.endpoint(queue=False)
def open_gate() -> str:
    opened.set()
    return "opened"
