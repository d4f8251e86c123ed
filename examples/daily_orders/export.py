"""Orders as CSV that a spreadsheet shows and never runs, streamed in pieces.

What a customer typed must not become a formula on somebody's desk. A cell of text that begins with
one of `= + - @`, a tab, a carriage return or a line feed gets an apostrophe before it, as OWASP's
page on CSV injection asks, and every cell is quoted. Numbers of ours are numbers: -5 stays -5.

Guarantees: equal orders give equal bytes. Never holds more than one piece in memory.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - full width
PIECE_ROWS = 1_000


def safe(cell: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(DANGEROUS) else cell


async def csv_pieces(
    orders: AsyncIterator[Mapping[str, Any]], columns: Sequence[str]
) -> AsyncIterator[tuple[int, bytes]]:
    """Iterate over (rows, bytes) of the file, the header first with 0 rows."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    yield 0, _taken(buffer)
    rows = 0
    async for order in orders:
        writer.writerow([safe(order[name]) for name in columns])
        rows += 1
        if rows == PIECE_ROWS:
            yield rows, _taken(buffer)
            rows = 0
    if rows:
        yield rows, _taken(buffer)


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()


@dataclass(frozen=True)
class Written:
    """A file that was written: how many orders, how many bytes, and its SHA-256."""

    path: Path
    orders: int
    size: int
    sha256: str


async def write_csv(
    orders: AsyncIterator[Mapping[str, Any]], columns: Sequence[str], path: Path
) -> Written:
    """Write the orders to a file and say what it holds."""
    count, size, digest = 0, 0, hashlib.sha256()
    with path.open("wb") as file:
        async for rows, piece in csv_pieces(orders, columns):
            count += rows
            size += len(piece)
            digest.update(piece)
            file.write(piece)
    return Written(path, count, size, digest.hexdigest())
