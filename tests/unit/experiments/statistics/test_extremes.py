"""Scenes to look at: those where two arms differ most."""

from dataclasses import replace

import pytest

from experiments.statistics import extremes
from launcher.errors import ConfigError
from tests.unit.experiments.statistics.tables import A, B, cells


def test_the_best_and_the_worst_scenes_are_sorted_by_difference() -> None:
    scores = cells({
        A: [[0.5, 1.0, 0.0, 0.8, 0.2, 0.2], [0.5, 0.8, 0.0, 0.8, 0.2, 0.2]],
        B: [[0.5, 0.2, 0.6, 0.7, 0.1, 0.4]],
    })  # fmt: skip
    best, worst = extremes(scores, A, B, "pdms", 2)
    # 0.7 first; t0003 and t0004 gain 0.1 but for rounding.
    assert best[0].token == "t0001"
    assert [one.gain for one in best] == pytest.approx([0.7, 0.1])
    assert [(one.token, one.log) for one in worst] == [("t0002", "log002"), ("t0005", "log005")]
    assert [one.gain for one in worst] == pytest.approx([-0.6, -0.2])
    best, worst = extremes(scores, A, B, "pdms", 100)
    assert (len(best), len(worst)) == (3, 2)
    error = replace(scores, values={"ade_m": scores.values["pdms"]})
    best, _ = extremes(error, A, B, "ade_m", 1)
    assert best[0].token == "t0002"
    with pytest.raises(ConfigError, match="count"):
        extremes(scores, A, B, "pdms", 0)
