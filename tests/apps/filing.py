"""A Gradio app that takes and gives files: ``python filing.py PORT [--max-file-size N]``."""

import argparse
import math
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gradio as gr

FOLDER = Path(tempfile.mkdtemp(prefix="filing-"))


def write(name, data):
    path = FOLDER / name
    path.write_bytes(data)
    return str(path)


def same(value):
    return value


def describe(path):
    data = Path(path).read_bytes()
    return f"{Path(path).name}: {len(data)} bytes"


def collect(message):
    """What is in the files of a chat message."""
    files = [file if isinstance(file, str) else file["path"] for file in message["files"]]
    return message["text"] + ": " + " ".join(Path(path).read_text() for path in files)


def make(name, size):
    return write(name, b"x" * int(size))


def several(n, fail):
    for i in range(int(n)):
        yield write(f"{i}.txt", str(i).encode()), f"step {i}"
    if fail:
        raise gr.Error("no more")


def vanish(n):
    """Give files of which the second is gone by the time that it is fetched."""
    for i in range(int(n)):
        path = write(f"{time.monotonic_ns()}.txt", str(i).encode())
        yield path, f"step {i}"
        time.sleep(0.5)


def lookalike(text):
    return {"path": text, "url": None, "orig_name": "a.txt"}


def talk(seconds):
    """Stream a tone, a second at a time."""
    import numpy

    rate = 16000
    for second in range(int(seconds)):
        tone = [math.sin(2 * math.pi * (300 + 100 * second) * i / rate) for i in range(rate)]
        time.sleep(0.1)
        yield (rate, (numpy.array(tone) * 9000).astype(numpy.int16)), f"second {second}"


def build():
    with gr.Blocks() as demo:
        text, number, flag = gr.Textbox(), gr.Number(), gr.Checkbox()
        file, files, js = gr.File(), gr.File(file_count="multiple"), gr.JSON()
        gallery, message = gr.Gallery(type="filepath"), gr.MultimodalTextbox()
        audio = gr.Audio(streaming=True)
        button = gr.Button("go")

        def on(fn, inputs, outputs, api_name=None):
            api_name = api_name or fn.__name__
            button.click(fn, inputs, outputs, api_name=api_name, concurrency_limit=8)

        on(same, file, file)
        on(same, files, files, "same_files")
        on(same, gallery, gallery, "same_gallery")
        on(describe, file, text)
        on(collect, message, text)
        on(make, [text, number], file)
        on(several, [number, flag], [file, text])
        on(vanish, number, [file, text])
        on(lookalike, text, js)
        on(talk, number, [audio, text])
        on(lambda text, button: f"{text} {button}", [text, button], text, "press")
    return demo


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--max-file-size", type=int)
    options = parser.parse_args()
    demo = build()
    demo.queue().launch(
        server_port=options.port, quiet=True, max_file_size=options.max_file_size, show_error=True
    )
