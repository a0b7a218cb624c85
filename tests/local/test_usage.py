"""Real small trainings with workers: what the telemetry says of them is what they were told."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from launcher import context, measures, telemetry
from launcher.context import RunContext
from launcher.records import Phase, PhaseUse, RankUse
from launcher.settings import RecoveryConfig

pytestmark = pytest.mark.local
WORKER_MB = 200
READ_S = 0.02
"""Time that a sample takes to be read."""
STEP_S = 0.04
"""Time that a step takes without its data."""
BATCH = 4


class Slow(Dataset[Tensor]):
    """Samples that take time to be read."""

    def __init__(self, length: int, read_s: float = READ_S) -> None:
        self._length = length
        self._read_s = read_s

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Tensor:
        time.sleep(self._read_s)
        return torch.zeros(1024)


_held: list[bytes] = []


def hold(_: int) -> None:
    """What a worker does when it starts: fill memory of its own."""
    _held.append(b"x" * (WORKER_MB * 2**20))


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(1024, 256)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        time.sleep(STEP_S)
        return self.net(batch).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        time.sleep(0.3)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.net.parameters())


def loader(length: int, workers: int, **changes: Any) -> DataLoader[Tensor]:
    given = {"batch_size": BATCH, "num_workers": workers, "multiprocessing_context": "fork"}
    given["worker_init_fn"] = hold
    if not workers:
        given = {"batch_size": BATCH}
    read_s = changes.pop("read_s", READ_S)
    return DataLoader(Slow(length, read_s), **{**given, **changes})


def measured(
    run: RunContext, train: Any, validation: Any, *, callbacks: Any = (), **trainer: Any
) -> RankUse:
    """What a training of this process leaves."""
    context.enter(run)
    try:
        with telemetry.measuring(run):
            pl.Trainer(
                default_root_dir=run.run_dir,
                accelerator="cpu",
                logger=False,
                enable_checkpointing=bool(callbacks),
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=list(callbacks),
                **trainer,
            ).fit(Model(), train, validation)
    finally:
        context.enter(None)
    (use,) = measures.of_attempt(run.run_dir, run.attempt)
    return use


def phase(use: RankUse, name: Phase) -> PhaseUse:
    return next(found for found in use.phases if found.phase == name)


@pytest.fixture(autouse=True)
def _heap_at_rest() -> Iterator[None]:
    """What a long session has on its heap: no collection in a forked worker copies it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(
        run_dir=tmp_path, key="k", name="n", attempt="001-000", recovery=RecoveryConfig()
    )


@pytest.fixture
def overlapping(run: RunContext) -> RankUse:
    """Two training workers that live on while one of a validation works."""
    every = {"val_check_interval": 10, "check_val_every_n_epoch": None}
    return measured(run, loader(120, 2), loader(12, 1), max_steps=20, **every)


def test_workers_of_training_and_validation_that_live_together_are_seen_together(
    overlapping: RankUse,
) -> None:
    validate = phase(overlapping, "validate")
    assert overlapping.overlaps is True
    assert validate.workers == 3
    assert validate.workers_gb * 1024 > 3 * WORKER_MB
    # Lightning lets the workers of a validation live until the next one begins.
    assert phase(overlapping, "train").workers == 3


def test_workers_are_seen_with_what_they_hold(run: RunContext) -> None:
    train = phase(measured(run, loader(200, 2), None, max_steps=30), "train")
    assert train.workers == 2
    assert train.worker_private_gb * 1024 == pytest.approx(WORKER_MB, rel=0.2)
    assert train.workers_gb * 1024 > 2 * WORKER_MB
    assert train.rank_gb < train.workers_gb


def test_loaders_are_described_with_their_first_batch(overlapping: RankUse) -> None:
    train, validate = overlapping.loaders
    assert (train.stage, train.workers, train.prefetch, train.samples) == ("train", 2, 2, 120)
    assert (validate.stage, validate.workers, validate.samples) == ("validate", 1, 12)
    assert train.batch_gb == pytest.approx(BATCH * 1024 * 4 / 2**30, abs=1e-6)


def test_a_step_takes_what_it_takes_whatever_lies_between(overlapping: RankUse) -> None:
    # 20 steps less the first 3, one interval to the 4th, and the one with the validation.
    assert overlapping.timed_steps == 16
    assert overlapping.step_s is not None
    assert overlapping.step_s >= STEP_S
    assert overlapping.samples_per_s == pytest.approx(BATCH / overlapping.step_s, rel=0.01)
    assert (overlapping.batch_size, overlapping.total_steps) == (BATCH, 20)
    assert (overlapping.validations, overlapping.validation_batches) == (2, 3)
    assert overlapping.validation_s is not None
    assert overlapping.validation_s > 3 * 0.3
    assert overlapping.start_s is not None
    assert overlapping.checkpoint_s is not None


def test_a_rank_without_workers_waits_for_each_sample(run: RunContext) -> None:
    slow = loader(80, 0, read_s=4 * READ_S)
    use = measured(run, slow, None, max_steps=9, accumulate_grad_batches=2)
    assert use.data_wait_share is not None
    assert use.data_wait_share > 0.4
    assert (use.micro_batch_size, use.batch_size) == (BATCH, 2 * BATCH)
    assert use.overlaps is None
    assert phase(use, "train").workers == 0
    assert {found.phase for found in use.phases} >= {"start", "train", "checkpoint", "other"}


def test_a_rank_with_data_at_hand_does_not_wait(run: RunContext) -> None:
    use = measured(run, loader(80, 0, read_s=0.0), None, max_steps=15)
    assert use.data_wait_share is not None
    assert use.data_wait_share < 0.2


def test_workers_that_ended_before_a_validation_do_not_overlap_with_it(run: RunContext) -> None:
    use = measured(run, loader(40, 0), loader(12, 1), max_epochs=1)
    assert use.overlaps is False
    assert phase(use, "validate").workers == 1


def test_a_training_that_cannot_resume_is_timed_all_the_same(run: RunContext) -> None:
    every = {"val_check_interval": 10, "check_val_every_n_epoch": None}
    use = measured(
        replace(run, recovery=None), loader(120, 2), loader(12, 1), max_steps=14, **every
    )
    assert use.data_wait_share is not None
    assert use.overlaps is True
    assert phase(use, "switch").seconds > 0
    assert use.checkpoint_s is None


def test_a_checkpoint_of_lightning_does_not_count_as_step(run: RunContext) -> None:
    run = replace(run, recovery=None)

    class Slowly(ModelCheckpoint):
        def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
            super()._save_checkpoint(trainer, filepath)
            time.sleep(1.0)

    saving = Slowly(run.run_dir / "best", every_n_train_steps=6, save_top_k=-1)
    use = measured(run, loader(80, 0, read_s=0.0), None, callbacks=[saving], max_steps=14)
    assert use.timed_steps == 14 - 3 - 2
    assert phase(use, "checkpoint").seconds > 1


def test_the_second_training_of_a_run_is_the_one_that_is_described(run: RunContext) -> None:
    context.enter(run)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    common = {"default_root_dir": run.run_dir, "accelerator": "cpu", **quiet}
    try:
        with telemetry.measuring(run):
            for steps in (12, 9):
                trainer = pl.Trainer(max_steps=steps, enable_checkpointing=False, **common)
                trainer.fit(Model(), loader(80, 0, read_s=0.0))
    finally:
        context.enter(None)
    (use,) = measures.of_attempt(run.run_dir, run.attempt)
    assert (use.timed_steps, use.total_steps) == (6, 9)
