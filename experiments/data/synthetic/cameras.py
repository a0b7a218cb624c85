"""The camera rig: eight pinhole cameras of NAVSIM's kind, three of which are rendered.

Camera axes are x right, y down, z forward; `sensor2lidar` maps them to the LiDAR frame, which
here equals the ego frame (rear axle on the ground, x forward, y left, z up).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.data.frames import Floats

RENDERED = ("CAM_L0", "CAM_F0", "CAM_R0")
_MOUNTS = {
    "CAM_F0": (0.0, 1.65, 0.0),
    "CAM_L0": (55.0, 1.50, 0.45),
    "CAM_L1": (110.0, 1.10, 0.55),
    "CAM_L2": (150.0, -0.60, 0.50),
    "CAM_R0": (-55.0, 1.50, -0.45),
    "CAM_R1": (-110.0, 1.10, -0.55),
    "CAM_R2": (-150.0, -0.60, -0.50),
    "CAM_B0": (180.0, -0.70, 0.0),
}
"""Yaw [deg] and the x, y [m] of each camera."""
_HEIGHT_M = 1.6
_PITCH = np.radians(3.0)
"""All cameras look down a little."""
_FOCAL_PX, _FULL_HW = 1545.0, (1080, 1920)
"""Focal length at NAVSIM's resolution; scales with the image."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera: `rotation` (3, 3) and `translation` (3,) map camera to ego frame."""

    name: str
    hw: tuple[int, int]
    rotation: Floats
    translation: Floats
    intrinsic: Floats


def _rotation(yaw: float) -> Floats:
    """Columns are the camera's right, down and forward axes in the ego frame."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    forward = np.array([cos * np.cos(_PITCH), sin * np.cos(_PITCH), -np.sin(_PITCH)])
    right = np.array([sin, -cos, 0.0])
    down = np.cross(forward, right)
    # Rounded, so that machines whose cosines differ in the last bit still agree.
    return np.round(np.stack([right, down, forward], axis=1), 12)


def rig(hw: tuple[int, int]) -> dict[str, Camera]:
    """Return all eight cameras for images of `hw` pixels."""
    height, width = hw
    fx, fy = _FOCAL_PX * width / _FULL_HW[1], _FOCAL_PX * height / _FULL_HW[0]
    intrinsic = np.array([[fx, 0.0, width / 2], [0.0, fy, height / 2], [0.0, 0.0, 1.0]])
    return {
        name: Camera(name, hw, _rotation(np.radians(yaw)), np.array([x, y, _HEIGHT_M]), intrinsic)
        for name, (yaw, x, y) in _MOUNTS.items()
    }
