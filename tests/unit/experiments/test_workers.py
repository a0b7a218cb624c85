"""Processes that read ahead let the training go first."""

from __future__ import annotations

import os
from pathlib import Path

from torch.utils.data import Dataset

from experiments import fitting
from experiments.settings import DataConfig, TrainerConfig
from experiments.workers import NICENESS
from launcher.context import RunContext


class Niceness(Dataset[int]):
    """Says how nice the process is that reads it."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        return os.nice(0)


def test_workers_are_nicer_than_their_rank(tmp_path: Path) -> None:
    context = RunContext(run_dir=tmp_path, key="k", name="n", attempt="a")
    trainer = TrainerConfig(max_steps=1, batch_size=4, max_micro_batch_size=4)
    loaders = (
        fitting.training_loader(Niceness(), trainer, context, 8, 1),
        fitting.validation_loader(Niceness(), DataConfig(num_workers=1), context, 8, 4),
    )
    own = os.nice(0)
    for loader in loaders:
        for batch in loader:
            assert set(batch.tolist()) == {min(own + NICENESS, 19)}
    assert os.nice(0) == own
