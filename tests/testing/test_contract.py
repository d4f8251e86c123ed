"""The contract for users' own stores passes what is right, and refuses what is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from duly.core.runs import Answer
from duly.stores.memory import MemoryStore
from duly.testing import ContractBroken, VirtualClock, check_store


async def make() -> MemoryStore:
    return MemoryStore(VirtualClock().now)


async def test_the_model_keeps_its_contract() -> None:
    assert await check_store(make) >= 13


class Forgetful(MemoryStore):
    async def claim(self, boot: Any, claim: Any, **how: Any) -> Any:
        for row in self.t.held.values():
            row.claim = boot
        return await super().claim(boot, claim, **how)


class Unfenced(MemoryStore):
    async def end(self, boot: Any, endings: Any, **how: Any) -> Any:
        await super().end(boot, endings, **how)
        return [Answer.DONE for _ in endings]


class Merciless(MemoryStore):
    async def come_back(self, boot: Any, **how: Any) -> int:
        return 0


class Eager(MemoryStore):
    async def promote(self, limit: int = 1000, **how: Any) -> int:
        for row in self.t.later.values():
            row.wake_at = how["now"]
        return await super().promote(limit, **how)


class Crowded(MemoryStore):
    async def breaker_calls(self, boot: Any, asks: Any, **how: Any) -> Any:
        for name, row in self.t.breakers.items():
            self.t.breakers[name] = msgspec.structs.replace(row, probe=None)
        return await super().breaker_calls(boot, asks, **how)


BROKEN: dict[Callable[..., MemoryStore], str] = {
    Forgetful: "the same claim again",
    Unfenced: "is stale",
    Merciless: "forgiven",
    Eager: "before its delay",
    Crowded: "one probe at a time",
}


@pytest.mark.parametrize(("kind", "promise"), BROKEN.items())
async def test_a_broken_store_is_refused_with_its_promise(
    kind: Callable[..., MemoryStore], promise: str
) -> None:
    async def make_broken() -> MemoryStore:
        return kind(VirtualClock().now)

    with pytest.raises(ContractBroken, match=promise):
        await check_store(make_broken)
