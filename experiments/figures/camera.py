"""Plans as the driver sees them: laid onto the road of a camera image.

Trajectories come in the ego frame and lie on the plane of the road at the rear axle, so that they
float above or sink into a road that climbs or falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.data.calibration import Calibration, CameraView
from experiments.data.frames import Floats
from experiments.data.vehicle import WIDTH_M
from experiments.figures.bev import (
    HUMAN_COLOUR,
    HUMAN_LINE,
    PLAN_COLOUR,
    SCORE_MAP,
    BevPlan,
)
from experiments.figures.sheets import (
    colour_bar,
    label_row,
    line_handles,
    note_score,
    runs_of,
    score_range,
)
from experiments.figures.style import COLUMN_IN, PAGE_IN, content, page

NEAREST_M = 0.3
"""Depth at which lines are cut, as what is behind the camera has no place in its image."""
_STEP_M = 0.25
"""Between the points of a line, so that it bends and is cut where it should."""
_LABEL_IN = 0.3
_LEGEND_IN, _BAR_IN = 0.3, 0.38


@dataclass(frozen=True, kw_only=True)
class CameraRow:
    """One image, and one plan for each run in the order of the columns.

    Attributes:
        view: Image and calibration.
        plans: Of each run.
        human: (P, 3) poses driven, in the frame of the ego; None where it is not known.
        label: Beside the row.
    """

    view: CameraView
    plans: Sequence[BevPlan]
    human: Floats | None = None
    label: str = ""


def camera_sheet(rows: Sequence[CameraRow], suffix: str, *, score_label: str = "score") -> bytes:
    """Draw one camera image for each scene and run, with the plan, its anchors and the human.

    The filled band is as wide as the ego.

    Raises:
        DataError: there are no rows, or they differ in their runs.
        ConfigError: `suffix` is not known.
    """
    runs = runs_of([(row.view.token, row.plans) for row in rows])
    width = COLUMN_IN if len(runs) == 1 else PAGE_IN
    side = (width - _LABEL_IN) / len(runs)
    heights = [side * row.view.pixels.shape[0] / row.view.pixels.shape[1] for row in rows]
    low, high, has_anchors = score_range([plan for row in rows for plan in row.plans])
    tall = sum(heights) + 0.05 * len(rows) + 0.15 + _LEGEND_IN + _BAR_IN * has_anchors
    with page(width, tall) as figure:
        panels = figure.subplots(
            len(rows), len(runs), squeeze=False, gridspec_kw={"height_ratios": heights}
        )
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
        for row, line in zip(rows, panels, strict=True):
            for axes, plan in zip(line, row.plans, strict=True):
                _draw(axes, row, plan, low, high)
            label_row(line[0], row.view.token, row.label)
        for run, axes in zip(runs, panels[0], strict=True):
            axes.set_title(run)
        if has_anchors:
            colour_bar(figure, panels, low, high, score_label)
        has_human = any(row.human is not None for row in rows)
        handles = line_handles(has_human=has_human, has_anchors=has_anchors)
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        return content(figure, suffix)


def on_image(calibration: Calibration, poses: Floats, aside_m: float = 0.0) -> Floats:
    """Project the way from the ego along (P, 3) poses, `aside_m` to their left.

    Returns:
        (M, 2) places [px]; not a number where the way is behind the camera.
    """
    way = _dense(poses)
    left = np.stack([-np.sin(way[:, 2]), np.cos(way[:, 2])], axis=-1)
    ground = np.concatenate([way[:, :2] + aside_m * left, np.zeros((len(way), 1))], axis=-1)
    places, depth = calibration.project(ground)
    places[depth < NEAREST_M] = np.nan
    return places


def _dense(poses: Floats) -> Floats:
    """(M, 3) points and directions of the way from the ego on, every quarter of a metre."""
    points = np.concatenate([np.zeros((1, 2)), np.asarray(poses, np.float64)[:, :2]])
    lengths = np.hypot(*np.diff(points, axis=0).T)
    at = np.concatenate([[0.0], np.cumsum(lengths)])
    wanted = np.linspace(0.0, at[-1], max(2, int(at[-1] / _STEP_M) + 1))
    # Points on the spot would have no place of their own on the way.
    kept = np.concatenate([[True], lengths > 0])
    headings = np.unwrap(np.concatenate([[0.0], np.asarray(poses, np.float64)[:, 2]]))
    columns = (points[:, 0], points[:, 1], headings)
    return np.stack([np.interp(wanted, at[kept], column[kept]) for column in columns], axis=-1)


def _draw(axes: Any, row: CameraRow, plan: BevPlan, low: float, high: float) -> None:
    pixels, calibration = row.view.pixels, row.view.calibration
    height, width = pixels.shape[:2]
    # Places are measured from the edges of pixels, as the calibration does.
    axes.imshow(pixels, extent=(0, width, height, 0), interpolation="bilinear")
    _draw_anchors(axes, plan, calibration, low, high)
    _draw_band(axes, plan.poses, calibration)
    if row.human is not None:
        human = on_image(calibration, row.human)
        axes.plot(*human.T, color="white", linewidth=2.0, zorder=6)
        axes.plot(*human.T, color=HUMAN_COLOUR, linestyle=HUMAN_LINE, linewidth=1.2, zorder=7)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    note_score(axes, plan.score)


def _draw_anchors(
    axes: Any, plan: BevPlan, calibration: Calibration, low: float, high: float
) -> None:
    from matplotlib.collections import LineCollection

    if not len(plan.anchors):
        return
    order = np.argsort(plan.anchor_scores, kind="stable")
    ways = [on_image(calibration, anchor) for anchor in plan.anchors[order]]
    lines = LineCollection(ways, cmap=SCORE_MAP, linewidth=0.8, zorder=4)
    lines.set_array(plan.anchor_scores[order])
    lines.set_clim(low, high)
    axes.add_collection(lines, autolim=False)


def _draw_band(axes: Any, poses: Floats, calibration: Calibration) -> None:
    """The plan as a band as wide as the car, and its middle."""
    sides = [on_image(calibration, poses, sign * WIDTH_M / 2) for sign in (1, -1)]
    seen = np.isfinite(sides[0]).all(1) & np.isfinite(sides[1]).all(1)
    ring = np.concatenate([sides[0][seen], sides[1][seen][::-1]])
    if len(ring) > 2:
        axes.fill(*ring.T, facecolor=PLAN_COLOUR, edgecolor="none", alpha=0.3, zorder=5)
    middle = on_image(calibration, poses)
    axes.plot(*middle.T, color=PLAN_COLOUR, linewidth=1.3, zorder=6.5)
