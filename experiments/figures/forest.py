"""Forest plot: differences of an ablation with their intervals, one below the other."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from experiments.data.errors import DataError
from experiments.figures.style import COLOURS, COLUMN_IN, GREY, content, page, tidy
from experiments.statistics.comparing import Comparison
from experiments.statistics.measures import measure

_TITLE_LETTERS = 58
"""So many fit into a line."""
_BETTER, _WORSE, _EVEN = COLOURS[0], COLOURS[1], "0.5"


def forest(comparisons: Sequence[Comparison], suffix: str, *, title: str = "") -> bytes:
    """Draw one row per comparison, in the order given.

    A filled square is a difference that holds after Holm, blue for the better and vermillion for
    the worse; a hollow circle is none. The numbers stand on the right.

    Raises:
        DataError: there is nothing to draw, or comparisons differ in how they are shown.
        ConfigError: `suffix` is not known.
    """
    if not comparisons:
        raise DataError("there are no comparisons to draw")
    units = {
        (measure(one.metric).unit, measure(one.metric).higher_is_better) for one in comparisons
    }
    if len(units) > 1:
        raise DataError("comparisons in one forest plot differ in unit or in which way is better")
    lines = _lines(comparisons)
    heading = title or _heading(comparisons)
    with page(COLUMN_IN, 0.7 + 0.17 * len(lines)) as figure:
        axes = figure.add_subplot()
        for row, (_, comparison) in enumerate(lines):
            if comparison is not None:
                _draw_row(axes, comparison, row)
        axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
        axes.set_yticks(range(len(lines)), [label for label, _ in lines])
        for tick, (_, comparison) in zip(axes.get_yticklabels(), lines, strict=True):
            tick.set_fontweight("bold" if comparison is None else "normal")
        axes.set_ylim(len(lines) - 0.5, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(_x_label(comparisons))
        figure.suptitle(textwrap.fill(heading, _TITLE_LETTERS), x=0.01, ha="left", fontsize=7.5)
        tidy(axes, grid="x")
        axes.spines["left"].set_visible(False)
        return content(figure, suffix)


def _draw_row(axes: Any, comparison: Comparison, row: int) -> None:
    shown = measure(comparison.metric)
    holds = comparison.is_distinguishable
    colour = (_BETTER if comparison.a_is_better else _WORSE) if holds else _EVEN
    low, high = (end * shown.scale for end in comparison.interval)
    middle = comparison.difference * shown.scale
    axes.plot([low, high], [row, row], color=colour, linewidth=1.3, solid_capstyle="butt")
    look: dict[str, Any] = {
        "marker": "s" if holds else "o",
        "markerfacecolor": colour if holds else "white",
    }
    axes.plot([middle], [row], color=colour, zorder=3, markersize=3.2, **look)
    ends = " to ".join(shown.text(end, signed=True) for end in comparison.interval)
    by = shown.text(comparison.difference, signed=True)
    axes.annotate(
        f"{by} ({ends})",
        (1.02, row),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=5.8,
        color="0.2",
        annotation_clip=False,
    )


def _lines(comparisons: Sequence[Comparison]) -> list[tuple[str, Comparison | None]]:
    """Labels with their comparisons; one of None heads the rows of the same pair below it."""
    pairs = {(one.a.arm, one.b.arm) for one in comparisons}
    keys = [(_pair(one, comparisons), _rest(one, comparisons)) for one in comparisons]
    if len(pairs) == 1 or not all(rest for _, rest in keys):
        return [(rest or pair, one) for (pair, rest), one in zip(keys, comparisons, strict=True)]
    lines: list[tuple[str, Comparison | None]] = []
    before = None
    for (pair, rest), one in zip(keys, comparisons, strict=True):
        if pair != before:
            lines.append((pair, None))
        before = pair
        lines.append((rest, one))
    return lines


def _pair(one: Comparison, comparisons: Sequence[Comparison]) -> str:
    same_b = len({other.b.arm for other in comparisons}) == 1
    return one.a.arm if same_b else f"{one.a.arm} - {one.b.arm}"


def _rest(one: Comparison, comparisons: Sequence[Comparison]) -> str:
    """What tells rows of the same pair apart: group, fraction, metric."""
    parts = [one.group] if one.group else []
    if len({(other.a.fraction, other.b.fraction) for other in comparisons}) > 1:
        parts.append(f"{100 * one.a.fraction:g} %")
    if len({other.metric for other in comparisons}) > 1:
        parts.append(measure(one.metric).label)
    return " ".join(parts)


def _heading(comparisons: Sequence[Comparison]) -> str:
    """What is the same in all rows."""
    metrics = {measure(one.metric).label for one in comparisons}
    ours, theirs = ({getattr(one, side).arm for one in comparisons} for side in "ab")
    what = f"{metrics.pop()}: " if len(metrics) == 1 else ""
    if len(theirs) > 1:
        return f"{what}difference"
    against = f"difference to {theirs.pop()}"
    return f"{what}{ours.pop()}, {against}" if len(ours) == 1 else f"{what}{against}"


def _x_label(comparisons: Sequence[Comparison]) -> str:
    shown = measure(comparisons[0].metric)
    sign = ">" if shown.higher_is_better else "<"
    return f"difference [{shown.unit}], {sign} 0 is better"
