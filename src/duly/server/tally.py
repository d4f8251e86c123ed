"""Counting: how each kind of event changes the counters and histograms.

A `Tally` is plain dictionaries, because runs may end tens of thousands of times a second. The
number of series is bounded: of each label that names things of the user's no more than
`label_values` values are told apart, and later ones are counted as `_other`. A tally takes no
lock and reads no clock; whoever owns it sees to the lock.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from duly import events
from duly.events import Event
from duly.server.metric_table import METRICS, Labels

OTHER = "_other"
UNKNOWN = "_unknown"
LABEL_CHARACTERS = 100
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
"""Upper bounds of the histograms' buckets, in seconds; the last one is infinite."""


class Tally:
    """What was counted so far."""

    def __init__(self, *, label_values: int) -> None:
        self.counts: dict[str, Counter[Labels]] = {
            doc.name: Counter() for doc in METRICS if doc.kind == "counter"
        }
        self.spreads: dict[str, dict[Labels, Spread]] = {
            doc.name: {} for doc in METRICS if doc.kind == "histogram"
        }
        self._bound = label_values
        self._known: dict[str, set[str]] = {label: set() for doc in METRICS for label in doc.labels}

    def add(self, name: str, labels: Labels = (), count: int = 1) -> None:
        """Count up one series of a counter."""
        self.counts[name][labels] += count

    def observe(self, name: str, labels: Labels, seconds: float) -> None:
        """Put one length of time into a histogram; less than none counts as none."""
        spreads = self.spreads[name]
        spread = spreads.get(labels)
        if spread is None:
            spread = spreads[labels] = Spread()
        spread.add(seconds if seconds > 0 else 0.0)

    def fold(self, label: str, value: str) -> str:
        """Return the value to count under: itself, or `_other` when there are too many."""
        known = self._known[label]
        if value in known:
            return value
        value = value[:LABEL_CHARACTERS]
        if value in known:
            return value
        if len(known) < self._bound:
            known.add(value)
            return value
        self.add("duly_labels_folded_total", (label,))
        return OTHER

    def copy_counts(self) -> dict[str, dict[Labels, int]]:
        """Return the counters as they stand."""
        return {name: dict(series) for name, series in self.counts.items()}

    def copy_spreads(self) -> dict[str, dict[Labels, Spread]]:
        """Return the histograms as they stand."""
        return {
            name: {labels: spread.copy() for labels, spread in series.items()}
            for name, series in self.spreads.items()
        }


class Spread:
    """How lengths of time fall into the buckets."""

    __slots__ = ("counts", "total")

    def __init__(self, counts: list[int] | None = None, total: float = 0.0) -> None:
        self.counts = counts or [0] * (len(BUCKETS_S) + 1)
        self.total = total

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total += seconds

    def copy(self) -> Spread:
        return Spread(list(self.counts), self.total)

    def cumulative(self) -> list[tuple[str, float]]:
        names = [*(repr(float(bound)) for bound in BUCKETS_S), "+Inf"]
        running, rows = 0, []
        for name, count in zip(names, self.counts, strict=True):
            running += count
            rows.append((name, float(running)))
        return rows


# --- how each kind of event is counted --------------------------------------------------------


def _ended(outcome: str, *, timed: bool = False) -> Callable[[Tally, Any], None]:
    def count(tally: Tally, event: Any) -> None:
        task = tally.fold("task", event.task or UNKNOWN)
        tally.add("duly_runs_total", (task, outcome))
        if timed:
            tally.observe("duly_run_duration_seconds", (task,), event.took_s)

    return count


def _started(tally: Tally, event: events.AttemptStarted) -> None:
    if event.late_s is not None:
        task = tally.fold("task", event.task)
        tally.observe("duly_run_lateness_seconds", (task,), event.late_s)


def _one(name: str) -> Callable[[Tally, Any], None]:
    """Count one per event."""
    return lambda tally, event: tally.add(name)


def _by(name: str, field: str) -> Callable[[Tally, Any], None]:
    """Count one per event, by the value of a field that is also the label."""

    def count(tally: Tally, event: Any) -> None:
        tally.add(name, (tally.fold(field, str(getattr(event, field))),))

    return count


def _expired(tally: Tally, event: events.RunExpired) -> None:
    tally.add("duly_runs_expired_total", count=event.count)


COUNTED: Mapping[type[Event], Callable[[Tally, Any], None]] = {
    events.RunEnqueued: _by("duly_runs_enqueued_total", "task"),
    events.AttemptStarted: _started,
    events.RunCompleted: _ended("completed", timed=True),
    events.RunRetried: _ended("retried", timed=True),
    events.RunFailed: _ended("failed", timed=True),
    events.RunReleased: _ended("released"),
    events.RunWaited: _ended("waited"),
    events.RunParked: _ended("parked"),
    events.RunCancelled: _ended("cancelled"),
    events.RunStale: _by("duly_stale_writes_total", "verb"),
    events.RunTakenOver: _by("duly_runs_taken_over_total", "after"),
    events.RunExpired: _expired,
    events.ScheduleFired: _by("duly_schedule_fired_total", "schedule"),
    events.InstanceDeclaredDead: _by("duly_instances_declared_dead_total", "proof"),
    events.InstanceLostLease: _one("duly_lease_lost_total"),
    events.StoreAway: _one("duly_store_away_total"),
    events.LoopFailed: _by("duly_loop_failures_total", "loop"),
    events.IncidentOpened: _by("duly_incidents_opened_total", "kind"),
}
