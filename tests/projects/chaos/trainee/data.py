"""Points of a function, with random augmentation, from plain loaders of torch."""

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, get_worker_info

from trainee import mischief

FEATURES = 8


class Points(Dataset):
    def __init__(self, num_samples, seed, *, is_augmented, fault=None, run_dir=None):
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(num_samples, FEATURES, generator=generator)
        self.y = torch.sin(self.x).sum(dim=1, keepdim=True)
        self.is_augmented = is_augmented
        self.fault, self.run_dir = fault, run_dir

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        if not self.is_augmented:
            if get_worker_info() is not None:
                mischief.in_validation_worker(self.fault, self.run_dir)
            return self.x[index], self.y[index]
        return self.x[index] + 0.05 * torch.randn(FEATURES), self.y[index]


class PointsData(pl.LightningDataModule):
    def __init__(self, config, run_dir):
        super().__init__()
        self.config, self.run_dir = config, run_dir

    def train_dataloader(self):
        data = Points(self.config.data.num_samples, self.config.seed, is_augmented=True)
        if self.trainer.world_size == 1:
            return self._loader(data, shuffle=True)
        sampler = DistributedSampler(
            data, self.trainer.world_size, self.trainer.global_rank, seed=self.config.seed
        )
        return self._loader(data, sampler=sampler)

    def val_dataloader(self):
        data = Points(
            64, self.config.seed + 1, is_augmented=False,
            fault=self.config.fault, run_dir=self.run_dir,
        )  # fmt: skip
        return self._loader(data, shuffle=False)

    def _loader(self, data, **options):
        settings = self.config.data
        return DataLoader(data, settings.batch_size, num_workers=settings.num_workers, **options)
