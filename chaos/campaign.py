"""The trials by name, in the order the campaign takes them, and how one is taken.

Every trial has a place of its own: a fresh file, or a fresh database of the given server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from chaos.journal import now_s
from chaos.places import Place, place_for
from chaos.report import Report
from chaos.scale import Scale
from chaos.scenarios import (
    clocks,
    contract,
    effects,
    frozen,
    iteration,
    lines,
    outage,
    points,
    poison,
    quarantine,
    rolling,
    steps,
    storm,
    supervised,
    takeover,
    target,
    transaction,
    twins,
    upgrade,
    zombie,
)
from tests.servers import Server

TRIALS: Mapping[str, Callable[[Place, Scale], Awaitable[Report]]] = {
    "storm": storm.try_it,
    "takeover": takeover.try_proven,
    "takeover-apart": takeover.try_apart,
    "outage": outage.try_restarts,
    "absence": outage.try_absence,
    "full-disk": outage.try_full_disk,
    "cut-off": outage.try_cut_off,
    "zombie": zombie.try_it,
    "rolling": rolling.try_restarts,
    "blocked-loop": rolling.try_blocked_loop,
    "poison": poison.try_it,
    "clocks": clocks.try_it,
    "clock-steps": clocks.try_steps,
    "eight-hours": clocks.try_absence,
    "transaction": transaction.try_it,
    "steps": steps.try_it,
    "iteration": iteration.try_it,
    "effects": effects.try_it,
    "quarantine": quarantine.try_it,
    "points": points.try_it,
    "points-seldom": points.try_seldom,
    "frozen": frozen.try_it,
    "upgrade": upgrade.try_it,
    "clone": twins.try_clone,
    "namesakes": twins.try_namesakes,
    "terminations": outage.try_terminations,
    "cut-commits": lines.try_commits,
    "half-open": lines.try_silence,
    "late-answers": lines.try_late_answers,
    "target": target.try_it,
    "contract": contract.try_it,
    "supervised": supervised.try_it,
}
NAMES = tuple(TRIALS)
BY_MINUTES = frozenset({"storm", "terminations"})
UNCOUNTED = frozenset(
    {"storm", "absence", "eight-hours", "transaction", "steps", "terminations", "late-answers"}
    | {"target", "contract", "supervised"}
)
"""Trials whose faults have no number of times that could be another one."""


async def take(name: str, server: Server | None, scale: Scale) -> Report:
    """Take one trial in a fresh place."""
    async with place_for(server) as place:
        begun_s = now_s()
        report = await TRIALS[name](place, scale)
        report.seconds, report.full = round(now_s() - begun_s, 1), scale.full
        report.times = scale.times
        report.command = command_of(name, report.store, scale)
        return report


def command_of(name: str, store: str, scale: Scale) -> str:
    """Return what a person types to take this trial again."""
    line = f"python -m chaos --store {store} --what {name}"
    if scale.full and name in BY_MINUTES:
        line += f" --minutes {scale.minutes:g}"
    if scale.times is not None:
        line += f" --times {scale.times}"
    return line if scale.full else f"{line} --gate"


FAULTS: Mapping[str, str] = {
    "storm": "kill -9 of a random worker, 1,000 schedules",
    "takeover": "kill -9 of the holder of a run",
    "takeover-apart": "kill -9 of a holder in a PID namespace of its own",
    "outage": "PostgreSQL stopped (`immediate` × 50, `fast` × 5); SQLite locked by a stranger",
    "absence": "the store away for four leases",
    "full-disk": "disk full, then grown",
    "cut-off": "every connection ended at once",
    "zombie": "SIGSTOP of a holder beyond its lease",
    "rolling": "SIGTERM of one worker after the other",
    "blocked-loop": "user code holds the event loop for two leases",
    "poison": "a run that ends its process each time",
    "clocks": "one clock of three set by ±30 s, +1 h, −2 h",
    "clock-steps": "the store's clock set by ±30 s, +1 h, −2 h, and a kill",
    "eight-hours": "nobody there for eight hours, each policy of catching up",
    "transaction": "a user's transaction that stays open",
    "steps": "kill -9 at each boundary of fifty steps",
    "iteration": "kill -9 in the middle of an iteration",
    "effects": "lost answers of a target, kills and freezes",
    "quarantine": "a sender frozen between its intent and its first byte",
    "points": "kill -9 at each named point of every verb, and kills that bring rare ones about",
    "points-seldom": "the same for chores, joining and renewing, alone",
    "frozen": "SIGSTOP of a random worker for one to three leases",
    "upgrade": "rolling from the former schema's code to this and back",
    "clone": "two workers with one boot id: a copied machine",
    "namesakes": "kill -9 among workers of one host name and process id",
    "terminations": "five connections a second ended by the server",
    "cut-commits": "commits cut by a proxy, request or answer",
    "half-open": "all sockets of a worker fall silent and stay open",
    "late-answers": "every answer two seconds late",
    "target": "a target that fails by half, is dead for an hour (in fiftieths), and is back",
    "contract": "targets whose contract changed, our own bug, a breaker that a person holds open",
    "supervised": "loops that raise, hang, or cling to life, and a store away for ten minutes",
}
LESSER: Mapping[str, str] = {
    "storm": "kill -9 of a random worker, 100 schedules",
    "target": "a target that fails by half, is dead for five seconds, and is back",
    "supervised": "loops that raise, hang, or cling to life, and a store away for four seconds",
}
"""What the gate's share of a trial is, where the words of the campaign would say too much."""
