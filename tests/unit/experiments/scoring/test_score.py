from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.data import Splits
from experiments.scoring import constant_velocity, score
from experiments.settings import DataConfig
from tests.unit.experiments.data.worlds import copy_logs, open_copy


def everything(splits: Splits) -> np.ndarray:
    return np.arange(len(splits.source.index))


def test_the_expert_neither_collides_nor_leaves_the_road(splits: Splits) -> None:
    every = everything(splits)
    means = score(splits.source, every, splits.source.future[every]).means
    assert means == {
        "ade": 0.0, "fde": 0.0, "heading_error": 0.0, "collides": 0.0, "leaves_drivable_area": 0.0
    }  # fmt: skip


def test_constant_velocity_is_a_bad_driver(splits: Splits) -> None:
    every = everything(splits)
    means = score(splits.source, every, constant_velocity(splits.source.status[every])).means
    assert means["ade"] > 1.5
    assert means["fde"] > 3.5
    assert means["collides"] + means["leaves_drivable_area"] > 0.2


def test_values_come_in_the_order_of_the_indices(splits: Splits) -> None:
    every = everything(splits)
    plans = constant_velocity(splits.source.status[every])
    forward = score(splits.source, every, plans).per_scene
    backward = score(splits.source, every[::-1], plans[::-1]).per_scene
    for name, values in forward.items():
        assert values.shape == every.shape
        np.testing.assert_array_equal(values, backward[name][::-1])


def test_without_maps_leaving_the_road_is_not_scored(
    small_world: DataConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorded = copy_logs(small_world, tmp_path / "recorded")
    shutil.rmtree(Path(recorded.root) / "maps")
    source = open_copy(recorded)
    means = score(source, np.array([0]), source.future[:1]).means
    assert set(means) == {"ade", "fde", "heading_error", "collides"}
    assert "not scored" in caplog.text


def test_a_plan_for_another_number_of_scenes_is_refused(splits: Splits) -> None:
    with pytest.raises(ValueError, match=r"wanted \(2, 8, 3\)"):
        score(splits.source, np.array([0, 1]), np.zeros((3, 8, 3)))


def test_a_plan_that_is_not_finite_is_refused(splits: Splits) -> None:
    with pytest.raises(ValueError, match="not finite"):
        score(splits.source, np.array([0]), np.full((1, 8, 3), np.nan))


def test_no_scenes_are_refused(splits: Splits) -> None:
    with pytest.raises(ValueError, match="no scenes"):
        score(splits.source, np.array([], int), np.zeros((0, 8, 3)))
