"""A Gradio app that notes each call by its tag: ``python soaking.py PORT``."""

import os
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gradio as gr

FOLDER = Path(tempfile.mkdtemp(prefix="soaking-"))
calls: Counter[str] = Counter()
lock = threading.Lock()


def note(tag):
    with lock:
        calls[tag] += 1


def echo(tag):
    note(tag)
    return tag


def slow(tag, seconds):
    note(tag)
    time.sleep(seconds)
    return tag


def count(tag, n, delay):
    note(tag)
    try:
        for i in range(int(n)):
            time.sleep(delay)
            yield f"{tag}:{i}"
    except GeneratorExit:
        note(f"{tag} was stopped")
        raise


def fail(tag):
    note(tag)
    raise gr.Error(f"failed {tag}")


def shout(tag, file):
    note(tag)
    path = FOLDER / f"{tag}.txt"
    path.write_text(Path(file).read_text().upper())
    return str(path)


def ran():
    with lock:
        return dict(calls)


with gr.Blocks() as demo:
    tag, number, delay = gr.Textbox(), gr.Number(), gr.Number()
    file, out, saved, table = gr.File(), gr.Textbox(), gr.File(), gr.JSON()
    button = gr.Button("go")
    for function, inputs, output in (
        (echo, tag, out),
        (slow, [tag, number], out),
        (count, [tag, number, delay], out),
        (fail, tag, out),
        (shout, [tag, file], saved),
        (ran, None, table),
    ):
        button.click(function, inputs, output, api_name=function.__name__, concurrency_limit=16)
demo.queue(max_size=None)

if __name__ == "__main__":
    demo.launch(
        server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True, allowed_paths=[FOLDER]
    )
