"""Scores of a study are named by what differs, and refused where they do not belong together."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.data.errors import DataError
from experiments.report import RATES, scored
from experiments.reporting.scores import scores_of
from experiments.statistics import Run, load, save
from launcher.errors import ConfigError, LauncherError
from tests.unit.experiments.reporting.studies import write_study


def test_arms_are_named_by_what_differs_and_controls_stand_beside_them(tmp_path: Path) -> None:
    found = scores_of(scored(write_study(tmp_path / "s")))
    assert found.arms == ("ijepa", "transfuser")
    assert found.controls == ("ego status alone", "constant velocity")
    assert Run("transfuser", 0.25, 1) in found.results
    # 8 runs, the ego status at 2 fractions with 2 seeds, and constant velocity once.
    assert len(found.scores.runs) == 8 + 4 + 1
    assert found.main_metric == "pdms"


@pytest.mark.parametrize("name", ["transfuser", "backbone=transfuser"])
def test_an_arm_is_found_by_its_value_and_by_its_override(tmp_path: Path, name: str) -> None:
    found = scores_of(scored(write_study(tmp_path / "s", fractions=(1.0,), seeds=(0,))))
    assert found.arm(name) == "transfuser"
    with pytest.raises(ConfigError, match="no arm `transfusor`"):
        found.arm("transfusor")


@pytest.mark.parametrize(
    ("name", "other"), [("scorer", "ours 9999"), ("metric_version", "pdms_v2")]
)
def test_runs_of_two_scorers_or_versions_are_refused(tmp_path: Path, name: str, other: str) -> None:
    def change(run: Run, about: dict[str, Any]) -> None:
        if run == Run("transfuser", 1.0, 1):
            about[name] = other

    study = write_study(tmp_path / "s", change=change)
    with pytest.raises(LauncherError) as refused:
        scores_of(scored(study))
    assert f"2 values of `{name}`" in refused.value.message
    assert f"`{other}` (1 run, e.g. backbone=transfuser fraction=1.0 seed=1)" in str(refused.value)


def test_a_table_that_another_scorer_wrote_is_refused_though_the_record_says_ours(
    tmp_path: Path,
) -> None:
    study = write_study(tmp_path / "s")
    path = study.path / "transfuser1001" / "scores" / "planner.parquet"
    save(path, _changed(path, scorer="ours 9999"))
    with pytest.raises(DataError, match=r"has scorer `ours 1234`.*has `ours 9999`"):
        scores_of(scored(study))


def test_a_table_that_lacks_scenes_is_refused(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s")
    path = study.path / "ijepa250" / "scores" / "planner.parquet"
    table = load(path)
    columns = {name: getattr(table, name)[1:] for name in ("tokens", "logs", "cities", "commands")}
    metrics = {name: values[1:] for name, values in table.metrics.items()}
    save(path, _changed(path, **columns, metrics=metrics))
    with pytest.raises(DataError, match="scores of 47 of the 48 scenes"):
        scores_of(scored(study))


def test_a_table_of_another_evaluation_than_the_record_is_refused(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s")
    path = study.path / "ijepa250" / "scores" / "planner.parquet"
    metrics = {name: 0.9 * values for name, values in load(path).metrics.items()}
    save(path, _changed(path, metrics=metrics))
    with pytest.raises(DataError, match="they are of two evaluations"):
        scores_of(scored(study))


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s")
    (study.path / "ijepa250" / "scores" / "planner.parquet").unlink()
    with pytest.raises(DataError, match=r"there are no scores at .*ijepa250"):
        scores_of(scored(study))


def test_controls_that_learnt_otherwise_stand_beside_each_arm(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s", fractions=(1.0,), seeds=(0,))
    run_dir = study.path / "transfuser1000"
    path = run_dir / "scores" / "ego_status.parquet"
    metrics = {name: 0.9 * values for name, values in load(path).metrics.items()}
    save(path, _changed(path, metrics=metrics))
    record = run_dir / "attempts" / "001-000.json"
    for name, values in metrics.items():
        record.write_text(_with_mean(record.read_text(), name, float(values.mean())))
    found = scores_of(scored(study))
    assert found.controls == (
        "ego status alone (ijepa)",
        "ego status alone (transfuser)",
        "constant velocity",
    )


def test_a_study_without_scores_says_so() -> None:
    with pytest.raises(DataError, match="no run of the study has scores"):
        scores_of([])


def _changed(path: Path, **changed: Any) -> Any:
    return replace(load(path), **changed)


def _with_mean(record: str, metric: str, mean: float) -> str:
    values = json.loads(record)
    values["result"][f"ego_status/{RATES.get(metric, metric)}"] = mean
    return json.dumps(values)
