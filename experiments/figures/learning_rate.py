"""Learning rates over the optimizer step, as runs logged them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

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
from experiments.figures.training import Curve

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "lr/"
"""Of the metrics that are learning rates; the rest is the name of the group of parameters."""


def learning_rate_curves(curves: Sequence[Curve], suffix: str, *, title: str = "") -> bytes:
    """Draw one line for each schedule; runs of an arm with the same one share it.

    Args:
        curves: Of each run and group of parameters; `rates_of` reads them.
        suffix: `png`, `svg` or `pdf`.
        title: Above the figure.

    Raises:
        DataError: there are no curves, or a rate is below 0.
        ConfigError: `suffix` is not known.
    """
    if not curves:
        raise DataError("there are no learning rates to draw")
    low = min(float(curve.values.min()) for curve in curves)
    if low < 0:
        raise DataError(f"a learning rate is {low:g}")
    from matplotlib.ticker import MaxNLocator

    distinct = _distinct(curves)
    arms = list(dict.fromkeys(curve.arm for curve in distinct))
    columns = columns_that_fit(arms, COLUMN_IN)
    with page(COLUMN_IN, 1.7 + 0.13 * -(-len(arms) // columns)) as figure:
        axes = figure.add_subplot()
        for index, arm in enumerate(arms):
            look = {"color": arm_style(index)["color"], "linestyle": LINES[index % len(LINES)]}
            for curve in (one for one in distinct if one.arm == arm):
                axes.plot(curve.steps, curve.values, label=arm, **look)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
        axes.set_xlabel("optimizer steps")
        axes.set_ylabel("learning rate")
        axes.set_title(title, loc="left")
        tidy(axes)
        handles = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=columns)
        return content(figure, suffix)


def rates_of(histories: pd.DataFrame, arm_of: Callable[[str], str] = str) -> list[Curve]:
    """Learning rates of all runs in what `launcher.Study.histories` gives.

    Args:
        histories: Columns run, step, metric, value, and others.
        arm_of: What a run is called, from its name; runs that are to share a line share it.

    Raises:
        DataError: no run logged a learning rate, or one of them is not finite.
    """
    ours = histories[histories["metric"].str.startswith(PREFIX)]
    if not len(ours):
        logged = ", ".join(sorted(set(histories["metric"]))) or "nothing"
        raise DataError("no run logged a learning rate", hint=f"they logged {logged}")
    several = ours.groupby("run")["metric"].nunique().max() > 1
    curves = []
    for (run, metric), rows in ours.groupby(["run", "metric"], sort=False):
        group = f" {metric.removeprefix(PREFIX)}" if several else ""
        ordered = rows.sort_values("step").drop_duplicates("step", keep="last")
        steps, values = ordered["step"].to_numpy(np.int64), ordered["value"].to_numpy(np.float64)
        curves.append(Curve(arm=f"{arm_of(run)}{group}", steps=steps, values=values))
    return curves


def _distinct(curves: Sequence[Curve]) -> list[Curve]:
    """Each schedule of an arm once; the longest of those that agree where they overlap."""
    kept: list[Curve] = []
    for curve in sorted(curves, key=lambda one: -len(one.steps)):
        if not any(_covers(other, curve) for other in kept if other.arm == curve.arm):
            kept.append(curve)
    order = {id(curve): place for place, curve in enumerate(curves)}
    return sorted(kept, key=lambda one: order[id(one)])


def _covers(longer: Curve, curve: Curve) -> bool:
    if not np.isin(curve.steps, longer.steps).all():
        return False
    return np.array_equal(longer.values[np.isin(longer.steps, curve.steps)], curve.values)
