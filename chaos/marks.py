"""Marks at named points: which there are, how often each was died at, and which are open now.

Points are found, not listed: a worker tells of each that it visits. Marks are laid only while
enough have joined who will see the others die. Three kinds are open beside each other: verbs that
somebody has to bring about, a few points of each; those by which an instance joins, and few of
them, for who dies there does no work; and whatever else there is. What comes to an end within the
trial (firing) goes first. A mark that nobody comes to is withdrawn for a while, because it may
wait for what the others keep from happening.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Set
from pathlib import Path
from uuid import UUID

from chaos.journal import Line, now_s
from chaos.trial import Trial

ENOUGH = 2
PATIENCE_S, LONG_S = 15.0, 40.0
BESIDE, ALL = 3, 1000
"""Points of one verb, among those that are brought about, that are marked at once; all of those
verbs may have marks at last, when nothing else is left."""

ENDING = frozenset({"fire"})
JOIN = frozenset(
    {"beat", "clock", "declare", "incidents", "instances", "migrate", "open", "register"}
)
COMMON, BROUGHT, JOINING = "common", "brought about", "joining"


def verb_of(point: str) -> str:
    """Return the verb that a point is of."""
    return point.partition(".")[0]


class Marks:
    """The marks of one trial. `turn` is to be called every few hundredths of a second."""

    def __init__(
        self, trial: Trial, *, times: int, at_a_time: int, verbs: Set[str], brought: Set[str]
    ) -> None:
        self._trial, self._folder = trial, trial.place.folder
        self._times, self._verbs = times, verbs  # no verbs: all there are
        self._most = {COMMON: at_a_time, BROUGHT: 2 * at_a_time, JOINING: at_a_time // 2}
        self._brought = brought
        self._chance = random.Random(11)
        self._open: dict[str, float] = {}
        self._late: dict[str, float] = {}  # until when a point is not marked again
        self._joined: set[str] = set()
        self._at_work: dict[tuple[UUID | None, int], str] = {}
        self._read = 0
        self.known: set[str] = set()
        self.died: Counter[str] = Counter()
        self.died_at_s = now_s()

    @property
    def verbs(self) -> set[str]:
        """The verbs that have a mark now."""
        return set(map(verb_of, self._open))

    @property
    def joined(self) -> set[str]:
        """The workers that live, and have joined the fleet at some time."""
        return {one.name for one in self._trial.fleet.living} & self._joined

    @property
    def busy(self) -> set[str]:
        """Those of them that have something in hand which takes its time."""
        return self.joined & set(self._at_work.values())

    @property
    def left(self) -> set[str]:
        """The points that have not had their deaths."""
        return {one for one in self.known if self.died[one] < self._times}

    def turn(self) -> bool:
        """Read what happened, and lay further marks; whether every point had its deaths."""
        self._learn()
        self._withdraw_late()
        left = self.left
        if len(self.joined) >= ENOUGH:
            for name in self._chosen(left - self._open.keys()):
                self._open[name] = now_s()
                self._file(name).touch()
        return not left and not self._open

    def withdraw(self) -> None:
        """Take every mark away."""
        for path in self._folder.glob("die-*"):
            path.unlink(missing_ok=True)
        self._open.clear()
        self._learn()

    def _chosen(self, left: set[str]) -> list[str]:
        """Choose points to be marked beside those that are."""
        at_s = now_s()
        fresh = sorted(one for one in left if self._late.get(one, 0.0) <= at_s)
        self._chance.shuffle(fresh)
        fresh.sort(key=lambda one: verb_of(one) not in ENDING)
        verbs = Counter(map(verb_of, self._open))
        kinds = Counter(map(self._kind, self._open))
        most = self._most | ({BROUGHT: ALL} if not self._others(left) else {})
        chosen = []
        for one in fresh:
            verb, kind = verb_of(one), self._kind(one)
            if kinds[kind] < most[kind] and (kind != BROUGHT or verbs[verb] < BESIDE):
                verbs[verb] += 1
                kinds[kind] += 1
                chosen.append(one)
        return chosen

    def _others(self, left: set[str]) -> bool:
        """Whether anything is left but what is brought about."""
        return any(self._kind(one) != BROUGHT for one in left)

    def _kind(self, point: str) -> str:
        verb = verb_of(point)
        return JOINING if verb in JOIN else BROUGHT if verb in self._brought else COMMON

    def _withdraw_late(self) -> None:
        for name, since_s in list(self._open.items()):
            patience_s = LONG_S if self._kind(name) == BROUGHT else PATIENCE_S
            if not self._file(name).exists():
                del self._open[name]
            elif now_s() - since_s > patience_s:
                self._file(name).unlink(missing_ok=True)
                del self._open[name]
                self._late[name] = now_s() + patience_s

    def _file(self, name: str) -> Path:
        return self._folder / f"die-{name}"

    def _learn(self) -> None:
        self._trial.journal.read()
        lines = self._trial.journal.lines
        for one in lines[self._read :]:
            self._note(one)
        self._read = len(lines)

    def _note(self, one: Line) -> None:
        if one.kind == "instance.started":
            self._joined.add(one.worker)
        elif one.kind == "start":
            self._at_work.pop((one.run, one.attempt - 1), None)  # its code never came to an end
            self._at_work[one.run, one.attempt] = one.worker
        elif one.kind == "end":
            self._at_work.pop((one.run, one.attempt), None)
        elif one.kind == "died":
            self.died[one.detail] += 1
            self.died_at_s = now_s()
            self._at_work = {key: who for key, who in self._at_work.items() if who != one.worker}
        elif one.kind == "point" and (not self._verbs or verb_of(one.detail) in self._verbs):
            self.known.add(one.detail)
