"""Small trainings with all that makes a resume hard: shuffling, augmentation, dropout, an EMA."""

from __future__ import annotations

import copy
import csv
import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torchmetrics
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from launcher import context, stopping
from launcher.context import RunContext
from launcher.settings import RecoveryConfig
from launcher.stopping import RunStopped


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Points that are augmented by all three generators when they are read."""

    def __init__(self, length: int) -> None:
        generator = torch.Generator().manual_seed(5)
        self.points = torch.randn(length, 6, generator=generator)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        point = self.points[index]
        noise = torch.rand(6) + random.random() + float(np.random.rand())
        return point + 0.1 * noise, point.sum(0, keepdim=True)


class Model(pl.LightningModule):
    """Dropout, batch statistics, an EMA of its weights, a metric over the epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = self.network()
        self.teacher = copy.deepcopy(self.net).requires_grad_(False)
        self.error = torchmetrics.MeanSquaredError()
        self.seen: list[tuple[int, str]] = []

    def network(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1)
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        point, target = batch
        predicted = self.net(point + 0.01 * torch.randn_like(point))
        loss = nn.functional.mse_loss(predicted, target)
        self.error.update(predicted.detach(), target)
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        for old, new in zip(self.teacher.parameters(), self.net.parameters(), strict=True):
            old.data.lerp_(new.data, 0.05)

    def on_train_epoch_end(self) -> None:
        self.log("train/mse", self.error.compute(), sync_dist=True)
        self.error.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        point, target = batch
        # A validation that draws, as one with sampled trajectories does.
        predicted = self.teacher(point + 0.01 * torch.randn_like(point))
        self.log("val/loss", nn.functional.mse_loss(predicted, target), sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=60)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class Crossing(nn.Module):
    """Layers that are used in another order than they are made, as two branches are."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(64, 32)
        self.last = nn.Linear(32, 1)
        self.first = nn.Linear(6, 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))


class Crossed(Model):
    def network(self) -> nn.Module:
        return Crossing()


@dataclass
class StopAt(pl.Callback):
    """Asks the process to stop after an optimizer step, or in a batch of a validation."""

    step: int
    validation_batch: int | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if self.validation_batch is None and trainer.global_step == self.step:
            stopping.request("TEST")

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step and batch_idx == self.validation_batch:
            stopping.request("TEST")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One kind of training."""

    name: str = ""
    model: type[Model] = Model
    samples: int = 22
    batch_size: int = 4
    num_workers: int = 0
    trainer: dict[str, Any] = field(default_factory=dict)
    own_generator: bool = False
    """Whether the loader shuffles with a generator of its own."""
    by_epoch: bool = False
    """Whether the order depends on the epoch that the sampler is told."""
    recovery: RecoveryConfig = field(default_factory=RecoveryConfig)


@dataclass(frozen=True)
class End:
    """How a life ended."""

    digest: str | None
    """Of weights, optimiser, schedule and generators; None if it was stopped."""
    step: int
    notes: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    """What the Trainer says at the end, which tasks return."""


def loaders(setting: Setting) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training and validation loader."""
    generator = torch.Generator().manual_seed(9) if setting.own_generator else None
    points = Noisy(setting.samples)
    sampler = DistributedSampler(points, num_replicas=1, rank=0) if setting.by_epoch else None
    train = DataLoader(
        points,
        batch_size=setting.batch_size,
        shuffle=sampler is None,
        sampler=sampler,
        num_workers=setting.num_workers,
        generator=generator,
    )
    return train, DataLoader(Noisy(7), batch_size=4)


def live(
    setting: Setting,
    run_dir: Path,
    stop: StopAt | None = None,
    *,
    key: str = "key",
    extra: list[pl.Callback] | None = None,
    trainer_arguments: dict[str, Any] | None = None,
    **world: Any,
) -> End:
    """One life of a training in this process, in the folder of its run."""
    stopping.clear()
    number = len(list(run_dir.glob("csv/*")))
    run = RunContext(
        run_dir=run_dir,
        key=key,
        name="test",
        attempt=f"001-{number:03d}",
        recovery=setting.recovery,
        **world,
    )
    context.enter(run)
    pl.seed_everything(3, workers=True, verbose=False)
    model = setting.model()
    train, validation = loaders(setting)
    trainer = pl.Trainer(
        default_root_dir=run_dir,
        logger=CSVLogger(run_dir, name="csv", version=f"{number:03d}"),
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*(extra or []), *([stop] if stop else [])],
        **{
            "accelerator": "cpu",
            "devices": 1,
            "log_every_n_steps": 1,
            **(trainer_arguments or {}),
            **setting.trainer,
        },
    )
    try:
        trainer.fit(model, train, validation)
    except RunStopped as stopped:
        return End(None, stopped.step or 0, context.notes())
    finally:
        noted = context.notes()
        context.enter(None)
        stopping.clear()
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return End(digest(model, trainer), trainer.global_step, noted, metrics)


def digest(model: pl.LightningModule, trainer: pl.Trainer) -> str:
    """Of all that training leaves behind."""
    total = hashlib.sha256()
    for name, value in model.state_dict().items():
        total.update(name.encode() + value.cpu().numpy().tobytes())
    for optimizer in trainer.optimizers:
        for state in optimizer.state_dict()["state"].values():
            for name, value in sorted(state.items()):
                total.update(f"{name}{torch.as_tensor(value).cpu().tolist()}".encode())
    total.update(repr([c.scheduler.last_epoch for c in trainer.lr_scheduler_configs]).encode())
    total.update(torch.get_rng_state().numpy().tobytes())
    total.update(repr((random.random(), float(np.random.rand()))).encode())
    return total.hexdigest()[:16]


def rows(run_dir: Path) -> list[dict[str, str]]:
    """What all lives logged, in the order of lives."""
    found: list[dict[str, str]] = []
    for path in sorted(run_dir.glob("csv/*/metrics.csv")):
        with open(path) as file:
            found += [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]
    return found
