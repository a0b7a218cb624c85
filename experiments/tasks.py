"""The tasks of this project: what `train.py` runs with each composed config."""

from __future__ import annotations

import logging
from typing import Any

from experiments.settings import from_config
from launcher.context import RunContext

log = logging.getLogger(__name__)


def run(config: Any, context: RunContext) -> dict[str, Any]:
    """Run the task that a composed config names; returns its metrics.

    Raises:
        ConfigError: a value is wrong.
        DataError: data is missing or damaged.
    """
    experiment = from_config(config)
    log.info("task %s, rank %d of %d", experiment.task, context.rank, context.world_size)
    if experiment.task == "pretrain":
        from experiments.pretraining import pretrain

        return pretrain(experiment, context)
    if experiment.task == "evaluate":
        from experiments.evaluation import evaluate

        return evaluate(experiment, context)
    from experiments.training import train

    return train(experiment, context)
