"""Checks of a composed run on the submitting machine. Imports no torch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from experiments.settings import (
    SENSORS_OF,
    VITS,
    BackboneConfig,
    ExperimentConfig,
    check_averaging,
    check_precision,
    from_config,
)
from experiments.settings.head import ANCHORED
from launcher.errors import ConfigError
from launcher.estimates.needs import NONE, Needs
from launcher.topology import shape_of, split_batch

_log = logging.getLogger(__name__)
NO_TRAINING = ("evaluate", "extract", "vocabulary", "teacher")
"""Tasks that read each window once."""


def check(config: Any) -> None:
    """Refuse values that no schema can refuse, data that is not there, batches that do not fit.

    Raises:
        ConfigError: what is wrong with which key.
        DataError: data is missing or damaged.
    """
    experiment = from_config(config)
    _check_task(experiment)
    _check_metric_cache(experiment)
    if experiment.data.source != "synthetic":
        from experiments.data.needs import require_present

        require_present(experiment.data)
    resources: Any = OmegaConf.to_object(config.resources)
    cluster: Any = OmegaConf.to_object(config.cluster)
    shape = shape_of(resources, cluster)
    recipe = experiment.trainer
    split_batch(recipe.batch_size, shape.world_size, recipe.max_micro_batch_size)
    accelerator = "gpu" if shape.gpus_per_node > 0 and cluster.accelerator == "gpu" else "cpu"
    check_precision(recipe.precision, accelerator)
    if _reads_images(experiment):
        experiment.data.check_decoding(accelerator, experiment.task)


def _reads_images(experiment: ExperimentConfig) -> bool:
    if experiment.task in ("vocabulary", "teacher"):
        return False
    if experiment.task in ("pretrain", "extract"):
        return True
    return experiment.features.mode == "online" and "image" in SENSORS_OF[experiment.backbone.name]


def _check_task(experiment: ExperimentConfig) -> None:
    backbone = experiment.backbone
    if experiment.task == "pretrain" and backbone.name != "ijepa":
        raise ConfigError(
            f"`task=pretrain` has no objective for `backbone={backbone.name}`",
            hint="pretraining is for backbone=ijepa",
        )
    if experiment.task == "pretrain":
        check_averaging(experiment.backbone.pretrain.precision)
    if experiment.task == "teacher" and experiment.head.name not in ANCHORED:
        raise ConfigError(
            f"`task=teacher` has no vocabulary to score with `head={experiment.head.name}`",
            hint="use head=hydra_mdp, which requires one",
        )
    _check_weights_file(backbone)
    _check_blocks(experiment)
    _check_taught(experiment)
    _check_auxiliary(experiment)
    is_random = backbone.name in VITS and backbone.weights == "none"
    if experiment.task != "pretrain" and is_random and experiment.finetune.policy == "frozen":
        raise ConfigError(
            "`backbone.weights=none` with `finetune.policy=frozen` is a random frozen encoder",
            hint="use backbone.weights=pretrain (I-JEPA) or the path of a file, or finetune=full"
            " with requires.encoder=null",
        )


def _check_metric_cache(experiment: ExperimentConfig) -> None:
    folders = {
        "scoring.metric_cache": experiment.scoring.metric_cache,
        "teacher.metric_cache": experiment.teacher.metric_cache,
    }
    for key, folder in folders.items():
        if folder is not None and not Path(folder).is_dir():
            raise ConfigError(
                f"`{key}={folder}`: there is no such folder",
                hint="it is the one that NAVSIM v1.1 wrote its metric caches into",
            )


def _check_taught(experiment: ExperimentConfig) -> None:
    head = experiment.head
    if experiment.task == "train" and head.teacher != "none" and head.name != "hydra_mdp":
        raise ConfigError(
            f"`head.teacher={head.teacher}` has no meaning with `head={head.name}`, which learns"
            " from no teacher",
            hint="use head=hydra_mdp, or leave it out: the runs would be the same",
        )


def _check_blocks(experiment: ExperimentConfig) -> None:
    """Other backbones are counted where they are built."""
    backbone, finetune = experiment.backbone, experiment.finetune
    is_too_many = backbone.name in VITS and finetune.blocks > backbone.depth
    if experiment.task == "train" and finetune.policy == "last_n" and is_too_many:
        raise ConfigError(
            f"`finetune.blocks={finetune.blocks}` does not fit `backbone={backbone.name}`, which"
            f" has {backbone.depth} blocks",
            hint=f"legal: 1 to {backbone.depth}; finetune=frozen for none of them",
        )


def _check_weights_file(backbone: BackboneConfig) -> None:
    path = backbone.weights_file
    if path is not None and not path.is_file():
        raise ConfigError(
            f"`backbone.weights={path}`: there is no such file",
            hint="it is `none`, `pretrain` or the path of a file in backbone.weights_format="
            f"{backbone.weights_format}",
        )


def _check_auxiliary(experiment: ExperimentConfig) -> None:
    data, task = experiment.data, experiment.task
    wants_maps = experiment.backbone.auxiliary == "navsim" and task in ("train", "evaluate")
    if not wants_maps or data.source != "openscene":
        return
    from experiments.data.cache import folders_of

    maps = folders_of(data, Path(data.root)).maps
    if not maps.is_dir():
        raise ConfigError(
            f"`backbone.auxiliary=navsim` learns from maps, and there is no folder `{maps}`",
            hint="use backbone.auxiliary=none, or data=navsim_cache, whose targets hold the maps",
        )


def memory_needs(config: Any) -> Needs:
    """What a run holds besides workers and batches, for `memory.needs`.

    Indexes, teacher scores and the decoded sensors of generated data are files that all processes
    share and that give way when memory is short. Recorded data that is decoded ahead is held by
    each rank for itself.

    Raises:
        ConfigError: a value is wrong.
        DataError: data is missing or damaged.
    """
    experiment = from_config(config)
    data, task = experiment.data, experiment.task
    reads_features = experiment.features.mode == "stored" and task == "train"
    holds_nothing = data.source == "synthetic" or task in NO_TRAINING
    if holds_nothing or reads_features or not data.cache_decoded:
        return NONE
    from experiments.data.needs import decoded_gb, known_splits

    splits = known_splits(data)
    if splits is None:
        _log.warning("what data.cache_decoded=true takes is unknown until the logs are indexed")
        return NONE
    if task == "pretrain":
        held_gb = decoded_gb(data, ("image",), len(splits.train_frames))
    else:
        num_windows = len(splits.train) + len(splits.val)
        held_gb = decoded_gb(data, SENSORS_OF[experiment.backbone.name], num_windows)
    return Needs(per_rank_gb={"decoded sensors": held_gb})
