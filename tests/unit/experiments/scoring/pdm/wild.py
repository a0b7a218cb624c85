"""Scenes as untidy as they come: any pose, bent roads, car parks, tracks that come and go."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import numpy as np

from experiments.scoring.pdm.scene import EgoState, MapPolygon, SceneMetrics, Tracks
from experiments.scoring.pdm.scene_types import TrackType
from tests.unit.experiments.scoring.pdm.worlds import Floats, moved, varied

KINDS = ("driving", "standing", "parking", "zeros", "backwards")
_TYPES = get_args(TrackType)


def wild_scene(seed: int, kind: str, place_m: float = 2e5) -> SceneMetrics:
    """A scene at a random pose up to `place_m` from the origin of the map."""
    draws = np.random.default_rng([seed, KINDS.index(kind)])
    speed = 0.0 if kind in ("standing", "zeros") else draws.uniform(0.5, 13.0)
    bend = draws.normal(0, 0.01)
    ego = EgoState(
        pose=np.zeros(3),
        velocity=np.array([speed, 0.0]),
        acceleration=np.array([draws.normal(0, 0.5) if speed else 0.0, 0.0]),
        steering_angle=float(np.arctan(3.089 * bend)),
    )
    driven = draws.uniform(3.0, 11.0) * 0.1 * np.arange(41)
    scene = SceneMetrics(
        token=f"{kind}-{seed}",
        ego=ego,
        polygons=_map(draws, bend, kind),
        route_lane_ids=frozenset({"own"}) if draws.random() < 0.8 else frozenset(),
        centerline=_arc(bend, np.arange(-20.0, 90.0, 2.0)),
        tracks=_tracks(draws, int(draws.integers(0, 9))),
        reference=_arc(bend, driven),
    )
    turn, shift = draws.uniform(-np.pi, np.pi), draws.uniform(-place_m, place_m, 2)
    return moved(scene, turn, (float(shift[0]), float(shift[1])))


def wild_plans(scene: SceneMetrics, kind: str, count: int) -> Floats:
    """(P, 8, 3) plans that suit the kind; those that stand and go backwards are exact."""
    if kind == "zeros":
        return np.zeros((1, 8, 3))
    speed = max(float(scene.ego.velocity[0]), 2.0)
    plan = np.zeros((8, 3))
    plan[:, 0] = speed * 0.5 * np.arange(1, 9) * (-0.4 if kind == "backwards" else 1.0)
    return varied(plan, count, seed=len(scene.tracks.tokens))


def with_tracks(scene: SceneMetrics, rows: Any, **changes: Any) -> SceneMetrics:
    """The scene with these rows of its tracks, in this order."""
    tracks = scene.tracks
    chosen: dict[str, Any] = {
        "tokens": tuple(f"{tracks.tokens[row]}-{place}" for place, row in enumerate(rows)),
        "types": tuple(tracks.types[row] for row in rows),
        "boxes": tracks.boxes[rows],
        "velocities": tracks.velocities[rows],
        "present": tracks.present[rows],
    }
    return dataclasses.replace(scene, tracks=dataclasses.replace(tracks, **chosen | changes))


def _arc(bend: float, way: Floats) -> Floats:
    """Poses along an arc through the origin."""
    heading = bend * way
    straight = np.abs(bend) < 1e-9
    x = way if straight else np.sin(heading) / bend
    y = 0 * way if straight else (1 - np.cos(heading)) / bend
    return np.stack([x, y, heading], axis=-1)


def _map(draws: np.random.Generator, bend: float, kind: str) -> tuple[MapPolygon, ...]:
    half = draws.uniform(1.6, 2.4)
    found = [
        MapPolygon(id="own", layer="lane", ring=_strip(bend, -half, half)),
        MapPolygon(id="next", layer="lane", ring=_strip(bend, half, 3 * half)),
    ]
    if kind != "parking":
        found.append(MapPolygon(id="block", layer="roadblock", ring=_strip(bend, -half, 3 * half)))
    else:
        found += [
            MapPolygon(id=f"park{n}", layer="carpark", ring=_star(draws, 14.0)) for n in range(3)
        ]
    if draws.random() < 0.5:
        crossing = np.array([[12.0, -20], [26, -22], [28, 20], [11, 21]])
        found += [
            MapPolygon(id="crossing", layer="intersection", ring=crossing),
            MapPolygon(id="turn", layer="lane_connector", ring=crossing * [1.0, 0.3]),
        ]
    return tuple(found)


def _strip(bend: float, right: float, left: float) -> Floats:
    line = _arc(bend, np.arange(-30.0, 80.0, 4.0))
    normal = np.stack([-np.sin(line[:, 2]), np.cos(line[:, 2])], axis=-1)
    return np.concatenate([line[:, :2] + right * normal, (line[:, :2] + left * normal)[::-1]])


def _star(draws: np.random.Generator, reach: float) -> Floats:
    angle = np.sort(draws.uniform(0, 2 * np.pi, 9))
    size = draws.uniform(0.4 * reach, reach, 9)
    ring = np.stack([size * np.cos(angle), size * np.sin(angle)], axis=-1)
    return ring + draws.uniform(-6, 14, 2)


def _tracks(draws: np.random.Generator, count: int) -> Tracks:
    start = draws.uniform([-15, -9], [45, 9], (count, 2))
    velocity = draws.normal(0, 4.0, (count, 2)) * (draws.random((count, 1)) < 0.6)
    times = 0.1 * np.arange(51)
    boxes = np.zeros((count, 51, 5))
    boxes[:, :, :2] = start[:, None] + velocity[:, None] * times[:, None]
    boxes[:, :, 2] = draws.uniform(-np.pi, np.pi, (count, 1))
    boxes[:, :, 3:] = draws.uniform(0.3, [6.0, 2.5], (count, 2))[:, None]
    # The annotations of some are there from late on, or end early, or have a hole.
    present = np.ones((count, 51), bool)
    for row, (first, last) in enumerate(np.sort(draws.integers(0, 51, (count, 2)), axis=1)):
        if draws.random() < 0.5:
            present[row] = (np.arange(51) >= first) & (np.arange(51) <= last)
        elif last - first < 40:
            present[row, first:last] = False
    velocities = np.repeat(velocity[:, None], 51, axis=1)
    boxes[~present], velocities[~present] = np.nan, np.nan
    return Tracks(
        tokens=tuple(f"track{row}" for row in range(count)),
        types=tuple(_TYPES[kind] for kind in draws.integers(0, len(_TYPES), count)),
        boxes=boxes,
        velocities=velocities,
        present=present,
    )
