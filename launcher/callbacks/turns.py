"""Gives Python back to the training soon after a thread beside it has taken it."""

from __future__ import annotations

import sys

import pytorch_lightning as pl

TURN_S = 0.0005
"""How long a thread that computes in Python may go on while another waits [s]; 5 ms by default."""


class ShortTurns(pl.Callback):
    """Shortens the turns of Python's threads while a Trainer is at work.

    Each call of CUDA lets other threads have Python: those that pin batches, look at memory or
    write rows. What comes back late launches late, and all ranks wait for the last.
    """

    def __init__(self) -> None:
        self._before_s: float | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Shorten, unless a project has turns that are shorter still."""
        self._before_s = sys.getswitchinterval()
        sys.setswitchinterval(min(self._before_s, TURN_S))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave Python as it was."""
        if self._before_s is not None:
            sys.setswitchinterval(self._before_s)
        self._before_s = None
