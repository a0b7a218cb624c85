"""What TransFuser's auxiliary losses learn: agents around the ego, and the ground ahead from above.

Sizes, order of classes and orientation are those of NAVSIM's TransfuserTargetBuilder. The map runs
like the front half of the LiDAR histogram: rows forward from the ego, columns from right to left.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from experiments.data.frames import Floats, corners, to_local
from experiments.data.maps import MapPolygon, PolygonMap
from experiments.data.source import Traffic

NUM_AGENTS = 30
BEV_CLASSES = (
    "background",
    "road",
    "walkway",
    "centreline",
    "static object",
    "vehicle",
    "pedestrian",
)
"""What the numbers 0 to 6 of a map mean; a later class is drawn over an earlier one."""
_POLYGONS = {"lane": 1, "intersection": 1, "walkway": 2}
_CENTRELINE, _LINED = 3, ("lane", "lane_connector")
_CENTRELINE_M = 0.5
"""Width of a centreline: 2 pixels at the published 0.25 m."""
_BOXES = {
    **dict.fromkeys(("traffic_cone", "barrier", "czone_sign", "generic_object"), 4),
    "vehicle": 5,
    "pedestrian": 6,
}
Agents = tuple[NDArray[np.float32], NDArray[np.bool_]]


def agents(traffic: Traffic, range_m: float) -> Agents:
    """Return the vehicles nearest to the ego, the nearest first.

    Args:
        traffic: annotated objects at one instant, in the ego frame.
        range_m: vehicles whose centre is further ahead, behind or aside are left out [m].

    Returns:
        States (30, 5) x, y [m], heading [rad], length, width [m], and labels (30,) that say which
        rows hold a vehicle; the rest are zero.
    """
    within = (np.abs(traffic.box[:, :2]) <= range_m).all(axis=1)
    boxes = traffic.box[within & (traffic.kind == "vehicle")]
    distance = np.hypot(boxes[:, 0], boxes[:, 1])
    nearest = boxes[np.argsort(distance, kind="stable")[:NUM_AGENTS]]
    states, labels = np.zeros((NUM_AGENTS, 5), np.float32), np.zeros(NUM_AGENTS, np.bool_)
    states[: len(nearest)] = nearest[:, [0, 1, 4, 2, 3]]
    labels[: len(nearest)] = True
    return states, labels


def bev_semantics(
    area: PolygonMap, pose: Floats, traffic: Traffic, size_px: int, range_m: float
) -> NDArray[np.uint8]:
    """Draw the ground ahead.

    Args:
        area: the map around the ego, in global coordinates.
        pose: global pose (3,) of the ego's rear axle.
        traffic: annotated objects at that instant, in the ego frame.
        size_px: pixels of the LiDAR histogram along an edge, P.
        range_m: half of that edge [m].

    Returns:
        (P / 2, P) numbers of BEV_CLASSES. Row 0 is at the ego, column 0 at the far right.
    """
    canvas = _Canvas(size_px, range_m)
    # Not `area.near`: testing polygons exactly takes longer than drawing them.
    for wanted in (1, 2):
        for polygon in area.polygons:
            if _POLYGONS.get(polygon.layer) == wanted:
                canvas.polygon(_local(polygon.ring, pose), wanted)
    for line in _centrelines(area.polygons):
        canvas.line(_local(line[:, :2], pose), _CENTRELINE)
    outlines = corners(traffic.box)
    for kind, number in _BOXES.items():
        for outline in outlines[traffic.kind == kind]:
            canvas.polygon(outline, number)
    return np.asarray(canvas.image, np.uint8).copy()


def _centrelines(polygons: Iterable[MapPolygon]) -> list[Floats]:
    return [
        polygon.centerline
        for polygon in polygons
        if polygon.layer in _LINED and polygon.centerline is not None
    ]


def _local(points: Floats, pose: Floats) -> Floats:
    """Return global (n, 2) points in the ego frame."""
    poses = np.concatenate([points, np.zeros((len(points), 1))], axis=1)
    return to_local(poses, pose)[:, :2]


class _Canvas:
    """Draws metres of the ego frame; what lies outside is cut off."""

    def __init__(self, size_px: int, range_m: float) -> None:
        self.scale, self.range_m = size_px / (2 * range_m), range_m
        self.image = Image.new("L", (size_px, size_px // 2))
        self.draw = ImageDraw.Draw(self.image)
        self.width = max(1, round(_CENTRELINE_M * self.scale))

    def _pixels(self, points: Floats) -> list[tuple[float, float]] | None:
        """Return (column, row) of each point; None if all lie beyond the same edge."""
        (low_x, low_y), (high_x, high_y) = points.min(axis=0), points.max(axis=0)
        reach = self.range_m
        if high_x < 0 or low_x > reach or high_y < -reach or low_y > reach:
            return None
        # The middle of a pixel is a whole number to the drawing routine.
        column = (points[:, 1] + self.range_m) * self.scale - 0.5
        row = points[:, 0] * self.scale - 0.5
        return list(zip(np.round(column, 3).tolist(), np.round(row, 3).tolist(), strict=True))

    def polygon(self, points: Floats, number: int) -> None:
        """Fill a polygon (n, 2)."""
        if (pixels := self._pixels(points)) is not None:
            self.draw.polygon(pixels, fill=number)

    def line(self, points: Floats, number: int) -> None:
        """Draw a polyline (n, 2)."""
        if (pixels := self._pixels(points)) is not None:
            self.draw.line(pixels, fill=number, width=self.width)
