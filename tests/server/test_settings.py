"""Settings and arguments that make no sense, and those of ``gradio.Server.launch``."""

from __future__ import annotations

import asyncio
import math
import sys
from typing import Any

import pytest

from jobwire import App
from jobwire.exceptions import ArgumentError
from jobwire.server.app import is_loading
from jobwire.server.errors import DeclarationError, OutputError, UnavailableError
from jobwire.server.metrics import render
from jobwire.server.serve import BackgroundServer
from jobwire.server.settings import parse_size
from jobwire.server.signature import inspect_function
from server.http_app import Http
from server.tools_app import make_tools

COUNTS = ("max_threads", "max_body_size", "max_output_size")
LIMITS = (
    "max_size",
    "default_concurrency_limit",
    "max_file_size",
    "max_upload_size",
    "max_storage_size",
    "max_results_size",
    "max_processes",
    "max_jobs_per_process",
)
TTLS = ("result_ttl", "session_ttl", "upload_ttl")

NONSENSE: list[tuple[str, Any]] = [
    *((name, value) for name in COUNTS + LIMITS for value in (0, -5, "4", "16MB", 2.5, True)),
    *((name, None) for name in COUNTS + TTLS),
    *((name, value) for name in TTLS for value in (-1, "1h", math.nan, True)),
    ("abandon_after", -1),
    ("abandon_after", "1m"),
    ("executor", None),
    ("executor", "fork"),
    ("title", None),
    ("title", b"Tools"),
    ("description", None),
    ("auth_message", 5),
    ("show_errors", "yes"),
    ("allowed_hosts", "localhost"),
    ("allowed_hosts", ["https://example.org"]),
    ("allowed_hosts", ["exam*.org"]),
    ("allowed_hosts", [5]),
    ("allowed_hosts", 5),
    ("allowed_origins", "https://example.org"),
    ("allowed_origins", None),
    ("allowed_origins", ["example.org"]),
    ("allowed_origins", ["https://*.example.org"]),
    ("allowed_origins", ["https://example.org/page"]),
]


@pytest.mark.parametrize(("name", "value"), NONSENSE)
def test_nonsense_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=f"^{name} is .*, not ") as caught:
        App(**{name: value})
    assert caught.value.parameter == name
    assert str(caught.value).endswith(repr(value))
    app = App()
    with pytest.raises(ArgumentError):
        app.configure(**{name: value})
    assert app.settings == App().settings


@pytest.mark.parametrize(
    "settings",
    [
        *({name: value} for name in LIMITS for value in (None, 1)),
        *({name: value} for name in TTLS for value in (0, 0.5, math.inf)),
        {"abandon_after": None},
        {"auth_message": "Who?"},
        {"allowed_hosts": None},
        {"allowed_hosts": []},
        {"allowed_hosts": ["*"]},
        {"allowed_hosts": ("example.org", "*.example.org", "[::1]", "127.0.0.1:7860")},
        {"allowed_origins": ["*"]},
        {"allowed_origins": ["null", "https://example.org/", "HTTP://example.org:8000"]},
    ],
)
def test_what_makes_sense_is_kept(settings: dict[str, Any]) -> None:
    app = App(**settings)
    for name, value in settings.items():
        assert getattr(app.settings, name) == value


def test_what_is_kept_has_limits() -> None:
    settings = App().settings
    assert settings.max_storage_size == 16 * 1024**3
    assert settings.max_results_size == 1024**3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", 5),
        ("description", 5),
        ("visibility", "hidden"),
        ("queue", "yes"),
        ("queue", None),
        ("batch", 1),
        ("max_batch_size", None),
        ("max_batch_size", "default"),
        ("max_batch_size", 0),
        ("max_batch_size", 2.5),
        ("concurrency_limit", 0.5),
        ("concurrency_limit", 0),
        ("concurrency_limit", "2"),
        ("concurrency_id", 3),
        ("time_limit", "default"),
        ("time_limit", 0),
        ("time_limit", -1.0),
        ("time_limit", math.nan),
        ("priority", "high"),
        ("priority", None),
        ("executor", "fork"),
        ("show_errors", "yes"),
    ],
)
def test_an_endpoint_is_not_declared_with_nonsense(name: str, value: Any) -> None:
    app = App()

    def echo(x: list[int]) -> list[int]:
        return x

    with pytest.raises(DeclarationError, match=f"{name} is .*, not ") as caught:
        app.endpoint(**{name: value})(echo)
    assert str(caught.value).endswith(repr(value))
    assert not app.endpoints


# -- what functions give ------------------------------------------------------------


class NoFiles:
    def publish(self, path: object) -> dict[str, Any]:
        raise OSError(path)


def test_a_coroutine_is_closed_and_explained() -> None:
    async def late(x: int) -> int:
        return x

    def nothing(x: int) -> None:
        return late(x)  # type: ignore[return-value]

    for function in (lambda x: late(x)), nothing:
        signature = inspect_function(function, injectable=())
        result = function(3)
        with pytest.raises(OutputError, match="it gave a coroutine: declare it `async def`"):
            signature.encode(result, files=NoFiles())
        with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
            asyncio.run(result)  # type: ignore[arg-type]


def test_a_list_of_the_right_length_is_several_outputs() -> None:
    def pair() -> tuple[int, str]:
        return [1, "a"]  # type: ignore[return-value]

    signature = inspect_function(pair, injectable=())
    assert signature.encode(pair(), files=NoFiles()) == [1, "a"]
    with pytest.raises(OutputError, match="it gave 3 of them"):
        signature.encode([1, "a", 2], files=NoFiles())


# -- metrics ------------------------------------------------------------------------


def test_metrics_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with BackgroundServer(make_tools()) as server:
        service = Http(server.url, server)
        service.get("/health")
        monkeypatch.setitem(sys.modules, "prometheus_client", None)
        with pytest.raises(UnavailableError, match=r"prometheus_client: pip install 'jobwire\[m"):
            render(service.service)


# -- launch -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("7b", 7),
        ("10kb", 10 * 1024),
        ("5mb", 5 * 1024**2),
        ("5 MB", 5 * 1024**2),
        ("1gb", 1024**3),
        ("1GiB", 1024**3),
        ("2tb", 2 * 1024**4),
        (12, 12),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text, parameter="max_file_size") == size


@pytest.mark.parametrize("text", ["", "5", "mb", "-5mb", "1.5mb", "5xb", "5 apples", 2.5])
def test_what_is_no_size(text: Any) -> None:
    with pytest.raises(ArgumentError, match="such as '5mb'"):
        parse_size(text, parameter="max_file_size")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What ``launch`` asked the server for, which is not started."""
    asked: dict[str, Any] = {}

    def run(app: App, *, on_start: Any, **options: Any) -> None:
        asked.update(options)
        on_start("http://there")

    monkeypatch.setattr("jobwire.server.serve.run", run)
    for name in ("GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT"):
        monkeypatch.delenv(name, raising=False)
    return asked


def test_launch_takes_positions_as_gradio(served: dict[str, Any]) -> None:
    app = make_tools()
    with pytest.warns(UserWarning, match="no use for inline, debug, height, strict_cors, theme$"):
        app.launch(
            True, False, False, True, 7, ("ada", "pass"), "Who?", False, True, "127.0.0.2", 8123,
            height=300, quiet=True, theme="soft", strict_cors=False, ssr_mode=False,
            mcp_server=False, allowed_paths=[],
        )  # fmt: skip
    assert (served["host"], served["port"]) == ("127.0.0.2", 8123)
    assert (app.settings.max_threads, app.settings.auth_message) == (7, "Who?")
    assert all(endpoint.show_errors for endpoint in app.endpoints.values())


def test_launch_does_not_warn_of_what_asks_for_nothing(served: dict[str, Any]) -> None:
    make_tools().launch(
        inline=False, share=False, debug=False, ssr_mode=False, pwa=False, css="", quiet=True,
        ssl_verify=True, state_session_capacity=10000, max_file_size="5mb",
    )  # fmt: skip
    assert served["root_path"] == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("share", True),
        ("mcp_server", True),
        ("auth_dependency", print),
        ("allowed_paths", ["/"]),
        ("blocked_paths", ["/"]),
    ],
)
def test_launch_refuses_what_it_cannot_promise(
    served: dict[str, Any], name: str, value: Any
) -> None:
    with pytest.raises(ArgumentError, match=f"^{name} is not offered") as caught:
        make_tools().launch(**{name: value})
    assert caught.value.parameter == name
    assert not served


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ssl_keyfile": __file__}, "ssl_keyfile needs ssl_certfile"),
        ({"ssl_certfile": "nope.pem"}, "ssl_certfile: there is no file nope.pem"),
        (
            {"ssl_certfile": __file__, "ssl_keyfile": "nope.pem"},
            "ssl_keyfile: there is no file nope.pem",
        ),
        ({"server_port": 70000}, "server_port is a port"),
        ({"server_port": "http"}, "server_port is a port"),
        ({"max_file_size": "big"}, "max_file_size is a number of bytes"),
        ({"max_file_size": 0}, "max_file_size is an int of at least 1"),
        ({"max_threads": 0}, "max_threads is an int of at least 1"),
    ],
)
def test_launch_refuses_nonsense(
    served: dict[str, Any], arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ArgumentError, match=words):
        make_tools().launch(**arguments)
    assert not served


@pytest.mark.parametrize(
    ("root_path", "path"),
    [
        ("/tools", "/tools"),
        ("https://example.org/tools", "/tools"),
        ("http://example.org", ""),
        (None, ""),
    ],
)
def test_launch_takes_the_path_of_a_full_address(
    served: dict[str, Any], root_path: str | None, path: str
) -> None:
    make_tools().launch(root_path=root_path, quiet=True)
    assert served["root_path"] == path


def test_launch_reads_the_environment(
    served: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", "127.0.0.3")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "8124")
    make_tools().launch(quiet=True)
    assert (served["host"], served["port"]) == ("127.0.0.3", 8124)
    make_tools().launch(quiet=True, server_name="127.0.0.4", server_port=0)
    assert (served["host"], served["port"]) == ("127.0.0.4", 0)
    for text in ("http", "70000", "-1"):
        monkeypatch.setenv("GRADIO_SERVER_PORT", text)
        with pytest.raises(ArgumentError, match=f"^GRADIO_SERVER_PORT is a port .*'{text}'$"):
            make_tools().launch(quiet=True)


def test_launch_limits_uploads_by_words(served: dict[str, Any]) -> None:
    app = make_tools()
    app.launch(quiet=True, max_file_size="1 kb")
    assert served
    assert app.settings.max_file_size == 1024


def test_launch_serves_nothing_while_a_program_is_loaded(
    served: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    app = make_tools()
    token = is_loading.set(True)
    try:
        assert app.launch(auth=("ada", "pass"), server_port=9870) == (app, "", "")
    finally:
        is_loading.reset(token)
    assert not served
    assert app.auth is not None  # nobody is let in for having been started in another way
    assert capsys.readouterr().err == (
        "jobwire: launch() only sets the app up here, `jobwire serve` serves it, without its "
        "server_port\n"
    )
