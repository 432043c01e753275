"""An App inside of other applications, behind proxies, and under other servers."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from jobwire import App, Client
from ports import free_port
from server import tools_app
from server.conftest import serving_app, wait_for
from server.http_app import API, Http, serving_asgi
from server.tools_app import make_tools

Site = Callable[[App, Callable[[Any], Any]], Any]


def in_fastapi(app: App, lifespan: Callable[[Any], Any]) -> Any:
    site = fastapi.FastAPI(lifespan=lifespan)

    @site.get("/status")
    def status() -> str:
        return "open"

    @site.get("/sub/status")
    def other() -> str:
        return "open, too"

    site.mount("/sub/app", app)
    return site


def in_starlette(app: App, lifespan: Callable[[Any], Any]) -> Any:
    async def status(request: Request) -> PlainTextResponse:
        return PlainTextResponse('"open"')

    async def other(request: Request) -> PlainTextResponse:
        return PlainTextResponse('"open, too"')

    routes = [
        Route("/status", status),
        Route("/sub/status", other),
        Mount("/sub", routes=[Mount("/app", app)]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


@contextlib.contextmanager
def mounted(app: App, site: Site, *, lifespan: str = "on", **options: Any) -> Iterator[Http]:
    @contextlib.asynccontextmanager
    async def closing(_: Any) -> AsyncIterator[None]:
        yield
        app.close()

    with contextlib.ExitStack() as stack:
        url = stack.enter_context(
            serving_asgi(site(app, closing), lifespan=lifespan, **options)
        ).url
        yield Http(f"{url}/sub/app")
        for service in app._services.values():  # where no lifespan ends it
            service.loop.call_soon_threadsafe(service.close)


def use(url: str) -> None:
    """Make each kind of call."""
    http_ = Http(url)
    (path,) = http_.upload(("said.txt", b"quietly")).json
    with Client(url, download_files=False) as client:
        assert client.predict("Ada", api_name="/greet") == "Hello, Ada!"
        assert list(client.submit(3, api_name="/count")) == [0, 1, 2]
        shouted = client.predict({"path": path}, api_name="/shout")
    assert shouted["url"].startswith(f"{url}{API}/file=")
    with urllib.request.urlopen(shouted["url"], timeout=10) as answer:
        assert answer.read() == b"QUIETLY"


SITES = [in_fastapi, in_starlette]


@pytest.mark.parametrize("lifespan", ["on", "off"])
@pytest.mark.parametrize("site", SITES)
def test_an_app_below_a_path(site: Site, lifespan: str) -> None:
    with mounted(make_tools(), site, lifespan=lifespan) as http_:
        use(http_.url)
        outer = Http(http_.url.removesuffix("/sub/app"))
        assert outer.get("/status").json == "open"
        assert outer.get("/sub/status").json == "open, too"
        for path in ("/config", "/gradio_api/info", "/nope", "/sub/gradio_api/info"):
            assert outer.get(path).status == 404


@pytest.mark.parametrize("site", SITES)
def test_an_app_below_a_path_knows_its_address(site: Site) -> None:
    with mounted(make_tools(), site) as http_:
        for path in ("/config", "/config/"):
            assert http_.get(path).json["root"] == http_.url
        assert http_.get(f"{API}/openapi.json").json["servers"] == [{"url": http_.url}]
        for path in ("", "/"):
            page = http_.get(path)
            assert page.status in (200, 307), path
        assert f"{http_.url}/gradio_api/call" in http_.get("/").body.decode()
        assert http_.get("/nope").json == {"detail": "Not Found"}


@pytest.mark.parametrize("site", SITES)
def test_files_below_a_path(site: Site) -> None:
    with mounted(make_tools(), site) as http_:
        (path,) = http_.upload(("a b#c.txt", b"quietly")).json
        (shouted,) = http_.run("shout", {"path": path}).json["data"]
        assert shouted["url"].startswith(f"{http_.url}{API}/file=")
        with urllib.request.urlopen(shouted["url"], timeout=10) as answer:
            assert answer.read() == b"QUIETLY"


@pytest.mark.parametrize("site", SITES)
def test_a_login_below_a_path(site: Site) -> None:
    with mounted(make_tools(auth=("ada", "pass")), site) as http_:
        assert http_.get("/config").status == 401
        assert http_.get("/health").status == 200
        with Client(http_.url, auth=("ada", "pass")) as client:
            assert client.predict("Ada", api_name="/greet") == "Hello, Ada!"
        assert http_.get("/logout").headers["location"].endswith("/sub/app/")


def test_an_application_with_a_root_path_of_its_own() -> None:
    app = make_tools()
    with mounted(app, in_fastapi, root_path="/outer") as http_:
        # As a proxy passes it on, without the path below which it shows the site.
        root = http_.get("/config").json["root"]
        assert root == http_.url.replace("/sub", "/outer/sub")


def test_two_apps_in_one_site() -> None:
    apps = {"one": make_tools(), "two": make_tools()}

    @contextlib.asynccontextmanager
    async def closing(_: Any) -> AsyncIterator[None]:
        yield
        for app in apps.values():
            app.close()

    routes = [Mount(f"/{name}", app) for name, app in apps.items()]
    with serving_asgi(Starlette(routes=routes, lifespan=closing)) as http_:
        one, two = Http(f"{http_.url}/one"), Http(f"{http_.url}/two")
        use(one.url)
        use(two.url)
        with one.follow("greet", two.call("greet", "Ada")) as stream:
            assert stream.events() == [("error", "404: Not Found")]


# -- proxies ------------------------------------------------------------------------


class StrippingProxy(socketserver.ThreadingTCPServer):
    """Shows a server below ``/outer``, as ``location /outer/ { proxy_pass ...; }`` does."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, port: int) -> None:
        self.upstream = port
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/outer"


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, StrippingProxy)
        line = self.rfile.readline()
        assert b" /outer/" in line, line
        head = line.replace(b" /outer/", b" /", 1) + b"Connection: close\r\n"
        while (line := self.rfile.readline()).strip():
            if not line.lower().startswith(b"connection:"):
                head += line
        with socket.create_connection(("127.0.0.1", self.server.upstream)) as far:
            far.sendall(head + b"\r\n")
            body = threading.Thread(target=self._pass_on_body, args=(far,), daemon=True)
            body.start()
            with contextlib.suppress(OSError):
                while data := far.recv(65536):
                    self.wfile.write(data)
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            body.join()

    def _pass_on_body(self, far: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := self.rfile.read1(65536):
                far.sendall(data)


def test_behind_a_proxy_that_strips_a_path() -> None:
    with serving_app("server.tools_app", "--root-path", "/outer") as serving:
        with StrippingProxy(serving.port) as proxy:
            thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
            thread.start()
            try:
                use(proxy.url)
                assert Http(proxy.url).get("/config").json["root"] == proxy.url
            finally:
                proxy.shutdown()
                thread.join()


def test_behind_a_proxy_that_speaks_tls() -> None:
    hosts = "--allowed-host", "tools.example.org", "--allowed-host", "127.0.0.1"
    trust = "--forwarded-allow-ips", "127.0.0.1"
    with serving_app("server.tools_app", "--root-path", "/outer", *hosts, *trust) as serving:
        http_ = Http(serving.url).as_new(
            {"Host": "tools.example.org", "X-Forwarded-Proto": "https"}
        )
        root = "https://tools.example.org/outer"
        assert http_.get("/config").json["root"] == root
        (path,) = http_.upload(("a.txt", b"quietly")).json
        (shouted,) = http_.run("shout", {"path": path}).json["data"]
        assert shouted["url"].startswith(f"{root}{API}/file=")
        url = shouted["url"].removeprefix(root)
        assert http_.get(url).body == b"QUIETLY"
        assert http_.as_new({"Host": "evil.example"}).get("/config").status == 421


def test_headers_of_a_proxy_that_nobody_named() -> None:
    forged = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    with serving_app("server.tools_app") as serving:
        root = Http(serving.url).as_new(forged).get("/config").json["root"]
        assert root == serving.url
    assert not any("192.0.2.1" in line for line in serving.log)


# -- other servers ------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--lifespan", "off"], ["--loop", "asyncio"]], ids=str)
def test_plain_uvicorn(options: list[str], tmp_path: Path) -> None:
    shutil.copy(tools_app.__file__, tmp_path / "module.py")
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "module:app", "--port", str(port)]
    process = subprocess.Popen(
        [*command, *options],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, [])
        use(f"http://127.0.0.1:{port}")
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=20)
        assert "Traceback" not in log
    finally:
        process.kill()
        process.communicate()
