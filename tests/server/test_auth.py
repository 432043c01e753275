"""Names, passwords, tokens and cookies."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from http.cookies import SimpleCookie
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from jobwire.server import auth as auth_module
from jobwire.server.auth import Auth, TooManyAttemptsError, login_without_auth
from server.asgi import connected, join_workers, served


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def no_workers() -> Iterator[None]:
    yield
    join_workers()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def auth(clock: Clock) -> Auth:
    return Auth([("ada", "pw"), ("bob", "p\u00e4ss")], message="Who are you?", clock=clock)


def served_by(auth: Auth) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            scope["user"] = await auth.authenticate(scope)
            response: Response = await getattr(auth, scope["path"][1:])(request)
        except TooManyAttemptsError as error:
            response = error.response()
        await response(scope, receive, send)

    return app


@pytest.fixture
def client(auth: Auth) -> TestClient:
    return TestClient(served_by(auth), base_url="https://example.org", follow_redirects=False)


def scope_of(
    *headers: tuple[str, str], client: tuple[str, int] | None = ("10.0.0.1", 5)
) -> dict[str, Any]:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "headers": pairs, "client": client}


def basic(user: str, password: str) -> tuple[str, str]:
    return "authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# -- passwords ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "password", "good"),
    [
        ("ada", "pw", True),
        ("bob", "p\u00e4ss", True),
        ("ada", "p\u00e4ss", False),
        ("ada", "pw ", False),
        ("ada", "", False),
        ("eve", "pw", False),
        ("", "", False),
        ("\udc80", "\udc80", False),
    ],
)
async def test_pairs(auth: Auth, user: str, password: str, good: bool) -> None:
    assert await auth.verify(user, password) is good


async def test_one_pair() -> None:
    auth = Auth(("ada", "pw"))
    assert await auth.verify("ada", "pw")
    assert not await auth.verify("pw", "ada")


def decide(user: str, password: str) -> bool:
    assert threading.current_thread() is not threading.main_thread()
    return (user, password) == ("ada", "pw")


async def decide_async(user: str, password: str) -> bool:
    assert threading.current_thread() is threading.main_thread()
    await asyncio.sleep(0)
    return (user, password) == ("ada", "pw")


class Decider:
    async def __call__(self, user: str, password: str) -> bool:
        return await decide_async(user, password)


@pytest.mark.parametrize(
    "check", [decide, decide_async, Decider(), lambda user, password: decide_async(user, password)]
)
async def test_functions(check: Any) -> None:
    auth = Auth(check)
    assert await auth.verify("ada", "pw") is True
    assert await auth.verify("ada", "no") is False


async def test_a_function_that_fails_lets_nobody_in() -> None:
    def check(user: str, password: str) -> bool:
        raise OSError("the directory is down")

    auth = Auth(check)
    for _ in range(20):  # none of which counts as a wrong password
        with pytest.raises(OSError, match="directory is down"):
            await auth.authenticate(scope_of(basic("ada", "pw")))


@pytest.mark.parametrize("check", [[], (), "ada", ("ada",), [("ada", 5)], ["ada:pw"], None, 5])
def test_what_says_not_who(check: Any) -> None:
    with pytest.raises(ValueError, match=r"^auth must"):
        Auth(check)


def test_no_password_is_kept() -> None:
    auth = Auth(("ada", "a-password"))
    token = auth.issue("ada")
    kept = repr({name: getattr(auth, name) for name in vars(auth)})
    assert "a-password" not in kept
    assert token not in kept


# -- tokens ---------------------------------------------------------------------


def test_a_token_is_known_in_each_place(auth: Auth) -> None:
    token = auth.issue("ada")
    for headers in (
        [("cookie", f"access-token-{auth.cookie_id}={token}")],
        [("cookie", f"x=y; access-token-unsecure-{auth.cookie_id}={token}; z")],
        [("cookie", "x=y"), ("cookie", f"access-token-{auth.cookie_id}={token}")],
        [("authorization", f"Bearer {token}")],
        [("authorization", f"bearer  {token} ")],
        [
            ("authorization", "Bearer hf_of_somebody_else"),
            ("cookie", f"access-token-{auth.cookie_id}={token}"),
        ],
        [
            ("cookie", f"access-token-{auth.cookie_id}=old"),
            ("cookie", f"access-token-unsecure-{auth.cookie_id}={token}"),
        ],
    ):
        assert auth.user_of(scope_of(*headers)) == "ada"


def test_nothing_else_is_a_token(auth: Auth) -> None:
    token = auth.issue("ada")
    other = Auth(("ada", "pw"))
    for headers in (
        [],
        [("cookie", f"access-token={token}")],
        [("cookie", f"access-token-{other.cookie_id}={token}")],
        [("cookie", f"access-token-{auth.cookie_id}={token}x")],
        [("cookie", f"access-token-{auth.cookie_id}={token[:-1]}")],
        [("cookie", f"access-token-{auth.cookie_id}")],
        [("cookie", f"access-token-{auth.cookie_id}=\xff\x80")],
        [("authorization", "Bearer ")],
        [("authorization", "Bearer")],
        [("authorization", token)],
        [("x-token", token)],
    ):
        assert auth.user_of(scope_of(*headers)) is None


def test_a_token_ends(auth: Auth, clock: Clock) -> None:
    scope = scope_of(("authorization", f"Bearer {auth.issue('ada')}"))
    clock.now += 7 * 24 * 3600 - 1
    assert auth.user_of(scope) == "ada"
    clock.now += 1
    assert auth.user_of(scope) is None


def test_tokens_are_bounded(auth: Auth, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth_module, "MAX_TOKENS", 3)
    scopes = [scope_of(("authorization", f"Bearer {auth.issue(str(i))}")) for i in range(5)]
    assert [auth.user_of(scope) for scope in scopes] == [None, None, "2", "3", "4"]
    clock.now += 8 * 24 * 3600
    auth.issue("ada")
    assert len(auth._tokens) == 1


# -- logging in and out ---------------------------------------------------------


@pytest.mark.parametrize("form", ["urlencoded", "multipart"])
def test_login(client: TestClient, auth: Auth, form: str) -> None:
    fields = {"username": " bob ", "password": "p\u00e4ss"}
    if form == "urlencoded":
        response = client.post("/login", data=fields)
    else:
        parts = "".join(
            f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        response = client.post(
            "/login",
            content=f"{parts}--B--\r\n".encode(),
            headers={"content-type": "multipart/form-data; boundary=B"},
        )
    assert (response.status_code, response.json()) == (200, {"success": True})
    cookies: SimpleCookie = SimpleCookie()
    for header in response.headers.get_list("set-cookie"):
        cookies.load(header)
    secure = cookies[f"access-token-{auth.cookie_id}"]
    unsecure = cookies[f"access-token-unsecure-{auth.cookie_id}"]
    assert secure.value == unsecure.value
    for cookie, is_secure in ((secure, True), (unsecure, "")):
        assert (cookie["secure"], cookie["httponly"]) == (is_secure, True)
        assert (cookie["samesite"], cookie["path"]) == ("lax", "/")
        assert cookie["max-age"] == str(7 * 24 * 3600)
    assert client.get("/user").json() == "bob"
    assert client.get("/token").json() == {"token": secure.value, "user": "bob"}
    response = client.get("/login_check")
    assert (response.status_code, response.json()) == (200, None)


def test_a_login_that_other_sites_may_use() -> None:
    client = TestClient(served_by(Auth(("ada", "pw"), same_site="none")))
    response = client.post("/login", data={"username": "ada", "password": "pw"})
    secure, unsecure = response.headers.get_list("set-cookie")
    assert "SameSite=none; Secure" in secure
    assert "SameSite=lax" in unsecure


def test_a_wrong_password(client: TestClient) -> None:
    for fields in ({"username": "ada", "password": "x"}, {"username": "x", "password": "pw"}):
        response = client.post("/login", data=fields)
        assert response.status_code == 400
        assert response.json() == {"detail": "Incorrect credentials."}
        assert "set-cookie" not in response.headers
    assert client.get("/user").json() is None
    assert client.get("/token").json() == {"token": None, "user": None}
    response = client.get("/login_check")
    assert response.status_code == 401
    assert response.json() == {
        "detail": {"error": "Not authenticated", "auth_message": "Who are you?"}
    }


@pytest.mark.parametrize(
    ("type", "body", "status", "detail"),
    [
        ("application/json", b'{"username":"ada","password":"pw"}', 422, "username"),
        ("", b"username=ada&password=pw", 422, "username"),
        ("application/x-www-form-urlencoded", b"username=ada", 422, "password"),
        ("application/x-www-form-urlencoded", b"\xff", 400, "malformed"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=b"] * 200), 400, "malformed"),
        ("application/x-www-form-urlencoded", b"x" * 100_000, 413, "at most 65536 bytes"),
        ("multipart/form-data", b"", 400, "malformed"),
        ("multipart/form-data; boundary=B", b"x", 400, "malformed"),
        ("multipart/form-data; boundary=" + "B" * 300, b"x", 400, "malformed"),
        ("multipart/form-data; boundary=B" + ";" * 1000, b"x", 400, "more than 1024"),
        (
            "multipart/form-data; boundary=B",
            b'--B\r\nContent-Disposition: form-data; name="username"; filename="x"\r\n\r\na\r\n'
            b"--B--\r\n",
            400,
            "malformed",
        ),
    ],
)
def test_a_body_that_is_no_login(
    client: TestClient, type: str, body: bytes, status: int, detail: str
) -> None:
    response = client.post("/login", content=body, headers={"content-type": type})
    assert response.status_code == status
    assert detail in json.dumps(response.json()["detail"])


def test_logout_ends_every_session(client: TestClient, auth: Auth) -> None:
    elsewhere = {"authorization": f"Bearer {auth.issue('ada')}"}
    client.post("/login", data={"username": "ada", "password": "pw"})
    others = {"authorization": f"Bearer {auth.issue('bob')}"}
    response = client.get("/logout")
    assert (response.status_code, response.headers["location"]) == (302, "/")
    assert client.cookies == {}
    assert client.get("/user", headers=elsewhere).json() is None
    assert client.get("/user", headers=others).json() == "bob"


def test_logout_of_one_session(client: TestClient, auth: Auth) -> None:
    elsewhere = {"authorization": f"Bearer {auth.issue('ada')}"}
    client.post("/login", data={"username": "ada", "password": "pw"})
    token = client.get("/token").json()["token"]
    client.get("/logout?all_session=false")
    here = {"authorization": f"Bearer {token}"}
    assert client.get("/user", headers=here).json() is None
    assert client.get("/user", headers=elsewhere).json() == "ada"


async def test_without_auth_a_login_leads_to_the_page() -> None:
    response = await login_without_auth(Request({"type": "http", "root_path": "/sub"}))
    assert (response.status_code, response.headers["location"]) == (302, "/sub/")
    response = await login_without_auth(Request({"type": "http"}))
    assert response.headers["location"] == "/"


async def test_the_cookies_work_over_plain_http(auth: Auth) -> None:
    body = b"username=ada&password=pw"
    async with served(served_by(auth)) as port, connected(port) as connection:
        await connection.send(
            b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 24\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\n",
            body,
        )
        status, headers, _ = await connection.response()
        assert status == 200
        cookie = headers["set-cookie"].partition(";")[0]  # the last of the two
        assert "unsecure" in cookie
        await connection.send(f"GET /user HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n".encode())
        status, _, body = await connection.response()
        assert (status, body) == (200, b'"ada"')


# -- HTTP Basic -----------------------------------------------------------------


async def test_basic(auth: Auth) -> None:
    assert await auth.authenticate(scope_of(basic("bob", "p\u00e4ss"))) == "bob"
    assert await auth.authenticate(scope_of()) is None
    for value in (
        basic("bob", "x")[1],
        "Basic " + base64.b64encode(b"nocolon").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        "Basic !!!",
        "Basic ",
    ):
        assert await auth.authenticate(scope_of(("authorization", value))) is None


async def test_a_password_is_believed_for_a_while(clock: Clock) -> None:
    asked = []

    async def check(user: str, password: str) -> bool:
        asked.append(user)
        await asyncio.sleep(0)
        return password == "pw"

    auth = Auth(check, clock=clock)
    scope = scope_of(basic("ada", "pw"))
    assert await asyncio.gather(*[auth.authenticate(scope) for _ in range(50)]) == ["ada"] * 50
    assert asked == ["ada"]
    assert await auth.authenticate(scope_of(basic("ad", "apw"))) is None
    clock.now += 60
    assert await auth.authenticate(scope) == "ada"
    assert asked == ["ada", "ad", "ada"]


async def test_believed_passwords_are_bounded(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth_module, "MAX_BASIC", 1)
    await auth.authenticate(scope_of(basic("ada", "pw")))
    await auth.authenticate(scope_of(basic("bob", "p\u00e4ss")))
    assert len(auth._basic) == 1


# -- brute force ----------------------------------------------------------------


def test_many_wrong_logins_have_to_wait(client: TestClient, clock: Clock) -> None:
    wrong, right = {"username": "ada", "password": "x"}, {"username": "ada", "password": "pw"}
    for _ in range(10):
        assert client.post("/login", data=right).status_code == 200  # does not count
        assert client.post("/login", data=wrong).status_code == 400
        clock.now += 1
    for fields in (wrong, right):
        response = client.post("/login", data=fields)
        assert (response.status_code, response.headers["retry-after"]) == (429, "50")
        assert "try again later" in response.json()["detail"]
    clock.now += 50
    assert client.post("/login", data=right).status_code == 200


async def test_guesses_at_once_are_counted_too(auth: Auth) -> None:
    guesses = [auth.authenticate(scope_of(basic("ada", str(i)))) for i in range(30)]
    results = await asyncio.gather(*guesses, return_exceptions=True)
    assert results[:10] == [None] * 10
    assert {type(result) for result in results[10:]} == {TooManyAttemptsError}


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (("10.0.0.1", 1), ("10.0.0.1", 2), True),
        (("10.0.0.1", 1), ("10.0.0.2", 1), False),
        (("::ffff:10.0.0.1", 1), ("10.0.0.1", 1), True),
        (("2001:db8::1", 1), ("2001:db8::2", 1), True),
        (("2001:db8::1", 1), ("2001:db8:0:1::1", 1), False),
        (("a-name", 1), ("10.0.0.1", 1), False),
        (None, None, True),
    ],
)
async def test_each_client_is_counted_alone(
    auth: Auth, first: Any, second: Any, same: bool
) -> None:
    for _ in range(10):
        assert await auth.authenticate(scope_of(basic("ada", "x"), client=first)) is None
    scope = scope_of(basic("ada", "pw"), client=second)
    if same:
        with pytest.raises(TooManyAttemptsError):
            await auth.authenticate(scope)
    else:
        assert await auth.authenticate(scope) == "ada"


async def test_a_login_goes_on_working_while_guesses_fail(auth: Auth) -> None:
    token = auth.issue("ada")
    for _ in range(10):
        await auth.authenticate(scope_of(basic("ada", "x")))
    assert await auth.authenticate(scope_of(("authorization", f"Bearer {token}"))) == "ada"


async def test_counted_addresses_are_bounded(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth_module, "MAX_COUNTED", 5)
    for i in range(10):
        await auth.authenticate(scope_of(basic(f"ada{i}", "x"), client=(f"10.0.0.{i}", 1)))
    assert (len(auth._by_address), len(auth._by_name)) == (5, 5)


async def guess(auth: Auth, count: int, *, user: str = "ada", net: str = "10.0") -> list[object]:
    """Guess a password, from another address each time, all at once."""
    guesses = [
        auth.authenticate(
            scope_of(basic(user, f"no{i}"), client=(f"{net}.{i // 256}.{i % 256}", 1))
        )
        for i in range(count)
    ]
    return await asyncio.gather(*guesses, return_exceptions=True)


@pytest.mark.parametrize("user", ["ada", "nobody"])
async def test_guesses_for_one_name_from_many_addresses_end(clock: Clock, user: str) -> None:
    asked = []

    async def check(user: str, password: str) -> bool:
        asked.append(password)
        await asyncio.sleep(0)
        return password == "pw"

    auth = Auth(check, clock=clock)
    results = await guess(auth, 100, user=user)
    assert results[:30] == [None] * 30
    assert {type(result) for result in results[30:]} == {TooManyAttemptsError}
    assert len(asked) == 30
    elsewhere = ("192.0.2.1", 1)
    for name in (user, user.upper(), f" {user}"):  # a check may take these for the same
        with pytest.raises(TooManyAttemptsError) as caught:
            await auth.authenticate(scope_of(basic(name, "pw"), client=elsewhere))
        assert caught.value.retry_after == 60
    assert await auth.authenticate(scope_of(basic("bob", "pw"), client=elsewhere)) == "bob"
    clock.now += 60
    assert await auth.authenticate(scope_of(basic(user, "pw"), client=elsewhere)) == user


async def test_guesses_by_login_are_counted_for_the_name_too(auth: Auth) -> None:
    await guess(auth, 30)
    client = TestClient(served_by(auth))
    response = client.post("/login", data={"username": "ada", "password": "pw"})
    assert (response.status_code, response.headers["retry-after"]) == (429, "60")


async def test_who_is_logged_in_goes_on_while_a_name_is_locked(auth: Auth) -> None:
    believed = scope_of(basic("ada", "pw"))
    assert await auth.authenticate(believed) == "ada"
    token = auth.issue("ada")
    await guess(auth, 100, net="10.1")
    assert await auth.authenticate(believed) == "ada"
    assert await auth.authenticate(scope_of(("authorization", f"Bearer {token}"))) == "ada"


async def test_one_address_cannot_have_all_names_forgotten(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth_module, "MAX_COUNTED", 20)
    await guess(auth, 30, net="10.1")
    guesses = [auth.authenticate(scope_of(basic(f"user{i}", "x"))) for i in range(100)]
    await asyncio.gather(*guesses, return_exceptions=True)
    with pytest.raises(TooManyAttemptsError):
        await auth.authenticate(scope_of(basic("ada", "pw"), client=("192.0.2.1", 1)))


async def test_a_long_name_is_not_kept(auth: Auth) -> None:
    await auth.authenticate(scope_of(basic("a" * 60_000, "x")))
    assert [len(key) for key in auth._by_name] == [auth_module.DIGEST_SIZE]


async def test_an_unknown_user_takes_as_long(auth: Auth) -> None:
    async def timed(user: str) -> float:
        start = time.perf_counter()
        for _ in range(200):
            await auth.verify(user, "wrong")
        return time.perf_counter() - start

    known = min([await timed("ada") for _ in range(15)])
    unknown = min([await timed("eve") for _ in range(15)])
    assert 0.5 < known / unknown < 2
