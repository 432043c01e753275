"""The same calls with ``gradio_client`` and with jobwire, to one real server.

What each returns is compared; a file by its name and content, and only if the client put
it where it was told to. Where the two differ on purpose, both sides are asserted, so that
a change of either shows.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gradio_client
import pytest
from gradio_client.exceptions import AppError, ValidationError

import jobwire
from apps.media import mp4, png, wav
from conftest import Eventually, Server, running

APP = Path(__file__).parents[1] / "apps" / "components.py"
INPUTS = {
    "note.txt": b"a note",
    "other.txt": b"another",
    "empty.txt": b"",
    "odd & 100%#+✓.txt": b"odd",
    "red.png": png(),
    "tone.wav": wav(),
    "clip.mp4": mp4(),
    "triangle.obj": b"v 0 0 0\n",
}


class Given(NamedTuple):
    """An input file, in the arguments of a `Call`: one of `INPUTS`, or a path."""

    name: str


class Content(NamedTuple):
    """What a client downloaded, and where below its folder it put it."""

    place: str
    data: bytes


class Raises(NamedTuple):
    """What a call raised."""

    kind: type[BaseException]
    words: str


class Call(NamedTuple):
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def call(*args: Any, **kwargs: Any) -> Call:
    return Call(args, kwargs)


class Peer:
    """One of the two clients, and where it puts what it downloads."""

    def __init__(self, client: Any, handle_file: Callable[[Path], Any], folder: Path) -> None:
        self.client = client
        self.inputs = folder.parent / "inputs"
        self._handle_file = handle_file
        self._folder = folder

    def submit(self, endpoint: str, call: Call) -> Any:
        args = self._fill(call.args)
        return self.client.submit(*args, api_name=f"/{endpoint}", **self._fill(call.kwargs))

    def _fill(self, value: Any) -> Any:
        if isinstance(value, Given):
            return self._handle_file(self.inputs / value.name)
        if isinstance(value, dict):
            return {key: self._fill(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self._fill, value))
        return value

    def outcome(self, endpoint: str, call: Call) -> Any:
        """Return the result and the outputs of a call, or what it raised."""
        for _ in range(3):
            try:
                job = self.submit(endpoint, call)
                return self.seen(job.result(timeout=20)), self.seen(job.outputs())
            except concurrent.futures.CancelledError:
                if isinstance(self.client, jobwire.Client):
                    raise
                # gradio_client takes a job that is submitted while a stream is ending for
                # cancelled, now and then.
            except Exception as error:
                return error
        raise AssertionError("gradio_client lost the call three times")

    def seen(self, value: Any) -> Any:
        if isinstance(value, str) and value.startswith(str(self._folder)):
            path = Path(value)
            return Content(str(path.relative_to(self._folder)), path.read_bytes())
        if isinstance(value, dict):
            return {key: self.seen(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.seen, value))
        return value


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parity")
    (folder / "inputs").mkdir()
    for name, content in INPUTS.items():
        (folder / "inputs" / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        (folder / "server").mkdir()
        patch.setenv("TMPDIR", str(folder / "server"))
        with running(app=APP) as server:
            yield server


def upstream(server: Server, **options: Any) -> gradio_client.Client:
    # It reads the machine's certificates at each request, even for plain HTTP, unless
    # none are to be verified: half of these tests' time.
    options |= {"verbose": False, "ssl_verify": False, "analytics_enabled": False}
    with pytest.MonkeyPatch.context() as patch:
        # Without this, it reports to huggingface.co whatever ``analytics_enabled`` is.
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        return gradio_client.Client(server.url, **options)


@pytest.fixture(scope="module")
def theirs(server: Server, folder: Path) -> Iterator[Peer]:
    client = upstream(server, download_files=folder / "theirs")
    yield Peer(client, gradio_client.handle_file, folder / "theirs")
    client.close()


@pytest.fixture(scope="module")
def ours(server: Server, folder: Path) -> Iterator[Peer]:
    with jobwire.Client(server.url, download_files=folder / "ours") as client:
        yield Peer(client, jobwire.handle_file, folder / "ours")


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """Checks nothing here: ``gradio_client`` keeps the threads of its pools."""


# -- values --------------------------------------------------------------------

ROLE = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
PEOPLE = {"headers": ["name", "age"], "data": [["Ada", 36], ["Alan", 41]]}

SAME: dict[str, list[Call]] = {
    "file": [call(Given(name)) for name in ("note.txt", "empty.txt", "odd & 100%#+✓.txt")],
    "files": [call([Given("note.txt"), Given("other.txt")])],
    "optional_file": [call(None), call(Given("note.txt")), call(file=Given("note.txt"))],
    "default_file": [call(), call(Given("note.txt"))],
    "no_file": [call()],
    "odd_names": [call()],
    "same_name": [call()],
    "empty_file": [call()],
    "direct_file": [call(Given("note.txt"))],
    "file_in_update": [call()],
    "growing_files": [call(3)],
    "growing_lists": [call(3)],
    "uploaded": [call(Given("note.txt"))],
    "download": [call()],
    "model": [call()],
    "model_in": [call(Given("triangle.obj"))],
    "image": [call(Given("red.png")), call(None)],
    "image_in": [call(Given("red.png"))],
    "audio": [call(Given("tone.wav"))],
    "audio_in": [call(Given("tone.wav"))],
    "video": [call(Given("clip.mp4"))],
    "video_in": [call(Given("clip.mp4"))],
    "gallery": [call()],
    "gallery_in": [call([{"image": Given("red.png"), "caption": "red"}])],
    "annotated": [call()],
    "editor": [call({"background": Given("red.png"), "layers": [], "composite": Given("red.png")})],
    "edited": [call()],
    "slider_in": [call([Given("red.png"), Given("red.png")]), call((Given("red.png"), None))],
    "slider_out": [call()],
    "chat_out": [call()],
    "chat_in": [call([ROLE])],
    "multimodal": [call({"text": "t", "files": [Given("note.txt")]}), call({"text": "t"})],
    "multimodal_out": [call()],
    "json": [call({"a": [1, None, 1.5, "é"]}), call((1, 2)), call(None)],
    "label": [call()],
    "highlighted": [call()],
    "plot": [call()],
    "choices": [
        call("a", ["a", "b"], ["b"], "c", True),
        call(radio="b"),
        call("b", boxes=["a"], radio="c"),
    ],
    "every_choice": [call()],
    "numbers": [call(3), call(3, 5), call(3, slider=1)],
    "number": [call(2), call(2.5), call(-1e300), call(2**53)],
    "texts": [call()],
    "when": [call("2026-01-02 03:04:05")],
    "datetime": [call("2026-01-02 03:04:05")],
    "color": [call("#ff0000")],
    "browser_state": [call('"kept"')],
    "timer": [call(), call(3)],
    "table": [call(PEOPLE)],
    "large_table": [call(100)],
    "headers": [call(), call(headers={"x-own": "1"})],
    "state_first": [call("a"), call("b")],
    "state_middle": [call("a", "b"), call("a", "b")],
    "state_last": [call("a"), call("b")],
    "state_only": [call(), call()],
    "states": [call("a", "b"), call("a", other="b")],
    "button_first": [call("given", "t")],
    "button_middle": [call("l", "given", "r")],
    "dataset": [call(1)],
    "update": [call()],
    "update_only": [call()],
    "update_by_component": [call()],
    "update_some": [call()],
    "skipped": [call()],
    "skipped_later": [call(4)],
    "layout_last": [call()],
    "layout_between": [call()],
    "layout_only": [call()],
    "batch": [call("ab", 2)],
    "batch_pair": [call("ab")],
    "direct": [call("d"), call(value="naïve ✓ 🎉")],
    "triggered": [call("t")],
    "reserved": [call("a", "b", "c")],
    "progress": [call(2)],
    "count": [call(3), call(3, 0)],
    "undocumented": [call("x")],
    "lambda": [call("x")],
    "validated": [call(1, "x")],
    "typed": [call(2, ["a", "b"]), call(2, ["a"], 3), call(words=["a"], number=1)],
    "typed_stream": [call(3)],
    "typed_file": [call(Given("note.txt")), call(file=Given("note.txt"))],
    "typed_files": [call([Given("note.txt"), Given("other.txt")])],
    "typed_nothing": [call("x")],
    "chat": [call("one"), call("two")],
}


@pytest.mark.parametrize("endpoint", SAME)
def test_same_result(theirs: Peer, ours: Peer, endpoint: str) -> None:
    for one in SAME[endpoint]:
        expected = theirs.outcome(endpoint, one)
        assert not isinstance(expected, Exception), expected
        assert ours.outcome(endpoint, one) == expected


def test_every_endpoint_is_compared(theirs: Peer) -> None:
    """Whoever adds an endpoint to the app says what callers get from it."""
    offered = {
        endpoint.api_name.removeprefix("/")
        for endpoint in theirs.client.endpoints.values()
        if endpoint.api_visibility == "public"
    }
    compared = {*SAME, *(case.endpoint for case in FAILING + DIFFERENT)}
    elsewhere = {"session", "spoken", "failing_late", "typed_dict"}
    assert offered - compared - elsewhere == set()


# -- failures ------------------------------------------------------------------


class Failing(NamedTuple):
    """A call that both refuse, with errors that one ``except`` clause catches."""

    endpoint: str
    call: Call
    kind: type[Exception]
    theirs: type[Exception]
    ours: type[Exception]


FAILING = [
    Failing("failing", call("gr"), ValueError, AppError, jobwire.AppError),
    Failing("failing", call("value"), ValueError, AppError, jobwire.AppError),
    Failing("validated", call(-1, ""), ValueError, ValidationError, jobwire.ValidationError),
    # No event comes with a call, unless ours is given one.
    Failing("selected", call(), ValueError, AppError, jobwire.AppError),
    # Files are given as such, not as their names.
    Failing("file", call("note.txt"), ValueError, AppError, jobwire.AppError),
    Failing("choices", call(), TypeError, TypeError, jobwire.ArgumentError),
    Failing("direct", call("x", nope=1), TypeError, TypeError, jobwire.ArgumentError),
    Failing("direct", call("x", value="y"), TypeError, TypeError, jobwire.ArgumentError),
    Failing("direct", call(object()), TypeError, TypeError, jobwire.ArgumentError),
    Failing("direct", call(b"bytes"), TypeError, TypeError, jobwire.ArgumentError),
    Failing("private", call("x"), ValueError, ValueError, jobwire.EndpointNotFoundError),
    Failing("nowhere", call("x"), ValueError, ValueError, jobwire.EndpointNotFoundError),
    Failing("made_0", call("x"), ValueError, ValueError, jobwire.EndpointNotFoundError),
]


@pytest.mark.parametrize("case", FAILING, ids=lambda case: case.endpoint)
def test_same_failure(theirs: Peer, ours: Peer, case: Failing) -> None:
    expected, error = (peer.outcome(case.endpoint, case.call) for peer in (theirs, ours))
    assert type(expected) is case.theirs
    assert type(error) is case.ours
    assert isinstance(expected, case.kind)
    assert isinstance(error, case.kind)
    if isinstance(error, jobwire.AppError):
        assert isinstance(expected, AppError)
        for name in ("message", "title", "visible"):
            assert getattr(error, name) == getattr(expected, name)
        assert str(error) == str(expected)
        # What the app did not say is None here, and the web page's default there.
        assert error.duration in (expected.duration, None)


@pytest.mark.parametrize(
    ("kwargs", "kind"),
    [
        ({}, ValueError),
        ({"fn_index": 7400}, ValueError),
        ({"fn_index": 82}, ValueError),  # private
        ({"fn_index": "1"}, ValueError),
    ],
)
def test_same_failure_to_find(
    theirs: Peer, ours: Peer, kwargs: dict[str, Any], kind: type[Exception]
) -> None:
    for peer in (theirs, ours):
        with pytest.raises(kind):
            peer.client.submit("x", **kwargs)


def test_same_endpoint_by_index(theirs: Peer, ours: Peer) -> None:
    index = next(
        id for id, endpoint in theirs.client.endpoints.items() if endpoint.api_name == "/direct"
    )
    for peer in (theirs, ours):
        assert peer.client.predict("x", fn_index=index) == "x"
        assert peer.client.predict("x", fn_index=0, api_name="/direct") == "x"


# -- differences ---------------------------------------------------------------


class Different(NamedTuple):
    """A call that ends in different ways, and why it does so on purpose."""

    endpoint: str
    call: Call
    theirs: Any
    ours: Any
    why: str


NO_INPUT = Raises(AppError, "enough input values")
NO_SERVER_FN = Raises(AppError, "no backend method")
FORBIDDEN = Raises(Exception, "403 Forbidden")
PATHS = {"path": "/not/a/file", "size": 3, "inner": [{"path": "relative"}]}

DIFFERENT = [
    Different(
        "with_path",
        call(),
        FORBIDDEN,
        PATHS,
        "a file is what a component for files gives; JSON that has a path in it is the app's",
    ),
    Different("json", call({"path": "x"}), FORBIDDEN, {"path": "x"}, "likewise"),
    Different(
        "with_file_data",
        call(),
        FORBIDDEN,
        {"path": "/nowhere/x.txt", "meta": {"_type": "gradio.FileData"}},
        "likewise",
    ),
    Different(
        "button_first",
        call("t"),
        NO_INPUT,
        "go:t",
        "a button has its place on the wire, too, and its text is its value",
    ),
    Different("button_middle", call("l", "r"), NO_INPUT, "l:go:r", "likewise"),
    Different("button_and_state", call("t"), NO_INPUT, "0:go:t", "likewise"),
    Different(
        "stop",
        call(),
        NO_SERVER_FN,
        Raises(jobwire.EndpointNotFoundError, "stop"),
        "it cancels other jobs in the browser; no server runs it, so it is not offered",
    ),
    Different(
        "only_in_browser",
        call("x"),
        NO_SERVER_FN,
        Raises(jobwire.EndpointNotFoundError, "only_in_browser"),
        "likewise, JavaScript",
    ),
    Different(
        "direct",
        call("x", "lost"),
        "x",
        Raises(jobwire.ArgumentError, "too many"),
        "an argument that nobody reads is a mistake",
    ),
    Different(
        "undocumented",
        call(text="x"),
        Raises(ValueError, "key-word"),
        "undocumented x",
        "its parameters have names as well; the server tells them when it is asked for all",
    ),
    Different(
        "selected",
        call(event_data={"index": 2, "value": "third"}),
        Raises(TypeError, "event_data"),
        "2 third",
        "functions that look at an event can be called, too",
    ),
    Different(
        "json",
        call(float("nan")),
        Raises(ValueError, "not JSON compliant"),
        None,
        "servers read NaN and infinities, though they send null for them",
    ),
    Different(
        "headers",
        call(headers={"x-gradio-user": "me"}),
        {"x-gradio-user": "api"},
        {"x-gradio-user": "me"},
        "headers of a call win over those of the client, all of them",
    ),
]


@pytest.mark.parametrize("case", DIFFERENT, ids=lambda case: case.endpoint)
def test_difference(theirs: Peer, ours: Peer, case: Different) -> None:
    for peer, expected in ((theirs, case.theirs), (ours, case.ours)):
        outcome = peer.outcome(case.endpoint, case.call)
        if isinstance(expected, Raises):
            assert isinstance(outcome, expected.kind), outcome
            assert re.search(expected.words, str(outcome))
        else:
            assert outcome == (expected, [expected]), case.why


def test_endpoint_without_a_slash(theirs: Peer, ours: Peer) -> None:
    with pytest.raises(ValueError, match="leading slash"):
        theirs.client.predict("x", api_name="direct")
    assert ours.client.predict("x", api_name="direct") == "x"


def test_what_is_rendered(theirs: Peer, ours: Peer) -> None:
    """Theirs knows the endpoints that were there when it was made."""
    for peer in (theirs, ours):
        assert peer.client.predict(1, api_name="/apply") == ()
    with pytest.raises(ValueError, match="made_0"):
        theirs.client.predict("x", api_name="/made_0")
    assert ours.client.predict("x", api_name="/made_0") == "x"


def test_dict_that_looks_like_a_file(theirs: Peer, ours: Peer) -> None:
    """Theirs uploads whatever it names; ours what `handle_file` made, so that nobody
    else's JSON makes it read a file of this machine."""
    dict_ = dict(gradio_client.handle_file(ours.inputs / "note.txt"))
    assert theirs.outcome("optional_file", call(dict_)) == ("got a note", ["got a note"])
    error = ours.outcome("optional_file", call(dict_))
    assert isinstance(error, jobwire.AppError)
    assert "not uploaded" in str(error)


def test_file_that_is_missing(theirs: Peer, ours: Peer, folder: Path) -> None:
    path = folder / "gone.txt"
    with pytest.raises(ValueError):
        gradio_client.handle_file(path)
    with pytest.raises(jobwire.FileError):
        jobwire.handle_file(path)
    path.touch()
    given = gradio_client.handle_file(path), jobwire.handle_file(path)
    path.unlink()
    # By now it is the job that fails; to iterate over theirs would never end.
    with pytest.raises(FileNotFoundError):
        theirs.client.predict(given[0], api_name="/file")
    with pytest.raises(jobwire.FileError):
        ours.client.predict(given[1], api_name="/file")
    assert issubclass(jobwire.FileError, ValueError)


def test_output_as_input(theirs: Peer, ours: Peer) -> None:
    for peer in (theirs, ours):
        model = Given(peer.client.predict(api_name="/model"))
        result, _ = peer.outcome("file", call(model))
        assert Path(result.place).name == "copy of triangle.obj"


@pytest.mark.parametrize("endpoint", ["json", "typed_dict"])
def test_file_that_an_app_hands_through(theirs: Peer, ours: Peer, endpoint: str) -> None:
    """What theirs takes for a file by its looks is the app's dict in ours."""
    note = call(Given("note.txt"))
    expected, _ = theirs.outcome(endpoint, note)
    assert (Path(expected.place).name, expected.data) == ("note.txt", INPUTS["note.txt"])
    result, _ = ours.outcome(endpoint, note)
    assert (result["orig_name"], result["meta"]["_type"]) == ("note.txt", "gradio.FileData")


def test_streamed_sound(theirs: Peer, ours: Peer) -> None:
    """Theirs gives the list of the parts, which nothing plays; ours puts them together."""
    if not shutil.which("ffmpeg"):
        pytest.skip("the server needs ffmpeg for it")
    for peer, start in ((theirs, b"#EXTM3U"), (ours, b"\xff\xf1")):
        job = peer.submit("spoken", call(2))
        result = peer.seen(job.result(timeout=20))
        assert Path(result.place).name == ("playlist.m3u8" if peer is theirs else "chunk.aac")
        assert result.data.startswith(start)
        assert len(job.outputs()) == 2


# -- jobs ----------------------------------------------------------------------


def test_iterating(theirs: Peer, ours: Peer) -> None:
    for peer in (theirs, ours):
        job = peer.submit("count", call(3, 0))
        assert list(job) == ["0", "1", "2"]
        job = peer.submit("count", call(2, 0))
        assert [next(job), next(job), next(job, "end")] == ["0", "1", "end"]
        assert next(job, "end") == "end"


def test_iterating_again(theirs: Peer, ours: Peer) -> None:
    """Theirs is an iterator, which is used up; ours is a collection that grows."""
    for peer, again in ((theirs, []), (ours, ["0", "1"])):
        job = peer.submit("count", call(2, 0))
        assert list(job) == ["0", "1"]
        assert list(job) == again


def test_iterating_over_what_fails(theirs: Peer, ours: Peer) -> None:
    """Theirs stops as if nothing had happened; ours raises after the last output."""
    assert list(theirs.submit("failing_late", call(2))) == ["0", "1"]
    outputs = iter(ours.submit("failing_late", call(2)))
    assert [next(outputs), next(outputs)] == ["0", "1"]
    with pytest.raises(jobwire.AppError, match="failed after outputs"):
        next(outputs)


def test_outputs_of_what_fails(theirs: Peer, ours: Peer) -> None:
    for peer in (theirs, ours):
        job = peer.submit("failing_late", call(2))
        assert str(job.exception(timeout=10)) == "failed after outputs"
        assert job.outputs() == ["0", "1"]
        assert (job.done(), job.running(), job.cancelled()) == (True, False, False)
        status = job.status()
        assert status.code.name == "FINISHED"
        assert status.success is False


def test_status_at_the_end(theirs: Peer, ours: Peer) -> None:
    ends = []
    for peer in (theirs, ours):
        job = peer.submit("count", call(2, 0))
        job.result(timeout=10)
        end = job.status()
        ends.append((end.code.name, end.rank, end.queue_size, end.eta, end.success, end.log))
        assert end.time is not None
        assert end.time.tzinfo is None
    assert ends[0] == ends[1]


def test_progress_stays_after_the_end(theirs: Peer, ours: Peer) -> None:
    for peer in (theirs, ours):
        job = peer.submit("progress", call(2))
        job.result(timeout=10)
        assert (job.status().progress_data is None) is (peer is theirs)


def test_deadline(theirs: Peer, ours: Peer) -> None:
    for peer in (theirs, ours):
        job = peer.submit("count", call(3, 0.1))
        with pytest.raises(TimeoutError):
            job.result(timeout=0.05)
        assert job.result(timeout=10) == "2"


def test_callbacks(theirs: Peer, ours: Peer) -> None:
    for peer in (theirs, ours):
        got: queue.Queue[Any] = queue.Queue()
        put: list[Callable[..., object]] = [
            lambda *values: got.put(values),  # noqa: B023
            lambda first, second: got.put(second),  # noqa: B023
        ]
        job = peer.client.submit("ab", api_name="/batch_pair", result_callbacks=put)
        job.add_done_callback(lambda job: got.put(job.result()))  # noqa: B023
        assert [got.get(timeout=10) for _ in range(3)] == [("AB", 2), 2, ("AB", 2)]


def test_job_in_a_callback(theirs: Peer, ours: Peer) -> None:
    """Theirs hands over a bare future; ours the job."""
    for peer in (theirs, ours):
        got: concurrent.futures.Future[Any] = concurrent.futures.Future()
        job = peer.submit("direct", call("x"))
        job.add_done_callback(got.set_result)
        assert (got.result(timeout=10) is job) is (peer is ours)


def test_standard_waiting(theirs: Peer, ours: Peer) -> None:
    for peer in (theirs, ours):
        jobs = [peer.submit("direct", call(text)) for text in "ab"]
        assert len(concurrent.futures.wait(jobs, timeout=10).done) == 2
    done = concurrent.futures.as_completed([theirs.submit("direct", call("x"))], timeout=10)
    with pytest.raises(KeyError):  # the future inside completes, which nobody waits for
        list(done)
    done = concurrent.futures.as_completed([ours.submit("direct", call("x"))], timeout=10)
    assert [job.result() for job in done] == ["x"]


def test_cancelling_a_generator(theirs: Peer, ours: Peer, eventually: Eventually) -> None:
    for peer in (theirs, ours):
        job = peer.submit("count", call(1000, 0.02))
        assert next(job) == "0"
        assert job.cancel() is True
        status = job.status()
        assert (status.code.name, status.success, status.rank) == ("CANCELLED", False, 0)
        # Theirs says CancelledError or KeyError, as it happens.
        kinds = (KeyError, concurrent.futures.CancelledError) if peer is theirs else ()
        with pytest.raises((*kinds, jobwire.JobCancelledError)):
            job.result(timeout=10)
        assert job.done()
        assert peer is theirs or job.cancelled()
    assert issubclass(jobwire.JobCancelledError, concurrent.futures.CancelledError)


def test_cancelling_what_has_ended(theirs: Peer, ours: Peer) -> None:
    """Theirs says True and calls the job cancelled, though it has its result."""
    for peer in (theirs, ours):
        job = peer.submit("direct", call("x"))
        assert job.result(timeout=10) == "x"
        assert job.cancel() is (peer is theirs)
        assert job.status().code.name == ("CANCELLED" if peer is theirs else "FINISHED")
        assert job.result() == "x"


async def updates(job: Any) -> list[Any]:
    return [update async for update in job]


def test_updates(theirs: Peer, ours: Peer) -> None:
    codes, outputs = [], []
    for peer in (theirs, ours):
        seen = asyncio.run(updates(peer.submit("count", call(3, 0.02))))
        assert {update.type for update in seen} == {"status", "output"}
        codes.append({update.code.name for update in seen if update.type == "status"})
        outputs.append([update for update in seen if update.type == "output"])
    # Ours begins before the server has answered, and leaves out what is over by the time
    # that it is read.
    early = {"STARTING", "JOINING_QUEUE", "IN_QUEUE", "PROCESSING"}
    assert codes[0] - early == {"ITERATING", "FINISHED"}
    assert {"FINISHED"} <= codes[1] - early <= {"ITERATING", "FINISHED"}
    yielded = [[update.outputs for update in each if not update.final] for each in outputs]
    assert yielded[0] == yielded[1] == ["0", "1", "2"]
    finals = [[update for update in each if update.final] for each in outputs]
    assert finals[0][0].outputs["data"] == ["2"]  # as it came over the wire
    assert [update.outputs for update in finals[1]] == ["2"]


def test_progress_and_its_fields(theirs: Peer, ours: Peer) -> None:
    last = []
    for peer in (theirs, ours):
        units = [
            unit
            for update in asyncio.run(updates(peer.submit("progress", call(3))))
            for unit in (update.type == "status" and update.progress_data) or ()
        ]
        assert units[-1].index in (1, 2, 3)  # servers leave some out
        last.append((units[-1].length, units[-1].unit, units[-1].progress, units[-1].desc))
    assert last[0] == last[1] == (3, "parts", None, "working")


# -- clients -------------------------------------------------------------------


def test_session(theirs: Peer, ours: Peer) -> None:
    for peer in (theirs, ours):
        assert peer.client.predict(api_name="/session") == peer.client.session_hash
        before = peer.client.session_hash
        peer.client.predict("x", api_name="/state_last")
        peer.client.reset_session()
        assert peer.client.session_hash != before
        assert peer.client.predict("x", api_name="/state_last") == "x0"


def test_without_downloads(server: Server) -> None:
    bare = upstream(server, download_files=False)
    with jobwire.Client(server.url, download_files=False) as client:
        for name in ("model", "gallery", "same_name", "multimodal_out", "with_path"):
            assert client.predict(api_name=f"/{name}") == bare.predict(api_name=f"/{name}")
    bare.close()


def test_closing(server: Server) -> None:
    """Theirs goes on working; ours has let go of its connections."""
    client = upstream(server)
    client.close()
    assert client.predict("x", api_name="/direct") == "x"
    ours = jobwire.Client(server.url)
    ours.close()
    with pytest.raises(jobwire.ClientClosedError):
        ours.predict("x", api_name="/direct")
