"""A cluster of which nobody is left is told by those that live elsewhere, and once."""

from __future__ import annotations

from datetime import timedelta
from uuid import NAMESPACE_OID, uuid5

from duly import Duly
from duly.core.fleet import Incident, Instance, InstanceState
from duly.engine.clusters import GONE, empty_clusters
from simulation.ports import EPOCH
from tests.engine.bench import Bench, in_time

LIVE, DEAD, LEFT = InstanceState.LIVE, InstanceState.DEAD, InstanceState.GONE


def member(cluster: str, minute: int = 0, state: InstanceState = LIVE) -> Instance:
    return Instance(
        boot=uuid5(NAMESPACE_OID, f"{cluster} {minute}"),
        name=f"{cluster}-{minute}",
        host=cluster,
        pid=1,
        pid_space="",
        owner="shop",
        version="1",
        cluster=cluster,
        state=state,
        seen_at=EPOCH + timedelta(minutes=minute),
    )


def test_a_cluster_is_empty_when_nobody_of_it_was_seen_lately() -> None:
    fleet = [
        *(member("nl", 8, DEAD), member("nl", 9, DEAD), member("nl", 7)),
        *(member("fr", 9), member("fr", 2, DEAD)),
        *(member("be", 5, LEFT), member("be", 4, LEFT)),
    ]
    empty = empty_clusters(fleet, EPOCH + timedelta(minutes=10))
    assert {name: last.name for name, last in empty.items()} == {"be": "be-5", "nl": "nl-9"}


async def open_ones(bench: Bench) -> list[Incident]:
    return [one for one in await bench.client.incidents() if one.kind == GONE]


@in_time
async def test_a_cluster_that_died_is_told_once_and_is_over_when_it_is_back(bench: Bench) -> None:
    await bench.start(Duly(), cluster="fr")
    for minute in (0, 3):
        await bench.client.register(member("nl", minute), {})
        await bench.past(1)
    await bench.past(60)
    assert await open_ones(bench) == []
    await bench.past(300)
    [told] = await open_ones(bench)
    assert (told.subject, told.severity) == ("nl", "critical")
    assert told.summary == "nobody of the cluster nl is there any more: the last one died"
    assert told.evidence["instance"] == "nl-3"
    assert await bench.client.close_incident(GONE, "nl", note="we know")
    await bench.past(1200)
    assert await open_ones(bench) == []
    engine, _ = await bench.start(Duly(), cluster="nl")
    await bench.past(300)
    await engine.stop()
    await bench.past(300)
    assert await open_ones(bench) == []
    await bench.past(900)
    [again] = await open_ones(bench)
    assert again.summary.endswith("the last one left by itself")
    await bench.start(Duly(), cluster="nl")
    await bench.past(300)
    assert await open_ones(bench) == []
    bench.assert_sound()


@in_time
async def test_a_fleet_that_stays_as_it_is_costs_no_look_at_its_clusters(bench: Bench) -> None:
    _, store = await bench.start(Duly(), cluster="fr")
    await bench.past(600)
    before = store.sent.count("instances")
    await bench.past(3600)
    looks = store.sent.count("instances") - before
    assert looks <= 20
