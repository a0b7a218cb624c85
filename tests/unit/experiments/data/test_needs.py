from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from omegaconf import OmegaConf

from experiments.data import datasets
from experiments.data.dataset import FrameDataset, PlanningDataset
from experiments.data.needs import GB
from experiments.preflight import SENSORS_OF, memory_needs
from experiments.settings import BackboneConfig, DataConfig, ExperimentConfig
from launcher.estimates.needs import NONE
from tests.unit.experiments.models import tiny


def decoding(recorded: DataConfig) -> DataConfig:
    return replace(recorded, cache_decoded=True, test_share=0.0, val_share=0.5)


def composed(data: DataConfig, task: str = "train", name: str = "transfuser") -> Any:
    experiment = ExperimentConfig(task=task, data=data, backbone=BackboneConfig(name=name))
    return OmegaConf.structured(experiment)


def held_bytes(dataset: PlanningDataset) -> int:
    return sum(array.nbytes for array, _ in dataset._decoded.values())


@pytest.mark.parametrize("name", ["transfuser", "ijepa"])
def test_what_a_training_declares_is_what_its_datasets_hold(
    recorded: DataConfig, name: str
) -> None:
    data = replace(decoding(recorded), image_hw=(56, 112))
    splits = datasets(data)
    held = [
        PlanningDataset(splits.source, part, SENSORS_OF[name], cache_decoded=True)
        for part in (splits.train, splits.val)
    ]
    declared = memory_needs(composed(data, name=name)).rank_gb
    assert declared * GB == pytest.approx(sum(held_bytes(dataset) for dataset in held))


def test_what_a_pretraining_declares_is_what_its_dataset_holds(recorded: DataConfig) -> None:
    data = replace(decoding(recorded), image_hw=(56, 112))
    splits = datasets(data)
    frames = FrameDataset(splits.source, splits.train_frames, cache_decoded=True)
    assert frames._decoded is not None
    declared = memory_needs(composed(data, "pretrain", "ijepa")).rank_gb
    assert declared * GB == pytest.approx(frames._decoded[0].nbytes)


def test_what_is_mapped_or_read_on_demand_is_no_need(
    recorded: DataConfig, small_world: DataConfig
) -> None:
    datasets(decoding(recorded))
    generated = replace(small_world, cache_decoded=True)
    lazy = replace(decoding(recorded), cache_decoded=False)
    runs = [composed(generated), composed(lazy), composed(decoding(recorded), "evaluate")]
    assert [memory_needs(run) for run in runs] == [NONE, NONE, NONE]


def test_what_is_not_known_before_the_logs_are_indexed_is_said(
    recorded: DataConfig, caplog: pytest.LogCaptureFixture
) -> None:
    assert memory_needs(composed(decoding(recorded))) == NONE
    assert "unknown until the logs are indexed" in caplog.text


def test_the_sensors_of_a_backbone_are_those_that_it_says_itself() -> None:
    modules = [tiny.planning(tiny.transfuser()), tiny.planning(tiny.ijepa())]
    said = {module.backbone.spec.name: module.backbone.spec.sensors for module in modules}
    assert said.items() <= {name: frozenset(read) for name, read in SENSORS_OF.items()}.items()
