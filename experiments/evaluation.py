"""Score a planner on a split; task=evaluate does it for a training run that is finished."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader

from experiments import fitting
from experiments.data import Splits, datasets
from experiments.data.dataset import PlanningDataset
from experiments.models.planning import PlanningModule, build_planning
from experiments.scoring.baselines import constant_velocity
from experiments.scoring.score import Scores, score
from experiments.settings import ExperimentConfig
from launcher.context import RunContext

log = logging.getLogger(__name__)

PREDICTION_BATCH = 64
METRIC_NAMES = {
    "ade": "ade_m",
    "fde": "fde_m",
    "heading_error": "heading_error_rad",
    "collides": "collision_rate",
    "leaves_drivable_area": "offroad_rate",
}


def evaluate(config: ExperimentConfig, context: RunContext) -> dict[str, Any]:
    """Score the best checkpoint of the required training run on the test logs."""
    fitting.seed(config.trainer.seed, context)
    splits = datasets(config.data)
    module = build_planning(config, fitting.encoder_weights(config, context))
    fitting.load_planner(module, fitting.checkpoint_dir(context.inputs["train"]) / "best.ckpt")
    return score_planner(module, splits, config, context)


def score_planner(
    module: PlanningModule, splits: Splits, config: ExperimentConfig, context: RunContext
) -> dict[str, Any]:
    """Score a planner and the constant-velocity plan on the same test windows.

    Only rank 0 works; the others get an empty answer.
    """
    if context.rank:
        return {}
    planned = np.concatenate(list(_predict(module, splits, config, context)))
    scores = score(splits.source, splits.test, planned)
    baseline = constant_velocity(splits.source.status[splits.test])
    still = score(splits.source, splits.test, baseline)
    log.info("scored %d windows of %d test logs", len(planned), len(splits.test_logs))
    return {
        **_named(scores),
        **{f"constant_velocity/{name}": value for name, value in _named(still).items()},
        "test_tokens": len(planned),
        "data_source": config.data.source,
    }


def _predict(
    module: PlanningModule, splits: Splits, config: ExperimentConfig, context: RunContext
) -> Iterator[npt.NDArray[np.float32]]:
    dataset = PlanningDataset(splits.source, splits.test, module.backbone.spec.sensors)
    loader = DataLoader(dataset, batch_size=PREDICTION_BATCH, num_workers=config.data.num_workers)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module.to(device)
    for batch in loader:
        context.raise_if_stopping()
        on_device = {name: value.to(device) for name, value in batch.items()}
        yield module.predict(on_device).cpu().numpy()


def _named(scores: Scores) -> dict[str, float]:
    return {METRIC_NAMES[name]: value for name, value in scores.means.items()}
