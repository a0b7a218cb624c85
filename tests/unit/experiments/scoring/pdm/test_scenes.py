"""Whose scenes are scored: those of logs with maps, or those of NAVSIM's metric caches."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.data import Splits
from experiments.data.errors import DataError
from experiments.scoring.pdm.metric_cache import read_metric_cache
from experiments.scoring.pdm.reference import REFERENCE
from experiments.scoring.pdm.scenes import open_scenes
from experiments.scoring.pdm.score import scorer_sha
from experiments.settings import DataConfig, ScoringConfig
from launcher.errors import ConfigError
from tests.unit.experiments.data.worlds import copy_logs, edit_log, first_log, open_copy
from tests.unit.experiments.scoring.pdm.worlds import GOLDEN

CACHE = GOLDEN / "metric_cache"
ROW = np.array([0])


def caches(folder: Path = CACHE) -> ScoringConfig:
    return ScoringConfig(metric_cache=str(folder), scenes="metric_cache")


def go_on() -> None:
    pass


def test_scenes_of_maps_say_whose_reference_they_rest_on(
    splits: Splits, small_world: DataConfig
) -> None:
    scenes = open_scenes(ScoringConfig(), small_world, splits.source, ROW, go_on)
    assert scenes is not None
    assert scenes.scorer == f"ours {scorer_sha()[:12]}, reference {REFERENCE}"
    assert scenes.read(0).token == splits.source.index.token[0].decode()


def test_scenes_of_metric_caches_are_found_by_token(
    small_world: DataConfig, tmp_path: Path
) -> None:
    recorded = copy_logs(small_world, tmp_path / "recorded", 1)
    shutil.rmtree(Path(recorded.root) / "maps")
    path = next(CACHE.glob("*/*/*/metric_cache.pkl"))

    def rename(frames: list[dict[str, Any]]) -> None:
        frames[3]["token"] = path.parent.name

    edit_log(first_log(recorded), rename)
    source = open_copy(recorded)
    scenes = open_scenes(caches(), recorded, source, ROW, go_on)
    assert scenes is not None
    assert scenes.scorer == f"ours {scorer_sha()[:12]}"
    assert np.array_equal(scenes.read(0).reference, read_metric_cache(path).reference)
    with pytest.raises(DataError, match=r"2 of 3 scenes are not in the metric cache"):
        open_scenes(caches(), recorded, source, np.arange(3), go_on)


def test_auto_leaves_out_what_cannot_be_and_true_refuses_it(
    splits: Splits, small_world: DataConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    recorded = copy_logs(small_world, tmp_path / "recorded", 1)
    shutil.rmtree(Path(recorded.root) / "maps")
    source, short = open_copy(recorded), replace(small_world, num_future_frames=8)
    assert open_scenes(ScoringConfig(), recorded, source, ROW, go_on) is None
    assert "no PDM score: the data has no maps" in caplog.text
    assert open_scenes(ScoringConfig(), short, splits.source, ROW, go_on) is None
    assert "ends windows before 5 s" in caplog.text
    with pytest.raises(ConfigError, match="has no maps"):
        open_scenes(ScoringConfig(pdm=True), recorded, source, ROW, go_on)
    with pytest.raises(ConfigError, match="before 5 s"):
        open_scenes(ScoringConfig(pdm=True), short, splits.source, ROW, go_on)
    off = ScoringConfig(pdm=False)
    assert open_scenes(off, small_world, splits.source, ROW, go_on) is None


def test_a_lane_that_is_no_polygon_is_refused_by_name(
    small_world: DataConfig, tmp_path: Path
) -> None:
    recorded = copy_logs(small_world, tmp_path / "recorded", 1)
    (path,) = (Path(recorded.root) / "maps").iterdir()
    content = json.loads(path.read_text())
    lane = next(area for area in content["polygons"] if area["layer"] == "lane")
    lane["polygon"] = lane["polygon"][:2]
    path.write_text(json.dumps(content))
    scenes = open_scenes(ScoringConfig(), recorded, open_copy(recorded), ROW, go_on)
    assert scenes is not None
    with pytest.raises(DataError, match=f"polygon `{lane['id']}` has 2 distinct points"):
        scenes.read(0)


def test_a_metric_cache_that_is_not_there_is_refused(
    splits: Splits, small_world: DataConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        open_scenes(caches(tmp_path / "no"), small_world, splits.source, ROW, go_on)
