"""A small network with all that makes resuming hard: dropout, accumulation, schedule, EMA."""

import copy
import time

import pytorch_lightning as pl
import torch
from torch import nn

from trainee import journal, mischief
from trainee.data import FEATURES

EMA_DECAY = 0.95


class Model(pl.LightningModule):
    def __init__(self, config, run_dir):
        super().__init__()
        self.config, self.run_dir = config, run_dir
        hidden, dropout = config.model.hidden, config.model.dropout
        self.net = nn.Sequential(
            nn.Linear(FEATURES, hidden), nn.GELU(), nn.Dropout(dropout),
            nn.Linear(hidden, hidden), nn.GELU(), nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )  # fmt: skip
        self.ema = copy.deepcopy(self.net).requires_grad_(False)
        self._said = 0

    def training_step(self, batch, batch_idx):
        time.sleep(self.config.step_ms / 1000 / self.trainer.accumulate_grad_batches)
        mischief.at_step(self.config.fault, self.run_dir, self.global_step)
        x, y = batch
        loss = nn.functional.mse_loss(self.net(x), y)
        self.log("train/loss", loss)
        return loss

    def on_train_start(self):
        self._said = self.global_step
        journal.say_card(self.run_dir, self.device)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if self.global_step == self._said:
            return
        self._said = self.global_step
        for kept, current in zip(self.ema.parameters(), self.net.parameters(), strict=True):
            kept.lerp_(current.detach(), 1 - EMA_DECAY)
        if self.trainer.is_global_zero:
            journal.say_step(self.run_dir, self.global_step)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val/loss", nn.functional.mse_loss(self.net(x), y), sync_dist=True)
        self.log("val/ema_loss", nn.functional.mse_loss(self.ema(x), y), sync_dist=True)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=3e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.config.max_steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
