"""One run: everything that means something to the science."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import OmegaConf

from experiments.settings.backbone import VITS, BackboneConfig, check_vit_sizes
from experiments.settings.data import DataConfig
from experiments.settings.features import READERS, FeaturesConfig, check_stored, why_online
from experiments.settings.finetune import FinetuneConfig
from experiments.settings.head import HeadConfig
from experiments.settings.scoring import ScoringConfig, check_scenes
from experiments.settings.teacher import TAUGHT, TeacherConfig, teachers_scenes
from experiments.settings.training import OptimizerConfig, TrainerConfig
from launcher.errors import ConfigError, one_of

TASKS = ("train", "evaluate", "pretrain", "extract", "vocabulary", "teacher")


@dataclass(kw_only=True)
class ExperimentConfig:
    """One run: everything that is composed for it and means something to the science."""

    task: str = "train"
    """`train`, `evaluate`, `pretrain`, `extract` (features), `vocabulary` (of a head) or `teacher`
    (its scores)."""
    data: DataConfig = field(default_factory=DataConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)

    def __post_init__(self) -> None:
        one_of("task", self.task, TASKS)
        if self.backbone.name in VITS:
            check_vit_sizes(self.backbone, self.data.image_hw)
        if self.task in READERS:
            check_stored(self.features, self.why_online)
            check_scenes(self.scoring, self.data.source, self.data.num_future_frames)
        if self.task == "teacher" or (self.task == "train" and self.head.teacher == "scores"):
            self._check_teacher()

    def _check_teacher(self) -> None:
        scenes = teachers_scenes(self.teacher, self.scoring)
        check_scenes(scenes, self.data.source, self.data.num_future_frames)
        unknown = [name for name in self.head.teacher_metrics if name not in TAUGHT]
        if unknown:
            raise ConfigError(
                f"`head.teacher_metrics` names `{unknown[0]}`, which the PDM score of v1 has not",
                hint=f"it has {', '.join(TAUGHT)}",
            )

    @property
    def why_online(self) -> str | None:
        """Why features of this run cannot be stored; None if they can."""
        return why_online(self.finetune.policy, self.data.augmentation, self.backbone.weights)


def from_config(config: Any) -> ExperimentConfig:
    """Convert a composed config, once.

    Raises:
        ConfigError: a value that no type can refuse is wrong.
    """
    parts = {}
    for part in fields(ExperimentConfig):
        if part.name not in config:
            continue  # frozen before there was such a group: its defaults are what it ran with
        value = config[part.name]
        is_node = OmegaConf.is_config(value)
        parts[part.name] = OmegaConf.to_container(value, resolve=True) if is_node else value
    converted = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ExperimentConfig), parts))
    assert isinstance(converted, ExperimentConfig)
    return converted
