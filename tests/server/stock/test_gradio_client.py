"""Stock ``gradio_client``, the newest and the last of 1.x, unmodified; see ``official.py``."""

from typing import Any

import pytest

from server.conftest import Serving
from server.stock.conftest import (
    HERE,
    PYTHON_CLIENTS,
    Results,
    outputs_of,
    python_of,
    run_scenarios,
)

pytestmark = pytest.mark.timeout(300)  # with the making of the environment


@pytest.fixture(scope="module", params=PYTHON_CLIENTS)
def results(request: pytest.FixtureRequest, serving: Serving, guarded: Serving) -> Results:
    python = python_of(request.param)
    return run_scenarios(python, HERE / "official.py", serving=serving, guarded=guarded)


def error(type: str, text: str, **told: Any) -> dict[str, Any]:
    return {"type": type, "text": text, "title": None, "duration": None, "visible": None, **told}


def app_error(
    text: str, *, title: str = "Error", duration: float = 10, visible: bool = True
) -> Any:
    return error("AppError", text, title=title, duration=duration, visible=visible)


def test_predict(results: Results) -> None:
    assert results["predict"] == ["naïve ✓ 🎉", ["HI", 2], [], "x", "x", "X", "x"]


def test_arguments_by_position_by_name_and_by_default(results: Results) -> None:
    assert results["arguments"] == [3.5, 11.5, 5.0, 3.25, "red [2]", "green [1, 3]"]


def test_wrong_arguments_are_named_before_anything_runs(results: Results) -> None:
    kind, missing, surplus, choice, unknown, private, after = results["wrong_arguments"]
    for failure, words in ((kind, ["a", "int", "str"]), (choice, ["color", "blue", "'red'"])):
        assert failure["type"] == "ValidationError"
        assert failure["text"].startswith("1 parameter(s) failed validation:\n- ")
        assert all(word in failure["text"] for word in words)
    assert missing == error("TypeError", "No value provided for required argument: a")
    assert surplus["type"] == "ValidationError"
    assert "4 values" in surplus["text"]
    assert [unknown["type"], private["type"]] == ["ValueError", "ValueError"]
    assert after == "still there"


def test_values(results: Results) -> None:
    assert results["values"] == [
        ["a", "bb"],
        {"a": 1, "bb": 2},
        {"x": 2, "y": 1.0},
        {"x": 3, "y": 2.5},
        {"nan": None, "text": "naïve ✓ 🎉 \ufffd", "deep": [[], {}, None]},
    ]


def test_every_output(results: Results) -> None:
    found = results["outputs"]
    expected = {
        "grow": outputs_of("grow", 30),
        "tables": outputs_of("tables"),
        "mixed": [list(pair) for pair in outputs_of("mixed")],
        "ticks": list(range(5)),
    }
    for name, outputs in expected.items():
        assert found[name] == [outputs[-1], outputs]
    assert found["iterated"] == ["0", "1", "2", "3"]
    assert found["echo"] == ["x"]


def test_progress_of_nested_bars(results: Results) -> None:
    nested = results["progress"]["steps"]
    assert all(unit[1:] == [3, "rounds", "outer"] for unit, *_ in nested)
    inner = [[outer[0], unit[0]] for outer, *rest in nested for unit in rest]
    assert inner == sorted(inner)
    assert {outer for outer, _ in inner} == {0, 1, 2}
    plain = results["progress"]["steps_as_in_gradio"]
    every = [[[index, 3, "parts", "working"]] for index in range(3)]
    # That client looks now and then, so that some pass unseen, the last one, too.
    assert plain == [unit for unit in every if unit in plain]
    assert plain


def test_logs(results: Results) -> None:
    assert results["logs"] == [["info x", "info"], ["warning x", "warning"]]


def test_updates(results: Results) -> None:
    found = results["updates"]
    assert found["codes"][-1] == "FINISHED"
    assert set(found["codes"]) >= {"PROCESSING", "ITERATING"}
    assert found["outputs"][:3] == ["0", "1", "2"]
    assert found["outputs"][3]["data"] == ["2"]


def test_errors(results: Results) -> None:
    found = results["errors"]
    assert found["titled"] == app_error(
        "a <b>bad</b> thing", title="Oops", duration=7, visible=False
    )
    assert found["value"]["type"] == "AppError"
    assert "ValueError" in found["value"]["text"]
    assert "secret" not in str(found["value"])
    assert found["late"] == [app_error("failed after outputs"), ["one", "two"]]
    assert found["direct"] == app_error("a direct failure")
    assert found["after"] == "x"


def test_place_in_the_queue_and_cancelling_there(results: Results) -> None:
    assert results["queue"] == {
        "place": ["IN_QUEUE", 1, 2],
        "cancelled": True,
        "results": [True, True],
        "after": "x",
    }


def test_cancelling_what_runs(results: Results) -> None:
    assert results["cancel"] == {
        "answers": [True, True, True],
        "others": ["59", "59", False, False],
        "ended": [True, True],
    }


def test_files(results: Results) -> None:
    found = results["files"]
    refused = found.pop("foreign")
    assert found == {
        "same": True,
        "name": "shouted first ✓ #1 100%.txt",
        "joined": "second\nsecond",
        "parts": {"a": "a", "b": "b"},
    }
    assert refused["type"] == "ValidationError"
    assert "file" in refused["text"]
    assert "not allowed" in refused["text"]


def test_view_api(results: Results) -> None:
    found = results["view_api"]
    assert found["unnamed"] == {}
    assert {"/add", "/echo", "/fail"} <= set(found["names"])
    assert not {"/private_echo", "/quiet_echo"} & set(found["names"])
    add = found["add"]
    assert add["description"] == "Add numbers."
    assert [
        (p["parameter_name"], p["parameter_has_default"], p["parameter_default"])
        for p in add["parameters"]
    ] == [("a", False, None), ("b", True, 2), ("c", True, 0.5)]
    assert [p["python_type"]["type"] for p in add["parameters"]] == ["int", "int", "float"]
    assert [r["python_type"]["type"] for r in add["returns"]] == ["float"]
    assert "- [Dropdown] color: Literal['red', 'green'] (required)" in found["lines"]
    assert "- [File] files: list[filepath] (required)" in found["lines"]


def test_state_goes_with_the_session(results: Results) -> None:
    assert results["sessions"] == [1, 2, 3, 1, 4, 1]


def test_many_jobs_at_once_and_in_batches(results: Results) -> None:
    found = results["many"]
    assert found["echo"] == [str(i) for i in range(30)]
    assert found["double"] == [2 * i for i in range(20)]
    assert 1 < found["batches"] <= 8


def test_jobs_in_a_row(results: Results) -> None:
    assert results["in_a_row"] == [str(i) for i in range(20)]


def test_threads_share_a_client(results: Results) -> None:
    assert results["threads"] == [str(n) for n in range(8) for _ in range(5)]


def test_callbacks(results: Results) -> None:
    assert results["callbacks"] == ["2"]


def test_login(results: Results) -> None:
    found = results["login"]
    assert found["none"]["type"] == "AuthenticationError"
    assert "credentials were not provided" in found["none"]["text"]
    assert found["wrong"]["type"] == "ValueError"
    assert [found[name] for name in ("user", "iterated", "file", "cancel")] == [
        "user",
        ["0", "1", "2"],
        "OWN",
        True,
    ]
