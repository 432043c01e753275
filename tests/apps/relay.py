"""A Gradio app that calls itself, as a Space that calls another Space does.

``python relay.py PORT``, with ``HF_ENDPOINT`` a Hub that knows it as ``user/space``.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

import jobwire

PORT = int(sys.argv[1])


@cache
def space():
    return jobwire.Client("user/space")


@cache
def address():
    return jobwire.Client(f"http://127.0.0.1:{PORT}")


def whose(text, request: gr.Request):
    return f"{text}: {request.headers.get('x-ip-token')}"


def relay(text):
    return space().predict(text, api_name="/whose")


def relay_job(text):
    return space().submit(text, api_name="/whose").result()


def relay_own(text):
    return space().predict(text, api_name="/whose", headers={"X-IP-Token": "own"})


def relay_steps(text):
    for step in range(2):
        yield space().predict(f"{text}{step}", api_name="/whose")


def relay_elsewhere(text):
    return address().predict(text, api_name="/whose")


def relay_detached(text):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(space().predict, text, api_name="/whose").result()


async def relay_async(text):
    async with jobwire.AsyncClient("user/space") as client:
        return await client.predict(text, api_name="/whose")


def required(text, token: gr.OAuthToken):
    return f"{text}: {token.token}"


def optional(text, token: gr.OAuthToken | None):
    return f"{text}: {token and token.token}"


with gr.Blocks() as demo:
    text, out = gr.Textbox(label="text"), gr.Textbox(label="out")
    button = gr.Button("go")
    for fn in (
        whose, relay, relay_job, relay_own, relay_steps, relay_elsewhere, relay_detached,
        relay_async, required, optional,
    ):  # fmt: skip
        button.click(fn, text, out, api_name=fn.__name__, concurrency_limit=20)

if __name__ == "__main__":
    demo.launch(server_name="127.0.0.1", server_port=PORT, show_error=True, quiet=True)
