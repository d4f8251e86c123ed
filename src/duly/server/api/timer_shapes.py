"""The shapes of timers: what is asked for, and what is shown.

The keys are those of a file of timers, with the same words; what they mean together is read by
`core.timers`, which tells every fault at once. Secrets are names, here as in the store.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, Field, JsonValue, StrictInt, StrictStr

from duly.core.health import Health
from duly.core.runs import RunView
from duly.core.schedules import ScheduleRow
from duly.core.timers import OWNER, call_of
from duly.core.why.schedules import last_answer
from duly.server.api.schedule_shapes import Length, ScheduleShown
from duly.server.api.schedule_shapes import shown as shown_schedule
from duly.server.api.shapes import Asked, Flag, Named, Reason, Said

_Short = Annotated[StrictStr, Field(max_length=500)]
_Body = Annotated[StrictStr, Field(max_length=524_288)]
_Status = StrictInt | _Short
NOT_KEYS = frozenset({"owner", "reason", "dry_run"})


class TimerAsked(Asked):
    """What a timer is to be; exactly one of `cron`, `every`, `at`, and `url` or `base` and `path`.

    What is left out is as a file of timers has it.
    """

    reason: Reason
    owner: Named = OWNER
    dry_run: Flag = Field(default=False, description="Say what would be done, and do nothing.")
    cron: _Short | None = None
    every: Length | None = None
    at: _Short | None = None
    tz: _Short | None = None
    catch_up: _Short | None = None
    max_age: Length | None = None
    overlap: _Short | None = None
    jitter: Length | None = None
    url: Annotated[StrictStr, Field(max_length=2000)] | None = None
    base: Annotated[StrictStr, Field(max_length=2000)] | None = None
    path: Annotated[StrictStr, Field(max_length=2000)] | None = None
    method: _Short | None = None
    headers: dict[str, StrictStr] | None = None
    document: JsonValue = Field(default=None, alias="json", description="A body of JSON.")
    text: _Body | None = None
    template: _Body | None = None
    expect: list[_Status] | _Status | None = None
    deadline: Length | None = None
    kept_bytes: StrictInt | None = None
    completion: Length | None = None
    heartbeat: Length | None = None
    sign: list[_Short] | _Short | None = None
    idempotent: Flag | None = None
    breaker: _Short | None = None
    threshold: StrictInt | None = None
    tenant: _Short | None = None
    kind: _Short | None = None

    def keys(self) -> dict[str, object]:
        """Return the keys of the timer that were given."""
        given = self.model_dump(by_alias=True, exclude_unset=True, exclude=set(NOT_KEYS))
        return {key: one for key, one in given.items() if one is not None or key == "json"}


class TimerShown(ScheduleShown):
    """A timer as it stands: its schedule, its call, and what came of the newest one."""

    calls: str | None
    call: dict[str, Any] | None
    latest_run: str | None
    latest_answer: str | None


class TimerSaved(BaseModel):
    """What saving came to: `created`, `changed`, `revived` or `same`. No timer in a dry run."""

    outcome: str
    dry_run: bool
    timer: TimerShown | None


class TimersFile(Asked):
    """A file of timers, in TOML. `dry_run` has no default."""

    file: Annotated[StrictStr, Field(max_length=1_000_000)]
    dry_run: Flag
    prune: Flag = Field(
        default=False, description="Remove the owner's timers that the file does not name."
    )
    reason: Said = ""


class TimersApplied(BaseModel):
    """What applying a file came to, or would: each name once, by what becomes of it."""

    owner: str
    dry_run: bool
    counts: dict[str, int]
    timers: dict[str, str]
    removed: list[str]


def shown(row: ScheduleRow, health: Health | None, latest: RunView | None) -> TimerShown:
    """Return a timer as the API shows it."""
    call = call_of(row.definition)
    schedule = {name: one for name, one in shown_schedule(row, health)}
    return TimerShown(
        **schedule,
        calls=None if call is None else call.endpoint,
        call=None if call is None else msgspec.to_builtins(call),
        latest_run=None if latest is None else str(latest.id),
        latest_answer=None if latest is None else last_answer(latest) or latest.state.value,
    )
