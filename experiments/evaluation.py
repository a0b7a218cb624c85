"""Score a planner on a split; task=evaluate does it for a training run that is finished."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader

from experiments import fitting
from experiments.control import ego_status_plans
from experiments.data import Splits, datasets
from experiments.data.decoding import collate
from experiments.features.stored import dataset_of
from experiments.models.planning import PlanningModule
from experiments.planners import planner
from experiments.scoring.baselines import constant_velocity
from experiments.scoring.judging import judge
from experiments.scoring.pdm import preflight
from experiments.scoring.pdm.scenes import Scenes, open_scenes
from experiments.scoring.tables import Judged, Plans
from experiments.settings import ExperimentConfig
from experiments.statistics.storage import save
from experiments.statistics.table import Run
from launcher.context import RunContext
from launcher.files import write_bytes

log = logging.getLogger(__name__)

PREDICTION_BATCH = 64
PLANNER, CONSTANT_VELOCITY, EGO_STATUS = "planner", "constant_velocity", "ego_status"
RATES = {"collides": "collision_rate", "leaves_drivable_area": "offroad_rate"}
"""Columns that have another name as a mean."""


def evaluate(config: ExperimentConfig, context: RunContext) -> dict[str, Any]:
    """Score the best checkpoint of the required training run on the test logs."""
    fitting.seed(config.trainer.seed, context)
    splits = datasets(config.data)
    # The control learns for as long as the run did.
    config = fitting.within_budget(config, len(splits.train), splits.num_train_tokens_available)
    module = planner(config, context)
    fitting.load_planner(module, fitting.checkpoint_dir(context.inputs["train"]) / "best.ckpt")
    return score_planner(module, splits, config, context)


def score_planner(
    module: PlanningModule, splits: Splits, config: ExperimentConfig, context: RunContext
) -> dict[str, Any]:
    """Score a planner and what plans without looking on the same test windows.

    Writes `scores/<planner>.parquet`, a row for each token, and `scores/<planner>.npz`, the plans,
    for the planner, `constant_velocity` and `ego_status`. Only rank 0 works; the others get an
    empty answer.

    Returns:
        Means over all test windows, those of controls behind their name and a slash.

    Raises:
        RuntimeError: the scorer is wrong on this machine.
        ConfigError: a score is asked for that cannot be.
        DataError: some windows could not be scored; their tables are written, their means refused.
    """
    if context.rank:
        return {}
    scenes = scenes_to_score(splits, config, context)
    planned = np.concatenate(list(_predict(module, splits, config, context)))
    plans = {
        PLANNER: planned,
        CONSTANT_VELOCITY: constant_velocity(splits.source.status[splits.test]),
        EGO_STATUS: ego_status_plans(config, splits, context),
    }
    folder = context.run_dir / "scores"
    stop, unfinished = context.raise_if_stopping, folder / "unfinished.npz"
    judged = judge(splits.source, splits.test, plans, scenes, stop, unfinished)
    _save(folder, judged, plans, config)
    judged.require_complete(folder)
    log.info("scored %d windows of %d test logs", len(planned), len(splits.test_logs))
    return {
        **_named(judged, PLANNER, ""),
        **_named(judged, CONSTANT_VELOCITY, f"{CONSTANT_VELOCITY}/"),
        **_named(judged, EGO_STATUS, f"{EGO_STATUS}/"),
        "metric_version": judged.metric_version,
        "scorer": judged.scorer,
        "test_tokens": len(planned),
        "data_source": config.data.source,
    }


def scenes_to_score(splits: Splits, config: ExperimentConfig, context: RunContext) -> Scenes | None:
    """Prove the scorer on this machine and find the scenes of the test windows; see `open_scenes`.

    What is missing is noticed here: a training that ends with a score may ask first.

    Raises:
        RuntimeError: the scorer is wrong on this machine.
        ConfigError: a score is asked for that cannot be.
        DataError: the metric cache lacks some of the windows.
    """
    if config.scoring.pdm is not False:
        preflight()
    return open_scenes(
        config.scoring, config.data, splits.source, splits.test, context.raise_if_stopping
    )


def _predict(
    module: PlanningModule, splits: Splits, config: ExperimentConfig, context: RunContext
) -> Iterator[npt.NDArray[np.float32]]:
    dataset = dataset_of(module, splits.source, splits.test)
    workers = fitting.validation_workers(config.data)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loader = DataLoader(
        dataset,
        batch_size=PREDICTION_BATCH,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
    )
    module.to(device)
    for batch in loader:
        context.raise_if_stopping()
        on_device = {name: value.to(device) for name, value in batch.items()}
        yield module.predict(on_device).cpu().numpy()


def _save(folder: Path, judged: Judged, plans: Plans, config: ExperimentConfig) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokens = np.array(judged.tokens, dtype="S")
    for name, poses in plans.items():
        content = io.BytesIO()
        np.savez(content, token=tokens, poses=np.asarray(poses, np.float32))
        write_bytes(folder / f"{name}.npz", content.getvalue())
        save(folder / f"{name}.parquet", judged.table(name, _run_of(name, config)))


def _run_of(name: str, config: ExperimentConfig) -> Run:
    """Return what a table of this run is of; a study names its arms by what differs in it."""
    arm = f"{config.backbone.name} {config.head.name} {config.finetune.policy}"
    if name == CONSTANT_VELOCITY:  # has learnt nothing from anything
        return Run(name, 1.0, 0)
    return Run(arm if name == PLANNER else name, config.data.fraction, config.trainer.seed)


def _named(judged: Judged, planner: str, prefix: str) -> dict[str, float]:
    means = judged.means(planner)
    return {f"{prefix}{RATES.get(name, name)}": value for name, value in means.items()}
