"""Which samples a rank sees, and in which order: a function of seed and position alone.

The order of an epoch depends on (seed, epoch), never on workers, ranks or how often training
was interrupted; the position counts samples. All ranks together see each global batch once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from launcher.topology import BatchSplit

Indices = npt.NDArray[np.int64]


def global_batch(num_samples: int, batch_size: int, seed: int, step: int) -> Indices:
    """Sample numbers (batch_size,) of one optimizer step; a batch may straddle two epochs."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(positions, num_samples)
    orders = {int(e): _epoch_order(num_samples, seed, int(e)) for e in np.unique(epochs)}
    picked = [orders[int(e)][o] for e, o in zip(epochs, offsets, strict=True)]
    return np.asarray(picked, dtype=np.int64)


def _epoch_order(num_samples: int, seed: int, epoch: int) -> Indices:
    return np.random.default_rng((seed, epoch)).permutation(num_samples)


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
