"""Speeds that were not measured, from those that were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher.estimates.duration import Overheads, Work, duration, overheads_in
from launcher.estimates.throughput import Hardware, Pace, estimate
from launcher.measures import Measure
from launcher.records import LoaderUse, Place, RankUse

L40S, H200 = Hardware(kind="l40s", has_gpus=True), Hardware(kind="h200", has_gpus=True)


def measure(gpu_type: str | None, ranks: int, rate: float | None, **use: Any) -> Measure:
    values: dict[str, Any] = {
        "attempt": "001-000",
        "key": "k",
        "rank": 0,
        "local_rank": 0,
        "host": "n",
        "world_size": ranks,
        "num_nodes": 1,
        "ranks_per_node": ranks,
        "cpus_per_rank": 1,
        "place": Place(cluster="site", partition="main", gpu_type=gpu_type),
        "samples_per_s": rate,
    }
    return Measure([RankUse(**(values | use))], Path("run"), "001-000")


def rate(pace: Pace | None) -> float:
    assert pace is not None
    return pace.samples_per_s


def test_the_very_hardware_and_count_is_taken_as_measured_the_newest_first() -> None:
    seen = [measure("l40s", 4, 40.0), measure("l40s", 4, 10.0), measure("l40s", 1, 20.0)]
    pace = estimate(seen, L40S, 4)
    assert rate(pace) == 40.0
    assert pace is not None
    assert (pace.is_measured, pace.basis) == (True, "measured")
    assert pace.step_s(80) == 2.0


def test_twice_the_gpus_are_assumed_to_lose_a_tenth() -> None:
    seen = [measure("l40s", 2, 10.0)]
    assert rate(estimate(seen, L40S, 4)) == pytest.approx(18.0)
    assert rate(estimate(seen, L40S, 16)) == pytest.approx(10 * 8 * 0.9**3)
    assert rate(estimate(seen, L40S, 1)) == pytest.approx(10 / 1.8)


def test_counts_of_one_type_tell_the_loss_of_each_doubling_of_another() -> None:
    seen = [measure("l40s", 1, 10.0), measure("l40s", 16, 32.0), measure("h200", 2, 30.0)]
    pace = estimate(seen, H200, 8)
    assert rate(pace) == pytest.approx(30 * 3.2 ** (2 / 4))
    assert pace is not None
    assert pace.basis == "scaled from 2 x h200, 67% per doubling measured"


def test_between_types_the_profile_leads_and_without_it_nothing_is_known() -> None:
    seen = [measure("h200", 4, 100.0)]
    assert estimate(seen, L40S, 4) is None
    assert estimate(seen, L40S, 4, {L40S: 0.5}) is None
    assert rate(estimate(seen, L40S, 4, {L40S: 0.5, H200: 2.0})) == pytest.approx(25.0)


def test_what_was_measured_there_counts_more_than_the_profile() -> None:
    seen = [measure("h200", 4, 100.0), measure("l40s", 1, 5.0)]
    speeds = {L40S: 1.0, H200: 1.0}
    pace = estimate(seen, L40S, 4, speeds)
    assert pace is not None
    assert pace.basis.startswith("scaled from 1 x l40s")


def test_cpu_runs_and_attempts_without_a_speed_say_nothing_of_gpus() -> None:
    seen = [measure("l40s", 4, None), measure(None, 1, 3.0)]
    speeds = {L40S: 1.0, Hardware(kind="main", has_gpus=False): 1.0}
    assert estimate(seen, L40S, 4, speeds) is None


def test_no_number_of_gpus_slows_down_or_speeds_up_beyond_its_count() -> None:
    faster = [measure("l40s", 1, 10.0), measure("l40s", 2, 40.0)]
    assert rate(estimate(faster, L40S, 4)) == pytest.approx(80.0)
    slower = [measure("l40s", 1, 10.0), measure("l40s", 2, 5.0)]
    assert rate(estimate(slower, L40S, 4)) == pytest.approx(5.0)


def test_a_speed_that_the_loader_held_back_is_said_to_be_one() -> None:
    pace = estimate([measure("l40s", 4, 10.0, data_wait_share=0.6)], L40S, 8)
    assert pace is not None
    assert pace.is_starved
    assert pace.basis.endswith("where 60% of the time was waiting for data")


PACE = Pace(samples_per_s=10.0, basis="measured", is_measured=True)
DAY_S = 86400.0


def test_steps_validations_checkpoints_and_the_start_of_each_job_add_up() -> None:
    work = Work(batch_size=20, steps=1000, samples_per_epoch=5000, validations=4)
    slow = Overheads(start_s=100, validation_s=50, validation_rate=5.0, checkpoint_s=10)
    found = duration(PACE, work, slow, limit_s=DAY_S, checkpoint_every_s=500)
    # Training 2000 s; validations are twice as fast here as where they were timed.
    assert found.total_s == 2000 + 4 * 25 + 4 * 10 + 100
    assert (found.epoch_s, found.lives) == (500, 1)


def test_a_run_longer_than_the_limit_takes_several_jobs_and_starts_in_each() -> None:
    work = Work(batch_size=10, steps=3000)
    found = duration(PACE, work, Overheads(start_s=100), limit_s=1100, checkpoint_every_s=DAY_S)
    assert (found.lives, found.total_s) == (3, 3000 + 300)


def test_unknown_steps_leave_the_total_unknown_and_the_epoch_known() -> None:
    work = Work(batch_size=10, samples_per_epoch=100)
    found = duration(PACE, work, Overheads(), limit_s=DAY_S, checkpoint_every_s=DAY_S)
    assert (found.total_s, found.epoch_s) == (None, 10)


def test_a_probe_validates_a_part_and_stands_for_the_whole() -> None:
    loaders = [LoaderUse(stage="validate", workers=1, samples=6400, batch_size=10)]
    of_probe = {"is_probe": True, "validation_s": 3.0, "loaders": loaders}
    probe = measure("l40s", 4, 10.0, validation_batches=8, **of_probe)
    assert overheads_in([probe]).validation_s == 3.0 * 160 / 8
    whole = measure("l40s", 4, 10.0, validation_s=70.0, loaders=loaders)
    assert overheads_in([whole, probe]).validation_s == 70.0
    # A record from before the batches were counted says nothing of the whole.
    assert overheads_in([measure("l40s", 4, 10.0, **of_probe), probe]).validation_s == 60.0
