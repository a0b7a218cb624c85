"""Tracks of a metric cache: 51 maps of outlines at 0.1 s, and each object as first seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import shapely

from experiments.data.errors import DataError
from experiments.data.frames import Floats
from experiments.scoring.pdm.metric_cache_fields import (
    argument,
    attribute,
    number,
    stand_in,
    vector,
)
from experiments.scoring.pdm.metric_cache_pickle import StandIn
from experiments.scoring.pdm.scene import STEP_S, TRACK_STATES, Tracks
from experiments.scoring.pdm.scene_types import TrackType

_TYPES: tuple[TrackType, ...] = get_args(TrackType)
"""In the order of nuPlan's TrackedObjectType, whose members are pickled by their number."""
_SIZE_ATOL_M = 1e-3


def tracks_of(observation: StandIn) -> Tracks:
    """Return the tracks of a PDMObservation, in the order in which the devkit first met them.

    A cache keeps an object's velocity only as first seen; it stands at every instant. The score
    asks for no other: an object counts as stopped if it stood when first seen.

    Raises:
        DataError: another sampling, an outline that is not the object's box, an object without
            a description.
    """
    _require_sampling(observation)
    objects = attribute(observation, "_unique_objects")
    ignored = attribute(observation, "_red_light_token")
    if not isinstance(objects, Mapping) or not isinstance(ignored, str):
        raise DataError("the observation's objects are not a table")
    tokens = tuple(objects)
    rows = {token: row for row, token in enumerate(tokens)}
    known = [_description(token, objects[token]) for token in tokens]
    boxes = np.zeros((len(tokens), TRACK_STATES, 5))
    present = np.zeros((len(tokens), TRACK_STATES), np.bool_)
    sizes = np.array([size for _, size, _ in known], np.float64).reshape(-1, 2)
    for step, (names, outlines) in enumerate(_maps(observation, ignored)):
        unknown = [name for name in names if name not in rows]
        if unknown:
            raise DataError(f"track `{unknown[0]}` at step {step} is not described")
        places = [rows[name] for name in names]
        if len(set(places)) < len(places):
            raise DataError(f"a track comes twice at step {step}")
        boxes[places, step] = _boxes(names, outlines, sizes[places])
        present[places, step] = True
    first = np.array([velocity for _, _, velocity in known], np.float64).reshape(-1, 1, 2)
    return Tracks(
        tokens=tokens,
        types=tuple(kind for kind, _, _ in known),
        boxes=boxes,
        velocities=np.where(present[..., None], first, 0.0),
        present=present,
    )


def _require_sampling(observation: StandIn) -> None:
    interval = number(attribute(observation, "_sample_interval"), "_sample_interval")
    every = attribute(observation, "_observation_sample_res")
    maps = attribute(observation, "_occupancy_maps")
    count = len(maps) if isinstance(maps, list) else 0
    if abs(interval - STEP_S) > 1e-9 or every != 1 or count != TRACK_STATES:
        raise DataError(
            f"tracks are sampled {count} times, each {every} x {interval:g} s",
            hint=f"v1.1 of the score needs {TRACK_STATES} instants at {STEP_S} s",
        )
    collided = attribute(observation, "_collided_track_ids")
    if collided:
        raise DataError(f"tracks are marked as hit before: {list(collided)[:3]}")


def _description(token: object, thing: object) -> tuple[TrackType, tuple[float, float], Floats]:
    """Return type, (length, width) [m] and global velocity [m/s] of an object."""
    if not isinstance(token, str):
        raise DataError(f"a track is called {token!r}, which is not text")
    tracked = stand_in(thing, "Agent", "StaticObject")
    code = argument(stand_in(attribute(tracked, "_tracked_object_type"), "TrackedObjectType"), 0)
    if not isinstance(code, int) or not 0 <= code < len(_TYPES):
        raise DataError(f"track `{token}` is of the unknown type {code!r}")
    box = stand_in(attribute(tracked, "_box"), "OrientedBox")
    length, width = (number(attribute(box, name), name) for name in ("_length", "_width"))
    name = "_velocity" if type(tracked).__name__ == "Agent" else "velocity"
    return _TYPES[code], (length, width), vector(attribute(tracked, name))


def _maps(observation: StandIn, ignored: str) -> list[tuple[list[str], list[Any]]]:
    """Return tokens and outlines of every instant; red lights, which the score skips, left out."""
    found = []
    for thing in attribute(observation, "_occupancy_maps"):
        occupancy = stand_in(thing, "PDMOccupancyMap")
        names, outlines = list(argument(occupancy, 0)), list(argument(occupancy, 1))
        if len(names) != len(outlines):
            raise DataError(f"{len(names)} tracks have {len(outlines)} outlines")
        kept = [n for n, name in enumerate(names) if ignored not in str(name)]
        found.append(([names[n] for n in kept], [outlines[n] for n in kept]))
    return found


def _boxes(names: list[str], outlines: list[Any], sizes: Floats) -> Floats:
    """Return the (n, 5) boxes of outlines front left, rear left, rear right, front right."""
    for name, outline in zip(names, outlines, strict=True):
        if not isinstance(outline, shapely.Polygon) or len(outline.exterior.coords) != 5:
            raise DataError(f"the outline of track `{name}` is not of four corners")
    corners = shapely.get_coordinates(outlines).reshape(-1, 5, 2)[:, :4]
    front, rear = corners[:, [0, 3]].mean(axis=1), corners[:, [1, 2]].mean(axis=1)
    ahead, aside = front - rear, (corners[:, 0] - corners[:, 3])
    found = np.stack([np.hypot(*ahead.T), np.hypot(*aside.T)], axis=-1)
    off = np.abs(found - sizes).max(axis=1, initial=0.0)
    if len(off) and not off.max() <= _SIZE_ATOL_M:
        worst = int(np.argmax(off))
        raise DataError(
            f"the outline of track `{names[worst]}` is {found[worst][0]:g} x {found[worst][1]:g} m,"
            f" its box {sizes[worst][0]:g} x {sizes[worst][1]:g} m"
        )
    heading = np.arctan2(ahead[:, 1], ahead[:, 0])
    return np.concatenate([(front + rear) / 2, heading[:, None], sizes], axis=1)
