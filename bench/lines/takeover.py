"""F: kill -9 of the worker that runs a job, until its function starts again in another worker.

`proven`: both on one host, where the end of a process can be seen. `unproven`: each worker in a
PID namespace of its own (as in containers), where only sessions and leases can tell. A peer that
does not start the job again within the time waited is told with that time and `not_within`, and
dies only once.
"""

from __future__ import annotations

import shutil
import subprocess

from bench.fleet import Fleet
from bench.products import Product
from bench.results import percentile
from bench.scene import Scene

PEER_PATIENCE_S = 120.0
PEER_DEATHS = 3


def measure(scene: Scene) -> None:
    """Measure every product; peers in one way only, because they make no difference."""
    for product in scene.of_line("F"):
        with scene.sparing(product, "F"):
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
    deaths = PEER_DEATHS if product.is_peer else scene.some(20, 1)
    waits: list[float] = []
    with scene.fleet(product) as fleet:
        fleet.start_idle(apart=apart)
        for key in range(deaths):
            wait = _die(fleet, key, apart=apart)
            if wait is None:
                break
            waits.append(wait * 1e3)
    how = "unproven" if apart else "proven"
    more: dict[str, object] = {"deaths": len(waits)}
    if len(waits) < deaths:
        more = {"deaths": len(waits) + 1, "not_within": True}
        waits.append(PEER_PATIENCE_S * 1e3)
    more["longest_ms"] = round(max(waits), 1)
    for part, word in ((0.5, "p50"), (0.99, "p99")):
        line, figure = f"F death to restart, {how}, {word}", percentile(waits, part)
        scene.results.add(line, product.name, [figure], unit="ms", **more)


def _die(fleet: Fleet, key: int, *, apart: bool) -> float | None:
    """Kill the holder of a new job; return seconds until it runs again, None if a peer's did not.

    Duly has to start it again: that it did not is an error.
    """
    fleet.start_idle(apart=apart)
    fleet.put("--job", "hold", "--base", key, "--gap", 0.001)
    holder = fleet.await_start(key)[0].who
    died = next(one for one in fleet.workers if one.name == holder).kill()
    try:
        again = fleet.await_start(key, times=2, patience_s=PEER_PATIENCE_S)[1]
    except TimeoutError:
        if not fleet.product.is_peer:
            raise
        return None
    assert again.who != holder, "the dead do not run"
    fleet.let_go(key)
    return again.at - died
