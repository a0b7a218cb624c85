"""Who may read stored features, and what such runs require first."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments import settings
from experiments.settings import FeaturesConfig
from experiments.settings.features import fitting_mode, required_extraction, why_online
from launcher.compose import Composer, WantedRun
from launcher.errors import ConfigError
from launcher.hydra_config import shared_store
from tests.programs import REPOSITORY
from tests.unit.composing import composer, current_config  # noqa: F401 a fixture

IJEPA = "backbone=ijepa"


pytestmark = pytest.mark.usefixtures("current_config")


@functools.cache
def remembering() -> Composer:
    """One for all tests: it remembers each choice of groups."""
    return composer()


def composed(*overrides: str) -> WantedRun:
    chosen = [] if any(o.startswith("backbone=") for o in overrides) else [IJEPA]
    return remembering().runs([[*chosen, "data.split_seed=0", *overrides]], 0)[0]


def extractions(run: WantedRun) -> dict[str, str]:
    return {k: needed.key for k, needed in run.requires.items() if k.startswith("features")}


@pytest.mark.parametrize(
    ("policy", "augmentation", "weights", "why"),
    [
        ("full", "none", "pretrain", r"`finetune\.policy=full` changes the encoder"),
        ("last_n", "none", "pretrain", r"`finetune\.policy=last_n`"),
        ("frozen", "photometric", "pretrain", r"`data\.augmentation=photometric`"),
        ("frozen", "none", "none", r"`backbone\.weights=none` is a random encoder"),
    ],
)
def test_features_that_would_change_are_not_stored(
    policy: str, augmentation: str, weights: str, why: str
) -> None:
    reason = why_online(policy, augmentation, weights)
    assert reason is not None
    assert fitting_mode(policy, augmentation, weights) == "online"
    with pytest.raises(ConfigError, match=why):
        settings.ExperimentConfig(
            data=settings.DataConfig(augmentation=augmentation, image_hw=(28, 28)),
            backbone=settings.BackboneConfig(name="ijepa", weights=weights),
            finetune=settings.FinetuneConfig(policy=policy),
            features=FeaturesConfig(mode="stored"),
        )


def test_a_frozen_encoder_with_weights_is_stored() -> None:
    assert fitting_mode("frozen", "none", "pretrain") == "stored"
    assert fitting_mode("frozen", "none", "some/file.pth.tar") == "stored"


@pytest.mark.parametrize("task", ["pretrain", "extract", "vocabulary"])
def test_only_readers_require_an_extraction(task: str) -> None:
    assert required_extraction(task, "stored", 1) is None
    assert required_extraction("train", "online", 1) is None
    assert required_extraction("train", "stored", 1) == ["task=extract", "features.part=0/1"]


@pytest.mark.parametrize("part", ["4/4", "1", "-1/2", "0/0", "a/b"])
def test_a_share_that_is_none_is_refused(part: str) -> None:
    with pytest.raises(ConfigError, match="names no share"):
        FeaturesConfig(part=part)


@pytest.mark.parametrize(
    "wrong", [{"mode": "auto"}, {"dtype": "int8"}, {"compute_dtype": "float16"},
              {"num_jobs": 0}, {"batch_size": 0}, {"pool_hw": (0, 1)}]
)  # fmt: skip
def test_values_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"features.{name}"):
        FeaturesConfig(**wrong)


def test_one_extraction_serves_heads_fractions_seeds_and_recipes() -> None:
    runs = [
        composed(*overrides)
        for overrides in (
            [],
            ["head.hidden_dim=7", "trainer.seed=3", "task=evaluate"],
            ["data.fraction=0.1", "data.subset_seed=2", "optimizer.lr=0.5"],
            ["features.mode=stored", "trainer.batch_size=16"],
        )
    ]
    keys = {key for run in runs for key in extractions(run).values()}
    assert len(keys) == 1
    assert all(list(extractions(run)) == ["features"] for run in runs)


def test_other_pixels_tokens_or_encoders_are_other_extractions() -> None:
    keys = [
        extractions(composed(*overrides))["features"]
        for overrides in (
            [],
            ["features.pool_hw=[1,1]"],
            ["data.decode=scaled"],
            ["backbone.pretrain.steps=7"],
            ["backbone.which=encoder"],
        )
    ]
    assert len(set(keys)) == len(keys)


def test_an_extraction_requires_its_encoder_and_nothing_else() -> None:
    run = composed("+requires.train=['task=pretrain']")
    extraction = run.requires["features"]
    assert extraction.config.task == "extract"
    assert list(extraction.requires) == ["encoder"]
    assert extraction.requires["encoder"].key == run.requires["encoder"].key


def test_the_work_is_spread_over_jobs_without_another_training() -> None:
    one, four = composed(), composed("features.num_jobs=4")
    assert list(extractions(four)) == [f"features/{number}" for number in range(4)]
    parts = [run.config.features.part for k, run in four.requires.items() if "features" in k]
    assert parts == ["0/4", "1/4", "2/4", "3/4"]
    assert one.key == four.key
    assert len({*extractions(one).values(), *extractions(four).values()}) == 5


def test_what_learns_or_varies_is_encoded_online() -> None:
    for overrides in (
        ["finetune.policy=full"],
        ["data.augmentation=photometric"],
        ["features=online"],
    ):
        run = composed(*overrides)
        assert run.config.features.mode == "online"
        assert extractions(run) == {}


def test_stored_features_of_a_learning_encoder_are_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match=r"cannot be: `finetune\.policy=full` changes"):
        composed("backbone=transfuser", "features.mode=stored")


def test_pretraining_does_not_depend_on_how_features_are_kept() -> None:
    keys = {
        composed(*overrides).requires["encoder"].key
        for overrides in (
            [], ["features.dtype=float32"], ["data.augmentation=photometric"],
        )
    }  # fmt: skip
    assert len(keys) == 1


def test_what_is_required_is_known_once_hydra_has_resolved_the_launcher() -> None:
    with shared_store(), initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config = compose("config", [IJEPA, "features.num_jobs=2"], return_hydra_config=True)
    OmegaConf.resolve(config.hydra.launcher)
    wanted = ["task=extract", "features.part=0/2,1/2"]
    assert config.hydra.launcher.requires.features == wanted
