"""Metrics: every event is counted where the table says, and the number of series is bounded."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from uuid import UUID

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from duly import events as e
from duly.core.fleet import Proof
from duly.core.states import RunState, RunVerb
from duly.errors import ConfigError
from duly.events import Bus, Event
from duly.server.metric_table import metrics_table
from duly.server.metrics import Metrics, Vitals
from duly.server.tally import COUNTED

RUN = UUID(int=1)
DUE = datetime(2026, 1, 1, tzinfo=UTC)
END = {"run": RUN, "task": "mail", "epoch": 1}


def samples(metrics: Metrics) -> dict[str, float]:
    """What a reader of the page sees: `name{label=value,…}` to value."""
    found = {}
    for family in parse(metrics.render().decode()):
        for one in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(one.labels.items()))
            found[f"{one.name}{{{labels}}}"] = one.value
    return found


def check(event: Event, changes: dict[str, float]) -> None:
    metrics, bus = Metrics(), Bus()
    metrics.attach(bus)
    before = samples(metrics)
    bus.emit(event)
    after = samples(metrics)
    for name, value in changes.items():
        assert after[name] - before.get(name, 0) == pytest.approx(value), name


COUNTS: list[tuple[Event, dict[str, float]]] = [
    (
        e.RunEnqueued(run=RUN, task="mail", queue="default"),
        {"duly_runs_enqueued_total{task=mail}": 1},
    ),
    (
        e.AttemptStarted(**END, late_s=0.3),
        {
            "duly_run_lateness_seconds_count{task=mail}": 1,
            "duly_run_lateness_seconds_sum{task=mail}": 0.3,
            "duly_run_lateness_seconds_bucket{le=0.25,task=mail}": 0,
            "duly_run_lateness_seconds_bucket{le=0.5,task=mail}": 1,
            "duly_run_lateness_seconds_bucket{le=+Inf,task=mail}": 1,
        },
    ),
    (
        e.AttemptStarted(**END, late_s=-0.1),
        {"duly_run_lateness_seconds_sum{task=mail}": 0.0},
    ),
    (
        e.RunCompleted(**END, took_s=5000.0),
        {
            "duly_runs_total{outcome=completed,task=mail}": 1,
            "duly_run_duration_seconds_bucket{le=1800.0,task=mail}": 0,
            "duly_run_duration_seconds_bucket{le=+Inf,task=mail}": 1,
        },
    ),
    (
        e.RunRetried(**END, took_s=1.0, failures=1, delay_s=2.0, error="x"),
        {
            "duly_runs_total{outcome=retried,task=mail}": 1,
            "duly_run_duration_seconds_bucket{le=1.0,task=mail}": 1,
        },
    ),
    (
        e.RunFailed(**END, took_s=1.0, failures=4, error="x"),
        {"duly_runs_total{outcome=failed,task=mail}": 1},
    ),
    (e.RunReleased(**END, reason="stop"), {"duly_runs_total{outcome=released,task=mail}": 1}),
    (e.RunWaited(**END, reason="sleep"), {"duly_runs_total{outcome=waited,task=mail}": 1}),
    (
        e.RunParked(run=RUN, reason="poison"),
        {"duly_runs_total{outcome=parked,task=_unknown}": 1},
    ),
    (
        e.RunCancelled(run=RUN, reason="asked", task="mail"),
        {"duly_runs_total{outcome=cancelled,task=mail}": 1},
    ),
    (
        e.RunStale(run=RUN, epoch=1, verb=RunVerb.COMPLETE),
        {"duly_stale_writes_total{verb=complete}": 1},
    ),
    (
        e.RunTakenOver(run=RUN, boot=RUN, after=RunState.READY),
        {"duly_runs_taken_over_total{after=ready}": 1},
    ),
    (e.RunExpired(count=3), {"duly_runs_expired_total{}": 3}),
    (
        e.ScheduleFired(schedule="nightly", due=DUE, run=RUN),
        {"duly_schedule_fired_total{schedule=nightly}": 1},
    ),
    (
        e.InstanceDeclaredDead(boot=RUN, proof=Proof.LEASE, taken=2),
        {"duly_instances_declared_dead_total{proof=lease expired}": 1},
    ),
    (
        e.InstanceLostLease(boot=RUN, held=2, reason="x"),
        {"duly_lease_lost_total{}": 1},
    ),
    (e.StoreAway(reason="x"), {"duly_store_away_total{}": 1}),
    (
        e.LoopFailed(loop="claiming", failures=1, error="x"),
        {"duly_loop_failures_total{loop=claiming}": 1},
    ),
    (
        e.IncidentOpened(kind="poison", subject="x", severity="warning", summary="x"),
        {"duly_incidents_opened_total{kind=poison}": 1},
    ),
]


@pytest.mark.parametrize(("event", "changes"), COUNTS, ids=lambda v: getattr(v, "name", ""))
def test_an_event_is_counted(event: Event, changes: dict[str, float]) -> None:
    check(event, changes)


def test_every_kind_that_is_counted_has_its_case() -> None:
    assert {type(event) for event, _ in COUNTS} == set(COUNTED)


def test_a_task_with_a_hostile_name_is_one_label() -> None:
    name = 'a"b\\c\nd{e="f"} 1'
    check(
        e.RunEnqueued(run=RUN, task=name, queue="q"),
        {f"duly_runs_enqueued_total{{task={name}}}": 1},
    )


def test_the_number_of_series_is_bounded_and_what_is_folded_is_counted() -> None:
    metrics = Metrics(label_values=3)
    for number in range(50):
        metrics.heard(e.RunEnqueued(run=RUN, task=f"task{number}", queue="q"))
    metrics.heard(e.RunEnqueued(run=RUN, task="task0", queue="q"))
    found = samples(metrics)
    series = {name: v for name, v in found.items() if name.startswith("duly_runs_enqueued")}
    assert series == {
        "duly_runs_enqueued_total{task=task0}": 2,
        "duly_runs_enqueued_total{task=task1}": 1,
        "duly_runs_enqueued_total{task=task2}": 1,
        "duly_runs_enqueued_total{task=_other}": 47,
    }
    assert found["duly_labels_folded_total{label=task}"] == 47


GAUGES = [
    (Vitals(held=2, slots=10, store_up=True, lease_left_s=7.5), [2, 10, 1, 7.5]),
    (Vitals(held=0, slots=10, store_up=False), [0, 10, 0, None]),
]


@pytest.mark.parametrize(("vitals", "values"), GAUGES)
def test_gauges_are_asked_for_when_they_are_read(
    vitals: Vitals, values: list[float | None]
) -> None:
    found = samples(Metrics(vitals=lambda: vitals))
    names = ("duly_held", "duly_slots", "duly_store_up", "duly_lease_remaining_seconds")
    assert [found.get(f"{name}{{}}") for name in names] == values


def test_failures_of_subscribers_are_shown() -> None:
    metrics, bus = Metrics(), Bus()
    metrics.attach(bus)

    def broken(event: Event) -> None:
        raise RuntimeError

    bus.subscribe(broken)
    bus.emit(e.StoreAway(reason="x"))
    assert samples(metrics)["duly_subscriber_failures{}"] == 1


def test_what_the_table_names_is_what_is_rendered() -> None:
    metrics = Metrics(vitals=lambda: GAUGES[0][0], label_values=1)
    metrics.attach(Bus())
    for event, _ in COUNTS:
        metrics.heard(event)
    metrics.heard(e.RunEnqueued(run=RUN, task="another", queue="q"))
    rendered = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in parse(metrics.render().decode())
    }
    assert rendered == {doc.name: doc.kind for doc in metrics_table()}


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r"install duly\[metrics\]"):
        Metrics()
