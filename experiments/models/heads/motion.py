"""What heads share about motion: the ego status as input, plans that begin as a steady drive."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from experiments.settings import COMMANDS, POSE_INTERVAL_S, POSES

STATUS_DIM = len(COMMANDS) + 4
"""Command one-hot, velocity (2) [m/s], acceleration (2) [m/s^2]."""
VELOCITY_SCALE = 10.0
"""[m/s] that enters the network as 1."""
ACCELERATION_SCALE = 2.0
"""[m/s^2] that enters the network as 1."""
SPEED_CORRECTION = 5.0
"""[m/s] that one unit of output changes the mean speed up to a pose: 20 m after 4 s."""


def scaled(status: Tensor) -> Tensor:
    """Return the status (B, 8) in units in which its entries are about as large as 1."""
    command, velocity, acceleration = torch.split(status, [len(COMMANDS), 2, 2], dim=1)
    return torch.cat([command, velocity / VELOCITY_SCALE, acceleration / ACCELERATION_SCALE], dim=1)


def velocity_of(status: Tensor) -> Tensor:
    """Return the velocity (B, 2) [m/s] in float32."""
    return status[:, len(COMMANDS) : len(COMMANDS) + 2].float()


def pose_seconds() -> Tensor:
    """Return the times (8,) of the poses [s]."""
    return torch.arange(1, POSES + 1) * POSE_INTERVAL_S


class SteadyDrive(nn.Module):
    """Poses as corrections of a drive at constant velocity.

    The network's output for pose k at time t_k means (x, y) = velocity t_k + 5 m/s t_k (o_x, o_y)
    and heading = pi tanh(o_heading).
    """

    seconds: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seconds", pose_seconds().view(1, POSES, 1), persistent=False)

    def forward(self, raw: Tensor, status: Tensor) -> Tensor:
        """Return poses (B, 8, 3) of outputs (B, 8, 3), in float32."""
        raw = raw.float()
        velocity = velocity_of(status)[:, None]
        position = (velocity + SPEED_CORRECTION * raw[..., :2]) * self.seconds.float()
        return torch.cat([position, math.pi * torch.tanh(raw[..., 2:])], dim=-1)


def small_output(dim: int, size: int) -> nn.Linear:
    """Return a last layer whose output begins close to zero, whatever comes in."""
    layer = nn.Linear(dim, size)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer
