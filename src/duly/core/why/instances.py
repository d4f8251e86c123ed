"""Why an instance does or does not work: there, absent, stopping, gone, or declared dead.

A death is told with its proof, because what may be believed of it differs: of a process that is
gone nothing can wake up again, while one that lost its lease may live on, and is fenced.
"""

from __future__ import annotations

from collections.abc import Sequence

from duly.core.fleet import PRESENT, Incident, Instance, InstanceState, Proof
from duly.core.runs import RunView
from duly.core.why.causes import Cause
from duly.core.why.evidence import SHOWN, Explanation, Fleet, Standing, explanation
from duly.core.why.incidents import see_incident

_FENCED = (
    "if it still lives, nothing that it writes takes effect: it cancels its work, and comes back"
    " as another boot"
)

_DEATHS = (
    (Proof.PROCESS.value, Cause.INSTANCE_DIED, "nothing of it can wake up again"),
    (Proof.SESSION.value, Cause.INSTANCE_CUT_OFF, _FENCED),
    (Proof.LEASE.value, Cause.INSTANCE_LOST_LEASE, _FENCED),
)
"""What each way of noticing a death is called, and what may be believed of the dead."""

_PART = (
    ("supervisor.tripped", Cause.SUPERVISOR_TRIPPED),
    ("cluster.gone", Cause.CLUSTER_GONE),
)
"""Incidents of an instance that are a cause of how it stands, or of what came of that."""


def explain_instance(
    one: Instance,
    fleet: Fleet,
    *,
    holds: Sequence[RunView] = (),
    incidents: Sequence[Incident] = (),
) -> Explanation:
    """Say whether it works, and why not. `holds` are runs in its hands, `incidents` of it."""
    began = "" if one.started_at is None else f" from {fleet.at(one.started_at)}"
    tasks = ", ".join(one.tasks[:SHOWN]) + (", …" if len(one.tasks) > SHOWN else "")
    story = [f"{one.owner} {one.version}, boot {one.boot}{began}; carries {tasks or 'no tasks'}"]
    story += [f"holds the run {run.id} of {run.task}" for run in holds[:SHOWN]]
    story += [f"{it.kind}: {it.summary}" for it in incidents[:SHOWN]]
    of_it = [cause for kind, cause in _PART if any(it.kind == kind for it in incidents)]
    return explanation(
        f"instance {one.name}",
        _standing(one, fleet),
        story=story,
        also=of_it,
        see=[
            *(str(run.id) for run in holds[:SHOWN]),
            *(see_incident(it) for it in incidents[:SHOWN]),
        ],
    )


def _standing(one: Instance, fleet: Fleet) -> Standing:
    seen = "never seen" if one.seen_at is None else f"last seen {fleet.at(one.seen_at)}"
    match one.state:
        case InstanceState.LIVE if one.seen_at is None or one.seen_at <= fleet.now - PRESENT:
            return _absent(one, seen, fleet)
        case InstanceState.LIVE if _lapsed(one, fleet):
            return _absent(one, seen, fleet)
        case InstanceState.LIVE:
            if one.held:
                told = f"works: holds {_runs(one.held)}, {seen}"
                return Standing(Cause.INSTANCE_WORKS, told, since=one.started_at)
            return Standing(Cause.INSTANCE_IDLE, f"there, and holds nothing, {seen}")
        case InstanceState.STOPPING:
            told = f"stopping: it claims nothing more, and still holds {_runs(one.held)}; {seen}"
            causes = ["what does not end within its grace is handed back, and spends no retry"]
            return Standing(Cause.INSTANCE_STOPPING, told, causes)
        case InstanceState.GONE:
            why = f": {one.reason}" if one.reason else ""
            told = f"left by itself{why}; what it held was handed back; {seen}"
            return Standing(Cause.INSTANCE_LEFT, told, since=one.seen_at)
        case InstanceState.DEAD:
            return _dead(one, seen)


def _absent(one: Instance, seen: str, fleet: Fleet) -> Standing:
    """Nobody declared it dead, but it shows no life; what it holds goes with its lease."""
    if one.held and _lapsed(one, fleet):
        assert one.lease_until is not None, "a lease that ended had an end"
        told = f"its lease ended at {fleet.at(one.lease_until)}, and nobody took its work over yet"
        causes = [f"it holds {_runs(one.held)}; {seen}"]
        helps: list[str] = fleet.helps()
        also: tuple[Cause, ...] = ()
        if not fleet.trusted:
            also = (Cause.STORE_UNTRUSTED,)
            causes.append(fleet.nobody())
        elif not [it for it in fleet.live() if it.boot != one.boot]:
            also, helps = (Cause.NO_WORKER,), ["start a worker: duly worker"]
            causes.append("no other worker is there to take over")
        return Standing(Cause.LEASE_ENDED, told, causes, helps, also, since=one.lease_until)
    told = f"absent: {seen}, and an instance shows itself every 30 s"
    causes = ["it holds nothing, so nothing waits for it"] if not one.held else []
    return Standing(Cause.INSTANCE_ABSENT, told, causes, since=one.seen_at)


def _lapsed(one: Instance, fleet: Fleet) -> bool:
    return bool(one.held) and one.lease_until is not None and one.lease_until < fleet.now


def _dead(one: Instance, seen: str) -> Standing:
    reason = one.reason or "no reason on record"
    cause, meant = next(
        ((cause, meant) for proof, cause, meant in _DEATHS if reason.startswith(proof)),
        (Cause.INSTANCE_DIED, ""),
    )
    causes = ["what it held was taken over, at no cost of a retry", *([meant] if meant else [])]
    return Standing(cause, f"declared dead: {reason}; {seen}", causes, since=one.seen_at)


def _runs(count: int) -> str:
    return f"{count:,} run{'' if count == 1 else 's'}"
