"""Which samples a rank sees, and in which order: a function of seed and position alone.

The order of an epoch depends on (seed, epoch), never on workers, ranks or how often training
was interrupted; the position counts samples. All ranks together see each global batch once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from experiments.settings import ExperimentConfig
from launcher.topology import BatchSplit

Indices = npt.NDArray[np.int64]


def global_batch(num_samples: int, batch_size: int, seed: int, step: int) -> Indices:
    """Sample numbers (batch_size,) of one optimizer step; a batch may straddle two epochs."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(positions, num_samples)
    batch = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs):
        of_epoch = epochs == epoch
        batch[of_epoch] = _epoch_order(num_samples, seed, int(epoch))[offsets[of_epoch]]
    return batch


@lru_cache(maxsize=1)
def _epoch_order(num_samples: int, seed: int, epoch: int) -> Indices:
    # Kept for the next step: drawing 85,109 samples anew takes longer than picking a batch.
    order = np.random.default_rng((seed, epoch)).permutation(num_samples)
    order.flags.writeable = False
    return order


def rank_batches(batch: Indices, split: BatchSplit, rank: int, world_size: int) -> list[list[int]]:
    """The micro-batches of one rank from a global batch; ranks share no sample."""
    parts = batch.reshape(split.accumulation, world_size, split.micro_batch_size)
    return [[int(i) for i in part[rank]] for part in parts]


@dataclass(kw_only=True)
class StepBatches(Sampler[list[int]]):
    """Batch sampler over a whole training: `accumulation` micro-batches per optimizer step."""

    num_samples: int
    batch_size: int
    split: BatchSplit
    seed: int
    max_steps: int
    rank: int = 0
    world_size: int = 1
    _done: int = 0

    def __len__(self) -> int:
        return self.max_steps * self.split.accumulation

    def skip(self, batches: int) -> None:
        """Leave out the first `batches` micro-batches of the next pass; nothing is read for them.

        Raises:
            ValueError: they end in the middle of an optimizer step.
        """
        self._done, rest = divmod(batches, self.split.accumulation)
        if rest:
            raise ValueError(f"{batches} micro-batches are no whole number of optimizer steps")

    def __iter__(self) -> Iterator[list[int]]:
        first, self._done = self._done, 0
        for step in range(first, self.max_steps):
            batch = global_batch(self.num_samples, self.batch_size, self.seed, step)
            yield from rank_batches(batch, self.split, self.rank, self.world_size)


def rank_share(num_samples: int, rank: int, world_size: int) -> Indices:
    """Samples of one rank in a pass over all of them; shares differ by at most one."""
    return np.arange(rank, num_samples, world_size, dtype=np.int64)


def effective_steps(config: ExperimentConfig, num_labelled: int, num_available: int) -> int:
    """Return the optimizer steps of a training on `num_labelled` of `num_available` tokens.

    `data.budget=steps` gives every label fraction `trainer.max_steps`. `epochs` gives it as many
    passes over its labels as those steps are over all of them: in proportion, rounded up.

    Raises:
        ValueError: the counts are no part and its whole.
    """
    if not 1 <= num_labelled <= num_available:
        raise ValueError(f"{num_labelled} labelled of {num_available} available tokens")
    if config.data.budget == "steps":
        return config.trainer.max_steps
    return -(-config.trainer.max_steps * num_labelled // num_available)
