"""A published name is kept to: one that contradicts its values is refused."""

import re
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from experiments import settings
from experiments.settings import HeadConfig, from_config
from experiments.settings.head_weights import LogSumWeights
from experiments.settings.presets import check_size
from launcher.errors import ConfigError
from tests.programs import REPOSITORY

settings.register()
PRESETS = ("hydra_mdp_v8192", "hydra_mdp_v8192_w_ep", "hydra_mdp_v16384")
EQUAL = {"imitation": 1.0, "nc": 1.0, "dac": 1.0, "weighted": 1.0}


def composed(*overrides: str) -> HeadConfig:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return from_config(compose("config", list(overrides))).head


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_keeps_its_name(preset: str) -> None:
    head = composed(f"head={preset}", "scale=paper")
    assert head.preset == preset
    assert f"v{head.vocabulary_size}" in preset.split("_")
    assert head.ep == ("ep" in preset.split("_"))
    assert (head.teacher, head.rule, head.num_layers, head.dim) == ("scores", "log_sum", 3, 256)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("head.vocabulary_size=4096", "`head.vocabulary_size=4096`"),
        ("head.ep=false", "`head.ep=false`"),
        ("head.rule=additive", "`head.rule=additive`"),
        ("head.teacher=none", "`head.teacher=none`"),
        ("head.name=diffusion", "`head.name=diffusion`"),
    ],
)
def test_an_override_that_makes_the_name_wrong_is_refused(override: str, key: str) -> None:
    message = re.escape(f"`head.preset=hydra_mdp_v8192_w_ep` contradicts {key}")
    with pytest.raises(ConfigError, match=message):
        composed("head=hydra_mdp_v8192_w_ep", override)


def test_an_override_without_the_name_is_ones_own_head() -> None:
    head = composed("head=hydra_mdp_v8192_w_ep", "head.preset=null", "head.rule=additive")
    assert (head.preset, head.rule, head.ep) == (None, "additive", True)


def hydra(preset: str, **changes: Any) -> HeadConfig:
    values: dict[str, Any] = {"vocabulary_size": 8192, "teacher": "scores"}
    return HeadConfig(name="hydra_mdp", preset=preset, **(values | changes))


def test_ego_progress_cannot_hide_behind_a_name_without_it() -> None:
    with pytest.raises(ConfigError, match=r"contradicts `head.ep=true`"):
        hydra("hydra_mdp_v8192_w", ep=True)


def test_weights_of_the_rule_are_what_w_claims() -> None:
    equal = LogSumWeights(**EQUAL)
    assert hydra("hydra_mdp_v8192", log_sum=equal).log_sum == equal
    with pytest.raises(ConfigError, match="should be all 1, without `_w_`"):
        hydra("hydra_mdp_v8192")
    with pytest.raises(ConfigError, match="should be not all 1, as `_w_` claims"):
        hydra("hydra_mdp_v8192_w", log_sum=equal)


def test_eighty_three_million_parameters_are_not_those_of_8192_anchors() -> None:
    message = "published model of 83 M parameters has 16384 anchors"
    with pytest.raises(ConfigError, match=message):
        hydra("hydra_mdp_v8192_w_83m")
    assert hydra("hydra_mdp_w_83m", vocabulary_size=16384).preset == "hydra_mdp_w_83m"


def test_a_size_in_a_name_is_that_of_the_model() -> None:
    check_size("hydra_mdp_v16384_77m", 77_050_000)
    check_size("hydra_mdp_v16384", 77_050_000)
    check_size(None, 77_050_000)
    with pytest.raises(ConfigError, match=r"claims 83 M parameters, but .* 77.05 M"):
        check_size("hydra_mdp_v16384_83m", 77_050_000)


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("hydra_mdp_v8192_best", "`best` claims nothing that can be checked"),
        ("transfuser_v8192", "contradicts `head.name=hydra_mdp`"),
        ("hydra_mdpx", "contradicts `head.name=hydra_mdp`"),
    ],
)
def test_names_that_claim_nothing_known_are_refused(preset: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        hydra(preset)


def test_a_head_without_anchors_has_no_vocabulary_to_claim() -> None:
    with pytest.raises(ConfigError, match=r"contradicts `head.vocabulary_size=None`"):
        HeadConfig(name="gru", preset="gru_v64")
    assert HeadConfig(name="diffusion", preset="diffusion_v20", vocabulary_size=20).preset
