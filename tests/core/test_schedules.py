"""Who may change a schedule: newer code, a rollback of all, a person; and what a digest sees."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from duly.core.schedules import (
    CatchUp,
    CatchUpMode,
    Declared,
    Definition,
    Overlap,
    ScheduleRow,
    Source,
    settle_declaration,
)
from duly.core.states import ScheduleState

T0 = datetime(2026, 1, 5, tzinfo=UTC)
DEFINITION = Definition(name="s", task="t", trigger={"kind": "every", "interval": "1m"})
S = ScheduleState


def row(state: ScheduleState = S.ACTIVE, source: Source = Source.CODE) -> ScheduleRow:
    return ScheduleRow(
        name="s", owner="app", definition=DEFINITION, digest="b", revision=2, source=source,
        state=state, fired_through=T0, next_fire=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "source", "digest", "carried", "expected"),
    [
        (S.ACTIVE, Source.CODE, "b", False, Declared.SAME),
        (S.PAUSED, Source.CODE, "b", True, Declared.SAME),
        (S.ACTIVE, Source.CODE, "a", True, Declared.OLDER),
        (S.ACTIVE, Source.CODE, "a", False, Declared.REVISED),
        (S.ACTIVE, Source.CODE, "c", True, Declared.REVISED),
        (S.ORPHANED, Source.CODE, "b", False, Declared.ADOPTED),
        (S.ORPHANED, Source.CODE, "a", False, Declared.REVISED),
        (S.ACTIVE, Source.PERSON, "a", False, Declared.EDITED),
        (S.ACTIVE, Source.PERSON, "c", True, Declared.EDITED),
        (S.ACTIVE, Source.PERSON, "b", False, Declared.SAME),
        (S.ORPHANED, Source.PERSON, "a", False, Declared.ADOPTED),
        (S.ORPHANED, Source.PERSON, "b", False, Declared.ADOPTED),
        (S.RETIRED, Source.CODE, "c", False, Declared.RETIRED),
        (S.RETIRED, Source.PERSON, "b", True, Declared.RETIRED),
    ],
)
def test_a_declaration_comes_to_what_the_rules_say(
    state: ScheduleState, source: Source, digest: str, carried: bool, expected: Declared
) -> None:
    earlier = ("a", "b")
    answer = settle_declaration(row(state, source), digest, earlier=earlier, carried=carried)
    assert answer is expected


def test_what_nobody_declared_before_is_new() -> None:
    assert settle_declaration(None, "a", earlier=(), carried=False) is Declared.NEW


CHANGES = [
    {"name": "other"},
    {"task": "u"},
    {"trigger": {"kind": "every", "interval": "2m"}},
    {"args": b"[1]"},
    {"queue": "q"},
    {"priority": 1},
    {"catch_up": CatchUp(mode=CatchUpMode.ALL)},
    {"overlap": Overlap.ALLOW},
    {"jitter": timedelta(seconds=1)},
    {"expires_after": timedelta(seconds=1)},
    {"limit_key": "l"},
    {"limit": 2},
    {"tenant": "acme"},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_a_digest_sees_every_part(change: dict[str, object]) -> None:
    assert msgspec.structs.replace(DEFINITION, **change).digest() != DEFINITION.digest()
    assert {next(iter(one)) for one in CHANGES} == set(DEFINITION.__struct_fields__)


def test_a_digest_of_the_house_is_that_from_before_there_were_tenants() -> None:
    """Else the first start of new code would take every schedule for revised."""
    assert msgspec.structs.replace(DEFINITION, name="nightly").digest() == "f7e82dffcbd3492b"


def test_a_digest_does_not_see_the_order_of_keys() -> None:
    turned = dict(reversed(DEFINITION.trigger.items()))
    assert msgspec.structs.replace(DEFINITION, trigger=turned).digest() == DEFINITION.digest()
