"""The fuzzed functions, with what hypothesis draws."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes(name: str) -> None:
    @settings(deadline=None, max_examples=300)
    @given(st.binary(max_size=200))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()
