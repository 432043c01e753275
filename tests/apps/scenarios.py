"""A Gradio app with one endpoint for each thing that a client has to cope with.

Runs on gradio 3.41 to 6: ``python scenarios.py PORT [--auth] [--max-size N] [--mount] ...``.
"""

import argparse
import os
import time

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gradio as gr
from functions import (
    between,
    count,
    echo,
    even_only,
    frames,
    grow,
    mixed,
    nan,
    none,
    pair,
    plain,
    ran,
    remember,
    slow,
    tables,
    tally,
    traced,
    two,
)

MAJOR, MINOR = (int(part) for part in gr.__version__.split(".")[:2])


def steps(n, progress=gr.Progress()):  # noqa: B008
    for i in range(int(n)):
        progress((i, int(n)), desc="working", unit="parts")
        time.sleep(0.15)
    return "done"


def logs(text):
    gr.Info(f"info {text}")
    time.sleep(0.05)
    gr.Warning(f"warning {text}")
    time.sleep(0.05)
    return text


def fail(kind):
    if kind == "value":
        raise ValueError("plain value error")
    if kind == "titled":
        raise gr.Error("a <b>bad</b> thing", duration=7, title="Oops")
    raise gr.Error("a bad thing")


def fail_late(n):
    for i in range(int(n)):
        yield f"{i}"
    raise gr.Error("failed after outputs")


def build(extras=False, queue=True):
    with gr.Blocks() as demo:
        a, b = gr.Textbox(label="a"), gr.Textbox(label="b", value="3")
        n, d = gr.Number(label="n"), gr.Number(label="delay", value=0)
        out, out2 = gr.Textbox(label="out"), gr.Number(label="out2")
        js = gr.JSON(label="json")
        frame = gr.Dataframe(label="frame")
        state = gr.State()
        counter = gr.State(0)
        button = gr.Button("go")

        def on(fn, inputs, outputs, **kwargs):
            kwargs.setdefault("api_name", fn.__name__)
            if MAJOR < 4:  # one line for the whole app, see `queue`
                kwargs = {key: kwargs[key] for key in kwargs if "concurrency" not in key}
            button.click(fn, inputs, outputs, **kwargs)

        on(echo, a, out, concurrency_limit=40)
        on(plain, [a, b], out)
        on(two, a, [out, out2])
        on(none, None, None)
        on(count, [n, d], out, concurrency_limit=4)
        on(grow, n, out)
        on(tables, None, js)
        on(frames, None, frame)
        on(mixed, None, [out, js])
        on(slow, [n, a], out, concurrency_limit=1)
        on(slow, [n, a], out, concurrency_limit=4, api_name="slow_wide", concurrency_id="wide")
        if queue:  # it tells its progress, which gradio 3 then insists on
            on(steps, n, out)
        on(logs, a, out)
        on(fail, a, out)
        on(fail_late, n, out)
        on(remember, [a, state], [out, state])
        on(between, [a, counter, b], [out, counter])
        on(nan, None, js)
        on(echo, a, out, api_name="direct", queue=False)
        on(echo, a, out, api_name=False)
        if extras:
            on(traced, [n, a], out, concurrency_limit=1)
            on(ran, None, out, queue=False)
            on(pair, [a, b], [out, out2], batch=True)
            on(tally, [n, d, counter], [out, counter], concurrency_limit=4)
        if (MAJOR, MINOR) >= (5, 45):
            button.click(
                even_only,
                n,
                out2,
                api_name="even_only",
                validator=lambda n: gr.validate(n % 2 == 0, "must be even"),
            )
    return demo


def queue(demo, max_size, workers):
    options = {"concurrency_count": workers} if MAJOR < 4 else {}
    return demo.queue(max_size=max_size, **options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--auth", action="store_true")
    parser.add_argument("--max-size", type=int)
    parser.add_argument("--mount", action="store_true")
    parser.add_argument("--hide-errors", action="store_true")
    parser.add_argument("--extras", action="store_true")
    parser.add_argument("--no-queue", action="store_true")
    parser.add_argument("--workers", type=int, default=4, help="before gradio 4, for all functions")
    options = parser.parse_args()
    demo = build(options.extras, not options.no_queue)
    if not options.no_queue:
        demo = queue(demo, options.max_size, options.workers)
    if options.mount:
        import uvicorn
        from fastapi import FastAPI

        app = gr.mount_gradio_app(FastAPI(), demo, path="/sub/app")
        uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")
    else:
        demo.launch(
            server_name="127.0.0.1",
            server_port=options.port,
            auth=("user", "pass") if options.auth else None,
            show_error=not options.hide_errors,
            quiet=True,
        )
