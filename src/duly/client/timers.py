"""Programs' verbs about timers: schedules whose task is an HTTP call, made with no code deployed.

A timer is kept as a person's edit, so that no declaration by code, and none that is missing, takes
it away. It is made in two commits: a declaration that can never fire, then the edit that says
when; cut in between it fires nothing, and saving it again goes on. Removed ones are retired: what
became of their occurrences stays on record.

Whoever was called completes the call by the token that went along with it. Its hash is all that
is kept, and a wrong one, a wrong run and a call that awaits nothing get the same answer.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Literal
from uuid import UUID

import msgspec

from duly import events
from duly.client.runs import RunVerbs
from duly.core.calls import TASK
from duly.core.firing import run_for
from duly.core.runs import Answer, Origin
from duly.core.schedules import Definition, ScheduleRow
from duly.core.spoken import rfc3339
from duly.core.states import ENDS, ScheduleState, ScheduleVerb
from duly.core.steps import MOST_WORDS, TOKENS, Memory, of_call
from duly.core.timers import OWNER, TimerFile
from duly.core.triggers import Once, trigger_from_spec
from duly.errors import InvalidValue, Refused, UnknownName, one_line

LONGEST_MESSAGE = 1000

_NEVER = Once(datetime(1970, 1, 1, tzinfo=UTC)).spec()
_BACK = {ScheduleState.RETIRED: ScheduleVerb.REVIVE, ScheduleState.ORPHANED: ScheduleVerb.ADOPT}
Outcome = Literal["succeeded", "failed"]


class Saved(StrEnum):
    """What saving a timer came to, or would come to."""

    CREATED = "created"
    CHANGED = "changed"
    REVIVED = "revived"  # it was removed, and is back
    SAME = "same"


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What applying a file came to, or would: each timer's name once, by what becomes of it."""

    owner: str
    outcomes: dict[str, Saved]
    removed: tuple[str, ...] = ()
    dry_run: bool = False

    def counts(self) -> dict[str, int]:
        """Return how many timers had each outcome, none left out."""
        told = {one.value: 0 for one in Saved} | {"removed": len(self.removed)}
        for one in self.outcomes.values():
            told[one.value] += 1
        return told


class TimerVerbs(RunVerbs):
    """The verbs of timers, as a part of `Client`."""

    async def timers(self) -> list[ScheduleRow]:
        """Return all timers, removed ones too, by name."""
        return [one for one in await self._store.schedules() if one.definition.task == TASK]

    async def timer(self, name: str) -> ScheduleRow:
        """Return a timer; raises `UnknownName` with the nearest when there is none."""
        row = await self._store.schedule(name)
        if row is None or row.definition.task != TASK:
            raise UnknownName.of("timer", name, [one.name for one in await self.timers()])
        return row

    async def save_timer(
        self,
        definition: Definition,
        *,
        owner: str = OWNER,
        by: str,
        reason: str = "",
        revision: int | None = None,
        dry_run: bool = False,
    ) -> Saved:
        """Make or change a timer, and bring back one that was removed; saved twice, it is `same`.

        `definition` is what `core.timers.read_timer` made. Raises `Refused` when the name belongs
        to another schedule or another owner, or when somebody else changed it meanwhile: since
        this call, or since `revision` was seen (0: there was none); and `InvalidValue` where it is
        new, or due at other times than before, and would never fire.
        """
        row = await self._store.schedule(definition.name)
        saved = _saved(row, definition, owner)
        if revision not in (None, 0 if row is None else row.revision):
            raise _changed(definition.name)
        if saved is Saved.SAME:
            return saved
        _check_to_come(row, definition, await self._store.clock())
        if dry_run:
            return saved
        if row is None:
            blank = msgspec.structs.replace(definition, trigger=_NEVER)
            boot, new_id = self._clock.new_id(), self._clock.new_id
            await self._store.declare(boot, owner, [blank], new_id=new_id)
            row = await self._store.schedule(definition.name)
            assert row is not None, "it was declared, and schedules are never deleted"
            _saved(row, definition, owner)  # another may have been first
        answer = await self._store.edit(
            definition, by=by, reason=reason, revision=row.revision, new_id=self._clock.new_id
        )
        if answer is Answer.STALE:
            raise _changed(definition.name)
        back = _BACK.get(row.state)
        if back is not None:
            await self._store.move(
                definition.name, back, by=by, reason=reason, new_id=self._clock.new_id
            )
        self._bus.emit(events.ScheduleEdited(schedule=definition.name, by=by, reason=reason))
        return saved

    async def remove_timer(
        self, name: str, *, by: str, reason: str, revision: int | None = None
    ) -> Answer:
        """Retire a timer: it fires no more until it is saved again. Again: `already`.

        Raises `Refused` when it was changed since `revision` was seen.
        """
        await self.timer(name)
        verb, new_id = ScheduleVerb.RETIRE, self._clock.new_id
        answer = await self._store.move(
            name, verb, by=by, reason=reason, new_id=new_id, revision=revision
        )
        if answer is Answer.STALE:
            raise _changed(name)
        if answer is Answer.DONE:
            self._bus.emit(events.SCHEDULE_EVENTS[verb](schedule=name, by=by, reason=reason))
        return answer

    async def test_timer(self, name: str, *, by: str) -> UUID:
        """Make a timer's call once, for this very instant; return the run that makes it.

        It really calls, whatever was called before: the instant is an occurrence of its own.
        """
        row = await self.timer(name)
        now = await self._store.clock()
        run = run_for(
            row.definition, now, origin=Origin.TRIGGER, run_id=self._clock.new_id(), by=by
        )
        await self.enqueue([run])
        return run.id

    async def apply_timers(
        self, file: TimerFile, *, by: str, prune: bool = False, dry_run: bool = False
    ) -> Applied:
        """Save every timer of a file; with `prune` remove the others of the same owner.

        Everything is looked at before anything is changed: what would be refused for one timer
        is refused for all. Each timer is a commit of its own; applied again, it goes on. Raises
        `InvalidValue` for `prune` with a file that does not say whose timers it has.
        """
        if prune and not file.says_owner:
            raise InvalidValue("expected a file that removes others to name its owner")
        rows = {one.name: one for one in await self._store.schedules()}
        outcomes, now = {}, await self._store.clock()
        for one in file.timers:
            name = one.definition.name
            outcomes[name] = _saved(rows.get(name), one.definition, file.owner)
            _check_to_come(rows.get(name), one.definition, now)
        others = [
            row.name
            for row in rows.values()
            if row.definition.task == TASK
            and row.owner == file.owner
            and row.state is not ScheduleState.RETIRED
            and row.name not in outcomes
        ]
        removed = tuple(sorted(others)) if prune else ()
        if not dry_run:
            for one in file.timers:
                await self.save_timer(
                    one.definition, owner=file.owner, by=by, reason="applied from a file"
                )
            for name in removed:
                await self.remove_timer(name, by=by, reason="no longer in its owner's file")
        return Applied(owner=file.owner, outcomes=outcomes, removed=removed, dry_run=dry_run)

    # --- what was called answers ---------------------------------------------------------------

    async def knows_call(self, run: UUID, token: str) -> bool:
        """Whether a call of the run gave out this token; compared in constant time."""
        return _knows(await self._store.remembered(run), token)

    async def complete_call(
        self, run: UUID, token: str, outcome: Outcome = "succeeded", *, message: str = ""
    ) -> Answer:
        """Say that a call which had only started (202) is over. The first word stays.

        `token` is what went along as `Duly-Completion-Token`. Again: `already`. Raises `Refused`
        for a wrong token, and when the run has ended, as vanished perhaps.
        """
        if outcome not in ("succeeded", "failed"):
            raise InvalidValue.expected("outcome", "succeeded or failed", outcome)
        said = one_line(message, LONGEST_MESSAGE)
        return await self._word(
            run, token, {"done": True, "ok": outcome == "succeeded", "message": said}
        )

    async def beat_call(self, run: UUID, token: str) -> Answer:
        """Say that a call which has started is still at work. As `complete_call` else."""
        return await self._word(run, token, {"done": False})

    async def _word(self, run: UUID, token: str, word: dict[str, Any]) -> Answer:
        """Put a word behind those that were said; a heartbeat beside one not yet heard is it."""
        memory = await self._store.remembered(run)
        if not _knows(memory, token):
            raise Refused(f"no call of the run {run} awaits a word with this token")
        view = await self._store.run(run)
        ended = view is None or view.state in ENDS
        heard = sum(one.name.startswith(f"event {of_call(run)}") for one in memory.steps)
        for count in range(max(0, heard - 1), MOST_WORDS):
            name = of_call(run, count)
            if not ended and await self.emit(name, word, by="the target") is Answer.DONE:
                return Answer.DONE
            found = await self._store.happened([name])
            if not found:
                break
            last = bool(msgspec.json.decode(found[0].body).get("done"))
            if last or (not word["done"] and count >= heard):
                return Answer.ALREADY
        raise Refused(f"the run {run} awaits no word any more")


def _knows(memory: Memory, token: str) -> bool:
    """Whether the run gave out this token; every hash is compared, in constant time."""
    digest = sha256(token.encode("utf-8", "replace")).hexdigest().encode()
    hashes = [one.value.strip(b'"') for one in memory.steps if one.name.startswith(TOKENS)]
    return any([compare_digest(digest, one) for one in hashes])


def _check_to_come(row: ScheduleRow | None, definition: Definition, now: datetime) -> None:
    """Refuse a timer that would never fire; one that has fired may stay in its file as it was."""
    if row is not None and row.definition.trigger == definition.trigger:
        return
    trigger = trigger_from_spec(definition.trigger)
    if trigger.next_after(now) is None:
        raise InvalidValue(
            f"expected the timer {definition.name} to have an occurrence to come:"
            f" it is due {trigger.describe()}, and now it is {rfc3339(now)}"
        )


def _changed(name: str) -> Refused:
    return Refused(f"timer {name} was changed meanwhile; look again")


def _saved(row: ScheduleRow | None, definition: Definition, owner: str) -> Saved:
    """Say what saving comes to; raises `Refused` for a name that is somebody else's."""
    if row is None:
        return Saved.CREATED
    name = definition.name
    if row.definition.task != TASK:
        raise Refused(f"{name} is a schedule of the task {row.definition.task}, and no timer")
    if row.owner != owner:
        raise Refused(f"timer {name} belongs to {row.owner}, not to {owner}")
    if row.state is ScheduleState.RETIRED:
        return Saved.REVIVED
    if row.definition.trigger == _NEVER:  # one that was cut off while it was made
        return Saved.CREATED
    return Saved.SAME if row.digest == definition.digest() else Saved.CHANGED
