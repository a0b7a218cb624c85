"""The tasks of this project: what `train.py` runs with each composed config."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

from omegaconf import OmegaConf

from experiments.settings import from_config
from launcher.context import RunContext
from launcher.tracking import running as tracking

log = logging.getLogger(__name__)

FUNCTIONS = {
    "train": "experiments.training:train",
    "evaluate": "experiments.evaluation:evaluate",
    "pretrain": "experiments.pretraining:pretrain",
    "extract": "experiments.extraction:extract",
    "vocabulary": "experiments.vocabulary:build",
    "teacher": "experiments.teaching:score_vocabulary",
}
"""What each task calls with the experiment and its context; imported when it is asked for."""


def run(config: Any, context: RunContext) -> dict[str, Any]:
    """Run the task that a composed config names; returns its metrics.

    Raises:
        ConfigError: a value is wrong.
        DataError: data is missing or damaged.
    """
    experiment = from_config(config)
    log.info("task %s, rank %d of %d", experiment.task, context.rank, context.world_size)
    tracking.begin(OmegaConf.to_container(config, resolve=True), context)
    module, _, name = FUNCTIONS[experiment.task].partition(":")
    metrics: dict[str, Any] = getattr(import_module(module), name)(experiment, context)
    return metrics
