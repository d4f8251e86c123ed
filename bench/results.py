"""What was measured: one line of JSON per figure, and a table for people.

A figure is a median of rounds with its rounds beside it, and the load of the machine when it was
taken: figures of a loaded machine are not to be compared with those of an idle one. Nothing here
judges a figure.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

FOLDER = Path(__file__).resolve().parent / "results"


class Results:
    """Collects figures; each is written and shown at once."""

    def __init__(self, *, quick: bool) -> None:
        FOLDER.mkdir(exist_ok=True)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.path = FOLDER / f"{stamp}{'-quick' if quick else ''}.jsonl"
        self._rows: list[dict[str, Any]] = []

    def machine(self, **more: Any) -> None:
        """Write what the figures were taken on."""
        self._write(
            {
                "line": "machine",
                "cores": os.cpu_count(),
                "system": platform.platform(terse=True),
                "python": platform.python_version(),
                **more,
            }
        )

    def add(
        self, line: str, product: str, rounds: Sequence[float], *, unit: str, **more: Any
    ) -> float:
        """Take in one figure by its rounds; return the median. Without rounds, nothing is."""
        if not rounds:
            return 0.0
        figure = median(rounds)
        row = {"line": line, "product": product, "figure": _short(figure), "unit": unit}
        row["rounds"] = [_short(one) for one in rounds]
        self._rows.append({**row, **more})
        self._write({**row, **more})
        return figure

    def add_failure(self, line: str, product: str, reason: str) -> None:
        """Take in that a product has no figure, and why."""
        self._write({"line": line, "product": product, "failed": reason})

    def _write(self, row: dict[str, Any]) -> None:
        row = {**row, "at": time.strftime("%H:%M:%S"), "load": round(os.getloadavg()[0], 2)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if row["line"] != "machine":
            about = " ".join(f"{k}={v}" for k, v in row.items() if k not in _KNOWN)
            figure = f"{row['figure']:>12,} {row['unit']:8}" if "figure" in row else ""
            print(f"{row['line']:38} {row['product']:13} {figure} {about}", flush=True)

    def table(self) -> str:
        """Return lines by products, with how many times Duly's figure each other one is."""
        best: dict[str, dict[str, dict[str, Any]]] = {}
        for row in self._rows:
            of_line = best.setdefault(row["line"], {})
            known = of_line.get(row["product"])
            if known is None or _is_better(row, known):
                of_line[row["product"]] = row
        names = sorted({row["product"] for row in self._rows}, key=_place)
        head = ["line", "unit", *names]
        body = [_cells(line, of_line, names) for line, of_line in best.items()]
        rule = ["---"] * len(head)
        return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *body))


_KNOWN = ("line", "product", "figure", "unit", "at", "rounds")
_RATES = ("/s",)


def _is_better(row: dict[str, Any], known: dict[str, Any]) -> bool:
    """A product is shown at its best: the highest rate, the lowest of anything else."""
    if row["unit"].endswith(_RATES):
        return bool(row["figure"] > known["figure"])
    return bool(row["figure"] < known["figure"])


def _cells(line: str, of_line: dict[str, dict[str, Any]], names: Sequence[str]) -> list[str]:
    unit = next(iter(of_line.values()))["unit"]
    ours = of_line.get("duly", {}).get("figure")
    cells = [line, unit]
    for name in names:
        row = of_line.get(name)
        if row is None:
            cells.append("")
            continue
        ratio = f" ({row['figure'] / ours:.2f} ×)" if ours and name != "duly" else ""
        cells.append(f"{row['figure']:,}{ratio}")
    return cells


def _place(name: str) -> tuple[int, str]:
    return ({"duly": 0, "limit": 9}.get(name, 5), name)


def _short(figure: float) -> float:
    """Four significant digits, whole numbers from a thousand on."""
    return round(figure) if abs(figure) >= 1000 else float(f"{figure:.4g}")


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value below which so large a part of all lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
