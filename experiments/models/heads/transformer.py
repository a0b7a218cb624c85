"""Learned pose queries that look at all tokens and at the ego status."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.models.heads.attention import Decoder, Memory
from experiments.models.heads.base import PlanningHead, PlanOutput
from experiments.models.heads.motion import SteadyDrive, small_output
from experiments.settings import POSES, HeadConfig

QUERY_STD = 0.02
"""Spread of the learned queries at the start."""


class TransformerHead(PlanningHead):
    """A transformer decoder; each of its queries answers with 8 / queries consecutive poses."""

    def __init__(self, config: HeadConfig, token_dim: int, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        self.memory = Memory(token_dim, grid_hw, config.dim)
        self.queries = nn.Parameter(torch.empty(1, config.num_queries, config.dim))
        nn.init.normal_(self.queries, std=QUERY_STD)
        self.decoder = Decoder(config)
        self.output = small_output(config.dim, POSES // config.num_queries * 3)
        self.drive = SteadyDrive()

    def forward(self, tokens: Tensor, status: Tensor) -> PlanOutput:
        """Plan; see `PlanningHead`."""
        memory, ego = self.memory(tokens, status)
        answers = self.decoder(self.queries + ego, memory)
        raw = self.output(answers).reshape(-1, POSES, 3)
        return PlanOutput(self.drive(raw, status))
