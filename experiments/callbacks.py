"""What the Trainer of a planner does besides training: layouts, recordings, statistics, files."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
import torch.distributed as dist

from experiments.models.finetune import whole_backbone
from experiments.models.planning import PlanningModule
from experiments.passes import Passes, plainly


class SharedStatistics(pl.Callback):
    """Has all ranks validate with the running statistics of rank 0, which are those that are saved.

    DDP shares them in each step by hundreds of small copies, although training does not read them.
    """

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take those of rank 0."""
        self._share(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """So does what follows the training."""
        self._share(trainer, pl_module)

    def _share(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.world_size > 1:
            for buffer in pl_module.buffers():
                dist.broadcast(buffer, src=0)


class Bf16Backbone(pl.Callback):
    """Holds the weights of a backbone in bfloat16 while it trains, those of the head in float32.

    Heads hold trajectories to choose from, in metres, which bfloat16 would round.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Convert before optimiser and strategy see the weights."""
        if stage == "fit" and isinstance(pl_module, PlanningModule):
            pl_module.backbone.to(torch.bfloat16)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Convert back, which changes no value: what follows has no autocast."""
        if stage == "fit" and isinstance(pl_module, PlanningModule):
            pl_module.backbone.to(torch.float32)


class ChannelsLast(pl.Callback):
    """Lays out the kernels of convolutional backbones as tensor cores read them.

    Without it cuDNN reorders each map before and after each convolution, and batch norm of
    bfloat16 takes a slow way: 67 of 129 ms that an H200 works on a step of TransFuser.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Convert before optimiser and strategy see the weights; values and names stay."""
        if stage != "fit" or not isinstance(pl_module, PlanningModule):
            return
        backbone = whole_backbone(pl_module.backbone)
        if backbone.is_convolutional:
            backbone.to(memory_format=torch.channels_last)
            # A 1 x 1 kernel has both layouts at once; which one a gradient names costs nothing.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")


class LastCheckpoint(pl.Callback):
    """Saves where training ended.

    `ModelCheckpoint(save_last=True)` keeps the last one that was better than those before it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, on all ranks together."""
        trainer.save_checkpoint(self._path, weights_only=False)


class Recorded(pl.Callback):
    """Replays the parts of backbone and head that say that they can be."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Record the first batch of each shape but one."""
        if stage == "fit" and isinstance(pl_module, PlanningModule):
            passes = Passes()
            whole_backbone(pl_module.backbone).run = passes
            pl_module.run = passes

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give back the memory of the recordings."""
        if stage == "fit" and isinstance(pl_module, PlanningModule):
            whole_backbone(pl_module.backbone).run = plainly
            pl_module.run = plainly


class Compiled(pl.Callback):
    """Compiles backbone and head in place; names in checkpoints stay as they are."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Compile at the first call, before a strategy wraps the module."""
        if stage == "fit" and isinstance(pl_module, PlanningModule):
            for part in (whole_backbone(pl_module.backbone), pl_module.head):
                part.compile()
