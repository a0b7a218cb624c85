"""What a report says of scores with a known truth: the second arm is better by 20 points."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.data.errors import DataError
from experiments.report import scored
from experiments.reporting.analysis import Analysis, analyse
from experiments.reporting.scores import StudyScores, scores_of
from experiments.statistics import Bootstrap, Cell
from launcher.errors import ConfigError
from tests.unit.experiments.reporting.studies import Scenes, write_study

QUICK = Bootstrap(resamples=2000)


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> StudyScores:
    return scores_of(scored(write_study(tmp_path_factory.mktemp("outputs") / "s")))


@pytest.fixture(scope="module")
def found(scores: StudyScores) -> Analysis:
    return analyse(scores, bootstrap=QUICK)


def test_arms_are_compared_with_the_first_at_each_fraction_as_one_family(found: Analysis) -> None:
    assert found.reference == "ijepa"
    assert [(one.a, one.b) for one in found.against] == [
        (Cell("transfuser", f), Cell("ijepa", f)) for f in (0.25, 1.0)
    ]
    assert all(one.family == 2 for one in found.against)
    assert all(one.difference == pytest.approx(0.2, abs=0.01) for one in found.against)
    assert all(one.is_distinguishable and one.a_is_better for one in found.against)


def test_each_arm_is_compared_with_the_ego_status_alone(found: Analysis) -> None:
    assert {one.b.arm for one in found.looking} == {"ego status alone"}
    assert len(found.looking) == 4


def test_the_worse_arm_does_not_reach_the_better_one(scores: StudyScores) -> None:
    found = analyse(scores, against="transfuser", bootstrap=QUICK)
    (ijepa,) = [curve for curve in found.curves if curve.arm == "ijepa"]
    assert ijepa.reference == Cell("transfuser", 1.0)
    assert ijepa.needed.text().startswith("not reached")
    assert [one.a.arm for one in found.against] == ["ijepa", "ijepa"]


def test_what_learns_from_nothing_is_compared_at_every_fraction(scores: StudyScores) -> None:
    found = analyse(scores, against="constant velocity", bootstrap=QUICK)
    assert [one.a for one in found.against] == [
        Cell(arm, f) for arm in ("ijepa", "transfuser") for f in (0.25, 1.0)
    ]
    assert {one.b for one in found.against} == {Cell("constant velocity", 1.0)}


def test_cities_and_commands_have_their_own_families(found: Analysis) -> None:
    cities, commands = found.groups
    assert list(cities.sizes) == ["boston", "pittsburgh"]
    assert list(commands.sizes) == ["left", "straight"]
    assert sum(tokens for tokens, _ in cities.sizes.values()) == 48
    assert all(one.family == 2 for one in cities.comparisons)


def test_another_metric_is_compared_when_asked_for(scores: StudyScores) -> None:
    found = analyse(scores, metric="ade_m", bootstrap=QUICK)
    assert found.metrics[0] == "ade_m"
    assert all(one.difference < 0 and one.a_is_better for one in found.against)


def test_an_unknown_metric_or_arm_is_refused(scores: StudyScores) -> None:
    with pytest.raises(ConfigError, match="a metric `pdm`"):
        analyse(scores, metric="pdm")
    with pytest.raises(ConfigError, match="no arm `vovnet`"):
        analyse(scores, against="vovnet")


def test_a_single_arm_is_compared_with_the_ego_status(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s", arms=("ijepa",), fractions=(1.0,))
    found = analyse(scores_of(scored(study)), bootstrap=QUICK)
    assert found.reference == "ego status alone"
    assert [one.a.arm for one in found.against] == ["ijepa"]
    assert found.looking == ()
    assert found.curves == ()


def test_scenes_of_one_log_have_means_and_no_test_and_that_is_said(tmp_path: Path) -> None:
    scenes = Scenes(logs=("log",) * 48, cities=("boston",) * 48)
    study = write_study(tmp_path / "s", fractions=(1.0,), seeds=(0,), scenes=scenes)
    found = analyse(scores_of(scored(study)), bootstrap=QUICK)
    assert found.against == ()
    assert any("all 48 tokens are of one log" in said for said in found.remarks)
    assert found.summaries[Cell("ijepa", 1.0), "pdms"].interval is None


def test_a_metric_that_runs_do_not_have_is_refused(scores: StudyScores) -> None:
    values = {name: rows for name, rows in scores.scores.values.items() if name != "pdms"}
    plain = replace(scores, scores=replace(scores.scores, values=values))
    assert plain.main_metric == "ade_m"
    with pytest.raises(DataError, match="not scored by `pdms`"):
        analyse(plain, metric="pdms")
