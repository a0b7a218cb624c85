"""The results table holds runs that were scored alike, and the baseline once."""

import csv
from pathlib import Path
from typing import Any

import pytest

from experiments.figures.fractions import Point, score_against_fraction
from experiments.report import conditions, controls, tabulate, write
from experiments.statistics import Run
from launcher.errors import LauncherError
from launcher.studies import RunResult
from tests.unit.experiments.reporting.studies import write_study

BASELINE = {
    "constant_velocity/ade_m": 3.0,
    "constant_velocity/fde_m": 7.0,
    "constant_velocity/heading_error_rad": 0.2,
    "constant_velocity/collision_rate": 0.1,
    "constant_velocity/offroad_rate": 0.3,
}


def result(name: str, ade: float, **changed: float) -> RunResult:
    metrics = {"ade_m": ade, "fde_m": 2 * ade} | BASELINE | changed
    return RunResult(key=name, name=name, run_dir=Path(), varying={}, metrics=metrics)


def test_the_baseline_stands_once_below_all_runs() -> None:
    table = tabulate([result("a", 1.0), result("b", 2.0)])
    assert [row["run"] for row in table] == ["a", "b", "constant velocity"]
    assert table[-1]["ade_m"] == 3.0
    assert "constant_velocity/ade_m" not in table[0]


def test_runs_scored_on_other_tokens_are_refused() -> None:
    other = {"constant_velocity/ade_m": 3.1}
    with pytest.raises(LauncherError, match="different test tokens"):
        tabulate([result("a", 1.0), result("b", 2.0, **other)])


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_figure_is_the_same_bytes_for_the_same_numbers(suffix: str, magic: bytes) -> None:
    points = [Point(arm="a", fraction=f, score=s) for f, s in ((0.1, 3.0), (1.0, 1.0), (1.0, 1.2))]
    first = score_against_fraction(points, 2.5, "synthetic", suffix)
    assert first.startswith(magic)
    assert first == score_against_fraction(points, 2.5, "synthetic", suffix)


def frozen(folder: Path, fraction: float, seed: int) -> Path:
    """A run folder that holds no more than a frozen config."""
    config = folder / "submissions" / "000" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(
        f"data: {{fraction: {fraction}}}\ntrainer: {{seed: {seed}}}\nbackbone: {{name: blind}}\n"
    )
    return folder


def seeds_of(
    folder: Path, arm: str, fraction: float, scores: list[float], **more: float
) -> list[RunResult]:
    return [
        RunResult(
            key=f"{arm}{fraction}{seed}",
            name=f"{arm} {seed}",
            run_dir=frozen(folder / f"{arm}-{fraction}-{seed}", fraction, seed),
            varying={"backbone": arm, "data.fraction": str(fraction), "trainer.seed": str(seed)},
            metrics={"ade_m": score, "train_tokens": 7} | BASELINE | more,
        )
        for seed, score in enumerate(scores)
    ]


def test_runs_that_differ_in_the_seed_alone_are_one_condition(tmp_path: Path) -> None:
    found = conditions(
        [*seeds_of(tmp_path, "a", 0.1, [1.0, 3.0]), *seeds_of(tmp_path, "a", 1.0, [0.5])]
    )
    few, many = (condition.row() for condition in found)
    assert few == {
        "run": "backbone=a fraction=0.1",
        "runs": 2,
        "ade_m": 2.0,
        "ade_m_std": pytest.approx(2**0.5),
    }
    assert (many["run"], many["runs"], many["ade_m_std"]) == ("backbone=a fraction=1.0", 1, None)


def test_the_control_stands_once_for_each_fraction_and_seed(tmp_path: Path) -> None:
    blind = {"ego_status/ade_m": 2.5}
    runs = [
        *seeds_of(tmp_path, "a", 0.1, [1.0, 3.0], **blind),
        *seeds_of(tmp_path, "b", 0.1, [1.0, 3.0], **blind),
    ]
    table = tabulate(runs)
    assert [row["run"] for row in table] == [
        "a 0", "a 1", "b 0", "b 1",
        "ego status alone fraction=0.1 seed=0",
        "ego status alone fraction=0.1 seed=1",
        "constant velocity",
    ]  # fmt: skip
    assert "ego_status/ade_m" not in table[0]
    (condition,) = controls(runs)
    assert (condition.arm, condition.row()["ade_m"]) == ("ego status alone", 2.5)


def test_the_table_of_a_terminal_has_the_essentials_and_the_csv_has_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path / "s")
    write(study)
    title, head, *rows = capsys.readouterr().out.splitlines()
    assert "mean ± standard deviation of 2 seeds" in title
    assert head.split() == ["run", "PDMS", "NC", "DAC", "EP", "TTC", "C", "ADE", "off", "coll"]
    assert len(rows) == 4 + 2 + 1
    assert rows[0].startswith("backbone=ijepa fraction=0.25")
    assert "±" in rows[0]
    assert max(len(row.rstrip()) for row in rows) <= 100
    with (study.path / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 8 + 4 + 1
    assert {"pdms", "ddc", "fde_m", "scorer", "metric_version"} <= set(table[0])


@pytest.mark.parametrize("name", ["scorer", "metric_version"])
def test_a_table_of_two_scorers_or_metric_versions_is_refused(tmp_path: Path, name: str) -> None:
    def change(run: Run, about: dict[str, Any]) -> None:
        if run.arm == "transfuser":
            about[name] = "another"

    study = write_study(tmp_path / "s", seeds=(0,), change=change)
    with pytest.raises(LauncherError, match=f"2 values of `{name}`") as refused:
        write(study)
    assert "`another` (2 runs, e.g. backbone=transfuser fraction=0.25 seed=0)" in str(refused.value)
    assert not (study.path / "results.csv").exists()


def test_the_figure_shows_the_pdm_score_where_there_is_one(tmp_path: Path) -> None:
    points = [Point(arm="a", fraction=f, score=s) for f, s in ((0.1, 0.3), (1.0, 0.5))]
    pdms = score_against_fraction(points, 0.2, "synthetic", "svg", metric="pdms")
    assert b"<!-- PDMS [points], higher is better -->" in pdms
    assert b"<!-- ADE [m], lower is better -->" in score_against_fraction(
        points, 0.2, "synthetic", "svg"
    )
