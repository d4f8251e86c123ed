"""Write the page of causes: each one as it comes about, and the sentence in which Duly says it.

The page is made from the table in `tests/why`: every row is carried out on the model store, and
what Duly answers is what stands here, with ids and ports replaced by placeholders. Without
arguments the page is written; with `--check` the exit code is 1 when it is stale.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explanation" / "why.md"

INTRODUCTION = """\
<!-- Made by tools/gen_why.py from the table in tests/why; do not edit by hand. -->

# Why did it not run?

`duly why THING` answers for a run, a schedule, an occurrence (`schedule@instant`), an effect
(`task name key`), and, with its kind before it, for a `breaker:`, an `instance:`, an `incident:`
(its kind, a space, its subject), a `queue:`, a `limit:`, a `key:` (its task, a space, the key) or a
`timer:`. The same answer is given by `GET /api/v1/why?thing=…`, by the route `…/why` beside most
listings, and by `await app.why(thing)`.

An answer has a headline (how the thing stands), the causes in the order in which they happened,
what to ask about next, and what helps. Its first cause has an identifier, and so have the further
ones (`cause` and `also` in JSON): these stay, while the words may be put better. Nothing is
guessed: where what is on record cannot decide, the answer says so.

Each cause below was brought about by a test, and is told as Duly told it then. The tests hold
the identifiers, the words and the evidence; `#1`, `#2` stand for ids.
"""

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PORT = re.compile(r"\b127\.0\.0\.1:\d+")


def page(answers: Sequence[tuple[Any, Any]]) -> str:
    """Return the page for rows and what was answered to each."""
    causes = importlib.import_module("tests.why.causes")
    told = {row.name: answer for row, answer in answers}
    parts = [INTRODUCTION]
    for title, rows in causes.CHAPTERS.items():
        parts.append(f"\n## {title}\n")
        parts += [_entry(row, told[row.name]) for row in rows]
    return "".join(parts)


def _entry(row: Any, answer: Any) -> str:
    also = ", ".join(f"`{one}`" for one in answer.also)
    besides = f" (also {also})" if also else ""
    asking = importlib.import_module("duly.cli.asking")
    lines = _plain(asking.told(answer))
    return f"\n**`{answer.cause}`**{besides}: {row.comes_about}\n\n```text\n{lines}\n```\n"


def _plain(lines: Iterable[str]) -> str:
    """Put placeholders where ids and ports stand, numbered as they first appear."""
    text = "\n".join(lines)
    numbers: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return numbers.setdefault(found[0], f"#{len(numbers) + 1}")

    return _PORT.sub("target.example", _ID.sub(number, text))


async def _answers() -> list[tuple[Any, Any]]:
    causes = importlib.import_module("tests.why.causes")
    scene = importlib.import_module("tests.why.scene")
    memory = importlib.import_module("duly.stores.memory")
    found = []
    for row in causes.ROWS:
        clock = scene.make_clock()
        _, answer = await causes.carry_out(row, memory.MemoryStore(clock.now), clock)
        found.append((row, answer))
    return found


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with `--check` say whether it is stale; return the exit code."""
    if list(arguments) not in ([], ["--check"]):
        print("usage: gen_why.py [--check]", file=sys.stderr)
        return 2
    made = page(asyncio.run(_answers()))
    if not arguments:
        PAGE.write_text(made, "utf-8")
        return 0
    stale = not PAGE.exists() or PAGE.read_text("utf-8") != made
    if stale:
        print("docs/explanation/why.md is stale; run python tools/gen_why.py")
    return int(stale)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))
