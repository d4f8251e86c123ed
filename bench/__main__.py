"""The command line of the benchmarks.

    python -m bench [--quick] [--line B,C] [--peers pgqueuer,dbos | all] [--rounds 3] [--scale 1]
    python -m bench --lock

`make bench PEERS=all ROUNDS=1 SCALE=0.1` passes these through the environment; without any, Duly
stands beside the machine's limit alone. Results go to bench/results as JSON lines with a plot
beside them, and a table is shown at the end. A peer that fails in a line is told there, and the
others go on. The exit code says whether everything of Duly ran, and never how fast. All lines with
all peers take about an hour and a half, most of it waiting; every wait is bounded.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack

from bench.broker import Broker, find_redis
from bench.lines import (
    drain,
    embedded,
    enqueue,
    firing,
    growth,
    idle,
    latency,
    lateness,
    occurrences,
    starting,
    steps,
    takeover,
)
from bench.products import DULY, HOME, PRODUCTS, ROOT, Product, install_peers, make_lock
from bench.results import Results
from bench.scene import Scene
from bench.server import Server

LINES: dict[str, tuple[str, Callable[[Scene], None]]] = {
    "A": ("enqueue", enqueue.measure),
    "B": ("drain", drain.measure),
    "C": ("latency", latency.measure),
    "D": ("idle", idle.measure),
    "E": ("lateness", lateness.measure),
    "F": ("takeover", takeover.measure),
    "G": ("durable steps", steps.measure),
    "H": ("start", starting.measure),
    "I": ("embedded store", embedded.measure),
    "J": ("growth", growth.measure),
    "K": ("firing", firing.measure),
    "L": ("cron", occurrences.measure),
}


def parse() -> argparse.Namespace:
    """Read the command line."""
    known = ", ".join(f"{name} {what}" for name, (what, _) in LINES.items())
    given = os.environ.get
    parser = argparse.ArgumentParser(prog="python -m bench", description=f"Lines: {known}")
    parser.add_argument("--quick", action="store_true", help="a hundredth of the work, no peers")
    parser.add_argument("--line", default=given("LINE", ""), help="lines, with commas; or all")
    parser.add_argument("--peers", default=given("PEERS", ""), help="peers, with commas; or all")
    parser.add_argument("--rounds", type=int, default=int(given("ROUNDS") or 3))
    parser.add_argument("--scale", type=float, default=float(given("SCALE") or 1), help="of line J")
    parser.add_argument("--lock", action="store_true", help="resolve locks/bench.txt anew, and end")
    asked = parser.parse_args()
    asked.lines = [one for one in asked.line.split(",") if one] or [*LINES]
    peers = [name for name, one in PRODUCTS.items() if one.is_peer]
    asked.chosen = peers if asked.peers == "all" else [one for one in asked.peers.split(",") if one]
    for name in asked.lines:
        if name not in LINES:
            parser.error(f"expected a line among {', '.join(LINES)}, got {name!r}")
    for name in asked.chosen:
        if name not in peers:
            parser.error(f"expected a peer among {', '.join(peers)}, got {name!r}")
    if asked.quick:
        asked.chosen = []
    return asked


def choose(asked: argparse.Namespace) -> tuple[Product, ...]:
    """Return the products to be measured: a peer without its broker is left out, and that said."""
    products: list[Product] = [DULY]
    for name in asked.chosen:
        if PRODUCTS[name].needs_redis and find_redis() is None:
            print(f"{name} is left out: there is no redis-server on the path")
            continue
        products.append(PRODUCTS[name])
    return tuple(products)


def main() -> None:
    """Measure what was asked for."""
    # Being asked to end must end servers and workers too, and the default action would not.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    asked = parse()
    if asked.lock:
        make_lock()
        return
    if not asked.quick:
        install_peers()
    products, results = choose(asked), Results(quick=asked.quick)
    with ExitStack() as stack:
        server = stack.enter_context(Server())
        redis = find_redis() if any(one.needs_redis for one in products) else None
        scene = Scene(
            server=server,
            broker=stack.enter_context(Broker(redis)) if redis else None,
            results=results,
            products=products,
            rounds=1 if asked.quick else asked.rounds,
            quick=asked.quick,
            scale=asked.scale,
        )
        results.machine(postgres=server.version(), counts_statements=server.counts_statements)
        for name in asked.lines:
            LINES[name][1](scene)
    print(f"\n{results.table()}\n\nwritten to {results.path}")
    if not asked.quick:
        draw(results)


def draw(results: Results) -> None:
    """Draw the plot with the library of the peers' environment, where it is installed."""
    line = [str(HOME / "bin" / "python"), "-m", "bench.plot", str(results.path)]
    subprocess.run(line, cwd=ROOT, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
