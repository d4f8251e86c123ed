"""The agreement machine's rule for access: keys that come, are used and go, and what was changed.

It stands apart from the other rules, which plant bugs into stores and count on being drawn often.
Ids are drawn from those that were made as readily as fresh ones, so that resends, unknown ids and
revoked keys all come up.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from duly.core.access import ChangeFilter
from duly.stores.memory import MemoryStore
from tests.stores.drawn import again
from tests.stores.world import api_key, change

VERBS = ("add", "use", "revoke", "note", "settle", "look")


class AccessRules(RuleBasedStateMachine):
    """A rule on two stores in step; `Agreement` says how a verb is sent to both."""

    model: MemoryStore
    now: Any

    def send(self, verb: str, resend: bool, *args: Any, **how: Any) -> Any:
        raise NotImplementedError

    def look(self, verb: str, *args: Any, **how: Any) -> Any:
        raise NotImplementedError

    def new_id(self) -> UUID:
        raise NotImplementedError

    def _one_of(self, known: dict[UUID, Any], pick: int) -> UUID:
        made = sorted(known)
        return made[pick % len(made)] if made and pick % 5 else self.new_id()

    @rule(verb=st.sampled_from(VERBS), pick=st.integers(0, 9), resend=again)
    def access(self, verb: str, pick: int, resend: bool) -> None:
        key = self._one_of(self.model.t.api_keys, pick)
        line = self._one_of(self.model.t.changes, pick)
        match verb:
            case "add":
                self.send("add_key", resend, api_key(key))
            case "use":
                self.send("use_key", resend, key)
            case "revoke":
                self.send("revoke_key", resend, key, by="bob", reason="lost")
            case "note":
                self.send("note_change", resend, change(line, key=key if pick % 2 else None))
            case "settle":
                self.send("settle_change", resend, line, outcome="done", after="1")
            case _:
                self.look("keys")
                self.look("key_of", api_key(key).digest)
                self.look("changes", ChangeFilter(before=line, limit=1 + pick))
                self.look("queues")
                self.look("fronts")
