"""Planted bugs of telling people: each a small subclass of the model that breaks one promise.

What must notice it is named in `test_contract_planted.py`; nothing here is ever used otherwise.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from duly.core.runs import Answer
from duly.core.telling import Drawn, Outlook
from duly.stores.memory import MemoryStore


class TellsWithoutOutbox(MemoryStore):
    """Marks what is told, and keeps no notice of it: a death before the sending loses it."""

    async def draw_up(self, boot: UUID, drawn: Drawn, **how: Any) -> Answer:
        return await super().draw_up(boot, msgspec.structs.replace(drawn, notice=None), **how)


class MarksNothing(MemoryStore):
    """Keeps the notice, and forgets of what it told."""

    async def draw_up(self, boot: UUID, drawn: Drawn, **how: Any) -> Answer:
        return await super().draw_up(boot, msgspec.structs.replace(drawn, marks=()), **how)


class LetsEverybodyTell(MemoryStore):
    """Gives the lease of a channel to whoever asks."""

    def _may_relay(self, boot: UUID, topic: str, now: datetime) -> bool:
        return True


class ChangesWhatIsSealed(MemoryStore):
    """Lets a notice be drawn up again that may be on its way."""

    async def draw_up(self, boot: UUID, drawn: Drawn, **how: Any) -> Answer:
        if drawn.notice is not None and drawn.notice.id in self.t.notices:
            row = self.t.notices[drawn.notice.id]
            self.t.notices[drawn.notice.id] = msgspec.structs.replace(row, sealed=False)
        return await super().draw_up(boot, _as_the_next(self, drawn), **how)


class WritesWhatIsLate(MemoryStore):
    """Takes a drawing that was given up for the one that is due now."""

    async def draw_up(self, boot: UUID, drawn: Drawn, **how: Any) -> Answer:
        return await super().draw_up(boot, _as_the_next(self, drawn), **how)


def _as_the_next(store: MemoryStore, drawn: Drawn) -> Drawn:
    known = store.t.channels.get(drawn.channel)
    turn = 1 if known is None else known.turn + 1
    return msgspec.structs.replace(drawn, state=msgspec.structs.replace(drawn.state, turn=turn))


class TrustsTheOrderOfCommits(MemoryStore):
    """Looks at nothing that was said to have happened before its last look."""

    async def outlook(self, boot: UUID, channel: str, **how: Any) -> Outlook | None:
        out = await super().outlook(boot, channel, **how)
        if out is not None and out.state.looked_from is not None:
            state = msgspec.structs.replace(out.state, looked_from=out.now)
            self.t.channels[channel] = state
        return out


class RemindsForEver(MemoryStore):
    """Forgets who deals with what."""

    async def acknowledge(self, kind: str, subject: str, **how: Any) -> Answer:
        answer = await super().acknowledge(kind, subject, **how)
        index = self.t.open_index(kind, subject)
        if index is not None:
            one = self.t.incidents[index]
            self.t.incidents[index] = msgspec.structs.replace(one, acknowledged_at=None)
        return answer
