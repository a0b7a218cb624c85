"""The control learns from the labels of its run, sees nothing, and is the same beside each arm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.control import ego_status_plans
from experiments.data import Splits, datasets
from experiments.scoring.baselines import constant_velocity
from experiments.settings import DataConfig, ExperimentConfig, SyntheticConfig, TrainerConfig
from launcher.context import RunContext


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    world = SyntheticConfig(num_logs=16, frames_per_log=24, camera_hw=(16, 32))
    return ExperimentConfig(
        data=DataConfig(root=str(tmp_path_factory.mktemp("control")), synthetic=world),
        trainer=TrainerConfig(max_steps=120, batch_size=32, val_every_steps=30),
    )


@pytest.fixture(scope="module")
def splits(config: ExperimentConfig) -> Splits:
    return datasets(config.data)


def context() -> RunContext:
    return RunContext(run_dir=Path(), key="k", name="n", attempt="001-000")


def error_m(plans: np.ndarray, splits: Splits) -> float:
    true = splits.source.future[splits.test]
    return float(np.linalg.norm((plans - true)[..., :2], axis=-1).mean())


def test_it_is_better_than_driving_on(config: ExperimentConfig, splits: Splits) -> None:
    steady = constant_velocity(splits.source.status[splits.test])
    plans = ego_status_plans(config, splits, context())
    assert error_m(plans, splits) < 0.9 * error_m(steady, splits)


def test_it_is_the_same_beside_each_arm_and_another_for_each_seed(
    config: ExperimentConfig, splits: Splits
) -> None:
    first = ego_status_plans(config, splits, context())
    other_arm = replace(config, backbone=replace(config.backbone, name="ltf"))
    assert np.array_equal(first, ego_status_plans(other_arm, splits, context()))
    other_seed = replace(config, trainer=replace(config.trainer, seed=1))
    assert not np.array_equal(first, ego_status_plans(other_seed, splits, context()))
