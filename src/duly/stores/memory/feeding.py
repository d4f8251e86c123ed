"""The feed, in the model: every row is looked at, those behind the point are told.

A verb is one step here, so all that was written before a look is settled by its instant.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from duly.core import feed
from duly.core.feed import AT_ONCE, Happening, Look, Point, Settled, Sort
from duly.stores.memory.tables import Tables


class FeedVerbs:
    """What `Store` says of the feed, on `Tables`."""

    t: Tables

    def _now(self, now: datetime | None) -> datetime:
        raise NotImplementedError

    async def feed(
        self, after: Point | None, *, limit: int = AT_ONCE, now: datetime | None = None
    ) -> Look:
        upto = feed.settled(self._now(now), None)
        if after is None:
            return feed.nothing(upto)
        return feed.collected(after, upto, [self._behind(after, upto)[: limit + 1]], limit)

    def _behind(self, after: Point, upto: Settled) -> list[Happening]:
        found = (one for one in self._happened() if after < one.point < Point(upto.floor))
        return sorted(found, key=lambda one: one.point)

    def _happened(self) -> Iterator[Happening]:
        for run, row in self.t.ended.items():
            asked = self.t.run[run].asked
            ended = feed.EndedRun(
                id=run,
                state=row.state,
                task=asked.task,
                tenant=asked.tenant,
                epoch=row.epoch,
                failures=row.failures,
                started_at=row.started_at,
                ended_at=row.ended_at,
                error=row.error,
                reason=row.reason,
            )
            yield feed.run_ended(ended)
        for number, line in enumerate(self.t.breaker_lines, self.t.breaker_lines_gone + 1):
            yield feed.breaker_moved(number, line)
        for one in self.t.instances.values():
            yield feed.instance_came(one)
            if one.left_at is not None:
                yield feed.instance_left(one)
        yield from self._incidents()

    def _incidents(self) -> Iterator[Happening]:
        for one in self.t.incidents:
            yield feed.incident_moved(Sort.OPENED, one)
            if one.acknowledged_at is not None:
                yield feed.incident_moved(Sort.ACKNOWLEDGED, one)
            if one.closed_at is not None:
                yield feed.incident_moved(Sort.CLOSED, one)
