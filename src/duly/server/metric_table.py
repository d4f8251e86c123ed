"""The table of metrics: their names, kinds, labels and meanings.

Counting, rendering and documentation are all made from it; nothing is counted that is not here.
Labels that name things of the user's (`task`, `schedule`, `loop`, `kind`) are bounded where they
are counted; the others have a closed set of values.
"""

from __future__ import annotations

from dataclasses import dataclass

Labels = tuple[str, ...]


@dataclass(frozen=True)
class MetricDoc:
    """A row of the table of metrics; `kind` is counter, gauge or histogram."""

    name: str
    kind: str
    labels: Labels
    meaning: str


METRICS: tuple[MetricDoc, ...] = (
    MetricDoc("duly_runs_enqueued_total", "counter", ("task",), "Runs asked for here."),
    MetricDoc(
        "duly_runs_total",
        "counter",
        ("task", "outcome"),
        "Moves of runs told here, by outcome: completed, retried, failed, released, waited, "
        "parked or cancelled; the task is _unknown where it is not at hand.",
    ),
    MetricDoc(
        "duly_run_lateness_seconds",
        "histogram",
        ("task",),
        "Time between due and started of runs that a schedule fired.",
    ),
    MetricDoc(
        "duly_run_duration_seconds",
        "histogram",
        ("task",),
        "Time an attempt took that completed, failed or is retried.",
    ),
    MetricDoc(
        "duly_stale_writes_total",
        "counter",
        ("verb",),
        "Writes refused by the fence: the run was no longer in these hands.",
    ),
    MetricDoc(
        "duly_runs_taken_over_total",
        "counter",
        ("after",),
        "Runs taken from dead holders by this instance, by the state they are in now.",
    ),
    MetricDoc("duly_runs_expired_total", "counter", (), "Runs that never started in time."),
    MetricDoc(
        "duly_schedule_fired_total", "counter", ("schedule",), "Occurrences fired by this instance."
    ),
    MetricDoc(
        "duly_instances_declared_dead_total",
        "counter",
        ("proof",),
        "Instances that this one declared dead, by proof.",
    ),
    MetricDoc("duly_lease_lost_total", "counter", (), "Times this instance lost its lease."),
    MetricDoc("duly_store_away_total", "counter", (), "Times the store went away."),
    MetricDoc(
        "duly_loop_failures_total", "counter", ("loop",), "Turns of supervised loops that raised."
    ),
    MetricDoc("duly_incidents_opened_total", "counter", ("kind",), "Incidents opened here."),
    MetricDoc(
        "duly_labels_folded_total",
        "counter",
        ("label",),
        "Values of labels that were counted as _other, to bound the number of series.",
    ),
    MetricDoc("duly_held", "gauge", (), "Runs in this instance's hands."),
    MetricDoc("duly_slots", "gauge", (), "Runs that may be in flight at once here."),
    MetricDoc("duly_store_up", "gauge", (), "1 while the store answers, else 0."),
    MetricDoc(
        "duly_lease_remaining_seconds",
        "gauge",
        (),
        "Time left of this instance's lease; absent while it holds none.",
    ),
    MetricDoc(
        "duly_subscriber_failures", "gauge", (), "How often a subscriber of the bus has raised."
    ),
)


def metrics_table() -> list[MetricDoc]:
    """Return every metric there is."""
    return list(METRICS)
