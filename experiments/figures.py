"""Figures as bytes. Imports matplotlib, which needs no display here."""

from __future__ import annotations

import io
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe-Ito: told apart by colour-blind readers too."""
MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True, kw_only=True)
class Point:
    """Score of one run."""

    arm: str
    fraction: float
    score: float


def score_against_fraction(
    points: Sequence[Point], baseline: float, source: str, suffix: str
) -> bytes:
    """One line per arm over the label fraction, through the mean where runs repeat a fraction.

    Args:
        points: One per run; score is the ADE over 4 s [m].
        baseline: Score of the constant-velocity plan, drawn as a dashed line.
        source: Data source, for the title.
        suffix: `png`, `svg` or `pdf`.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"svg.hashsalt": "fixed", "font.size": 9}):
        figure, axes = plt.subplots(figsize=(4.8, 3.2), dpi=200, layout="constrained")
        _draw_arms(axes, points)
        _draw_baseline(axes, baseline)
        _label_axes(axes, sorted({point.fraction for point in points}), source)
        content = io.BytesIO()
        figure.savefig(content, format=suffix, metadata={"Date": None} if suffix == "svg" else None)
        plt.close(figure)
    return content.getvalue()


def _draw_arms(axes: Any, points: Sequence[Point]) -> None:
    arms = sorted({point.arm for point in points})
    for index, arm in enumerate(arms):
        scores: dict[float, list[float]] = defaultdict(list)
        for point in points:
            if point.arm == arm:
                scores[point.fraction].append(point.score)
        colour = COLOURS[index % len(COLOURS)]
        marker = MARKERS[index % len(MARKERS)]
        fractions = sorted(scores)
        means = [statistics.fmean(scores[fraction]) for fraction in fractions]
        axes.plot(fractions, means, color=colour, linewidth=1.4, label=arm, marker=marker)
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


def _label_axes(axes: Any, fractions: Sequence[float], source: str) -> None:
    axes.set_xscale("log")
    axes.set_xticks(fractions, [f"{fraction:.0%}" for fraction in fractions])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("labelled share of the training logs")
    axes.set_ylabel("ADE over 4 s [m], lower is better")
    axes.set_title(f"Label efficiency ({source} data, test split)", fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False)
