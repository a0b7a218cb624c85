"""Scenes with a plan as JSON, a neutral form for tests, examples and other programs.

A scene is an object with `id`; `ego` (`pose` [x, y, heading] of the rear axle, `vx`, `ax`,
`steering_angle`); `map`, objects with `id`, `layer` and `polygon` [[x, y], ...]; `route_lane_ids`;
`centerline` [[x, y, heading], ...]; `tracks`, objects with `token`, `type`, `x`, `y`, `heading`,
`vx`, `vy`, `length` and `width` now, which keep velocity and heading for 5 s; `reference` and
`plan`, 8 poses at 0.5 s in the ego frame. The rest is global; metres, seconds, radians.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from experiments.data.errors import DataError
from experiments.data.frames import Floats
from experiments.scoring.pdm.plans import dense
from experiments.scoring.pdm.scene import (
    STEP_S,
    TRACK_STATES,
    EgoState,
    MapPolygon,
    SceneMetrics,
    Tracks,
)
from experiments.scoring.pdm.scene_types import Layer, TrackType
from experiments.settings import POSE_INTERVAL_S, POSES

_TRACK_NUMBERS = ("x", "y", "heading", "vx", "vy", "length", "width")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A scene and the plan to score in it."""

    id: object
    """As in the JSON, whatever it is."""
    scene: SceneMetrics
    plan: Floats
    """(8, 3) in the ego frame."""


def parse(value: object, where: str = "the scene") -> Request:
    """Read one scene from its decoded JSON.

    Args:
        value: what JSON decoded to.
        where: how messages call it as long as its id is not known.

    Raises:
        DataError: a key is missing or a value is not what it should be.
    """
    reader = _Reader(value, where)
    name = reader.value("id")
    reader = _Reader(value, f"scene `{name}`")
    ego = _ego(reader.child("ego"))
    scene = SceneMetrics(
        token=str(name),
        ego=ego,
        polygons=tuple(_polygon(child) for child in reader.children("map")),
        route_lane_ids=frozenset(reader.texts("route_lane_ids")),
        centerline=reader.array("centerline", (None, 3)),
        tracks=_tracks(reader.children("tracks")),
        reference=_reference(reader.array("reference", (POSES, 3)), ego),
    )
    return Request(id=name, scene=scene, plan=reader.array("plan", (POSES, 3)))


class _Reader:
    """Takes values out of a JSON object and says where a wrong one is."""

    def __init__(self, value: object, where: str) -> None:
        self.where = where
        if not isinstance(value, Mapping):
            raise DataError(f"{where} is {_shown(value)}", hint="wanted an object")
        self._content = value

    def value(self, key: str) -> object:
        if key not in self._content:
            raise DataError(
                f"{self.where} has no `{key}`",
                hint=f"it has {', '.join(map(str, self._content)) or 'nothing'}",
            )
        return self._content[key]

    def text(self, key: str) -> str:
        return self._name(key, self.value(key))

    def texts(self, key: str) -> list[str]:
        return [self._name(key, value) for value in self._list(key)]

    def number(self, key: str) -> float:
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DataError(f"{self.where}: `{key}` is {_shown(value)}", hint="wanted a number")
        if not np.isfinite(value):
            raise DataError(f"{self.where}: `{key}` is {value}", hint="must be finite")
        return float(value)

    def array(self, key: str, shape: tuple[int | None, ...]) -> Floats:
        wanted = " x ".join("N" if size is None else str(size) for size in shape)
        try:
            array = np.asarray(self.value(key))
        except ValueError:  # rows of different lengths
            array = np.empty(0, object)
        fits = array.ndim == len(shape) and all(
            want in (None, have) for have, want in zip(array.shape, shape, strict=True)
        )
        if not fits or array.dtype.kind not in "iuf":
            raise DataError(
                f"{self.where}: `{key}` is {_shown(self.value(key))}",
                hint=f"wanted {wanted} numbers",
            )
        result = array.astype(np.float64)
        if not np.isfinite(result).all():
            raise DataError(f"{self.where}: `{key}` has a number that is not finite")
        return result

    def child(self, key: str) -> _Reader:
        return _Reader(self.value(key), f"{self.where}, `{key}`")

    def children(self, key: str) -> list[_Reader]:
        return [
            _Reader(value, f"{self.where}, `{key}[{index}]`")
            for index, value in enumerate(self._list(key))
        ]

    def _name(self, key: str, value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise DataError(
                f"{self.where}: `{key}` is {_shown(value)}", hint="wanted a text or a whole number"
            )
        return str(value)

    def _list(self, key: str) -> list[object]:
        value = self.value(key)
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise DataError(f"{self.where}: `{key}` is {_shown(value)}", hint="wanted a list")
        return list(value)


def _ego(reader: _Reader) -> EgoState:
    return EgoState(
        pose=reader.array("pose", (3,)),
        velocity=np.array([reader.number("vx"), 0.0]),
        acceleration=np.array([reader.number("ax"), 0.0]),
        steering_angle=reader.number("steering_angle"),
    )


def _polygon(reader: _Reader) -> MapPolygon:
    return MapPolygon(
        id=reader.text("id"),
        layer=cast("Layer", reader.text("layer")),
        ring=_open(reader.array("polygon", (None, 2))),
    )


def _open(ring: Floats) -> Floats:
    closed = len(ring) > 1 and bool((ring[0] == ring[-1]).all())
    return ring[:-1] if closed else ring


def _tracks(readers: list[_Reader]) -> Tracks:
    """Return the tracks, each present in all states with its velocity and heading of now."""
    numbers = np.array([[reader.number(key) for key in _TRACK_NUMBERS] for reader in readers])
    x, y, heading, vx, vy, length, width = numbers.reshape(-1, len(_TRACK_NUMBERS)).T[..., None]
    times = STEP_S * np.arange(TRACK_STATES)
    columns = x + vx * times, y + vy * times, heading, length, width
    boxes = np.stack(np.broadcast_arrays(*columns), axis=-1)
    velocities = np.stack(np.broadcast_arrays(vx, vy, times)[:2], axis=-1)
    return Tracks(
        tokens=tuple(reader.text("token") for reader in readers),
        types=tuple(cast("TrackType", reader.text("type")) for reader in readers),
        boxes=boxes,
        velocities=velocities,
        present=np.ones((len(readers), TRACK_STATES), bool),
    )


def _reference(poses: Floats, ego: EgoState) -> Floats:
    """Return (41, 3) global poses of the (8, 3) plan of PDM-Closed in the ego frame."""
    centred = dense(torch.from_numpy(poses)[None], ego, POSE_INTERVAL_S)[:, 0].numpy()
    origin = np.array([*ego.pose[:2], 0.0])
    return np.asarray(centred + origin, np.float64)


def _shown(value: Any) -> str:
    text = repr(value)
    return f"`{text}`" if len(text) <= 40 else f"`{text[:37]}...`"
