"""A reference plan for scenes that come without one: a planner of our own after PDM-Closed.

As in PDM-Closed (Dauner et al., Parting with Misconceptions about Learning-based Vehicle Motion
Planning, 2023), fifteen candidates follow three paths along the route at five speeds, are judged
by the score itself against a forecast, and the best is the plan. The forecast moves what is there
now at constant velocity; the true future is not looked at. This is no copy of the official
planner: numbers that rest on it are those of a synthetic reference, and are to be called so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import shapely

from experiments.data.frames import Floats, to_local
from experiments.data.vehicle import REAR_AXLE_TO_CENTRE_M
from experiments.scoring.pdm.reference_idm import Obstacles, drive, obstacles_on
from experiments.scoring.pdm.reference_path import CentrePath, centre_path
from experiments.scoring.pdm.scene import (
    PLAN_STATES,
    STEP_S,
    TRACK_STATES,
    EgoState,
    MapPolygon,
    SceneMetrics,
    Tracks,
)
from experiments.scoring.pdm.score import COMFORT_WEIGHT, EP_WEIGHT, TTC_WEIGHT, score

REFERENCE = "synthetic-idm-15 v1"
"""Names the planner; scores that rest on another reference are other numbers."""
_LEAST_PROGRESS_M = 5.0
"""Below it, progress of all candidates counts as full, as in the score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A scene that still lacks its reference plan; fields as in `SceneMetrics`."""

    token: str
    ego: EgoState
    polygons: tuple[MapPolygon, ...]
    route_lane_ids: frozenset[str]
    centerline: Floats
    tracks: Tracks

    def scene(self, reference: Floats) -> SceneMetrics:
        """Return the scene with a (41, 3) reference; DataError if it is impossible."""
        return SceneMetrics(
            token=self.token,
            ego=self.ego,
            polygons=self.polygons,
            route_lane_ids=self.route_lane_ids,
            centerline=self.centerline,
            tracks=self.tracks,
            reference=reference,
        )


def plan_reference(
    outlook: Outlook, red: Collection[str] = (), seen: Collection[str] | None = None
) -> Floats:
    """Return the (41, 3) global poses of the reference plan, the first of them the ego's.

    Args:
        outlook: the scene; of its tracks, only what they are doing now is used.
        red: ids of polygons of the scene that a light has closed.
        seen: tokens of the tracks that are seen now; None for all that the scene says are there.

    Raises:
        DataError: the scene is impossible.
    """
    # Checked before anything is computed from it: a plan along broken data would be no plan.
    standing = outlook.scene(np.tile(outlook.ego.pose, (PLAN_STATES, 1)))
    path = centre_path(outlook.centerline)
    forecast = forecast_of(outlook.tracks, outlook.tracks.tokens if seen is None else seen)
    lights = _closed(outlook, path, red)
    obstacles = _joined(obstacles_on(path, forecast), lights)
    start, _ = path.project(outlook.ego.pose[:2])
    s, offsets = drive(path, float(start), float(outlook.ego.velocity[0]), obstacles)
    plans = path.at(s, offsets[:, None])
    plans[:, 0] = outlook.ego.pose
    best = _best(replace(standing, tracks=forecast), plans, path)
    chosen: Floats = plans[best]
    return chosen


def forecast_of(tracks: Tracks, seen: Collection[str]) -> Tracks:
    """Return those of the tracks `seen` that are present now, at their present velocity."""
    here = np.array([token in seen for token in tracks.tokens], np.bool_)
    now = np.flatnonzero(tracks.present[:, 0] & here)
    boxes = np.repeat(tracks.boxes[now, :1], TRACK_STATES, axis=1)
    velocities = np.repeat(tracks.velocities[now, :1], TRACK_STATES, axis=1)
    times = STEP_S * np.arange(TRACK_STATES)
    boxes[..., :2] += velocities * times[:, None]
    return Tracks(
        tokens=tuple(tracks.tokens[row] for row in now),
        types=tuple(tracks.types[row] for row in now),
        boxes=boxes,
        velocities=velocities,
        present=np.ones((len(now), TRACK_STATES), np.bool_),
    )


def _closed(outlook: Outlook, path: CentrePath, red: Collection[str]) -> Obstacles:
    """Return closed polygons as things that stand on the path where they begin."""
    rings = {polygon.id: polygon.ring for polygon in outlook.polygons}
    line = shapely.LineString(path.xy)
    spans = []
    for name in sorted(red):
        met = shapely.get_coordinates(line.intersection(shapely.Polygon(rings[name])))
        if len(met):
            s, _ = path.project(met)
            spans.append((s.min(), s.max()))
    ends = np.repeat(np.array(spans, np.float64).reshape(-1, 1, 2), PLAN_STATES, axis=1)
    zero = np.zeros(ends.shape[:2])
    return Obstacles(rear=ends[..., 0], middle=ends[..., 1], low=zero, high=zero, speed=zero)


def _joined(some: Obstacles, more: Obstacles) -> Obstacles:
    return Obstacles(
        rear=np.concatenate([some.rear, more.rear]),
        middle=np.concatenate([some.middle, more.middle]),
        low=np.concatenate([some.low, more.low]),
        high=np.concatenate([some.high, more.high]),
        speed=np.concatenate([some.speed, more.speed]),
    )


def _best(scene: SceneMetrics, plans: Floats, path: CentrePath) -> int:
    """Return the candidate of the best score; of equal ones the first.

    Progress is compared among the candidates, as PDM-Closed does, and not with a reference.
    """
    local = to_local(plans[:, 1:], scene.ego.pose)
    found = score(scene, local, interval_s=STEP_S)
    ends = found.poses[:, [0, -1]]
    ahead = np.stack([np.cos(ends[..., 2]), np.sin(ends[..., 2])], axis=-1)
    s, _ = path.project(ends[..., :2] + REAR_AXLE_TO_CENTRE_M * ahead)
    safe = found.nc * found.dac
    raw = np.maximum(s[:, 1] - s[:, 0], 0.0) * safe
    furthest = raw.max()
    share = raw / furthest if furthest > _LEAST_PROGRESS_M else (safe > 0).astype(np.float64)
    mean = EP_WEIGHT * share + TTC_WEIGHT * found.ttc + COMFORT_WEIGHT * found.comfort
    return int(np.argmax(safe * mean))
