"""The agreement machine's rule for the feed: both stores tell the same, however small the looks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from duly.core.feed import Look, Point
from tests.stores.drawn import SECOND
from tests.stores.world import DAY, HOUR

ENOUGH = 200


class FeedRules(RuleBasedStateMachine):
    """A rule on two stores in step; `Agreement` says how both are looked at."""

    now: Any

    def look(self, verb: str, *args: Any, **how: Any) -> Any:
        raise NotImplementedError

    @rule(back=st.sampled_from([SECOND, HOUR, DAY]), limit=st.sampled_from([1, 3, 1000]))
    def read_the_feed(self, back: timedelta, limit: int) -> None:
        point, told = Point(self.now - back), list[Point]()
        for _ in range(ENOUGH):
            look: Look = self.look("feed", point, limit=limit, now=self.now)
            told += [one.point for one in look.happenings]
            point = look.through
            if not look.more:
                break
        assert told == sorted(set(told)), "out of order, or twice"
