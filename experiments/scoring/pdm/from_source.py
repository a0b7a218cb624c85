"""Scenes out of driving logs with polygon maps, the generated ones among them.

Scores of such scenes are not NAVSIM's: the reference plan is our own (see `reference.py`), and
the map is what the log's map file holds. Results must say so (`reference.REFERENCE` names it).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import get_args

import numpy as np
import shapely
from numpy.typing import NDArray

from experiments.data.errors import DataError
from experiments.data.frames import Floats, to_global, wrap
from experiments.data.maps import PolygonMap
from experiments.data.source import STATUS, SceneSource, Traffic
from experiments.data.vehicle import REAR_AXLE_TO_CENTRE_M
from experiments.scoring.pdm.reference import Outlook, plan_reference
from experiments.scoring.pdm.scene import (
    LAYERS,
    TRACK_STATES,
    EgoState,
    MapPolygon,
    SceneMetrics,
    Tracks,
)
from experiments.scoring.pdm.scene_types import TrackType
from experiments.settings import DataConfig
from launcher.errors import ConfigError

_RADIUS_M = 100.0
"""Half the edge of the square around the ego's centre whose polygons NAVSIM takes into a cache."""
_PER_FRAME = 5
"""Steps of 0.1 s between two annotated frames."""
_FRAMES = (TRACK_STATES - 1) // _PER_FRAME
"""Annotated frames after the current one that a scene of 5 s needs."""
_AGENTS = ("vehicle", "pedestrian", "bicycle")
_TYPES = get_args(TrackType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """A window that still lacks its reference plan, and what else that plan depends on."""

    outlook: Outlook
    closed: frozenset[str]
    """Polygons that a light has closed."""
    seen: frozenset[str]
    """Tracks that are annotated now. What is annotated once only, and later, is in the scene from
    the start; the planner does not see it before it comes."""

    def reference(self) -> Floats:
        """Make the (41, 3) reference plan; DataError if the scene is impossible."""
        return plan_reference(self.outlook, self.closed, self.seen)

    def digest(self) -> bytes:
        """Return 16 bytes that tell whether a kept reference plan is of this very window.

        Only what is read and not computed goes in: sines differ in the last bit from one kind of
        processor to another. Boxes are computed; the logs that they come from are known by the
        fingerprint of the data.
        """
        outlook, ego, tracks = self.outlook, self.outlook.ego, self.outlook.tracks
        rings = [(polygon.id, polygon.layer) for polygon in outlook.polygons]
        names = [outlook.token, rings, sorted(outlook.route_lane_ids), tracks.tokens, tracks.types]
        found = hashlib.blake2b(digest_size=16)
        found.update(json.dumps([*names, sorted(self.closed), sorted(self.seen)]).encode())
        arrays = [ego.pose, ego.velocity, ego.acceleration, outlook.centerline, tracks.present]
        for array in [*arrays, *(polygon.ring for polygon in outlook.polygons)]:
            found.update(f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return found.digest()


class SourceScenes:
    """Windows of driving logs as the PDM score sees them."""

    def __init__(self, source: SceneSource, config: DataConfig) -> None:
        """Take the windows of `source`, which was opened with `config`.

        Windows that end before 5 s are refused, as NAVSIM's own cache refuses them (its scenario
        asserts that the frame is there): carrying objects on by a guess would let collisions
        happen that never did.

        Raises:
            ConfigError: the source has no maps, or its windows end before 5 s.
        """
        if not source.has_maps:
            raise ConfigError(
                "the data has no maps, so there is no PDM score of it",
                hint="score recorded NAVSIM data by its metric caches",
            )
        if config.num_future_frames < _FRAMES:
            raise ConfigError(
                f"`data.num_future_frames={config.num_future_frames}` ends windows before 5 s,"
                " and the PDM score looks so far ahead",
                hint=f"set data.num_future_frames={_FRAMES}",
            )
        self._source = source

    def read(self, i: int, red: Collection[str] = ()) -> SceneMetrics:
        """Return window `i`, with a reference plan made now; arguments and errors of `prospect`."""
        prospect = self.prospect(i, red)
        return prospect.outlook.scene(prospect.reference())

    def prospect(self, i: int, red: Collection[str] = ()) -> Prospect:
        """Return window `i` without its reference plan, whose making takes most of the time.

        Velocity and acceleration are those that the log has recorded. The steering angle is 0,
        since logs have none and NAVSIM's own caches say 0 as well.

        Args:
            i: window.
            red: ids of lane connectors that a light has closed; the reference plan stops before
                them, and runs the light if they are not named.

        Raises:
            DataError: the log or the map is torn, or a light is on nothing; names the window.
        """
        source = self._source
        token, pose = source.index.token[i].decode(), np.array(source.pose[i], np.float64)
        status, area = source.status[i].astype(np.float64), source.map_of(i)
        polygons = _polygons(area, pose)
        traffic = source.boxes(i)
        outlook = Outlook(
            token=token,
            ego=EgoState(
                pose=pose,
                velocity=status[STATUS["velocity"]],
                acceleration=status[STATUS["acceleration"]],
                steering_angle=0.0,
            ),
            polygons=polygons,
            route_lane_ids=frozenset(area.route_lane_ids),
            centerline=area.centerline,
            tracks=tracks_of(traffic, pose, token),
        )
        return Prospect(
            outlook=outlook,
            closed=_closed(area, polygons, red, token),
            seen=frozenset(traffic.track[traffic.step == 0].tolist()),
        )


def _polygons(area: PolygonMap, pose: Floats) -> tuple[MapPolygon, ...]:
    """Return the polygons around the ego, of the layers that the score knows."""
    centre = pose[:2] + REAR_AXLE_TO_CENTRE_M * np.array([np.cos(pose[2]), np.sin(pose[2])])
    low, high = centre - _RADIUS_M, centre + _RADIUS_M
    around = shapely.box(*low, *high)
    return tuple(
        MapPolygon(id=p.id, layer=p.layer, ring=p.ring)  # type: ignore[arg-type]
        for p in area.polygons
        if p.layer in LAYERS and _meets(p.ring, low, high, around)
    )


def _meets(ring: Floats, low: Floats, high: Floats, around: shapely.Polygon) -> bool:
    """Whether a polygon meets a box; one that is none is left to the scene to refuse."""
    if len(ring) < 3 or not np.isfinite(ring).all():
        return True
    least, most = ring.min(axis=0), ring.max(axis=0)
    if (least > high).any() or (most < low).any():
        return False
    if (least >= low).all() and (most <= high).all():
        return True
    return bool(around.intersects(shapely.Polygon(ring)))


def _closed(
    area: PolygonMap, polygons: tuple[MapPolygon, ...], red: Collection[str], token: str
) -> frozenset[str]:
    """Return those of `red` that are near; what is further away closes nothing in 4 s."""
    unknown = set(red) - {polygon.id for polygon in area.polygons}
    if unknown:
        raise DataError(f"window `{token}`: a light closes `{min(unknown)}`, which no polygon is")
    return frozenset(red) & {polygon.id for polygon in polygons}


def tracks_of(traffic: Traffic, pose: Floats, token: str) -> Tracks:
    """Interpolate annotations at 2 Hz to 10 Hz as NAVSIM's MetricCacheProcessor does.

    Between an object's first and last annotation, centre, heading (the short way round) and
    velocity are linear in time, also over frames that miss it; before and after it is absent.
    Its size is that of the first annotation. Two more rules are NAVSIM's, not common sense: an
    object annotated once stands at that place for all 5 s, and what is no agent has no velocity.

    Args:
        traffic: annotations now and at ten frames after it or more, in the ego frame of `pose`.
        pose: (3,) global pose of the ego now.
        token: of the window, for messages.

    Raises:
        DataError: an object comes twice in a frame, changes its type, or is of an unknown one.
    """
    rows = np.flatnonzero(traffic.step <= _FRAMES)
    names, first, owner = np.unique(traffic.track[rows], return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    parts = [_track(traffic, rows[owner == name], token) for name in order]
    names = names[order]
    local = np.array([box for _, box, _, _ in parts]).reshape(-1, TRACK_STATES, 5)
    moved = np.array([velocity for _, _, velocity, _ in parts]).reshape(-1, TRACK_STATES, 2)
    boxes = np.concatenate([to_global(local[..., :3], pose), local[..., 3:]], axis=-1)
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    present = np.array([here for _, _, _, here in parts], np.bool_).reshape(-1, TRACK_STATES)
    return Tracks(
        tokens=tuple(str(name) for name in names),
        types=tuple(kind for kind, _, _, _ in parts),
        boxes=boxes,
        velocities=moved @ np.array([[cos, sin], [-sin, cos]]),
        present=present,
    )


def _track(
    traffic: Traffic, rows: NDArray[np.int64], token: str
) -> tuple[TrackType, Floats, Floats, NDArray[np.bool_]]:
    """Return type, (51, 5) local boxes, (51, 2) local velocities and presence of one object."""
    steps, kind = traffic.step[rows], str(traffic.kind[rows[0]])
    where = f"track `{traffic.track[rows[0]]}` of window `{token}`"
    if kind not in _TYPES:
        raise DataError(f"{where} is of the type `{kind}`", hint=f"legal: {', '.join(_TYPES)}")
    if len(set(steps.tolist())) < len(steps) or np.any(traffic.kind[rows] != kind):
        raise DataError(f"{where} comes twice in a frame, or changes its type")
    order = np.argsort(steps)
    rows, frames = rows[order], steps[order] * _PER_FRAME
    now = np.arange(TRACK_STATES)
    box = traffic.box[rows]  # x, y, length, width, heading
    moving = traffic.velocity[rows] * (kind in _AGENTS)
    columns = [box[:, 0], box[:, 1], np.unwrap(box[:, 4]), moving[:, 0], moving[:, 1]]
    x, y, heading, vx, vy = (np.interp(now, frames, column) for column in columns)
    size = np.broadcast_to(box[0, 2:4], (TRACK_STATES, 2))
    boxes = np.column_stack([x, y, wrap(heading), size])
    once = len(rows) == 1
    here = np.full(TRACK_STATES, once) | ((now >= frames[0]) & (now <= frames[-1]))
    return kind, boxes, np.column_stack([vx, vy]), here  # type: ignore[return-value]
