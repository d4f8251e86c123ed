"""The plot of a run: every figure as so many times Duly's own, one panel a line, log scale.

    python -m bench.plot bench/results/20261122-120000.jsonl [--out plot.png]

Drawn from the JSON lines alone, with the library of the peers' environment. To the right is always
better: a rate is divided by Duly's, a time, a memory or a share is what Duly's is divided by. What
Duly alone was measured at is not drawn, for there is nothing to compare it with. A figure of nought
has no place on a log scale and is told beside the panel; so is a product that
was not waited for any longer, beside the mark of the time that was waited.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

Row = dict[str, Any]
Panel = dict[str, list[Row]]  # line to its rows

TITLES = {
    "A1": "A1  enqueue, one by one",
    "A2": "A2  enqueue, 64 coroutines",
    "A3": "A3  enqueue, 1,000 a call",
    "B1": "B1  drain, one worker",
    "B2": "B2  drain, two workers",
    "C": "C  latency",
    "D": "D  idle worker",
    "E": "E  lateness of 1,000 one-off runs",
    "F": "F  kill -9 to started again",
    "G": "G  durable steps",
    "H": "H  start and memory",
    "I": "I  SQLite",
    "J": "J  with ended runs kept, against an empty store",
    "K": "K  firing",
    "L": "L  next occurrence of a cron text",
}
MARKS = {
    "limit": ("#111111", "|"),
    "duly, empty": ("#1f6feb", "D"),
    "pgqueuer": ("#d1495b", "o"),
    "procrastinate": ("#edae49", "s"),
    "dbos": ("#2a9d8f", "^"),
    "aps3": ("#8d5fd3", "v"),
    "celery": ("#6a994e", "P"),
    "huey": ("#b5651d", "X"),
    "cronsim": ("#457b9d", "<"),
    "croniter": ("#999999", ">"),
}
PLAIN = ("#555555", "o")


def read(path: Path) -> tuple[Row, list[Row]]:
    """Return the machine's row and the figures, each product of a line at its best."""
    machine: Row = {}
    best: dict[tuple[str, str], Row] = {}
    for text in path.read_text("utf-8").splitlines():
        row = json.loads(text)
        if row["line"] == "machine":
            machine = row
        elif "figure" in row:
            key = row["line"], row["product"]
            if key not in best or _merit(row) > _merit(best[key]):
                best[key] = row
    return machine, list(best.values())


def panels_of(rows: Sequence[Row]) -> dict[str, Panel]:
    """Return the lines with something to compare, by the panel they belong to."""
    lines: Panel = {}
    for row in rows:
        lines.setdefault(row["line"], []).append(row)
    panels: dict[str, Panel] = {}
    for line, of_line in lines.items():
        if len(of_line) > 1 and any(row["product"] == "duly" for row in of_line):
            panels.setdefault(line.split()[0], {})[line] = of_line
    order = [*TITLES, *panels]
    return dict(sorted(panels.items(), key=lambda one: order.index(one[0])))


def times_as_good(row: Row, ours: Row) -> float | None:
    """How many times as good as Duly's a figure is, or None where one of them is nought."""
    if row["figure"] <= 0 or ours["figure"] <= 0:
        return None
    ratio = float(row["figure"] / ours["figure"])
    return ratio if row["unit"].endswith("/s") else 1 / ratio


def draw(path: Path, out: Path) -> None:
    """Draw the plot of a file of results."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    machine, rows = read(path)
    panels = panels_of(rows)
    if not panels:
        print("nothing to compare, so no plot")
        return
    heights = [len(panel) + 0.9 for panel in panels.values()]
    figure, axes = pyplot.subplots(
        len(panels), 1, squeeze=False, sharex=True, height_ratios=heights,
        figsize=(11, 0.42 * sum(heights) + 1.6), layout="constrained",
    )  # fmt: skip
    reach = _reach(panels)
    for axis, (name, panel) in zip(axes[:, 0], panels.items(), strict=True):
        _draw_panel(axis, TITLES.get(name, name), panel, reach)
    axes[-1, 0].xaxis.set_major_formatter(lambda at, _: f"{at:g} ×")
    better = "times as good as Duly: right of the line is better than Duly, left is worse"
    axes[-1, 0].set_xlabel(f"{better}\n{_said(machine, path)}", fontsize=9)
    _add_legend(figure, panels)
    figure.savefig(out, dpi=110)
    print(f"drawn to {out}")


def _merit(row: Row) -> float:
    return float(row["figure"] if row["unit"].endswith("/s") else -row["figure"])


def _reach(panels: dict[str, Panel]) -> tuple[float, float]:
    """The range of all ratios, with a little room."""
    ratios = [1.0]
    for panel in panels.values():
        for rows in panel.values():
            ours = _ours(rows)
            ratios += [one for row in rows if (one := times_as_good(row, ours)) is not None]
    return min(ratios) / 1.6, max(ratios) * 1.6


def _ours(rows: Sequence[Row]) -> Row:
    return next(row for row in rows if row["product"] == "duly")


def _draw_panel(axis: Any, title: str, panel: Panel, reach: tuple[float, float]) -> None:
    axis.set_xscale("log")
    axis.set_xlim(*reach)
    axis.set_ylim(len(panel) - 0.4, -0.6)
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold", pad=3)
    axis.set_yticks(range(len(panel)), [_short(line) for line in panel], fontsize=8)
    axis.axvline(1, color="#1f6feb", linewidth=1.6, zorder=1)
    axis.grid(visible=True, axis="x", color="#e5e5e5", linewidth=0.7)
    axis.tick_params(axis="y", length=0)
    for place, rows in enumerate(panel.values()):
        ours = _ours(rows)
        notes, asides = [f"Duly {_told(ours)}"], []
        for row in rows:
            ratio = times_as_good(row, ours)
            if row is ours:
                continue
            if ratio is None:
                asides.append(f"{row['product']} {row['figure']:g}")
                continue
            if row.get("not_within"):
                asides.append(f"{row['product']} not within {row['figure'] / 1000:g} s")
            colour, mark = MARKS.get(row["product"], PLAIN)
            axis.plot(
                [ratio], [place], marker=mark, color=colour, markersize=8, zorder=3,
                markeredgewidth=3 if mark == "|" else 0.5, linestyle="none",
            )  # fmt: skip
        notes += wrap(", ".join(asides), 36)
        axis.annotate(
            "\n".join(notes), (reach[1], place), xytext=(8, 0), textcoords="offset points",
            ha="left", va="center", fontsize=7.5, color="#333333", annotation_clip=False,
        )  # fmt: skip
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def _short(line: str) -> str:
    """A line without its letter, which the panel's title has."""
    return line.split(" ", 1)[1]


def _told(row: Row) -> str:
    return f"{row['figure']:,} {row['unit']}"


def _add_legend(figure: Any, panels: dict[str, Panel]) -> None:
    from matplotlib.lines import Line2D

    seen = {row["product"] for panel in panels.values() for rows in panel.values() for row in rows}
    handles = [Line2D([], [], color="#1f6feb", linewidth=1.6, label="Duly")]
    for name in sorted(seen - {"duly"}, key=lambda one: [*MARKS, one].index(one)):
        colour, mark = MARKS.get(name, PLAIN)
        shape = {"color": colour, "marker": mark, "markeredgewidth": 3 if mark == "|" else 0.5}
        handles.append(Line2D([], [], markersize=7, linestyle="none", label=name, **shape))
    figure.legend(handles=handles, loc="outside upper center", ncols=6, fontsize=8, frameon=False)


def _said(machine: Row, path: Path) -> str:
    return (
        f"{path.stem}: {machine.get('cores')} cores, {machine.get('system')}, Python"
        f" {machine.get('python')}, PostgreSQL {str(machine.get('postgres')).split()[0]}"
    )


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(prog="python -m bench.plot")
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    draw(asked.results, asked.out or asked.results.with_suffix(".png"))


if __name__ == "__main__":
    main()
