"""``jobwire.AsyncClient``."""

from __future__ import annotations

from measuring import run_async

from jobwire import AsyncClient

if __name__ == "__main__":
    run_async(AsyncClient)
