"""What every verb of a client stands on: a store, the tasks of the process, a clock, a bus.

It opens nothing and owns nothing: whoever made the parts closes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from duly.core.clock import Clock
from duly.core.fleet import Instance
from duly.core.tasks import Task
from duly.events import Bus
from duly.stores.base import Store


class Ground:
    """The parts of a client; knows a store and the tasks of its process, and runs nothing."""

    def __init__(self, store: Store, tasks: Mapping[str, Task], clock: Clock, bus: Bus) -> None:
        self._store, self._tasks, self._clock, self._bus = store, tasks, clock, bus
        self.tenant = ""  # whose rows it sees, where those are not the whole house's
        self.gone: Callable[[Instance], bool] | None = None  # whether a process is proven gone
