"""Hypothesis strategies for what servers and callers may send."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# The values that JSON can be decoded to.
Json = object

# Time limits make tests fail on busy machines, and say nothing about the code.
settings.register_profile("protocol", deadline=None, max_examples=100)
settings.load_profile("protocol")


def json_values(
    *, text: SearchStrategy[str] | None = None, nan: bool = False, leaves: int = 12
) -> SearchStrategy[Json]:
    text = st.text(max_size=8) if text is None else text
    scalars = (
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=nan, allow_infinity=nan)
        | text
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
        max_leaves=leaves,
    )


@st.composite
def cuts(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """The same bytes in pieces, empty ones among them."""
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=20)))
    return cut_at(whole, places)


def cut_at(whole: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *places, len(whole)]
    return [whole[start:end] for start, end in pairwise(edges)]
