"""The ego vehicle of nuPlan and NAVSIM, a Chrysler Pacifica; all lengths in metres."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from experiments.data.frames import Floats, corners

WIDTH_M = 2.297
LENGTH_M = 5.176
REAR_AXLE_TO_CENTRE_M = 1.461
"""From the rear axle, which poses refer to, forward to the centre of the footprint."""
FRONT_M = REAR_AXLE_TO_CENTRE_M + LENGTH_M / 2
"""From the rear axle to the front bumper."""


def footprints(poses: ArrayLike) -> Floats:
    """Return the (..., 4, 2) corners [m] of the ego whose rear axle is at (..., 3) `poses`."""
    poses = np.asarray(poses, np.float64)
    x = poses[..., 0] + REAR_AXLE_TO_CENTRE_M * np.cos(poses[..., 2])
    y = poses[..., 1] + REAR_AXLE_TO_CENTRE_M * np.sin(poses[..., 2])
    size = np.broadcast_to([LENGTH_M, WIDTH_M], (*x.shape, 2))
    return corners(np.concatenate([np.stack([x, y], -1), size, poses[..., 2:]], axis=-1))
