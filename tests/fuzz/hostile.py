"""What a hostile or careless world sends, and what every boundary owes for it.

`answered` calls a boundary with anything at all: it answers, or it refuses by an error that it
documents. Such an error is one line that a person can read, short however long the input was, and
free of the secrets that the input held. Any other exception fails the test by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st

from duly.errors import DulyError, UsageError

T = TypeVar("T")

LONGEST = 700
"""Characters of a refusal. What it quotes is cut to 80, a URL to three hundred."""

ANY_CHARACTER = st.characters(codec=None)
BREAKING = st.sampled_from(
    [
        "\n",
        "\r\n",
        "\0",
        "\x1b[31m",
        "\u2028",
        "\u202e",
        "\ud800",
        "\udcff",
        "'",
        '"',
        "=",
        "\t",
        "٣",
    ]
)
ANY_TEXT = st.text(ANY_CHARACTER, max_size=60) | st.lists(
    BREAKING | st.text(max_size=5), max_size=8
).map("".join)
LONG_TEXT = st.builds(
    lambda piece, times: piece * times, st.text(min_size=1, max_size=4), st.integers(1, 4_000)
)
TEXT = ANY_TEXT | LONG_TEXT

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
HUGE = st.sampled_from([10**5_000, -(10**5_000), 2**64, 2**63, -(2**63) - 1])


class Deep(list[Any]):
    """A list in a list in a list, deeper than any parser goes; told by its name alone."""

    def __init__(self, depth: int = 5_000) -> None:
        inner: list[Any] = []
        for _ in range(depth):
            inner = [inner]
        super().__init__(inner)

    def __repr__(self) -> str:
        return "Deep()"


UNFIT = st.sampled_from([object(), {1, 2}, 1j, {(1, 2): 3}, b"\xff", Deep()])
ANYTHING: st.SearchStrategy[Any] = JSON | HUGE | UNFIT


def answered(
    call: Callable[..., T],
    *args: Any,
    kinds: tuple[type[DulyError], ...] = (UsageError,),
    secret: str = "",
    lines: int = 1,
    **named: Any,
) -> T | None:
    """Return what a boundary answers; None when it refuses, and refuses well."""
    try:
        return call(*args, **named)
    except kinds as error:
        well_said(str(error), secret=secret, lines=lines)
    return None


def well_said(text: str, *, secret: str = "", lines: int = 1) -> None:
    """Assert that a refusal can be read by a person, logged in a line, and shown to anybody."""
    told = text.split("\n")
    assert 0 < len(told) <= lines, f"{len(told)} lines: {text[:300]!r}"
    for one in told:
        assert 0 < len(one) <= LONGEST, f"{len(one)} characters: {one[:300]!r}"
        assert one.isprintable(), repr(one[:300])
    if secret:
        assert secret not in text
