"""What a backbone cannot be built from is said on the submitting machine."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from experiments.preflight import check
from experiments.settings import register
from launcher.errors import ConfigError
from tests.programs import REPOSITORY

register()


def composed(*overrides: str) -> Any:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.mark.parametrize(
    ("backbone", "file"),
    [
        ("ijepa_vith14", "IN1K-vit.h.14-300e.pth.tar"),
        ("ijepa_vitg16", "IN22K-vit.g.16-600e.pth.tar"),
        ("dinov2", "vit_large_patch14_reg4_dinov2.lvd142m.pth"),
        ("vit_supervised", "vit_huge_patch14_224.orig_in21k.pth"),
    ],
)
def test_released_weights_that_are_not_there_are_named(
    backbone: str, file: str, tmp_path: Path
) -> None:
    config = composed("scale=paper", f"backbone={backbone}", f"paths.data_dir={tmp_path}")
    with pytest.raises(ConfigError, match="there is no such file") as refusal:
        check(config)
    assert f"{tmp_path}/weights/{file}" in refusal.value.message
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / file).touch()
    check(config)


def test_misspelt_weights_are_taken_for_a_file_and_the_words_are_listed() -> None:
    with pytest.raises(ConfigError, match=r"`backbone.weights=pretain`: there is no") as refusal:
        check(composed("backbone=ijepa", "backbone.weights=pretain"))
    assert str(refusal.value.hint).startswith("it is `none`, `pretrain` or the path")


def test_random_vision_transformer_that_cannot_learn_is_refused() -> None:
    with pytest.raises(ConfigError, match="is a random frozen encoder"):
        check(composed("backbone=dinov2", "finetune=frozen"))


def test_pretraining_with_weights_in_bfloat16_is_refused() -> None:
    with pytest.raises(ConfigError, match="stops the target encoder"):
        check(composed("backbone=ijepa", "task=pretrain", "trainer.precision=bf16-true"))
    check(composed("backbone=ijepa", "task=pretrain", "trainer.precision=bf16-mixed"))


def test_only_ijepa_can_be_pretrained() -> None:
    with pytest.raises(ConfigError, match="has no objective for `backbone=vovnet`"):
        check(composed("backbone=vovnet", "task=pretrain"))


def test_released_encoders_require_no_pretraining() -> None:
    assert composed("backbone=ijepa").requires.encoder == ["task=pretrain"]
    assert composed("backbone=ijepa_vith14").requires.encoder is None
    assert composed("backbone=ijepa_vitg16").requires.encoder is None
