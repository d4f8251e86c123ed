"""What a host tells of its processes: who is gone for certain, and who ended for want of memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import msgspec

from duly import Duly
from duly.core.fleet import Instance, Proof
from duly.core.ids import uuid7
from duly.engine import HostProcesses
from duly.engine.watching import OUT_OF_MEMORY
from tests.engine.bench import Alone, Bench, in_time


def instance(pid: int, space: str) -> Instance:
    return Instance(
        boot=uuid7(1, 1), name="a", host="h", pid=pid, pid_space=space, owner="app", version="1"
    )


def test_only_a_process_that_certainly_ended_is_gone() -> None:
    host = HostProcesses()
    _, me, space = host.here()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert host.gone(instance(ended.pid, space))
    assert not host.gone(instance(me, space))
    assert not host.gone(instance(ended.pid, "another host's")), "that cannot be known from here"


def test_the_count_of_memory_kills_is_a_count() -> None:
    first, second = HostProcesses().memory_kills(), HostProcesses().memory_kills()
    assert 0 <= first <= second


@dataclass
class Short(Alone):
    """A host that has ended so many processes for want of memory."""

    kills: int = 3

    def memory_kills(self) -> int:
        return self.kills


@in_time
async def test_a_takeover_says_that_memory_ran_out_and_only_when_it_did(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task
    async def work() -> None: ...

    engine, store = await bench.start(app)
    host = Short()
    engine.watching._processes, engine.watching._memory_kills = host, host.kills
    for kills, said in ((4, f"process gone: {OUT_OF_MEMORY}"), (4, "process gone")):
        other = msgspec.structs.replace(instance(7, ""), boot=bench.clock.new_id())
        await store.register(other, {})
        host.kills = kills
        await engine.watching.take_over(other.boot, Proof.PROCESS)
        [dead] = [one for one in await store.instances() if one.boot == other.boot]
        assert dead.reason == said
