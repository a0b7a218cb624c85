"""Ranks learn batch statistics apart, and validate and end with those of rank 0."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader

from experiments import fitting
from experiments.settings import TrainerConfig
from launcher.context import RunContext

pytestmark = pytest.mark.local


class Normed(pl.LightningModule):
    """Notes the statistics that it validates with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)
        self.seen: dict[str, Tensor] = {}

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.last(self.norm(self.first(batch))).square().mean()
        self.seen["training"] = self.norm.running_mean.clone()
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.seen["validation"] = self.norm.running_mean.clone()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _rank(rank: int, folder: str, port: int) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    world = {"rank": rank, "local_rank": rank, "ranks_per_node": 2}
    context = RunContext(run_dir=Path(folder), key="k", name="n", attempt="001-000", **world)
    config = TrainerConfig(max_steps=6, batch_size=8, max_micro_batch_size=4, val_every_steps=6)
    trainer = fitting.trainer(config, context, callbacks=[], validate=True)
    torch.manual_seed(0)
    module = Normed()
    draw = torch.Generator().manual_seed(1 + rank)
    batches: Any = [torch.randn(4, 4, generator=draw) for _ in range(6)]
    trainer.fit(module, DataLoader(batches, batch_size=None), DataLoader(batches, batch_size=None))
    module.seen["end"] = module.norm.running_mean.clone()
    module.seen["weights"] = module.first.weight.detach().clone()
    torch.save(module.seen, Path(folder, f"{rank}.pt"))


def test_statistics_are_those_of_rank_0_where_they_are_read(tmp_path: Path) -> None:
    spawn(_rank, (str(tmp_path), 21000 + os.getpid() % 9000), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name in ("validation", "end", "weights"):
        assert torch.equal(first[name], second[name]), name
    assert not torch.equal(first["training"], second["training"])
    assert torch.equal(first["validation"], first["training"])
