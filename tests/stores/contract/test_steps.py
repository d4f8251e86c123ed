"""Notes: what an attempt keeps outlasts it, is fenced, and is kept whole or not at all."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from duly.core.runs import Answer, Ending, Origin, RunFilter
from duly.core.states import RunVerb
from duly.core.steps import FORKED, Note, Progress, Step, StepKind
from duly.errors import UnknownName
from duly.stores.base import Retention
from tests.stores.world import MINUTE, World, minutely, note

SECOND_US = 1_000_000


async def test_steps_are_remembered_in_order_with_the_stores_time(world: World) -> None:
    boot, run = await world.held()
    first, second = await world.twice(world.keep, boot, run, "a", "b")
    assert (first, second) == (Answer.DONE, Answer.DONE)
    memory = await world.store.remembered(run.id)
    assert memory.progress is None
    assert memory.steps == tuple(
        Step(name=name, number=i, value=b"[%d]" % i, at=world.now) for i, name in enumerate("ab")
    )


async def test_a_step_of_the_same_name_is_replaced(world: World) -> None:
    boot, run = await world.held()
    for value in (b"1", b"2"):
        step = Step(name="rows", number=3, kind=StepKind.CURSOR, value=value)
        kept = Note(run=run.id, epoch=run.epoch, steps=(step,))
        assert await world.store.keep(boot, [kept], now=world.turn(1)) == [Answer.DONE]
    [step] = (await world.store.remembered(run.id)).steps
    assert (step.kind, step.value, step.at) == (StepKind.CURSOR, b"2", world.now)


async def test_a_note_that_was_given_up_and_comes_late_takes_nothing_back(world: World) -> None:
    boot, run = await world.held()

    def note(turn: int, *more: Step) -> Note:
        rows = Step(name="rows", number=3, kind=StepKind.CURSOR, value=b"%d" % turn, turn=turn)
        return Note(run=run.id, epoch=run.epoch, steps=(rows, *more))

    for notes in ([note(2)], [note(1)], [note(1, Step(name="other", number=4))]):
        assert await world.store.keep(boot, notes, now=world.turn(1)) == [Answer.DONE]
    rows, other = (await world.store.remembered(run.id)).steps
    assert (rows.value, rows.turn, other.name) == (b"2", 2, "other")
    assert await world.store.keep(boot, [note(2)], now=world.turn(1)) == [Answer.DONE]
    assert (await world.store.remembered(run.id)).steps[0].at == world.now, "sent again"


async def test_a_note_without_its_fence_keeps_nothing(world: World) -> None:
    old, lost = await world.held()
    await world.store.leave(old, now=world.now)
    boot = await world.boot()
    [run] = await world.claim(boot)
    stranger = await world.boot()
    before = await world.store.snapshot()
    wrong = msgspec.structs.replace(run, epoch=run.epoch + 1)
    unknown = msgspec.structs.replace(run, id=world.new_id())
    for holder, fence in ((old, lost), (old, run), (stranger, run), (boot, wrong), (boot, unknown)):
        how = {"messages": (world.message(),), "runs": (world.new(),), "progress": Progress(done=1)}
        assert await world.keep(holder, fence, "a", **how) is Answer.STALE
    assert await world.store.snapshot() == before


async def test_each_note_of_a_batch_is_judged_by_itself(world: World) -> None:
    await world.enqueue()
    await world.enqueue()
    boot = await world.boot()
    one, other = await world.claim(boot)
    stale = msgspec.structs.replace(one, epoch=9)
    notes = [note(stale, "x"), note(other, "y"), note(one, "z"), note(other, "w")]
    answers, _ = await world.twice(world.store.keep, boot, notes, now=world.now)
    assert answers == [Answer.STALE, Answer.DONE, Answer.DONE, Answer.DONE]
    assert [await world.steps(run.id) for run in (one, other)] == [["z"], ["w", "y"]]


async def test_what_ended_keeps_nothing_more(world: World) -> None:
    boot, run = await world.held()
    await world.complete(boot, run)
    assert await world.keep(boot, run, "a") is Answer.STALE
    assert await world.steps(run.id) == []


async def test_what_is_kept_is_progress_that_forgives_deaths(world: World) -> None:
    boot, run = await world.held()
    await world.die(boot)
    boot = await world.boot()
    [run] = await world.claim(boot)
    assert run.deaths == 1
    await world.keep(boot, run, "a")
    assert (await world.view(run.id)).deaths == 0


async def test_steps_outlast_deaths_retries_and_releases(world: World) -> None:
    boot, run = await world.held()
    await world.keep(boot, run, "a")
    await world.die(boot)
    boot = await world.boot()
    [run] = await world.claim(boot)
    await world.end(boot, run, RunVerb.RETRY, delay_us=0)
    await world.store.promote(now=world.now)
    [run] = await world.claim(boot)
    await world.end(boot, run, RunVerb.RELEASE)
    assert await world.steps(run.id) == ["a"]


async def test_a_note_is_kept_in_the_commit_of_its_ending(world: World) -> None:
    for verb in (RunVerb.COMPLETE, RunVerb.FAIL, RunVerb.PARK, RunVerb.RETRY):
        boot, run = await world.held()
        kept = note(run, "last", messages=(world.message(),), progress=Progress(done=2, total=2))
        answers = await world.twice(world.end, boot, run, verb, note=kept, delay_us=0)
        assert answers == (Answer.DONE, Answer.ALREADY)
        assert await world.steps(run.id) == ["last"]
        assert (await world.view(run.id)).progress == Progress(done=2, total=2, at=world.now)
    [waiting] = await world.store.outbox()
    assert waiting.count == 4


async def test_the_note_of_an_ending_without_its_fence_is_not_kept(world: World) -> None:
    _, run = await world.held()
    stranger = await world.boot()
    kept = note(run, "last", messages=(world.message(),), runs=(world.new(),))
    before = await world.store.snapshot()
    assert await world.end(stranger, run, RunVerb.COMPLETE, note=kept) is Answer.STALE
    assert await world.store.snapshot() == before


async def test_a_note_is_kept_though_the_ending_becomes_a_cancelling(world: World) -> None:
    boot, run = await world.held()
    await world.store.cancel(run.id, by="bob", reason="no", now=world.now)
    assert await world.end(boot, run, RunVerb.RETRY, note=note(run, "a")) is Answer.DONE
    assert (await world.state(run.id), await world.steps(run.id)) == ("cancelled", ["a"])


async def test_a_batch_of_endings_with_and_without_notes_keeps_its_order(world: World) -> None:
    await world.store.enqueue([world.new() for _ in range(4)], now=world.now)
    boot = await world.boot()
    runs = await world.claim(boot)
    endings = [
        Ending(run=run.id, epoch=run.epoch, verb=RunVerb.COMPLETE, note=kept)
        for run, kept in zip(
            runs, [None, note(runs[1], "b"), None, note(runs[3], "d")], strict=True
        )
    ]
    first, second = await world.twice(world.store.end, boot, endings, now=world.now)
    assert (first, second) == ([Answer.DONE] * 4, [Answer.ALREADY] * 4)
    assert [await world.steps(run.id) for run in runs] == [[], ["b"], [], ["d"]]


async def test_progress_replaces_progress_and_is_shown(world: World) -> None:
    boot, run = await world.held()
    await world.keep(boot, run, progress=Progress(done=1, total=9, note="so", published=2))
    await world.keep(boot, run, progress=Progress(done=5, effects=7))
    shown = Progress(done=5, effects=7, at=world.now)
    assert (await world.view(run.id)).progress == shown
    assert [one.progress for one in await world.store.runs(RunFilter())] == [shown]
    assert (await world.store.remembered(run.id)).progress == shown
    await world.keep(boot, run, "a")
    assert (await world.view(run.id)).progress == shown


async def test_steps_and_progress_go_with_their_run(world: World) -> None:
    boot, run = await world.held()
    await world.keep(boot, run, "a", progress=Progress(done=1))
    await world.complete(boot, run)
    await world.store.prune(Retention(history=timedelta(0)), now=world.turn(1))
    rows = await world.store.snapshot()
    assert (rows["steps"], rows["progress"]) == ({}, {})


async def test_nothing_is_remembered_of_a_run_that_kept_nothing(world: World) -> None:
    memory = await world.store.remembered(world.new_id())
    assert (memory.steps, memory.progress) == ((), None)


# --- forks --------------------------------------------------------------------------------


async def test_a_fork_remembers_the_steps_before_the_one_it_begins_at(world: World) -> None:
    boot, run = await world.held(args=b'{"x":1}', key="k")
    await world.keep(boot, run, "a", "b", "c")
    await world.end(boot, run, RunVerb.FAIL, error="boom")
    new, how = world.new_id(), {"at": "b", "by": "bob", "now": world.turn(1)}
    answers = await world.twice(world.store.fork, run.id, new=new, **how)
    assert answers == (Answer.DONE, Answer.ALREADY)
    assert await world.steps(new) == [FORKED, "a"]
    root, kept = (await world.store.remembered(new)).steps
    assert (root.name, root.number, root.kind) == (FORKED, -1, StepKind.FORK)
    assert root.value == msgspec.json.encode(str(run.id))
    assert kept == Step(name="a", number=0, value=b"[0]", at=world.now)
    view = await world.view(new)
    assert (view.origin, view.key, view.asked_by) == (Origin.FORK, None, "bob")
    assert (view.args, view.state) == (b'{"x":1}', "ready")
    assert await world.state(run.id) == "failed"


async def test_a_live_run_is_cancelled_by_its_fork(world: World) -> None:
    boot, run = await world.held()
    await world.end(boot, run, RunVerb.PARK, reason="so", note=note(run, "a"))
    new = world.new_id()
    answer = await world.store.fork(run.id, at="a", new=new, by="bob", now=world.now)
    assert answer is Answer.DONE
    view = await world.view(run.id)
    assert (view.state, view.reason) == ("cancelled", f"bob: forked as {new}")
    assert await world.steps(new) == [FORKED]


async def test_a_run_at_work_or_unknown_is_not_forked(world: World) -> None:
    boot, run = await world.held()
    await world.keep(boot, run, "a")
    before = await world.store.snapshot()
    how = {"new": world.new_id(), "by": "bob", "now": world.now}
    assert await world.store.fork(run.id, at="a", **how) is Answer.IMPOSSIBLE
    assert await world.store.fork(world.new_id(), at="a", **how) is Answer.UNKNOWN
    with pytest.raises(UnknownName, match="nowhere"):
        await world.store.fork(run.id, at="nowhere", **how)
    assert await world.store.snapshot() == before


async def test_a_fork_of_a_fork_goes_on_with_the_first_ones_effects(world: World) -> None:
    boot, run = await world.held()
    await world.end(boot, run, RunVerb.FAIL, note=note(run, "a", "b"))
    first, second = world.new_id(), world.new_id()
    await world.store.fork(run.id, at="b", new=first, by="bob", now=world.now)
    await world.store.fork(first, at="a", new=second, by="bob", now=world.now)
    assert await world.steps(second) == [FORKED]
    [root] = (await world.store.remembered(second)).steps
    assert root.value == msgspec.json.encode(str(run.id))
    assert await world.state(first) == "cancelled"


async def test_a_fork_stands_for_the_same_occurrence_and_takes_nothing_from_it(
    world: World,
) -> None:
    await world.declare(minutely())
    [(_, due, run)] = (await world.fire(MINUTE)).fired
    boot = await world.boot()
    [claimed] = await world.claim(boot)
    await world.end(boot, claimed, RunVerb.FAIL, note=note(claimed, "a"))
    new = world.new_id()
    await world.store.fork(run, at="a", new=new, by="bob", now=world.now)
    view = await world.view(new)
    assert (view.schedule, view.due) == ("s", due)
    assert (await world.fire()).fired == ()


async def test_a_fork_of_a_limited_run_waits_for_its_slot(world: World) -> None:
    boot, run = await world.held(limit_key="l", limit=1)
    await world.end(boot, run, RunVerb.FAIL, limited=True, note=note(run, "a"))
    await world.enqueue(limit_key="l", limit=1)
    new = world.new_id()
    await world.store.fork(run.id, at="a", new=new, by="bob", now=world.now)
    view = await world.view(new)
    assert (view.state, view.reason) == ("waiting", "limit:l")
