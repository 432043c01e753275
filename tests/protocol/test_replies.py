"""What HTTP answers mean."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import VERSIONS, read_json
from strategies import Json, json_values

from jobwire.exceptions import (
    AuthenticationError,
    JobwireError,
    NotGradioError,
    QueueFullError,
    RemoteProtocolError,
    ServerError,
    TooManyRequestsError,
    ValidationError,
)
from jobwire.protocol import replies
from jobwire.protocol.messages import Malformed, ProcessCompleted, decode_value
from jobwire.protocol.replies import (
    check,
    read_config,
    read_event_id,
    read_login,
    read_output,
)

URL = "http://test/config"
JSON = {"content-type": "application/json"}
HTML = {"content-type": "text/html; charset=utf-8"}
PAGE = b"<!doctype html>\n<title>Welcome</title>"


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def refuse(status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> ServerError:
    with pytest.raises(ServerError) as caught:
        check(status, headers or {}, content, url=URL)
    return caught.value


# -- refusals that every route knows --


def test_200_is_no_error() -> None:
    check(200, {}, b"anything", url=URL)


@pytest.mark.parametrize("status", [201, 204, 302, 307, 400, 403, 404, 500, 502, 504])
def test_other_statuses_are_refusals_with_their_status(status: int) -> None:
    error = refuse(status, body({"detail": "the reason"}))
    assert type(error) is ServerError
    assert error.status == status
    assert str(error) == f"{URL}: HTTP {status}: the reason"
    assert error.body == '{"detail": "the reason"}'


def test_refusal_of_a_proxy_is_told_by_the_title_of_its_page() -> None:
    page = b"<html>\r\n<head><title>413 Request Entity\n Too Large</title></head>\r\n<body>..."
    error = refuse(413, page)
    assert type(error) is ServerError
    assert error.status == 413
    assert str(error).startswith(f"{URL}: HTTP 413: 413 Request Entity Too Large; what is sent is")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"Internal Server Error", "Internal Server Error"),
        (PAGE, "Welcome"),
        (b'{"error": "x"}', '{"error": "x"}'),
        (b'["a"]', '["a"]'),
        (b'{"detail": ["a"]}', '{"detail": ["a"]}'),
        (b'{"detail": 5}', '{"detail": 5}'),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", ""),
    ],
)
def test_refusal_without_a_detail_quotes_the_answer(content: bytes, text: str) -> None:
    assert str(refuse(500, content)) == f"{URL}: HTTP 500: {text}"


def test_long_answers_are_quoted_in_part() -> None:
    error = refuse(500, b"x" * 100_000)
    assert len(error.body) < 250
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (body({"detail": "Not authenticated"}), ". It says: Not authenticated"),
        (body({"detail": {"error": "Not authenticated"}}), ". It says: Not authenticated"),
        (
            body({"detail": {"error": "Not authenticated", "auth_message": "Ask Ann"}}),
            ". It says: Ask Ann",
        ),
        (b"", ""),
    ],
    ids=["text", "object", "message", "nothing"],
)
def test_401_says_how_to_log_in(content: bytes, says: str) -> None:
    error = refuse(401, content)
    assert isinstance(error, AuthenticationError)
    assert isinstance(error, ValueError)
    assert error.status == 401
    assert str(error) == f"{URL}: the app wants a login; pass auth=(user, password){says}"


@pytest.mark.parametrize(
    ("headers", "retry_after"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:00 GMT"}, None),
        # A date is by the server's clock, which is that of its answer.
        (
            {
                "retry-after": "Mon, 23 Nov 2026 12:00:00 GMT",
                "date": "Mon, 23 Nov 2026 11:58:30 GMT",
            },
            90.0,
        ),
        (
            {
                "retry-after": "Monday, 23-Nov-26 12:00:00 GMT",
                "date": "Mon Nov 23 12:00:01 2026",
            },
            0.0,
        ),
        ({"retry-after": "soon", "date": "Mon, 23 Nov 2026 12:00:00 GMT"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:00 GMT", "date": "today"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "²"}, None),
    ],
    ids=lambda value: str(value),
)
def test_429_tells_how_long_to_wait(headers: dict[str, str], retry_after: float | None) -> None:
    error = refuse(429, b"slow down", headers)
    assert isinstance(error, TooManyRequestsError)
    assert error.status == 429
    assert error.retry_after == retry_after
    assert "slow down" in str(error)


@pytest.mark.parametrize("status", [502, 503])
def test_any_refusal_tells_how_long_to_wait(status: int) -> None:
    error = refuse(status, b"later", {"retry-after": "7"})
    assert isinstance(error, ServerError)
    assert error.retry_after == 7


def test_full_queue_tells_how_long_to_wait() -> None:
    error = refuse(503, b'{"detail":"Queue is full. Max size is 1."}', {"retry-after": "7"})
    assert isinstance(error, QueueFullError)
    assert error.retry_after == 7


@pytest.mark.parametrize(
    "detail", ["Queue is full. Max size is 1 and size is 1.", "Queue is stopped."]
)
def test_503_of_the_queue_is_a_full_queue(detail: str) -> None:
    error = refuse(503, body({"detail": detail}))
    assert isinstance(error, QueueFullError)
    assert error.status == 503
    assert detail in str(error)


@pytest.mark.parametrize(
    "content", [b"upstream is away", body({"detail": "upstream is away"}), body({"detail": None})]
)
def test_503_of_a_proxy_is_no_full_queue(content: bytes) -> None:
    error = refuse(503, content)
    assert type(error) is ServerError
    assert error.status == 503


# -- 422, which has two meanings --


def test_422_of_a_validator_names_what_is_wrong() -> None:
    detail = [
        {"__type__": "validate", "is_valid": False, "message": "too big", "parameter_name": "n"},
        {"__type__": "validate", "is_valid": True, "message": "", "parameter_name": "m"},
        {"is_valid": True, "message": ""},
        {"__type__": "validate", "is_valid": False, "message": None},
        "odd",
        {"__type__": "validate", "is_valid": None, "message": "x", "parameter_name": "o"},
    ]
    error = refuse(422, body({"detail": detail}))
    assert isinstance(error, ValidationError)
    assert isinstance(error, ValueError)
    assert error.status == 422
    assert error.parameters == {"n": "too big", "param_3": ""}
    assert "2 of the arguments: n: too big; param_3: " in str(error)
    assert error.body.startswith('{"detail"')


@pytest.mark.parametrize(
    "detail",
    [
        [{"type": "missing", "loc": ["body", "data"], "msg": "Field required"}],
        [{"is_valid": False, "message": "no type"}],
        [{"__type__": "validate", "is_valid": True, "message": ""}],
        [],
        "text",
        None,
    ],
    ids=repr,
)
def test_422_of_a_malformed_body_is_a_plain_refusal(detail: object) -> None:
    assert type(refuse(422, body({"detail": detail}))) is ServerError


@pytest.mark.parametrize("version", VERSIONS)
def test_refusals_of_real_servers(version: str) -> None:
    refusals = read_json(version, "refusals")
    assert ("invalid" in refusals) == (version in ("5.50.0", "6.31.0"))
    for name, answer in refusals.items():
        headers = {"content-type": answer["content_type"]}
        with pytest.raises(ServerError) as caught:
            read_event_id(answer["status"], headers, answer["body"].encode(), url=URL)
        assert caught.value.status == 422
        if name == "invalid":
            assert isinstance(caught.value, ValidationError)
            assert caught.value.parameters == {"n": "must be even"}
        else:
            assert type(caught.value) is ServerError


# -- /config --


def test_config_is_decoded() -> None:
    assert read_config(200, JSON, b'{"version": "6.31.0"}', url=URL) == {"version": "6.31.0"}
    assert read_config(200, {}, b'  {"a": NaN}', url=URL)["a"] != 0
    assert read_config(200, {}, b"[1]", url=URL) == [1]


@pytest.mark.parametrize("status", [404, 405])
def test_config_that_is_not_there_is_no_gradio(status: int) -> None:
    with pytest.raises(NotGradioError, match=f"HTTP {status}, text/html: <!doctype") as caught:
        read_config(status, HTML, PAGE, url=URL)
    assert caught.value.url == URL
    assert caught.value.status == status
    assert "Give the address" in str(caught.value)


def test_config_that_is_a_page_is_no_gradio() -> None:
    with pytest.raises(NotGradioError, match="HTTP 200, text/html: <!doctype html> <title>W"):
        read_config(200, HTML, PAGE, url=URL)
    with pytest.raises(NotGradioError, match="HTTP 200, no content type: hello"):
        read_config(200, {}, b"hello", url=URL)


@pytest.mark.parametrize("content", [b'{"version": ', b"", b'{"a": "\xff"}'], ids=repr)
def test_config_that_is_broken_json_is_no_gradio(content: bytes) -> None:
    with pytest.raises(NotGradioError, match="http://test/config: ") as caught:
        read_config(200, JSON, content, url=URL)
    assert caught.value.status == 200


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AuthenticationError), (403, ServerError), (429, TooManyRequestsError)],
)
def test_config_that_is_refused_is_not_taken_for_no_gradio(
    status: int, kind: type[ServerError]
) -> None:
    with pytest.raises(kind) as caught:
        read_config(status, JSON, b'{"detail": "no"}', url=URL)
    assert type(caught.value) is kind


# -- other answers --


def test_answer_is_decoded() -> None:
    assert replies.read_json(200, JSON, b'{"a": [1, "\\ud83d"]}', url=URL) == {"a": [1, "\ud83d"]}


def test_answer_that_is_no_json_is_the_servers_fault() -> None:
    with pytest.raises(RemoteProtocolError, match="no JSON"):
        replies.read_json(200, HTML, PAGE, url=URL)


def test_answer_that_is_refused_is_an_error() -> None:
    with pytest.raises(ServerError):
        replies.read_json(500, JSON, b"{}", url=URL)


def test_job_gets_its_id() -> None:
    assert read_event_id(200, JSON, b'{"event_id":"9257"}', url=URL) == "9257"


@pytest.mark.parametrize(
    "content",
    [b"{}", b"null", b'["id"]', b'{"event_id":null}', b'{"event_id":""}', b'{"event_id":5}'],
)
def test_answer_without_an_id_is_the_servers_fault(content: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="answers without a job's id"):
        read_event_id(200, JSON, content, url=URL)


def test_submission_to_a_full_queue_is_refused() -> None:
    with pytest.raises(QueueFullError):
        read_event_id(503, JSON, b'{"detail":"Queue is full."}', url=URL)


# -- logging in --


def test_login_that_succeeds_is_no_error() -> None:
    read_login(200, b'{"success":true}', url=URL)


@pytest.mark.parametrize(
    ("status", "content", "says"),
    [
        (400, b'{"detail":"Incorrect credentials."}', "Incorrect credentials."),
        (401, b"", ""),
        (422, b'{"detail":[1]}', "[1]"),
        (500, b"Internal Server Error", "Internal Server Error"),
    ],
)
def test_login_that_fails_quotes_the_server(status: int, content: bytes, says: str) -> None:
    with pytest.raises(AuthenticationError, match="does not accept") as caught:
        read_login(status, content, url=URL)
    assert f"(HTTP {status}): " in str(caught.value)
    assert says in str(caught.value)
    assert caught.value.status == status
    assert caught.value.body == content.decode()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 404, 405])
def test_login_where_none_is_wanted_says_so(status: int) -> None:
    with pytest.raises(AuthenticationError, match="takes no user name and password") as caught:
        read_login(status, b"elsewhere", url=URL)
    assert caught.value.status == status
    assert caught.value.body == "elsewhere"


# -- whatever comes --

statuses = st.sampled_from([200, 204, 302, 400, 401, 404, 405, 422, 429, 500, 503])
contents = st.one_of(
    st.binary(),
    json_values(nan=True).map(body),
    st.fixed_dictionaries({"detail": json_values()}).map(body),
    st.lists(
        st.fixed_dictionaries(
            {"__type__": st.just("validate"), "is_valid": st.booleans()},
            optional={"message": json_values(), "parameter_name": json_values()},
        )
    ).map(lambda detail: body({"detail": detail})),
    st.sampled_from([1, 2_000]).map(lambda depth: b'{"detail":' * depth + b"1" + b"}" * depth),
)


@given(
    statuses,
    st.dictionaries(st.sampled_from(["retry-after", "date", "content-type"]), st.text()),
    contents,
)
def test_any_answer_is_a_value_or_one_of_our_errors(
    status: int, headers: dict[str, str], content: bytes
) -> None:
    for read in (read_config, replies.read_json, read_event_id):
        try:
            read(status, headers, content, url=URL)
        except JobwireError:
            continue
        assert status == 200


@given(json_values())
def test_any_json_is_read(value: Json) -> None:
    assert replies.read_json(200, {}, body(value), url=URL) == value


# -- direct calls --


def read(status: int, body: bytes, **options: Any) -> Any:
    return read_output(status, JSON, body, url=URL, **options)


def test_answer_to_a_direct_call_is_a_completion() -> None:
    message = read(200, b'{"data": ["x", NaN], "is_generating": false, "duration": 0.5}')
    assert isinstance(message, ProcessCompleted)
    assert message.success is True
    output: Any = message.output
    first, second = decode_value(output.data)
    assert (first, math.isnan(second)) == ("x", True)


@pytest.mark.parametrize("text", ["bad thing", None])
def test_failure_of_the_app_is_a_completion_too(text: str | None) -> None:
    message = read(500, json.dumps({"error": text}).encode(), batch=True)
    assert isinstance(message, ProcessCompleted)
    assert message.success is False
    assert message.output.error == text


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (500, b"Internal Server Error", ServerError),
        (500, b'["error"]', ServerError),
        (404, b'{"error": "no"}', ServerError),
        (401, b'{"detail": "Not authenticated"}', AuthenticationError),
    ],
)
def test_refusal_of_a_direct_call_is_no_failure_of_the_app(
    status: int, body: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        read(status, body)


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]", b"5"])
def test_answer_that_makes_no_sense_is_malformed(body: bytes) -> None:
    assert isinstance(read(200, body), Malformed)


def test_batch_of_one_gives_the_first_value_of_each_output() -> None:
    message = read(200, b'{"data": [["x", "y"], [[1]]]}', batch=True)
    assert decode_value(message.output.data) == ["x", [1]]


@pytest.mark.parametrize("body", [b"{}", b'{"data": 5}', b'{"data": [5]}', b'{"data": [[]]}'])
def test_batch_without_values_is_nonsense(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="without a batch"):
        read(200, body, batch=True)
