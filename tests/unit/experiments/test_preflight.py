"""What no schema can refuse is refused on the submitting machine."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from experiments import settings
from experiments.preflight import check, memory_needs
from launcher.errors import ConfigError
from launcher.estimates.needs import NONE
from tests.programs import REPOSITORY

settings.register()


def composed(*overrides: str) -> Any:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return compose("config", list(overrides))


def test_the_default_passes() -> None:
    check(composed())


def test_half_precision_without_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trainer.precision=16-mixed") as error:
        check(composed("trainer.precision=16-mixed"))
    assert "bf16-mixed" in str(error.value.hint)


def test_images_that_a_gpu_decodes_need_one_and_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = ("data.decode=gpu", "data.cache_decoded=false")
    monkeypatch.setattr("experiments.settings.data.find_spec", lambda name: name)
    check(composed(*gpu, "resources=gpu1"))
    check(composed(*gpu, "task=vocabulary"))
    images = (
        ["task=train"],
        ["task=extract", "backbone=ijepa"],
        ["task=pretrain", "backbone=ijepa"],
    )
    for those in images:
        told = rf"data.decode=gpu.*this run \({those[0]}\) has none"
        with pytest.raises(ConfigError, match=told):
            check(composed(*gpu, *those))
    monkeypatch.setattr("experiments.settings.data.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="torchcodec, which is not installed"):
        check(composed(*gpu, "resources=gpu1"))


def test_a_teacher_of_a_head_that_has_none_is_refused() -> None:
    check(composed("head=hydra_mdp", "head.teacher=scores"))
    with pytest.raises(ConfigError, match=r"head.teacher=scores. has no meaning with `head=mlp`"):
        check(composed("head=mlp", "head.teacher=scores"))


def test_more_blocks_than_a_vit_has_are_refused_before_anything_is_sent() -> None:
    tuned = ("backbone=ijepa", "finetune=last_n")
    check(composed(*tuned, "finetune.blocks=3"))
    with pytest.raises(ConfigError, match=r"finetune.blocks=4.*ijepa`, which has 3 blocks"):
        check(composed(*tuned, "finetune.blocks=4"))


def test_auxiliary_losses_on_recorded_data_without_maps_are_refused(tmp_path: Path) -> None:
    for kind in ("navsim_logs", "sensor_blobs/log-0"):
        (tmp_path / kind).mkdir(parents=True)
    (tmp_path / "navsim_logs" / "log-0.pkl").write_bytes(b"")
    where = ("data=openscene", f"paths.data_dir={tmp_path}", "resources=gpu1")
    check(composed(*where, "backbone.auxiliary=none"))
    with pytest.raises(ConfigError, match="learns from maps") as error:
        check(composed(*where))
    assert "backbone.auxiliary=none" in str(error.value.hint)


def test_a_teacher_without_a_vocabulary_is_refused() -> None:
    check(composed("task=teacher", "head=hydra_mdp"))
    with pytest.raises(ConfigError, match="no vocabulary to score with `head=mlp`"):
        check(composed("task=teacher"))


def test_a_metric_cache_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    for kind in ("navsim_logs", "sensor_blobs"):
        (tmp_path / kind).mkdir()
    cache = ("backbone.auxiliary=none", f"scoring.metric_cache={tmp_path}/nowhere")
    with pytest.raises(ConfigError, match="nowhere`: there is no such folder"):
        check(composed("data=openscene", f"paths.data_dir={tmp_path}", *cache))


def test_a_run_that_reads_stored_features_holds_no_decoded_sensors(tmp_path: Path) -> None:
    frozen = ("data=openscene", f"paths.data_dir={tmp_path}", "backbone=ijepa")
    assert memory_needs(composed(*frozen, "data.cache_decoded=true")) == NONE
