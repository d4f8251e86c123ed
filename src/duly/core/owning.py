"""Whose an incident is: what its evidence names says it, where whoever opened it did not.

An incident of a schedule, of a run that a schedule asked for, or of an instance concerns the owner
of that schedule, or the application of that instance, in this order. `duly serve` makes calls of
many owners: so its own name comes last. A store looks the owner up in the statement that opens the
incident, by what `names_of` found. Nothing here fails by what stands in an evidence: what is no id
names nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from duly.core.fleet import Incident, Instance


class Names(NamedTuple):
    """What an incident is about, as far as it says so; all of it None where it has an owner."""

    schedule: str | None = None
    run: UUID | None = None
    boot: UUID | None = None


def names_of(incident: Incident) -> Names:
    """Return what the evidence names: `schedule`, `run` and `boot`."""
    if incident.owner:
        return Names()
    said = incident.evidence
    return Names(said.get("schedule") or None, _id(said.get("run")), _id(said.get("boot")))


def _id(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


def runner(instance: str, owner: str) -> str:
    """Return who ran something, as people are told: the instance, and of which application."""
    return " of ".join(one for one in (instance, owner) if one)


def carrier_of(task: str, instances: Iterable[Instance]) -> str:
    """Return the owner of the instance that was seen last of those that carry, or carried, a task.

    Empty when nobody is known who did.
    """
    carried = [one for one in instances if task in one.tasks and one.seen_at is not None]
    return max(carried, key=lambda one: (one.seen_at, one.boot)).owner if carried else ""
