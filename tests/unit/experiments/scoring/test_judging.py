from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.data import Splits
from experiments.data.source import SceneSource
from experiments.scoring import constant_velocity
from experiments.scoring.judging import judge
from experiments.scoring.tables import Judged
from experiments.settings import DataConfig
from tests.unit.experiments.data.worlds import copy_logs, open_copy


def judged(source: SceneSource, rows: np.ndarray, poses: np.ndarray) -> Judged:
    return judge(source, rows, {"plan": poses}, None, lambda: None)


def everything(splits: Splits) -> np.ndarray:
    return np.arange(len(splits.source.index))


def test_the_expert_neither_collides_nor_leaves_the_road(splits: Splits) -> None:
    every = everything(splits)
    means = judged(splits.source, every, splits.source.future[every]).means("plan")
    assert means == {
        "ade_m": 0.0, "fde_m": 0.0, "heading_error_rad": 0.0, "collides": 0.0,
        "leaves_drivable_area": 0.0,
    }  # fmt: skip


def test_constant_velocity_is_a_bad_driver(splits: Splits) -> None:
    every = everything(splits)
    plans = constant_velocity(splits.source.status[every])
    means = judged(splits.source, every, plans).means("plan")
    assert means["ade_m"] > 1.5
    assert means["fde_m"] > 3.5
    assert means["collides"] + means["leaves_drivable_area"] > 0.2


def test_values_come_in_the_order_of_the_indices(splits: Splits) -> None:
    every = everything(splits)
    plans = constant_velocity(splits.source.status[every])
    forward = judged(splits.source, every, plans).values["plan"]
    backward = judged(splits.source, every[::-1], plans[::-1]).values["plan"]
    for name, values in forward.items():
        assert values.shape == every.shape
        np.testing.assert_array_equal(values, backward[name][::-1])


def test_without_maps_leaving_the_road_is_not_scored(
    small_world: DataConfig, tmp_path: Path
) -> None:
    recorded = copy_logs(small_world, tmp_path / "recorded")
    shutil.rmtree(Path(recorded.root) / "maps")
    source = open_copy(recorded)
    means = judged(source, np.array([0]), source.future[:1]).means("plan")
    assert set(means) == {"ade_m", "fde_m", "heading_error_rad", "collides"}


def test_a_plan_for_another_number_of_scenes_is_refused(splits: Splits) -> None:
    with pytest.raises(ValueError, match=r"wanted \(2, 8, 3\)"):
        judged(splits.source, np.array([0, 1]), np.zeros((3, 8, 3)))


def test_a_plan_that_is_not_finite_is_refused(splits: Splits) -> None:
    with pytest.raises(ValueError, match="not finite"):
        judged(splits.source, np.array([0]), np.full((1, 8, 3), np.nan))


def test_no_scenes_are_refused(splits: Splits) -> None:
    with pytest.raises(ValueError, match="no scenes"):
        judged(splits.source, np.array([], int), np.zeros((0, 8, 3)))
