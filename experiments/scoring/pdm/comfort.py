"""Whether a simulated plan is comfortable: six signals, smoothed, within fixed bounds."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from scipy.signal import savgol_filter
from torch import Tensor

from experiments.data.frames import Floats
from experiments.scoring.pdm.plans import unwrapped
from experiments.scoring.pdm.scene import PLAN_STATES, STEP_S
from experiments.scoring.pdm.simulation import Driven
from experiments.scoring.pdm.tracking import constant

LONGITUDINAL_MPS2 = (-4.05, 2.40)
LATERAL_MPS2 = 4.89
JERK_MPS3 = 8.37
LONGITUDINAL_JERK_MPS3 = 4.13
YAW_ACCELERATION_RADPS2 = 1.93
YAW_RATE_RADPS = 0.95
_DECIMALS = 8
"""To which the official code rounds each filtered signal."""
_WHOLE = PLAN_STATES
_ACCELERATION_WINDOW = 8
"""Of the acceleration that jerk is derived from."""
_YAW_WINDOW = 5


def comfort(driven: Driven) -> Tensor:
    """Return the (P,) comfort: 1 if all signals are within their bounds at all instants, or 0."""
    forward, left = driven.acceleration_x, driven.acceleration_y
    low, high = LONGITUDINAL_MPS2
    longitudinal = _filtered(forward, _WHOLE, 2, 0)
    yaw = unwrapped(driven.heading, dim=0)
    fine = (longitudinal > low).all(dim=0) & (longitudinal < high).all(dim=0)
    for signal, bound in (
        (_filtered(left, _WHOLE, 2, 0), LATERAL_MPS2),
        (_jerk(torch.hypot(forward, left)), JERK_MPS3),
        (_jerk(forward), LONGITUDINAL_JERK_MPS3),
        (_filtered(yaw, _YAW_WINDOW, 3, 2), YAW_ACCELERATION_RADPS2),
        (_filtered(yaw, _YAW_WINDOW, 2, 1), YAW_RATE_RADPS),
    ):
        fine &= (signal.abs() < bound).all(dim=0)
    return fine.double()


def _jerk(acceleration: Tensor) -> Tensor:
    return _filtered(_filtered(acceleration, _ACCELERATION_WINDOW, 2, 0), _WHOLE, 2, 1)


def _filtered(signal: Tensor, window: int, order: int, derivative: int) -> Tensor:
    """Return the (41, P) signal or its derivative [1/s^n], smoothed by Savitzky and Golay."""
    matrix = constant(_matrix, signal.device, window, order, derivative)
    return torch.round(matrix @ signal, decimals=_DECIMALS)


@cache
def _matrix(window: int, order: int, derivative: int) -> Floats:
    """Return the (41, 41) matrix of a filter: what it makes of each unit impulse."""
    filtered = savgol_filter(
        np.eye(PLAN_STATES), window, order, deriv=derivative, delta=STEP_S, axis=0
    )
    return np.asarray(filtered, np.float64)
