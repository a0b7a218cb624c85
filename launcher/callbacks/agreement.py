"""What all ranks agree on between two steps: whether to stop, and whether to save."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
import torch.distributed as dist

from launcher import stopping
from launcher.callbacks.underway import Underway

ASK_EVERY_S = 1.25
"""Most training time between two agreements [s]."""
_MOST_BATCHES = 1000
_SHORT_BATCH_S = 0.25
"""After batches shorter than this GPUs answer a batch later: waiting for them would tell [s]."""
_WISHES = ("stop", "save", "batch_s")


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
        """Time of a training batch on the slowest rank, with all that lies between two [s]."""
        self._asked: Underway | None = None
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

    def reach(self, mine: Wishes, *, at_once: bool = False) -> Wishes | None:
        """What at least one rank wants, or None: that is told when it is due next, a batch later.

        A collective call where there are several ranks, all of which are told at the same batch.
        """
        if self._asked is not None and not at_once:
            return self._answer(self._asked)
        now_s = time.monotonic()
        batch_s = (now_s - self._asked_s) / max(self._batches, 1)
        self._batches, self._asked_s = 0, now_s
        asked = self._ask(mine, batch_s)
        is_short = 0.0 < self.batch_s < _SHORT_BATCH_S
        if self._device.type == "cuda" and self._world_size > 1 and is_short and not at_once:
            self._asked = asked
            return None
        return self._answer(asked)

    def _ask(self, mine: Wishes, batch_s: float) -> Underway:
        wishes = [float(mine.stop), float(mine.save), batch_s]
        if self._world_size == 1:
            return Underway(dict(zip(_WISHES, wishes, strict=True)))
        is_cuda = self._device.type == "cuda"
        dtype = torch.float64 if self._device.type != "mps" else torch.float32
        told = torch.tensor(wishes, dtype=dtype, pin_memory=is_cuda)
        told = told.to(self._device, non_blocking=is_cuda)
        dist.all_reduce(told, op=dist.ReduceOp.MAX)
        return Underway(dict(zip(_WISHES, told, strict=True)))

    def _answer(self, asked: Underway) -> Wishes:
        stop, save, self.batch_s = asked.numbers().values()
        self._asked = None
        # All ranks have the same time of a batch now, hence the same number of batches.
        self._left = int(min(max(ASK_EVERY_S / max(self.batch_s, 1e-6), 1), _MOST_BATCHES))
        return Wishes(bool(stop), bool(save))
