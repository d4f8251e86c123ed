"""The client: one object with the verbs of every subject.

Whoever composes it gives it a store, the tasks of its process, a clock and a bus; it opens
nothing, and it is safe to share between the tasks of one event loop.
"""

from __future__ import annotations

from duly.client.fleet import FleetVerbs
from duly.client.schedules import ScheduleVerbs
from duly.client.targets import TargetVerbs
from duly.client.timers import TimerVerbs


class Client(ScheduleVerbs, TimerVerbs, TargetVerbs, FleetVerbs):
    """Programs' verbs on a store."""
