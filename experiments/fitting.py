"""What every training shares: seeds, Trainer, loaders, and where its checkpoints lie."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader, Dataset, Subset

from experiments.models.planning import PlanningModule
from experiments.sampling import StepBatches, rank_share
from experiments.settings import ExperimentConfig, TrainerConfig
from launcher.context import RunContext, note
from launcher.files import write_bytes
from launcher.topology import BatchSplit, split_batch


def seed(value: int, context: RunContext) -> None:
    """Seed all generators and take the cores of this rank, so that runs repeat to the bit."""
    pl.seed_everything(value, workers=True, verbose=False)
    torch.set_num_threads(context.cpus_per_rank)


def batch_split(config: TrainerConfig, context: RunContext) -> BatchSplit:
    """How the effective batch is spread over the ranks of this run."""
    return split_batch(config.batch_size, context.world_size, config.max_micro_batch_size)


def training_loader(
    dataset: Dataset[Any],
    config: TrainerConfig,
    context: RunContext,
    num_samples: int,
    num_workers: int,
    collate: Callable[[list[Any]], Any] | None = None,
) -> DataLoader[Any]:
    """Batches of a whole training for this rank."""
    batches = StepBatches(
        num_samples=num_samples,
        batch_size=config.batch_size,
        split=batch_split(config, context),
        seed=config.seed,
        max_steps=config.max_steps,
        rank=context.rank,
        world_size=context.world_size,
    )
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=context.accelerator == "gpu",
    )


def validation_loader(
    dataset: Dataset[Any], context: RunContext, num_samples: int, batch_size: int, num_workers: int
) -> DataLoader[Any]:
    """This rank's share of all samples, once, in order."""
    share = rank_share(num_samples, context.rank, context.world_size)
    return DataLoader(
        Subset(dataset, share.tolist()),
        batch_size=batch_size,
        num_workers=num_workers,
        pin_memory=context.accelerator == "gpu",
    )


def trainer(
    config: TrainerConfig, context: RunContext, *, callbacks: list[pl.Callback], validate: bool
) -> pl.Trainer:
    """The Trainer: the launcher decides devices, the config decides how long."""
    # Lightning advertises at this level; what it has to say as a warning still comes through.
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    split = batch_split(config, context)
    accumulation = split.accumulation
    note(micro_batch_size=split.micro_batch_size)
    every = min(config.val_every_steps, config.max_steps) * accumulation
    return pl.Trainer(
        **context.trainer_arguments(),
        callbacks=callbacks,
        max_steps=config.max_steps,
        accumulate_grad_batches=accumulation,
        precision=config.precision,  # type: ignore[arg-type]
        deterministic=config.deterministic,
        # One folder per attempt: CSVLogger deletes what it finds in its own.
        logger=CSVLogger(save_dir=context.run_dir, name="metrics", version=context.attempt),
        log_every_n_steps=config.log_every_steps,
        check_val_every_n_epoch=None,
        val_check_interval=every if validate else None,
        limit_val_batches=None if validate else 0,
        num_sanity_val_steps=0,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
    )


def save(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint of plain types, atomically."""
    content = io.BytesIO()
    torch.save(checkpoint, content)
    write_bytes(path, content.getvalue())


def encoder_weights(config: ExperimentConfig, context: RunContext) -> Path | None:
    """Checkpoint of the pretraining that this run required, where its backbone wants one."""
    if config.backbone.weights == "none" or "encoder" not in context.inputs:
        return None
    return checkpoint_dir(context.inputs["encoder"]) / "ijepa.pth.tar"


def load_planner(module: PlanningModule, path: Path) -> None:
    """Load a checkpoint of this project into a module of the same shape."""
    module.load_checkpoint(torch.load(path, map_location="cpu", weights_only=True))


def checkpoint_dir(run_dir: Path) -> Path:
    """Folder of a run's checkpoints."""
    return run_dir / "checkpoints"
