"""`python -m chaos --store sqlite|postgres [--what NAME] [--minutes N] [--times N] [--gate]`.

Runs one trial or the whole campaign, prints the figures of each, keeps them as JSON under
`chaos/results/`, and exits with 1 if any figure breaks a promise.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import ExitStack

from chaos.campaign import NAMES, UNCOUNTED, take
from chaos.scale import Scale
from tests.servers import Server, start_postgres


def main() -> int:
    """Read the arguments, run, and say how it went."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--store", choices=("sqlite", "postgres"), required=True)
    parser.add_argument("--what", choices=NAMES, action="append", help="one trial; else all")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the storm blows")
    parser.add_argument("--gate", action="store_true", help="the share the gate can afford")
    parser.add_argument("--times", type=int, help="faults of each kind, or at each point; else all")
    chosen = parser.parse_args()
    for name in chosen.what or NAMES if chosen.times is not None else ():
        if name in UNCOUNTED:
            parser.error(f"expected --times with trials that count their faults, got {name}")
    scale = Scale(full=not chosen.gate, minutes=chosen.minutes, times=chosen.times)
    # Told to stop, it still ends its processes and its server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wrong = 0
    with ExitStack() as stack:
        server: Server | None = None
        if chosen.store == "postgres":
            server = start_postgres()
            stack.callback(server.stop)
        for name in chosen.what or NAMES:
            report = asyncio.run(take(name, server, scale))
            report.show()
            report.keep()
            wrong += bool(report.wrong)
    print(f"\n{wrong} trials broke a promise" if wrong else "\nas promised")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
