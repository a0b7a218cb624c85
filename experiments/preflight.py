"""Checks of a composed run on the submitting machine. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from experiments.settings import DataConfig, ExperimentConfig, from_config
from launcher.errors import ConfigError
from launcher.topology import shape_of, split_batch


def check(config: Any) -> None:
    """Refuse values that no schema can refuse, data that is not there, batches that do not fit.

    Raises:
        ConfigError: what is wrong with which key.
    """
    experiment = from_config(config)
    _check_task(experiment)
    if experiment.data.source == "openscene":
        _check_folders(experiment.data)
    resources: Any = OmegaConf.to_object(config.resources)
    cluster: Any = OmegaConf.to_object(config.cluster)
    shape = shape_of(resources, cluster)
    recipe = experiment.trainer
    split_batch(recipe.batch_size, shape.world_size, recipe.max_micro_batch_size)


def _check_task(experiment: ExperimentConfig) -> None:
    backbone = experiment.backbone
    if experiment.task == "pretrain" and backbone.name != "ijepa":
        raise ConfigError(
            f"`task=pretrain` has no objective for `backbone={backbone.name}`",
            hint="pretraining is for backbone=ijepa",
        )
    is_random = backbone.name == "ijepa" and backbone.weights == "none"
    if experiment.task != "pretrain" and is_random and experiment.finetune.policy == "frozen":
        raise ConfigError(
            "`backbone.weights=none` with `finetune.policy=frozen` is a random frozen encoder",
            hint="use backbone.weights=pretrain, or finetune=full with requires.encoder=null",
        )


def _check_folders(data: DataConfig) -> None:
    for key, folder in (
        ("data.logs", data.logs or f"{data.root}/navsim_logs"),
        ("data.sensors", data.sensors or f"{data.root}/sensor_blobs"),
    ):
        if not Path(folder).is_dir():
            raise ConfigError(
                f"`{key}`: there is no folder `{folder}`",
                hint="set paths.data_dir to the folder that holds navsim_logs and sensor_blobs",
            )
