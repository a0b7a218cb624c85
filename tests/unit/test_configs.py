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
        # Features of an encoder that learns cannot be stored.
        needed = ["backbone=ijepa"] if option == "features=stored" else []
        # And filters of test scenes are NAVSIM's.
        needed += ["data=navsim"] if option.startswith("split=") else []
        config = compose("config", [option, *needed], return_hydra_config=True)
    experiment = from_config(without_hydra(config))
    assert OmegaConf.to_object(config.cluster)
    assert experiment.trainer.max_steps > 0


@pytest.mark.parametrize("study", [path.stem for path in sorted(CONF.glob("study/*.yaml"))])
def test_each_value_that_a_study_sweeps_over_composes(study: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        declared = compose("config", [f"study={study}"], return_hydra_config=True)
        for key, values in declared.hydra.sweeper.params.items():
            assert str(values).count(",") >= 1
            for value in str(values).split(","):
                config = compose("config", [f"study={study}", f"{key}={value}"])
                assert from_config(config).trainer.max_steps > 0
    header = (CONF / "study" / f"{study}.yaml").read_text()
    assert "# Question: " in header
    assert "# Expected: " in header


def test_larger_batches_see_as_many_samples() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["study=batch_size", "trainer.batch_size=64"])
        usual = compose("config", [])
    assert config.trainer.max_steps * 2 == usual.trainer.max_steps


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
