"""Memory of a GPU for other micro-batches."""

from __future__ import annotations

import pytest

from launcher.estimates.gpu import NCCL_GB, OUTSIDE_GB, fit_gpu
from launcher.estimates.memory import GpuModel
from launcher.measures import Measure
from launcher.records import PhaseUse
from tests.unit.launcher.estimates.taken import GRADIENTS_GB, OPTIMIZER_GB, WEIGHTS_GB, measure

STATE_GB = WEIGHTS_GB + GRADIENTS_GB + OPTIMIZER_GB
SAMPLE_GB = 0.5


def trained(micro: int, *, ranks: int = 1, reserve: float = 1.0, fixed_gb: float = STATE_GB,
            **changes: object) -> Measure:  # fmt: skip
    """An attempt whose GPUs held a line over the micro-batch."""
    exchange_gb = GRADIENTS_GB if ranks > 1 else 0.0
    held_gb = fixed_gb + exchange_gb + micro * SAMPLE_GB
    use = PhaseUse(
        phase="train",
        seconds=1,
        looks=1,
        rank_gb=1,
        gpu_gb=held_gb,
        gpu_reserved_gb=held_gb * reserve,
    )
    made = measure(
        ranks, **({"micro_batch_size": micro, "gpu_mem_gb": 48.0, "gpu_name": "L40S"} | changes)
    )  # type: ignore[arg-type]
    uses = [rank.model_copy(update={"phases": [use]}) for rank in made.ranks]
    return Measure(uses, made.run_dir, made.attempt)


def model_of(*measures: Measure) -> GpuModel:
    model = fit_gpu(measures)
    assert model is not None
    return model


@pytest.mark.parametrize("micro", [1, 16, 64])
def test_one_micro_batch_predicts_others_when_state_is_all_that_stays(micro: int) -> None:
    peak_gb = model_of(trained(16)).peak_gb(micro, 1)
    assert peak_gb == pytest.approx(STATE_GB + micro * SAMPLE_GB + OUTSIDE_GB)


def test_two_micro_batches_find_what_stays_besides_state() -> None:
    model = model_of(trained(8, fixed_gb=5.0), trained(24, fixed_gb=5.0))
    assert model.peak_gb(48, 1) == pytest.approx(5.0 + 48 * SAMPLE_GB + OUTSIDE_GB)


def test_a_second_rank_adds_gradients_and_nccl() -> None:
    model = model_of(trained(16))
    more_gb = model.peak_gb(16, 2) - model.peak_gb(16, 1)
    assert more_gb == pytest.approx(GRADIENTS_GB + NCCL_GB)


def test_what_is_reserved_counts() -> None:
    model = model_of(trained(16, reserve=1.25))
    assert model.peak_gb(16, 1) == pytest.approx((STATE_GB + 16 * SAMPLE_GB) * 1.25 + OUTSIDE_GB)


def test_the_largest_micro_batch_fits_and_one_more_does_not() -> None:
    model = model_of(trained(16))
    largest = model.largest(48.0, 1, 0.1)
    assert model.peak_gb(largest, 1) * 1.1 <= 48.0 < model.peak_gb(largest + 1, 1) * 1.1


def test_a_card_that_holds_not_even_the_model_gets_no_micro_batch() -> None:
    assert model_of(trained(16)).largest(1.0, 1, 0.1) == 0


def test_attempts_that_ran_out_of_gpu_memory_or_had_no_gpu_say_nothing() -> None:
    assert fit_gpu([trained(16, outcome="gpu_oom"), measure()]) is None
