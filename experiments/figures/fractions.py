"""Scores of single runs over the label fraction."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.figures.style import COLOURS, LINES, MARKERS, content, page

if TYPE_CHECKING:
    from experiments.statistics.measures import Measure

_FEW_ARMS = 3
"""Their legend fits between the lines."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Score of one run."""

    arm: str
    fraction: float
    score: float


def score_against_fraction(
    points: Sequence[Point],
    baseline: float,
    source: str,
    suffix: str,
    *,
    metric: str = "ade_m",
    control: str = "",
) -> bytes:
    """One line per arm over the label fraction, through the mean where runs repeat a fraction.

    Args:
        points: One per run; scores as stored.
        baseline: Score of the constant-velocity plan, drawn as a dashed line.
        source: Data source, for the title.
        suffix: `png`, `svg` or `pdf`.
        metric: What the scores are.
        control: Arm that is no contender, drawn in grey.
    """
    from experiments.statistics.measures import measure

    shown = measure(metric)
    many = len({point.arm for point in points}) > _FEW_ARMS
    size = (7.2, 3.4) if many else (4.8, 3.2)
    with page(*size, text_pt=9) as figure:
        axes = figure.add_subplot()
        _draw_arms(axes, points, control, shown.scale)
        _draw_baseline(axes, baseline * shown.scale)
        _label_axes(axes, sorted({point.fraction for point in points}), source, shown)
        if many:
            figure.legend(loc="outside right upper")
        else:
            axes.legend()
        return content(figure, suffix)


def _draw_arms(axes: Any, points: Sequence[Point], control: str, scale: float) -> None:
    arms = sorted({point.arm for point in points}, key=lambda arm: (arm == control, arm))
    for index, arm in enumerate(arms):
        scores: dict[float, list[float]] = defaultdict(list)
        for point in points:
            if point.arm == arm:
                scores[point.fraction].append(point.score * scale)
        colour = "0.45" if arm == control else COLOURS[index % len(COLOURS)]
        line = LINES[index // len(COLOURS) % len(LINES)]
        marker = MARKERS[index % len(MARKERS)]
        fractions = sorted(scores)
        means = [statistics.fmean(scores[fraction]) for fraction in fractions]
        style = {"color": colour, "linestyle": line, "marker": marker}
        axes.plot(fractions, means, linewidth=1.4, label=arm, **style)
        for fraction in fractions:
            repeated = [fraction] * len(scores[fraction])
            axes.plot(repeated, scores[fraction], color=colour, linestyle="", marker=marker, ms=3)


def _draw_baseline(axes: Any, level: float) -> None:
    axes.axhline(level, color="0.45", linestyle="--", linewidth=1)
    axes.annotate(
        "constant velocity",
        (1.0, level),
        xycoords=("axes fraction", "data"),
        xytext=(-4, 3),
        textcoords="offset points",
        ha="right",
        color="0.35",
    )


def _label_axes(axes: Any, fractions: Sequence[float], source: str, shown: Measure) -> None:
    axes.set_xscale("log")
    axes.set_xticks(fractions, [f"{100 * fraction:g} %" for fraction in fractions])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("labelled share of the training logs")
    axes.set_ylabel(shown.axis_label)
    axes.set_title(f"Label efficiency ({source} data, test split)", fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
