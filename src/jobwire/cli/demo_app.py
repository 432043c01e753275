"""What ``jobwire demo`` serves, from a process that ends with it, whatever ends it."""

import os
import sys
import threading
import time
from collections.abc import Iterator

from jobwire.exceptions import AppError
from jobwire.server.app import App
from jobwire.server.context import Progress

__all__ = ("STORY", "app")

STORY = ["once", "upon", "a", "time", "a", "job", "was", "sent", "and", "it", "arrived"]

app = App(title="jobwire demo")


@app.endpoint(on_crash="retry")
def tell(words: int = 6) -> Iterator[str]:
    """Tell a story word by word, as a language model does."""
    for count in range(1, min(words, len(STORY)) + 1):
        time.sleep(0.15)
        yield " ".join(STORY[:count])


@app.endpoint
def bake(loaves: int, progress: Progress) -> str:
    """Bake bread, and show how far it is."""
    for _ in progress.track(range(loaves), desc="baking", unit="loaves"):
        time.sleep(0.2)
    return f"{loaves} loaves, still warm"


@app.endpoint
def divide(a: float, b: float) -> float:
    """Divide two numbers, if that can be done."""
    if b == 0:
        raise AppError("nobody can divide by zero", title="Arithmetic")
    return a / b


def _end_with_parent() -> None:
    sys.stdin.read()  # until the other end is gone
    os._exit(0)


if __name__ == "__main__":
    from jobwire.cli.serve import serve

    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve("jobwire.cli.demo_app:app", port=int(sys.argv[1]), store=sys.argv[2], access_log=False)
