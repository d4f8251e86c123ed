"""The catalogue of events is complete, says what it means, and agrees with the tables of states."""

from __future__ import annotations

import msgspec
import pytest

from duly.core.states import BreakerVerb, RunVerb, ScheduleVerb
from duly.events import (
    BREAKER_EVENTS,
    EVENTS,
    FIELDS,
    RUN_EVENTS,
    SCHEDULE_EVENTS,
    Event,
    event_table,
)
from duly.events.base import event

KINDS = list(EVENTS.values())

IRREGULAR = {
    "retry": "retried",
    "take_over": "taken_over",
    "cancel": "cancelled",
    "trip": "tripped",
    "reset": "reset",
    "skip": "skipped",
    "force_open": "forced_open",
    "force_close": "forced_closed",
}


def past(verb: str) -> str:
    return IRREGULAR.get(verb) or verb + ("d" if verb.endswith("e") else "ed")


@pytest.mark.parametrize("verb", RunVerb)
def test_every_verb_of_a_run_has_its_event(verb: RunVerb) -> None:
    assert RUN_EVENTS[verb].name == f"run.{past(verb)}"


@pytest.mark.parametrize("verb", ScheduleVerb)
def test_every_verb_of_a_schedule_has_its_event(verb: ScheduleVerb) -> None:
    assert SCHEDULE_EVENTS[verb].name == f"schedule.{past(verb)}"


@pytest.mark.parametrize("verb", BreakerVerb)
def test_every_verb_of_a_breaker_has_its_event(verb: BreakerVerb) -> None:
    assert BREAKER_EVENTS[verb].name == f"breaker.{past(verb)}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_event_says_what_it_means(kind: type[Event]) -> None:
    said = kind.__doc__ or ""
    assert said.endswith(".") and said != Event.__doc__
    thing, _, verb = kind.name.partition(".")
    assert thing and verb
    # The class is named after the event, so that one leads to the other.
    assert kind.__name__.lower() == kind.name.replace(".", "").replace("_", "")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_event_cannot_be_changed(kind: type[Event]) -> None:
    config = kind.__struct_config__
    assert (config.frozen, config.gc) == (True, False)


def test_every_field_has_a_meaning_and_every_meaning_a_field() -> None:
    used = {field.name for kind in KINDS for field in msgspec.structs.fields(kind)}
    assert used == set(FIELDS)


def test_no_field_is_called_as_a_part_of_a_log_line() -> None:
    assert {"time", "level", "logger", "event", "message", "exception"} & set(FIELDS) == set()


def test_the_table_tells_every_event_with_its_types() -> None:
    rows = {row.name: row for row in event_table()}
    assert set(rows) == set(EVENTS)
    types = {field.name: field.type for field in rows["attempt.started"].fields}
    assert types["run"] == "UUID"
    assert types["due"] == "instant or null"
    assert types["late_s"] == "number or null"


def test_one_name_is_given_once() -> None:
    with pytest.raises(AssertionError, match=r"run\.claimed"):
        event("run.claimed", EVENTS["run.claimed"].level)(Event)
