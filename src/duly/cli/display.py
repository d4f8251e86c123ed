"""Listings: as a table for people, as JSON for programs.

Rich draws the table on a terminal, and is imported only then; elsewhere columns are lined up
with plain spaces, so that `grep` and `awk` work. `NO_COLOR` is honoured by both. JSON is one
document: instants in RFC 3339 UTC, durations in seconds, and names that are kept. What a
terminal would obey, or nobody could see, is written as what it is called.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import click
import msgspec

from duly.core.spoken import rfc3339

Row = Mapping[str, Any]


def show(rows: Sequence[Row], columns: Mapping[str, str], output: str, *, empty: str) -> None:
    """Show rows; `columns` maps headings to the keys of rows, `empty` is said when there are none.

    JSON has every key, a table only the columns.
    """
    if output == "json":
        return show_json([dict(row) for row in rows])
    if not rows:
        return click.echo(empty, err=True)
    cells = [[cell(row.get(key)) for key in columns.values()] for row in rows]
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        _draw(list(columns), cells)
    else:
        _line_up(list(columns), cells)


def plain_output() -> bool:
    """Whether `NO_COLOR` asks for text without any style."""
    return bool(os.environ.get("NO_COLOR"))


def show_json(document: object) -> None:
    """Write one JSON document; what cannot be seen is escaped, and reads back as it was."""
    text = json.dumps(document, indent=2, ensure_ascii=False, default=plain)
    click.echo("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def say(text: str, *, err: bool = False) -> None:
    """Write lines that strangers' words may be in; nothing in them commands a terminal."""
    click.echo(visible(text), err=err)


def visible(text: str) -> str:
    """Return a text whose lines are printable: `\\x1b` for what a terminal would obey."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def plain(value: object) -> object:
    """Return a value as JSON can carry it."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        return json.loads(value) if value else None
    return msgspec.to_builtins(value)


def cell(value: object) -> str:
    """Return a value as a table shows it: one line."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return rfc3339(value.replace(microsecond=0))
    if isinstance(value, list | tuple):
        return ", ".join(cell(one) for one in value) or "-"
    return visible(" ".join(str(value).split())) or "-"


def _line_up(headings: list[str], cells: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in [headings, *cells]) for i in range(len(headings))]
    for row in [headings, *cells]:
        padded = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        click.echo("  ".join(padded).rstrip())


def _draw(headings: list[str], cells: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="" if plain_output() else "bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in cells:
        table.add_row(*(Text(one) for one in row))
    Console().print(table)


def show_fields(fields: Row, output: str) -> None:
    """Show one thing: a line per field, or a JSON object."""
    if output == "json":
        return show_json(dict(fields))
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        text = value if isinstance(value, str) and "\n" in value else cell(plain_text(value))
        say(f"{name.ljust(width)}  {text.replace(chr(10), chr(10) + ' ' * (width + 2))}")
    return None


def plain_text(value: object) -> object:
    """Return a value as one line of text, structures as JSON."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return json.dumps(value, default=plain, ensure_ascii=False)
    return value
