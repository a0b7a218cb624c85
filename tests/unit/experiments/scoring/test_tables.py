"""Tables of scores: whole, in order, without the windows that failed, and resumed to the bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.data import Splits
from experiments.data.errors import DataError
from experiments.scoring import average_displacement, collides, constant_velocity
from experiments.scoring.judging import PDM_VALUES, judge
from experiments.scoring.pdm.scenes import Scenes, open_scenes
from experiments.scoring.pdm.score import METRIC_VERSION
from experiments.scoring.pdm.score import score as pdm_score
from experiments.scoring.tables import Judged
from experiments.settings import COMMANDS, DataConfig, ScoringConfig
from experiments.statistics.table import Run
from launcher.stopping import RunStopped
from tests.unit.experiments.data.worlds import copy_logs, open_copy

ROWS = np.array([7, 2, 4])
RUN = Run("an arm", 0.5, 3)
PLAIN = ("ade_m", "fde_m", "heading_error_rad", "collides", "leaves_drivable_area")


def go_on() -> None:
    pass


@pytest.fixture(scope="module")
def scenes(splits: Splits, small_world: DataConfig) -> Scenes:
    found = open_scenes(ScoringConfig(), small_world, splits.source, ROWS, go_on)
    assert found is not None
    return found


def plans(splits: Splits) -> dict[str, np.ndarray]:
    source = splits.source
    return {"human": source.future[ROWS], "steady": constant_velocity(source.status[ROWS])}


def failing(scenes: Scenes, *bad: int) -> Scenes:
    def read(row: int) -> Any:
        if row in bad:
            raise DataError(f"window {row} is broken")
        return scenes.read(row)

    return replace(scenes, read=read)


def judged(
    splits: Splits,
    scenes: Scenes | None,
    between: Callable[[], None] = go_on,
    unfinished: Path | None = None,
) -> Judged:
    return judge(splits.source, ROWS, plans(splits), scenes, between, unfinished)


def test_each_token_has_the_values_of_its_own_plan(splits: Splits, scenes: Scenes) -> None:
    table = judged(splits, scenes).table("steady", RUN)
    steady = plans(splits)["steady"]
    driven = splits.source.future[ROWS]
    np.testing.assert_array_equal(table.metrics["ade_m"], average_displacement(steady, driven))
    traffic = [splits.source.boxes(row) for row in ROWS.tolist()]
    wanted = [collides(*pair) for pair in zip(steady, traffic, strict=True)]
    np.testing.assert_array_equal(table.metrics["collides"], wanted)
    for place, row in enumerate(ROWS.tolist()):
        alone = pdm_score(scenes.read(row), steady[[place]])
        for name in PDM_VALUES:
            assert table.metrics[name][place] == pytest.approx(getattr(alone, name)[0], abs=1e-9)
    assert set(table.metrics) == {*PDM_VALUES, *PLAIN}


def test_a_table_says_who_scored_what_and_where(splits: Splits, scenes: Scenes) -> None:
    table, source = judged(splits, scenes).table("human", RUN), splits.source
    assert (table.run, table.scorer, table.metric_version) == (RUN, scenes.scorer, METRIC_VERSION)
    for place, row in enumerate(ROWS.tolist()):
        sample = source.load(row, frozenset())
        wanted = (sample.token, sample.log_name, sample.city, sample.command)
        columns = (table.tokens, table.logs, table.cities, table.commands)
        assert tuple(column[place] for column in columns) == wanted
    assert set(table.commands) <= set(COMMANDS)


def test_means_are_over_all_windows(splits: Splits, scenes: Scenes) -> None:
    found = judged(splits, scenes)
    found.require_complete(Path("scores"))
    for name, mean in found.means("steady").items():
        assert mean == pytest.approx(found.table("steady", RUN).metrics[name].mean())
    assert found.means("human")["ade_m"] == 0.0


def test_a_broken_scene_refuses_the_mean_and_leaves_the_others_table(
    splits: Splits, scenes: Scenes
) -> None:
    found = judged(splits, failing(scenes, 2))
    token = splits.source.index.token[2].decode()
    with pytest.raises(DataError, match=r"1 of 3 scenes .*66\.66 % coverage") as refused:
        found.require_complete(Path("run/scores"))
    assert f"{token}. The first, `{token}`: window 2 is broken" in refused.value.message
    assert "run/scores" in str(refused.value.hint)
    with pytest.raises(ValueError, match="less than 100 %"):
        found.means("human")
    whole = judged(splits, scenes).table("steady", RUN)
    table = found.table("steady", RUN)
    assert table.tokens == (whole.tokens[0], whole.tokens[2])
    for name, column in table.metrics.items():
        np.testing.assert_allclose(column, whole.metrics[name][[0, 2]], atol=1e-12)
    with pytest.raises(DataError, match="1 failed"):
        table.require_complete(whole.tokens)


def test_without_a_single_score_there_is_no_table(splits: Splits, scenes: Scenes) -> None:
    found = judged(splits, failing(scenes, *ROWS.tolist()))
    with pytest.raises(DataError, match=r"none of 3 scenes could be scored.*window 7 is broken"):
        found.table("human", RUN)


def test_without_a_pdm_score_the_table_says_so(splits: Splits) -> None:
    table = judged(splits, None).table("human", RUN)
    assert set(table.metrics) == set(PLAIN)
    assert table.metric_version == "displacement_v1"


def test_without_maps_leaving_the_road_is_no_column(
    splits: Splits, small_world: DataConfig, tmp_path: Path
) -> None:
    recorded = copy_logs(small_world, tmp_path / "recorded", 1)
    shutil.rmtree(Path(recorded.root) / "maps")
    source = open_copy(recorded)
    found = judge(source, ROWS[1:2], {"human": source.future[ROWS[1:2]]}, None, go_on)
    assert set(found.table("human", RUN).metrics) == set(PLAIN) - {"leaves_drivable_area"}


def test_plans_that_are_not_finite_are_refused(splits: Splits, scenes: Scenes) -> None:
    broken = {"human": np.full((3, 8, 3), np.nan)}
    with pytest.raises(ValueError, match="not finite"):
        judge(splits.source, ROWS, broken, scenes, go_on)
    with pytest.raises(ValueError, match="no scenes"):
        judge(splits.source, ROWS[:0], {"human": np.zeros((0, 8, 3))}, scenes, go_on)


@pytest.fixture
def two_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.scoring.judging.AT_ONCE", 2)


def stopped_after(count: int) -> Callable[[], None]:
    left = iter(range(count))

    def between() -> None:
        if next(left, None) is None:
            raise RunStopped

    return between


@pytest.mark.usefixtures("two_at_once")
def test_a_stopped_evaluation_goes_on_where_it_was_to_the_bit(
    splits: Splits, scenes: Scenes, tmp_path: Path
) -> None:
    file, read = tmp_path / "scores" / "unfinished.npz", []
    counted = replace(scenes, read=lambda row: read.append(row) or scenes.read(row))
    wanted = judged(splits, scenes)
    with pytest.raises(RunStopped):
        judged(splits, counted, stopped_after(2), file)
    assert file.is_file()
    read.clear()
    found = judged(splits, counted, go_on, file)
    assert read == ROWS[2:].tolist()
    for planner, columns in wanted.values.items():
        for name, column in columns.items():
            np.testing.assert_array_equal(found.values[planner][name], column)
    assert not file.exists()


@pytest.mark.usefixtures("two_at_once")
def test_what_was_scored_of_other_plans_or_is_torn_is_not_used(
    splits: Splits, scenes: Scenes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, read = tmp_path / "unfinished.npz", []
    counted = replace(scenes, read=lambda row: read.append(row) or scenes.read(row))
    with pytest.raises(RunStopped):
        judged(splits, scenes, stopped_after(2), file)
    others = {name: poses * np.float32(0.9) for name, poses in plans(splits).items()}
    judge(splits.source, ROWS, others, counted, go_on, file)
    assert len(read) == len(ROWS)
    read.clear()
    file.write_bytes(b"PK torn")
    judged(splits, counted, go_on, file)
    assert len(read) == len(ROWS)
    assert "is torn" in caplog.text


@pytest.mark.usefixtures("two_at_once")
def test_a_scene_that_failed_is_tried_again(splits: Splits, scenes: Scenes, tmp_path: Path) -> None:
    file = tmp_path / "unfinished.npz"
    with pytest.raises(RunStopped):
        judged(splits, failing(scenes, 2), stopped_after(2), file)
    found = judged(splits, scenes, go_on, file)
    assert found.failed == {}
    found.require_complete(tmp_path)
    assert found.means("human") == judged(splits, scenes).means("human")
