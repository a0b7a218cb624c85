"""Sample order is a function of seed and position; ranks share each batch without overlap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.sampling import (
    StepBatches,
    effective_steps,
    global_batch,
    rank_batches,
    rank_share,
)
from experiments.settings import DataConfig, ExperimentConfig, TrainerConfig
from launcher.topology import split_batch

counts = st.integers(1, 60)


@given(counts, st.integers(1, 40), st.integers(0, 5))
def test_every_sample_is_seen_once_per_epoch(num_samples: int, batch: int, seed: int) -> None:
    steps = -(-num_samples // batch)
    stream = np.concatenate([global_batch(num_samples, batch, seed, s) for s in range(steps)])
    assert sorted(stream[:num_samples]) == list(range(num_samples))


@given(counts, st.integers(1, 4), st.integers(1, 4), st.integers(1, 8))
def test_ranks_and_accumulation_only_cut_the_same_batch(
    num_samples: int, ranks: int, per_rank: int, largest: int
) -> None:
    batch = global_batch(num_samples, ranks * per_rank, 0, 3)
    split = split_batch(ranks * per_rank, ranks, largest)
    drawn = [
        sample
        for rank in range(ranks)
        for micro in rank_batches(batch, split, rank, ranks)
        for sample in micro
    ]
    assert sorted(drawn) == sorted(batch.tolist())


def sampler() -> StepBatches:
    """Six steps of two micro-batches."""
    split = split_batch(4, 1, 2)
    return StepBatches(num_samples=10, batch_size=4, split=split, seed=7, max_steps=6)


def test_leaving_out_what_was_done_gives_the_rest_of_the_same_stream() -> None:
    resumed = sampler()
    resumed.skip(2 * 2)
    assert list(resumed) == list(sampler())[2 * 2 :]
    assert len(resumed) == len(list(resumed)) == 12  # the next pass is a whole one


def test_half_an_optimizer_step_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="3 micro-batches"):
        sampler().skip(3)


def test_another_seed_gives_another_order() -> None:
    assert global_batch(50, 50, 0, 0).tolist() != global_batch(50, 50, 1, 0).tolist()
    assert global_batch(50, 50, 0, 0).tolist() != global_batch(50, 50, 0, 1).tolist()


@given(st.integers(0, 40), st.integers(1, 8))
def test_validation_shares_cover_all_samples_once(num_samples: int, ranks: int) -> None:
    shares = [rank_share(num_samples, rank, ranks).tolist() for rank in range(ranks)]
    assert sorted(i for share in shares for i in share) == list(range(num_samples))


def budget(kind: str, steps: int = 100) -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(budget=kind), trainer=TrainerConfig(max_steps=steps, batch_size=8)
    )


def test_equal_steps_are_the_same_at_every_label_fraction() -> None:
    assert [effective_steps(budget("steps"), n, 85_109) for n in (1, 8_511, 85_109)] == [100] * 3


def test_equal_epochs_shrink_with_the_labels_and_leave_at_least_one_step() -> None:
    found = [effective_steps(budget("epochs"), n, 85_109) for n in (1, 8_511, 42_555, 85_109)]
    assert found == [1, 11, 51, 100]


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 10_000))
def test_equal_epochs_are_rounded_up_by_less_than_a_step(
    labelled: int, others: int, steps: int
) -> None:
    available = labelled + others
    found = effective_steps(budget("epochs", steps), labelled, available)
    assert 0 <= found * available - steps * labelled < available


@pytest.mark.parametrize("labelled", [0, 11])
def test_counts_that_are_no_part_of_a_whole_are_an_error(labelled: int) -> None:
    with pytest.raises(ValueError, match="of 10 available"):
        effective_steps(budget("steps"), labelled, 10)
