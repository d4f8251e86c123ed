"""The walls between the rooms bite: each forbidden import breaks the contract that forbids it.

The contracts of pyproject.toml are held against a small made-up house that has every room. The
house as built keeps them all; one import that points up, sideways, or out of the pure core breaks
the contract named beside it. A wall that nothing can break would guard nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.house.rules import ROOT

MODULES = [
    "app",
    "cli",
    "client",
    "config",
    "errors",
    "events",
    "core/__init__",
    "core/runs",
    "engine/__init__",
    "engine/clock",
    "outbound/__init__",
    "pipeline/__init__",
    "server/__init__",
    "server/api",
    "stores/__init__",
    "stores/base",
    "stores/memory",
    "stores/postgres/__init__",
    "stores/postgres/claims",
    "stores/sqlite/__init__",
    "testing/__init__",
    "__init__",
]

# the module that imports, the statement, the contract it breaks ("" for none)
CASES = [
    ("__init__", "", ""),
    ("app", "import duly.stores.sqlite, duly.engine, duly.server", ""),
    ("testing/__init__", "from duly.stores import memory", ""),
    ("cli", "import duly.app", ""),
    ("server/api", "import duly.client", ""),
    ("client", "from duly.stores.base import x", ""),
    ("stores/postgres/__init__", "import asyncpg, duly.stores.postgres.claims", ""),
    ("core/runs", "from duly.errors import DulyError", ""),
    ("core/runs", "import asyncio", "pure"),
    ("core/runs", "import time", "pure"),
    ("core/runs", "from random import Random", "pure"),
    ("core/__init__", "import logging", "pure"),
    ("errors", "import os", ""),
    ("core/runs", "import duly.events", "layers"),
    ("core/runs", "import apsw", "pure"),
    ("errors", "import duly.core", "layers"),
    ("stores/base", "import duly.engine", "layers"),
    ("engine/clock", "import duly.pipeline", "layers"),
    ("engine/clock", "import duly.app", "layers"),
    ("client", "import duly.outbound", "layers"),
    ("engine/clock", "from duly.stores import memory", "concrete"),
    ("client", "import duly.stores.postgres.claims", "concrete"),
    ("cli", "import duly.stores.sqlite", "concrete"),
    ("server/api", "import duly.app", "layers"),
    ("server/api", "import duly.stores.base", "server"),
    ("server/__init__", "from duly.engine import clock", "server"),
    ("server/api", "import duly.engine.clock", "server"),
]


# One interpreter judges every house: it must not have imported the real `duly`.
JUDGE = """
import importlib, json, sys
from importlinter import api
from importlinter.application import use_cases
from importlinter.contracts import forbidden, layers, protected
options = use_cases.read_user_options(sys.argv[1])
use_cases._register_contract_types(options)
verdicts = []
for place in sys.argv[2:]:
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    report = use_cases.create_report(options, cache_dir=None)
    names = [c.name for c, check in report.get_contracts_and_checks() if not check.kept]
    ids = {c["name"]: c["id"] for c in options.contracts_options}
    verdicts.append(" ".join(sorted(ids[name] for name in names)))
    sys.path.remove(place)
print("verdicts:" + json.dumps(verdicts))
"""


def build(place: Path, module: str, statement: str) -> str:
    """Write the made-up house under `place`, with one statement in one of its modules."""
    for name in MODULES:
        path = place / "duly" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(statement if name == module else "x = 1\n")
    return str(place)


def judge(places: list[str]) -> list[str]:
    """For each house, the ids of the contracts that it breaks."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", JUDGE, str(ROOT / "pyproject.toml"), *places],
        cwd=places[0],
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts: list[str] = json.loads(done.stdout.rpartition("verdicts:")[2])
    return verdicts


def test_each_forbidden_import_breaks_its_wall(tmp_path: Path) -> None:
    places = [build(tmp_path / str(n), *case[:2]) for n, case in enumerate(CASES)]
    expected = [(module, statement, wall) for module, statement, wall in CASES]
    got = [(*case[:2], walls) for case, walls in zip(CASES, judge(places), strict=True)]
    assert got == expected
