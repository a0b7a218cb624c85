"""Distances between plans and what humans drove."""

from __future__ import annotations

import math

import torch
from torch import Tensor

HEADING_WEIGHT_M = 5.0
"""Metres that one radian of heading error costs: about what it moves the front bumper by."""


def trajectory_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean over poses of |dx| + |dy| + 5 m/rad |dheading|, in metres.

    Heading errors are wrapped into [-pi, pi), so 179 and -179 degrees are 2 degrees apart.
    """
    error = predicted.float() - target.float()
    heading = wrapped(error[..., 2])
    return (error[..., :2].abs().sum(dim=-1) + HEADING_WEIGHT_M * heading.abs()).mean()


def wrapped(angle: Tensor) -> Tensor:
    """Return angles in [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2.0 * math.pi) - math.pi


def displacement(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the distances (B, 8) between predicted and true positions [m]."""
    difference = predicted[..., :2].float() - target[..., :2].float()
    distance: Tensor = torch.linalg.vector_norm(difference, dim=-1)
    return distance
