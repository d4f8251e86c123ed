"""Burying: an instance that was declared dead lets go, and begins again under another boot.

Joining waits for the store, however long it is away. A process never outlives its death in the
fleet's eyes under the same boot: what the old one still says is stale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duly.engine.instance import Engine


class Burying:
    """A supervised loop: notices that this boot is dead, and begins again.

    Joining waits for the store, however long it is away, and so belongs to `ready`, which has
    no deadline. Boots stay in `Engine.buried` until their return was answered.
    """

    name = "burying"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def ready(self) -> None:
        engine = self._engine
        if not engine.buried:
            await engine.looking.dead.wait()
        if engine.looking.dead.is_set() or not engine.joined:
            await engine.rejoin()

    async def turn(self) -> None:
        await self._engine.exhume()
