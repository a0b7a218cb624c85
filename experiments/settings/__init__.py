"""What an experiment is: one dataclass per config group, with every default in one place.

The YAML files below conf/ hold only what differs from here. Hydra composes against these
schemas, so a misspelt key dies on the submitting machine; `from_config` converts once, and
`__post_init__` checks what OmegaConf cannot. Importing this module never imports torch.
"""

from experiments.settings.backbone import SENSORS_OF, VITS, BackboneConfig, check_vit_sizes
from experiments.settings.constants import COMMANDS, POSE_INTERVAL_S, POSES
from experiments.settings.data import DataConfig, SyntheticConfig
from experiments.settings.experiment import ExperimentConfig, from_config
from experiments.settings.features import FeaturesConfig
from experiments.settings.finetune import FinetuneConfig
from experiments.settings.head import HeadConfig
from experiments.settings.pretraining import PretrainConfig, check_averaging
from experiments.settings.registration import IdentityConfig, RootConfig, register
from experiments.settings.scoring import ScoringConfig
from experiments.settings.training import (
    OptimizerConfig,
    TrainerConfig,
    check_precision,
    recipe_deviations,
)

__all__ = [
    "COMMANDS",
    "POSES",
    "POSE_INTERVAL_S",
    "SENSORS_OF",
    "VITS",
    "BackboneConfig",
    "DataConfig",
    "ExperimentConfig",
    "FeaturesConfig",
    "FinetuneConfig",
    "HeadConfig",
    "IdentityConfig",
    "OptimizerConfig",
    "PretrainConfig",
    "RootConfig",
    "ScoringConfig",
    "SyntheticConfig",
    "TrainerConfig",
    "check_averaging",
    "check_precision",
    "check_vit_sizes",
    "from_config",
    "recipe_deviations",
    "register",
]
