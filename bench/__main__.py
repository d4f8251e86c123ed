"""The command line of the benchmarks.

    python -m bench [--quick] [--line B,C] [--peers pgqueuer] [--rounds 3] [--lock]

`make bench PEERS=pgqueuer ROUNDS=1` passes both through the environment; without any, Duly stands
beside the machine's limit alone. Results go to bench/results as JSON lines, and a table is shown
at the end. The exit code says whether everything ran, and never how fast.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable

from bench import cron, limits
from bench.lines import (
    drain,
    embedded,
    enqueue,
    firing,
    idle,
    latency,
    starting,
    steps,
    takeover,
)
from bench.products import DULY, PRODUCTS, Product, install_peers, make_lock
from bench.results import Results
from bench.scene import Scene
from bench.server import Server

LINES: dict[str, tuple[str, Callable[[Scene], None]]] = {
    "L0": ("the machine's own limits", limits.measure),
    "A": ("enqueue", enqueue.measure),
    "B": ("drain", drain.measure),
    "C": ("latency", latency.measure),
    "D": ("idle", idle.measure),
    "F": ("takeover", takeover.measure),
    "G": ("durable steps", steps.measure),
    "H": ("start", starting.measure),
    "I": ("embedded store", embedded.measure),
    "K": ("firing", firing.measure),
}


def parse() -> argparse.Namespace:
    """Read the command line."""
    known = ", ".join(f"{name} {what}" for name, (what, _) in LINES.items())
    parser = argparse.ArgumentParser(prog="python -m bench", description=f"Lines: {known}, L cron")
    parser.add_argument("--quick", action="store_true", help="a hundredth of the work, no peers")
    parser.add_argument("--line", default="", help="lines to measure, with commas; all by default")
    parser.add_argument("--peers", default=os.environ.get("PEERS", ""), help="peers, with commas")
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS", "3")))
    parser.add_argument("--lock", action="store_true", help="resolve locks/bench.txt anew, and end")
    asked = parser.parse_args()
    asked.lines = [one for one in asked.line.split(",") if one] or [*LINES, "L"]
    asked.chosen = [one for one in asked.peers.split(",") if one and not asked.quick]
    for name in asked.lines:
        if name not in (*LINES, "L"):
            parser.error(f"expected a line among {', '.join(LINES)}, L, got {name!r}")
    for name in asked.chosen:
        if name not in PRODUCTS or not PRODUCTS[name].is_peer:
            parser.error(f"expected a peer among {', '.join(PRODUCTS)}, got {name!r}")
    return asked


def main() -> None:
    """Measure what was asked for."""
    # Being asked to end must end servers and workers too, and the default action would not.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    asked = parse()
    if asked.lock:
        make_lock()
        return
    if asked.chosen:
        install_peers()
    products: tuple[Product, ...] = (DULY, *(PRODUCTS[name] for name in asked.chosen))
    results = Results(quick=asked.quick)
    with Server() as server:
        scene = Scene(
            server=server,
            results=results,
            products=products,
            rounds=1 if asked.quick else asked.rounds,
            quick=asked.quick,
        )
        results.machine(postgres=server.version(), counts_statements=server.counts_statements)
        for name in asked.lines:
            if name in LINES:
                LINES[name][1](scene)
    print(f"\n{results.table()}\n\nwritten to {results.path}")
    if "L" in asked.lines and not asked.quick:
        cron.main()


if __name__ == "__main__":
    main()
