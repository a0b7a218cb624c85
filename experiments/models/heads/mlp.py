"""Pooled tokens and the ego status through a perceptron."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.models.heads.base import PlanningHead, PlanOutput
from experiments.models.heads.motion import STATUS_DIM, SteadyDrive, scaled, small_output
from experiments.models.heads.pooled import PooledTokens
from experiments.settings import POSES, HeadConfig


class MlpHead(PlanningHead):
    """Pooled tokens and status through a perceptron; see SteadyDrive for what its output means."""

    def __init__(self, config: HeadConfig, token_dim: int, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        hidden, pool_hw = config.hidden_dim, (config.pool_hw[0], config.pool_hw[1])
        self.pool = PooledTokens(token_dim, grid_hw, pool_hw, max(hidden // 4, 1))
        self.mlp = nn.Sequential(
            nn.Linear(self.pool.features + STATUS_DIM, hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )
        self.output = small_output(hidden, POSES * 3)
        self.drive = SteadyDrive()

    def forward(self, tokens: Tensor, status: Tensor) -> PlanOutput:
        """Plan; see `PlanningHead`."""
        features = self.pool(tokens)
        hidden = self.mlp(torch.cat([features, scaled(status).to(features.dtype)], dim=1))
        raw = self.output(hidden).view(-1, POSES, 3)
        return PlanOutput(self.drive(raw, status))
