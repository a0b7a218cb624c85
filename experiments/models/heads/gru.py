"""A recurrent head: pose after pose, each from the one before."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from experiments.models.heads.base import PlanningHead, PlanOutput
from experiments.models.heads.motion import (
    SPEED_CORRECTION,
    STATUS_DIM,
    scaled,
    small_output,
    velocity_of,
)
from experiments.models.heads.pooled import PooledTokens
from experiments.settings import POSE_INTERVAL_S, POSES, HeadConfig

POSITION_SCALE_M = 20.0
"""[m] that enters the network as 1."""


class GruHead(PlanningHead):
    """A GRU cell that starts from pooled tokens and status and reads its own last pose.

    Its output for step k corrects a drive at constant velocity:
    (x, y)_k = (x, y)_{k-1} + 0.5 s (velocity + 5 m/s (o_x, o_y)_k), and
    heading_k = heading_{k-1} + pi / 8 tanh(o_heading_k), so that no heading leaves [-pi, pi].
    """

    def __init__(self, config: HeadConfig, token_dim: int, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        hidden, pool_hw = config.hidden_dim, (config.pool_hw[0], config.pool_hw[1])
        self.pool = PooledTokens(token_dim, grid_hw, pool_hw, max(hidden // 4, 1))
        self.start = nn.Sequential(
            nn.Linear(self.pool.features + STATUS_DIM, hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(hidden, hidden),
            nn.Tanh(),
        )
        self.cell = nn.GRUCell(3 + STATUS_DIM, hidden)
        self.output = small_output(hidden, 3)

    def forward(self, tokens: Tensor, status: Tensor) -> PlanOutput:
        """Plan; see `PlanningHead`."""
        features = self.pool(tokens)
        ego = scaled(status).to(features.dtype)
        state = self.start(torch.cat([features, ego], dim=1))
        velocity = velocity_of(status)
        pose, poses = torch.zeros(len(status), 3, device=status.device), []
        for _ in range(POSES):
            state = self.cell(torch.cat([_scaled_pose(pose).to(ego.dtype), ego], dim=1), state)
            pose = pose + _step(self.output(state).float(), velocity)
            poses.append(pose)
        return PlanOutput(torch.stack(poses, dim=1))


def _scaled_pose(pose: Tensor) -> Tensor:
    return torch.cat([pose[:, :2] / POSITION_SCALE_M, pose[:, 2:]], dim=1)


def _step(raw: Tensor, velocity: Tensor) -> Tensor:
    move = POSE_INTERVAL_S * (velocity + SPEED_CORRECTION * raw[:, :2])
    return torch.cat([move, math.pi / POSES * torch.tanh(raw[:, 2:])], dim=1)
