"""The machine's clock: ids go up, whatever the wall clock does."""

from __future__ import annotations

from itertools import pairwise

import pytest

from duly.engine.clock import SystemClock


@pytest.mark.parametrize(
    "times", [[1_000] * 2_000, [2_000, 1_000, 1_500, 2_000, 2_001]], ids=["at once", "going back"]
)
def test_ids_of_one_process_go_up(times: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    shown = iter(times)
    monkeypatch.setattr("time.time_ns", lambda: next(shown) * 1_000_000)
    made = [clock.new_id() for _ in times]
    assert all(one < other for one, other in pairwise(made))
    assert all((one.version, one.variant) == (7, "specified in RFC 4122") for one in made)


def test_a_random_part_that_is_used_up_borrows_a_millisecond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SystemClock()
    monkeypatch.setattr("time.time_ns", lambda: 5_000_000)
    first = clock.new_id()
    clock._last_bits = (1 << 74) - 1
    second = clock.new_id()
    assert second > first
    assert second.int >> 80 == 6
