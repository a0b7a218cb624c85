"""task=train: fit a planner on the labelled share of the training logs, then score it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import ModelCheckpoint

from experiments import fitting
from experiments.agreement import SamplesSeen, check_ranks_agree
from experiments.data import Splits, datasets
from experiments.data.dataset import PlanningDataset
from experiments.evaluation import score_planner
from experiments.models.planning import PlanningModule, build_planning
from experiments.sampling import global_batch
from experiments.settings import ExperimentConfig
from launcher.context import RunContext

log = logging.getLogger(__name__)


def train(config: ExperimentConfig, context: RunContext) -> dict[str, Any]:
    """Train, keep the checkpoint with the best validation ADE, score it on the test logs.

    Returns:
        Metrics of the test split, counts of parameters and of labelled tokens.
    """
    fitting.seed(config.trainer.seed, context)
    splits = datasets(config.data)
    module = build_planning(config, fitting.encoder_weights(config, context))
    counts = module.parameter_counts()
    log.info(
        "parameters %s; labelled %d tokens of %d logs",
        counts,
        len(splits.train),
        len(splits.train_logs),
    )
    best = ModelCheckpoint(
        dirpath=fitting.checkpoint_dir(context.run_dir),
        filename="best",
        monitor="val/ade_m",
        save_last=True,
        enable_version_counter=False,
    )
    _fit(module, splits, config, context, best)
    fitting.load_planner(module, Path(best.best_model_path))
    metrics = score_planner(module, splits, config, context)
    return {
        **metrics,
        "train_tokens": len(splits.train),
        "train_logs": len(splits.train_logs),
        "train_tokens_sha256": splits.train_tokens_sha256,
        "parameters": counts["total"],
        "trainable_parameters": counts["trainable"],
    }


def _fit(
    module: PlanningModule,
    splits: Splits,
    config: ExperimentConfig,
    context: RunContext,
    checkpoint: ModelCheckpoint,
) -> None:
    split = fitting.batch_split(config.trainer, context)
    seen = SamplesSeen(split.accumulation)
    sensors, cached = module.backbone.spec.sensors, config.data.cache_decoded
    train_set = PlanningDataset(splits.source, splits.train, sensors, cache_decoded=cached)
    val_set = PlanningDataset(splits.source, splits.val, sensors, cache_decoded=cached)
    workers = config.data.num_workers
    trainer = fitting.trainer(config.trainer, context, callbacks=[seen, checkpoint], validate=True)
    trainer.fit(
        module,
        fitting.training_loader(train_set, config.trainer, context, len(train_set), workers),
        fitting.validation_loader(val_set, context, len(val_set), split.micro_batch_size, workers),
    )
    first = global_batch(len(train_set), config.trainer.batch_size, config.trainer.seed, 0)
    check_ranks_agree(module, seen, context, splits.train[first].tolist())
