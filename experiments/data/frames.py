"""Planar coordinate frames: quaternions to yaw, global poses to local ones and back.

A pose is (x, y, heading) in metres and radians; x forward, y left, heading counter-clockwise.
The ego frame has its origin at the rear axle on the ground, as in NAVSIM.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def wrap(angle: ArrayLike) -> Floats:
    """Return `angle` [rad] in [-pi, pi)."""
    return (np.asarray(angle, np.float64) + np.pi) % (2 * np.pi) - np.pi


def yaw_of(quaternion: ArrayLike) -> Floats:
    """Return the yaw [rad] of (..., 4) unit quaternions w, x, y, z."""
    w, x, y, z = np.moveaxis(np.asarray(quaternion, np.float64), -1, 0)
    yaw: Floats = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return yaw


def quaternion_of(yaw: float) -> Floats:
    """Return the (4,) quaternion w, x, y, z of a rotation by `yaw` [rad] about z."""
    return np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])


def to_local(poses: ArrayLike, origin: ArrayLike) -> Floats:
    """Express global (..., 3) poses in the frame of the (3,) pose `origin`."""
    poses, origin = np.asarray(poses, np.float64), np.asarray(origin, np.float64)
    cos, sin = np.cos(origin[2]), np.sin(origin[2])
    dx, dy = poses[..., 0] - origin[0], poses[..., 1] - origin[1]
    heading = wrap(poses[..., 2] - origin[2])
    return np.stack([cos * dx + sin * dy, cos * dy - sin * dx, heading], axis=-1)


def to_global(poses: ArrayLike, origin: ArrayLike) -> Floats:
    """Express (..., 3) poses given in the frame of the (3,) pose `origin` globally."""
    poses, origin = np.asarray(poses, np.float64), np.asarray(origin, np.float64)
    cos, sin = np.cos(origin[2]), np.sin(origin[2])
    x = origin[0] + cos * poses[..., 0] - sin * poses[..., 1]
    y = origin[1] + sin * poses[..., 0] + cos * poses[..., 1]
    return np.stack([x, y, wrap(poses[..., 2] + origin[2])], axis=-1)


def corners(boxes: ArrayLike) -> Floats:
    """Return the (..., 4, 2) corners of (..., 5) boxes x, y, length, width, heading.

    x, y is the centre; corners run counter-clockwise from the front left.
    """
    boxes = np.asarray(boxes, np.float64)
    cos, sin = np.cos(boxes[..., 4, None]), np.sin(boxes[..., 4, None])
    along = boxes[..., 2, None] / 2 * np.array([1, -1, -1, 1])
    across = boxes[..., 3, None] / 2 * np.array([1, 1, -1, -1])
    x = boxes[..., 0, None] + cos * along - sin * across
    y = boxes[..., 1, None] + sin * along + cos * across
    return np.stack([x, y], axis=-1)
