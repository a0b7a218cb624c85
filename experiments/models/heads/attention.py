"""Attention of heads: queries that look at each other and at a memory of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.models.backbone import require_shape
from experiments.models.heads.motion import STATUS_DIM, scaled
from experiments.models.positions import sincos_positions
from experiments.settings import HeadConfig


class Memory(nn.Module):
    """Tokens with their positions, and the ego status as one token more."""

    positions: Tensor

    def __init__(self, token_dim: int, grid_hw: tuple[int, int], dim: int) -> None:
        super().__init__()
        self.shape = (grid_hw[0] * grid_hw[1], token_dim)
        self.project = nn.Sequential(nn.LayerNorm(token_dim), nn.Linear(token_dim, dim))
        self.status = nn.Linear(STATUS_DIM, dim)
        self.register_buffer("positions", sincos_positions(dim, grid_hw), persistent=False)

    def forward(self, tokens: Tensor, status: Tensor) -> tuple[Tensor, Tensor]:
        """Return the memory (B, N + 1, D) and its last token, the status (B, 1, D)."""
        require_shape("tokens", tokens, self.shape)
        seen = self.project(tokens)
        seen = seen + self.positions.to(seen.dtype)
        ego = self.status(scaled(status).to(tokens.dtype))[:, None].to(seen.dtype)
        return torch.cat([seen, ego], dim=1), ego


class Attention(nn.Module):
    """Multi-head attention that never holds the matrix of weights (of anchors: V x V)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """Return (B, Q, D) of queries (B, Q, D) that look at (B, N, D)."""
        key, value = self.key_value(memory).chunk(2, dim=-1)
        seen = functional.scaled_dot_product_attention(
            self._split(self.query(queries)), self._split(key), self._split(value)
        )
        answer: Tensor = self.output(seen.transpose(1, 2).flatten(2))
        return answer

    def _split(self, x: Tensor) -> Tensor:
        batch, count, dim = x.shape
        return x.view(batch, count, self.num_heads, dim // self.num_heads).transpose(1, 2)


class DecoderLayer(nn.Module):
    """Self-attention (optional), cross-attention (optional) and a perceptron, each on a residual.

    Norms come before each of them: such layers learn at any rate from the first step on.
    """

    def __init__(self, config: HeadConfig, *, looks_at_itself: bool, looks_at_memory: bool) -> None:
        super().__init__()
        dim = config.dim
        self.own = _Residual(Attention(dim, config.num_heads), config) if looks_at_itself else None
        self.cross = (
            _Residual(Attention(dim, config.num_heads), config) if looks_at_memory else None
        )
        self.mlp = _Residual(
            nn.Sequential(
                nn.Linear(dim, config.ffn_dim), nn.GELU(), nn.Linear(config.ffn_dim, dim)
            ),
            config,
        )

    def forward(self, queries: Tensor, memory: Tensor | None = None) -> Tensor:
        """Return (B, Q, D) of queries (B, Q, D) and a memory (B, N, D)."""
        if self.own is not None:
            queries = self.own(queries, itself=True)
        if self.cross is not None and memory is not None:
            queries = self.cross(queries, memory)
        answer: Tensor = self.mlp(queries)
        return answer


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module, config: HeadConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.inner = inner
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, *others: Tensor, itself: bool = False) -> Tensor:
        normed = self.norm(x)
        answer: Tensor = x + self.dropout(self.inner(normed, *((normed,) if itself else others)))
        return answer


class Decoder(nn.Module):
    """Layers of DecoderLayer with a norm at the end."""

    def __init__(self, config: HeadConfig, *, looks_at_itself: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(config, looks_at_itself=looks_at_itself, looks_at_memory=True)
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """Return (B, Q, D) of queries (B, Q, D) that look at a memory (B, N, D)."""
        for layer in self.layers:
            queries = layer(queries, memory)
        answer: Tensor = self.norm(queries)
        return answer
