"""A driver is imported by who needs it alone, and a missing one is told with the extra's name."""

from __future__ import annotations

import subprocess
import sys

import pytest

DRIVERS = [
    ("duly.outbound.mail", "aiosmtplib", "duly[mail]"),
    ("duly.outbound.http", "aiohttp", "duly[http]"),
    ("duly.outbound.guarded", "aiohttp", "duly[http]"),
    ("duly.outbound.rabbitmq", "aio_pika", "duly[rabbitmq]"),
    ("duly.outbound.channels.apprising", "apprise", "duly[apprise]"),
]


def run(code: str) -> str:
    """Run code in a Python of its own, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


@pytest.mark.parametrize(("module", "driver", "extra"), DRIVERS)
def test_a_missing_driver_is_told_with_its_extra(module: str, driver: str, extra: str) -> None:
    told = run(
        f"import sys; sys.modules[{driver!r}] = None\n"
        "from duly.errors import UsageError\n"
        f"try: import {module}\n"
        "except UsageError as error: print(error)"
    )
    assert f"pip install '{extra}'" in told


def test_the_room_itself_imports_no_driver() -> None:
    names = sorted({driver for _, driver, _ in DRIVERS})
    code = f"import sys, duly.outbound.channels; print([n for n in {names!r} if n in sys.modules])"
    assert run(code) == "[]"
