"""What every test shares: the markers, and a closing word on what was skipped.

Markers: `slow` tests run in the gate but not in `make check`; `server` tests need a database
server of their own. A skipped test is a promise that was not checked, so the run ends by telling
how many there were and why, reason by reason.
"""

from __future__ import annotations

from collections import Counter

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
