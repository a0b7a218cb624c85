"""What every training shares: seeds, Trainer, loaders, and where its checkpoints lie."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import DDPStrategy
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.utils.data import DataLoader, Dataset, Subset

from experiments.callbacks import (
    Bf16Backbone,
    ChannelsLast,
    Compiled,
    LastCheckpoint,
    Recorded,
    SharedStatistics,
)
from experiments.data.decoding import collate
from experiments.models.ema import WeightAverage
from experiments.models.finetune_guard import PolicyGuard
from experiments.models.planning import PlanningModule
from experiments.monitoring import Curves, Divergence
from experiments.profiling import Profile
from experiments.sampling import StepBatches, effective_steps, rank_share
from experiments.settings import (
    DataConfig,
    ExperimentConfig,
    OptimizerConfig,
    TrainerConfig,
    check_precision,
)
from experiments.workers import give_way
from launcher.context import RunContext, note
from launcher.errors import ConfigError
from launcher.files import write_bytes
from launcher.topology import BatchSplit, split_batch
from launcher.tracking import running as tracking


def seed(value: int, context: RunContext) -> None:
    """Seed all generators and take the cores of this rank, so that runs repeat to the bit."""
    pl.seed_everything(value, workers=True, verbose=False)
    torch.set_num_threads(context.cpus_per_rank)


def batch_split(config: TrainerConfig, context: RunContext) -> BatchSplit:
    """How the effective batch is spread over the ranks of this run."""
    return split_batch(config.batch_size, context.world_size, config.max_micro_batch_size)


def within_budget(
    config: ExperimentConfig, num_labelled: int, num_available: int
) -> ExperimentConfig:
    """Return the experiment with the steps that `data.budget` leaves to this label fraction.

    The warm-up shrinks in proportion, so that the schedule keeps its shape; that of the backbone's
    recipe does too, as it is none of its deviations.
    """
    steps = effective_steps(config, num_labelled, num_available)
    planned = config.trainer.max_steps

    def shortened(recipe: OptimizerConfig) -> OptimizerConfig:
        return replace(recipe, warmup_steps=recipe.warmup_steps * steps // planned)

    return replace(
        config,
        trainer=replace(config.trainer, max_steps=steps),
        optimizer=shortened(config.optimizer),
        backbone=replace(config.backbone, optimizer=shortened(config.backbone.optimizer)),
    )


def training_loader(
    dataset: Dataset[Any],
    config: TrainerConfig,
    context: RunContext,
    num_samples: int,
    num_workers: int,
    collate_fn: Callable[[list[Any]], Any] = collate,
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
        collate_fn=collate_fn,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=context.accelerator == "gpu",
        worker_init_fn=give_way,
    )


def validation_workers(data: DataConfig) -> int:
    """Dataloader processes of a rank that reads what is not trained on."""
    return data.num_workers if data.val_num_workers is None else data.val_num_workers


def validation_loader(
    dataset: Dataset[Any],
    data: DataConfig,
    context: RunContext,
    num_samples: int,
    batch_size: int,
) -> DataLoader[Any]:
    """This rank's share of all samples, once, in order."""
    workers = validation_workers(data)
    share = rank_share(num_samples, context.rank, context.world_size)
    return DataLoader(
        # An array: forked workers would copy the pages of a list by counting its references.
        Subset(dataset, share),  # type: ignore[arg-type]
        batch_size=batch_size,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=data.persistent_workers and workers > 0,
        pin_memory=context.accelerator == "gpu",
        worker_init_fn=give_way,
    )


def trainer(
    config: TrainerConfig, context: RunContext, *, callbacks: list[pl.Callback], validate: bool
) -> pl.Trainer:
    """The Trainer: the launcher decides devices, the config decides how long.

    What the config asks for is added to the callbacks: curves, torch.compile, a look at the
    fine-tuning policy and, where something is validated, an average of the weights and `last.ckpt`.

    Raises:
        ConfigError: the accelerator has no such precision.
    """
    _check_accelerator(config, context)
    # Lightning advertises at this level; what it has to say as a warning still comes through.
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    # Deterministic algorithms fill each new tensor with NaN, to show who reads what nobody wrote:
    # a fifth of TransFuser's time. What is written is the same without.
    torch._C._set_deterministic_fill_uninitialized_memory(False)
    split = batch_split(config, context)
    accumulation = split.accumulation
    note(micro_batch_size=split.micro_batch_size)
    every = min(config.val_every_steps, config.max_steps) * accumulation
    arguments = context.trainer_arguments()
    if arguments["strategy"] == "ddp":
        arguments["strategy"] = ddp()
    return pl.Trainer(
        **arguments,
        callbacks=[*callbacks, *_of_config(config, context, validate=validate)],
        max_steps=config.max_steps,
        accumulate_grad_batches=accumulation,
        # Lightning's bf16-true would round what is learnt from as well: 0.25 m at 40 m.
        precision="bf16-mixed" if config.precision == "bf16-true" else config.precision,  # type: ignore[arg-type]
        deterministic=config.deterministic,
        logger=tracking.loggers(context) or False,
        log_every_n_steps=config.log_every_steps,
        check_val_every_n_epoch=None,
        val_check_interval=every if validate else None,
        limit_val_batches=None if validate else 0,
        num_sanity_val_steps=0,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
    )


def ddp() -> DDPStrategy:
    """Data parallelism that copies as little as it can."""
    # Buffers are shared where they are read, by SharedStatistics.
    how: dict[str, Any] = {"broadcast_buffers": False, "gradient_as_bucket_view": True}
    # The hook divides a bucket as one; without one DDP divides each gradient.
    return DDPStrategy(ddp_comm_hook=allreduce_hook, **how)


def _check_accelerator(config: TrainerConfig, context: RunContext) -> None:
    check_precision(config.precision, context.accelerator)
    is_bf16 = config.precision.startswith("bf16") and context.accelerator == "gpu"
    if is_bf16 and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ConfigError(
            f"`trainer.precision={config.precision}`: {torch.cuda.get_device_name()} has no"
            " bfloat16",
            hint="use trainer.precision=16-mixed, or a GPU of compute capability 8.0 and more",
        )


def _of_config(config: TrainerConfig, context: RunContext, *, validate: bool) -> list[pl.Callback]:
    found: list[pl.Callback] = [PolicyGuard(), SharedStatistics()]
    found += [Divergence(), Curves(config.batch_size)]
    if validate:
        found.append(LastCheckpoint(checkpoint_dir(context.run_dir) / "last.ckpt"))
    if validate and config.ema_decay:
        found.append(WeightAverage(config.ema_decay))
    if config.precision == "bf16-true":
        found.append(Bf16Backbone())
    if context.accelerator == "gpu":
        found.append(ChannelsLast())
        if config.cuda_graphs and not config.compile:
            found.append(Recorded())
    if config.compile:
        found.append(Compiled())
    if config.profile_steps:
        found.append(Profile(context.run_dir / "profile", context.rank, config.profile_steps))
    return found


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
