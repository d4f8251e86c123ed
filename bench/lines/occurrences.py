"""L: how long the search for the next occurrence takes, beside other cron libraries.

`bench/cron.py` does the work: Duly's search in this process, the libraries' in the environment of
the peers, and only when peers were asked for. A figure is the median over its cases, each with
its own in `rounds`; a case that a library refuses is counted and left out.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from bench import cron
from bench.products import HOME
from bench.scene import Scene

SCRIPT = Path(cron.__file__).resolve()


def measure(scene: Scene) -> None:
    """Measure both directions of Duly's search, and the next one of the libraries."""
    rounds = scene.some(cron.ROUNDS, 1)
    for line, name in (("L next occurrence", "next_after"), ("L previous", "previous")):
        _add(scene, line, "duly", cron.costs_us(name, rounds))
    if len(scene.products) == 1:
        return
    for name in cron.LIBRARIES:
        command = [str(HOME / "bin" / "python"), str(SCRIPT), "--only", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        _add(scene, "L next occurrence", name, json.loads(done.stdout))


def _add(scene: Scene, line: str, name: str, costs: list[float | None]) -> None:
    known = [one for one in costs if one is not None]
    scene.results.add(line, name, known, unit="us", refused=len(costs) - len(known))
