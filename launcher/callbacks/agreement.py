"""What all ranks agree on between two steps: whether to stop, and whether to save."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
import torch.distributed as dist

ASK_EVERY_S = 1.0
"""Most training time between two agreements [s]; one costs about a millisecond."""
_MOST_STEPS = 1000


@dataclass(frozen=True)
class Wishes:
    """What one rank wants, or all together."""

    stop: bool = False
    save: bool = False


class Agreement:
    """Asks all ranks every so many steps, the same number on each."""

    def __init__(self, world_size: int, device: torch.device) -> None:
        self._world_size = world_size
        self._device = device
        self.step_s = 0.0
        """Time of an optimizer step, with all that lies between two [s]."""
        self._left = 1
        self._steps = 0
        self._asked_s = time.monotonic()

    def is_due(self) -> bool:
        """Whether to ask now; called once per optimizer step."""
        self._left -= 1
        self._steps += 1
        return self._left <= 0

    def reach(self, mine: Wishes) -> Wishes:
        """What at least one rank wants; a collective call where there are several."""
        now = time.monotonic()
        step_s = (now - self._asked_s) / max(self._steps, 1)
        if self._world_size > 1:
            wishes = torch.tensor(
                [float(mine.stop), float(mine.save), step_s],
                dtype=torch.float64 if self._device.type != "mps" else torch.float32,
                device=self._device,
            )
            dist.all_reduce(wishes, op=dist.ReduceOp.MAX)
            stop, save, step_s = wishes.tolist()
            mine = Wishes(bool(stop), bool(save))
            # All ranks have the same step time now, hence the same number of steps.
            self._left = int(min(max(ASK_EVERY_S / max(step_s, 1e-6), 1), _MOST_STEPS))
        else:
            self._left = 1
        self.step_s = step_s
        self._steps = 0
        self._asked_s = time.monotonic()
        return mine
