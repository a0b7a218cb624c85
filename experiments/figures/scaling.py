"""Samples per second and efficiency against the number of GPUs, from a scaling report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.data.errors import DataError
from experiments.figures.style import (
    GREY,
    PAGE_IN,
    arm_style,
    columns_that_fit,
    content,
    page,
    tidy,
)
from launcher.scaling.report import Report, Row

_HEIGHT_IN = 2.2
_IDEAL = "ideal"
_ROOM = 1.25
"""Of a logarithmic axis beyond its first and last number of GPUs, as a ratio."""


def scaling_curves(report: Report, suffix: str, *, title: str = "") -> bytes:
    """Draw what was measured at each number of GPUs, with the ideal, and the efficiency.

    The ideal starts at the fewest GPUs of a group; so does its efficiency, 100 % there. Of the
    attempts of a group on as many GPUs the fastest is on the line, others are hollow.

    Args:
        report: Attempts; `launcher.scaling.source.compare` makes one of a study.
        suffix: `png`, `svg` or `pdf`.
        title: Above the figure.

    Raises:
        DataError: nothing was timed.
        ConfigError: `suffix` is not known.
    """
    curves = {group: curve for group in report.groups() if (curve := report.curve(group))}
    if not curves:
        raise DataError("no attempt was timed, so there is no speed to draw",
                        hint="`launch probe` measures in minutes")  # fmt: skip
    ranks = sorted({row.ranks for row in report.rows if row.samples_per_s is not None})
    columns = columns_that_fit([*curves, _IDEAL], PAGE_IN)
    with page(PAGE_IN, _HEIGHT_IN + 0.13 * -(-(len(curves) + 1) // columns)) as figure:
        speed, efficiency = figure.subplots(1, 2)
        for index, curve in enumerate(curves.values()):
            slower = [row for row in report.rows if row.group == curve[0].group]
            _draw_group(speed, efficiency, curve, slower, index)
        _dress(speed, ranks, curves, "samples per second")
        _dress(efficiency, ranks, curves, "efficiency [%]")
        _scale_speed(speed)
        efficiency.set_ylim(0, None)
        efficiency.axhline(100, color=GREY, linestyle=(0, (4, 2)), linewidth=0.8, zorder=1)
        speed.set_title(title, loc="left")
        handles, labels = speed.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)
        return content(figure, suffix)


def _draw_group(
    speed: Any, efficiency: Any, curve: Sequence[Row], rows: Sequence[Row], index: int
) -> None:
    style = arm_style(index)
    counts = [row.ranks for row in curve]
    base = curve[0]
    ideal = [(base.samples_per_s or 0.0) * count / base.ranks for count in counts]
    dashes = {"color": GREY, "linestyle": (0, (4, 2)), "linewidth": 0.8, "zorder": 1}
    speed.plot(counts, ideal, label=None if index else _IDEAL, **dashes)
    speed.plot(counts, [row.samples_per_s for row in curve], label=base.group, zorder=3, **style)
    efficiency.plot(counts, [100 * (row.efficiency or 0.0) for row in curve], zorder=3, **style)
    hollow = {**style, "linestyle": "", "markerfacecolor": "white", "zorder": 2}
    for row in rows:
        if row not in curve and row.samples_per_s is not None:
            speed.plot([row.ranks], [row.samples_per_s], **hollow)
            efficiency.plot([row.ranks], [100 * (row.efficiency or 0.0)], **hollow)


def _dress(axes: Any, ranks: Sequence[int], curves: dict[str, list[Row]], label: str) -> None:
    has_gpus = any(row.has_gpus for curve in curves.values() for row in curve)
    axes.set_xscale("log", base=2)
    axes.set_xlim(ranks[0] / _ROOM, ranks[-1] * _ROOM)
    axes.set_xticks(ranks, [str(count) for count in ranks])
    axes.minorticks_off()
    axes.set_xlabel("GPUs" if has_gpus else "ranks (without GPUs)")
    axes.set_ylabel(label)
    tidy(axes)


def _scale_speed(axes: Any) -> None:
    """Speeds of powers of two on a logarithmic axis, as plain numbers."""
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
