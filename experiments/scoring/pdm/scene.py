"""All that the PDM score needs to know of a scene, wherever it comes from.

Units are metres, seconds and radians. Poses are (x, y, heading) of the ego's rear axle, boxes
(centre x, centre y, heading, length, width); both in the global frame, right-handed, x east.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from experiments.data.errors import DataError
from experiments.data.frames import Floats
from experiments.scoring.pdm.scene_types import Bools, Layer, TrackType

STEP_S = 0.1
PLAN_STATES = 41
"""Instants from 0 to 4 s, what plans are judged by."""
TRACK_STATES = 51
"""Instants from 0 to 5 s: the time to collision looks 0.9 s beyond a state."""
LAYERS = get_args(Layer)
TRACK_TYPES = get_args(TrackType)
_CORNERS = 3
"""The least of a ring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EgoState:
    """The ego at the instant of planning."""

    pose: Floats
    """(3,) of the rear axle."""
    velocity: Floats
    """(2,) [m/s] at the rear axle in the ego frame."""
    acceleration: Floats
    """(2,) [m/s^2] at the rear axle in the ego frame."""
    steering_angle: float
    """[rad] of the wheels, left positive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPolygon:
    """An area of the map."""

    id: str
    layer: Layer
    ring: Floats
    """(V, 2) corners, the first one not repeated at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """Where T other road users and things are at the 51 instants.

    Their order is part of the scene: the official scorer looks at them in this order.
    """

    tokens: tuple[str, ...]
    types: tuple[TrackType, ...]
    boxes: Floats
    """(T, 51, 5); not read where absent."""
    velocities: Floats
    """(T, 51, 2) [m/s] in the global frame; not read where absent."""
    present: Bools
    """(T, 51)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneMetrics:
    """A scene as the PDM score sees it; complete and possible, or there is none.

    Raises:
        DataError: values that are not finite or have another shape, a ring of fewer than three
            distinct points, a centreline of fewer than two, a layer or type that is not known,
            a track without a size or that is never present, a track that comes twice.
    """

    token: str
    ego: EgoState
    polygons: tuple[MapPolygon, ...]
    route_lane_ids: frozenset[str]
    centerline: Floats
    """(P, 3) of the route that PDM-Closed follows; its length along x, y measures progress."""
    tracks: Tracks
    reference: Floats
    """(41, 3) plan of PDM-Closed at 0.1 s, the first its present pose."""

    def __post_init__(self) -> None:
        """Check everything."""
        self._check_ego()
        self._check_map()
        self._check_tracks()
        self._finite("reference", self.reference, (PLAN_STATES, 3))

    def _check_ego(self) -> None:
        self._finite("ego.pose", self.ego.pose, (3,))
        self._finite("ego.velocity", self.ego.velocity, (2,))
        self._finite("ego.acceleration", self.ego.acceleration, (2,))
        self._finite("ego.steering_angle", np.asarray(self.ego.steering_angle), ())

    def _check_map(self) -> None:
        if not self.polygons:
            raise self._error("there are no polygons", "a scene without a map cannot be scored")
        for polygon in self.polygons:
            self._known(f"polygon `{polygon.id}`", "layer", polygon.layer, LAYERS)
        if not _are_rings([polygon.ring for polygon in self.polygons]):
            self._name_first_bad_ring()
        self._finite("centerline", self.centerline, (None, 3))
        if not (self.centerline[1:, :2] != self.centerline[:-1, :2]).any():
            distinct = min(len(self.centerline), 1)
            raise self._error(f"centerline has {distinct} distinct points", "the least is 2")

    def _name_first_bad_ring(self) -> None:
        for polygon in self.polygons:
            where = f"polygon `{polygon.id}`"
            self._finite(where, polygon.ring, (None, 2))
            distinct = len(np.unique(polygon.ring, axis=0))
            if distinct < _CORNERS:
                raise self._error(f"{where} has {distinct} distinct points", "the least is 3")

    def _check_tracks(self) -> None:
        tracks, count = self.tracks, len(self.tracks.tokens)
        twice = {token for token in tracks.tokens if tracks.tokens.count(token) > 1}
        if twice:
            raise self._error(f"track `{min(twice)}` comes twice", "tokens must differ")
        if len(tracks.types) != count:
            raise self._error(f"{count} tracks have {len(tracks.types)} types", "one each")
        present = tracks.present
        if present.dtype != bool or present.shape != (count, TRACK_STATES):
            raise self._error(
                f"tracks.present is {present.dtype} {present.shape}",
                f"wanted bool {(count, TRACK_STATES)}",
            )
        self._shape("tracks.boxes", tracks.boxes, (count, TRACK_STATES, 5))
        self._shape("tracks.velocities", tracks.velocities, (count, TRACK_STATES, 2))
        for row, token in enumerate(tracks.tokens):
            self._check_track(row, f"track `{token}`")

    def _check_track(self, row: int, where: str) -> None:
        tracks, here = self.tracks, self.tracks.present[row]
        self._known(where, "type", tracks.types[row], TRACK_TYPES)
        if not here.any():
            raise self._error(f"{where} is never present", "leave it out")
        boxes = tracks.boxes[row, here]
        self._finite(f"{where} (boxes)", boxes, (None, 5))
        self._finite(f"{where} (velocities)", tracks.velocities[row, here], (None, 2))
        if not (boxes[:, 3:] > 0).all():
            raise self._error(
                f"{where} is {boxes[:, 3].min():g} m long and {boxes[:, 4].min():g} m wide",
                "both must be above 0",
            )

    def _finite(self, where: str, values: Floats, shape: tuple[int | None, ...]) -> None:
        self._shape(where, values, shape)
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise self._error(f"{where} has the value {values.flat[bad[0]]}", "must be finite")

    def _shape(self, where: str, values: Floats, shape: tuple[int | None, ...]) -> None:
        fits = len(values.shape) == len(shape) and all(
            want in (None, have) for have, want in zip(values.shape, shape, strict=True)
        )
        if not fits or values.dtype != np.float64:
            wanted = ", ".join("N" if size is None else str(size) for size in shape)
            raise self._error(
                f"{where} is {values.dtype} of shape {values.shape}", f"wanted float64 ({wanted})"
            )

    def _known(self, where: str, what: str, value: str, legal: tuple[str, ...]) -> None:
        if value not in legal:
            raise self._error(f"{where} has the {what} `{value}`", f"legal: {', '.join(legal)}")

    def _error(self, message: str, hint: str) -> DataError:
        return DataError(f"scene `{self.token}`: {message}", hint=hint)


def _are_rings(rings: list[Floats]) -> bool:
    """Whether all are finite (V, 2) float64 with three distinct points: all rings at once."""
    for ring in rings:
        if ring.dtype != np.float64 or ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < _CORNERS:
            return False
    points = np.concatenate(rings)
    lengths = np.array([len(ring) for ring in rings])
    starts = np.cumsum(lengths) - lengths
    other = (points != np.repeat(points[starts], lengths, axis=0)).any(axis=1)
    # The first point of each ring that is not its first one; past the end where there is none.
    places = np.where(other, np.arange(len(points)), len(points) - 1)
    second = points[np.minimum.reduceat(places, starts)]
    third = other & (points != np.repeat(second, lengths, axis=0)).any(axis=1)
    return bool(np.isfinite(points).all() and np.logical_or.reduceat(third, starts).all())
