"""`python -m simulation`: live through worlds, and say what broke, with its seed.

`--seeds N [--from S]` lives through N worlds of the product as it is; `--seed S` through one, with
its history. `--bug NAME` plants one bug and hunts it, `--all-bugs` every one in turn, within
`--within` seeds each; given without `--seeds` they hunt only. `--seed S --bug NAME` lives through
one world with the bug in it, up to what breaks. Figures are kept in `simulation/results/`. Exit
code 0: no promise broke, everything that must be met was, every planted bug was found.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

import msgspec

from simulation.bugs import HUNTED, NAMES, WITHIN, hunt, live_with
from simulation.campaign import Outcome, further, live
from simulation.results import Results, summed

SHOWN = 120
SEEDS = 200


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
    parser.add_argument("--into", default="", help="the file in results/; else one by the time")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if given.seed is not None:
        if given.all_bugs or len(given.bug) > 1:
            parser.error("expected one bug in one world, got several")
        return _one(given.seed, *given.bug)
    results = _campaign(given)
    results.show()
    print(f"kept in {results.keep(given.into)}")
    return int(results.wrong)


def _campaign(given: argparse.Namespace) -> Results:
    bugs = HUNTED if given.all_bugs else given.bug
    seeds = given.seeds
    if seeds is None:
        seeds = 0 if bugs else SEEDS
    began = time.monotonic()
    outcomes = [_lived(seed) for seed in range(given.first, given.first + seeds)]
    more = further(outcomes, _lived)
    found = [hunt(bug, given.within, first=given.bugs_from) for bug in bugs]
    took_s = time.monotonic() - began
    return summed(outcomes, found, first=given.first, further=more, took_s=took_s)


def _one(seed: int, bug: str = "") -> int:
    outcome = live_with(bug, seed) if bug else live(seed)
    print("\n".join(outcome.history))
    _tell(outcome)
    return int(bool(outcome.breaches) is not bool(bug))


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
    print(f"  fingerprint {outcome.fingerprint}")


if __name__ == "__main__":
    sys.exit(main())
