"""Trajectory sheets: the same scenes planned by several runs, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.data.errors import DataError
from experiments.data.frames import Floats
from experiments.figures.bev import (
    BOX_COLOURS,
    HUMAN_COLOUR,
    HUMAN_LINE,
    OTHER_BOX,
    PLAN_COLOUR,
    SCORE_MAP,
    BevPlan,
    BevScene,
    draw_plan,
    draw_scene,
    window,
)
from experiments.figures.style import COLUMN_IN, PAGE_IN, content, page

_BAR_M = 10.0
_LABEL_IN = 0.38
"""Width of the labels beside the rows."""
_IN_A_LINE = 5
"""So many entries of the legend fit into a column of a paper."""
_FEW_RUNS = 2
"""So many panels do."""


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """One scene, and one plan for each run in the order of the columns."""

    scene: BevScene
    plans: Sequence[BevPlan]
    label: str = ""
    """Beside the row, such as the difference between the runs."""


def trajectory_sheet(rows: Sequence[SheetRow], suffix: str, *, score_label: str = "score") -> bytes:
    """Draw one panel for each scene and run, all panels of a scene alike in size and place.

    Args:
        rows: Scenes from top to bottom; `extremes` of experiments.statistics picks and sorts them.
        suffix: `png`, `svg` or `pdf`.
        score_label: What colours the anchors, with its unit.

    Raises:
        DataError: there are no rows, or they differ in their runs.
        ConfigError: `suffix` is not known.
    """
    runs = runs_of([(row.scene.token, row.plans) for row in rows])
    width = COLUMN_IN if len(runs) <= _FEW_RUNS else PAGE_IN
    side = (width - _LABEL_IN) / len(runs)
    low, high, has_anchors = score_range([plan for row in rows for plan in row.plans])
    with page(width, len(rows) * (side + 0.04) + 0.5 + 0.38 * has_anchors) as figure:
        panels = figure.subplots(len(rows), len(runs), squeeze=False)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
        for row, line in zip(rows, panels, strict=True):
            _draw_row(row, line, low, high)
        for run, axes in zip(runs, panels[0], strict=True):
            axes.set_title(run)
        if has_anchors:
            colour_bar(figure, panels, low, high, score_label)
        _legend(figure, rows, has_anchors)
        return content(figure, suffix)


def runs_of(rows: Sequence[tuple[str, Sequence[BevPlan]]]) -> list[str]:
    """Names of the columns, from the token and the plans of each row.

    Raises:
        DataError: there are no rows or no plans, or rows differ in their runs.
    """
    if not rows:
        raise DataError("there are no scenes to draw")
    runs = [plan.run for plan in rows[0][1]]
    for token, plans in rows:
        if [plan.run for plan in plans] != runs or not runs:
            raise DataError(
                f"scene `{token}` has plans of {[plan.run for plan in plans]},"
                f" scene `{rows[0][0]}` of {runs}"
            )
    return runs


def score_range(plans: Sequence[BevPlan]) -> tuple[float, float, bool]:
    """Lowest and highest score of an anchor, and whether there is any."""
    scores = np.concatenate([plan.anchor_scores for plan in plans])
    if not len(scores):
        return 0.0, 1.0, False
    return float(scores.min()), float(scores.max()), True


def _draw_row(row: SheetRow, line: Sequence[Any], low: float, high: float) -> None:
    paths: list[Floats] = [plan.poses for plan in row.plans]
    paths += [plan.anchors for plan in row.plans]
    if row.scene.human is not None:
        paths.append(row.scene.human)
    horizontal, vertical = window(paths)
    for axes, plan in zip(line, row.plans, strict=True):
        draw_scene(axes, row.scene)
        draw_plan(axes, plan, low, high)
        axes.set_xlim(*horizontal)
        axes.set_ylim(*vertical)
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        _scale_bar(axes)
        note_score(axes, plan.score)
    label_row(line[0], row.scene.token, row.label)


def note_score(axes: Any, score: str) -> None:
    """Write a score into the corner of a panel."""
    if score:
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.2}
        axes.text(0.03, 0.97, score, transform=axes.transAxes, va="top", fontsize=6.5,
                  bbox=box, zorder=9)  # fmt: skip


def label_row(axes: Any, token: str, label: str) -> None:
    """Write which scene a row is beside its first panel."""
    axes.set_ylabel("\n".join(filter(None, [token, label])), fontsize=6.5)


def _scale_bar(axes: Any) -> None:
    right, bottom = axes.get_xlim()[1], axes.get_ylim()[0]
    room = (right - axes.get_xlim()[0]) * 0.04
    ends = np.array([right - room - _BAR_M, right - room])
    axes.plot(
        ends, [bottom + room] * 2, color="black", linewidth=1.2, solid_capstyle="butt", zorder=9
    )
    axes.annotate(f"{_BAR_M:g} m", (float(ends.mean()), bottom + room), xytext=(0, 2),
                  textcoords="offset points", ha="center", fontsize=5.5, zorder=9)  # fmt: skip


def colour_bar(figure: Any, panels: Any, low: float, high: float, label: str) -> None:
    """Lay the scale of the anchors below all panels."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colours = ScalarMappable(Normalize(low, high), SCORE_MAP)
    everywhere = [axes for line in panels for axes in line]
    bar = figure.colorbar(colours, ax=everywhere, location="bottom", aspect=45, pad=0.01)
    bar.set_label(label)
    bar.outline.set_visible(False)


def line_handles(*, has_human: bool, has_anchors: bool) -> list[Any]:
    """Entries of a legend for what is a line."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=PLAN_COLOUR, marker="o", markersize=2, label="plan")]
    if has_human:
        handles.append(Line2D([], [], color=HUMAN_COLOUR, linestyle=HUMAN_LINE, label="human"))
    if has_anchors:
        handles.append(Line2D([], [], color="#35B779", linewidth=0.9, label="anchors"))
    return handles


def _legend(figure: Any, rows: Sequence[SheetRow], has_anchors: bool) -> None:
    from matplotlib.lines import Line2D

    has_human = any(row.scene.human is not None for row in rows)
    handles = line_handles(has_human=has_human, has_anchors=has_anchors)
    boxes = {"ego": "white", **_boxes_seen(rows)}
    handles += [
        Line2D([], [], linestyle="", marker="s", markersize=5, markeredgewidth=0.6,
               markerfacecolor=colour, markeredgecolor="black", label=name)
        for name, colour in boxes.items()
    ]  # fmt: skip
    wide = figure.get_figwidth() > COLUMN_IN
    columns = len(handles) if wide or len(handles) <= _IN_A_LINE else -(-len(handles) // 2)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns,
                  columnspacing=1.0, handletextpad=0.4)  # fmt: skip


def _boxes_seen(rows: Sequence[SheetRow]) -> dict[str, str]:
    """Kinds of boxes that the scenes have, and their colours."""
    found = {kind for row in rows for kind in row.scene.types}
    named = {kind: colour for kind, colour in BOX_COLOURS.items() if kind in found}
    return {**named, "other": OTHER_BOX} if found - set(BOX_COLOURS) else named
