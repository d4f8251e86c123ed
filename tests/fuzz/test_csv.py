"""The example's CSV: whatever a customer typed comes back as text, and never as a formula.

The file is read back by the standard library's reader, strictly: every cell is what was typed, or
that behind an apostrophe, and equal rows are equal bytes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from examples.daily_orders.export import DANGEROUS, csv_pieces, safe
from tests.stores.profiles import cases

FORMULAS = st.sampled_from(
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", '"=1', "'=1"]
)
CELLS = (
    st.text(st.characters(codec="utf-8"), max_size=30)
    | FORMULAS
    | st.builds("{}{}".format, FORMULAS, st.sampled_from([",", ";", "\r\n", '"', "|cmd"]))
)
COLUMNS = ("id", "name", "note", "cents")
ROWS = st.lists(st.tuples(st.integers(), CELLS, CELLS, st.integers()), max_size=6)


async def _given(rows: list[tuple[Any, ...]]) -> AsyncIterator[Mapping[str, Any]]:
    for row in rows:
        yield dict(zip(COLUMNS, row, strict=True))


async def written(rows: list[tuple[Any, ...]]) -> bytes:
    """Return the whole file of these rows."""
    return b"".join([piece async for _, piece in csv_pieces(_given(rows), COLUMNS)])


@given(ROWS)
@cases(80)
async def test_every_cell_comes_back_and_none_is_a_formula(rows: list[tuple[Any, ...]]) -> None:
    content = await written(rows)
    read = list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))
    assert read[0] == list(COLUMNS)
    assert len(read) == len(rows) + 1
    for row, cells in zip(rows, read[1:], strict=True):
        assert [cells[0], cells[3]] == [str(row[0]), str(row[3])]
        for typed, cell in zip(row[1:3], cells[1:3], strict=True):
            assert not cell.startswith(DANGEROUS)
            assert cell == safe(typed)
            assert cell == typed or cell == f"'{typed}"


@given(CELLS)
@cases(80)
def test_a_cell_is_made_safe_once(text: str) -> None:
    assert safe(safe(text)) == safe(text)


@given(ROWS)
@cases(50)
async def test_equal_rows_are_equal_bytes(rows: list[tuple[Any, ...]]) -> None:
    assert await written(rows) == await written(list(rows))
