"""Lightning's own word between ranks about signals, in each batch, is left out of our runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop

from tests.local.trainings import Setting, live


class Watching(pl.Callback):
    """Sees whether batches are told, and the loop after the run."""

    def __init__(self) -> None:
        self.loop: Any = None
        self.is_told: list[bool] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.loop = trainer.fit_loop.epoch_loop
        told = self.loop._broadcast_sigterm_tensor
        self.is_told.append(getattr(told, "__func__", None) is _TELLS)


_TELLS = _TrainingEpochLoop._broadcast_sigterm_tensor


def test_no_batch_is_told_and_the_trainer_is_given_back(tmp_path: Path) -> None:
    watching = Watching()
    live(Setting(trainer={"max_epochs": 1}), tmp_path, extra=[watching])
    assert watching.is_told
    assert not any(watching.is_told)
    assert watching.loop._broadcast_sigterm_tensor.__func__ is _TELLS
