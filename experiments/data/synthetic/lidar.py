"""A spinning LiDAR: rays cast against the ground and the boxes of all things.

Rays share azimuths, so each azimuth is cut once with every box seen from above; the beams of
that azimuth then take the nearest box whose height they meet.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from experiments.data.frames import Floats
from experiments.data.pcd import POINT
from experiments.data.synthetic.mesh import Mesh

_SENSOR = (1.1, 0.0, 1.9)
"""Position in the ego frame [m]."""
_NUM_AZIMUTHS = 300
_ELEVATIONS_DEG = (-17.0, -12.0, -8.5, -6.0, -4.2, -2.8, -1.6, -0.6, 0.4, 2.0, 4.5)
_SLOPES = np.round(np.tan(np.radians(_ELEVATIONS_DEG)), 9)
"""Rise of each beam per metre of horizontal distance."""
_RANGE_M = 55.0
_DEPTH = 4
"""How many boxes along an azimuth are considered; nearer ones come first."""
_NOISE_M = 0.02


def _azimuths() -> tuple[Floats, Floats]:
    angles = np.arange(_NUM_AZIMUTHS) * (2 * np.pi / _NUM_AZIMUTHS) + 0.003
    return np.round(np.cos(angles), 9), np.round(np.sin(angles), 9)


_COS, _SIN = (values.astype(np.float32) for values in _azimuths())
_TINY = np.float32(1e-6)


def _boxes(mesh: Mesh, poses: Floats) -> Floats:
    """Return the (B, 8) boxes in the sensor frame: x, y, z, half sizes, height, cos, sin."""
    owner = poses[mesh.box_owner]
    cos, sin = np.round(np.cos(owner[:, 2]), 9), np.round(np.sin(owner[:, 2]), 9)
    x = owner[:, 0] + cos * mesh.boxes[:, 0] - sin * mesh.boxes[:, 1] - _SENSOR[0]
    y = owner[:, 1] + sin * mesh.boxes[:, 0] + cos * mesh.boxes[:, 1] - _SENSOR[1]
    heading = owner[:, 2] + mesh.boxes[:, 6]
    half, height = mesh.boxes[:, 3:5] / 2, mesh.boxes[:, 5]
    low = mesh.boxes[:, 2] - _SENSOR[2]
    turned = np.round(np.cos(heading), 9), np.round(np.sin(heading), 9)
    return np.stack([x, y, low, half[:, 0], half[:, 1], height, *turned], axis=-1)


def _entries(boxes: Floats) -> Floats:
    """Return the (azimuths, B) distances at which rays enter boxes, infinite where they miss."""
    x, y, _, length, width, _, cos, sin = boxes.astype(np.float32).T
    ox, oy = -(cos * x + sin * y), sin * x - cos * y
    dx = cos * _COS[:, None] + sin * _SIN[:, None]
    dy = cos * _SIN[:, None] - sin * _COS[:, None]
    # A ray along a side would divide by zero; it meets the box at its ends as well.
    along_x, along_y = 1 / np.where(dx == 0, _TINY, dx), 1 / np.where(dy == 0, _TINY, dy)
    mid_x, reach_x = -ox * along_x, length * np.abs(along_x)
    mid_y, reach_y = -oy * along_y, width * np.abs(along_y)
    enters = np.maximum(mid_x - reach_x, mid_y - reach_y)
    leaves = np.minimum(mid_x + reach_x, mid_y + reach_y)
    return np.where((enters < leaves) & (enters > 0.5), enters, np.inf).astype(np.float64)


def _distances(boxes: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return (azimuths, beams) horizontal distances to the first hit, and whether it is a box."""
    ground = np.where(_SLOPES < 0, -_SENSOR[2] / np.minimum(_SLOPES, -1e-9), np.inf)
    nearest = np.broadcast_to(ground, (_NUM_AZIMUTHS, len(_SLOPES))).copy()
    solid = np.zeros(nearest.shape, bool)
    if len(boxes) == 0:
        return nearest, solid
    entries = _entries(boxes)
    order = np.argsort(entries, axis=1, kind="stable")[:, :_DEPTH]
    for rank in range(order.shape[1]):
        which = order[:, rank]
        distance = np.take_along_axis(entries, which[:, None], axis=1)
        height = np.where(np.isfinite(distance), distance, 0.0) * _SLOPES
        low, tall = boxes[which, 2, None], boxes[which, 5, None]
        hit = (distance < nearest) & (height >= low) & (height <= low + tall)
        nearest, solid = np.where(hit, distance, nearest), solid | hit
    return nearest, solid


def scan(rng: Generator, mesh: Mesh, poses: Floats) -> NDArray[np.void]:
    """Return the points of one sweep in the ego frame, as records of `POINT`."""
    boxes = _boxes(mesh, poses)
    near = np.hypot(boxes[:, 0], boxes[:, 1]) < _RANGE_M + np.hypot(boxes[:, 3], boxes[:, 4])
    distance, solid = _distances(boxes[near])
    azimuth, beam = np.nonzero(distance < _RANGE_M)
    flat = distance[azimuth, beam] + (rng.random(len(beam)) - 0.5) * 2 * _NOISE_M
    points = np.empty(len(beam), POINT)
    points["x"] = _SENSOR[0] + flat * _COS[azimuth]
    points["y"] = _SENSOR[1] + flat * _SIN[azimuth]
    points["z"] = _SENSOR[2] + flat * _SLOPES[beam]
    points["intensity"] = np.where(solid[azimuth, beam], 90, 25)
    points["ring"], points["lidar_info"] = beam, 0
    return points
