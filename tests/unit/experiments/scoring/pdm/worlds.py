"""Scenes of the scorer's tests: a straight road made to measure, and recorded official values."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.scoring.pdm.scene import EgoState, MapPolygon, SceneMetrics, Tracks

GOLDEN = Path(__file__).parents[4] / "golden"
Floats = NDArray[np.float64]


def dev_scenes() -> list[dict[str, Any]]:
    """40 random scenes with the official values of their plan."""
    with gzip.open(GOLDEN / "pdm_dev_scenes.json.gz") as file:
        scenes: list[dict[str, Any]] = json.load(file)
    return scenes


def straight(speed_mps: float, poses: int = 8, interval_s: float = 0.5) -> Floats:
    """A plan straight ahead."""
    plan = np.zeros((poses, 3))
    plan[:, 0] = speed_mps * interval_s * np.arange(1, poses + 1)
    return plan


def varied(plan: Floats, count: int, seed: int) -> Floats:
    """Plans around one: slower and faster, turned, bent."""
    draws = np.random.default_rng(seed)
    plans = plan[None] * [1, 1, 0] * draws.uniform(0, 2, (count, 1, 1)) + plan * [0, 0, 1]
    turn = draws.normal(0, 0.12, (count, 1))
    cos, sin = np.cos(turn), np.sin(turn)
    x, y = plans[..., 0].copy(), plans[..., 1].copy()
    plans[..., 0], plans[..., 1] = cos * x - sin * y, sin * x + cos * y
    plans[..., 2] += turn + np.linspace(0, 1, 8) * draws.normal(0, 0.3, (count, 1))
    return plans


def rectangle(id: str, layer: Any, x: tuple[float, float], y: tuple[float, float]) -> MapPolygon:
    """An axis-aligned polygon."""
    ring = np.array([[x[1], y[0]], [x[1], y[1]], [x[0], y[1]], [x[0], y[0]]], np.float64)
    return MapPolygon(id=id, layer=layer, ring=ring)


def tracks(*moving: dict[str, Any]) -> Tracks:
    """Tracks of constant velocity; `x`, `y`, `vx`, `vy`, `type`, `size`, `from_step`, `to_step`."""
    count, times = len(moving), 0.1 * np.arange(51)
    boxes, velocities = np.zeros((count, 51, 5)), np.zeros((count, 51, 2))
    present = np.zeros((count, 51), bool)
    for row, one in enumerate(moving):
        velocity = one.get("vx", 0.0), one.get("vy", 0.0)
        boxes[row, :, 0] = one["x"] + velocity[0] * times
        boxes[row, :, 1] = one["y"] + velocity[1] * times
        boxes[row, :, 2] = one.get("heading", 0.0)
        boxes[row, :, 3:] = one.get("size", (4.5, 2.0))
        velocities[row] = velocity
        present[row, one.get("from_step", 0) : one.get("to_step", 51)] = True
    boxes[~present], velocities[~present] = np.nan, np.nan
    return Tracks(
        tokens=tuple(f"track{row}" for row in range(count)),
        types=tuple(one.get("type", "vehicle") for one in moving),
        boxes=boxes,
        velocities=velocities,
        present=present,
    )


def ego_at_origin(speed_mps: float) -> EgoState:
    """An ego that drives along x, steadily and straight."""
    return EgoState(
        pose=np.zeros(3),
        velocity=np.array([speed_mps, 0.0]),
        acceleration=np.zeros(2),
        steering_angle=0.0,
    )


def road(
    *moving: dict[str, Any],
    speed_mps: float = 10.0,
    polygons: tuple[MapPolygon, ...] | None = None,
    **changes: Any,
) -> SceneMetrics:
    """The straight road of the golden cases: the ego's lane and an oncoming one to its left."""
    reference = np.zeros((41, 3))
    reference[:, 0] = 10.0 * 0.1 * np.arange(41)
    x = np.arange(-20.0, 140.0)
    scene = SceneMetrics(
        token="road",
        ego=ego_at_origin(speed_mps),
        polygons=(
            rectangle("block", "roadblock", (-50, 150), (-1.75, 5.25)),
            rectangle("own", "lane", (-50, 150), (-1.75, 1.75)),
            rectangle("oncoming", "lane", (-50, 150), (1.75, 5.25)),
        )
        if polygons is None
        else polygons,
        route_lane_ids=frozenset({"own"}),
        centerline=np.stack([x, 0 * x, 0 * x], axis=-1),
        tracks=tracks(*moving),
        reference=reference,
    )
    return dataclasses.replace(scene, **changes)


def moved(scene: SceneMetrics, turn_rad: float, shift: tuple[float, float]) -> SceneMetrics:
    """The same scene somewhere else on earth."""

    def poses(values: Floats, heading: int | None) -> Floats:
        result = values.copy()
        cos, sin = np.cos(turn_rad), np.sin(turn_rad)
        result[..., 0] = cos * values[..., 0] - sin * values[..., 1] + shift[0]
        result[..., 1] = sin * values[..., 0] + cos * values[..., 1] + shift[1]
        if heading is not None:
            result[..., heading] = (values[..., heading] + turn_rad + np.pi) % (2 * np.pi) - np.pi
        return result

    return dataclasses.replace(
        scene,
        ego=dataclasses.replace(scene.ego, pose=poses(scene.ego.pose, 2)),
        polygons=tuple(
            dataclasses.replace(polygon, ring=poses(polygon.ring, None))
            for polygon in scene.polygons
        ),
        centerline=poses(scene.centerline, 2),
        tracks=dataclasses.replace(scene.tracks, boxes=poses(scene.tracks.boxes, 2)),
        reference=poses(scene.reference, 2),
    )
