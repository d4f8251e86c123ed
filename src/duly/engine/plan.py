"""What an instance is told before it begins: its tasks, its room, its times.

A plan is complete: an instance reads no settings and asks nobody else what it is to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta, tzinfo
from typing import Any

import msgspec

from duly.core.logs import Keeping
from duly.core.schedules import Definition
from duly.core.tasks import Task
from duly.engine.breaking import Gate
from duly.stores.base import Retention


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance is to do, and how; durations as in `config.EngineSettings`."""

    owner: str
    version: str
    cluster: str = ""  # those that stand or fall together
    tasks: Mapping[str, Task]
    definitions: Sequence[Definition] = ()
    zones: Mapping[str, tzinfo] = {}
    queues: tuple[str, ...] = ("default",)
    slots: int = 100
    threads: int = 8
    lease: timedelta = timedelta(seconds=15)
    renewal: timedelta = timedelta(seconds=5)
    margin: timedelta = timedelta(seconds=3)
    grace: timedelta = timedelta(milliseconds=250)
    presence: timedelta = timedelta(seconds=30)
    stop_grace: timedelta = timedelta(seconds=30)
    loop_failures: int = 5
    keep: Retention = Retention()
    logs: Keeping = Keeping.FAILED  # of tasks that do not say
    resources: Any = None  # what the lifespan yielded: `ctx.resources`
    gate: Gate | None = None  # the breakers as this process sees them; its own without one
    topics: Mapping[str, Callable[[bytes], object]] | None = None  # what checks a message to each
