"""The promises hold for real processes under real signals: the gate's share of each trial.

Each trial is one of `chaos/`: it starts workers, does its worst, and comes back with figures. A
test states that no figure breaks a promise; the figures are printed either way. What this machine
cannot try is skipped with its reason. A line that falls silent takes half a minute to notice, and
is left to the campaign (`python -m chaos --store postgres --what half-open`).
"""

from __future__ import annotations

import pytest

from chaos.campaign import take
from chaos.report import Report
from chaos.scale import GATE
from tests.servers import Server

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.timeout(300)]


async def check(trial: str, server: Server | None) -> None:
    """Take a trial; fail with every figure that is wrong, and with the workers' own words."""
    report = await take(trial, server, GATE)
    report.show()
    if report.skipped:
        pytest.skip(report.skipped)
    must_be_as_promised(report)


def must_be_as_promised(report: Report) -> None:
    """Fail with every figure that is wrong, and with the workers' own words."""
    if report.wrong:
        pytest.fail("\n".join([*report.wrong, report.evidence]), pytrace=False)


ON_BOTH = pytest.mark.parametrize("store", ["sqlite", "postgres"])
ON_POSTGRES = pytest.mark.parametrize("store", ["postgres"])
ON_SQLITE = pytest.mark.parametrize("store", ["sqlite"])


@pytest.fixture
def place(store: str, request: pytest.FixtureRequest) -> Server | None:
    """The server for a trial on PostgreSQL, None for one on SQLite."""
    return request.getfixturevalue("server") if store == "postgres" else None


@ON_BOTH
async def test_a_storm_of_kills_loses_and_doubles_nothing(place: Server | None) -> None:
    await check("storm", place)


@ON_BOTH
async def test_a_dead_process_is_noticed_by_proof(place: Server | None) -> None:
    await check("takeover", place)


@ON_BOTH
async def test_a_dead_container_is_noticed_by_its_fallen_locks(place: Server | None) -> None:
    await check("takeover-apart", place)


@ON_BOTH
async def test_an_outage_under_load_loses_nothing_and_ends_nobody(place: Server | None) -> None:
    await check("outage", place)


@ON_POSTGRES
async def test_an_absence_under_load_loses_nothing_and_ends_nobody(place: Server | None) -> None:
    await check("absence", place)


@ON_POSTGRES
async def test_cut_connections_lose_nothing_and_bury_nobody_for_good(place: Server | None) -> None:
    await check("cut-off", place)


@ON_BOTH
async def test_a_full_disk_loses_nothing_and_ends_nobody(place: Server | None) -> None:
    await check("full-disk", place)


@ON_BOTH
async def test_a_sleeper_is_fenced_and_comes_back(place: Server | None) -> None:
    await check("zombie", place)


@ON_BOTH
async def test_a_rolling_restart_counts_no_death(place: Server | None) -> None:
    await check("rolling", place)


@ON_SQLITE  # on both in the campaign
async def test_a_blocked_event_loop_keeps_its_lease(place: Server | None) -> None:
    await check("blocked-loop", place)


@ON_SQLITE  # on both in the campaign
async def test_poison_is_set_aside_and_its_neighbours_go_on(place: Server | None) -> None:
    await check("poison", place)


@ON_POSTGRES
async def test_a_clock_that_is_ahead_fires_nothing_early(place: Server | None) -> None:
    await check("clocks", place)


@ON_POSTGRES
async def test_an_open_transaction_stops_nobody_else(place: Server | None) -> None:
    await check("transaction", place)


@ON_SQLITE  # on both in the campaign
async def test_no_finished_step_is_done_again_wherever_it_dies(place: Server | None) -> None:
    await check("steps", place)


@ON_POSTGRES  # on both in the campaign
async def test_a_killed_iteration_publishes_each_row_once(place: Server | None) -> None:
    await check("iteration", place)


@ON_BOTH
async def test_no_effect_is_doubled_and_none_is_guessed(place: Server | None) -> None:
    await check("effects", place)


@ON_BOTH
async def test_a_frozen_sender_is_waited_out_and_never_outrun(place: Server | None) -> None:
    await check("quarantine", place)


@ON_BOTH
async def test_death_at_any_point_of_a_verb_loses_and_doubles_nothing(
    place: Server | None,
) -> None:
    await check("points", place)


@ON_POSTGRES  # on both in the campaign
async def test_a_process_that_sleeps_at_random_is_outlived(place: Server | None) -> None:
    await check("frozen", place)


@ON_BOTH
async def test_a_copied_machine_loses_nothing(place: Server | None) -> None:
    await check("clone", place)


@ON_POSTGRES  # on both in the campaign
async def test_workers_of_one_name_are_not_taken_for_each_other(place: Server | None) -> None:
    await check("namesakes", place)


@ON_POSTGRES  # on both in the campaign
async def test_two_versions_share_one_store(place: Server | None) -> None:
    await check("upgrade", place)


@ON_POSTGRES  # on both in the campaign
async def test_a_clock_that_is_set_loses_and_doubles_nothing(place: Server | None) -> None:
    await check("clock-steps", place)


@ON_BOTH
async def test_eight_hours_away_are_caught_up_with_as_each_policy_says(
    place: Server | None,
) -> None:
    await check("eight-hours", place)


@ON_POSTGRES
async def test_ended_connections_lose_nothing_and_end_nobody(place: Server | None) -> None:
    await check("terminations", place)


@ON_POSTGRES
async def test_a_commit_that_was_cut_is_sent_again_and_counts_once(place: Server | None) -> None:
    await check("cut-commits", place)


@ON_BOTH
async def test_a_dead_target_is_called_by_one_probe_at_a_time(place: Server | None) -> None:
    await check("target", place)


@ON_SQLITE  # on both in the campaign
async def test_a_target_that_changed_is_left_alone_and_our_own_bug_trips_nothing(
    place: Server | None,
) -> None:
    await check("contract", place)


@ON_SQLITE  # on both in the campaign
async def test_a_loop_that_fails_ends_its_process_and_a_store_away_ends_nobody(
    place: Server | None,
) -> None:
    await check("supervised", place)


@ON_POSTGRES
async def test_late_answers_bury_nobody(place: Server | None) -> None:
    await check("late-answers", place)
