"""What every test shares: the markers, who runs what, and a closing word on what was skipped.

Markers: `slow` tests run in the gate but not in `make check`; `server` tests need a database
server of their own. A skipped test is a promise that was not checked, so the run ends by telling
how many there were and why, reason by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import settings

MARKERS = (
    "slow: takes seconds rather than milliseconds; left out of `make check`",
    "server: starts or needs a database server",
)


settings.register_profile("house", deadline=None)  # no test asserts a time
settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    """Register the house's markers; any other one is an error."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the tests, where several processes share them."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1:
        items[:] = [one for hand in dealt(items, workers) for one in hand]


def dealt(items: Sequence[pytest.Item], workers: int) -> list[list[pytest.Item]]:
    """Return a stretch of the tests for each process, as long as xdist gives it.

    Slow tests are dealt out, and stand first: at the end only quick ones are left to be taken over
    by who is done. Half of the processes begin with the trials, the others end with them, so that
    the fleets of all trials do not share the machine at once.
    """
    slow = [one for one in items if one.get_closest_marker("slow")]
    quick = [one for one in items if not one.get_closest_marker("slow")]
    hands, left = [], len(items)
    for number in range(workers):
        share = left // (workers - number)
        left -= share
        mine = sorted(slow[number::workers], key=lambda one: _is_trial(one) != (number % 2 == 0))
        room = max(0, share - len(mine))
        hands.append([*mine, *quick[:room]])
        quick = quick[room:]
    hands[-1] += quick
    return hands


def _is_trial(item: pytest.Item) -> bool:
    return item.nodeid.startswith("tests/fleet/")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print each reason for a skip with the number of tests it left unchecked."""
    skipped = terminalreporter.getreports("skipped")
    if not skipped:
        return
    reasons = Counter(_reason(report) for report in skipped)
    terminalreporter.section(f"{len(skipped)} skipped", sep="-")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5d}  {reason}")


def _reason(report: pytest.TestReport) -> str:
    """The words given to `skip`; a whole skipped module counts as one test."""
    told = report.longrepr
    text = told[2] if isinstance(told, tuple) else str(told)
    return text.removeprefix("Skipped: ")
