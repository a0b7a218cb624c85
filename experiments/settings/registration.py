"""What the launcher has to know of a run, and the schemas that Hydra composes against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from experiments.settings.experiment import ExperimentConfig
from experiments.settings.features import fitting_mode, required_extraction
from experiments.settings.scoring import scenes_of
from experiments.settings.teacher import required_teacher
from launcher.settings import (
    DEFAULT_KEY_EXCLUDE,
    SWITCHES,
    ClusterConfig,
    FollowConfig,
    MemoryConfig,
    RecoveryConfig,
    ResourcesConfig,
)
from launcher.settings import register as register_launchers
from launcher.tracking.settings import TrackingConfig


def _of_no_key() -> list[str]:
    return [
        "identity",
        "requires.features",
        "requires.teacher",
        *DEFAULT_KEY_EXCLUDE,
        *SWITCHES,
        "data.root",
        "data.logs",
        "data.sensors",
        "data.cache_dir",
        "data.training_cache",
        "data.devkit",
        "data.num_workers",
        "data.val_num_workers",
        "data.persistent_workers",
        "data.cache_decoded",
        "data.decoded_dir",
        "features.batch_size",
        "features.num_jobs",
        "teacher.num_jobs",
        "teacher.metric_cache",
        "trainer.log_every_steps",
        "trainer.profile_steps",
        "trainer.cuda_graphs",
        "scoring.metric_cache",
    ]


def _of_no_profile() -> list[str]:
    return [
        "data.fraction",
        "data.fraction_unit",
        "data.allow_empty_strata",
        "data.subset_seed",
        "data.split_seed",
        "trainer.seed",
        "trainer.val_every_steps",
        "optimizer.lr",
        "optimizer.weight_decay",
        "optimizer.schedule",
        "optimizer.warmup_steps",
        "optimizer.min_lr_share",
        "optimizer.milestones",
        "optimizer.step_factor",
        "finetune.lr_scale",
        "finetune.layer_decay",
        "data.budget",
        "scoring",
    ]


@dataclass(kw_only=True)
class IdentityConfig:
    """What does not change the science of a run and is not part of its key, as dotted keys."""

    always: list[str] = field(default_factory=_of_no_key)
    """Of no run: where it runs, from which folders, how much it says."""
    exclude: list[str] = field(default_factory=lambda: ["teacher"])
    """Of the runs of a task, e.g. of a pretraining what comes after it."""
    derived: list[str] = field(default_factory=lambda: ["scale"])
    """What only feeds other keys; its values count where they arrive."""


@dataclass(kw_only=True)
class RootConfig(ExperimentConfig):
    """A run with what the launcher has to know of it: where, how large, after what."""

    scale: dict[str, Any] = field(default_factory=dict)
    """Sizes that the other groups refer to."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    requires: dict[str, Any] = field(default_factory=dict)
    recovery: RecoveryConfig = field(default_factory=RecoveryConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    paths: dict[str, str] = field(default_factory=dict)
    identity: IdentityConfig = field(default_factory=IdentityConfig)
    dry_run: bool = False
    """Short for hydra.launcher.dry_run, as are the following for their namesakes."""
    show_script: bool = False
    yes: bool = False
    force: bool = False
    failed: str | None = None
    unwanted: str = "keep"
    wait: bool | None = None


def steps_of_batch(max_steps: int, batch_size: int, other_batch_size: int) -> int:
    """Return in how many steps of another batch size as many samples are seen, rounded up."""
    return -(-max_steps * batch_size // other_batch_size)


def register() -> None:
    """Offer the schema that conf/config.yaml starts from, and launchers that read its groups."""
    OmegaConf.register_new_resolver("steps_of_batch", steps_of_batch, replace=True)
    OmegaConf.register_new_resolver("features_mode", fitting_mode, replace=True)
    OmegaConf.register_new_resolver("features_required", required_extraction, replace=True)
    OmegaConf.register_new_resolver("teacher_required", required_teacher, replace=True)
    OmegaConf.register_new_resolver("scoring_scenes", scenes_of, replace=True)
    ConfigStore.instance().store(name="experiment_schema", node=RootConfig)
    register_launchers(
        cluster="${cluster}",
        resources="${resources}",
        requires="${requires}",
        recovery="${recovery}",
        key_exclude="${identity.exclude}",
        shared_dir="${paths.output_dir}/prerequisites",
        profiles_dir="${paths.output_dir}/profiles",
        profile_ignore=_of_no_profile(),
        memory=MemoryConfig(
            needs="experiments.preflight:memory_needs",
            grows_with=["data.fraction", "data.fraction_unit", "data.cache_decoded"],
        ),
        validate=["launcher.tracking.checking:check", "experiments.preflight:check"],
        follow=FollowConfig(may_differ=["scoring", "data.test_filter"], anew=["features"]),
        report="experiments.report:write",
        page="experiments.reporting:write",
        **{name: f"${{{name}}}" for name in SWITCHES},
    )
