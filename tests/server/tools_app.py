"""A small app, by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobwire import App


def make_tools(**settings: Any) -> App:
    app = App(title="Tools", **settings)

    @app.endpoint
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    @app.endpoint
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    @app.endpoint
    def shout(file: Path) -> Path:
        path = file.with_name("shouted.txt")
        path.write_text(file.read_text().upper())
        return path

    return app


app = make_tools()
