"""One scene from above, in the frame of the ego: its heading up, the rear axle at (0, 0).

Global positions are turned into that frame here; trajectories come in it, as planners give them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.data.errors import DataError
from experiments.data.frames import Floats, corners, to_local
from experiments.data.vehicle import footprints
from experiments.figures.style import COLOURS

HUMAN_COLOUR, PLAN_COLOUR = COLOURS[2], COLOURS[1]
HUMAN_LINE = (0, (2.5, 1.5))
SCORE_MAP = "viridis"
_LAYERS: dict[str, dict[str, Any]] = {
    "drivable_area": {"facecolor": "0.92", "edgecolor": "none"},
    "roadblock": {"facecolor": "0.92", "edgecolor": "none"},
    "intersection": {"facecolor": "0.87", "edgecolor": "none"},
    "carpark": {"facecolor": "#EFE8D8", "edgecolor": "none"},
    "lane": {"facecolor": "none", "edgecolor": "0.72", "linewidth": 0.4},
    "lane_connector": {"facecolor": "none", "edgecolor": "0.8", "linewidth": 0.3},
}
"""In the order of drawing."""
BOX_COLOURS = {"vehicle": "#9DB7CE", "pedestrian": COLOURS[3], "bicycle": COLOURS[4]}
OTHER_BOX = "0.55"
_SHORTEST_BOX_M = 0.9
"""Smaller things are drawn in this size, or they would vanish in print."""


@dataclass(frozen=True, kw_only=True)
class BevScene:
    """What all plans of a scene have in common.

    Attributes:
        ego: (3,) global pose of the rear axle.
        polygons: Layer and (V, 2) global ring of each area of the map.
        boxes: (N, 5) global centre x, y, heading, length, width now.
        types: Of each box: vehicle, pedestrian, bicycle or another thing.
        human: (P, 3) poses driven, in the frame of the ego; None where it is not known.
    """

    token: str
    ego: Floats
    polygons: Sequence[tuple[str, Floats]]
    boxes: Floats
    types: Sequence[str]
    human: Floats | None = None

    def __post_init__(self) -> None:
        _check(self.token, "ego", self.ego, (3,))
        _check(self.token, "boxes", self.boxes, (len(self.types), 5))
        for layer, ring in self.polygons:
            if layer not in _LAYERS:
                raise DataError(
                    f"scene `{self.token}` has a polygon of the unknown layer `{layer}`",
                    hint=f"legal: {', '.join(_LAYERS)}",
                )
            _check(self.token, "ring", ring, (len(ring), 2))
        if self.human is not None:
            _check(self.token, "human", self.human, (len(self.human), 3))


@dataclass(frozen=True, kw_only=True)
class BevPlan:
    """What one run plans in a scene; poses are in the frame of the ego.

    Attributes:
        run: Name of the run.
        poses: (P, 3) plan.
        anchors: (K, P, 3) candidates that were scored highest.
        anchor_scores: (K,) their scores.
        score: Of the plan, as it shall be shown.
    """

    run: str
    poses: Floats
    anchors: Floats = field(default_factory=lambda: np.zeros((0, 1, 3)))
    anchor_scores: Floats = field(default_factory=lambda: np.zeros(0))
    score: str = ""

    def __post_init__(self) -> None:
        _check(self.run, "poses", self.poses, (len(self.poses), 3))
        _check(self.run, "anchor_scores", self.anchor_scores, (len(self.anchors),))
        shape = (len(self.anchors), self.anchors.shape[1], 3)
        _check(self.run, "anchors", self.anchors, shape)


def draw_scene(axes: Any, scene: BevScene) -> None:
    """Draw the map, the boxes, the ego and what the human drove."""
    from matplotlib.collections import PolyCollection

    for order, (layer, look) in enumerate(_LAYERS.items()):
        rings = [
            seen(_local_points(ring, scene.ego)) for name, ring in scene.polygons if name == layer
        ]
        axes.add_collection(PolyCollection(rings, zorder=0.1 * order, **look))
    colours = [BOX_COLOURS.get(name, OTHER_BOX) for name in scene.types]
    box_look: dict[str, Any] = {
        "facecolor": colours,
        "edgecolor": "0.25",
        "linewidth": 0.35,
        "zorder": 2,
    }
    axes.add_collection(PolyCollection(list(seen(_outlines(scene))), **box_look))
    ego = seen(footprints(np.zeros(3)))
    axes.fill(*ego.T, facecolor="white", edgecolor="none", zorder=3)
    # Above the halo of the plan, which would cut it, and below the plan.
    axes.fill(*ego.T, facecolor="none", edgecolor="black", linewidth=0.8, zorder=5.8)
    if scene.human is not None:
        path = seen(_from_ego(scene.human))
        axes.plot(*path.T, color=HUMAN_COLOUR, linestyle=HUMAN_LINE, linewidth=1.1, zorder=7)


def draw_plan(axes: Any, plan: BevPlan, low: float, high: float) -> Any:
    """Draw a plan over its anchors, coloured by score from `low` to `high`; the colours, if any."""
    from matplotlib.collections import LineCollection

    colours = None
    if len(plan.anchors):
        order = np.argsort(plan.anchor_scores, kind="stable")
        paths = [seen(_from_ego(anchor)) for anchor in plan.anchors[order]]
        colours = LineCollection(paths, cmap=SCORE_MAP, linewidth=0.9, zorder=4)
        colours.set_array(plan.anchor_scores[order])
        colours.set_clim(low, high)
        axes.add_collection(colours)
    path = seen(_from_ego(plan.poses))
    dots = {"marker": "o", "markersize": 1.7, "markevery": slice(1, None)}
    axes.plot(*path.T, color="white", linewidth=2.4, zorder=5.5)
    axes.plot(*path.T, color=PLAN_COLOUR, linewidth=1.3, zorder=6, **dots)
    return colours


def window(scenes_paths: Sequence[Floats], least_m: float = 14.0, margin_m: float = 6.0) -> Floats:
    """(2, 2) square around the ego and all (..., 3) paths: left and right, bottom and top [m]."""
    points = np.concatenate([seen(paths[..., :2]).reshape(-1, 2) for paths in scenes_paths])
    points = np.concatenate([points, np.zeros((1, 2))])
    low, high = points.min(0), points.max(0)
    half = max(least_m, float((high - low).max()) / 2 + margin_m)
    centre = (low + high) / 2
    return np.stack([centre - half, centre + half], axis=1)


def seen(points: Floats) -> Floats:
    """(..., 2) points x forward, y left as they lie on the page: right, up."""
    return np.stack([-points[..., 1], points[..., 0]], axis=-1)


def _outlines(scene: BevScene) -> Floats:
    if not len(scene.boxes):
        return np.zeros((0, 4, 2))
    x, y, heading, length, width = scene.boxes.T
    local = to_local(np.stack([x, y, heading], -1), scene.ego)
    size = np.maximum(np.stack([length, width], -1), _SHORTEST_BOX_M)
    return corners(np.concatenate([local[:, :2], size, local[:, 2:]], -1))


def _local_points(points: Floats, ego: Floats) -> Floats:
    poses = np.concatenate([points, np.zeros((len(points), 1))], -1)
    return to_local(poses, ego)[:, :2]


def _from_ego(poses: Floats) -> Floats:
    """(P + 1, 2) positions of a path, from the ego on."""
    return np.concatenate([np.zeros((1, 2)), poses[:, :2]])


def _check(where: str, name: str, values: Floats, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise DataError(f"`{name}` of `{where}` has shape {values.shape}, not {shape}")
    if not np.isfinite(values).all():
        raise DataError(f"`{name}` of `{where}` holds a number that is not finite")
