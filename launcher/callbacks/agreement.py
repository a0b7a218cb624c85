"""What all ranks agree on between two steps: whether to stop, and whether to save."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
import torch.distributed as dist

from launcher import stopping

ASK_EVERY_S = 1.25
"""Most training time between two agreements [s]; one costs a few milliseconds of waiting."""
_MOST_BATCHES = 1000


@dataclass(frozen=True)
class Wishes:
    """What one rank wants, or all together."""

    stop: bool = False
    save: bool = False


class Agreement:
    """Asks all ranks every so many batches, the same number on each."""

    def __init__(self, world_size: int, device: torch.device) -> None:
        self._world_size = world_size
        self._device = device
        self.batch_s = 0.0
        """Time of a training batch, with all that lies between two [s]."""
        self._left = 1
        self._batches = 0
        self._asked_s = time.monotonic()

    def is_due(self) -> bool:
        """Whether to ask now; called once per batch, and cheap.

        A rank that is alone asks nobody, and knows at once.
        """
        self._left -= 1
        self._batches += 1
        return self._left <= 0 or (self._world_size == 1 and stopping.requested() is not None)

    def reach(self, mine: Wishes) -> Wishes:
        """What at least one rank wants; a collective call where there are several."""
        batch_s = (time.monotonic() - self._asked_s) / max(self._batches, 1)
        if self._world_size > 1:
            wishes = torch.tensor(
                [float(mine.stop), float(mine.save), batch_s],
                dtype=torch.float64 if self._device.type != "mps" else torch.float32,
                device=self._device,
            )
            dist.all_reduce(wishes, op=dist.ReduceOp.MAX)
            stop, save, batch_s = wishes.tolist()
            mine = Wishes(bool(stop), bool(save))
        # All ranks have the same time of a batch now, hence the same number of batches.
        self._left = int(min(max(ASK_EVERY_S / max(batch_s, 1e-6), 1), _MOST_BATCHES))
        self.batch_s = batch_s
        self._batches = 0
        self._asked_s = time.monotonic()
        return mine
