"""Which proxy the environment names for which address."""

import pytest

from jobwire.transports.proxies import find_proxy


@pytest.fixture(autouse=True)
def proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:2")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://example.org/", "http://proxy:1"),
        ("http://example.org:7860/app/", "http://proxy:1"),
        ("https://example.org/", "http://proxy:2"),
        ("http://10.0.0.1/", "http://proxy:1"),
        ("http://localhost.example.org/", "http://proxy:1"),
        ("http://localhost:7860/", None),
        ("http://app.localhost:7860/", None),
        ("http://LOCALHOST/", None),
        ("https://127.0.0.1:7860/", None),
        ("http://127.9.9.9/", None),
        ("http://[::1]:7860/", None),
    ],
)
def test_proxy_by_scheme_and_none_for_this_machine(url: str, expected: str | None) -> None:
    assert find_proxy(url) == expected


@pytest.mark.parametrize(
    ("excepted", "url", "direct"),
    [
        ("example.com", "http://example.com/", True),
        ("example.com", "http://inside.example.com:7860/", True),
        (".example.com", "http://inside.example.com/", True),
        ("*.example.com", "http://inside.example.com/", True),
        ("EXAMPLE.com", "http://Inside.Example.COM/", True),
        ("other.org, example.com ,", "https://example.com/", True),
        ("example.com", "http://badexample.com/", False),
        ("example.com", "http://example.com.evil.org/", False),
        ("inside.example.com", "http://example.com/", False),
        ("*", "http://example.com/", True),
        ("example.com:7860", "http://example.com:7860/", True),
        ("example.com:7860", "http://a.example.com:7860/", True),
        (".example.com:7860", "http://a.example.com:7860/", True),
        ("*.example.com:7860", "http://a.example.com:7860/", True),
        ("example.com:7860", "http://example.com/", False),
        ("example.com:7860", "http://example.com:7861/", False),
        ("example.com:80", "http://example.com/", True),
        ("example.com:443", "https://example.com/", True),
        ("example.com:443", "http://example.com/", False),
        ("10.1.2.3", "http://10.1.2.3:7860/", True),
        ("10.1.2.3:7860", "http://10.1.2.3:7860/", True),
        ("10.1.2.3:7860", "http://10.1.2.3:7861/", False),
        ("10.0.0.0/8", "http://10.1.2.3:7860/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("10.0.0.0/8", "http://example.com/", False),
        ("fd00::/8", "http://[fd00::1]:7860/", True),
        ("fd00::1", "http://[fd00::1]:7860/", True),
        ("[fd00::1]:7860", "http://[fd00::1]:7860/", True),
        ("[fd00::1]:7860", "http://[fd00::1]/", False),
        ("", "http://example.com/", False),
        (",,:,.,*.", "http://example.com/", False),
        ("nonsense:port,[", "http://example.com/", False),
    ],
)
def test_exceptions(monkeypatch: pytest.MonkeyPatch, excepted: str, url: str, direct: bool) -> None:
    monkeypatch.setenv("NO_PROXY", excepted)
    assert (find_proxy(url) is None) is direct


def test_small_letters_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://loud:1")
    monkeypatch.setenv("NO_PROXY", "loud.example.com")
    monkeypatch.setenv("no_proxy", "quiet.example.com")
    assert find_proxy("http://loud.example.com/") == "http://proxy:1"
    assert find_proxy("http://quiet.example.com/") is None


def test_one_proxy_for_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("ALL_PROXY", "proxy.example.com:3128")  # as curl takes it
    assert find_proxy("https://example.org/") == "http://proxy.example.com:3128"
    assert find_proxy("http://example.org/") == "http://proxy:1"


def test_no_proxy_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("http_proxy")
    assert find_proxy("http://example.org/") is None
