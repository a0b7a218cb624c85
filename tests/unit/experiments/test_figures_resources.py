"""Figures of what runs took: speed by GPUs, memory by phase, learning rates."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.data.errors import DataError
from experiments.figures.learning_rate import _distinct, learning_rate_curves, rates_of
from experiments.figures.memory import _stack, memory_budgets
from experiments.figures.scaling import scaling_curves
from experiments.figures.training import Curve
from launcher.errors import ConfigError
from launcher.estimates.budget import Budget, Row
from launcher.measures import Measure
from launcher.records import PhaseUse
from launcher.scaling.report import Report, report
from tests.unit.launcher.test_scaling import sample, uses


def speeds(slow: float = 0.0) -> Report:
    samples = [sample(gpus, 20 * gpus**0.9) for gpus in (1, 2, 4, 8)]
    return report([*samples, sample(8, slow, name="slow")] if slow else samples)


def budget(phase: Any, gb: float) -> Budget:
    rows = (Row(what="processes", gb=gb), Row(what="training workers", gb=2.0),
            Row(what="gradients", gb=0.001), Row(what="kernel", gb=0.002))  # fmt: skip
    return Budget(rows=rows, phase=phase, margin=0.1, basis="measured: a run")


def attempt(**node_gb: float) -> Measure:
    phases = [PhaseUse(phase=phase, seconds=1, looks=1, node_gb=gb)  # type: ignore[arg-type]
              for phase, gb in node_gb.items()]  # fmt: skip
    return Measure(uses(1, 20.0, phases=phases), Path("/nowhere"), "001-000")


def test_the_same_numbers_give_the_same_bytes() -> None:
    curve = Curve(arm="a", steps=np.arange(3), values=np.ones(3))
    for draw in (
        lambda: scaling_curves(speeds(), "svg"),
        lambda: memory_budgets([budget("train", 3.0)], [attempt(train=4.9)], "pdf", limit_gb=8),
        lambda: learning_rate_curves([curve], "png"),
    ):
        assert draw() == draw()


def test_unknown_file_formats_are_refused() -> None:
    for draw in (
        lambda: scaling_curves(speeds(), "jpg"),
        lambda: memory_budgets([budget("train", 3.0)], [], "jpg"),
        lambda: learning_rate_curves([Curve(arm="a", steps=np.arange(1), values=np.ones(1))], "x"),
    ):
        with pytest.raises(ConfigError, match="suffix"):
            draw()


def test_speed_that_nobody_timed_is_refused() -> None:
    with pytest.raises(DataError, match="no attempt was timed"):
        scaling_curves(report([sample(2, None)]), "png")


def test_a_slower_attempt_on_as_many_gpus_is_drawn_beside_the_line() -> None:
    assert scaling_curves(speeds(slow=40.0), "svg") != scaling_curves(speeds(), "svg")
    # On the line it would be the fastest.
    row = [row for row in speeds(slow=40.0).rows if row.name == "slow"]
    assert row[0].efficiency == pytest.approx(40 / 160)


def test_each_phase_has_one_bar_and_what_is_too_small_to_see_is_drawn_as_one() -> None:
    assert _stack(budget("train", 3.0), 0.05) == pytest.approx(
        {"processes": 3.0, "training workers": 2.0, "other parts": 0.003}
    )
    found = [budget("train", 3.0), budget("validate", 4.0)]
    alone, measured = (memory_budgets(found, peaks, "svg") for peaks in ([], [attempt(train=4.9)]))
    assert alone != measured
    with pytest.raises(DataError, match="2 budgets are of 1 phases"):
        memory_budgets([found[0], found[0]], [], "png")
    with pytest.raises(DataError, match="0 budgets"):
        memory_budgets([], [], "png")


def test_a_phase_that_an_attempt_was_not_in_has_no_peak() -> None:
    found = [budget("train", 3.0), budget("validate", 4.0)]
    elsewhere = memory_budgets(found, [attempt(checkpoint=9.0)], "svg")
    assert elsewhere == memory_budgets(found, [], "svg")


def histories(rows: list[tuple[str, int, str, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["run", "step", "metric", "value"])


def test_rates_are_read_by_run_and_group_of_parameters() -> None:
    rows = [("a seed=0", step, f"lr/{name}", rate * step)
            for name, rate in (("backbone", 0.1), ("head", 1.0)) for step in (2, 1)]  # fmt: skip
    found = rates_of(histories([*rows, ("a seed=0", 1, "train/loss", 3.0)]), lambda run: run[0])
    assert [curve.arm for curve in found] == ["a backbone", "a head"]
    assert found[1].steps.tolist() == [1, 2]
    assert found[1].values.tolist() == [1.0, 2.0]


def test_runs_of_an_arm_with_one_schedule_share_a_line() -> None:
    long = Curve(arm="a", steps=np.arange(4), values=np.arange(4.0))
    short = Curve(arm="a", steps=np.arange(2), values=np.arange(2.0))
    other = Curve(arm="a", steps=np.arange(2), values=np.array([0.0, 2.0]))
    assert [id(one) for one in _distinct([short, long, other])] == [id(long), id(other)]


def test_runs_without_learning_rates_are_refused_and_say_what_they_logged() -> None:
    with pytest.raises(DataError, match="no run logged a learning rate") as refused:
        rates_of(histories([("a", 1, "train/loss", 3.0)]))
    assert refused.value.hint == "they logged train/loss"
    with pytest.raises(DataError, match="no learning rates to draw"):
        learning_rate_curves([], "png")
    with pytest.raises(DataError, match="a learning rate is -1"):
        learning_rate_curves([Curve(arm="a", steps=np.arange(1), values=-np.ones(1))], "png")


def test_a_rate_that_is_not_finite_is_refused() -> None:
    with pytest.raises(DataError, match="is nan at step 1"):
        rates_of(histories([("a", 1, "lr/all", np.nan)]))
