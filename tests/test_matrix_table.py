"""The table of servers says what the run of the matrix found."""

from pathlib import Path

import pytest

pytest_plugins = "pytester"

TESTS = Path(__file__).parent
RUN = """
import pytest

@pytest.fixture(params=["4.10.0", "5.50.0", "4.9.0"])
def generation(request):
    if request.node.originalname == "test_broken_server":
        raise RuntimeError
    return request.param

def test_works(generation):
    pass

def test_is_new(generation):
    if generation != "5.50.0":
        pytest.skip("since 5.0")

def test_is_old(generation):
    if generation == "5.50.0":
        pytest.skip("before 5.0")

@pytest.mark.parametrize("part", [1, 2])
def test_in_part(generation, part):
    if generation != "5.50.0" and part == 2:
        pytest.skip("the old ones cannot")

def test_not_at_all(generation):
    pytest.skip("the old ones cannot" if generation != "5.50.0" else "nobody can")

def test_fails(generation):
    assert generation != "4.9.0"

def test_broken_server(generation):
    pass

def test_of_no_server():
    pass
"""
TABLE = """\
## test_run

| | 4.9.0 | 4.10.0 | 5.50.0 |
|---|---|---|---|
| works | ✓ | ✓ | ✓ |
| is new | \N{EN DASH} | \N{EN DASH} | ✓ |
| is old | ✓ | ✓ | \N{EN DASH} |
| in part | ✓ 1 | ✓ 1 | ✓ |
| not at all | 1 | 1 | 2 |
| fails | ✗ | ✓ | ✓ |
| broken server | ✗ | ✗ | ✗ |

1. the old ones cannot
2. nobody can
"""


def test_table(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    pytester.makepyfile(test_run=RUN)
    target = pytester.path / "table.md"
    pytester.runpytest_subprocess("-p", "matrix.table", "--matrix-table", target)
    assert target.read_text(encoding="utf-8").endswith(f"\n\n{TABLE}")
