"""A job in a notebook: what is shown, and that a real kernel shows it while it happens."""

import re
import textwrap
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import jupyter_client.manager
import pytest
from jupyter_client.blocking.client import BlockingKernelClient

import jobwire
from jobwire import Client, OutputUpdate, ProgressUnit, Status, StatusUpdate, Update
from jobwire.sync.notebook import bundle_of, is_live, render
from jobwire.sync.view import JobView

TIMEOUT = 30.0
LEFT = "import asyncio; print(len(asyncio.all_tasks(client._loop._loop)))"


class Text(HTMLParser):
    """The text of a piece of HTML, and its tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def view_of(*updates: Update) -> JobView:
    view = JobView()
    view.take(updates)
    return view


def status(code: Status = Status.PROCESSING, **fields: Any) -> StatusUpdate:
    known = dict.fromkeys(("rank", "queue_size", "eta", "success", "time", "progress_data"))
    return StatusUpdate(code, **{**known, **fields})


def progress(*units: ProgressUnit) -> StatusUpdate:
    return status(Status.PROGRESS, progress_data=list(units))


def log(text: str, level: str = "info") -> StatusUpdate:
    return status(Status.LOG, log=(text, level))


def test_what_is_shown() -> None:
    view = view_of(
        status(Status.IN_QUEUE, rank=2, queue_size=5, eta=1.25),
    )
    assert Text(render("/steps", view)).text == "/steps queued, 2 ahead of 5 waiting, 1.2 s to go"
    view.take([log("hm", "warning"), OutputUpdate("one"), OutputUpdate({"n": 2})])
    view.take([progress(ProgressUnit(1, 4, "parts", None, "work"), ProgressUnit(desc="wait"))])
    html = render("/steps", view)
    assert '<progress max="1" value="0.2500"' in html
    assert '<progress max="1" style' in html  # it is not known how far
    assert Text(html).text == ('/steps running work: 1/4 parts waitwarning hmoutput 2{"n": 2}')
    view.take([OutputUpdate("all", final=True), status(Status.FINISHED, success=True)])
    html = render("/steps", view)
    assert Text(html).text == "/steps finishedwarning hmoutput 2all"
    assert "<progress" not in html
    assert Text(render("/x", JobView())).text == "/x submitted"


def test_how_it_ended() -> None:
    done = view_of(OutputUpdate(5, final=True), status(Status.FINISHED, success=True))
    assert Text(render("/x", done)).text == "/x finishedresult5"
    failed = view_of(status(Status.FINISHED, success=False))
    assert Text(render("/x", failed, jobwire.AppError("no"))).text == "/x failedAppError: no"
    cancelled = view_of(OutputUpdate("a part"), status(Status.CANCELLED, success=False))
    error = jobwire.JobCancelledError("by us")
    assert Text(render("/x", cancelled, error)).text == (
        "/x cancelledoutput 1a partJobCancelledError: by us"
    )


def test_what_an_app_says_is_text() -> None:
    evil = "<script>alert(1)</script><img src=x onerror='x'>\"&amp;"
    view = view_of(
        log(evil, evil),
        progress(ProgressUnit(1, 2, evil, None, evil)),
        OutputUpdate(evil),
    )
    html = Text(render(evil, view, jobwire.AppError(evil)))
    assert set(html.tags) == {"div", "b", "span", "progress", "pre"}
    assert set(html.attributes) == {"style", "max", "value"}
    assert html.text.count(evil) == 7


def test_much_is_cut() -> None:
    view = view_of(*(log(f"line {i}") for i in range(200)), OutputUpdate("a" * 10**6 + "end"))
    html = render("/x", view)
    assert len(html) < 20_000
    assert "150 lines before these" in html
    assert "line 199" in html
    assert "line 149" not in html
    assert "end</pre>" in html


def test_values_that_are_no_json() -> None:
    assert "&lt;object" in render("/x", view_of(OutputUpdate(object())))


def test_bundle_of_a_job(client: Client) -> None:
    job = client.submit(2, api_name="/steps")
    assert bundle_of(job)["text/plain"].startswith("<Job /steps: ")
    job.result()
    assert job._repr_mimebundle_(include=None) == bundle_of(job)
    assert bundle_of(job)["text/plain"] == "<Job /steps: finished>"
    assert "result" in Text(bundle_of(job)["text/html"]).text
    failed = client.submit("titled", api_name="/fail")
    failed.exception()
    assert bundle_of(failed)["text/plain"] == "<Job /fail: failed: a <b>bad</b> thing>"
    assert "AppError: a <b>bad</b> thing" in Text(bundle_of(failed)["text/html"]).text


def test_outside_of_a_kernel(client: Client) -> None:
    from IPython.core.formatters import DisplayFormatter

    assert not is_live()
    job = client.submit("x", api_name="/echo")
    job.result()
    format = DisplayFormatter(active_types=["text/plain", "text/html"]).format
    data, _ = format(job)  # type: ignore[no-untyped-call]
    assert data == bundle_of(job)


# -- in a kernel --


class Kernel:
    """A real kernel of a notebook."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client
        self._ids: dict[str, str] = {}
        self.shown: list[tuple[str, dict[str, Any]]] = []
        self.printed = ""

    def run(self, code: str) -> str:
        """Run a cell and return what it printed, errors included."""
        before = len(self.printed)
        id = self._client.execute(code)
        self.until(lambda message: self._ends(message, id))
        return self.printed[before:]

    @staticmethod
    def _ends(message: dict[str, Any], id: str) -> bool:
        state = message["content"].get("execution_state")
        return bool(message["parent_header"].get("msg_id") == id and state == "idle")

    def until(self, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Take what the kernel sends until something is true of it."""
        while True:
            message: dict[str, Any] = self._client.get_iopub_msg(timeout=TIMEOUT)
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                self.printed += content["text"]
            elif kind == "error":
                self.printed += "\n".join(content["traceback"])
            elif kind in ("display_data", "update_display_data", "execute_result"):
                self.shown.append((kind, content))
            if true(message):
                return message

    def until_shown(self, text: str) -> None:
        """Wait until a job is shown with such a line."""
        if not self.shown or text not in self.shown[-1][1]["data"]["text/plain"]:
            self.until(lambda message: text in str(message["content"].get("data")))


@pytest.fixture(scope="module")
def kernel() -> Iterator[BlockingKernelClient]:
    manager, client = jupyter_client.manager.start_new_kernel(kernel_name="python3")
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture
def cells(kernel: BlockingKernelClient, url: str) -> Iterator[Kernel]:
    cells = Kernel(kernel)
    assert cells.run(f"import jobwire; client = jobwire.Client({url!r}, verbose=False)") == ""
    yield cells
    assert cells.run("client.close()") == ""
    assert cells.run(LEFT) == "0\n"


def test_live_in_a_kernel(cells: Kernel) -> None:
    assert cells.run("job = client.submit(4, api_name='/steps'); job") == ""
    cells.until_shown("<Job /steps: finished>")
    kinds = [kind for kind, _ in cells.shown]
    assert kinds == ["display_data"] + ["update_display_data"] * (len(kinds) - 1)
    # One place, which changes.
    assert len({content["transient"]["display_id"] for _, content in cells.shown}) == 1
    texts = [content["data"]["text/plain"] for _, content in cells.shown]
    assert any(re.search(r"running, working: [123]/4 parts", text) for text in texts)
    pages = [content["data"]["text/html"] for _, content in cells.shown]
    assert any('<progress max="1" value="0.5000"' in page for page in pages)
    assert "result" in Text(pages[-1]).text


def test_other_cells_run_meanwhile(cells: Kernel) -> None:
    assert cells.run("job = client.submit(1000, 0.05, api_name='/count'); job") == ""
    cells.until_shown("running")
    assert cells.run("print(1 + 1, job.cancel())") == "2 True\n"
    cells.until_shown("cancelled")
    assert "JobCancelledError" in cells.shown[-1][1]["data"]["text/html"]


def test_many_outputs_are_shown_now_and_then(cells: Kernel) -> None:
    cells.run("job = client.submit(500, api_name='/grow'); job")
    cells.until_shown("finished")
    assert len(cells.shown) < 50
    assert "output 500" in cells.shown[-1][1]["data"]["text/html"]


def test_job_that_has_ended(cells: Kernel) -> None:
    cells.run("job = client.submit('x', api_name='/fail'); job.exception(); None")
    cells.run("job")
    [(kind, content)] = cells.shown
    assert kind == "display_data"
    assert "failed: a bad thing" in content["data"]["text/plain"]


def test_progress_bar_in_a_kernel(cells: Kernel) -> None:
    code = "print(client.submit(2, api_name='/steps').progress_bar())"
    assert cells.run(code) == "done\n"
    cells.until_shown("finished")


def test_client_in_a_kernel(cells: Kernel) -> None:
    cells.run("client")
    [(_, content)] = cells.shown
    assert 'api_name="/plain")' in content["data"]["text/plain"]


def test_asynchronous_client_in_a_kernel(cells: Kernel, url: str) -> None:
    code = f"""
        async with jobwire.AsyncClient({url!r}, verbose=False) as other:
            print(await other.predict("x", api_name="/echo"), client.predict("y", api_name="/echo"))
    """
    assert cells.run(textwrap.dedent(code)) == "x y\n"
