"""Plans as the official scorer reads them: poses at 0.1 s in a frame centred on the ego.

The frame is the global one moved (not turned) so that the ego's rear axle is at its origin now.
Map coordinates reach 1e6 m, where a double resolves 1e-10 m; centred they lose nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from experiments.data.errors import DataError
from experiments.data.frames import Floats
from experiments.scoring.pdm.scene import PLAN_STATES, STEP_S, EgoState

HORIZON_S = (PLAN_STATES - 1) * STEP_S


def as_plans(plans: ArrayLike, interval_s: float, where: str) -> Floats:
    """Return (P, N, 3) float64 plans.

    Raises:
        DataError: another shape, values that are not finite, or fewer poses than reach 4 s.
    """
    array = np.asarray(plans, np.float64)
    if array.ndim != 3 or array.shape[2] != 3 or not len(array):
        raise DataError(f"{where}: plans have shape {array.shape}", hint="wanted (P, N, 3)")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=(1, 2)))
    if len(bad):
        raise DataError(f"{where}: plan {bad[0]} has a pose that is not finite")
    if not 0 < interval_s <= HORIZON_S or array.shape[1] * interval_s < HORIZON_S - 1e-6:
        raise DataError(
            f"{where}: plans of {array.shape[1]} poses x {interval_s:g} s do not reach "
            f"{HORIZON_S:g} s",
            hint="the scorer judges 4 s; it does not extend a plan",
        )
    return array


def weights(poses: int, interval_s: float) -> Tensor:
    """Return the (41, poses + 1) linear interpolation from now and `poses` to every 0.1 s."""
    times = STEP_S * np.arange(PLAN_STATES) / interval_s
    # Rounded, so that an instant on a pose is that pose.
    times = np.clip(np.round(times, 9), 0, poses)
    rows, right = np.arange(PLAN_STATES), np.clip(np.ceil(times).astype(int), 1, poses)
    result = np.zeros((PLAN_STATES, poses + 1))
    result[rows, right] = times - (right - 1)
    result[rows, right - 1] = right - times
    return torch.from_numpy(result)


def wrapped(angle: Tensor) -> Tensor:
    """Return angles [rad] in [-pi, pi)."""
    return torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi


def unwrapped(headings: Tensor, dim: int) -> Tensor:
    """Return `headings` [rad] less whole turns: none is more than pi off its predecessor."""
    steps = torch.diff(headings, dim=dim)
    turns = torch.cumsum(torch.round(steps / (2 * torch.pi)), dim=dim)
    first = torch.zeros_like(headings.narrow(dim, 0, 1))
    return headings - 2 * torch.pi * torch.cat([first, turns], dim=dim)


def dense(plans: Tensor, ego: EgoState, interval_s: float) -> Tensor:
    """Return (41, P, 3) centred poses of (P, N, 3) plans in the ego frame."""
    local = torch.cat([torch.zeros_like(plans[:, :1]), plans], dim=1).transpose(0, 1)
    heading = unwrapped(local[..., 2], dim=0) + float(ego.pose[2])
    cos, sin = float(np.cos(ego.pose[2])), float(np.sin(ego.pose[2]))
    x = cos * local[..., 0] - sin * local[..., 1]
    y = sin * local[..., 0] + cos * local[..., 1]
    knots = torch.stack([x, y, heading], dim=-1)
    matrix = weights(plans.shape[1], interval_s).to(plans.device)
    poses: Tensor = torch.tensordot(matrix, knots, dims=1)
    return poses


def centred(poses: Floats, ego: EgoState) -> Floats:
    """Return (41, 3) global poses in the centred frame, headings unwrapped."""
    return np.stack(
        [poses[:, 0] - ego.pose[0], poses[:, 1] - ego.pose[1], np.unwrap(poses[:, 2])], axis=-1
    )
