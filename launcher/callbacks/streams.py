"""Has DDP take gradients in on the stream that makes them.

Lightning up to 2.6.6 builds DDP on a CUDA stream of its own, so that each parameter's gradient
changes streams, twice, in every step, of which torch warns; its later versions do not (pull request
21746). A step of four H200s took as long either way (`benchmarks/gpu/steps.py`).
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel


class OneStream(pl.Callback):
    """Builds DDP as Lightning does, on the current stream."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Replace what Lightning calls next, unless a project has a way of its own."""
        strategy: Any = trainer.strategy
        if getattr(type(strategy), "_setup_model", None) is not DDPStrategy._setup_model:
            return

        def setup_model(model: nn.Module) -> DistributedDataParallel:
            devices = strategy.determine_ddp_device_ids()
            return DistributedDataParallel(module=model, device_ids=devices, **strategy._ddp_kwargs)

        strategy._setup_model = setup_model
