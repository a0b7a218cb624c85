"""Figures show what the numbers say, the same bytes for the same numbers, or are refused."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from experiments.data.errors import DataError
from experiments.figures.efficiency import efficiency_curves
from experiments.figures.forest import _heading, _lines, forest
from experiments.figures.heatmap import heatmap
from experiments.figures.sheets import SheetRow, trajectory_sheet
from experiments.figures.training import Curve, training_curves
from experiments.statistics import (
    AlignedScores,
    Bootstrap,
    Cell,
    compare,
    compare_family,
    label_efficiency,
)
from launcher.errors import ConfigError
from tests.unit.experiments.scenes_to_draw import plan, scene
from tests.unit.experiments.statistics.tables import cells

FAST = Bootstrap(resamples=2000)
OURS, BASE, HALF = Cell("ours", 1.0), Cell("base", 1.0), Cell("ours", 0.5)
MAGIC = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture(scope="module")
def scores() -> AlignedScores:
    generator = np.random.default_rng(0)
    levels = {HALF: 0.6, OURS: 0.8, BASE: 0.7}
    rows = {cell: level + generator.normal(0, 0.1, (3, 40)) for cell, level in levels.items()}
    found = cells(rows)
    return replace(found, values={**found.values, "nc": found.values["pdms"] ** 2})


def sheet(suffix: str) -> bytes:
    return trajectory_sheet([SheetRow(scene=scene(), plans=[plan("a"), plan("b")])], suffix)


def curves() -> list[Curve]:
    steps = np.arange(1, 20)
    return [Curve(arm="a", steps=steps, values=1 / steps + 0.1 * seed) for seed in (0, 1)]


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("efficiency", "svg"), ("forest", "svg"), ("heatmap", "svg"), ("training", "png"),
        ("sheet", "pdf"),
    ],
)  # fmt: skip
def test_the_same_numbers_give_the_same_bytes(
    kind: str, suffix: str, scores: AlignedScores
) -> None:
    draw: dict[str, Callable[[], bytes]] = {
        "efficiency": lambda: efficiency_curves(
            [label_efficiency(scores, "ours", "pdms", BASE, bootstrap=FAST)], suffix
        ),
        "forest": lambda: forest(
            compare_family(scores, [(OURS, BASE)], ["pdms", "nc"], bootstrap=FAST), suffix
        ),
        "heatmap": lambda: heatmap(["a", "b"], ["pdms", "nc"], [[0.5, 0.6], [0.7, 0.5]], suffix),
        "training": lambda: training_curves(curves(), "loss", suffix, is_log=True),
        "sheet": lambda: sheet(suffix),
    }
    first = draw[kind]()
    assert first.startswith(MAGIC[suffix])
    assert first == draw[kind]()


def test_an_unknown_file_format_is_refused() -> None:
    with pytest.raises(ConfigError, match="`suffix=jpg` is not known"):
        sheet("jpg")


def test_figures_load_no_torch_and_no_matplotlib_before_they_draw() -> None:
    names = (
        "bev", "camera", "efficiency", "forest", "fractions", "heatmap", "learning_rate", "memory",
        "scaling", "scenes", "sheets", "training",
    )  # fmt: skip
    imports = "; ".join(f"import experiments.figures.{name}" for name in names)
    code = f"import sys; {imports}; sys.exit(not {{'torch', 'matplotlib'}}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_report_that_draws_errors_alone_loads_no_arrays() -> None:
    code = "import sys, experiments.report; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_holds_looks_unlike_what_does_not(scores: AlignedScores) -> None:
    found = compare(scores, OURS, BASE, "pdms", bootstrap=FAST)
    assert found.is_distinguishable
    held, lost = forest([found], "svg"), forest([replace(found, p_adjusted=0.5)], "svg")
    # Blue for the better, grey for neither.
    assert b"#0072b2" in held
    assert b"#0072b2" not in lost
    worse = replace(found, difference=-found.difference)
    assert b"#d55e00" in forest([worse], "svg")


def test_rows_of_a_forest_are_told_apart_by_what_differs(scores: AlignedScores) -> None:
    def labels(pairs: list[tuple[Cell, Cell]], metrics: list[str]) -> list[str]:
        found = compare_family(scores, pairs, metrics, bootstrap=FAST)
        return [label for label, _ in _lines(found)]

    assert labels([(OURS, BASE)], ["pdms"]) == ["ours"]
    assert labels([(OURS, BASE)], ["pdms", "nc"]) == ["PDMS", "NC"]
    assert labels([(OURS, BASE), (HALF, BASE)], ["pdms"]) == ["100 %", "50 %"]
    assert labels([(OURS, BASE), (BASE, HALF)], ["pdms", "nc"]) == [
        "ours - base", "100 % PDMS", "100 % NC", "base - ours", "100 % PDMS", "100 % NC",
    ]  # fmt: skip
    found = compare_family(scores, [(OURS, BASE)], ["pdms"], bootstrap=FAST)
    assert _heading(found) == "PDMS: ours, difference to base"


def test_comparisons_of_unlike_units_share_no_axis(scores: AlignedScores) -> None:
    found = compare(scores, OURS, BASE, "pdms", bootstrap=FAST)
    with pytest.raises(DataError, match="differ in unit"):
        forest([found, replace(found, metric="ade_m")], "png")
    with pytest.raises(DataError, match="no comparisons"):
        forest([], "png")


def test_curves_of_unlike_metrics_or_levels_share_no_figure(scores: AlignedScores) -> None:
    one = label_efficiency(scores, "ours", "pdms", BASE, bootstrap=FAST)
    with pytest.raises(DataError, match="differ in metric: nc, pdms"):
        efficiency_curves([one, replace(one, metric="nc")], "png")
    with pytest.raises(DataError, match="differ in reference"):
        efficiency_curves([one, replace(one, reference=OURS)], "png")
    with pytest.raises(DataError, match="no curves"):
        efficiency_curves([], "png")


@pytest.mark.parametrize(
    ("means", "metrics", "message"),
    [
        ([[0.5, 0.6]], ["pdms", "nc"], r"shape \(1, 2\) for 2 arms, 2 metrics"),
        ([[0.5, np.nan], [0.5, 0.6]], ["pdms", "nc"], "not finite"),
        ([[0.5, 0.6], [0.5, 0.6]], ["pdms", "ade_m"], "`ade_m` is not in points"),
    ],
)
def test_a_heatmap_of_what_shares_no_scale_is_refused(
    means: Any, metrics: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        heatmap(["a", "b"], metrics, means, "png")


def test_fewer_collisions_are_coloured_as_a_gain() -> None:
    more = heatmap(["a", "b"], ["collides"], [[0.5], [0.6]], "svg")
    fewer = heatmap(["a", "b"], ["pdms"], [[0.5], [0.4]], "svg")
    fill = [line for line in more.splitlines() if b"path" in line and b"#2d004b" in line]
    # Both are 10 points to the worse: the dark end of the colours.
    assert fill
    assert any(b"#2d004b" in line for line in fewer.splitlines())


@pytest.mark.parametrize(
    ("steps", "values", "message"),
    [
        ([1, 2], [1.0, np.nan], "is nan at step 2"),
        ([2, 2], [1.0, 1.0], "do not rise"),
        ([1], [1.0, 2.0], "steps"),
        ([], [], "steps"),
    ],
)
def test_a_training_curve_that_cannot_be_is_refused(
    steps: list[int], values: list[float], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Curve(arm="a", steps=np.array(steps), values=np.array(values))


def test_a_logarithmic_axis_refuses_zero() -> None:
    curve = Curve(arm="a", steps=np.array([1, 2]), values=np.array([1.0, 0.0]))
    with pytest.raises(DataError, match="zero or less"):
        training_curves([curve], "loss", "png", is_log=True)
    training_curves([curve], "loss", "png")


def test_runs_with_other_steps_have_a_mean_where_they_share_them() -> None:
    one = Curve(arm="a", steps=np.array([1, 2, 3]), values=np.ones(3))
    other = Curve(arm="a", steps=np.array([2, 3, 4]), values=np.ones(3))
    training_curves([one, other], "loss", "png")
