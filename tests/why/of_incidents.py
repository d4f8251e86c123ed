"""Causes of incidents: what was noticed, who deals with it, and what became of it."""

from __future__ import annotations

from contextlib import closing
from uuid import UUID

import apsw
import msgspec

from duly import Duly
from duly.core.fleet import Incident
from duly.core.why import Cause
from duly.engine.clusters import Clusters
from duly.engine.telling import Telling
from duly.events import Bus
from tests.stores.world import HOUR, MINUTE, instance, minutely
from tests.why.of_targets import fail, in_doubt
from tests.why.scene import Asked, Scene, Table

incidents = Table()
C = Cause


def tripped() -> Incident:
    """What the supervisor writes when it gives up."""
    return Incident(
        kind="supervisor.tripped",
        subject="app/relay",
        severity="critical",
        summary="app/relay failed 5 times in a row on host:1 and tripped once: OSError: away",
        evidence={"loop": "relay", "instance": "host:1", "failures": "5", "error": "OSError: away"},
    )


@incidents(
    C.INCIDENT_OPEN,
    "open since 2026-01-05 00:00:00 +00:00 (1 h ago): app/relay failed 5 times",
    also=(C.SUPERVISOR_TRIPPED,),
)
async def an_incident_of_the_supervisor(s: Scene) -> Asked:
    """A supervised loop failed five times in a row, and its process ended."""
    await s.store.open_incident(tripped(), now=s.now)
    s.turn(HOUR)
    told = ("error: OSError: away", "failures: 5", "instance: host:1", "severity: critical")
    return Asked("incident:supervisor.tripped app/relay", told)


@incidents(
    C.INCIDENT_OPEN,
    "open since 2026-01-05 00:00:00 +00:00 (now): the breaker bank is open",
    also=(C.BREAKER_OPEN,),
)
async def an_incident_of_a_breaker(s: Scene) -> Asked:
    """A breaker opened, and its incident is open as long."""
    await fail(s)
    told = ("error: POST bank:443 was answered with 502", "who: pay", "duly breakers show bank")
    return Asked("incident:breaker.open bank", told, ("breaker:bank",))


@incidents(
    C.INCIDENT_OPEN, "open since 2026-01-05 00:00:00 +00:00 (now)", also=(C.EFFECT_UNCERTAIN,)
)
async def an_incident_of_an_effect(s: Scene) -> Asked:
    """Nobody knows what came of an effect, and an incident says so."""
    boot, run, _ = await in_doubt(s)
    seen = ("t pay k", str(run.id), f"instance:{boot}")
    return Asked("incident:effect.uncertain t pay k", ("effect: t pay k",), seen)


@incidents(
    C.INCIDENT_CLOSED,
    "over since 2026-01-05 01:00:00 +00:00 (now): mended (anna)",
    also=(C.FAILED,),
)
async def an_incident_that_is_over(s: Scene) -> Asked:
    """A person closed it, with a note."""
    one = Incident(kind="run.failed", subject="t", severity="critical", summary="t failed for good",
                   evidence={"task": "t"})  # fmt: skip
    await s.store.open_incident(one, now=s.now)
    s.turn(HOUR)
    await s.store.close_incident("run.failed", "t", note="mended (anna)", now=s.now)
    told = "it was open since 2026-01-05 00:00:00 +00:00 (1 h ago): t failed for good"
    return Asked("incident:run.failed t", (told,))


@incidents(
    C.INCIDENT_OPEN,
    "open since 2026-01-05 00:00:00 +00:00 (1 h ago): the breaker bank is open",
    also=(C.BREAKER_OPEN, C.ACKNOWLEDGED),
)
async def an_incident_somebody_deals_with(s: Scene) -> Asked:
    """A person acknowledged it, with a note."""
    await fail(s)
    s.turn(HOUR)
    how = {"by": "anna", "note": "the bank is told", "now": s.now}
    await s.store.acknowledge("breaker.open", "bank", **how)
    told = (
        "acknowledged by anna at 2026-01-05 01:00:00 +00:00 (now): the bank is told;"
        " nobody is reminded of it any more"
    )
    return Asked("incident:breaker.open bank", (told,))


@incidents(
    C.INCIDENT_CLOSED,
    "over since 2026-01-05 01:00:00 +00:00 (now): mended (anna)",
    also=(C.BREAKER_OPEN, C.ACKNOWLEDGED),
)
async def an_incident_that_was_dealt_with(s: Scene) -> Asked:
    """A person acknowledged it, and closed it later."""
    await fail(s)
    await s.store.acknowledge("breaker.open", "bank", by="anna", note="on it", now=s.now)
    s.turn(HOUR)
    await s.store.close_incident("breaker.open", "bank", note="mended (anna)", now=s.now)
    told = "acknowledged by anna at 2026-01-05 00:00:00 +00:00 (1 h ago): on it"
    return Asked("incident:breaker.open bank", (told,))


@incidents(
    C.INCIDENT_OPEN,
    "2 rows of orders were not dealt with: 1, 3",
    also=(C.ROWS_MISSING,),
)
async def an_incident_of_missing_rows(s: Scene) -> Asked:
    """Reconciliation found rows of a table that are not in another."""
    with closing(apsw.Connection(":memory:")) as conn:
        conn.execute("create table orders (id integer primary key)")
        conn.execute("create table mails (order_id integer primary key)")
        conn.execute("insert into orders values (1), (2), (3)")
        conn.execute("insert into mails values (2)")
        app = Duly("memory://", name="shop")
        await s.hand(app)
        await app.reconcile(conn, "orders", pk="id", seen="mails", seen_pk="order_id")
    told = ("owner: shop", "table: orders", "seen: mails", "missing: 2", "first: 1, 3")
    helps = "deal with the rows that are named; the next look that finds none closes it"
    return Asked("incident:rows.missing orders not in mails", (*told, helps))


async def lose_nl(s: Scene) -> UUID:
    """The only instance of the cluster `nl` dies, and the others notice."""
    boot = s.new_id()
    one = msgspec.structs.replace(instance(boot), cluster="nl", name="nl-1", seen_at=s.now)
    await s.store.register(one, {}, now=s.now)
    await s.die(boot)
    s.turn(MINUTE)
    await Clusters(s.store, Telling(Bus(), s.clock)).look(changed=True)
    return boot


@incidents(
    C.INCIDENT_OPEN,
    "nobody of the cluster nl is there any more: the last one died",
    also=(C.CLUSTER_GONE,),
)
async def an_incident_of_a_cluster(s: Scene) -> Asked:
    """The last instance of a cluster died."""
    boot = await lose_nl(s)
    told = ("cluster: nl", "instance: nl-1", "reason: process gone", "owner: app")
    helps = "start a worker there: DULY_CLUSTER=nl duly worker"
    return Asked("incident:cluster.gone nl", (*told, helps), (f"instance:{boot}",))


@incidents(C.INCIDENT_OPEN, "no worker is there any more", also=(C.NO_WORKER,))
async def an_incident_of_the_whole_fleet(s: Scene) -> Asked:
    """A server noticed that the last worker is gone."""
    return await noticed(s, "fleet.gone", "fleet", "no worker is there any more")


@incidents(C.INSTANCE_DIED, "declared dead: process gone", also=(C.CLUSTER_GONE,))
async def it_was_the_last_of_its_cluster(s: Scene) -> Asked:
    """It died as the last of its cluster."""
    boot = await lose_nl(s)
    told = "cluster.gone: nobody of the cluster nl is there any more"
    return Asked(f"instance:{boot}", (told,), ("incident:cluster.gone nl",))


@incidents(C.INCIDENT_OPEN, "ops takes no notices: it refused", also=(C.CHANNEL_DOWN,))
async def an_incident_of_a_channel(s: Scene) -> Asked:
    """A channel refused a notice, or took none for a minute."""
    return await noticed(s, "channel.down", "ops", "ops takes no notices: it refused")


@incidents(C.INCIDENT_OPEN, "7 messages to orders wait: no route", also=(C.OUTBOX_STUCK,))
async def an_incident_of_the_outbox(s: Scene) -> Asked:
    """A destination took no messages for a minute."""
    said = {"destination": "rabbit", "waiting": "7"}
    return await noticed(s, "outbox.stuck", "orders", "7 messages to orders wait: no route", **said)


@incidents(C.INCIDENT_OPEN, "published 30: a third of the usual 90", also=(C.EXPECTATION_BREACHED,))
async def an_incident_of_too_little_output(s: Scene) -> Asked:
    """A run put out less than was expected of it."""
    run = str(await s.enqueue())
    summary = "published 30: a third of the usual 90"
    asked = await noticed(s, "expect.output", f"run {run} of t", summary, task="t", run=run)
    return asked._replace(see=(run,))


@incidents(C.INCIDENT_OPEN, "t pay k was performed, although", also=(C.EFFECT_CONTRADICTED,))
async def an_incident_of_a_receipt(s: Scene) -> Asked:
    """A receipt came for what a person had called not performed."""
    summary = "t pay k was performed, although it was said not to be"
    boot, run, _ = await in_doubt(s)
    said = {"effect": "t pay k", "run": str(run.id), "boot": str(boot)}
    return await noticed(s, "effect.contradicted", "t pay k", summary, **said)


@incidents(
    C.INCIDENT_OPEN, "host:1 ended (lease expired) in the middle", also=(C.WORK_INTERRUPTED,)
)
async def an_incident_of_an_interruption(s: Scene) -> Asked:
    """A process ended in the middle of work, which goes on elsewhere."""
    boot, run = await s.held()
    summary = "host:1 ended (lease expired) in the middle of t; it goes on elsewhere"
    said = {"boot": str(boot), "why": "lease expired", "runs": str(run.id), "count": "1"}
    asked = await noticed(s, "run.interrupted", f"host:1 {boot}", summary, **said)
    return asked._replace(see=(str(run.id), f"instance:{boot}"))


@incidents(C.INCIDENT_OPEN, "host-1 ends its processes every 29 h", also=(C.RHYTHM_AHEAD,))
async def an_incident_of_a_rhythm(s: Scene) -> Asked:
    """A host ends its processes regularly, and will meet a run that is due."""
    await s.carry(minutely())
    summary = "host-1 ends its processes every 29 h, and will meet s at 06:00"
    asked = await noticed(s, "host.rhythm", "host-1 s", summary, schedule="s", lives="4")
    return asked._replace(see=("s",))


@incidents(C.INCIDENT_OPEN, "app/poll failed on host:1: OSError: away", also=(C.LOOP_FAILING,))
async def an_incident_of_a_loop(s: Scene) -> Asked:
    """A supervised loop failed, and its policy asks to tell of that."""
    said = {"loop": "poll", "failures": "1"}
    summary = "app/poll failed on host:1: OSError: away"
    return await noticed(s, "loop.failing", "app/poll", summary, **said)


@incidents(C.INCIDENT_OPEN, "the store did not answer for 3 min", also=(C.STORE_WAS_AWAY,))
async def an_incident_of_the_store(s: Scene) -> Asked:
    """The store did not answer for over a minute, and is back."""
    summary = "the store did not answer for 3 min"
    return await noticed(s, "store.away", "store", summary, away_s="180")


async def noticed(s: Scene, kind: str, subject: str, summary: str, **said: str) -> Asked:
    """Open an incident as whoever notices it does, and ask about it."""
    one = Incident(kind=kind, subject=subject, severity="warning", summary=summary, evidence=said)
    await s.store.open_incident(one, now=s.now)
    told = tuple(f"{key}: {value}" for key, value in said.items())
    return Asked(f"incident:{kind} {subject}", told)
