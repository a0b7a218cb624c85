"""Trains and validates as the launcher says."""

import time

import pytorch_lightning as pl
import torch
from torch import nn

from eater.data import RowsData
from launcher.context import current
from launcher.topology import split_batch


class Model(pl.LightningModule):
    """One wide layer."""

    def __init__(self, config):
        super().__init__()
        self.step_s = config.step_ms / 1000
        width = config.model.width
        self.net = nn.Sequential(nn.Linear(config.data.features, width), nn.Linear(width, 1))

    def training_step(self, batch, batch_idx):
        time.sleep(self.step_s)
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        time.sleep(self.step_s)
        self.log("val/loss", self.loss(batch), sync_dist=True)

    def loss(self, batch):
        x, y = batch
        return nn.functional.mse_loss(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


def train(config):
    run = current()
    torch.set_num_threads(1)
    settings = config.trainer
    split = split_batch(settings.batch_size, run.world_size, settings.max_micro_batch_size)
    trainer = pl.Trainer(
        max_epochs=-1,
        max_steps=settings.max_steps,
        accumulate_grad_batches=split.accumulation,
        val_check_interval=settings.val_every_steps * split.accumulation,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        **run.trainer_arguments(),
    )
    trainer.fit(Model(config), datamodule=RowsData(config, split.micro_batch_size, run.run_dir))
    return float(trainer.callback_metrics["val/loss"])
