"""Heads turn tokens and the ego status into a trajectory."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from experiments.models.backbone import BackboneSpec
from experiments.models.resampling import pool_matrix
from experiments.settings import COMMANDS, POSE_INTERVAL_S, POSES, HeadConfig

STATUS_DIM = len(COMMANDS) + 4
"""Command one-hot, velocity (2) [m/s], acceleration (2) [m/s^2]."""
VELOCITY_SCALE = 10.0
"""[m/s] that enters the network as 1."""
ACCELERATION_SCALE = 2.0
"""[m/s^2] that enters the network as 1."""
SPEED_CORRECTION = 5.0
"""[m/s] that one unit of output changes the mean speed up to a pose: 20 m after 4 s."""


class MlpHead(nn.Module):
    """Pooled tokens and status through a perceptron.

    The network's output for pose k at time t_k corrects a drive at constant velocity:
    (x, y) = velocity t_k + 5 m/s t_k (o_x, o_y) and heading = pi tanh(o_heading).
    """

    pooling: Tensor
    seconds: Tensor

    def __init__(self, config: HeadConfig, token_dim: int, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        self.pool_hw = (min(config.pool_hw[0], grid_hw[0]), min(config.pool_hw[1], grid_hw[1]))
        """Token grid after pooling; a grid that is already smaller along an axis is kept."""
        pooling = torch.kron(
            pool_matrix(grid_hw[0], self.pool_hw[0]), pool_matrix(grid_hw[1], self.pool_hw[1])
        )
        self.register_buffer("pooling", pooling, persistent=False)
        seconds = torch.arange(1, POSES + 1) * POSE_INTERVAL_S
        self.register_buffer("seconds", seconds.view(1, POSES, 1), persistent=False)
        hidden, narrow = config.hidden_dim, max(config.hidden_dim // 4, 1)
        self.project = nn.Sequential(nn.LayerNorm(token_dim), nn.Linear(token_dim, narrow))
        self.mlp = nn.Sequential(
            nn.Linear(pooling.shape[0] * narrow + STATUS_DIM, hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )
        self.output = nn.Linear(hidden, POSES * 3)
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)

    def forward(self, tokens: Tensor, status: Tensor) -> Tensor:
        """Return poses (B, 8, 3): x, y [m] and heading [rad] in the current ego frame.

        Args:
            tokens: (B, N, C), row by row.
            status: (B, 8), see `STATUS_DIM`.
        """
        pooled = torch.einsum("pn,bnc->bpc", self.pooling, tokens)
        features = self.project(pooled).flatten(1)
        hidden = self.mlp(torch.cat([features, _scaled(status).to(features.dtype)], dim=1))
        raw = self.output(hidden).float().view(-1, POSES, 3)
        velocity = status[:, None, len(COMMANDS) : len(COMMANDS) + 2].float()
        position = (velocity + SPEED_CORRECTION * raw[..., :2]) * self.seconds.float()
        heading = math.pi * torch.tanh(raw[..., 2:])
        return torch.cat([position, heading], dim=-1)


def build_head(config: HeadConfig, spec: BackboneSpec) -> MlpHead:
    """Build the head that `config.name` names for a backbone's tokens."""
    return MlpHead(config, spec.token_dim, spec.grid_hw)


def _scaled(status: Tensor) -> Tensor:
    command, velocity, acceleration = torch.split(status, [len(COMMANDS), 2, 2], dim=1)
    return torch.cat([command, velocity / VELOCITY_SCALE, acceleration / ACCELERATION_SCALE], dim=1)
