"""Pooled tokens: the input of heads without attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.models.resampling import pool_matrix


class PooledTokens(nn.Module):
    """Average-pools the token grid, narrows its channels, and flattens it."""

    pooling: Tensor

    def __init__(
        self, token_dim: int, grid_hw: tuple[int, int], pool_hw: tuple[int, int], narrow_dim: int
    ) -> None:
        super().__init__()
        self.pool_hw = (min(pool_hw[0], grid_hw[0]), min(pool_hw[1], grid_hw[1]))
        """Token grid after pooling; a grid that is already smaller along an axis is kept."""
        rows, columns = (pool_matrix(a, b) for a, b in zip(grid_hw, self.pool_hw, strict=True))
        self.register_buffer("pooling", torch.kron(rows, columns), persistent=False)
        self.project = nn.Sequential(nn.LayerNorm(token_dim), nn.Linear(token_dim, narrow_dim))
        self.features = self.pooling.shape[0] * narrow_dim
        """Size of what `forward` returns."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return features (B, F) of tokens (B, N, C)."""
        pooled = torch.einsum("pn,bnc->bpc", self.pooling, tokens)
        features: Tensor = self.project(pooled).flatten(1)
        return features
