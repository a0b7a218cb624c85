"""Between two batches of a training nothing waits until the GPU has done what it was given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.loggers import CSVLogger

from experiments import fitting
from experiments.data.augmentation import Photometric
from experiments.monitoring import Curves, Divergence
from launcher import context
from launcher.callbacks.progress import Progress
from launcher.context import RunContext
from launcher.settings import RecoveryConfig
from tests.gpu.test_passes import NUM_BATCHES, module_of, trained

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
SETTLED = 4
"""Batches in which libraries set themselves up, and passes are recorded."""


class Refused(pl.Callback):
    """Makes an error of each operation that waits, within a training that has settled."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step == SETTLED:
            torch.cuda.set_sync_debug_mode("error")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(autouse=True)
def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setattr(Progress.__init__, "__defaults__", (0.0, 0.0))  # at each batch
    running = RunContext(
        run_dir=tmp_path, key="k", name="n", attempt="001-000", recovery=RecoveryConfig()
    )
    context.enter(running)
    yield
    torch.cuda.set_sync_debug_mode("default")
    torch.use_deterministic_algorithms(False)
    if dist.is_initialized():
        dist.destroy_process_group()
    context.enter(None)


@pytest.mark.parametrize(
    "how",
    [
        {"precision": "32-true"},
        {"precision": "bf16-mixed"},
        {"precision": "bf16-mixed", "strategy": fitting.ddp(), "use_distributed_sampler": False},
    ],
    ids=["fp32", "bf16", "ddp"],
)
def test_a_step_of_transfuser_waits_for_nothing(how: dict[str, Any], tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="csv", version="0")
    trained(
        module_of(), Refused(), Divergence(), Curves(batch_size=4), Photometric(seed=0),
        is_recorded=True, logger=logger, log_every_n_steps=1, **how,
    )  # fmt: skip
    rows = Path(logger.log_dir, "metrics.csv").read_text().splitlines()
    assert {"train/loss", "train/gradient_norm"} <= set(rows[0].split(","))
    assert len(rows) > NUM_BATCHES
    assert json.loads((tmp_path / "progress.json").read_text())["step"] == NUM_BATCHES
