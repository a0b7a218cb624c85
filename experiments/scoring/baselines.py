"""Plans that need no learning."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.settings import POSE_INTERVAL_S, POSES

_VX = 4
"""Place of the forward speed in a status vector, after the one-hot command."""


def constant_velocity(status: ArrayLike) -> NDArray[np.float32]:
    """Return (N, 8, 3) poses straight ahead at the current forward speed of (N, 8) statuses."""
    speed = np.asarray(status, np.float64)[:, _VX]
    times = POSE_INTERVAL_S * np.arange(1, POSES + 1)
    poses = np.zeros((len(speed), POSES, 3), np.float32)
    poses[..., 0] = speed[:, None] * times
    return poses
