"""Verbs on the fleet: who is there, what a person should know, how much stands where.

Only looks, one statement each; nothing here changes what an instance does.
"""

from __future__ import annotations

from duly.client.ground import Ground
from duly.core.fleet import Incident, Instance


class FleetVerbs(Ground):
    """The verbs of the fleet, as a part of `Client`."""

    async def instances(self) -> list[Instance]:
        """Return the fleet as known."""
        return await self._store.instances()

    async def incidents(self, *, only_open: bool = True) -> list[Incident]:
        """Return incidents, newest first."""
        return await self._store.incidents(only_open=only_open)

    async def counts(self) -> dict[str, int]:
        """Return how many runs stand in each state."""
        return await self._store.counts()
