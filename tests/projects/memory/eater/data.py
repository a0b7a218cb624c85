"""Samples that cost known amounts of memory in ranks and in workers."""

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from eater.needs import ROW_BYTES

MB = 2**20


def ballast(mb):
    """Memory that is really there."""
    return np.ones(mb * MB, dtype=np.uint8)


class Rows(Dataset):
    """`length` samples over an index of any size."""

    def __init__(self, length, index, features, worker_mb):
        self.length, self.index, self.features = length, index, features
        self.worker_mb = worker_mb
        self.held = None

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        if self.held is None:
            self.held = ballast(self.worker_mb)
            self.walk()
        row = self.index[i % len(self.index)]
        x = torch.full((self.features,), float(row[0] % 7))
        return x, torch.tensor([1.0])

    def walk(self):
        """Look at each sample once, as an epoch would."""
        for i, row in enumerate(self.index):
            if isinstance(self.index, list):
                self.index[i] = row.copy()
            else:
                row.max()


def make_index(kind, samples, path):
    """A mapped file that all processes share, or a list of arrays."""
    if kind == "mapped":
        return np.load(path, mmap_mode="r")
    return [np.ones(ROW_BYTES, dtype=np.uint8) for _ in range(samples)]


def write_index(samples, path):
    """Rows of the mapped index, on disk."""
    rows = np.lib.format.open_memmap(path, "w+", np.uint8, (samples, ROW_BYTES))
    rows[:] = 1
    rows.flush()


class RowsData(pl.LightningDataModule):
    """Loaders for training and validation with workers of their own."""

    def __init__(self, config, micro_batch_size, run_dir):
        super().__init__()
        self.config, self.micro_batch_size, self.run_dir = config.data, micro_batch_size, run_dir
        self.steps, self.val_batches = config.trainer.max_steps, config.trainer.val_batches

    def prepare_data(self):
        if self.config.index == "mapped":
            write_index(self.config.index_samples, f"{self.run_dir}/index.npy")

    def setup(self, stage):
        self.held = ballast(self.config.rank_mb)
        path = f"{self.run_dir}/index.npy"
        self.index = make_index(self.config.index, self.config.index_samples, path)

    def train_dataloader(self):
        batches = self.steps * self.trainer.accumulate_grad_batches
        return self._loader(batches, self.config.num_workers, self.config.worker_mb)

    def val_dataloader(self):
        workers = self.config.val_num_workers
        workers = self.config.num_workers if workers is None else workers
        return self._loader(self.val_batches, workers, self.config.val_worker_mb)

    def _loader(self, batches, workers, worker_mb):
        length = batches * self.micro_batch_size
        data = Rows(length, self.index, self.config.features, worker_mb)
        return DataLoader(
            data,
            self.micro_batch_size,
            num_workers=workers,
            persistent_workers=self.config.persistent_workers and workers > 0,
        )
