"""A Gradio app with files, streamed text and progress: ``python studio.py PORT``."""

import os
import sys
import tempfile
import time
import wave
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gradio as gr
from PIL import Image

FOLDER = Path(tempfile.mkdtemp(prefix="studio-"))
LOGO = FOLDER / "logo.png"
Image.new("RGB", (4, 4), "navy").save(LOGO)


def transcribe(audio, language="en", progress=gr.Progress()):  # noqa: B008
    """Write down what is said.

    Takes any recording.
    """
    if language not in ("en", "de"):
        raise gr.Error(f"no model for {language!r}", title="Language")
    with wave.open(audio) as recording:
        seconds = recording.getnframes() / recording.getframerate()
    parts = max(1, round(seconds))
    lines = []
    for part in range(parts):
        progress((part, parts), desc="listening", unit="s")
        time.sleep(0.02)
        lines.append(f"{part + 1}\n00:00:0{part},000 --> 00:00:0{part + 1},000\nword{part}\n")
    subtitles = FOLDER / f"{Path(audio).stem}-{language}-{time.monotonic_ns()}.srt"
    subtitles.write_text("\n".join(lines))
    return " ".join(f"word{part}" for part in range(parts)), str(subtitles)


def reply(message, history):
    """Answer word by word."""
    words = f"You said: {message}".split()
    if message == "for ever":
        words = [str(n) for n in range(10_000)]
    answer = ""
    for word in words:
        answer += f"{word} "
        time.sleep(0.02)
        yield answer, [*(history or []), message]


def mark(image, text="draft", logo=None):
    """Write on a picture."""
    if not text:
        raise gr.Error("no text to write")
    with Image.open(image) as picture:
        width, height = picture.size
        marked = picture.convert("RGB")
    marked.putpixel((0, 0), (len(text), 0, 0))
    out = FOLDER / f"{text}-{time.monotonic_ns()}.png"
    marked.save(out)
    return str(out), {"width": width, "height": height, "text": text}


with gr.Blocks(title="Studio") as demo:
    audio = gr.Audio(type="filepath", label="Recording")
    language = gr.Dropdown(["en", "de"], value="en", allow_custom_value=True, label="Language")
    text, file = gr.Textbox(label="Transcript"), gr.File(label="Subtitles")
    image, logo = gr.Image(type="filepath"), gr.Image(str(LOGO), type="filepath", label="Logo")
    caption = gr.Textbox("draft", label="Text")
    size = gr.JSON(label="Size")
    history = gr.State([])
    button = gr.Button("go")
    button.click(transcribe, [audio, language], [text, file], concurrency_limit=2)
    button.click(reply, [text, history], [text, history])
    button.click(mark, [image, caption, logo], [image, size])
    button.click(lambda: None, None, None, api_name="hidden", api_visibility="undocumented")
    button.click(lambda: None, None, None, api_name="private", api_visibility="private")


if __name__ == "__main__":
    demo.launch(
        server_name="127.0.0.1",
        server_port=int(sys.argv[1]),
        allowed_paths=[str(FOLDER)],
        show_error=True,
        quiet=True,
    )
