"""The simulated store keeps the contract of every store: the same tests, in a simulated world.

Each test of `tests/stores/contract` runs as a process of a simulated loop, over the line that
fleets use there, with all faults at rest. So what a simulation says of the engine was said over
a store that does what the real ones do.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from simulation.world import World as Simulated
from tests.house.rules import ROOT
from tests.stores.world import World

CONTRACT = ROOT / "tests" / "stores" / "contract"


@pytest.fixture
def simulated() -> Iterator[Simulated]:
    """A world without faults; it ends with the test."""
    one = Simulated(1)
    one.faults.calm()
    one.sites.calm()
    yield one
    one.close()


@pytest.fixture
def store(simulated: Simulated) -> Any:
    """The store as a process of that world sees it."""
    return simulated.client()[0]


@pytest.fixture
def world(store: Any) -> World:
    """The small world of the contract around it."""
    return World(store)


def lived(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Return a test of the contract as one that is lived through in a simulated world."""

    @functools.wraps(test)
    def run(**given: Any) -> None:
        store = given["store"] if "store" in given else given["world"].store
        loop = store._world.loop
        loop.run_until_complete(loop.spawn(loop.world, test(**given)))

    return run


def collect(folder: Path) -> Iterator[tuple[str, Callable[..., None]]]:
    """Yield each test of the contract, under a name that says which file it is from."""
    for path in sorted(folder.glob("test_*.py")):
        module = importlib.import_module(f"tests.stores.contract.{path.stem}")
        for name, test in sorted(vars(module).items()):
            if name.startswith("test_") and test.__module__ == module.__name__:
                yield f"{path.stem}_{name.removeprefix('test_')}", lived(test)


globals().update(collect(CONTRACT))
