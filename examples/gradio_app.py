"""A small Gradio app to call: ``python examples/gradio_app.py [PORT]``."""

import sys
import time
from collections.abc import Iterator

import gradio as gr

STORY = "Once upon a time there was a queue in which no job was ever lost."


def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello, {name}!"


def tell(words: float) -> Iterator[str]:
    """Tell a story, word by word: each output is the whole text so far."""
    story = STORY.split()
    for count in range(1, int(words) + 1):
        time.sleep(0.1)
        yield " ".join(story[:count])


def bake(loaves: float, progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
    """Bake bread, and say how far it has got."""
    for _ in progress.tqdm(range(int(loaves)), desc="baking", unit="loaves"):
        time.sleep(0.3)
    gr.Info("mind the tray, it is hot")
    return f"{int(loaves)} loaves of bread"


with gr.Blocks(title="Bakery") as demo:
    name = gr.Textbox(label="name")
    number = gr.Number(label="number", value=5)
    output = gr.Textbox(label="output")
    gr.Button("Greet").click(greet, name, output)
    gr.Button("Tell").click(tell, number, output)
    gr.Button("Bake").click(bake, number, output)

if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else None
    demo.launch(server_name="127.0.0.1", server_port=port, quiet=True)
