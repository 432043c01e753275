"""Threads that get in each other's way."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def hasty() -> Iterator[None]:
    """Let threads take turns after every few instructions."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def together(functions: Sequence[Callable[[], T]]) -> list[T]:
    """Call all at the same time, each in a thread; return what they return."""
    barrier = threading.Barrier(len(functions))

    def call(function: Callable[[], T]) -> T:
        barrier.wait(10)
        return function()

    with hasty(), ThreadPoolExecutor(len(functions)) as pool:
        return [future.result(20) for future in [pool.submit(call, f) for f in functions]]
