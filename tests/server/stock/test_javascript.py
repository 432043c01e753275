"""Stock ``@gradio/client``, unmodified; see ``javascript.mjs``."""

import shutil

import pytest

from server.conftest import Serving
from server.stock.conftest import HERE, Results, javascript_folder, outputs_of, run_scenarios

pytestmark = pytest.mark.timeout(300)  # with the making of the environment


@pytest.fixture(scope="module")
def results(serving: Serving, guarded: Serving) -> Results:
    # Node.js looks for packages beside the file.
    script = shutil.copy(HERE / "javascript.mjs", javascript_folder())
    return run_scenarios("node", script, serving=serving, guarded=guarded)


def test_predict(results: Results) -> None:
    assert results["predict"] == [
        ["naïve ✓ 🎉"],
        ["by name"],
        ["HI", 2],
        [],
        ["X"],
        ["not queued"],
        ["by number"],
    ]


def test_arguments_by_position_by_name_and_by_default(results: Results) -> None:
    assert results["arguments"] == [[3.5], [5], [6], [3.5], ["red [2]"], [{"x": 2, "y": 1}]]


def test_wrong_arguments(results: Results) -> None:
    kind, missing, surplus, choice, unknown, after = results["wrong_arguments"]
    for failure, words in ((kind, ["a", "int", "str"]), (choice, ["color", "blue", "'red'"])):
        assert failure["code"] == "validation_error"
        assert failure["stage"] == "error"
        assert all(word in failure["message"] for word in words)
    assert "required parameter: a" in missing["message"]
    assert "`z` is not a valid keyword" in surplus["message"]
    assert "No endpoint matching" in unknown["message"]
    assert "private_echo" not in unknown["message"]
    assert after == ["still there"]


def test_values(results: Results) -> None:
    assert results["values"] == [
        [["a", "bb"]],
        [{"a": 1, "bb": 2}],
        [{"nan": None, "text": "naïve ✓ 🎉 \ufffd", "deep": [[], {}, None]}],
    ]


def test_every_output(results: Results) -> None:
    expected = {
        "grow": [[text] for text in outputs_of("grow", 30)],
        "tables": [[table] for table in outputs_of("tables")],
        "mixed": [list(pair) for pair in outputs_of("mixed")],
        "ticks": [[i] for i in range(5)],
    }
    for name, outputs in expected.items():
        assert results["outputs"][name] == [*outputs, outputs[-1]]  # the last one comes twice


def test_progress_of_nested_bars(results: Results) -> None:
    nested = results["progress"]
    assert all(unit[1:] == [2, "rounds", "outer"] for unit, *_ in nested)
    inner = [[outer[0], unit[0]] for outer, *rest in nested for unit in rest]
    assert inner == sorted(inner)
    assert {outer for outer, _ in inner} == {0, 1}


def test_logs(results: Results) -> None:
    info = {"log": "info x", "level": "info", "title": "Info", "duration": 10, "visible": True}
    warning = {"log": "warning x", "level": "warning", "title": "Take care", "duration": 3}
    assert results["logs"] == [info, {**warning, "visible": True}]


def test_statuses(results: Results) -> None:
    assert results["statuses"] == ["pending", "generating", "complete"]


def test_errors(results: Results) -> None:
    found = results["errors"]
    assert found["titled"] == {
        "message": "a <b>bad</b> thing",
        "title": "Oops",
        "duration": 7,
        "visible": False,
        "stage": "error",
    }
    assert "ValueError" in found["value"]["message"]
    assert "secret" not in str(found["value"])
    assert found["direct"]["message"] == "a direct failure"
    assert found["late"] == [[["one"], ["two"]], "error", "failed after outputs"]
    assert found["after"] == ["x"]


def test_cancel(results: Results) -> None:
    assert results["cancel"] == {"ended": [True], "after": ["x"]}


def test_files(results: Results) -> None:
    assert results["files"] == {
        "same": [True, True],
        "local": True,
        "name": "shouted naïve #1 100%.txt",
        "size": True,
        "joined": ["a+b"],
        "parts": ["a", "b"],
    }


def test_view_api(results: Results) -> None:
    found = results["view_api"]
    assert {"/add", "/echo", "/fail"} <= set(found["names"])
    assert not {"/private_echo", "/quiet_echo"} & set(found["names"])
    assert found["add"] == [
        ["a", False, None, "Number"],
        ["b", True, 2, "Number"],
        ["c", True, 0.5, "Number"],
    ]
    assert found["generator"] == {"generator": True, "cancel": False}


def test_state_goes_with_the_session(results: Results) -> None:
    assert results["sessions"] == [1, 2, 1, 3]


def test_many_jobs_at_once_and_in_a_row(results: Results) -> None:
    assert results["many"] == {
        "together": [str(i) for i in range(60)],
        "row": [str(i) for i in range(10)],
    }


def test_login(results: Results) -> None:
    found = results["login"]
    assert found["none"]["message"] == "Say who you are."
    assert "message" in found["wrong"]
    assert found["user"] == ["user"]
    assert found["outputs"] == [["0"], ["1"], ["2"], ["2"]]
    assert found["file"] == "OWN"
