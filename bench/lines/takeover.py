"""F: kill -9 of the worker that runs a job, until its function starts again in another worker.

`proven`: both on one host, where the end of a process can be seen. `unproven`: each worker in a
PID namespace of its own (as in containers), where only sessions and leases can tell.
"""

from __future__ import annotations

import shutil
import subprocess

from bench.fleet import Fleet
from bench.products import Product
from bench.results import percentile
from bench.scene import Scene


def measure(scene: Scene) -> None:
    """Measure every product; peers in one way only, because they make no difference."""
    for product in scene.products:
        _measure(scene, product, apart=False)
        if not product.is_peer and can_unshare():
            _measure(scene, product, apart=True)


def can_unshare() -> bool:
    """Whether this user may make a PID namespace."""
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run(
        ["unshare", "--pid", "--fork", "--kill-child", "true"], capture_output=True, check=False
    )
    return tried.returncode == 0


def _measure(scene: Scene, product: Product, *, apart: bool) -> None:
    deaths = 3 if product.is_peer else scene.some(20, 1)
    with scene.fleet(product) as fleet:
        fleet.start_idle(apart=apart)
        waits = [_die(fleet, key, apart=apart) * 1e3 for key in range(deaths)]
    how = "unproven" if apart else "proven"
    name, more = product.name, {"deaths": deaths, "longest_ms": round(max(waits), 1)}
    for part, word in ((0.5, "p50"), (0.99, "p99")):
        figure = percentile(waits, part)
        scene.results.add(f"F death to restart, {how}, {word}", name, [figure], unit="ms", **more)


def _die(fleet: Fleet, key: int, *, apart: bool) -> float:
    """Kill the holder of a new job; return seconds until it runs again."""
    fleet.start_idle(apart=apart)
    fleet.put("--job", "hold", "--base", key, "--gap", 0.001)
    holder = fleet.await_start(key)[0].who
    died = next(one for one in fleet.workers if one.name == holder).kill()
    again = fleet.await_start(key, times=2)[1]
    assert again.who != holder, "the dead do not run"
    fleet.let_go(key)
    return again.at - died
