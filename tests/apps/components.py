"""A Gradio app with an endpoint for each kind of value that a component can have.

Runs on gradio 3.41 to 6; what a version lacks is left out. ``python components.py PORT
[--server]``: with ``--server``, an app of functions alone (``gr.Server``, 6.x).
"""

import argparse
import inspect
import os
import shutil
import tempfile
import time
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gradio as gr
from media import png, wav

try:
    from gradio.data_classes import FileData
except ImportError:
    FileData = dict  # before 4.0

MAJOR, MINOR = (int(part) for part in gr.__version__.split(".")[:2])
FOLDER = Path(tempfile.mkdtemp(prefix="components-"))


def written(name, content):
    # Each in a folder of its own: two calls may write the same name at once.
    path = Path(tempfile.mkdtemp(dir=FOLDER)) / name
    path.write_bytes(content)
    return str(path)


# -- files ---------------------------------------------------------------------


def path_of(file):  # before 4.0 a file was an object with its path as ``name``
    return Path(getattr(file, "name", file))


def copied(file):
    path = path_of(file)
    return written(f"copy of {path.name}", path.read_bytes() + b"+")


def file(file):
    return copied(file)


def files(files):
    return [copied(file) for file in files]


def optional_file(file):
    return f"got {path_of(file).read_text()}" if file else "got nothing"


def default_file(file):
    return path_of(file).read_text()


def no_file():
    return None


def odd_names():
    names = ["with space.txt", "per%cent.txt", "hash#tag.txt", "ünïcode ✓.txt", "plus+&=.txt"]
    return [written(name, name.encode()) for name in names]


def same_name():
    return [written("same.txt", b"one"), written("same.txt", b"two")]


def empty_file():
    return written("empty.bin", b"")


def same(value):
    return value


def both(first, second):
    return first, second


def gallery():
    return [(written("a.png", png()), "first"), (written("b.png", png(1, 2, 3)), None)]


def gallery_in(items):
    return [[name_of(image), caption] for image, caption in items]


def name_of(image):  # before 4.0 a gallery gave its function what had come
    return Path(image["name"] if isinstance(image, dict) else image).name


def sketch(value):
    return {name: Path(path).read_bytes()[:4].hex() for name, path in value.items()}


def annotated():
    return written("base.png", png()), [((0, 0, 4, 4), "corner")]


def editor(value):
    return [
        Path(value[key]).name if isinstance(value[key], str) else len(value[key])
        for key in ("background", "layers", "composite")
    ]


def edited():
    image = written("whole.png", png())
    return {"background": image, "layers": [written("layer.png", png(9))], "composite": image}


def slider_in(pair):
    return [Path(path).name if path else None for path in pair]


def slider_out():
    return written("left.png", png()), written("right.png", png(1))


def model():
    return written("triangle.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")


def chat_out():
    image = written("shown.png", png())
    if MAJOR >= 6 or "type" in parameters(gr.Chatbot):
        return [
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": {"path": image, "alt_text": "red"}},
        ]
    return [["look", (image,)]]


def chat_in(history):
    return history


def multimodal(message):
    return [message["text"], [Path(path).name for path in message["files"]]]


def multimodal_out():
    return {"text": "see", "files": [written("see.txt", b"see")]}


def growing_files(n):
    for i in range(int(n)):
        yield written(f"part{i}.txt", b"part %d" % i)


def growing_lists(n):
    kept = []
    for i in range(int(n)):
        kept.append(written(f"part{i}.txt", b"part %d" % i))
        yield list(kept)


def spoken(n):
    for _ in range(int(n)):
        yield written("chunk.wav", wav(1.0))


def file_in_update():
    return gr.update(value=written("new.txt", b"new"), label="renamed")


# -- values --------------------------------------------------------------------


def with_path():
    return {"path": "/not/a/file", "size": 3, "inner": [{"path": "relative"}]}


def with_file_data():
    """JSON that an app made of a file which it does not serve."""
    return {"path": "/nowhere/x.txt", "meta": {"_type": "gradio.FileData"}}


def label():
    return {"cat": 0.75, "dog": 0.25}


def highlighted():
    return [("good", "+"), ("so-so", None)]


def plot():
    from gradio.components.plot import PlotData

    return PlotData(type="plotly", plot='{"data": [], "layout": {}}')


def choices(one, several, boxes, radio, checked):
    return {"one": one, "several": several, "boxes": boxes, "radio": radio, "checked": checked}


def every_choice():
    return "a", ["a", "b"], ["b"], "b", True


def numbers(number, slider):
    return number + slider


def texts():
    return "# title", "<b>bold</b>", "print(1)"


def when(moment):
    return str(moment)


def table(rows):
    return rows


def large_table(n):
    return {"headers": ["i", "square"], "data": [[i, i * i] for i in range(int(n))]}


def headers(request: gr.Request):
    return {name: value for name, value in request.headers.items() if name.startswith("x-")}


def session(request: gr.Request):
    return request.session_hash


# -- state and what callers do not give ----------------------------------------


def state_first(count, text):
    return count + 1, f"{text}{count}"


def state_middle(left, count, right):
    return f"{left}{count}{right}", count + 1, count


def state_last(text, count):
    return f"{text}{count}", count + 1


def state_only(count):
    return count + 1


def states(first, text, second, other):
    return f"{first}{text}{second}{other}", first + 1, second + 10


def button_first(button, text):
    return f"{button}:{text}"


def button_middle(left, button, right):
    return f"{left}:{button}:{right}"


def button_and_state(count, button, text):
    return f"{count}:{button}:{text}", count + 1


def dataset(index):
    return f"picked {index}"


# -- outputs that are no values ------------------------------------------------


def update():
    return gr.update(value="new", label="renamed")


def update_only():
    return gr.update(visible=False)


def update_by_component():
    return gr.Textbox(value="made", lines=3)


def update_some():
    return "first", gr.update()


def skipped():
    return gr.skip()


def skipped_later(n):
    for i in range(int(n)):
        yield f"{i}" if i % 2 == 0 else gr.skip()


def layout_last():
    return "shown", gr.update(visible=True)


def layout_between():
    return "left", gr.update(open=False), "right"


def layout_only():
    return gr.update(visible=True)


# -- ways of being called ------------------------------------------------------


def batch(words, times):
    return [[word * int(n) for word, n in zip(words, times, strict=True)]]


def batch_pair(words):
    return [word.upper() for word in words], [len(word) for word in words]


def validated(n, text):
    return f"{text} {n}"


def selected(event: gr.SelectData):
    return f"{event.index} {event.value}"


def triggered(text, event: gr.EventData):
    return f"{text} {event._data}"


def reserved(api_name, headers, fn_index=7):
    return f"{api_name} {headers} {fn_index}"


def failing(kind):
    if kind == "gr":
        raise gr.Error(
            "a bad thing", **({"duration": 7} if "duration" in parameters(gr.Error) else {})
        )
    raise ValueError("plain")


def failing_late(n):
    for i in range(int(n)):
        yield f"{i}"
    raise gr.Error("failed after outputs")


def progress(n, progress=gr.Progress()):  # noqa: B008
    for i in progress.tqdm(range(int(n)), desc="working", unit="parts"):
        time.sleep(0.1 * (i > 0))
    return "done"


def count(n, delay):
    for i in range(int(n)):
        yield f"{i}"
        time.sleep(delay)


def chat(message, history):
    return f"{len(history)} before {message}"


def typed(number: int, words: list[str], scale: float = 2.0) -> tuple[float, list[str]]:
    return number * scale, words[::-1]


def typed_stream(n: int) -> str:
    for i in range(n):
        yield f"{i}"


def typed_file(file: FileData) -> FileData:
    return file


def typed_files(files: list[FileData]) -> list[FileData]:
    return files[::-1]


def typed_dict(file: dict) -> dict:
    return file


def typed_nothing(text: str):
    return text


def private(text):
    return f"private {text}"


def undocumented(text):
    return f"undocumented {text}"


MISSING = object()


def component(kind, **props):
    """Make a component; `MISSING` if this version has none, or none that takes such props."""
    make = getattr(gr, kind, None)
    if make is None or not props.keys() <= parameters(make):
        return MISSING
    return make(**props)


def parameters(make):
    return inspect.signature(make.__init__).parameters.keys()


def visibility(kind):
    if MAJOR >= 6:
        return {"api_visibility": kind}
    return {"api_name": False} if kind == "private" else {"show_api": False}


def build():
    default = FOLDER / "default.txt"
    default.write_text("the default")

    with gr.Blocks(title="Components") as demo:
        button = gr.Button("go")
        text, other = component("Textbox", label="text"), component("Textbox", label="other")
        number = component("Number", label="number")
        delay = component("Number", label="delay", value=0)
        out, out2 = component("Textbox", label="out"), component("Textbox", label="out2")
        total = component("Number", label="total")
        json = component("JSON", label="json")

        def on(fn, inputs, outputs, trigger=button.click, **kwargs):
            for used in (inputs, outputs):
                if used is MISSING or (isinstance(used, list) and MISSING in used):
                    return None
            kwargs.setdefault("api_name", getattr(fn, "__name__", None))
            known = inspect.signature(trigger).parameters
            kwargs = {name: value for name, value in kwargs.items() if name in known}
            return trigger(fn, inputs, outputs, **kwargs)

        one = component("File", label="one")
        many = component("File", label="many", file_count="multiple")
        on(file, one, component("File", label="file"))
        on(files, many, component("File", label="files", file_count="multiple"))
        on(optional_file, one, out)
        on(default_file, component("File", label="file", value=str(default)), out)
        on(no_file, None, component("File", label="none"))
        on(odd_names, None, component("File", label="odd", file_count="multiple"))
        on(same_name, None, component("File", label="twins", file_count="multiple"))
        on(empty_file, None, component("File", label="empty"))
        on(file, one, component("File", label="file"), api_name="direct_file", queue=False)
        on(file_in_update, None, component("File", label="updated"))
        on(growing_files, number, component("File", label="part"))
        on(growing_lists, number, component("File", label="parts", file_count="multiple"))
        on(file, component("UploadButton", label="up"), component("File"), api_name="uploaded")
        on(model, None, component("DownloadButton", label="down"), api_name="download")
        on(model, None, component("Model3D", label="model"))
        on(file, component("Model3D", label="model"), component("File"), api_name="model_in")
        kinds = {"Image": {"type": "filepath"}, "Audio": {"type": "filepath"}, "Video": {}}
        for kind, props in kinds.items():
            source, target = component(kind, **props), component(kind, **props)
            on(same, source, target, api_name=kind.lower())
            on(file, source, component("File"), api_name=f"{kind.lower()}_in")
        on(gallery, None, component("Gallery", label="gallery"))
        paths = {"type": "filepath"} if MAJOR >= 4 else {}
        on(gallery_in, component("Gallery", **paths), json)
        on(sketch, component("Image", tool="sketch", type="filepath"), json)
        on(annotated, None, component("AnnotatedImage", label="annotated"))
        on(editor, component("ImageEditor", type="filepath"), json)
        on(edited, None, component("ImageEditor", type="filepath"))
        on(slider_in, component("ImageSlider", type="filepath"), json)
        on(slider_out, None, component("ImageSlider", type="filepath"))
        messages = {"type": "messages"} if "type" in parameters(gr.Chatbot) else {}
        talk = component("Chatbot", **messages)
        on(chat_out, None, talk)
        on(chat_in, talk, json)
        on(multimodal, component("MultimodalTextbox", label="message"), json)
        on(multimodal_out, None, component("MultimodalTextbox", label="reply"))
        if MAJOR >= 5 and shutil.which("ffmpeg"):
            on(spoken, number, component("Audio", streaming=True))

        on(with_path, None, json)
        on(with_file_data, None, json)
        on(same, json, json, api_name="json")
        on(label, None, component("Label", label="label"))
        on(highlighted, None, component("HighlightedText", label="highlighted"))
        on(plot, None, component("Plot", label="plot"))
        letters = ["a", "b", "c"]
        options = [
            component("Dropdown", choices=letters, label="one"),
            component("Dropdown", choices=letters, multiselect=True, label="several", value=["c"]),
            component("CheckboxGroup", choices=letters, label="boxes"),
            component("Radio", choices=letters, label="radio"),
            component("Checkbox", label="checked"),
        ]
        on(choices, options, json)
        on(every_choice, None, options)
        on(numbers, [number, component("Slider", minimum=0, maximum=10, value=4)], total)
        on(same, number, total, api_name="number")
        on(texts, None, [component("Markdown"), component("HTML"), component("Code")])
        on(when, component("DateTime", label="moment", type="string"), out)
        on(same, component("DateTime", type="string"), component("DateTime"), api_name="datetime")
        on(same, component("ColorPicker"), component("ColorPicker"), api_name="color")
        on(same, component("BrowserState"), json, api_name="browser_state")
        on(same, component("Timer", value=5, active=False), json, api_name="timer")
        on(table, component("Dataframe", type="array"), json)
        on(large_table, number, component("Dataframe", label="table"))
        on(headers, None, json)
        on(session, None, out)

        on(state_first, [c := gr.State(0), text], [c, out])
        on(state_middle, [text, c := gr.State(0), other], [out, c, total])
        on(state_last, [text, c := gr.State(0)], [out, c])
        on(state_only, c := gr.State(0), c)
        on(states, [c := gr.State(0), text, d := gr.State(0), other], [out, c, d])
        on(button_first, [button, text], out)
        on(button_middle, [text, button, other], out)
        on(button_and_state, [c := gr.State(0), button, text], [out, c])
        on(dataset, gr.Dataset(components=[text], samples=[["x"], ["y"]], type="index"), out)

        on(update, None, out)
        on(update_only, None, out)
        on(update_by_component, None, out)
        on(update_some, None, [out, out2])
        if hasattr(gr, "skip"):
            on(skipped, None, out)
            on(skipped_later, number, out)
        with gr.Row() as row:
            pass
        with gr.Accordion("more") as accordion:
            pass
        on(layout_last, None, [out, row])
        on(layout_between, None, [out, accordion, out2])
        on(layout_only, None, row)

        on(batch, [text, number], out, batch=True, max_batch_size=4)
        on(batch_pair, text, [out, total], batch=True, max_batch_size=4)
        on(same, text, out, api_name="direct", queue=False)
        on(selected, None, out, trigger=out.select)
        on(triggered, text, out)
        on(reserved, [text, other, number], out)
        on(failing, text, out)
        on(failing_late, number, out)
        on(progress, number, out)
        counting = on(count, [number, delay], out, concurrency_limit=4)
        on(private, text, out, **visibility("private"))
        on(undocumented, text, out, **visibility("undocumented"))
        button.click(lambda value: f"unnamed {value}", text, out)
        button.click(None, None, None, cancels=[counting], api_name="stop")
        on(None, text, out, js="value => value", api_name="only_in_browser")
        if (MAJOR, MINOR) >= (5, 45):
            on(
                validated,
                [number, text],
                out,
                validator=lambda n, text: [
                    gr.validate(n > 0, "must be positive"),
                    gr.validate(bool(text), "must not be empty"),
                ],
            )
        if hasattr(gr, "api"):
            for fn in (typed, typed_stream, typed_file, typed_files, typed_dict, typed_nothing):
                gr.api(fn, api_name=fn.__name__)
        if hasattr(gr, "render"):

            @gr.render(inputs=number, triggers=[number.submit])
            def rendered(n):
                for i in range(int(n)):
                    made = gr.Textbox(label=f"made {i}")
                    made.submit(same, made, out, api_name=f"made_{i}")

        gr.ChatInterface(chat, **(messages if "type" in parameters(gr.ChatInterface) else {}))
    return demo


def build_server():
    server = gr.Server(title="Functions")

    @server.api(name="double")
    def double(n: int) -> int:
        return 2 * n

    @server.api(name="count")
    def counted(n: int) -> str:
        for i in range(n):
            yield f"{i}"

    @server.get("/hello")
    def hello():
        return {"hello": "world"}

    return server


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--server", action="store_true")
    options = parser.parse_args()
    address = {"server_name": "127.0.0.1", "server_port": options.port, "quiet": True}
    if options.server:
        build_server().launch(**address)
    else:
        build().queue().launch(show_error=True, allowed_paths=[str(FOLDER)], **address)
