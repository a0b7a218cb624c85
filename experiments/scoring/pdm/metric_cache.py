"""Scenes out of NAVSIM v1.1's metric caches, files that only the official packages can unpickle.

What a cache holds is what the official scorer reads, so scenes of caches are NAVSIM's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.errors import DataError
from experiments.data.frames import Floats, wrap
from experiments.scoring.pdm.metric_cache_fields import (
    argument,
    attribute,
    number,
    pose,
    rear_axle,
    ring,
    stand_in,
    time_us,
    vector,
)
from experiments.scoring.pdm.metric_cache_pickle import StandIn, read_pickle
from experiments.scoring.pdm.metric_cache_tracks import tracks_of
from experiments.scoring.pdm.scene import PLAN_STATES, STEP_S, EgoState, MapPolygon, SceneMetrics
from experiments.scoring.pdm.scene_types import Layer

_LAYERS: dict[int, Layer] = {
    0: "lane",
    1: "intersection",
    5: "drivable_area",
    11: "lane_connector",
    15: "carpark",
    17: "roadblock",
}
"""Of nuPlan's SemanticMapLayer, whose members are pickled by their number."""
_SECOND_US = 1_000_000


def read_metric_cache(path: Path) -> SceneMetrics:
    """Read the scene of one `<log>/<scenario type>/<token>/metric_cache.pkl`.

    Raises:
        DataError: the file is missing, torn, is no metric cache of v1.1, is that of another
            token than its folder says, or holds an impossible scene.
    """
    token = path.parent.name
    cache = read_pickle(path)
    try:
        _require_token(cache, token)
        return _scene(cache, token)
    except DataError as error:
        raise DataError(f"metric cache `{path}`: {error.message}", hint=error.hint) from error
    except (ValueError, TypeError, IndexError) as error:
        raise DataError(f"metric cache `{path}` has another form: {error!r}") from error


def _require_token(cache: StandIn, token: str) -> None:
    """Refuse a cache that was copied to the folder of another scene."""
    written = attribute(cache, "file_path")
    parts = written.args if isinstance(written, StandIn) else str(written).split("/")
    if len(parts) < 2 or parts[-2] != token:
        raise DataError(
            f"it was written as `{'/'.join(map(str, parts))}`, not for the token `{token}`",
            hint="caches lie in <log>/<scenario type>/<token>/metric_cache.pkl",
        )


def _scene(cache: StandIn, token: str) -> SceneMetrics:
    ego = stand_in(attribute(cache, "ego_state"), "EgoState")
    path = stand_in(attribute(cache, "centerline"), "PDMPath")
    observation = stand_in(attribute(cache, "observation"), "PDMObservation")
    return SceneMetrics(
        token=token,
        ego=_ego(ego),
        polygons=_polygons(stand_in(attribute(cache, "drivable_area_map"), "PDMDrivableMap")),
        route_lane_ids=frozenset(_text(entry) for entry in attribute(cache, "route_lane_ids")),
        centerline=np.array([pose(entry) for entry in argument(path, 0)]).reshape(-1, 3),
        tracks=tracks_of(observation),
        reference=_reference(attribute(cache, "trajectory"), time_us(ego)),
    )


def _ego(ego: StandIn) -> EgoState:
    moving = stand_in(attribute(ego, "_dynamic_car_state"), "DynamicCarState")
    steering = attribute(ego, "_tire_steering_angle")
    return EgoState(
        pose=rear_axle(ego),
        velocity=vector(attribute(moving, "_rear_axle_velocity_2d")),
        acceleration=vector(attribute(moving, "_rear_axle_acceleration_2d")),
        steering_angle=number(steering, "_tire_steering_angle"),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        # The scorer compares ids of lanes: a number among them would silently match nothing.
        raise DataError(f"an id of the map is {value!r}, not text")
    return value


def _polygons(area: StandIn) -> tuple[MapPolygon, ...]:
    ids, layers, outlines = (list(argument(area, place)) for place in range(3))
    return tuple(
        MapPolygon(id=_text(name), layer=_layer(name, kind), ring=ring(shape, f"polygon `{name}`"))
        for name, kind, shape in zip(ids, layers, outlines, strict=True)
    )


def _layer(name: str, thing: object) -> Layer:
    code: Any = argument(stand_in(thing, "SemanticMapLayer"), 0)
    if code not in _LAYERS:
        raise DataError(
            f"polygon `{name}` is of nuPlan's map layer {code!r}",
            hint=f"layers of a metric cache: {_LAYERS}",
        )
    return _LAYERS[code]


def _reference(trajectory: object, start_us: int) -> Floats:
    """Sample the plan of PDM-Closed as the devkit's `get_trajectory_as_array` does.

    Instants are whole microseconds, cut off and not rounded; between states, x and y are
    interpolated linearly, and headings the short way round.
    """
    states = argument(stand_in(trajectory, "InterpolatedTrajectory"), 0)
    egos = [stand_in(state, "EgoState") for state in states]
    times = np.array([time_us(ego) for ego in egos], np.int64)
    horizon_us = round((PLAN_STATES - 1) * STEP_S * _SECOND_US)
    if len(times) < 2 or np.any(np.diff(times) <= 0) or times[0] != start_us:
        raise DataError("the plan of PDM-Closed does not start with the ego, or has no order")
    if times[-1] < start_us + horizon_us - 1000:
        seconds = (times[-1] - start_us) / _SECOND_US
        raise DataError(f"the plan of PDM-Closed ends after {seconds:g} s, before 4 s")
    poses = np.array([rear_axle(ego) for ego in egos])
    # Seconds since 1970 resolve a quarter of a microsecond: their order of summing counts.
    seconds = np.arange(PLAN_STATES) * STEP_S + start_us * 1e-6
    asked = np.clip((seconds * 1e6).astype(np.int64), times[0], times[-1])
    headings = np.unwrap(poses[:, 2])
    # Relative times: microseconds since 1970 are at the edge of what a float holds exactly.
    since, at = (times - start_us).astype(np.float64), (asked - start_us).astype(np.float64)
    x, y, heading = (np.interp(at, since, row) for row in (poses[:, 0], poses[:, 1], headings))
    return np.stack([x, y, wrap(heading)], axis=-1)
