"""Every file in conf/ composes into values that pass all checks that need no data."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments import settings
from experiments.settings import from_config
from launcher.hydra_config import without_hydra
from tests.programs import REPOSITORY

settings.register()
CONF = REPOSITORY / "conf"
OPTIONS = [
    f"{path.parent.name}={path.stem}"
    for path in sorted(CONF.glob("*/*.yaml"))
    if not path.stem.startswith("_")
]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_every_group_composes(option: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [option], return_hydra_config=True)
    experiment = from_config(without_hydra(config))
    assert OmegaConf.to_object(config.cluster)
    assert experiment.trainer.max_steps > 0


def test_the_sizes_of_a_scale_reach_the_backbone() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["scale=paper", "backbone=ijepa"])
    experiment = from_config(config)
    assert (experiment.backbone.depth, experiment.backbone.embed_dim) == (32, 1280)
    assert all(edge % experiment.backbone.patch_px == 0 for edge in experiment.data.image_hw)


def test_the_backbones_recipe_is_taken_unless_another_is_asked_for() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        preset = from_config(compose("config", ["backbone=ijepa"]))
        chosen = from_config(compose("config", ["backbone=ijepa", "optimizer=adam"]))
    assert (preset.optimizer.name, preset.finetune.policy) == ("adamw", "frozen")
    assert (chosen.optimizer.name, chosen.optimizer.weight_decay) == ("adam", 0.0)
