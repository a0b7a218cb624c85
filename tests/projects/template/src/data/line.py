import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset


class LineData(pl.LightningDataModule):
    """Points near a line."""

    def __init__(self, num_points, batch_size, noise, ready_file=None):
        super().__init__()
        self.save_hyperparameters()

    def prepare_data(self):
        ready = self.hparams.ready_file
        while ready and not Path(ready).exists():
            time.sleep(0.05)

    def setup(self, stage=None):
        x = torch.linspace(-1, 1, self.hparams.num_points)[:, None]
        y = 3 * x - 1 + self.hparams.noise * torch.randn_like(x)
        self.train_points = TensorDataset(x[::2], y[::2])
        self.val_points = TensorDataset(x[1::2], y[1::2])

    def train_dataloader(self):
        return DataLoader(self.train_points, self.hparams.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val_points, self.hparams.batch_size)
