"""Host memory of a node, predicted from attempts that took known amounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher import files, store
from launcher.estimates import budget as budgets
from launcher.estimates.loaders import Loaders
from launcher.estimates.memory import Needs, Wanted, fit
from launcher.estimates.model import MemoryModel
from launcher.measures import Measure
from launcher.records import AttemptRecord
from tests.unit.launcher.estimates.taken import (
    BATCH_GB,
    KEPT_GB,
    MICRO,
    PREFETCH,
    PROCESS_GB,
    RANK_GB,
    TRAIN_WORKER_GB,
    VAL_WORKER_GB,
    measure,
    node_gb,
)


def model_of(*measures: Measure) -> MemoryModel:
    model = fit(measures)
    assert model is not None
    return model


def loaders(workers: int, val_workers: int, *, is_persistent: bool = False) -> Loaders:
    return Loaders(workers=workers, val_workers=val_workers, is_persistent=is_persistent)


@pytest.mark.parametrize(
    ("ranks", "workers", "val_workers"), [(1, 2, 1), (4, 8, 1), (2, 3, 5), (8, 1, 1), (4, 16, 16)]
)
def test_one_measurement_predicts_other_ranks_and_workers(
    ranks: int, workers: int, val_workers: int
) -> None:
    # Two kinds of workers are told apart where one of them once lived alone.
    model = model_of(measure(2, 2, 1, lingers=False))
    predicted = model.predict(ranks, loaders(workers, val_workers)).peak_gb
    assert predicted == pytest.approx(node_gb(ranks, workers, val_workers), rel=1e-3)


def test_two_kinds_of_workers_are_told_apart_by_two_proportions() -> None:
    model = model_of(measure(1, 2, 2), measure(1, 4, 1))
    assert model.workers["train"].own_gb == pytest.approx(TRAIN_WORKER_GB)
    assert model.workers["validate"].own_gb == pytest.approx(VAL_WORKER_GB)


def test_kinds_that_always_lived_together_are_taken_to_be_alike() -> None:
    model = model_of(measure(1, 2, 2))
    assert model.workers["train"] == model.workers["validate"]
    assert model.predict(3, loaders(2, 2)).peak_gb == pytest.approx(3 * node_gb(1, 2, 2), rel=0.1)


def test_a_measured_config_is_predicted_as_it_was_measured() -> None:
    model = model_of(measure(2, 4, 2))
    assert model.predict(2, loaders(4, 2)).peak_gb == pytest.approx(node_gb(2, 4, 2), rel=1e-6)


def fullest_while_it_trains(validations: int) -> MemoryModel:
    """Of a run whose workers for validation were never seen beside training."""
    seen = measure(1, 4, 2, lingers=False, validations=validations)
    train, validate = seen.ranks[0].phases
    assert train.node_gb is not None
    more = {"node_gb": train.node_gb + 3.0, "rank_gb": train.rank_gb + 3.0}
    phases = [train.model_copy(update=more), validate]
    ranks = [seen.ranks[0].model_copy(update={"phases": phases})]
    return model_of(Measure(ranks, seen.run_dir, seen.attempt))


def test_workers_that_were_seen_to_end_do_not_count_and_persistent_ones_do() -> None:
    model = fullest_while_it_trains(validations=2)
    ended = model.predict(1, loaders(4, 2))
    kept = model.predict(1, loaders(4, 2, is_persistent=True))
    assert (ended.phase, kept.phase) == ("train", "train")
    own_gb = 2 * (VAL_WORKER_GB + PREFETCH * BATCH_GB + PROCESS_GB)
    assert kept.peak_gb - ended.peak_gb == pytest.approx(own_gb, rel=0.01)


def test_workers_are_taken_to_stay_where_nothing_was_trained_after_a_validation() -> None:
    known, open_ = (fullest_while_it_trains(validations=n) for n in (2, 1))
    more_gb = open_.predict(1, loaders(4, 2)).peak_gb - known.predict(1, loaders(4, 2)).peak_gb
    assert more_gb >= 2 * VAL_WORKER_GB


def test_one_worker_of_a_gpu_run_keeps_no_state() -> None:
    model = model_of(measure(1, 1, 1, gpu_mem_gb=48.0, lingers=False))
    predicted = model.predict(1, loaders(4, 4)).peak_gb
    assert predicted == pytest.approx(node_gb(1, 4, 4, has_gpu=True), rel=1e-3)


def test_an_overlap_that_nobody_saw_is_assumed() -> None:
    model = model_of(measure(1, 4, 0, phases=("train",)))
    predicted = model.predict(1, loaders(4, 4))
    # Those for validation keep what the optimizer holds, and are forked when it does.
    both_gb = node_gb(1, 8, 0) + KEPT_GB["validate"]
    assert predicted.peak_gb == pytest.approx(both_gb, rel=1e-3)
    assert "nobody saw it validate" in predicted.basis


def test_workers_that_nobody_measured_leave_the_answer_open() -> None:
    model = model_of(measure(1, 0, 0))
    predicted = model.predict(1, loaders(8, 0))
    assert "no worker was measured" in predicted.basis
    assert predicted.fits(100) is True
    assert predicted.fits(5) is None
    assert predicted.fits(2) is False


def test_a_rank_that_loads_by_itself_takes_what_one_worker_took() -> None:
    model = model_of(measure(1, 2, 2))
    alone = model.predict(1, loaders(0, 0)).peak_gb
    taken_over_gb = TRAIN_WORKER_GB + VAL_WORKER_GB + 2 * BATCH_GB
    assert alone == pytest.approx(RANK_GB + taken_over_gb + PROCESS_GB)


def test_loading_in_the_rank_is_predicted_from_a_run_that_did_so() -> None:
    model = model_of(measure(1, 2, 2), measure(2, 0, 0))
    assert model.predict(4, loaders(0, 0)).peak_gb == pytest.approx(node_gb(4, 0, 0), rel=0.05)


def test_batches_in_flight_grow_with_the_micro_batch() -> None:
    model = model_of(measure(1, 4, 0))
    small = model.predict(1, loaders(4, 0), MICRO).peak_gb
    large = model.predict(1, loaders(4, 0), 3 * MICRO).peak_gb
    assert large - small >= 4 * PREFETCH * 2 * BATCH_GB


def test_what_a_config_declares_is_taken_from_the_measured_and_added_to_the_wanted() -> None:
    declared = Needs(per_rank_gb={"index": 0.5}, per_worker_gb={"index": 0.5})
    model = fit([measure(1, 2, 2, extra_rank_gb=0.5, extra_worker_gb=0.5)], lambda _: declared)
    assert model is not None
    assert model.predict(1, loaders(2, 2)).peak_gb == pytest.approx(node_gb(1, 2, 2), rel=1e-6)
    wanted = Needs(per_rank_gb={"index": 2.0}, per_worker_gb={"index": 2.0})
    predicted = model.predict(1, loaders(2, 2), needs=wanted)
    assert predicted.peak_gb == pytest.approx(node_gb(1, 2, 2) + 5 * 2.0, rel=1e-6)
    assert [row.gb for row in predicted.rows if row.what == "index of each worker"] == [8.0]


def test_an_attempt_that_ran_out_of_memory_says_only_at_least() -> None:
    model = model_of(measure(1, 2, 1, outcome="host_oom", mem_gb=6.0))
    predicted = model.predict(1, loaders(2, 1))
    assert predicted.peak_gb == pytest.approx(6.0)
    assert predicted.fits(100) is None
    assert predicted.fits(6) is False
    assert "ran out of memory" in predicted.basis


def test_attempts_that_ran_out_of_memory_give_way_to_whole_ones() -> None:
    model = model_of(
        measure(1, 2, 1, outcome="host_oom", mem_gb=1.0, number=2), measure(1, 2, 1, number=1)
    )
    assert model.predict(1, loaders(2, 1)).fits(100) is True


def test_without_a_cgroup_the_sum_of_processes_counts() -> None:
    model = model_of(measure(2, 2, 1, has_cgroup=False))
    predicted = model.predict(2, loaders(2, 1))
    assert predicted.peak_gb == pytest.approx(node_gb(2, 2, 1), rel=0.02)
    assert "no cgroup told" in predicted.basis


def test_runs_that_never_trained_say_nothing() -> None:
    assert fit([]) is None
    assert fit([measure(phases=("start",))]) is None


def test_rows_add_up_to_the_peak_and_name_the_state() -> None:
    predicted = model_of(measure(2, 4, 2)).predict(2, loaders(4, 2))
    assert sum(row.gb for row in predicted.rows) == pytest.approx(predicted.peak_gb)
    named = {row.what: row.gb for row in predicted.rows}
    assert named["weights"] == pytest.approx(0.4)
    assert named["optimizer"] == pytest.approx(0.8)
    assert named["batches in flight"] == pytest.approx(2 * 6 * PREFETCH * BATCH_GB)


def test_tensors_of_a_gpu_run_are_not_in_the_memory_of_the_node() -> None:
    predicted = model_of(measure(2, 4, 2, gpu_mem_gb=48.0)).predict(2, loaders(4, 2))
    assert "weights" not in {row.what for row in predicted.rows}


def test_the_table_has_the_limit_and_a_verdict() -> None:
    predicted = model_of(measure(2, 4, 2)).predict(2, loaders(4, 2))
    drawn = budgets.table(predicted, 5.0)
    cells = [str(cell) for column in drawn.columns for cell in column.cells]
    assert "does not fit" in cells
    assert "5.00" in cells
    assert f"{predicted.with_margin_gb:.2f}" in cells


def test_a_moment_that_no_look_caught_counts(tmp_path: Path) -> None:
    seen = measure(1, 2, 2)
    phases = [
        use.model_copy(update={"node_with_cache_gb": use.node_gb + 1.0})  # type: ignore[operator]
        for use in seen.ranks[0].phases
    ]
    ranks = [seen.ranks[0].model_copy(update={"phases": phases})]
    highest_gb = node_gb(1, 2, 2) + 1.0 + 0.5
    life = AttemptRecord(
        attempt="001-000", key="k", job_id="1", host="gl001", pid=1, world_size=1,
        started=files.now(), mem_peak_gb=highest_gb,
    )  # fmt: skip
    store.write_record(store.attempt_path(tmp_path, "001-000"), life)
    model = model_of(Measure(ranks, tmp_path, "001-000"))
    assert model.predict(1, loaders(2, 2)).peak_gb == pytest.approx(node_gb(1, 2, 2) + 0.5)


def test_a_job_that_file_pages_filled_missed_nothing(tmp_path: Path) -> None:
    seen = measure(1, 2, 2, mem_gb=8.0)
    phases = [use.model_copy(update={"node_with_cache_gb": 6.0}) for use in seen.ranks[0].phases]
    ranks = [seen.ranks[0].model_copy(update={"phases": phases})]
    life = AttemptRecord(
        attempt="001-000", key="k", job_id="1", host="gl001", pid=1, world_size=1,
        started=files.now(), mem_peak_gb=8.0,
    )  # fmt: skip
    store.write_record(store.attempt_path(tmp_path, "001-000"), life)
    model = model_of(Measure(ranks, tmp_path, "001-000"))
    assert model.predict(1, loaders(2, 2)).peak_gb == pytest.approx(node_gb(1, 2, 2))


def test_a_look_while_workers_come_does_not_make_the_rank_larger() -> None:
    seen = measure(1, 4, 4, phases=("train", "validate", "checkpoint"))
    phases = [
        use.model_copy(update={"workers": 4}) if use.phase == "checkpoint" else use
        for use in seen.ranks[0].phases
    ]
    ranks = [seen.ranks[0].model_copy(update={"phases": phases})]
    model = model_of(Measure(ranks, seen.run_dir, seen.attempt), measure(1, 4, 2))
    assert model.predict(1, loaders(4, 1)).peak_gb == pytest.approx(node_gb(1, 4, 1))


def test_two_micro_batches_show_what_a_rank_holds_of_a_batch() -> None:
    small = measure(1, 2, 2)
    large = measure(1, 2, 2, extra_rank_gb=1.0, micro_batch_size=2 * MICRO)
    model = model_of(large, small)
    per_sample_gb = 1.0 / MICRO
    more_gb = (
        model.predict(1, loaders(2, 2), 3 * MICRO).peak_gb
        - model.predict(1, loaders(2, 2), 2 * MICRO).peak_gb
    )
    assert more_gb >= MICRO * per_sample_gb * 0.9


def test_the_fullest_node_counts() -> None:
    near, far = measure(2, 2, 2), measure(2, 2, 2, extra_rank_gb=1.0)
    moved = [
        rank.model_copy(update={"host": "gl002", "rank": rank.rank + 2, "world_size": 4})
        for rank in far.ranks
    ]
    both = [rank.model_copy(update={"world_size": 4}) for rank in near.ranks]
    model = model_of(Measure([*both, *moved], near.run_dir, near.attempt))
    predicted = model.predict(2, loaders(2, 2), world_size=4).peak_gb
    assert predicted == pytest.approx(node_gb(2, 2, 2, extra_rank_gb=1.0))


def test_the_budget_of_a_node_is_that_of_its_fullest_phase() -> None:
    model = model_of(measure(1, 2, 2))
    asked = Wanted(ranks_per_node=2, loaders=loaders(4, 1), world_size=2)
    found = {budget.phase: budget.peak_gb for budget in model.budgets(asked)}
    assert set(found) == {*model.seen[0].phases, "validate"}
    fullest = model.budget(asked)
    assert (fullest.peak_gb, found[fullest.phase]) == (max(found.values()), max(found.values()))
