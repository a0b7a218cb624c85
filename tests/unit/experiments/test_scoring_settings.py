"""Which settings of scoring contradict each other, and what of them names a run."""

from __future__ import annotations

from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from experiments import settings
from experiments.settings import DataConfig, ExperimentConfig, ScoringConfig, from_config
from experiments.settings.registration import IdentityConfig
from launcher.errors import ConfigError
from tests.programs import REPOSITORY

settings.register()


def composed(*overrides: str) -> Any:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.mark.parametrize(("asked", "pdm"), [("auto", "auto"), ("true", True), ("false", False)])
def test_words_and_truth_values_mean_the_same(asked: str, pdm: object) -> None:
    assert from_config(composed(f"scoring.pdm={asked}")).scoring.pdm is pdm
    assert ScoringConfig(pdm=asked).pdm is pdm


def test_whose_scenes_are_scored_follows_the_metric_cache_and_names_the_run() -> None:
    config = composed("scoring.metric_cache=/somewhere", "data.source=openscene")
    assert config.scoring.scenes == "metric_cache"
    assert composed().scoring.scenes == "maps"
    assert from_config(config).scoring == ScoringConfig(
        metric_cache="/somewhere", scenes="metric_cache"
    )
    unnamed = IdentityConfig().always
    assert "scoring.metric_cache" in unnamed
    assert not {"scoring", "scoring.pdm", "scoring.scenes"} & set(unnamed)


@pytest.mark.parametrize("task", ["pretrain", "extract", "vocabulary"])
def test_scoring_does_not_name_what_comes_before_it(task: str) -> None:
    assert "scoring" in composed(f"task={task}").identity.exclude


def test_contradictions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"`scoring\.pdm=maybe` is not known"):
        ScoringConfig(pdm="maybe")
    with pytest.raises(ConfigError, match=r"is not read with `scoring\.pdm=false`"):
        ScoringConfig(pdm=False, metric_cache="/x", scenes="metric_cache")
    for wrong in ({"scenes": "metric_cache"}, {"metric_cache": "/x"}):
        with pytest.raises(ConfigError, match=r"leave scoring\.scenes out"):
            ScoringConfig(**wrong)
    with pytest.raises(ConfigError, match="holds none of the scenes"):
        ExperimentConfig(scoring=ScoringConfig(metric_cache="/x", scenes="metric_cache"))
    with pytest.raises(ConfigError, match="ends windows before 5 s"):
        ExperimentConfig(data=DataConfig(num_future_frames=8), scoring=ScoringConfig(pdm=True))
