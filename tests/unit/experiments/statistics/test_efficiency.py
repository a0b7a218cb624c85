"""The fraction of the labels that an arm needs, where its curve says so."""

import math

import numpy as np
import pytest

from experiments.data.errors import DataError
from experiments.statistics import AlignedScores, Bootstrap, Cell, label_efficiency
from experiments.statistics.efficiency import (
    AT_SMALLEST,
    NOT_REACHED,
    area_weights,
    fractions_needed,
)
from tests.unit.experiments.statistics.tables import cells

FAST = Bootstrap(resamples=2000)
FRACTIONS = (0.1, 0.25, 0.5, 1.0)
BASELINE = Cell("base", 1.0)


def curve(
    levels: dict[float, float], *, base: float = 0.75, noise: float = 0.0, metric: str = "pdms"
) -> AlignedScores:
    generator = np.random.default_rng(0)

    def rows(level: float) -> np.ndarray:
        return level + generator.normal(0, noise, (3, 120))

    arm = {Cell("ours", fraction): rows(level) for fraction, level in levels.items()}
    return cells({**arm, BASELINE: rows(base)}, metric=metric)


def test_the_crossing_lies_on_a_line_over_the_logarithm() -> None:
    found = fractions_needed([0.1, 1.0], [[0.0, 1.0]] * 3, [0.5, 0.25, 1.0])
    np.testing.assert_allclose(found, [10**-0.5, 10**-0.75, 1.0])


def test_what_lies_beyond_the_curve_is_answered_too() -> None:
    found = fractions_needed([0.1, 1.0], [[0.5, 0.6], [0.5, 0.6]], [0.5, 0.61])
    assert found.tolist() == [AT_SMALLEST, NOT_REACHED]


def test_a_curve_that_falls_back_counts_from_the_first_time() -> None:
    found = fractions_needed([0.1, 0.2, 0.4, 0.8], [[0.0, 1.0, 0.2, 1.0]], [0.5])
    assert found[0] == pytest.approx(0.1 * 2**0.5)


def test_the_level_of_the_baseline_is_found_with_its_interval() -> None:
    levels = dict(zip(FRACTIONS, (0.6, 0.7, 0.8, 0.85), strict=True))
    found = label_efficiency(curve(levels, noise=0.1), "ours", "pdms", BASELINE, bootstrap=FAST)
    low, high = found.needed.interval
    assert low < 0.25 * 2**0.5 < high
    assert 0.25 < low < found.needed.value < high < 0.5
    assert found.sentence().startswith(
        "ours against the PDMS of base at 100 % of the labels (74.4 points): reached at 35 % of"
    )
    assert [point.cell.fraction for point in found.points] == list(FRACTIONS)


def test_lower_is_better_for_errors() -> None:
    levels = dict(zip(FRACTIONS, (0.9, 0.8, 0.7, 0.65), strict=True))
    found = label_efficiency(
        curve(levels, metric="ade_m"), "ours", "ade_m", BASELINE, bootstrap=FAST
    )
    assert found.needed.value == pytest.approx(0.25 * 2**0.5)


def test_already_reached_and_never_reached_are_answers() -> None:
    better = curve({0.1: 0.8, 1.0: 0.9}, noise=0.01)
    found = label_efficiency(better, "ours", "pdms", BASELINE, bootstrap=FAST)
    assert found.needed.value == AT_SMALLEST
    assert found.needed.text() == (
        "already reached at the smallest fraction, 10 % of the labels"
        " (95 % interval at most 10 % to at most 10 %)"
    )
    worse = curve({0.1: 0.5, 0.5: 0.6}, noise=0.01)
    found = label_efficiency(worse, "ours", "pdms", BASELINE, bootstrap=FAST)
    assert math.isinf(found.needed.value)
    assert found.needed.text() == (
        "not reached with 50 % of the labels (95 % interval not reached to not reached)"
    )


def test_an_interval_may_end_beyond_the_curve() -> None:
    near = curve({0.1: 0.5, 1.0: 0.76}, noise=0.5)
    needed = label_efficiency(near, "ours", "pdms", BASELINE, bootstrap=FAST).needed
    assert 0.1 < needed.interval.low < needed.value
    assert needed.interval.high == NOT_REACHED
    assert needed.text().endswith("to not reached)")


def test_an_arm_needs_all_labels_for_its_own_level() -> None:
    """The reference is then the same draw, so nothing is uncertain."""
    scores = curve({0.1: 0.1, 1.0: 0.9}, noise=0.1)
    found = label_efficiency(scores, "ours", "pdms", Cell("ours", 1.0), bootstrap=FAST)
    assert found.needed.value == 1.0
    assert found.needed.interval == (1.0, 1.0)


def test_the_interval_of_the_fraction_holds_the_truth() -> None:
    generator = np.random.default_rng(1)
    hits, trials = 0, 60
    for _ in range(trials):
        hard = generator.normal(0, 0.3, 40)
        given = {
            cell: level
            + hard
            + generator.normal(0, 0.05, (3, 1))
            + generator.normal(0, 0.1, (3, 40))
            for cell, level in (
                (Cell("ours", 0.1), 0.5), (Cell("ours", 1.0), 1.0), (BASELINE, 0.75),
            )
        }  # fmt: skip
        needed = label_efficiency(cells(given), "ours", "pdms", BASELINE, bootstrap=FAST).needed
        hits += needed.interval.low <= 10**-0.5 <= needed.interval.high
    assert hits / trials >= 0.9


def test_the_area_is_the_mean_over_the_logarithm() -> None:
    np.testing.assert_allclose(area_weights([0.1, 1.0]), [0.5, 0.5])
    np.testing.assert_allclose(area_weights([0.01, 0.1, 1.0]), [0.25, 0.5, 0.25])
    # One step of ln 2, one of ln 4.
    np.testing.assert_allclose(area_weights([0.125, 0.25, 1.0]), [1 / 6, 1 / 2, 1 / 3])
    found = label_efficiency(curve({0.1: 0.4, 1.0: 0.8}), "ours", "pdms", BASELINE, bootstrap=FAST)
    assert found.area == pytest.approx(0.6)
    assert found.area_interval == pytest.approx((0.6, 0.6))


def test_one_fraction_is_no_curve() -> None:
    with pytest.raises(DataError, match="1 label fractions; a curve needs two"):
        label_efficiency(curve({1.0: 0.5}), "ours", "pdms", BASELINE)


def test_one_seed_is_said() -> None:
    scores = cells(
        {Cell("ours", f): np.full((1, 30), f) for f in FRACTIONS} | {BASELINE: np.ones((3, 30))}
    )
    found = label_efficiency(scores, "ours", "pdms", BASELINE, bootstrap=FAST)
    assert found.sentence().endswith("some have one seed: the interval does not cover other seeds")
