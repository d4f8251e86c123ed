"""Causes in what runs act upon: effects, breakers, and the calls that timers make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from duly import Duly
from duly.core.breakers import Ask, BreakerPolicy, Came, Report
from duly.core.effects import Doubt, Intend, Outcome, Posted, Resolve
from duly.core.runs import Claimed
from duly.core.states import BreakerVerb, RunVerb
from duly.core.timers import read_timer
from duly.core.why import Cause
from duly.engine.halting import Halting
from duly.engine.telling import Telling
from duly.testing.hand import Hand
from tests.app.test_calling import script
from tests.outbound.peers import HOST, Http1, served
from tests.outbound.test_http import silent
from tests.stores.world import HOUR, awaits
from tests.why.scene import Asked, Scene, Table

targets = Table()
C = Cause

# --- effects ----------------------------------------------------------------------------------


async def intended(s: Scene) -> tuple[Any, Claimed, Intend]:
    """An effect that a run on its way intended."""
    boot, run = await s.held()
    sent = s.intend(boot, run)
    await s.post(sent)
    return boot, run, sent


async def in_doubt(s: Scene) -> tuple[Any, Claimed, Intend]:
    """An effect of which nobody knows what came, with the run that is parked for it."""
    boot, run, sent = await intended(s)
    await s.post(Doubt(address=sent.address, intent=sent.intent, why="reset by peer"))
    await s.wait(boot, run, *awaits("effect:t pay k"), verb=RunVerb.PARK, reason="uncertain")
    return boot, run, sent


async def resolve(s: Scene, sent: Intend, *, performed: bool, reason: str) -> Posted:
    """Let anna say what became of an effect."""
    said = Resolve(address=sent.address, performed=performed, by="anna", reason=reason,
                   accept_double=False)  # fmt: skip
    return await s.post(said)


@targets(C.EFFECT_DONE, "done at 2026-01-05 00:00:00 +00:00 (now) by the run")
async def an_effect_that_is_done(s: Scene) -> Asked:
    """Its sender got a receipt."""
    _, run, sent = await intended(s)
    await s.post(s.confirm(sent))
    return Asked("t pay k", ('receipt: "ok"', "attempt 1 on host:1"), (str(run.id),))


@targets(C.EFFECT_DONE_BY_WORD, "done at 2026-01-05", "by the word of anna: the bank has it")
async def an_effect_done_by_word(s: Scene) -> Asked:
    """Nobody knew what came of it, until a person found out that it was performed."""
    _, _, sent = await in_doubt(s)
    await resolve(s, sent, performed=True, reason="the bank has it")
    return Asked("t pay k", ("became uncertain at 2026-01-05", "said to be performed by anna"))


@targets(C.EFFECT_IN_FLIGHT, "in flight, believed to be on its way until 2026-01-05 00:00:35")
async def an_effect_on_its_way(s: Scene) -> Asked:
    """It was intended a moment ago, and its send deadline is not over."""
    _, run, _ = await intended(s)
    return Asked("t pay k", (f"by the run {run.id} of t",), (str(run.id),))


@targets(C.EFFECT_LATE, "in flight, late, but its run is in hand")
async def an_effect_that_is_late(s: Scene) -> Asked:
    """Its send deadline is over, but the run that intended it is still in the same hands."""
    _, run, _ = await intended(s)
    s.turn(HOUR)
    return Asked("t pay k", ("the send deadline was 2026-01-05 00:00:30",), (str(run.id),))


@targets(C.EFFECT_GIVEN_UP, "in flight, given up since 2026-01-05 00:00:35 +00:00")
async def an_effect_given_up(s: Scene) -> Asked:
    """Its send deadline is over, its run has left those hands, and no sweep has come by."""
    boot, run, _ = await intended(s)
    await s.end(boot, run, RunVerb.RELEASE, reason="handed back at a stop")
    s.turn(HOUR)
    return Asked("t pay k", ("the next sweep makes it uncertain",), (str(run.id),))


@targets(
    C.EFFECT_UNCERTAIN,
    "uncertain since 2026-01-05 00:00:00 +00:00 (now): reset by peer",
    also=(C.SENDER_MAY_LIVE,),
)
async def an_uncertain_effect(s: Scene) -> Asked:
    """Its connection broke after the first byte, and its process could still send it: a person's
    word that it was not performed is refused so long."""
    _, run, sent = await in_doubt(s)
    refused = await resolve(s, sent, performed=False, reason="the bank knows nothing")
    assert refused.outcome is Outcome.REFUSED
    told = "the process that intended it (host:1) is not known to be gone"
    return Asked("t pay k", (told, "--not-performed --reason WHY"), (str(run.id),))


@targets(C.EFFECT_OPEN_AGAIN, "open again: nothing is intended, done or uncertain there")
async def an_effect_that_is_open_again(s: Scene) -> Asked:
    """A person said that it was not performed, once its process was proven gone."""
    boot, _, sent = await in_doubt(s)
    await s.die(boot)
    await resolve(s, sent, performed=False, reason="the bank knows nothing")
    return Asked("t pay k", ("said not to be performed by anna", "the bank knows nothing"))


@targets(C.EFFECT_OPEN, "open: nothing is intended, done or uncertain there")
async def an_effect_nobody_asked_for(s: Scene) -> Asked:
    """Nothing is on record under its key; one like it is."""
    _, _, sent = await intended(s)
    await s.post(s.confirm(sent))
    return Asked("t pay kk", ("on record are: t pay k", "forgotten 400 days after"))


@targets(
    C.WAITS_FOR_EFFECT,
    "waits for the effect t pay k, which run",
    also=(
        C.ASKED_FOR,
        C.WAITED,
    ),
)
async def a_run_waits_for_an_effect(s: Scene) -> Asked:
    """Another run performs the same effect, and it waits for what comes of that."""
    boot, first, _ = await intended(s)
    second = await s.enqueue()
    [claimed] = await s.claim(boot)
    await s.wait(boot, claimed, *awaits("effect:t pay k"), reason="effect:t pay k")
    told = f"run {first.id} on host:1 performs since 2026-01-05 00:00:00"
    return Asked(str(second), (told, "until 2026-01-05 00:00:35"), (str(first.id), "t pay k"))


@targets(
    C.EFFECT_NOT_BEGUN,
    "waits until its effect can be begun: t pay k: OSError: away",
    also=(
        C.ASKED_FOR,
        C.WAITED,
    ),
)
async def a_run_waits_to_begin_its_effect(s: Scene) -> Asked:
    """What it needs before its effect is away, so nothing is intended yet."""
    boot, run = await s.held()
    reason = "before t pay k: OSError: away"
    await s.end(boot, run, RunVerb.WAIT, reason=reason, delay_us=3_600_000_000)
    return Asked(str(run.id), ("it is asked again at 2026-01-05 01:00:00", "no retry is spent"))


@targets(
    C.PARKED_UNCERTAIN,
    "parked: uncertain: nobody knows whether t pay k was performed",
    also=(
        C.ASKED_FOR,
        C.WAS_PARKED,
        C.SENDER_MAY_LIVE,
    ),
)
async def a_run_parked_in_doubt(s: Scene) -> Asked:
    """Nobody knows whether its effect was performed, and it is never guessed."""
    _, run, _ = await in_doubt(s)
    told = "in doubt since 2026-01-05 00:00:00 +00:00 (now): reset by peer"
    resolve = "duly effects resolve t pay k --performed --reason WHY"
    return Asked(str(run.id), (told, resolve), ("t pay k",))


@targets(
    C.PARKED_UNCERTAIN,
    "parked: uncertain",
    "which another run intended",
    also=(
        C.ASKED_FOR,
        C.WAS_PARKED,
    ),
)
async def a_run_parked_by_another_doubt(s: Scene) -> Asked:
    """It asked for an effect of which another run left nobody knowing; its process is gone."""
    boot, first, _ = await in_doubt(s)
    await s.die(boot)
    heir, run = await s.held()
    await s.end(heir, run, RunVerb.PARK, reason="uncertain")
    assert first.id != run.id
    return Asked(str(run.id), ("t pay k is in doubt since",), ("t pay k",))


# --- breakers ---------------------------------------------------------------------------------

POLICY = BreakerPolicy(threshold=2, pause=HOUR, slowest=2 * HOUR, jitter=0)


async def fail(s: Scene, *, times: int = 2, name: str = "bank") -> None:
    """Count failures against a target."""
    report = Report(breaker=name, came=Came.BROKEN, policy=POLICY, fault="server_error",
                    error="POST bank:443 was answered with 502", who="pay")  # fmt: skip
    await s.store.breaker_tell(s.new_id(), s.new_id(), [report] * times, now=s.now)


async def say(s: Scene, verb: BreakerVerb, name: str = "bank") -> None:
    """Let anna move a breaker."""
    await s.store.breaker_move(name, verb, by="anna", why="they rang", now=s.now)


@targets(C.BREAKER_UNKNOWN, "closed: nothing is known against this target")
async def a_target_nobody_knows(s: Scene) -> Asked:
    """Nothing was ever counted against it; one of a like name is known."""
    await fail(s)
    return Asked("breaker:bnak", ("on record are: bank",))


@targets(C.BREAKER_COUNTING, "closed: calls pass, with 1 failure counted")
async def a_failure_was_counted(s: Scene) -> Asked:
    """Calls failed, but not as often as it takes to open it."""
    await fail(s, times=1)
    return Asked("breaker:bank", ("the last failure of pay, at 2026-01-05 00:00:00", "with 502"))


@targets(C.BREAKER_OPEN, "open since 2026-01-05 00:00:00 +00:00 (now) after 2 × server error")
async def it_opened_by_itself(s: Scene) -> Asked:
    """Calls failed so often in a row that it opened; a run waits for it."""
    await fail(s)
    boot, run = await s.held()
    await s.end(boot, run, RunVerb.WAIT, reason="breaker:bank", delay_us=3_600_000_000)
    told = ("next probe at 2026-01-05 01:00:00 +00:00 (in 1 h)", "2 failures in a row")
    return Asked("breaker:bank", (*told, f"waiting for it: {run.id}"), (str(run.id),))


@targets(
    C.BREAKER_OPEN,
    "open since 2026-01-05 00:00:00 +00:00 (2 h ago) after 2 × server error",
    "its pause is over: the next call probes",
)
async def its_pause_is_over(s: Scene) -> Asked:
    """It opened, its pause is over, and nobody has called since."""
    await fail(s)
    s.turn(2 * HOUR)
    return Asked("breaker:bank", ("duly breakers resume bank --why WHY",))


@targets(C.BREAKER_PROBED, "half open since 2026-01-05 00:00:00", "a probe is under way until")
async def a_probe_is_under_way(s: Scene) -> Asked:
    """Its pause is over, and one leased call tries it."""
    await fail(s)
    s.turn(HOUR)
    boot = await s.boot()
    await s.store.breaker_calls(boot, [Ask("bank", s.new_id())], now=s.now)
    return Asked("bank", ("until 2026-01-05 01:00:30 +00:00 (in 30 s)",), (f"instance:{boot}",))


@targets(C.BREAKER_PROBE_DUE, "half open since 2026-01-05 00:00:00", "the next call probes")
async def a_person_asked_for_a_probe(s: Scene) -> Asked:
    """A person let the next call probe, ahead of its time."""
    await fail(s)
    await say(s, BreakerVerb.PROBE)
    return Asked("bank", ("2026-01-05 00:00:00 +00:00 (now) probe by anna: they rang",))


@targets(C.BREAKER_HELD_OPEN, "held open by anna since 2026-01-05 00:00:00 +00:00", "they rang")
async def a_person_holds_it_open(s: Scene) -> Asked:
    """A person forced it open."""
    await say(s, BreakerVerb.FORCE_OPEN)
    return Asked("bank", ("force_open by anna", "duly breakers resume bank --why WHY"))


@targets(C.BREAKER_HELD_CLOSED, "held closed by anna: they rang")
async def a_person_holds_it_closed(s: Scene) -> Asked:
    """A person forced it closed."""
    await say(s, BreakerVerb.FORCE_CLOSE)
    return Asked("bank", ("force_close by anna",))


@targets(C.BREAKER_CLOSED, "closed: calls pass")
async def a_person_resumed_it(s: Scene) -> Asked:
    """It was open, and a person closed it again."""
    await fail(s)
    await say(s, BreakerVerb.RESUME)
    return Asked("bank", ("trip: 2 failures in a row", "resume by anna: they rang"))


@targets(
    C.WAITS_FOR_BREAKER,
    "waits for the breaker bank, open since 2026-01-05 00:00:00",
    also=(
        C.ASKED_FOR,
        C.WAITED,
        C.BREAKER_OPEN,
    ),
)
async def a_run_waits_for_a_breaker(s: Scene) -> Asked:
    """Its target is broken, so it was not begun, and spends no retry."""
    await fail(s)
    boot, run = await s.held()
    await s.end(boot, run, RunVerb.WAIT, reason="breaker:bank", delay_us=3_600_000_000)
    told = ("after 2 × server error; next probe at 2026-01-05 01:00:00", "no retry is spent")
    return Asked(str(run.id), (*told, "with 502"), ("breaker:bank",))


@targets(
    C.WAITS_FOR_BREAKER,
    "waits for the breaker bank, held open by anna since",
    also=(
        C.ASKED_FOR,
        C.WAITED,
        C.BREAKER_HELD_OPEN,
    ),
)
async def a_run_waits_for_a_held_breaker(s: Scene) -> Asked:
    """A person holds the breaker of its target open."""
    await say(s, BreakerVerb.FORCE_OPEN)
    boot, run = await s.held()
    await s.end(boot, run, RunVerb.WAIT, reason="breaker:bank", delay_us=3_600_000_000)
    return Asked(str(run.id), ("they rang",), ("breaker:bank",))


@targets(
    C.CAME_ABOUT,
    "waits for the breaker bank, which is closed; it looks again at 2026-01-05 01:00:00",
    also=(
        C.ASKED_FOR,
        C.WAITED,
        C.WAITS_FOR_BREAKER,
    ),
)
async def a_breaker_that_closed_again(s: Scene) -> Asked:
    """It began to wait for a breaker a moment after that closed."""
    boot, run = await s.held()
    await s.end(boot, run, RunVerb.WAIT, reason="breaker:bank", delay_us=3_600_000_000)
    return Asked(str(run.id), ("the next sweep of a live worker wakes",), ("breaker:bank",))


# --- timers -----------------------------------------------------------------------------------


async def timer(s: Scene, answers: Sequence[Any], **fields: Any) -> tuple[Hand, str]:
    """A timer whose target answers so, called once; its hand, and the run."""
    peer = Http1(script(*answers))
    await s.stack.enter_async_context(served(peer))
    allowed = f"{HOST}:{peer.port}"
    app = Duly("memory://", settings={"calls_allow": (allowed,), "calls_plain_http": True})
    app.carry_calls(retries=2, backoff="1s")
    hand = await s.hand(app)
    given = {"every": "10m", "url": f"http://{allowed}/prices"} | fields
    found, faults = read_timer("pulse", given, app.settings.calls.rules)
    assert found is not None, faults
    await hand.client.save_timer(found.definition, by="ann")
    run = await hand.client.test_timer("pulse", by="ann")
    await hand.run_due()
    return hand, str(run)


@targets(
    C.CALL_REFUSED,
    "failed for good at",
    "404",
    also=(
        C.TRIGGERED,
        C.FAILED_PERMANENTLY,
    ),
)
async def a_route_that_is_gone(s: Scene) -> Asked:
    """A timer's target answered 404: nobody serves the route any more."""
    _, run = await timer(s, [404])
    return Asked(run, ("progress: answered 404: route not found", "triggered by ann for pulse"))


@targets(
    C.CALL_REFUSED,
    "failed for good at",
    "500",
    also=(
        C.TRIGGERED,
        C.ATTEMPT_FAILED,
        C.FAILED,
    ),
)
async def a_target_that_fails(s: Scene) -> Asked:
    """A timer's target answered 500, as often as the retries allow."""
    hand, run = await timer(s, [500])
    await hand.tick("1m")
    return Asked(run, ("progress: answered 500: server error", "attempt 2 ran on hand"))


@targets(
    C.CALL_UNANSWERED,
    "failed for good at",
    "its answer was lost",
    also=(
        C.TRIGGERED,
        C.ATTEMPT_FAILED,
        C.FAILED,
    ),
)
async def a_target_that_does_not_answer(s: Scene) -> Asked:
    """A timer's target hung up without a word, as often as the retries allow."""
    hand, run = await timer(s, [silent])
    await hand.tick("1m")
    return Asked(run, ("progress: connection failed", "attempt 2 ran on hand"))


@targets(
    C.CALL_VANISHED,
    "failed for good at",
    "was not said to be done within 0:05:00",
    also=(
        C.TRIGGERED,
        C.WAITED,
        C.FAILED_PERMANENTLY,
    ),
)
async def a_call_that_vanished(s: Scene) -> Asked:
    """A timer's target answered 202, and never said that it was done."""
    hand, run = await timer(s, [202], completion="5m", method="POST")
    await hand.tick("6m")
    return Asked(run, ("progress: answered 202: vanished",))


@targets(
    C.WAITS_FOR_TARGET,
    "its call was started (202): waits for its target to say more",
    also=(
        C.TRIGGERED,
        C.WAITED,
    ),
)
async def a_call_that_has_started(s: Scene) -> Asked:
    """A timer's target answered 202, and has not said that it is done."""
    _, run = await timer(s, [202], completion="5m", method="POST")
    return Asked(run, ("until 2026-01-05 00:05:00 +00:00 (in 5 min) at the latest",))


@targets(
    C.PARKED_UNCERTAIN,
    "parked: uncertain: nobody knows whether http http",
    also=(
        C.TRIGGERED,
        C.WAS_PARKED,
        C.SENDER_MAY_LIVE,
    ),
)
async def a_call_nobody_knows_of(s: Scene) -> Asked:
    """A timer's POST was answered 500: it may have been performed, or not."""
    _, run = await timer(s, [500], method="POST")
    return Asked(run, ("progress: answered 500: server error",))


@targets(
    C.TRIPPED,
    "tripped since",
    "its breaker is open",
    also=(
        C.MADE_BY_PERSON,
        C.BREAKER_OPEN,
    ),
)
async def a_timer_that_tripped(s: Scene) -> Asked:
    """A timer's target answered 404 five times in a row, so it is called no more for now."""
    hand, _ = await timer(s, [404])
    await hand.tick("40m")
    telling = Telling(hand.app.bus, s.clock)
    await Halting(s.store, s.tasks, clock=s.clock, telling=telling).turn()
    told = ("after 5 × route not found, last 404 from GET http://", "/prices; next probe at 2026-",
            "was answered with 404", f"it calls GET http://{HOST}:",
            "duly breakers probe schedule:pulse --why WHY",
            "duly breakers resume schedule:pulse --why WHY")  # fmt: skip
    return Asked("timer:pulse", told, ("breaker:schedule:pulse",))


@targets(C.ACTIVE, "active: fires next at 2026-01-05 00:20:00 +00:00", also=(C.MADE_BY_PERSON,))
async def a_timer_that_works(s: Scene) -> Asked:
    """A timer's target answers as it should."""
    hand, _ = await timer(s, [200])
    await hand.tick("10m")
    return Asked("pulse", ("it is a timer", "succeeded; its call: answered 200: success"))
