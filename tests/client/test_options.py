"""``httpx_kwargs``: what is understood, what is refused, and that it does what it says."""

import asyncio
import math
import shutil
import ssl
import subprocess
import time
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from wire import CLOSE_STREAM, completed

import jobwire
from faults import HANG, LAST_CHUNK, config, event_stream, raw_server, response
from jobwire import AsyncClient, Client
from jobwire.client.options import with_httpx_kwargs
from jobwire.transports.base import Certificate, Timeouts, TransportOptions
from networks import Authority, http_proxy


def app() -> dict[str, Any]:
    return {
        "/config": response(config()),
        "/gradio_api/queue/join": response({"event_id": "a"}),
        "/gradio_api/queue/data": event_stream(completed("a", "x"), CLOSE_STREAM) + LAST_CHUNK,
    }


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


# -- what it comes to ----------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({}, {}),
        ({"timeout": 5}, {"timeouts": Timeouts(5.0, 5.0)}),
        ({"timeout": None}, {"timeouts": Timeouts(None, None)}),
        ({"timeout": math.inf}, {"timeouts": Timeouts(None, None)}),
        ({"timeout": (1, 2)}, {"timeouts": Timeouts(1.0, 2.0)}),
        ({"timeout": (1, None, 3, 4)}, {"timeouts": Timeouts(1.0, None)}),
        ({"timeout": httpx.Timeout(7, connect=1)}, {"timeouts": Timeouts(1.0, 7.0)}),
        ({"timeout": httpx2.Timeout(None)}, {"timeouts": Timeouts(None, None)}),
        ({"proxy": "http://p:1"}, {"proxy": "http://p:1"}),
        ({"proxy": "http://u:p%40@p:1"}, {"proxy": "http://u:p%40@p:1"}),
        ({"proxy": httpx.URL("https://u:p@p:1")}, {"proxy": "https://u:p@p:1"}),
        ({"proxy": httpx.Proxy("http://u:p@p:1")}, {"proxy": "http://u:p@p:1"}),
        ({"proxy": httpx2.Proxy("http://p", auth=("u", "p@"))}, {"proxy": "http://u:p%40@p"}),
        ({"proxy": None}, {}),
        ({"cookies": {"a": "1"}}, {"cookies": {"a": "1"}}),
        ({"cookies": [("a", "1"), ("b", "")]}, {"cookies": {"a": "1", "b": ""}}),
        ({"cookies": httpx.Cookies({"a": "1"})}, {"cookies": {"a": "1"}}),
        ({"cookies": None}, {}),
        ({"verify": False}, {"verify": False}),
        ({"verify": "ca.pem"}, {"verify": "ca.pem"}),
        ({"verify": Path("ca.pem")}, {"verify": "ca.pem"}),
        ({"cert": "me.pem"}, {"certificate": Certificate("me.pem")}),
        ({"cert": (Path("me.pem"), "key")}, {"certificate": Certificate("me.pem", "key")}),
        ({"cert": ("c", None, "pw")}, {"certificate": Certificate("c", None, "pw")}),
        ({"cert": None}, {}),
        ({"auth": ("u", "p")}, {"headers": {"x": "1", "authorization": "Basic dTpw"}}),
        ({"auth": (b"u", "p")}, {"headers": {"x": "1", "authorization": "Basic dTpw"}}),
        ({"auth": None}, {}),
        ({"trust_env": False}, {"trust_env": False}),
        # They ask for what is done anyway.
        ({"follow_redirects": False, "http1": True, "http2": False, "event_hooks": {}}, {}),
        ({"transport": None, "mounts": None, "base_url": "", "headers": None}, {}),
    ],
    ids=lambda value: ", ".join(value) or "nothing",
)
def test_what_is_understood(kwargs: dict[str, Any], expected: dict[str, Any]) -> None:
    options = TransportOptions(headers={"x": "1"})
    before = dict(kwargs)
    assert with_httpx_kwargs(options, kwargs) == options._replace(**expected)
    assert kwargs == before
    assert options.headers == {"x": "1"}


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"timeout": 0}, "greater than 0"),
        ({"timeout": -1.0}, "greater than 0"),
        ({"timeout": math.nan}, "greater than 0"),
        ({"timeout": True}, "greater than 0"),
        ({"timeout": "5"}, "greater than 0"),
        ({"timeout": (1,)}, "connect, read"),
        ({"timeout": (1, "SECRET")}, "greater than 0"),
        ({"proxy": "socks5://SECRET@p:1"}, "http:// or https://"),
        ({"proxy": "p:1"}, "http:// or https://"),
        ({"proxy": "http://p:99999"}, "http:// or https://"),
        ({"proxy": {"http": "http://p"}}, "http:// or https://"),
        ({"proxy": httpx.Proxy("socks5://p")}, "http:// or https://"),
        ({"proxy": httpx.Proxy("http://p", headers={"x": "SECRET"})}, "without headers"),
        ({"proxies": "http://p"}, "called proxy"),
        ({"cookies": {"a": "SECRET; b"}}, "without blanks"),
        ({"cookies": {"a": "SECRET\r\n"}}, "without blanks"),
        ({"cookies": {"a=": "SECRET"}}, "without blanks"),
        ({"cookies": {"a": 5}}, "without blanks"),
        ({"cookies": "a=SECRET"}, "a dict"),
        ({"cookies": 5}, "a dict"),
        ({"verify": None}, "path of a PEM file"),
        ({"verify": 1.0}, "path of a PEM file"),
        ({"cert": 5}, "path of a PEM file"),
        ({"cert": ()}, "path of a PEM file"),
        ({"cert": (None, "key")}, "path of a PEM file"),
        ({"cert": ("a", "b", "c", "SECRET")}, "path of a PEM file"),
        ({"auth": "SECRET"}, "headers="),
        ({"auth": httpx.DigestAuth("u", "SECRET")}, "headers="),
        ({"auth": ("u", None)}, "both text"),
        ({"trust_env": "no"}, "True or False"),
        ({"transport": httpx.HTTPTransport()}, "transport="),
        ({"mounts": {"all://": None}}, "proxy="),
        ({"http2": True}, "transport="),
        ({"http1": False}, "transport="),
        ({"event_hooks": {"request": [print]}}, "transport="),
        ({"limits": httpx.Limits(max_connections=3)}, "max_workers="),
        ({"follow_redirects": True}, "src"),
        ({"max_redirects": 3}, "src"),
        ({"headers": {"a": "SECRET"}}, "headers= to the client"),
        ({"params": {"a": "SECRET"}}, "arguments"),
        ({"base_url": "http://x"}, "src"),
        ({"time_out": 5}, "it takes timeout, proxy, cookies"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_what_is_refused(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(jobwire.ArgumentError, match=words) as caught:
        Client("http://127.0.0.1:9", httpx_kwargs=kwargs)
    name = next(iter(kwargs))
    assert caught.value.parameter == name
    assert repr(name) in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_cookie_jar_is_refused() -> None:
    jar = httpx.Cookies({"a": "1"}).jar
    assert isinstance(jar, CookieJar)
    with pytest.raises(jobwire.ArgumentError, match="a dict"):
        Client("http://127.0.0.1:9", httpx_kwargs={"cookies": jar})


def test_what_is_secret_is_not_shown() -> None:
    kwargs = {
        "proxy": "http://u:SECRET@127.0.0.1:9",
        "cookies": {"a": "SECRET"},
        "auth": ("u", "SECRET"),
        "cert": ("c", "k", "SECRET"),
    }
    options = with_httpx_kwargs(TransportOptions(headers={"a": "SECRET"}), kwargs)
    assert "SECRET" not in f"{options!r} {options} {options.certificate!r}"
    with pytest.raises(jobwire.ConnectError) as caught:
        Client("http://127.0.0.1:10", httpx_kwargs={"proxy": kwargs["proxy"]})
    assert "SECRET" not in str(caught.value)


# -- what it does --------------------------------------------------------------


def test_timeout() -> None:
    with raw_server({"/config": HANG}) as server:
        started = time.monotonic()
        with pytest.raises(jobwire.TransportTimeoutError):
            Client(server.url, httpx_kwargs={"timeout": 0.2}, read_timeout=30)
        assert time.monotonic() - started < 5


def test_timeout_does_not_end_a_stream_that_is_silent() -> None:
    with raw_server(app() | {"/gradio_api/queue/data": HANG}) as server:
        with Client(server.url, httpx_kwargs={"timeout": 0.2}) as client:
            job = client.submit("x")
            with pytest.raises(TimeoutError):
                job.result(timeout=0.6)
            assert not job.done()


def test_cookies_go_with_every_request_until_the_server_sets_them() -> None:
    routes = app()
    new = "Set-Cookie: b=new; Path=/\r\n"
    routes["/gradio_api/queue/join"] = response({"event_id": "a"}, headers=new)
    with raw_server(routes) as server:
        with Client(server.url, httpx_kwargs={"cookies": {"a": "1", "b": "2"}}) as client:
            assert client.predict("x") == "x"
            assert client.predict("x") == "x"
        seen = [
            (path.rpartition("/")[2].partition("?")[0], set(headers["cookie"].split("; ")))
            for _, path, headers, _ in server.requests
        ]
    before, after = {"a=1", "b=2"}, {"a=1", "b=new"}
    assert seen[:2] == [("config", before), ("join", before)]
    assert {name for name, _ in seen} == {"config", "join", "data"}
    assert all(cookies == after for _, cookies in seen[2:])


def test_auth_is_for_what_stands_in_front() -> None:
    with raw_server(app()) as server:
        src = server.url.replace("//", "//old:pass@")
        with Client(src, httpx_kwargs={"auth": ("u", "p")}) as client:
            client.predict("x")
        assert {h["authorization"] for _, _, h, _ in server.requests} == {"Basic dTpw"}
        headers = {"Authorization": "Bearer mine"}
        Client(server.url, httpx_kwargs={"auth": ("u", "p")}, headers=headers).close()
        assert server.requests[-1][2]["authorization"] == "Bearer mine"


@pytest.mark.parametrize("credentials", [None, "u:p@ss"])
def test_every_request_goes_through_the_proxy(url: str, credentials: str | None) -> None:
    with http_proxy(credentials=credentials) as proxy:
        address: Any = proxy.url
        if credentials is not None:
            address = httpx.Proxy(proxy.url, auth=("u", "p@ss"))
        with Client(url, httpx_kwargs={"proxy": address}) as client:
            assert client.predict("x", api_name="/plain") == "x:3"
            assert list(client.submit(3, api_name="/count")) == ["0", "1", "2"]
        routes = {target.removeprefix(url).partition("?")[0] for _, target, _ in proxy.requests}
    assert {"config", "gradio_api/info", "gradio_api/queue/join", "gradio_api/queue/data"} <= routes


def test_proxy_that_wants_a_password() -> None:
    with http_proxy(credentials="u:p") as proxy, raw_server(app()) as server:
        with pytest.raises(jobwire.JobwireError, match="407"):
            Client(server.url, httpx_kwargs={"proxy": proxy.url})
        assert server.requests == []


def test_proxy_of_the_environment_is_used_unless_it_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with raw_server(app()) as server, http_proxy({"app.test": server.port}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with Client("http://app.test") as client:
            assert client.predict("x") == "x"
        assert len(proxy.requests) >= 3
        with pytest.raises(jobwire.ConnectError):
            Client("http://app.test", httpx_kwargs={"trust_env": False})


def test_tls_through_a_proxy(authority: Authority) -> None:
    with raw_server(app(), authority.server("app.test")) as server:
        with http_proxy({"app.test": server.port}) as proxy:
            kwargs = {"proxy": proxy.url, "verify": authority.file}
            with Client("https://app.test", httpx_kwargs=kwargs) as client:
                assert client.predict("x") == "x"
            assert {(m, target) for m, target, _ in proxy.requests} == {("CONNECT", "app.test:443")}


def test_authority_that_is_not_trusted(authority: Authority) -> None:
    with raw_server(app(), authority.server("127.0.0.1")) as server:
        for kwargs in (None, {"verify": True}):
            with pytest.raises(jobwire.ConnectError, match="not trusted"):
                Client(server.url, httpx_kwargs=kwargs)
        assert server.requests == []


@pytest.mark.parametrize("kind", ["file", "folder", "context", "off", "ssl_verify"])
def test_authority_that_is_trusted(authority: Authority, kind: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"ssl_verify": False}
    if kind != "ssl_verify":
        verify: Any = authority.file
        if kind == "folder":
            if shutil.which("openssl") is None:
                pytest.skip("openssl is needed to make such a folder")
            shutil.copy(authority.file, tmp_path)
            subprocess.run(["openssl", "rehash", tmp_path], check=True)
            verify = tmp_path
        elif kind == "context":
            verify = ssl.create_default_context(cafile=authority.file)
        elif kind == "off":
            verify = False
        options = {"httpx_kwargs": {"verify": verify}}
    with raw_server(app(), authority.server("127.0.0.1")) as server:
        with Client(server.url, **options) as client:
            assert client.predict("x") == "x"


def test_other_name_than_that_of_the_certificate(authority: Authority) -> None:
    with raw_server(app(), authority.server("other.test")) as server:
        with pytest.raises(jobwire.ConnectError):
            Client(server.url, httpx_kwargs={"verify": authority.file})


def test_certificate_of_the_client(authority: Authority, tmp_path: Path) -> None:
    file, key = authority.client("me")
    both = tmp_path / "both.pem"
    both.write_text(Path(file).read_text() + Path(key).read_text())
    context = ssl.create_default_context(cafile=authority.file)
    context.load_cert_chain(file, key)
    with raw_server(app(), authority.server("127.0.0.1", ask_clients=True)) as server:
        kwargs: dict[str, Any]
        for kwargs in (
            {"verify": authority.file, "cert": (file, key)},
            {"verify": authority.file, "cert": both},
            {"verify": context},
        ):
            with Client(server.url, httpx_kwargs=kwargs) as client:
                assert client.predict("x") == "x"
        with pytest.raises(jobwire.TransportError):
            Client(server.url, httpx_kwargs={"verify": authority.file})


@pytest.mark.parametrize("parameter", ["verify", "cert"])
def test_file_that_cannot_be_used(parameter: str, tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    for file in (tmp_path / "none.pem", tmp_path / "junk.pem"):
        with pytest.raises(jobwire.ArgumentError, match=f"{parameter}: .*{file.name}"):
            Client("https://127.0.0.1:9", httpx_kwargs={parameter: file})


def test_key_whose_password_is_missing_is_not_asked_for(
    authority: Authority, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization

    file, key = authority.client("locked")
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        serialization.load_pem_private_key(Path(key).read_bytes(), None).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.BestAvailableEncryption(b"open"),
        )
    )
    with raw_server(app(), authority.server("127.0.0.1", ask_clients=True)) as server:
        kwargs: dict[str, Any] = {"verify": authority.file, "cert": (file, locked)}
        with pytest.raises(jobwire.ArgumentError, match="cert"):
            Client(server.url, httpx_kwargs=kwargs)
        kwargs["cert"] = (file, locked, "open")
        Client(server.url, httpx_kwargs=kwargs).close()


def test_context_and_certificate_are_not_mixed(authority: Authority) -> None:
    kwargs = {"verify": ssl.create_default_context(), "cert": authority.client("mixed")}
    with pytest.raises(jobwire.ArgumentError, match="load_cert_chain"):
        Client("https://127.0.0.1:9", httpx_kwargs=kwargs)


async def test_asynchronous_client_takes_them_too() -> None:
    with raw_server(app()) as server:
        async with AsyncClient(server.url, httpx_kwargs={"cookies": {"a": "1"}}) as client:
            assert await client.predict("x") == "x"
        assert {headers["cookie"] for _, _, headers, _ in server.requests} == {"a=1"}
        await asyncio.sleep(0)
