"""The contract and the agreement machine have teeth: each planted bug is caught by one of them.

A bug is a small subclass of the model that breaks one promise. What must fail is named beside
it; a bug that nothing notices fails here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import seed
from hypothesis.stateful import run_state_machine_as_test

from duly.core.fleet import Claim, Instance, InstanceState
from duly.core.runs import Answer, Ending, Enqueued, NewRun, Reuse
from duly.stores.memory import MemoryStore
from duly.stores.memory.tables import Held, Key, Tables
from tests.stores import planted_breakers as breakers
from tests.stores import planted_lasting as lasting
from tests.stores import planted_telling as telling
from tests.stores.contract import (
    test_ahead,
    test_breakers,
    test_children,
    test_claim,
    test_deaths,
    test_effects,
    test_end,
    test_enqueue,
    test_events,
    test_firing,
    test_limits,
    test_logs,
    test_outbox,
    test_steps,
    test_telling,
)
from tests.stores.machine import Agreement
from tests.stores.profiles import stories
from tests.stores.world import T0, World


class NoFence(MemoryStore):
    """Ends whatever run is named, in whosever hands it is."""

    async def end(
        self, boot: UUID, endings: Sequence[Ending], *, now: datetime | None = None
    ) -> list[Answer]:
        held = self.t.held
        believed = [
            msgspec.structs.replace(one, epoch=held[one.run].epoch) if one.run in held else one
            for one in endings
        ]
        boots = [held[one.run].boot if one.run in held else boot for one in endings]
        return [
            (await super(NoFence, self).end(holder, [one], now=now))[0]
            for holder, one in zip(boots, believed, strict=True)
        ]


class ForgetsItsTime(MemoryStore):
    """Lets a run that was made ready ahead of its time begin at once when it went back."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock, tables=_Forgetful())


class _Forgetful(Tables):
    def put_ready(self, run: UUID, now: datetime, *, before: Any = None) -> None:
        super().put_ready(run, now, before=before)
        if isinstance(before, Held) and run in self.ready:
            self.ready[run].ready_at = now


class ClaimsForTheDead(MemoryStore):
    """Lets a boot claim that was declared dead."""

    async def claim(self, boot: UUID, claim: UUID, **how: Any) -> Claim:
        me = self.t.instances.get(boot)
        if me is not None:
            self.t.instances[boot] = msgspec.structs.replace(me, state=InstanceState.LIVE)
        return await super().claim(boot, claim, **how)


class RaisesTheDead(MemoryStore):
    """Lets a dead boot register again."""

    async def register(
        self, instance: Instance, carries: Mapping[str, str], *, now: datetime | None = None
    ) -> Answer:
        self.t.instances.pop(instance.boot, None)
        return await super().register(instance, carries, now=now)


class InsertsTwice(MemoryStore):
    """Writes the moving part of a resent enqueue, whatever became of the first."""

    def enqueue_one(self, new: NewRun, now: datetime) -> Enqueued:
        if new.id in self.t.run:
            for table in (self.t.held, self.t.ended, self.t.later):
                table.pop(new.id, None)
            self.t.put_ready(new.id, now)
        return super().enqueue_one(new, now)


class ForgetsKeys(MemoryStore):
    """Lets a second run take a key that belongs to a live one."""

    def _reuse(self, task: str, key: str, now: datetime) -> Enqueued | None:
        found = super()._reuse(task, key, now)
        return None if found is not None and found.reuse is Reuse.JOINED else found


class HoldsSlots(MemoryStore):
    """Never gives a slot back."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__(clock, tables=_Greedy())


class _Greedy(Tables):
    def free(self, run: UUID, now: datetime) -> None:
        """Keep it."""


class MarkStands(MemoryStore):
    """Fires without moving the mark, and without the second guard."""

    def _apply(self, plan: Any, now: datetime) -> Any:
        before = self.t.schedules[plan.row.name]
        row = msgspec.structs.replace(
            plan.row, fired_through=before.fired_through, next_fire=before.next_fire
        )
        fired = super()._apply(msgspec.structs.replace(plan, row=row), now)
        self.t.occurrences.clear()
        return fired


class ClaimsByAge(MemoryStore):
    """Takes the oldest first, whatever its priority."""

    def _claimable(self, queues: Sequence[str], tasks: Sequence[str], now: datetime) -> list[UUID]:
        return sorted(super()._claimable(queues, tasks, now))


class KeepsKeysOfNothing(MemoryStore):
    """Notes a key's instant a second late: no answer tells, only the rows do."""

    def enqueue_one(self, new: NewRun, now: datetime) -> Enqueued:
        answer = super().enqueue_one(new, now)
        if new.key is not None and answer.run == new.id:
            self.t.keys[new.task, new.key] = Key(new.id, now + timedelta(seconds=1))
        return answer


async def freed_by_completing(world: World) -> None:
    await test_limits.test_every_way_out_frees_the_slot_and_admits_the_next(world, "complete")


async def child_completed(world: World) -> None:
    await test_children.test_every_end_of_a_child_wakes_who_awaits_it(
        world, test_children.completed
    )


async def sent_again(world: World) -> None:
    await test_enqueue.test_a_resent_enqueue_does_not_bring_back_a_run_that_moved_on(world, False)


async def went_back(world: World) -> None:
    await test_ahead.test_its_time_goes_with_it_when_it_goes_back(world, "its holder died")


async def settled_by_a_receipt(world: World) -> None:
    await test_effects.test_whoever_waits_for_an_intent_goes_on_when_it_settles(world, "confirm")


Check = Callable[[World], Awaitable[None]]
CAUGHT_BY_CONTRACT: list[tuple[type[MemoryStore], Check]] = [
    (ClaimsForTheDead, test_claim.test_a_boot_that_is_unknown_dead_or_gone_claims_nothing),
    (RaisesTheDead, test_deaths.test_the_dead_stay_dead),
    (InsertsTwice, sent_again),
    (ForgetsKeys, test_enqueue.test_a_key_joins_the_live_run),
    (HoldsSlots, freed_by_completing),
    (MarkStands, test_firing.test_an_occurrence_fires_once),
    (ClaimsByAge, test_claim.test_higher_priority_goes_first_then_the_older_id),
    (NoFence, test_end.test_a_batch_answers_each_in_order),
    (ForgetsItsTime, went_back),
    (lasting.TheLastLogHolds, test_logs.test_the_log_that_tells_most_holds_whenever_it_comes),
    (lasting.LogsForEver, test_logs.test_only_the_newest_attempts_of_a_run_keep_theirs),
    (lasting.KeepsForAnyone, test_steps.test_a_note_without_its_fence_keeps_nothing),
    (lasting.KeepsDeaths, test_steps.test_what_is_kept_is_progress_that_forgives_deaths),
    (
        lasting.NotesBeforeTheFence,
        test_steps.test_the_note_of_an_ending_without_its_fence_is_not_kept,
    ),
    (lasting.LosesNotesOfEndings, test_steps.test_a_note_is_kept_in_the_commit_of_its_ending),
    (lasting.DoublesMessages, test_outbox.test_a_message_that_is_sent_again_is_not_doubled),
    (lasting.RelaysTogether, test_outbox.test_one_boot_relays_a_topic_until_its_lease_ends),
    (
        lasting.ForksTheStepItself,
        test_steps.test_a_fork_remembers_the_steps_before_the_one_it_begins_at,
    ),
    (lasting.ForksWhatWorks, test_steps.test_a_run_at_work_or_unknown_is_not_forked),
    (lasting.MissesWhatCameFirst, test_events.test_an_event_that_came_first_is_not_waited_for),
    (lasting.WakesAtTheFirst, test_events.test_a_group_is_awaited_as_a_whole),
    (lasting.ChildrenEndInSilence, child_completed),
    (lasting.ResendsOnIntend, test_effects.test_anothers_live_intent_is_waited_for),
    (lasting.IntendsUnfenced, test_effects.test_an_intent_without_its_fence_is_refused),
    (lasting.WithdrawsAnothers, test_effects.test_nobody_withdraws_anothers_intent),
    (
        lasting.BelievesWithoutProof,
        test_effects.test_not_performed_counts_only_when_the_sender_is_proven_gone,
    ),
    (lasting.DropsLateReceipts, test_effects.test_a_late_receipt_is_kept_and_ends_the_doubt),
    (
        lasting.ContradictsInSilence,
        test_effects.test_a_receipt_against_somebodys_word_is_kept_and_told,
    ),
    (lasting.DoubtsInSilence, test_effects.test_a_late_withdrawal_ends_the_doubt),
    (lasting.SettlesInSilence, settled_by_a_receipt),
    (lasting.SweepsTheLiving, test_effects.test_the_sweep_doubts_what_is_not_live_any_more),
    (lasting.DecidesBackwards, test_effects.test_a_batch_is_decided_in_order),
    (lasting.ForgetsDoubts, test_effects.test_only_what_is_done_and_long_over_is_forgotten),
    (breakers.LetsTwoProbe, test_breakers.test_one_of_all_who_ask_becomes_the_probe),
    (breakers.CountsResends, test_breakers.test_a_telling_that_is_sent_again_counts_once),
    (breakers.BelievesAnyProbe, test_breakers.test_only_the_leased_probe_closes_it),
    (breakers.ClosesInSilence, test_breakers.test_whoever_waits_goes_on_when_it_closes),
    (breakers.TellsNobody, test_breakers.test_an_incident_lasts_from_the_opening_to_the_closing),
    (
        telling.TellsWithoutOutbox,
        test_telling.test_a_notice_waits_until_it_arrived_and_never_changes_once_sealed,
    ),
    (telling.MarksNothing, test_telling.test_a_channel_is_told_what_opens_and_closes_once_each),
    (telling.LetsEverybodyTell, test_telling.test_one_boot_tells_a_channel_until_its_lease_ends),
    (
        telling.ChangesWhatIsSealed,
        test_telling.test_a_notice_waits_until_it_arrived_and_never_changes_once_sealed,
    ),
    (telling.WritesWhatIsLate, test_telling.test_a_drawing_that_lands_late_tells_nothing_twice),
    (telling.TrustsTheOrderOfCommits, test_telling.test_what_is_committed_late_is_told),
    (
        telling.RemindsForEver,
        test_telling.test_reminders_are_of_what_is_open_and_acknowledged_by_nobody,
    ),
]


@pytest.mark.parametrize(("planted", "check"), CAUGHT_BY_CONTRACT)
async def test_the_contract_catches(planted: type[MemoryStore], check: Check) -> None:
    await check(World(MemoryStore(lambda: T0)))
    with pytest.raises(AssertionError):
        await check(World(planted(lambda: T0)))


BEGINS = 0
"""Where the search for a story begins that betrays a planted bug, if no luckier place is known."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("planted", "begins"),
    [
        (NoFence, BEGINS),
        (InsertsTwice, BEGINS),
        (ForgetsKeys, BEGINS),
        (KeepsKeysOfNothing, BEGINS),
        (lasting.KeepsForAnyone, 2),
        (lasting.ResendsOnIntend, 4),
        (lasting.MissesWhatCameFirst, BEGINS),
        (breakers.LetsTwoProbe, BEGINS),
    ],
)
def test_the_machine_catches(planted: type[MemoryStore], begins: int) -> None:
    @seed(begins)
    class Pair(Agreement):
        async def make(self) -> Any:
            return planted(lambda: self.now)

    with pytest.raises((AssertionError, BaseExceptionGroup)):
        run_state_machine_as_test(Pair, settings=stories("planted"))
