"""The agreement machine's rules for breakers: asks, tellings, words of people, and who waits.

Few names and short pauses, so that a story opens, probes and closes within its steps. Leases are
told of that were lent, were lost, or never were.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from duly.core.breakers import Ask, BreakerFilter, BreakerPolicy, Came, Permission, Report
from duly.core.faults import Fault
from duly.core.runs import Ending
from duly.core.states import BreakerVerb, RunVerb
from duly.core.tripping import WAITS
from duly.stores.memory import MemoryStore
from tests.stores import drawn
from tests.stores.drawn import SECOND, Drawn, again, boots
from tests.stores.world import HOUR

NAMES = ("b1", "b2", "schedule:s1")
POLICIES = (
    BreakerPolicy(threshold=2, pause=5 * SECOND, slowest=20 * SECOND),
    BreakerPolicy(threshold=1, pause=7 * SECOND, jitter=0.0),
    BreakerPolicy(threshold=2, within=timedelta(minutes=1), pause=5 * SECOND, closes_after=2),
)

names = st.sampled_from(NAMES)
told = st.fixed_dictionaries(
    {
        "breaker": names,
        "came": st.sampled_from([Came.BROKEN, Came.BROKEN, *Came]),
        "lasts": st.sampled_from([timedelta(0), 40 * SECOND]),
        "policy": st.sampled_from(POLICIES),
        "took": st.sampled_from([timedelta(0), timedelta(0), 9 * SECOND]),
        "draw": st.sampled_from([0.0, 0.5]),
        "fault": st.sampled_from([Fault.TIMED_OUT.value, ""]),
        "error": st.sampled_from(["", "no answer\nat all"]),
        "retry_after": st.sampled_from([None, None, 30 * SECOND]),
    }
)


class BreakerRules(RuleBasedStateMachine):
    """Rules on two stores in step; `Agreement` says how a verb is sent to both."""

    model: MemoryStore
    now: Any

    def send(self, verb: str, resend: bool, *args: Any, **how: Any) -> Any:
        raise NotImplementedError

    def look(self, verb: str, *args: Any, **how: Any) -> Any:
        raise NotImplementedError

    def new_id(self) -> UUID:
        raise NotImplementedError

    def hands(self, pick: int) -> list[tuple[UUID, UUID, int]]:
        raise NotImplementedError

    @rule(
        boot=boots,
        what=st.sampled_from(["ask", "tell", "tell", "move"]),
        wanted=st.lists(told, min_size=1, max_size=4),
        lease=st.sampled_from(["own", "own", "lost", "none", "foreign"]),
        verb=st.sampled_from(sorted(BreakerVerb)),
        tick=drawn.ticks,
        resend=again,
    )
    def word_about_breakers(
        self,
        boot: UUID,
        what: str,
        wanted: list[Drawn],
        lease: str,
        verb: BreakerVerb,
        tick: timedelta,
        resend: bool,
    ) -> None:
        """Ask, several at once; tell, of the probe under way, of others, of nobody's; or move.

        One rule for all of it, so that stories have room for everything else.
        """
        self.now += tick
        if what == "ask":
            asks = [Ask(one["breaker"], self.new_id(), 10 * SECOND) for one in wanted]
            self.send("breaker_calls", resend, boot, asks)
        elif what == "tell":
            reports = [Report(**one, lease=self._lease(one["breaker"], lease)) for one in wanted]
            self.send("breaker_tell", resend, boot, self.new_id(), reports)
        else:
            name = wanted[0]["breaker"]
            self.send("breaker_move", resend, name, verb, by="bob", why="so")

    def _lease(self, name: str, whose: str) -> UUID | None:
        row = self.model.t.breakers.get(name)
        if whose == "own" and row is not None:
            return row.probe
        if whose == "lost" and row is not None and row.unanswered:
            return row.unanswered[0]
        return self.new_id() if whose == "foreign" else None

    @rule(name=names, pick=st.integers(0, 9), then=st.sampled_from(["sweep", "resume", None]))
    def wait_for_a_breaker(self, name: str, pick: int, then: str | None) -> None:
        """A run waits for a breaker; it closes, or was closed before anybody noticed."""
        boot, run, epoch = self.hands(pick)[0]
        known = self.model.t.run.get(run)
        ending = Ending(
            run=run,
            epoch=epoch,
            verb=RunVerb.WAIT,
            reason=WAITS + name,
            delay_us=HOUR // timedelta(microseconds=1),
            parent=None if known is None else known.asked.parent,
        )
        self.send("end", False, boot, [ending])
        if then == "resume":
            self.send("breaker_move", True, name, BreakerVerb.RESUME, by="bob", why="mended")
        elif then == "sweep":
            self.send("sweep", True)

    @rule(name=names, policy=st.sampled_from(POLICIES), asks=st.integers(2, 4), good=st.booleans())
    def stampede(self, name: str, policy: BreakerPolicy, asks: int, good: bool) -> None:
        """It breaks, its pause ends, and many ask one by one; the probe is told of."""
        report = Report(breaker=name, came=Came.BROKEN, policy=policy)
        self.send("breaker_tell", False, self.new_id(), self.new_id(), [report] * policy.threshold)
        row = self.model.t.breakers[name]
        self.now = max(self.now, row.probe_at or self.now)
        probes = [one for _ in range(asks) for one in [self.new_id()] if self._probes(name, one)]
        assert len(probes) <= 1, "two probes of one breaker"
        came = Came.GOOD if good else Came.BROKEN
        for lease in probes:
            told = Report(breaker=name, came=came, policy=policy, lease=lease)
            self.send("breaker_tell", True, self.new_id(), self.new_id(), [told])
        self.look("breaker", name)
        self.look("breakers", BreakerFilter(broken=good))
        self.look("breaker_lines", name)

    def _probes(self, name: str, lease: UUID) -> bool:
        asks = [Ask(name, lease, 10 * SECOND)]
        [permit] = self.send("breaker_calls", False, self.new_id(), asks)
        return bool(permit.permission is Permission.PROBE)
