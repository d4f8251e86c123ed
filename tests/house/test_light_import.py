"""Importing Duly is cheap: what a process does not use is not loaded.

A worker starts often, and `duly --help` should answer at once. Each case imports one module in
a fresh interpreter and looks at what came with it. Drivers, servers and anything for the eye are
imported by the function that needs them. Modules that the tree does not have are left out.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.house.rules import ROOT

SERVER = {"fastapi", "pydantic", "starlette", "uvicorn"}
HEAVY = {"aiohttp", "asyncpg", "prometheus_client", "rich", "sqlalchemy"} | SERVER
TOOLS = {"hypothesis", "pytest"}

CASES = {
    "duly": HEAVY | TOOLS | {"click"},
    "duly.app": HEAVY | TOOLS | {"click"},
    "duly.cli": HEAVY | TOOLS,
    "duly.client": HEAVY | TOOLS | {"click"},
    "duly.engine": HEAVY | TOOLS | {"click"},
    "duly.testing": HEAVY,
}

LOADED = "import sys, importlib; importlib.import_module(sys.argv[1]); print(*sys.modules)"


def exists(name: str) -> bool:
    path = ROOT.joinpath("src", *name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@pytest.mark.parametrize("name", [n for n in CASES if exists(n)])
def test_import_loads_nothing_heavy(name: str) -> None:
    command = [sys.executable, "-c", LOADED, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(CASES[name].intersection(done.stdout.split())) == []
