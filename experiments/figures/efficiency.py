"""Label-efficiency curves with intervals, all seeds, and where they meet the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.data.errors import DataError
from experiments.figures.style import (
    COLUMN_IN,
    GREY,
    arm_style,
    columns_that_fit,
    content,
    page,
    tidy,
)
from experiments.statistics.efficiency import (
    AT_SMALLEST,
    NOT_REACHED,
    Efficiency,
    FractionNeeded,
)
from experiments.statistics.measures import measure

_APART = 0.04
"""Between arms at one fraction, as a share of the width of the curve."""
_SEEDS_APART = 0.018
_BEYOND = 1.06
"""From the end of a curve to the arrow that points beyond it, as a ratio of fractions."""


def efficiency_curves(curves: Sequence[Efficiency], suffix: str, *, title: str = "") -> bytes:
    """Draw one line per arm over the label fraction: means, intervals, and each seed as a dot.

    The dashed level is that of the reference. Below stand the fractions at which the arms reach
    it, with their intervals; arrows point to what lies beyond the curve.

    Raises:
        DataError: there are no curves, or they differ in metric or reference.
        ConfigError: `suffix` is not known.
    """
    _check(curves)
    shown = measure(curves[0].metric)
    labels = [*(curve.arm for curve in curves), _level_name(curves[0])]
    columns = columns_that_fit(labels, COLUMN_IN)
    others = _others(curves)
    strip = 0.11 * max(1, len(others))
    height = 2.15 + strip + 0.13 * math.ceil(len(labels) / columns)
    with page(COLUMN_IN, height) as figure:
        axes, below = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": (1.5, strip), "hspace": 0.0}
        )
        axes.set_xscale("log")
        for index, curve in enumerate(curves):
            _draw_curve(axes, curve, index, (index - (len(curves) - 1) / 2) * _APART)
        _draw_level(axes, curves[0])
        axes.set_ylabel(shown.axis_label.replace(", ", ",\n"))
        axes.set_title(title, loc="left")
        tidy(axes)
        _draw_needed(below, others)
        fractions = sorted({point.cell.fraction for curve in curves for point in curve.points})
        below.set_xticks(fractions, [f"{100 * fraction:g} %" for fraction in fractions])
        below.minorticks_off()
        below.set_xlabel("labelled share of the training logs")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns)
        return content(figure, suffix)


def _check(curves: Sequence[Efficiency]) -> None:
    if not curves:
        raise DataError("there are no curves to draw")
    for what in ("metric", "reference"):
        found = {str(getattr(curve, what)) for curve in curves}
        if len(found) > 1:
            raise DataError(f"curves in one figure differ in {what}: {', '.join(sorted(found))}")


def _draw_curve(axes: Any, curve: Efficiency, index: int, aside: float) -> None:
    scale = measure(curve.metric).scale
    style = arm_style(index)
    fractions = np.array([point.cell.fraction for point in curve.points])
    # Arms stand beside each other, or their intervals would hide each other.
    width = fractions[-1] / fractions[0]
    places = fractions * width**aside
    means = np.array([point.mean for point in curve.points]) * scale
    axes.plot(places, means, label=curve.arm, zorder=3, markersize=3.2, **style)
    for place, point in zip(places, curve.points, strict=True):
        if point.interval is not None:
            ends = np.array(point.interval) * scale
            axes.plot([place, place], ends, color=style["color"], linewidth=0.9, zorder=2)
        seeds = np.array(list(point.seeds.values())) * scale
        if len(seeds) > 1:
            # Beside the mean, which would hide them.
            dots = np.full(len(seeds), place * width**_SEEDS_APART)
            axes.scatter(dots, seeds, s=3, color=style["color"], linewidth=0, zorder=4)


def _draw_level(axes: Any, curve: Efficiency) -> None:
    level = curve.level * measure(curve.metric).scale
    look: dict[str, Any] = {"color": GREY, "linestyle": (0, (4, 2)), "linewidth": 0.8}
    axes.axhline(level, label=_level_name(curve), zorder=1, **look)


def _level_name(curve: Efficiency) -> str:
    cell = curve.reference
    return f"{cell.arm} at {cell.share}" if cell.share else cell.arm


def _draw_needed(axes: Any, others: Sequence[tuple[int, FractionNeeded]]) -> None:
    """One bar per arm: where it reaches the level; an arrow where that lies beyond its curve."""
    for row, (index, needed) in enumerate(others):
        _draw_bar(axes, needed, row, index)
    axes.set_ylim(len(others) - 0.4, -0.6)
    axes.set_yticks([])
    axes.set_ylabel("level\nreached", rotation=0, ha="right", va="center", fontsize=6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def _others(curves: Sequence[Efficiency]) -> list[tuple[int, FractionNeeded]]:
    """Places of the arms in the figure and what they need.

    Not of an arm that has the reference on its curve: where it reaches that says nothing.
    """
    return [
        (index, curve.needed)
        for index, curve in enumerate(curves)
        if curve.reference not in [point.cell for point in curve.points]
    ]


def _draw_bar(axes: Any, needed: FractionNeeded, row: int, index: int) -> None:
    smallest, largest = needed.smallest, needed.largest
    style = arm_style(index)
    inside = [min(max(end, smallest), largest) for end in needed.interval]
    look: dict[str, Any] = {"color": style["color"], "markeredgewidth": 0, "clip_on": False}
    axes.plot(inside, [row, row], linewidth=1.4, solid_capstyle="butt", **look)
    if needed.interval.high == NOT_REACHED:
        axes.plot([largest * _BEYOND], [row], marker=">", markersize=3.5, **look)
    if needed.interval.low == AT_SMALLEST:
        axes.plot([smallest / _BEYOND], [row], marker="<", markersize=3.5, **look)
    if smallest <= needed.value <= largest:
        axes.plot([needed.value], [row], marker=style["marker"], markersize=4, **look)
