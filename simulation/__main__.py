"""`python -m simulation`: live through worlds, and say what broke, with its seed.

`--seeds N [--from S]` lives through N worlds of the product as it is; `--seed S` through one, with
its history. `--bug NAME` plants one bug and hunts it, `--all-bugs` every one in turn, within
`--within` seeds each; given without `--seeds` they hunt only. `--gate` is the share that every
change must pass. Figures are kept in `simulation/results/`. Exit code 0: no promise broke,
everything that must be met was, and every bug that was planted was found.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

import msgspec

from simulation.bugs import HUNTED, NAMES, WITHIN, hunt
from simulation.campaign import Outcome, live
from simulation.results import summed

SHOWN = 120
SEEDS, GATE_SEEDS = 200, 20


def main() -> int:
    """Read the arguments, and do what they ask."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, help=f"how many worlds; {SEEDS} unless hunting")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first seed")
    parser.add_argument("--seed", type=int, help="one world, with its history")
    parser.add_argument("--bug", action="append", choices=NAMES, metavar="NAME", default=[])
    parser.add_argument("--all-bugs", action="store_true", help="plant each bug, and find it")
    parser.add_argument("--within", type=int, default=WITHIN, help="in how many seeds at most")
    parser.add_argument("--bugs-from", type=int, help="the first seed of hunts; else each its own")
    parser.add_argument("--gate", action="store_true", help="the share of the gate")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if given.seed is not None:
        return _one(given.seed)
    bugs = HUNTED if given.all_bugs or given.gate else given.bug
    seeds = GATE_SEEDS if given.gate else given.seeds
    if seeds is None:
        seeds = 0 if bugs else SEEDS
    began = time.monotonic()
    outcomes = [_lived(seed) for seed in range(given.first, given.first + seeds)]
    found = [hunt(bug, given.within, first=given.bugs_from) for bug in bugs]
    results = summed(outcomes, found, first=given.first, took_s=time.monotonic() - began)
    results.show()
    print(f"kept in {results.keep()}")
    return int(results.wrong)


def _one(seed: int) -> int:
    outcome = live(seed)
    print("\n".join(outcome.history))
    _tell(outcome)
    return int(bool(outcome.breaches))


def _lived(seed: int) -> Outcome:
    """Live through one world, show the end of a history that broke, and forget it."""
    outcome = live(seed)
    if outcome.breaches:
        print("\n".join(outcome.history[-SHOWN:]))
        _tell(outcome)
    return msgspec.structs.replace(outcome, history=())


def _tell(outcome: Outcome) -> None:
    print(f"seed {outcome.seed}: {len(outcome.breaches)} breaches")
    for sentence in outcome.breaches[:10]:
        print(f"  {sentence}")
    print(f"  fingerprint {outcome.fingerprint}; python -m simulation --seed {outcome.seed}")


if __name__ == "__main__":
    sys.exit(main())
