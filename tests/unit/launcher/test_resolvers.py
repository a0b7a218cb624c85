"""What counts for the key of a run, and what for its profile."""

from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from launcher import resolvers
from launcher.errors import ConfigError
from launcher.settings import StudyLauncherConf


def config(gpus: int, include: list[str], **more: Any) -> DictConfig:
    launcher = OmegaConf.structured(StudyLauncherConf(key_include=include))
    return OmegaConf.create(
        {
            "lr": 0.1,
            "resources": {"gpus": gpus, "nodes": None},
            "hydra": {"launcher": launcher},
            **more,
        }
    )


def key(*arguments: Any, **more: Any) -> str:
    return resolvers.key_of(config(*arguments, **more))


def test_the_shape_is_no_part_of_a_key_unless_it_is_included() -> None:
    assert key(1, []) == key(4, [])
    assert key(1, ["resources.gpus"]) != key(4, ["resources.gpus"])
    assert key(4, ["resources.gpus"]) == key(4, ["resources.gpus"])


def test_a_whole_group_can_be_included_also_with_nothing_in_it() -> None:
    assert key(1, ["resources"]) != key(4, ["resources"])
    assert key(1, ["resources.nodes"]) == key(4, ["resources.nodes"])


def test_a_foreign_program_includes_what_stands_below_hydra() -> None:
    include = ["hydra.launcher.resources.gpus"]
    one, four = config(1, include), config(1, include)
    one.hydra.launcher.resources.gpus = 1
    four.hydra.launcher.resources.gpus = 4
    assert resolvers.key_of(one) != resolvers.key_of(four)


def test_runs_of_a_scaling_study_share_a_profile() -> None:
    profiles = set()
    for gpus in (1, 4):
        composed = config(gpus, ["resources.gpus"])
        resolvers.key_of(composed)
        profiles.add(resolvers.profile_of(composed))
    assert len(profiles) == 1


def test_a_key_that_the_config_has_not_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"key_include` names `resources\.gpu`"):
        key(1, ["resources.gpu"])
