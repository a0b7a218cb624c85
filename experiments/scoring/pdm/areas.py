"""Where on the map the ego is at each instant: on the road, across lanes, against traffic."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.scoring.pdm.boxes import Boxes, corners
from experiments.scoring.pdm.membership import Polygons
from experiments.scoring.pdm.scene import STEP_S, SceneMetrics
from experiments.scoring.pdm.simulation import Driven

DRIVABLE = ("roadblock", "intersection", "carpark", "drivable_area")
"""Not the lane connectors: where they leave the other areas, they are off the road."""
LANES = ("lane", "lane_connector")
ONCOMING_WINDOW = round(1.0 / STEP_S) + 1
"""Steps of which the way against traffic is summed: those that end in 1 s and one more."""
ONCOMING_TOLERATED_M = 2.0
ONCOMING_VIOLATED_M = 6.0


@dataclass(frozen=True, slots=True)
class Areas:
    """(41, P) bools."""

    off_road: Tensor
    """A corner is inside no drivable polygon."""
    across_lanes: Tensor
    """Corners are in two lanes or more, and no lane holds all four."""
    oncoming: Tensor
    """The centre is in no lane of the route."""
    in_intersection: Tensor
    """The rear axle is in an intersection."""


class Map:
    """The polygons of a scene in its centred frame, and what they mean."""

    def __init__(self, scene: SceneMetrics, device: torch.device) -> None:
        origin = scene.ego.pose[:2]
        layers = [polygon.layer for polygon in scene.polygons]
        lanes = [layer in LANES for layer in layers]
        on_route = [
            lane and polygon.id in scene.route_lane_ids
            for lane, polygon in zip(lanes, scene.polygons, strict=True)
        ]
        self._polygons = Polygons([polygon.ring - origin for polygon in scene.polygons], device)
        self._drivable = self._polygons.bits([layer in DRIVABLE for layer in layers])
        self._lanes = self._polygons.bits(lanes)
        self._route = self._polygons.bits(on_route)
        self._intersections = self._polygons.bits([layer == "intersection" for layer in layers])

    def areas(self, driven: Driven, ego: Boxes) -> Areas:
        """Return where the ego's (41, P) boxes are."""
        centre = torch.stack([ego.x, ego.y], dim=-1)
        axle = torch.stack([driven.x, driven.y], dim=-1)
        points = torch.cat([corners(ego), centre[..., None, :], axle[..., None, :]], dim=-2)
        words = self._polygons.holding(points.reshape(-1, 2)).reshape(*points.shape[:-1], -1)
        at_corners, at_centre, at_axle = words[..., :4, :], words[..., 4, :], words[..., 5, :]
        in_lanes = at_corners & self._lanes
        front, rear = in_lanes[..., 0, :], in_lanes[..., 2, :]
        left, right = in_lanes[..., 1, :], in_lanes[..., 3, :]
        return Areas(
            off_road=~_any(at_corners & self._drivable).all(dim=-1),
            across_lanes=_several(front | rear | left | right) & ~_any(front & rear & left & right),
            oncoming=~_any(at_centre & self._route),
            in_intersection=_any(at_axle & self._intersections),
        )


def _any(words: Tensor) -> Tensor:
    return (words != 0).any(dim=-1)


def _several(words: Tensor) -> Tensor:
    """Return whether (..., W) words have more than one bit set."""
    return (words & (words - 1) != 0).any(dim=-1) | ((words != 0).sum(dim=-1) > 1)


def on_road(areas: Areas) -> Tensor:
    """Return the (P,) drivable area compliance, 1 if no corner ever leaves the road, or 0."""
    return (~areas.off_road.any(dim=0)).double()


def direction(areas: Areas, ego: Boxes) -> Tensor:
    """Return the (P,) driving direction compliance.

    1 while the centre goes less than 2 m outside of the lanes of the route within about 1 s, 0.5
    below 6 m, or 0.
    """
    ways = torch.hypot(torch.diff(ego.x, dim=0), torch.diff(ego.y, dim=0)) * areas.oncoming[1:]
    padded = torch.nn.functional.pad(ways.T, (ONCOMING_WINDOW - 1, 0))
    worst = padded.unfold(1, ONCOMING_WINDOW, 1).sum(dim=-1).amax(dim=1)
    tolerated = (worst < ONCOMING_TOLERATED_M).double()
    return 0.5 * (tolerated + (worst < ONCOMING_VIOLATED_M).double())
