"""Every store agrees with the model, whatever verbs come in whatever order, sent once or twice.

The gate draws a fixed, bounded set of stories; `DULY_TEST_HYPOTHESIS=long` draws many more,
and new ones each time. A failing story is printed as a program of verbs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis.stateful import run_state_machine_as_test

from duly.stores.memory import MemoryStore
from tests.stores.machine import Agreement
from tests.stores.machine_access import AccessRules
from tests.stores.machine_feed import FeedRules
from tests.stores.machine_telling import TellingRules
from tests.stores.makers import Ground, opened, store_params
from tests.stores.profiles import stories


@pytest.mark.slow
@pytest.mark.timeout(900)  # a failing story takes its time to become short
@pytest.mark.parametrize("name", store_params())
def test_every_store_agrees_with_the_model(ground: Ground, name: str) -> None:
    ground.probe(name)

    class Pair(Agreement, AccessRules, TellingRules, FeedRules):
        async def make(self) -> Any:
            self.folder = tempfile.TemporaryDirectory()
            self.leaks = opened(ground.make(name, Path(self.folder.name)))
            return await self.leaks.__aenter__()

        async def unmake(self) -> None:
            await self.leaks.__aexit__(None, None, None)
            self.folder.cleanup()

    checked = run_state_machine_as_test(Pair, settings=stories(name))
    assert checked is None


def test_the_model_agrees_with_itself() -> None:
    """A short run of the machine, so that the fast part holds the model's promises too."""

    class Twins(Agreement, AccessRules, TellingRules, FeedRules):
        async def make(self) -> Any:
            return MemoryStore(lambda: self.now)

    assert run_state_machine_as_test(Twins, settings=stories("quick")) is None
