"""The morning batch at a small scale: every promise of its story, with real processes and kills."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from examples.morning_batch.stage.counting import Received, received

ROOT = Path(__file__).resolve().parents[2]
RABBIT_MISSING = 69
LONGEST_S = 200

PROMISED = {
    "messages committed": 900,
    "messages confirmed by the broker": 900,
    "received, by message id": 900,
    "received, by row": 900,
    "rows under two ids (published twice)": 0,
    "order violations per product": 0,
    "kill -9 in the middle": 1,
    "polite recycles in the middle": 1,
    "attempts of the run": 3,
    "runs of the day": 1,
    "callers given another run": 0,
    "interruptions told": 2,
    "alarms over a third of the output": 1,
}


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(LONGEST_S + 40)
def test_a_batch_is_complete_and_in_order_whatever_happens_to_host_and_broker(
    tmp_path: Path,
) -> None:
    file = tmp_path / "figures.json"
    line = [sys.executable, "-m", "examples.morning_batch.run", "--small", "--figures", str(file)]
    done = subprocess.run(
        line, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False
    )
    if done.returncode == RABBIT_MISSING:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    found = {name: value for name, (value, _) in json.loads(file.read_text("utf-8")).items()}
    assert {name: found[name] for name in PROMISED} == PROMISED
    assert found["messages that waited for the broker"] > 0


COUNTED = (
    ("as it should be", "a1 b1 a2 b2", Received(4, 4, 0, 0, 0)),
    ("copies are known by their id", "a1 a2 a1 a2 b1", Received(3, 3, 2, 0, 0)),
    ("a row under two ids is published twice", "a1 a1' b1", Received(2, 3, 0, 1, 0)),
    ("a later row of a product that comes first", "a2 a1 b1", Received(3, 3, 0, 0, 1)),
    ("nothing came", "", Received(0, 0, 0, 0, 0)),
)
"""What came (product and row, one by one; ' under another id), and how it is counted."""


@pytest.mark.parametrize(("came", "counted"), [case[1:] for case in COUNTED], ids=str)
def test_what_came_is_counted_by_id_row_and_order(
    tmp_path: Path, came: str, counted: Received
) -> None:
    journal = tmp_path / "prices.csv"
    lines = [
        f"{one},2026-11-22,{ord(one[0]) * 10 + int(one[1])},{one[0]}\n" for one in came.split()
    ]
    journal.write_text("".join(lines) + "x9,2026-11-23,1,x\n" + "half of a li", "utf-8")
    assert received(journal, "2026-11-22") == counted
