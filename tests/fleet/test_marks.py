"""Steered deaths: marks are laid where they do no harm, and workers that are forked end as others.

The fleet of a trial must go on working while its points are died at; and no process may outlive
the harness, however it was started.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chaos.declared import Spec, build
from chaos.failpoints import UNMARKED
from chaos.fleet import Fleet
from chaos.journal import Journal, Pen
from chaos.looping import GO
from chaos.marks import JOIN, Marks, verb_of
from chaos.places import Place
from chaos.provoking import BROUGHT, PROVOCATIONS, WORK_FOR
from chaos.trial import Trial
from chaos.waiting import until
from duly.stores.base import Store

WORKERS = ("w1", "w2", "w3", "w4")


class Yard:
    """A trial without processes: a journal, a folder, and workers that live by word alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.journal = folder, Journal(folder / "journal")
        living = [SimpleNamespace(name=name) for name in WORKERS]
        place, fleet = SimpleNamespace(folder=folder), SimpleNamespace(living=living)
        given = SimpleNamespace(place=place, fleet=fleet, journal=self.journal)
        self.trial = cast(Trial, given)

    def says(self, worker: str, kind: str, detail: str = "") -> None:
        Pen(self.journal.path, worker).write(kind, detail=detail)

    def joins(self, count: int) -> None:
        for name in WORKERS[:count]:
            self.says(name, "instance.started")

    def comes_by(self, *points: str) -> None:
        for one in points:
            self.says("w1", "point", one)

    def die_at(self, point: str) -> None:
        (self.folder / f"die-{point}").unlink()
        self.says("w1", "died", point)

    @property
    def marked(self) -> set[str]:
        return {one.name.removeprefix("die-") for one in self.folder.glob("die-*")}


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def marks_of(yard: Yard, **facts: Any) -> Marks:
    given: dict[str, Any] = {"times": 1, "at_a_time": 2, "verbs": frozenset(), "brought": BROUGHT}
    return Marks(yard.trial, **(given | facts))


def test_nobody_is_marked_for_death_before_others_can_see_it(yard: Yard) -> None:
    marks = marks_of(yard)
    yard.comes_by("claim.asked")
    yard.joins(1)
    assert not marks.turn() and not yard.marked
    yard.joins(2)
    assert not marks.turn() and yard.marked == {"claim.asked"}


def test_marks_of_joining_leave_most_instances_to_join(yard: Yard) -> None:
    marks = marks_of(yard)
    yard.joins(4)
    yard.comes_by(*(f"{verb}.{place}" for verb in sorted(JOIN) for place in ("asked", "answered")))
    marks.turn()
    assert len(yard.marked) == 1


def test_what_is_brought_about_has_few_marks_of_a_verb_beside_the_others(yard: Yard) -> None:
    marks = marks_of(yard, at_a_time=4)
    yard.joins(4)
    yard.comes_by(*(f"leave.between{n}" for n in range(9)), *(f"claim.{n}" for n in range(9)))
    marks.turn()
    verbs = [verb_of(one) for one in yard.marked]
    assert (verbs.count("leave"), verbs.count("claim")) == (3, 4)


def test_what_comes_to_an_end_is_died_at_first(yard: Yard) -> None:
    marks = marks_of(yard, at_a_time=1)
    yard.joins(4)
    yard.comes_by("claim.asked", "claim.answered", "end.asked", "fire.asked")
    marks.turn()
    assert "fire.asked" in yard.marked


def test_it_is_over_when_every_known_point_had_its_deaths(yard: Yard) -> None:
    marks = marks_of(yard, times=2)
    yard.joins(4)
    yard.comes_by("claim.asked")
    for _ in range(2):
        assert not marks.turn()
        yard.die_at("claim.asked")
    assert marks.turn() and marks.died["claim.asked"] == 2 and not marks.left


def test_verbs_that_are_brought_about_are_verbs_of_the_store() -> None:
    assert set(WORK_FOR).union(*(one.verbs for one in PROVOCATIONS)) <= BROUGHT
    assert [verb for verb in BROUGHT | JOIN if verb in UNMARKED or not hasattr(Store, verb)] == []


def test_work_that_brings_verbs_about_is_work_the_workers_know(tmp_path: Path) -> None:
    app = build(Spec(store=f"sqlite:///{tmp_path}/duly.db", journal=str(tmp_path / "j")), None)
    assert {task for tasks in WORK_FOR.values() for task in tasks} <= set(app.tasks)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(None, tmp_path)


@pytest.fixture
def fleet(place: Place) -> Iterator[Fleet]:
    path = place.folder / "journal"
    fleet = Fleet(Spec(store=place.url, journal=str(path)), place.folder)
    yield fleet
    fleet.end()


@pytest.mark.slow
async def test_a_forked_worker_is_an_instance_of_its_own_and_ends_with_its_nursery(
    fleet: Fleet, place: Place
) -> None:
    journal = Journal(place.folder / "journal")
    one, two = fleet.start(2)
    await until(lambda: journal.count()["instance.started"] == 2, within_s=60, what="both to join")
    boots = {line.detail for line in journal.lines if line.kind == "instance.started"}
    assert len(boots) == 2 and one.pid != two.pid
    fleet.kill(one)
    assert not one.living and two.living
    fleet.end_nursery()
    await until(lambda: not two.living, within_s=60, what="the other to end with its nursery")
    assert (one.process.returncode, two.process.returncode) == (-signal.SIGKILL, -signal.SIGKILL)


ENDINGS: list[tuple[str, dict[str, str], signal.Signals | None, int]] = [
    ("told to stop", {}, signal.SIGTERM, 0),
    ("killed", {}, signal.SIGKILL, -signal.SIGKILL),
    ("it has no spec that it could read", {"CHAOS_SPEC": "/nowhere"}, None, 1),
    ("a loop of its own failed too often", {"CHAOS_LOOP": "raises"}, None, 70),
]


@pytest.mark.slow
async def test_how_a_forked_worker_ended_is_known(fleet: Fleet, place: Place) -> None:
    (place.folder / GO).touch()
    journal = Journal(place.folder / "journal")
    workers = [fleet.start(env=env)[0] for _, env, _, _ in ENDINGS]
    await until(
        lambda: {one.name for one in workers[:2]} <= journal.who("instance.started"),
        within_s=60,
        what="those to join who are sent a signal",
    )
    for worker, (_, _, what, _) in zip(workers, ENDINGS, strict=True):
        if what is not None:
            worker.signal(what)
    await until(lambda: not fleet.living, within_s=60, what="them to end")
    assert [one.process.returncode for one in workers] == [one[-1] for one in ENDINGS]
