"""Runs on a small world whose features are stored in a folder of the test's own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from experiments import fitting
from experiments.data import Splits, datasets, prepare
from experiments.extraction import extract
from experiments.features.places import open_store
from experiments.features.store import FeatureStore
from experiments.features.stored import build_stored, dataset_of
from experiments.models import IJepaPretraining, PlanningModule, build_planning, official_checkpoint
from experiments.settings import (
    DataConfig,
    ExperimentConfig,
    FeaturesConfig,
    FinetuneConfig,
    HeadConfig,
    OptimizerConfig,
    TrainerConfig,
)
from launcher.context import RunContext
from tests.unit.experiments.models import tiny

IMAGE_HW = (48, 96)
GRID_HW = (4, 8)


def save_encoder(path: Path, *, seed: int) -> Path:
    torch.manual_seed(seed)
    fitting.save(path, official_checkpoint(IJepaPretraining(tiny.ijepa(), image_hw=IMAGE_HW)))
    return path


@dataclass(frozen=True)
class Runs:
    """Configs and folders of the runs of one test."""

    data: DataConfig
    weights: Path
    folder: Path

    @classmethod
    def of(cls, world: DataConfig, weights: Path, folder: Path) -> Runs:
        """Copy the world, so that stores beside it are the test's own."""
        shutil.copytree(prepare(world), folder / "data" / prepare(world).name)
        data = replace(world, root=str(folder / "data"), image_hw=IMAGE_HW)
        return cls(data, weights, folder)

    def config(self, task: str = "train", *, data: dict[str, Any] | None = None,
               weights: Path | None = None, policy: str = "frozen", **features: Any
               ) -> ExperimentConfig:  # fmt: skip
        return ExperimentConfig(
            task=task,
            data=replace(self.data, **(data or {})),
            backbone=tiny.ijepa(weights=str(weights or self.weights)),
            head=HeadConfig(hidden_dim=32, pool_hw=(2, 2)),
            finetune=FinetuneConfig(policy=policy),
            features=FeaturesConfig(**({"mode": "stored", "dtype": "float32"} | features)),
            optimizer=OptimizerConfig(lr=1e-2),
            trainer=TrainerConfig(max_steps=30, batch_size=4),
        )

    def context(self, name: str = "run", **changes: Any) -> RunContext:
        run_dir = self.folder / "runs" / name
        run_dir.mkdir(parents=True, exist_ok=True)
        known = {"run_dir": run_dir, "key": name, "name": name, "attempt": "001-000"}
        return RunContext(**(known | changes))

    def extract(self, name: str = "extraction", world_size: int = 1, rank: int = 0,
                **changes: Any) -> dict[str, Any]:  # fmt: skip
        context = self.context(name, ranks_per_node=world_size, rank=rank)
        return extract(self.config("extract", **changes), context)

    def open(self, *extractions: str, **changes: Any) -> FeatureStore:
        labels = ["features", *(f"features/{n}" for n in range(1, len(extractions)))]
        folders = [self.folder / "runs" / name for name in extractions]
        inputs = dict(zip(labels, folders, strict=False))
        return open_store(self.config(**changes), self.context(inputs=inputs))

    def online(self, **changes: Any) -> PlanningModule:
        torch.manual_seed(0)
        return build_planning(self.config(**changes))

    def stored(self, **changes: Any) -> PlanningModule:
        torch.manual_seed(0)
        return build_stored(self.config(**changes), self.open(**changes))

    def splits(self) -> Splits:
        return datasets(self.data)


def batch_of(module: PlanningModule, splits: Splits) -> dict[str, torch.Tensor]:
    windows = dataset_of(module, splits.source, splits.train)
    items = [windows[n] for n in range(len(splits.train))]
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}
