"""Counts the lines that each approach needs: `python -m examples.daily_orders.count`.

Counted is what makes the mail go out once a day; selecting orders, writing CSV and talking SMTP
are left out everywhere. Blank lines, comments and docstrings do not count. The table in
`docs/answers.md` is this module's output, held by a test.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
ANSWERS = HERE / "docs" / "answers.md"
BEGIN, END = "<!-- counted: begin -->\n", "<!-- counted: end -->"

# Approach, its sketch, what must run beside the application, packages beyond the framework.
SKETCHES = (
    ("`@Cron` in every instance", "cron_decorator.ts", "nothing", "@nestjs/schedule"),
    ("a function that calls an endpoint", "lambda_endpoint.ts", "timer, function, role", "none"),
    ("Bull and Redis", "bull_queue.ts", "Redis", "@nestjs/bull, bull, ioredis"),
    ("a table (day, status)", "acid_table.py.txt", "nothing", "a cron library"),
)
OURS = {"mail", "app", "mail_orders"}


def table() -> str:
    """Return the table of lines, in Markdown."""
    rows = ["| approach | lines | runs beside it | packages |", "|---|--:|---|---|"]
    for name, sketch, beside, packages in SKETCHES:
        lines = len(list(_code(HERE / "docs" / "sketches" / sketch)))
        rows.append(f"| {name} | {lines} | {beside} | {packages} |")
    rows.append(f"| Duly, this example | {our_lines()} | nothing | duly |")
    return "\n".join(rows) + "\n"


def our_lines() -> int:
    """Count the running code of `orders.py`: the app, the task, and its second schedule."""
    text = (HERE / "orders.py").read_text("utf-8")
    kept: set[int] = set()
    for node in ast.parse(text).body:
        if _name(node) in OURS:
            first = min(
                (d.lineno for d in getattr(node, "decorator_list", [])), default=node.lineno
            )
            kept |= set(range(first, (node.end_lineno or node.lineno) + 1)) - _docstring(node)
    lines = text.splitlines()
    return sum(bool(line.strip()) and not _comment(line) for line in (lines[n - 1] for n in kept))


def _code(sketch: Path) -> Iterator[str]:
    for line in sketch.read_text("utf-8").splitlines():
        if line.strip() and not _comment(line) and not line.strip().startswith('"""'):
            yield line


def _comment(line: str) -> bool:
    return line.strip().startswith(("//", "#"))


def _name(node: ast.stmt) -> str:
    match node:
        case ast.AsyncFunctionDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            return name  # app.schedule(…)
    return ""


def _docstring(node: ast.stmt) -> set[int]:
    if isinstance(node, ast.AsyncFunctionDef) and ast.get_docstring(node):
        first = node.body[0]
        return set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return set()


def written() -> str:
    """Return the table as it stands in the answers."""
    return ANSWERS.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


def main() -> int:
    """Write the table into the answers."""
    text = ANSWERS.read_text("utf-8")
    head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
    ANSWERS.write_text(head + BEGIN + table() + END + tail, "utf-8")
    print(table(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
