"""The agreement machine's rule for telling people: incidents, looks, notices, acknowledgements.

One rule tells a whole passage: something opens or closes, a channel is looked after by a boot that
may hold its lease or not, a page is drawn up by the core's planner, and arrives or does not. It
stands apart from the other rules, as that for access does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from duly.core.fleet import Incident
from duly.core.notices import ChannelPlan, NotifyPlan, Rule
from duly.core.telling import Outlook
from duly.core.telling_plan import Drawing
from duly.stores.memory import MemoryStore
from tests.stores.drawn import SECOND, again, boots
from tests.stores.world import DAY, HOUR

CHANNELS = ("mail", "slack")
KINDS = ("x", "expect.start")
SEVERITIES = ("info", "critical", "strange")
LOUD = NotifyPlan(rules=(Rule(channels=("mail",), severity="warning"), Rule(channels=("slack",))))
REMIND = ((), (HOUR,), (HOUR, DAY))

happening = st.tuples(
    st.sampled_from(["open", "open", "close", "acknowledge"]),
    st.sampled_from(KINDS),
    st.sampled_from("abc"),
    st.sampled_from(SEVERITIES),
)


class TellingRules(RuleBasedStateMachine):
    """A rule on two stores in step; `Agreement` says how a verb is sent to both."""

    model: MemoryStore
    now: Any

    def send(self, verb: str, resend: bool, *args: Any, **how: Any) -> Any:
        raise NotImplementedError

    def look(self, verb: str, *args: Any, **how: Any) -> Any:
        raise NotImplementedError

    def new_id(self) -> UUID:
        raise NotImplementedError

    @rule(
        boot=boots,
        channel=st.sampled_from(CHANNELS),
        happens=st.lists(happening, max_size=5),
        what=st.sampled_from(["news", "news", "news", "reminder", "digest", "nothing"]),
        limit=st.sampled_from([1000, 2]),
        remind=st.sampled_from(REMIND),
        critical=st.sampled_from([False, False, True]),
        arrives=st.booleans(),
        stride=st.sampled_from([SECOND, HOUR, 2 * HOUR, DAY]),
        resend=again,
    )
    def tell_people(
        self,
        boot: UUID,
        channel: str,
        happens: list[tuple[str, str, str, str]],
        what: str,
        limit: int,
        remind: tuple[timedelta, ...],
        critical: bool,
        arrives: bool,
        stride: timedelta,
        resend: bool,
    ) -> None:
        for one in happens:
            self._happens(*one)
        self.now += stride
        out = self.send("outlook", resend, boot, channel, limit=limit)
        if out is None:
            return
        plan = ChannelPlan(name=channel, zone="Europe/Berlin", remind=remind)
        drawing = Drawing(LOUD, plan, out, new_id=self.new_id(), application="app")
        self._draw(boot, out, drawing, what, {"critical": critical, "limit": limit}, resend)
        for notice in sorted(self.model.t.notices) if arrives else ():
            self.send("arrived", resend, notice)
        self.look("channels")

    def _happens(self, verb: str, kind: str, subject: str, severity: str) -> None:
        self.now += SECOND
        if verb == "open":
            one = Incident(kind=kind, subject=subject, severity=severity, summary="so", owner="app")
            self.send("open_incident", True, one)
        elif verb == "close":
            self.send("close_incident", True, kind, subject)
        else:
            self.send("acknowledge", True, kind, subject, by="bob", note="on it")

    def _draw(
        self,
        boot: UUID,
        out: Outlook,
        drawing: Drawing,
        what: str,
        how: dict[str, Any],
        resend: bool,
    ) -> None:
        channel = drawing.channel
        if what == "news":
            page = self.look("untold", channel, **how)
            last = len(page) < how["limit"]
            self.send(
                "draw_up", resend, boot, drawing.news(page, critical=how["critical"], last=last)
            )
        elif what == "reminder":
            late = self.look("overdue", channel, self.now + HOUR, **how)
            self.send("draw_up", resend, boot, drawing.reminder(late, last=True))
        elif what == "digest":
            summed = self.look("summed", channel, self.now - DAY, out.now)
            self.send("draw_up", resend, boot, drawing.digest(summed))
