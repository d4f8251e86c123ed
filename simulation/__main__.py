"""`python -m simulation`: live through worlds, and say what broke, with its seed.

`--seeds N` lives through N worlds from `--from`; `--seed S` through one, with its history;
`--bugs` plants each bug in turn and says after how many seeds it is found; `--gate` is the share
that every change must pass. Exit code 0: nothing broke, and everything that must be met was.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter

import msgspec

from simulation.campaign import Outcome, live, unmet

SHOWN = 120


def main() -> int:
    """Read the arguments, and do what they ask."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many worlds")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first seed")
    parser.add_argument("--seed", type=int, help="one world, with its history")
    parser.add_argument("--bugs", action="store_true", help="plant each bug, and find it")
    parser.add_argument("--gate", action="store_true", help="the share of the gate")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if given.seed is not None:
        return _one(given.seed)
    if given.bugs:
        from simulation.bugs import hunt_all

        return hunt_all(given.seeds)
    seeds = 60 if given.gate else given.seeds
    code = _many(range(given.first, given.first + seeds))
    if given.gate and code == 0:
        from simulation.bugs import hunt_all

        code = hunt_all(40, quick=True)
    return code


def _one(seed: int) -> int:
    outcome = live(seed)
    print("\n".join(outcome.history))
    _tell(outcome)
    return int(bool(outcome.breaches))


def _many(seeds: range) -> int:
    began, outcomes = time.monotonic(), []
    for seed in seeds:
        outcome = live(seed)
        if outcome.breaches:
            print("\n".join(outcome.history[-SHOWN:]))
            _tell(outcome)
        outcomes.append(msgspec.structs.replace(outcome, history=()))
    return _sum_up(outcomes, time.monotonic() - began)


def _tell(outcome: Outcome) -> None:
    print(f"seed {outcome.seed}: {len(outcome.breaches)} breaches")
    for sentence in outcome.breaches[:10]:
        print(f"  {sentence}")
    print(f"  fingerprint {outcome.fingerprint}; python -m simulation --seed {outcome.seed}")


def _sum_up(outcomes: list[Outcome], took_s: float) -> int:
    met: Counter[str] = Counter()
    for one in outcomes:
        met.update(one.sometimes)
    failed = [one.seed for one in outcomes if one.breaches]
    virtual_h = sum(one.virtual_s for one in outcomes) / 3600
    attempts = sum(one.attempts for one in outcomes)
    print(", ".join(f"{what} {count}" for what, count in sorted(met.items())))
    print(
        f"{len(outcomes)} worlds, {virtual_h:.1f} virtual hours, {attempts} attempts,"
        f" in {took_s:.1f} s ({len(outcomes) / took_s:.1f} worlds/s)"
    )
    missing = unmet(outcomes)
    if missing:
        print("void: never met " + ", ".join(missing))
    if failed:
        print(f"{len(failed)} worlds broke a promise: seeds {failed[:20]}")
    return int(bool(missing or failed))


if __name__ == "__main__":
    sys.exit(main())
