"""The functions that servers are measured with, on Gradio: ``python gradio_app.py PORT``."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gradio as gr

opened = threading.Event()


def echo(text: str) -> str:
    return text


def plain(text: str) -> str:
    return text


def count(n: float) -> Iterator[str]:
    for number in range(int(n)):
        yield str(number)


def gate() -> str:
    """Keep the queue of ``echo`` from moving, until ``open_gate`` is called."""
    opened.wait(600)
    opened.clear()
    return "open"


def open_gate() -> str:
    opened.set()
    return "opened"


def build() -> Any:
    with gr.Blocks() as app:
        text, number, out = gr.Textbox(), gr.Number(), gr.Textbox()
        button = gr.Button()

        def serve(fn: Callable[..., Any], given: Any, **options: Any) -> None:
            button.click(fn, given, out, api_name=fn.__name__, **options)

        serve(echo, text, concurrency_id="gated")
        serve(gate, None, concurrency_id="gated")
        serve(open_gate, None, queue=False)
        serve(plain, text, queue=False)
        serve(count, number)
    return app


if __name__ == "__main__":
    build().launch(
        server_name="127.0.0.1", server_port=int(sys.argv[1]), ssr_mode=False, quiet=True
    )
