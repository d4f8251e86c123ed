"""The shapes of schedules: what is asked for, and what is shown.

The options are those of `@app.task`, by the same names and with the same words. Lengths of time
are texts such as "90s", or numbers of seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr

from duly.core.access import on_rows
from duly.core.health import Health
from duly.core.instants import trigger_of
from duly.core.schedules import ScheduleRow
from duly.core.states import BreakerState, ScheduleState
from duly.server.api.shapes import (
    Asked,
    Count,
    Flag,
    Instant,
    Named,
    Paging,
    Reason,
    Said,
    Shown,
    Tenant,
    decoded,
)

Length = Annotated[StrictStr, Field(max_length=64)] | StrictInt | StrictFloat


class ScheduleAsked(Asked):
    """What a schedule is to be; exactly one of `cron`, `every` and `at`."""

    task: Named
    args: dict[str, Any] = Field(default_factory=dict)
    reason: Reason
    cron: Annotated[StrictStr, Field(max_length=500)] | None = None
    every: Length | None = None
    at: Instant | None = None
    tz: Annotated[StrictStr, Field(max_length=100)] = "UTC"
    seconds: Literal["first", "last"] | None = None
    anchor: Instant | None = None
    start: Instant | None = None
    end: Instant | None = None
    gap: Literal["after", "skip"] = "after"
    fold: Literal["first", "second", "both"] = "first"
    catch_up: Literal["skip", "latest", "all"] = "latest"
    max_age: Length = "1d"
    max_count: Annotated[Count, Field(ge=0, le=1_000_000)] = 10_000
    pace: Length = "0s"
    batch: Flag = False
    overlap: Literal["skip", "queue_one", "queue_all", "cancel_running", "allow"] = "skip"
    jitter: Length = "0s"


class ScheduleWanted(ScheduleAsked):
    """A schedule that is not there yet."""

    name: Named
    tenant: Tenant | None = Field(
        default=None, description="Whose it is to be; a tenant's key makes its own alone."
    )


class ScheduleQuery(Paging):
    """Which schedules."""

    state: ScheduleState | None = None
    owner: Named | None = None
    tenant: Tenant | None = None

    def shows(self, row: ScheduleRow, *, caller: str) -> bool:
        """Whether a schedule is asked for; a caller of a tenant is shown its own anyway."""
        tenant = None if caller or self.tenant is None else on_rows(self.tenant)
        return (
            self.state in (None, row.state)
            and self.owner in (None, row.owner)
            and tenant in (None, row.definition.tenant)
        )


class HealthShown(BaseModel):
    """How the target of a schedule stands, as the breaker before its calls knows it."""

    breaker: str
    state: BreakerState
    failure_count: int = Field(description="Those in a row that count now, or that opened it.")
    last_failed_at: Shown | None
    last_error: str
    fault: str = Field(description="The class of the last error, such as `route not found`.")
    failing_since: Shown | None = Field(description="Since when the breaker is not closed.")
    next_probe_at: Shown | None = Field(description="Nothing is called before.")


class ScheduleShown(BaseModel):
    """A schedule as it stands; `health` is null where its task asks no breaker."""

    name: str
    owner: str
    task: str
    state: ScheduleState
    reason: str | None
    by: str | None
    next_fire: Shown | None
    fired_through: Shown
    describes: str
    trigger: dict[str, Any]
    args: Any
    queue: str
    priority: int
    catch_up: dict[str, Any]
    overlap: str
    jitter_s: float
    revision: int
    source: str
    last_run: str | None
    created_at: Shown | None
    changed_at: Shown | None
    tenant: str
    health: HealthShown | None


class NextQuery(Asked):
    """How many occurrences."""

    count: Annotated[int, Field(ge=1, le=1000)] = 5


class HistoryQuery(Paging):
    """Which stretch of a schedule's history."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    start: Instant | None = Field(default=None, alias="from")
    until: Instant | None = Field(default=None, alias="to")


class Upcoming(BaseModel):
    """An occurrence that is to come, also as the clocks of the schedule's zone show it."""

    at: Shown
    local: str
    flag: str


class VerdictShown(BaseModel):
    """What became of `count` occurrences from `first` to `last`; -1: too many to count."""

    first: Shown
    last: Shown
    count: int
    verdict: str
    reason: str
    by: str
    revision: int


class BackfillAsked(Asked):
    """Which past occurrences; `dry_run` has no default."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    start: Instant = Field(alias="from", description="The first instant, included.")
    until: Instant = Field(alias="to", description="The last instant, excluded.")
    dry_run: Flag
    reason: Said = ""


class Refusal(BaseModel):
    """An occurrence that is not run, and why."""

    due: Shown
    why: str


class BackfillDone(BaseModel):
    """What runs, or would run, and what is refused."""

    dry_run: bool
    runs: list[Shown]
    refused: list[Refusal]


def shown(row: ScheduleRow, health: Health | None) -> ScheduleShown:
    """Return a schedule as the API shows it."""
    definition = row.definition
    same = {name: getattr(row, name) for name in ScheduleShown.model_fields if hasattr(row, name)}
    return ScheduleShown(
        **same,
        task=definition.task,
        describes=trigger_of(definition).describe(),
        trigger=definition.trigger,
        args=decoded(definition.args),
        queue=definition.queue,
        priority=definition.priority,
        catch_up=msgspec.to_builtins(definition.catch_up),
        overlap=definition.overlap.value,
        jitter_s=definition.jitter.total_seconds(),
        tenant=definition.tenant,
        health=None if health is None else HealthShown(**msgspec.structs.asdict(health)),
    )
