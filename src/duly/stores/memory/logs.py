"""What the code of runs logged, one record per attempt.

Of one attempt the log that tells most is kept, of a run the newest attempts; both go with the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from duly.core.logs import ATTEMPTS_KEPT, AttemptLog
from duly.stores.memory.runs import RunVerbs


class LogVerbs(RunVerbs):
    """What `Store` says of logs, on `Tables`."""

    async def log(self, logs: Sequence[AttemptLog], *, now: datetime | None = None) -> None:
        for one in logs:
            kept = self.t.logs.get(one.run, {})
            for epoch in [old for old in kept if old <= one.epoch - ATTEMPTS_KEPT]:
                del kept[epoch]
            if one.run in self.t.run and (one.epoch not in kept or one.told > kept[one.epoch].told):
                self.t.logs.setdefault(one.run, {})[one.epoch] = one

    async def logged(self, run: UUID) -> list[AttemptLog]:
        kept = self.t.logs.get(run, {})
        return [kept[epoch] for epoch in sorted(kept)]
