"""The Gradio app that every client is measured against: ``python server_app.py PORT``."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gradio as gr


def echo(text: str) -> str:
    return text


def echo_wide(text: str) -> str:
    return text


def grow(outputs: float) -> Iterator[str]:
    """Yield a text that grows by one word each time, as a language model's answer does."""
    text = ""
    for number in range(int(outputs)):
        text += f"word{number} "
        yield text


async def sleep(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "awake"


def build() -> Any:
    with gr.Blocks() as app:
        text, number, out = gr.Textbox(), gr.Number(), gr.Textbox()
        button = gr.Button()

        def serve(fn: Callable[..., Any], given: Any, **options: Any) -> None:
            button.click(fn, given, out, api_name=fn.__name__, **options)

        serve(echo, text)  # Gradio's default: one at a time
        serve(echo_wide, text, concurrency_limit=40)
        serve(grow, number)
        serve(sleep, number)
    return app


if __name__ == "__main__":
    build().launch(
        server_name="127.0.0.1", server_port=int(sys.argv[1]), ssr_mode=False, quiet=True
    )
