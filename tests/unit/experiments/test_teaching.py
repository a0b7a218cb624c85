"""task=teacher scores each window once, as the scorer does, whoever is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import training, vocabulary
from experiments.data import DataError, datasets
from experiments.scoring.pdm import scenes as scenes_module
from experiments.scoring.pdm.from_source import SourceScenes
from experiments.scoring.pdm.score import METRIC_VERSION, score
from experiments.settings import DataConfig, ExperimentConfig, ScoringConfig
from experiments.settings.teacher import TeacherConfig, required_teacher
from experiments.teacher import store as store_module
from experiments.teacher.store import TeacherFolder
from launcher.errors import ConfigError
from tests.programs import REPOSITORY
from tests.unit.experiments.data.worlds import small_config
from tests.unit.experiments.teacher.teaching_runs import ANCHORS, Runs

METRICS = ("nc", "dac", "ttc", "ep", "comfort")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    return small_config(tmp_path_factory.mktemp("world"))


@pytest.fixture
def runs(world: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setattr(store_module, "_SHARD_ROWS", 2)
    runs = Runs.of(world, tmp_path)
    runs.cluster()
    return runs


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the shards that were written, in the order in which they were."""
    shards: list[int] = []
    put = TeacherFolder.put

    def noting(store: Any, shard: int, arrays: Any) -> None:
        put(store, shard, arrays)
        shards.append(shard)

    monkeypatch.setattr(TeacherFolder, "put", noting)
    return shards


@pytest.mark.parametrize("workers", [0, 2])
def test_scores_are_those_of_the_scorer_to_the_precision_of_their_type(
    runs: Runs, workers: int
) -> None:
    told = runs.score(num_workers=workers)
    store, splits = runs.open(), datasets(runs.data)
    anchors = vocabulary.load(runs.folder / "runs/vocabulary" / vocabulary.FILE_NAME).anchors
    scenes = SourceScenes(splits.source, runs.data)
    tokens = splits.source.index.token[splits.train]
    differing = set()
    for window, row in zip(splits.train, store.rows_of(tokens), strict=True):
        expected = score(scenes.read(window, splits.source.red_lights(window)), anchors)
        read = store.read(int(row))
        for column, name in enumerate(METRICS):
            values = getattr(expected, name)
            atol = 2.5e-4 if name == "ep" else 0.0
            np.testing.assert_allclose(read[:, column], values, rtol=0.0, atol=atol)
            differing |= {name} if len(np.unique(values)) > 1 else set()
    assert {"dac", "ep"} <= differing  # else zeros would do
    assert told["windows"] == told["windows_of_rank_0"] == len(splits.train)
    assert told["metric_version"] == METRIC_VERSION


def test_a_killed_run_goes_on_where_it_was(
    runs: Runs, world: DataConfig, written: list[int]
) -> None:
    command = [sys.executable, "-m", "tests.unit.experiments.teacher.teaching_runs"]
    process = subprocess.Popen([*command, world.root, str(runs.folder)], cwd=REPOSITORY)
    ends = time.monotonic() + 120
    while time.monotonic() < ends and not list((runs.folder / "data").glob("teacher-*/shard-*")):
        time.sleep(0.002)
    process.kill()
    process.wait()
    (store,) = (runs.folder / "data").glob("teacher-*")
    there = {int(path.name[6:11]) for path in store.glob("shard-*")}
    total = TeacherFolder.at(store).layout.num_shards
    assert 0 < len(there) < total, "the process was killed too early or too late"
    with pytest.raises(DataError, match=r"does not say which|lacks"):
        runs.open()
    runs.score()
    assert set(written) == set(range(total)) - there
    runs.open()


def test_what_is_there_is_kept(runs: Runs, written: list[int]) -> None:
    runs.score()
    before = len(written)
    assert runs.score()["windows_of_rank_0"] == 0
    assert len(written) == before > 0


def test_jobs_share_the_work_and_fill_one_store(runs: Runs, written: list[int]) -> None:
    runs.score("first", part="0/2")
    first = list(written)
    runs.score("second", part="1/2")
    assert sorted(written) == list(range(len(written)))
    assert 0 < len(first) < len(written)
    runs.open(teacher="second")


def test_scores_of_a_second_vocabulary_are_refused(runs: Runs) -> None:
    runs.score()
    runs.cluster("other", size=ANCHORS - 1)
    with pytest.raises(DataError, match=r"vocabulary\.sha256 is .* there and .* here"):
        runs.open(words="other", size=ANCHORS - 1)


def test_scores_of_another_metric_version_are_refused(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.score()
    monkeypatch.setattr(scenes_module, "METRIC_VERSION", "pdms_v9")
    with pytest.raises(DataError, match=r"scorer\.metric_version is 'pdms_v1' there and 'pdms_v9'"):
        runs.open()


@pytest.mark.parametrize("workers", [0, 2])
def test_windows_that_cannot_be_scored_are_named_and_never_made_up(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, written: list[int], workers: int
) -> None:
    bad = int(datasets(runs.data).train[3])
    read = SourceScenes.read

    def torn(scenes: Any, i: int, red: Any = ()) -> Any:
        if i == bad:
            raise DataError("its map is torn")
        return read(scenes, i, red)

    monkeypatch.setattr(SourceScenes, "read", torn)
    with pytest.raises(DataError, match=r"1 of \d+ windows cannot be scored: .* map is torn"):
        runs.score(num_workers=workers)
    assert 1 not in written  # the shard of rows 2 and 3
    assert 0 in written


def test_a_head_learns_from_the_scores_end_to_end(runs: Runs) -> None:
    runs.score()
    config = runs.config("train", scoring=ScoringConfig(pdm=False))
    context = runs.context("trained", vocabulary="vocabulary", teacher="teacher")
    metrics = training.train(config, context)
    assert np.isfinite(metrics["ade_m"])
    assert (context.run_dir / "model.json").read_text().count('"ttc"')


def test_without_scores_training_says_how_to_get_them(runs: Runs) -> None:
    context = runs.context("trained", vocabulary="vocabulary")
    with pytest.raises(DataError, match="there is no store of teacher scores in"):
        training.train(runs.config("train", scoring=ScoringConfig(pdm=False)), context)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("train", "none", "labelled", 2), None),
        (("evaluate", "scores", "labelled", 2), None),
        (("train", "scores", "labelled", 2), ["task=teacher", "teacher.part=0/2,1/2"]),
        (("train", "scores", "all", 1), ["task=teacher", "data.fraction=1.0", "teacher.part=0/1"]),
    ],
)
def test_a_teacher_is_required_where_a_head_learns_from_one(asked: Any, expected: Any) -> None:
    assert required_teacher(*asked) == expected


def test_a_metric_that_the_score_has_not_is_refused_before_anything_is_sent(runs: Runs) -> None:
    config = runs.config("train")
    config.head.teacher_metrics = (*METRICS, "lk")
    with pytest.raises(ConfigError, match="names `lk`"):
        ExperimentConfig(task="train", data=config.data, head=config.head)


def test_a_teacher_of_other_scenes_than_the_final_score_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`teacher\.metric_cache=x` without"):
        ExperimentConfig(task="teacher", teacher=TeacherConfig(metric_cache="x"))
