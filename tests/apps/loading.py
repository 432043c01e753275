"""A jobwire app for much of everything at once."""

import asyncio
from collections.abc import AsyncIterator

from jobwire import App

app = App(title="Loading", max_size=None, max_output_size=512 << 20)


@app.endpoint(concurrency_limit=None)
async def later(text: str, delay: float = 0.0) -> str:
    await asyncio.sleep(delay)
    return text


@app.endpoint(concurrency_limit=None)
async def numbers(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i
        if i % 100 == 0:
            await asyncio.sleep(0)


@app.endpoint(concurrency_limit=None)
async def large(megabytes: int) -> str:
    return "x" * (megabytes << 20)
