"""Draw the tables of states into docs/design.md, between its markers.

python tools/draw_states.py            write
python tools/draw_states.py --check    exit 1 if the page is stale, and change nothing
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from duly.core.states import BREAKER_MOVES, EFFECT_MOVES, RUN_MOVES, SCHEDULE_MOVES, diagram

PAGE = Path(__file__).parent.parent / "docs" / "design.md"
DRAWINGS = {
    "run": diagram(RUN_MOVES),
    "schedule": diagram(SCHEDULE_MOVES),
    "effect": diagram(EFFECT_MOVES),
    "breaker": diagram(BREAKER_MOVES),
}


def drawn(text: str) -> str:
    """Return the page's text with every drawing as the tables say."""
    for name, drawing in DRAWINGS.items():
        marker = f"<!-- states:{name} -->"
        assert marker in text, f"{PAGE.name} has lost its marker {marker}"
        block = re.compile(re.escape(marker) + r"\n*(```mermaid\n.*?```\n)?", re.DOTALL)
        fresh = f"{marker}\n\n```mermaid\n{drawing}\n```\n\n"
        text = block.sub(fresh.replace("\\", r"\\"), text, count=1)
    return re.sub(r"\n{3,}", "\n\n", text)


def main() -> int:
    """Write or check; returns the exit code."""
    text = PAGE.read_text()
    fresh = drawn(text)
    if "--check" in sys.argv:
        if fresh != text:
            print(f"{PAGE} is stale: run python tools/draw_states.py", file=sys.stderr)
        return int(fresh != text)
    PAGE.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
