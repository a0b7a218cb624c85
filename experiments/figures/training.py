"""Training curves: each run thin, the mean of an arm's runs thick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.data.errors import DataError
from experiments.figures.style import (
    COLUMN_IN,
    LINES,
    arm_style,
    columns_that_fit,
    content,
    page,
    tidy,
)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One metric of one run over its steps.

    Raises:
        DataError: it is empty, steps do not rise, or a value is not finite.
    """

    arm: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        steps, values = np.asarray(self.steps), np.asarray(self.values, np.float64)
        if steps.ndim != 1 or steps.shape != values.shape or not len(steps):
            raise DataError(
                f"a curve of `{self.arm}` has {steps.shape} steps, {values.shape} values"
            )
        if (np.diff(steps) <= 0).any():
            raise DataError(f"the steps of a curve of `{self.arm}` do not rise")
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise DataError(
                f"a curve of `{self.arm}` is {values[bad[0]]} at step {steps[bad[0]]}",
                hint="the run diverged; leave it out by name, or plot up to that step",
            )


def training_curves(
    curves: Sequence[Curve], y_label: str, suffix: str, *, is_log: bool = False, title: str = ""
) -> bytes:
    """Draw curves over the optimizer step.

    The mean of an arm is over the steps that all its runs have; an arm whose runs share none has
    none.

    Args:
        curves: One per run.
        y_label: Metric and unit.
        suffix: `png`, `svg` or `pdf`.
        is_log: Whether the values are on a logarithmic axis; they are then positive.
        title: Above the figure.

    Raises:
        DataError: there are no curves, or values that a logarithmic axis cannot show.
        ConfigError: `suffix` is not known.
    """
    if not curves:
        raise DataError("there are no curves to draw")
    if is_log and any((curve.values <= 0).any() for curve in curves):
        raise DataError("a logarithmic axis cannot show values of zero or less")
    arms = list(dict.fromkeys(curve.arm for curve in curves))
    from matplotlib.ticker import MaxNLocator

    columns = columns_that_fit([f"{arm} (n=1)" for arm in arms], COLUMN_IN)
    with page(COLUMN_IN, 2.1 + 0.13 * -(-len(arms) // columns)) as figure:
        axes = figure.add_subplot()
        for index, arm in enumerate(arms):
            _draw_arm(axes, [curve for curve in curves if curve.arm == arm], index)
        if is_log:
            axes.set_yscale("log")
            _plain_numbers(axes)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("optimizer steps")
        axes.set_ylabel(y_label)
        axes.set_title(title, loc="left")
        tidy(axes)
        figure.legend(loc="outside lower center", ncols=columns)
        return content(figure, suffix)


def _plain_numbers(axes: Any) -> None:
    """Ticks of a logarithmic axis as 0.3 and not as 3 x 10^-1, also at 2, 3 and 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
    for ticks in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        ticks(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw_arm(axes: Any, curves: Sequence[Curve], index: int) -> None:
    colour = arm_style(index)["color"]
    # Without markers, which would fill a dense curve, lines tell the arms apart in print.
    thick = {"color": colour, "linestyle": LINES[index % len(LINES)]}
    if len(curves) == 1:
        axes.plot(curves[0].steps, curves[0].values, label=curves[0].arm, **thick)
        return
    for curve in curves:
        axes.plot(curve.steps, curve.values, color=colour, linewidth=0.5, alpha=0.45)
    common = set.intersection(*(set(curve.steps.tolist()) for curve in curves))
    steps = np.array(sorted(common), np.int64)
    shared = [curve.values[np.isin(curve.steps, steps)] for curve in curves]
    axes.plot(steps, np.mean(shared, axis=0), label=f"{curves[0].arm} (n={len(curves)})", **thick)
