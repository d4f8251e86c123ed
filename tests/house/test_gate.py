"""The gate is one: CI runs what people run, and nothing in it points at what is not there.

Targets are listed and explained, steps of the gate are targets, and each release note is a
sentence of a kind that the changelog knows.
"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import dealt
from tests.house.rules import ROOT

MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.M))
KINDS = {
    kind["directory"]
    for kind in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["towncrier"][
        "type"
    ]
}


def gate_steps() -> list[str]:
    """The targets that `tools/gate.py` takes, in order."""
    text = (ROOT / "tools" / "gate.py").read_text("utf-8")
    return re.findall(r"\bStep\(\"([a-z-]+)\"", text)


def test_ci_runs_the_gate_and_nothing_else() -> None:
    script = ROOT / ".ci" / "run"
    lines = [x for x in script.read_text("utf-8").splitlines() if not x.startswith("#")]
    assert lines == ["set -eu", 'cd "$(dirname "$0")/.."', "exec make test"]
    assert os.access(script, os.X_OK)


def test_every_step_of_the_gate_is_a_target() -> None:
    steps = gate_steps()
    assert {"lint", "types", "walls", "tests", "wheel"} <= set(steps) <= TARGETS


def test_the_gate_closes_on_the_count_of_tests() -> None:
    assert gate_steps()[-1] == "tests"


def test_every_target_is_phony_and_explained() -> None:
    declared = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.M)
    assert declared is not None
    assert set(declared[1].replace("\\\n", " ").split()) == TARGETS
    assert set(re.findall(r"^([a-z-]+):.*## \S", MAKEFILE, re.M)) == TARGETS


def test_make_help_lists_every_target() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert {line.split()[0] for line in done.stdout.splitlines()} == TARGETS


FRAGMENTS = [p for p in (ROOT / "changelog.d").iterdir() if p.name != "README.md"]


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda p: p.name)
def test_release_note_fragment_is_a_sentence_of_a_known_kind(path: Path) -> None:
    text = path.read_text("utf-8").strip()
    shaped = re.fullmatch(r"\+[a-z0-9-]+\.([a-z]+)\.md", path.name)
    assert shaped is not None, f"expected +topic.kind.md, got {path.name}"
    assert shaped[1] in KINDS
    assert text.endswith(".")


class Item:
    """A test as far as dealing looks at it."""

    def __init__(self, nodeid: str, *, slow: bool = False) -> None:
        self.nodeid, self._slow = nodeid, slow

    def get_closest_marker(self, name: str) -> bool:
        return self._slow and name == "slow"


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_every_test_is_dealt_once_slow_ones_first(workers: int) -> None:
    slow = [Item(f"tests/{'fleet' if n % 5 else 'core'}/t.py::{n}", slow=True) for n in range(13)]
    quick = [Item(f"tests/core/q.py::{n}") for n in range(50)]
    items: Any = [*quick[:20], *slow, *quick[20:]]
    hands = dealt(items, workers)
    assert sorted(one.nodeid for hand in hands for one in hand) == sorted(
        one.nodeid for one in items
    )
    assert max(map(len, hands)) - min(map(len, hands)) <= 1, "as xdist cuts them"
    for hand in hands:
        marks = [bool(one.get_closest_marker("slow")) for one in hand]
        assert marks == sorted(marks, reverse=True) and 2 <= sum(marks) <= 13
    assert hands[0][0].nodeid.startswith("tests/fleet/")
    assert hands[1][0].nodeid.startswith("tests/core/")


def test_more_slow_tests_than_a_stretch_is_long_are_all_dealt() -> None:
    items: Any = [Item(f"tests/core/t.py::{n}", slow=True) for n in range(7)]
    assert sum(len(hand) for hand in dealt(items, 4)) == 7
