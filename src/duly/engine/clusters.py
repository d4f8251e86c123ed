"""Clusters of which nobody is left: told by those that live elsewhere.

A cluster is a name that instances carry (`engine.cluster`): a region, a data centre, whatever
stands or falls together. When nobody of one is there any more, an incident opens: at once where
the last of them died, and ten minutes after the last one left by itself, so that a rolling
restart is no news. It closes when somebody of that cluster is back. One that a person closed stays
closed until the cluster was there again.

It costs nothing while the fleet stays as it is, and one statement, two at most, when it changed.
Where every instance of every cluster is gone nobody is left to tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from duly import events
from duly.core.fleet import PRESENT, Incident, Instance, InstanceState
from duly.engine.caretaking import open_incident
from duly.engine.telling import Telling
from duly.stores.base import Store

GONE = "cluster.gone"

LEFT_FOR = timedelta(minutes=10)
"""How long a cluster whose instances left by themselves may be empty before a person is told."""


class Clusters:
    """Looks which clusters are empty; `look` is called by the caretaker of the fleet."""

    def __init__(self, store: Store, telling: Telling) -> None:
        self._store, self._telling = store, telling
        self._pending = True  # something is to be told, or may be

    async def look(self, *, changed: bool) -> None:
        """Look, if the fleet may have changed since; raises what the store does."""
        self._pending = self._pending or changed
        if not self._pending:
            return
        now = await self._store.clock()
        instances = [one for one in await self._store.instances() if one.cluster]
        empty = empty_clusters(instances, now)
        if instances:
            await self._tell(empty, {one.cluster for one in instances} - set(empty), now)
        self._pending = any(not is_told(last, now) for last in empty.values())

    async def _tell(self, empty: dict[str, Instance], there: set[str], now: datetime) -> None:
        known = [one for one in await self._store.incidents(only_open=False) if one.kind == GONE]
        for name, last in empty.items():
            if is_told(last, now) and not was_told(known, name, last):
                await open_incident(self._store, self._telling, _incident(name, last))
        for one in known:
            if one.closed_at is None and one.subject in there:
                note = "an instance of it is there again"
                if await self._store.close_incident(GONE, one.subject, note=note):
                    self._telling.emit(events.IncidentClosed(kind=GONE, subject=one.subject))


def empty_clusters(instances: Iterable[Instance], now: datetime) -> dict[str, Instance]:
    """Return the clusters of which nobody is there, each with who was seen there last."""
    latest: dict[str, Instance] = {}
    there = set()
    for one in instances:
        seen = seen_at(one)
        if one.state in (InstanceState.LIVE, InstanceState.STOPPING) and seen > now - PRESENT:
            there.add(one.cluster)
        if one.cluster not in latest or seen > seen_at(latest[one.cluster]):
            latest[one.cluster] = one
    return {name: last for name, last in sorted(latest.items()) if name not in there}


def seen_at(one: Instance) -> datetime:
    """Return when an instance was seen last."""
    assert one.seen_at is not None, "whoever registered was seen"
    return one.seen_at


def is_told(last: Instance, now: datetime) -> bool:
    """Whether the end of a cluster is news already; who left by itself may come back."""
    return last.state is not InstanceState.GONE or now - seen_at(last) >= LEFT_FOR


def was_told(known: Iterable[Incident], name: str, last: Instance) -> bool:
    """Whether this end was told: the incident is open, or was closed after the last was there."""
    return any(
        one.subject == name and (one.closed_at is None or one.closed_at > seen_at(last))
        for one in known
    )


def left_by(last: Instance) -> dict[str, str]:
    """Return the evidence that the last instance of something leaves behind."""
    return {
        "instance": last.name,
        "boot": str(last.boot),
        "seen": seen_at(last).isoformat(),
        "reason": last.reason or "",
    }


def _incident(name: str, last: Instance) -> Incident:
    how = "left by itself" if last.state is InstanceState.GONE else "died"
    return Incident(
        kind=GONE,
        subject=name,
        severity="critical",
        summary=f"nobody of the cluster {name} is there any more: the last one {how}",
        evidence={
            "cluster": name,
            **left_by(last),
            "what helps": f"start a worker there: DULY_CLUSTER={name} duly worker",
        },
    )
