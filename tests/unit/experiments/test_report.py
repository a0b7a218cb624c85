"""The results table holds runs that were scored alike, and the baseline once."""

from pathlib import Path

import pytest

from experiments.figures import Point, score_against_fraction
from experiments.report import tabulate
from launcher.errors import LauncherError
from launcher.studies import RunResult

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
