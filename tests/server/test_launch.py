"""Starting and ending: ``App.launch``, ``jobwire serve``, ``jobwire demo``."""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobwire import App, Client
from jobwire.cli import main
from jobwire.cli.serve import load
from jobwire.exceptions import ArgumentError
from jobwire.server.serve import PORTS, BackgroundServer, free_port
from server.conftest import TESTS, Serving, serving_app
from server.http_app import API, Http, Stage, eventually, leaving_no_threads
from server.tools_app import make_tools

# -- the surface of gradio.Server ---------------------------------------------------


Parameters = dict[str, tuple[str, Any]]
"""By name: the kind and the default."""

# In a process of its own: once imported, gradio makes every test after it slower.
ASK_GRADIO = """
import gradio, inspect
for function in gradio.Server.api, gradio.Server.launch:
    parameters = inspect.signature(function).parameters.values()
    print([(p.name, p.kind.name, p.default) for p in parameters if p.name != "self"])
"""


def parameters(function: Callable[..., Any]) -> Parameters:
    return {
        name: (parameter.kind.name, parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    }


@pytest.fixture(scope="module", autouse=True)
def asked_gradio() -> Iterator[subprocess.Popen[str]]:
    """It takes its time, so it begins with the first test; the last one needs it."""
    command = [sys.executable, "-c", ASK_GRADIO]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        yield process
        process.kill()


def test_api_in_all_its_forms() -> None:
    app = App()

    @app.api
    def bare(x: int) -> int:
        return x

    def called(x: int) -> int:
        return x

    def other(x: int) -> int:
        return x

    assert app.api()(called) is called
    with_options = app.api(
        name="named", description="Said.", concurrency_limit=None, concurrency_id="line"
    )
    assert with_options(other) is other
    app.api(bare)
    app.api(bare, name="called")
    app.api(bare, api_visibility="private", name="hidden", time_limit=3, stream_every=1)
    assert bare(3) == 3
    assert list(app.endpoints) == ["bare", "called", "named", "bare_1", "called_1", "hidden"]
    assert app.endpoints["named"].description == "Said."
    assert app.endpoints["named"].concurrency_id == "line"
    assert app.endpoints["named"].concurrency_limit is None
    assert app.endpoints["hidden"].visibility == "private"
    assert app.endpoints["hidden"].time_limit == 3


# -- launch -------------------------------------------------------------------------

PROGRAM = """
from jobwire import App

app = App(title="Launched")

@app.api
def hello(name: str) -> str:
    if not name:
        raise ValueError("a secret of the server")
    return f"Hello, {name}!"
"""


def program(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM + textwrap.dedent(code)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(code: str, **environment: str) -> tuple[int, str, str]:
    process = program(code, **environment)
    output, errors = process.communicate(timeout=30)
    # On a busy machine, asyncio's debug mode complains of slow steps.
    errors = "".join(
        line for line in errors.splitlines(keepends=True) if not line.startswith("Executing <")
    )
    return process.returncode, output, errors


CALL = """
from jobwire import Client
with Client(url) as client:
    print(client.predict("Ada", api_name="/hello"))
"""


def test_launch_beside_the_program() -> None:
    code, output, errors = finished(
        "same, url, share = app.launch(prevent_thread_lock=True, server_port=0)\n"
        "assert same is app and share == ''\n" + CALL
    )
    assert (code, errors) == (0, "")
    assert re.fullmatch(
        r"jobwire serves 'Launched' at http://127\.0\.0\.1:\d+\nHello, Ada!\n", output
    )


def test_launch_quietly_with_everything() -> None:
    code, output, errors = finished(
        """
        _, url, _ = app.launch(
            prevent_thread_lock=True, server_name="127.0.0.1", server_port=0, quiet=True,
            inbrowser=True, auth=("ada", "pass"), auth_message="Who?", max_threads=2,
            show_error=True, root_path="/outer", max_file_size=10, share=False,
        )
        import base64, json, urllib.error, urllib.request
        from jobwire import AppError, Client
        try:
            urllib.request.urlopen(url + "/config")
        except urllib.error.HTTPError as error:
            with error:
                print(error.code, json.load(error)["detail"]["auth_message"])
        login = {"Authorization": "Basic " + base64.b64encode(b"ada:pass").decode()}
        with urllib.request.urlopen(urllib.request.Request(url + "/config", headers=login)) as r:
            config = json.load(r)
        print(config["root"].removeprefix(url), config["max_file_size"])
        with Client(url, auth=("ada", "pass")) as client:
            try:
                client.predict("", api_name="/hello")
            except AppError as error:
                print(error.message)
        print(app.settings.max_threads)
        """,
        BROWSER="/bin/echo opened %s",
    )
    assert code == 0, errors
    opened, *rest = output.splitlines()
    assert opened.startswith("opened http://127.0.0.1:")
    assert rest[0] == "401 Who?"
    assert rest[1] == "/outer 10"
    assert rest[2] == "a secret of the server"
    assert rest[3] == "2"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_launch_until_a_signal(number: signal.Signals) -> None:
    process = program("app.launch(server_port=0)")
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 30)[0]
        # Written at once, though it is no terminal: who starts it waits for this.
        url = process.stdout.readline().split()[-1]
        with Client(url) as client:
            assert client.predict("Ada", api_name="/hello") == "Hello, Ada!"
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        if number is signal.SIGTERM:
            assert not errors
        assert process.returncode in (0, 130, -number)
    finally:
        process.kill()
        process.communicate()


def test_launch_takes_the_first_free_port() -> None:
    with contextlib.ExitStack() as stack:
        for port in PORTS[:2]:
            listener = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # somebody has it, which is as good
                listener.bind(("127.0.0.1", port))
                listener.listen()
        code, output, _ = finished("print(app.launch(prevent_thread_lock=True, quiet=True)[1])")
        assert code == 0
        assert int(output.strip().rpartition(":")[2]) in PORTS[2:]
        assert free_port("127.0.0.1") in PORTS[2:]


def test_launch_refuses_what_it_cannot_do() -> None:
    app = make_tools()
    for name in ("share", "mcp_server", "auth_dependency", "allowed_paths"):
        with pytest.raises(ArgumentError, match=name) as caught:
            app.launch(**{name: True})  # type: ignore[arg-type]
        assert caught.value.parameter == name
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}"):
            app.launch(server_port=port, prevent_thread_lock=True)
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1 port"):
        app.launch(server_name="192.0.2.1", prevent_thread_lock=True)
    with pytest.raises(ArgumentError, match="max_file_size"):
        app.launch(max_file_size="huge")
    with pytest.raises(ArgumentError, match="ssl_certfile"):
        app.launch(ssl_keyfile="key.pem")
    with pytest.raises(ArgumentError, match="server_port"):
        app.launch(server_port=70_000)
    with pytest.raises((ArgumentError, ValueError), match="auth"):
        app.launch(auth=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="nope"):
        app.launch(nope=1)  # type: ignore[call-arg]


def test_launch_says_what_it_ignores() -> None:
    code, _, errors = finished(
        """
        import warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            app.launch(
                prevent_thread_lock=True, server_port=0, quiet=True, favicon_path="x.ico", pwa=True
            )
        (warning,) = caught
        assert str(warning.message) == "launch() has no use for favicon_path, pwa", warning
        """
    )
    assert (code, errors) == (0, "")


def test_launch_takes_sizes_in_words() -> None:
    code, output, errors = finished(
        """
        import json, urllib.request
        _, url, _ = app.launch(
            prevent_thread_lock=True, server_port=0, quiet=True, max_file_size="5kb"
        )
        with urllib.request.urlopen(url + "/config") as answer:
            print(json.load(answer)["max_file_size"])
        """
    )
    assert (code, errors) == (0, "")
    assert int(output) in (5000, 5120)


def test_an_app_that_is_served_is_not_changed() -> None:
    app = make_tools()
    with leaving_no_threads(), BackgroundServer(app) as server:
        assert Http(server.url).get("/config").status == 200
        with pytest.raises(RuntimeError, match="served already"):
            app.launch(auth=("ada", "pass"), prevent_thread_lock=True)
        with pytest.raises(RuntimeError, match="served already"):
            app.configure(max_size=3)


def test_a_background_server_tells_how_jobs_ended() -> None:
    stage = Stage()
    with leaving_no_threads():
        server = BackgroundServer(stage.app)
        server.start()
        http_ = Http(server.url, server)
        running, waiting = http_.join("hold", "t"), http_.join("hold", "u")
        with http_.stream() as stream:
            assert stage.started["t"].wait(10)
            stopping = threading.Thread(target=server.stop, name="Thread-stopping")
            stopping.start()
            ends = [stream.until("process_completed") for _ in range(2)]
            assert {end["event_id"] for end in ends} == {running, waiting}
            for end in ends:
                assert not end["success"]
                assert "stopped" in end["output"]["error"]
        stage.gates["t"].set()
        stopping.join(10)
        assert not stopping.is_alive()
        server.stop()  # harmless when repeated
    with pytest.raises(OSError, match="refused"):
        http_.get("/health")


def test_a_background_server_on_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with leaving_no_threads(), BackgroundServer(make_tools(), host="::1") as server:
        assert server.url.startswith("http://[::1]:")
        with urllib.request.urlopen(f"{server.url}/config", timeout=10) as answer:
            assert json.load(answer)["root"] == server.url


# -- jobwire serve ------------------------------------------------------------------


def serve(*arguments: str) -> tuple[int, str]:
    """Run ``jobwire serve`` where it ends by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "jobwire", "serve", *arguments],
        env=os.environ | {"PYTHONPATH": str(TESTS), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert not done.stdout
    return done.returncode, done.stderr


@contextlib.contextmanager
def stopping(serving: Serving) -> Iterator[Serving]:
    """A server that is ended inside."""
    try:
        serving.wait_until_ready()
        yield serving
    finally:
        serving.process.kill()
        serving.process.wait()
        serving._reader.join()


def ended(serving: Serving, number: signal.Signals) -> int:
    serving.process.send_signal(number)
    code = serving.process.wait(15)
    serving._reader.join()
    return code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_with_a_signal(number: signal.Signals) -> None:
    with stopping(Serving("server.tools_app")) as serving:
        eventually(lambda: serving.log)
        assert serving.log[0] == f"jobwire serves 'Tools' at {serving.url}\n"
        with Client(serving.url) as client:
            assert client.predict("Ada", api_name="/greet") == "Hello, Ada!"
        Http(serving.url).get("/the-last")
        begun = time.monotonic()
        ended(serving, number)
        assert time.monotonic() - begun < 5
        if number is signal.SIGINT:
            assert any("/the-last" in line for line in serving.log)
        assert "Traceback" not in "".join(serving.log)
        with pytest.raises(OSError):
            Http(serving.url).get("/health")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_with_the_code_that_its_help_names(number: signal.Signals) -> None:
    with stopping(Serving("server.tools_app")) as serving:
        Http(serving.url).get("/the-last")
        assert ended(serving, number) == 0
        assert any("/the-last" in line for line in serving.log)


def test_serve_tells_callers_that_it_ends() -> None:
    with stopping(Serving("server.types_app:app", "--grace", "0.5")) as serving:
        http_ = Http(serving.url)
        id = http_.post("/call/held", {"data": ["t"]}).json["event_id"]
        with http_.follow("held", id) as stream:
            serving.process.send_signal(signal.SIGTERM)
            ((kind, data),) = stream.events()
        assert kind == "error"
        assert "stopped" in data["error"]
        assert serving.process.wait(10) is not None


def test_serve_takes_any_free_port() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "jobwire", "serve", "server.tools_app:app", "--port", "0"],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        assert int(url.rpartition(":")[2]) > 0
        assert Http(url).get("/health").status == 200
    finally:
        process.kill()
        process.communicate()


def test_serve_where_the_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, errors = serve("server.tools_app", "--port", str(port))
    assert code == 2
    assert errors.startswith("jobwire: ")
    assert errors.endswith(f"cannot listen on 127.0.0.1 port {port}: Address already in use\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["server.nope:app"], "there is no module server.nope;"),
        (["server.tools_app", "--host", "192.0.2.1"], "cannot listen on 192.0.2.1 port 7860"),
    ],
)
def test_serve_says_what_is_wrong(arguments: list[str], words: str) -> None:
    code, errors = serve(*arguments)
    assert code == 2
    assert words in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--log-format", "xml"], "--log-format is 'text' or 'json'"),
        (["--port", "70000"], "'--port'"),
        (["--port", "http"], "'--port'"),
        (["--reload"], "--reload"),
    ],
)
def test_serve_refuses_options(
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["jobwire", "serve", "server.tools_app", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("here", "app is no App in here; it has tools, more"),
        ("here:nope", "nope is no App in here; it has tools, more"),
        ("here:make", "make is no App in here; it has tools, more"),
        ("here:tools.nope", "tools.nope is no App in here"),
        ("empty:app", "app is no App in empty; it has none"),
        ("nope:app", "there is no module nope; give it as Python imports it"),
        ("nope.py:app", "there is no file nope.py"),
        ("package.nope:app", "there is no module package.nope"),
        ("package.nope.nope:app", "there is no module package.nope.nope"),
    ],
)
def test_targets_that_are_none(here: Path, target: str, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        load(target)
    assert message in str(caught.value)


@pytest.mark.parametrize("target", ["here :app", "a/b:app", "$:app"])
def test_targets_that_name_no_module(here: Path, target: str) -> None:
    with pytest.raises(ArgumentError, match="there is no module"):
        load(target)


@pytest.mark.parametrize("target", ["", ":app", "..here:app"])
def test_targets_that_are_malformed(here: Path, target: str) -> None:
    with pytest.raises(ArgumentError):
        load(target)


def test_targets(here: Path) -> None:
    assert load("here:tools").settings.title == "Tools"
    assert load("here:holder.app").settings.title == "Held"
    assert load(f"{here}/here.py:more").settings.title == "More"
    assert load("here.py:tools").settings.title == "Tools"
    assert load("good").settings.title == "Good"
    assert load("package.good:app").settings.title == "Packed"


@pytest.mark.parametrize(
    ("name", "error"), [("needy", ModuleNotFoundError), ("wrong", SyntaxError), ("bad", KeyError)]
)
def test_errors_of_the_module_itself_are_shown(
    here: Path, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        load(f"{name}:app")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with modules, the current one."""
    files = {
        "here.py": "from jobwire import App\ntools = App(title='Tools')\nmore = App(title='More')\n"
        "class holder:\n    app = App(title='Held')\ndef make(): return tools\n",
        "empty.py": "",
        "good.py": "from jobwire import App\napp = App(title='Good')\n",
        "needy.py": "import not_installed\n",
        "wrong.py": "def\n",
        "bad.py": "{}['x']\n",
        "package/__init__.py": "",
        "package/good.py": "from jobwire import App\napp = App(title='Packed')\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {Path(file).parts[0].removesuffix(".py") for file in files}:
            del sys.modules[name]


def test_serve_logs_lines_of_json() -> None:
    with serving_app("server.types_app:app", "--log-format", "json") as serving:
        http_ = Http(serving.url).as_new({"User-Agent": "x\ny".replace("\n", " ")})
        http_.get("/config?token=very-secret")
        http_.get("/a%0d%0ab%22?token=very-secret")
        http_.run("fails", "raised")
        http_.run("complain", "the end")
        eventually(lambda: any("the end" in line for line in serving.log))
        lines = list(serving.log)
    begin, *written = lines
    assert begin.startswith("jobwire serves ")
    records = [json.loads(line) for line in written]
    for record in records:
        assert {"time", "level", "logger"} <= set(record)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", record["time"])
    (config,) = [record for record in records if record.get("path") == "/config"]
    assert (
        config.items()
        >= {
            "level": "info",
            "logger": "jobwire.access",
            "client": "127.0.0.1",
            "method": "GET",
            "status": 200,
            "user": None,
        }.items()
    )
    assert 0 < config["milliseconds"] < 5000
    (odd,) = [record for record in records if record.get("path", "").startswith("/a")]
    assert odd["path"] == '/a\r\nb"'
    assert odd["status"] == 404
    (failed,) = [record for record in records if record["level"] == "error"]
    assert failed["logger"] == "jobwire.server"
    assert failed["message"] == "/fails failed"
    assert "a secret of the server" in failed["exception"]
    assert "very-secret" not in "".join(lines)


def test_serve_logs_text() -> None:
    with serving_app("server.types_app:app") as serving:
        http_ = Http(serving.url)
        http_.get("/config?token=very-secret")
        http_.get("/a%0d%0ab?token=very-secret")
        http_.get(f"{API}/queue/data?session_hash=very-secret")
        http_.run("complain", "the end")
        eventually(lambda: any("the end" in line for line in serving.log))
        log = "".join(serving.log)
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO jobwire\.access: "
    assert re.search(stamp + r"127\.0\.0\.1 GET /config 200 \d+\.\d ms\n", log)
    assert re.search(stamp + r"127\.0\.0\.1 GET /a\\r\\nb 404 \d+\.\d ms\n", log)
    assert "very-secret" not in log


def test_serve_with_tls_and_without_an_access_log(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    options = "--ssl-keyfile", str(key), "--ssl-certfile", str(certificate), "--no-access-log"
    serving = Serving("server.tools_app", *options)
    try:
        eventually(lambda: len(serving.log) > 0)
        url = serving.url.replace("http:", "https:")
        assert serving.log[0] == f"jobwire serves 'Tools' at {url}\n"
        trust = ssl.create_default_context(cafile=str(certificate))
        with urllib.request.urlopen(f"{url}/config", context=trust, timeout=10) as answer:
            assert json.load(answer)["root"] == url
    finally:
        serving.stop()
    assert len(serving.log) == 1


# -- jobwire demo -------------------------------------------------------------------


def demo(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-X", "dev", "-W", "error", "-m", "jobwire", "demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_demo() -> None:
    with demo() as process, demo("--keep") as kept:
        try:
            output, errors = process.communicate(timeout=30)
            assert process.returncode == 0, errors
            check_demo(output, errors)

            assert kept.stdout is not None
            lines = iter(kept.stdout.readline, "")
            url = next(line for line in lines if line.lstrip().startswith("curl")).split()[1]
            request = urllib.request.Request(url, b'{"data": [7, 2]}')  # as curl -d sends it
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert json.load(answer)["data"] == [3.5]
            kept.send_signal(signal.SIGINT)
            _, errors = kept.communicate(timeout=15)
            assert kept.returncode == 0, errors
            assert "Traceback" not in errors
        finally:
            process.kill()
            kept.kill()


def check_demo(output: str, errors: str) -> None:
    found = re.search(r"serving three Python functions at (http://127\.0\.0\.1:\d+)\n", output)
    assert found
    url = found[1]
    assert f"$ jobwire call {url} /tell words=6\nonce upon a time a job\n" in output
    assert "3 loaves, still warm" in output
    assert "jobwire: the app failed: Arithmetic: nobody can divide by zero" in output
    assert f"curl {url}/gradio_api/run/divide -d '{{\"data\": [7, 2]}}'" in output
    assert f'Client("{url}").predict(7, 2, api_name="/divide")' in output
    assert "output: once upon a" in errors
    assert "running, baking: 1/3 loaves" in errors


def test_the_surface_is_that_of_gradio(asked_gradio: subprocess.Popen[str]) -> None:
    output, errors = asked_gradio.communicate(timeout=50)
    assert asked_gradio.returncode == 0, errors
    api, launch = (
        {name: (kind, default) for name, kind, default in ast.literal_eval(line)}
        for line in output.splitlines()
    )
    ours = parameters(App.api)
    assert list(ours) == list(api)
    assert ours == api

    ours = parameters(App.launch)
    # In the same places, so that what is given by position arrives as well.
    assert list(ours) == [name for name in launch if name != "_frontend"]
    for name, (kind, default) in ours.items():
        assert kind == launch[name][0], name
        # None leaves what the App was told; where it was told nothing, that is gradio's.
        assert default in (launch[name][1], None), name
    settings = App().settings
    assert settings.max_threads == launch["max_threads"][1]
    assert settings.show_errors is launch["show_error"][1]
    assert settings.auth is launch["auth"][1]
