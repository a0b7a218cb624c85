"""Camera images of a study's scenes show the plans that its runs made there."""

import numpy as np
import pytest

from experiments.data import Splits
from experiments.data.errors import DataError
from experiments.data.openscene import OpenSceneSource
from experiments.figures.camera import camera_sheet
from experiments.report import scored
from experiments.reporting.cameras import camera_rows
from experiments.reporting.scenes import plans_of, scored_scenes
from experiments.reporting.scores import StudyScores, scores_of
from experiments.scoring.pdm import score
from experiments.scoring.pdm.from_source import SourceScenes
from experiments.settings import DataConfig
from launcher.studies import Study


@pytest.fixture
def scores(study: Study) -> StudyScores:
    return scores_of(scored(study))


def test_each_run_has_its_plan_of_each_scene_and_its_score(scores: StudyScores) -> None:
    runs = list(scores.results)[:2]
    tokens = [str(token) for token in scores.scores.tokens[:2]]
    rows = camera_rows(scores, runs, tokens)
    assert [row.view.token for row in rows] == tokens
    for row, token in zip(rows, tokens, strict=True):
        at = scores.scores.tokens.tolist().index(token)
        for run, plan in zip(runs, row.plans, strict=True):
            expected = plans_of(scores.results[run].run_dir, [token])[token]
            assert np.array_equal(plan.poses, expected)
            value = scores.scores.values["pdms"][scores.scores.runs.index(run), at]
            assert plan.score == f"PDMS {100 * value:.1f}"
    assert camera_sheet(rows, "png").startswith(b"\x89PNG")


def test_the_scene_that_was_scored_can_be_scored_again(scores: StudyScores) -> None:
    token = str(scores.scores.tokens[0])
    config = next(iter(scores.results.values())).config
    scene, human = scored_scenes(config, [token])[token]
    assert scene.token == token
    assert np.isfinite(score(scene, human[None]).pdms).all()


def test_the_reference_plan_of_a_scene_stops_before_a_red_light(
    scores: StudyScores,
    splits: Splits,
    small_world: DataConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = splits.source
    row_of = {token.decode(): row for row, token in enumerate(source.index.token)}
    tokens = [str(token) for token in scores.scores.tokens[:6]]
    of_maps = SourceScenes(source, small_world)
    config = next(iter(scores.results.values())).config

    def red(_: OpenSceneSource, i: int) -> frozenset[str]:
        return frozenset(source.map_of(i).route_lane_ids)

    monkeypatch.setattr(OpenSceneSource, "red_lights", red)
    found = scored_scenes(config, tokens)
    is_stopped = False
    for token in tokens:
        i = row_of[token]
        expected = of_maps.read(i, source.red_lights(i)).reference
        assert np.array_equal(found[token][0].reference, expected)
        is_stopped |= not np.array_equal(expected, of_maps.read(i).reference)
    assert is_stopped


def test_a_scene_that_the_data_has_not_is_refused_by_name(scores: StudyScores) -> None:
    runs = list(scores.results)[:1]
    with pytest.raises(DataError, match="no scene `0000000000000000`"):
        camera_rows(scores, runs, ["0000000000000000"])
