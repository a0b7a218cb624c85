"""task=train: fit a planner on the labelled share of the training logs, then score it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import ModelCheckpoint

from experiments import fitting
from experiments.agreement import SamplesSeen, check_ranks_agree
from experiments.data import Splits, datasets
from experiments.data.augmentation import photometric
from experiments.evaluation import scenes_to_score, score_planner
from experiments.features.stored import dataset_of
from experiments.models.planning import PlanningModule
from experiments.planners import planner
from experiments.sampling import global_batch
from experiments.settings import ExperimentConfig, recipe_deviations
from experiments.teacher.places import open_teacher
from launcher.context import RunContext
from launcher.files import write_bytes
from launcher.tracking import running as tracking

log = logging.getLogger(__name__)

FACTS = "model.json"
"""In the run folder: what was built, from which weights and tokens, by which recipe."""
RECORDED = (
    "train_tokens",
    "train_logs",
    "train_drives",
    "fraction_unit",
    "train_tokens_sha256",
    "parameters",
    "trainable_parameters",
    "vocabulary_size",
    "scoring_rule",
    "weights_sha256",
    "which_encoder",
    "recipe_deviations",
    "steps",
)
"""Facts that stand beside the metrics of a run."""


def train(config: ExperimentConfig, context: RunContext) -> dict[str, Any]:
    """Train, keep the checkpoint with the best validation ADE, score it on the test logs.

    Writes `model.json`: what was built, from which weights and tokens, by which recipe.

    Returns:
        Metrics of the test split, counts of parameters and of labelled tokens.
    """
    fitting.seed(config.trainer.seed, context)
    splits = datasets(config.data)
    config = fitting.within_budget(config, len(splits.train), splits.num_train_tokens_available)
    module = planner(config, context)
    module.provenance = {"train_tokens_sha256": splits.train_tokens_sha256}
    facts = _facts(module, splits, config)
    if context.rank == 0:
        write_bytes(context.run_dir / FACTS, json.dumps(facts, indent=2).encode())
        tracking.describe(**{name: facts[name] for name in RECORDED if name in facts})
        scenes_to_score(splits, config, context)  # what lacks for the score is told before hours
    best = ModelCheckpoint(
        dirpath=fitting.checkpoint_dir(context.run_dir),
        filename="best",
        monitor="val/ade_m",
        enable_version_counter=False,
    )
    _fit(module, splits, config, context, best)
    fitting.load_planner(module, Path(best.best_model_path))
    metrics = score_planner(module, splits, config, context)
    return {**metrics, **{name: facts[name] for name in RECORDED if facts.get(name) is not None}}


def _facts(module: PlanningModule, splits: Splits, config: ExperimentConfig) -> dict[str, Any]:
    deviations = recipe_deviations(config)
    for deviation in deviations:
        log.warning("not the recipe of backbone=%s: %s", config.backbone.name, deviation)
    counts = module.parameter_counts()
    described = module.describe()
    log.info("model %s", described)
    return {
        **described,
        **splits.summary(),
        "parameters": counts["total"],
        "trainable_parameters": counts["trainable"],
        "vocabulary_size": described.get("head.vocabulary_size"),
        "scoring_rule": described.get("head.rule"),
        "recipe_deviations": "; ".join(deviations) or None,
        "steps": config.trainer.max_steps,
    }


def _fit(
    module: PlanningModule,
    splits: Splits,
    config: ExperimentConfig,
    context: RunContext,
    checkpoint: ModelCheckpoint,
) -> None:
    split = fitting.batch_split(config.trainer, context)
    teacher = open_teacher(config, splits.source, context)
    seen = SamplesSeen(split.accumulation)
    cached = config.data.cache_decoded
    train_set = dataset_of(
        module,
        splits.source,
        splits.train,
        cache_decoded=cached,
        targets=module.targets,
        teacher=teacher,
    )
    val_set = dataset_of(module, splits.source, splits.val, cache_decoded=cached)
    workers = config.data.num_workers
    callbacks = [seen, checkpoint, *photometric(config)]
    trainer = fitting.trainer(config.trainer, context, callbacks=callbacks, validate=True)
    trainer.fit(
        module,
        fitting.training_loader(train_set, config.trainer, context, len(splits.train), workers),
        fitting.validation_loader(
            val_set, config.data, context, len(splits.val), split.micro_batch_size
        ),
    )
    first = global_batch(len(splits.train), config.trainer.batch_size, config.trainer.seed, 0)
    check_ranks_agree(module, seen, context, splits.train[first].tolist())
