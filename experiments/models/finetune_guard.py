"""Look at a fine-tuning policy where it runs: before the first step of a life, and after it."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from experiments.models.backbone import Backbone
from experiments.models.finetune import check
from experiments.settings import FinetuneConfig


class PolicyGuard(pl.Callback):
    """Ends a training whose frozen part learns, or whose learning part does not.

    Whatever Lightning, a strategy or a callback did to modes, gradients and groups since the
    module was built is seen here. Modules without a fine-tuning policy are left alone.
    """

    def __init__(self) -> None:
        self._first_step = -1
        self._is_done = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check what training starts from."""
        self._first_step, self._is_done = trainer.global_step, False
        _check(trainer, pl_module)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Check what the first optimizer step has left."""
        if not self._is_done and trainer.global_step > self._first_step:
            self._is_done = True
            _check(trainer, pl_module)


def _check(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    policy, backbone = getattr(module, "finetune_config", None), getattr(module, "backbone", None)
    if isinstance(policy, FinetuneConfig) and isinstance(backbone, Backbone):
        for optimizer in trainer.optimizers:
            check(policy, backbone, optimizer)
