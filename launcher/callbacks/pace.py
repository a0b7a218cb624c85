"""A host that is far ahead of its GPU sleeps, as its core is worth more to the dataloaders."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytorch_lightning as pl
import torch

_AHEAD = 2
"""Batches that a GPU has been given and has not done; with one more the host waits."""


class Pace(pl.Callback):
    """Waits for the batch before the last one.

    Without it a host goes ahead until the queue of its GPU is full, and asks for a place in it
    until there is one, which takes a core. So steps are also counted when they are done, nearly.
    """

    def __init__(self) -> None:
        self._given: deque[torch.cuda.Event] = deque()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Sleep until the GPU has less to do."""
        device = trainer.strategy.root_device
        if device.type != "cuda":
            return
        with torch.cuda.device(device):
            given = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            given.record()
        self._given.append(given)
        if len(self._given) > _AHEAD:
            self._given.popleft().synchronize()
