"""Sub-metrics of all arms at a glance: values as text, differences to one arm as colour."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.data.errors import DataError
from experiments.figures.style import COLUMN_IN, PAGE_IN, content, page
from experiments.statistics.measures import Measure, measure
from experiments.statistics.table import Floats

_LEAST_SPAN = 1.0
"""Colours are full at this difference [points] or more, so that noise stays pale."""
_DARK = 0.7
"""Part of the span from which on the colour is dark; the middle of the map is white."""
_LETTER_IN = 0.055
"""Mean width of a letter of the labels."""
_LABEL_LETTERS = 40
"""So many fit below the colours."""


def heatmap(
    arms: Sequence[str],
    metrics: Sequence[str],
    means: ArrayLike,
    suffix: str,
    *,
    reference: int = 0,
    title: str = "",
) -> bytes:
    """Draw (A, M) `means` as stored, coloured by how much better or worse than one arm they are.

    Args:
        arms: Names of the rows.
        metrics: Names of the columns; all are shares, shown in points.
        means: Mean of each metric of each arm.
        suffix: `png`, `svg` or `pdf`.
        reference: Row that the others are compared with.
        title: Above the figure.

    Raises:
        DataError: the shape does not fit, a value is not finite, or a metric is no share.
        ConfigError: a metric or `suffix` is not known.
    """
    values, shown = _checked(arms, metrics, means)
    signs = np.array([how.direction * how.scale for how in shown])
    gains = (values - values[reference]) * signs
    span = max(_LEAST_SPAN, float(np.abs(gains).max()))
    with page(_width_in(arms, shown), 0.9 + 0.2 * len(arms)) as figure:
        axes = figure.add_subplot()
        image = axes.pcolormesh(gains, cmap="PuOr_r", vmin=-span, vmax=span,
                                edgecolor="white", linewidth=1.0)  # fmt: skip
        _write_values(axes, values, shown, np.abs(gains) > _DARK * span)
        _name_cells(axes, arms, shown)
        axes.set_title(title, loc="left")
        bar = figure.colorbar(image, ax=axes, location="bottom", aspect=40, pad=0.03)
        label = f"gain over {arms[reference]} [points]"
        bar.set_label(textwrap.fill(label, _LABEL_LETTERS))
        bar.outline.set_visible(False)
        return content(figure, suffix)


def _width_in(arms: Sequence[str], shown: Sequence[Measure]) -> float:
    """A column of a paper, or as much more as the names above and beside the cells need."""
    cell = max(len(how.label) for how in shown) * _LETTER_IN + 0.08
    names = max(map(len, arms)) * _LETTER_IN + 0.2
    return min(PAGE_IN, max(COLUMN_IN, names + cell * len(shown)))


def _checked(
    arms: Sequence[str], metrics: Sequence[str], means: ArrayLike
) -> tuple[Floats, list[Measure]]:
    values = np.asarray(means, np.float64)
    if values.shape != (len(arms), len(metrics)) or not values.size:
        raise DataError(
            f"means have shape {values.shape} for {len(arms)} arms, {len(metrics)} metrics"
        )
    if not np.isfinite(values).all():
        raise DataError("a mean in the heatmap is not finite")
    shown = [measure(metric) for metric in metrics]
    odd = [metric for metric, how in zip(metrics, shown, strict=True) if how.unit != "points"]
    if odd:
        raise DataError(f"`{odd[0]}` is not in points, so it shares no scale with the others")
    return values, shown


def _write_values(
    axes: Any, values: Floats, shown: Sequence[Measure], on_dark: NDArray[np.bool_]
) -> None:
    for (row, column), value in np.ndenumerate(values):
        axes.text(
            column + 0.5,
            row + 0.5,
            shown[column].text(float(value)),
            ha="center",
            va="center",
            fontsize=6,
            color="white" if on_dark[row, column] else "black",
        )


def _name_cells(axes: Any, arms: Sequence[str], shown: Sequence[Measure]) -> None:
    names = [f"{how.label}\n{'↑' if how.higher_is_better else '↓'}" for how in shown]
    axes.set_xticks(np.arange(len(names)) + 0.5, names)
    axes.xaxis.tick_top()
    axes.set_yticks(np.arange(len(arms)) + 0.5, arms)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
