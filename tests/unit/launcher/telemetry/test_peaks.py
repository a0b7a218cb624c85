"""Peaks by phase."""

from __future__ import annotations

from launcher.telemetry.cgroup import Held
from launcher.telemetry.peaks import Peaks
from launcher.telemetry.processes import Family


def test_each_phase_keeps_its_own_most_and_its_time_adds_up() -> None:
    peaks = Peaks(0.0)
    peaks.see_node(Held(1.0, 3.0))
    peaks.enter("train", 10.0)
    peaks.see_node(Held(4.0, 5.0))
    peaks.see_node(Held(2.0, 6.0))
    peaks.enter("validate", 15.0)
    peaks.see_node(Held(3.0, 3.0))
    peaks.enter("train", 16.0)
    peaks.see_node(Held(1.0, 1.0))
    found = {use.phase: use for use in peaks.phases(18.0)}
    assert [found["start"].node_gb, found["train"].node_gb, found["validate"].node_gb] == [1, 4, 3]
    assert found["train"].node_with_cache_gb == 6
    assert [use.seconds for use in found.values()] == [10, 7, 1]


def test_processes_count_as_they_were_at_their_fullest_moment() -> None:
    peaks = Peaks(0.0, phase="train")
    peaks.see_family(Family(2.0, 0, 0.0, 0.0))
    peaks.see_family(Family(1.5, 4, 4.0, 0.5))
    peaks.see_family(Family(1.9, 2, 1.0, 0.6))
    (use,) = peaks.phases(1.0)
    assert (use.rank_gb, use.workers, use.workers_gb, use.worker_private_gb) == (1.5, 4, 4.0, 0.5)
    assert use.looks == 3


def test_more_workers_than_a_phase_had_before_were_not_looked_at_yet() -> None:
    peaks = Peaks(0.0, phase="train")
    for _ in range(2):
        peaks.see_family(Family(1.5, 2, 4.0, 0.5))
    assert (peaks.looks(0), peaks.looks(2), peaks.looks(6)) == (2, 2, 0)
    peaks.see_family(Family(1.5, 6, 9.0, 0.5))
    assert peaks.looks(6) == 1


def test_a_phase_in_which_nobody_looked_tells_no_memory_of_the_node() -> None:
    peaks = Peaks(0.0)
    peaks.enter("switch", 1.0)
    use = peaks.phases(2.0)[1]
    assert (use.phase, use.looks, use.node_gb, use.gpu_gb) == ("switch", 0, None, None)


def test_only_the_first_of_its_kind_is_new() -> None:
    peaks = Peaks(0.0)
    assert [peaks.enter(phase, 1.0) for phase in ("train", "validate", "train")] == [
        True,
        True,
        False,
    ]
