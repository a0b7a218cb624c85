"""Sample order is a function of seed and position; ranks share each batch without overlap."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from experiments.sampling import StepBatches, global_batch, rank_batches, rank_share
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


def batches(first_step: int = 0, rank: int = 0, world_size: int = 1) -> list[list[int]]:
    return list(
        StepBatches(
            num_samples=10,
            batch_size=4,
            split=split_batch(4, world_size, 2),
            seed=7,
            max_steps=6,
            rank=rank,
            world_size=world_size,
            first_step=first_step,
        )
    )


def test_starting_later_gives_the_rest_of_the_same_stream() -> None:
    assert batches(first_step=2) == batches()[2 * 2 :]


def test_another_seed_gives_another_order() -> None:
    assert global_batch(50, 50, 0, 0).tolist() != global_batch(50, 50, 1, 0).tolist()
    assert global_batch(50, 50, 0, 0).tolist() != global_batch(50, 50, 0, 1).tolist()


@given(st.integers(0, 40), st.integers(1, 8))
def test_validation_shares_cover_all_samples_once(num_samples: int, ranks: int) -> None:
    shares = [rank_share(num_samples, rank, ranks).tolist() for rank in range(ranks)]
    assert sorted(i for share in shares for i in share) == list(range(num_samples))
