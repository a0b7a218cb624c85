"""A coarser token grid: what `features.pool_hw` does behind any encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from experiments.models.backbone import Backbone, Encoded
from experiments.models.resampling import pool_matrix
from launcher.errors import ConfigError


class PooledBackbone(Backbone):
    """An encoder whose tokens are averaged over the cells of a coarser grid.

    Cells are those of adaptive average pooling: they cover the grid, and may overlap where its
    size is no multiple of theirs.
    """

    matrix: Tensor

    def __init__(self, backbone: Backbone, pool_hw: tuple[int, int]) -> None:
        super().__init__()
        grid = backbone.spec.grid_hw
        if pool_hw[0] > grid[0] or pool_hw[1] > grid[1]:
            raise ConfigError(
                f"`features.pool_hw={list(pool_hw)}` is finer than the {grid[0]} x {grid[1]} tokens"
                f" of `backbone.name={backbone.spec.name}`",
                hint="take a smaller grid, or features.pool_hw=null for all tokens",
            )
        self.inner = backbone
        self.spec = replace(backbone.spec, grid_hw=(pool_hw[0], pool_hw[1]))
        self.targets = backbone.targets
        matrix = torch.kron(pool_matrix(grid[0], pool_hw[0]), pool_matrix(grid[1], pool_hw[1]))
        self.register_buffer("matrix", matrix, persistent=False)

    def encode(self, batch: Mapping[str, Tensor]) -> Encoded:
        """Return (B, rows x columns, C) averages of the encoder's tokens."""
        encoded: Encoded = self.inner(batch)
        return Encoded(self.matrix.to(encoded.tokens.dtype) @ encoded.tokens, encoded.bev)

    def auxiliary_loss(self, encoded: Encoded, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the auxiliary terms of the encoder."""
        return self.inner.auxiliary_loss(encoded, batch)

    def describe(self) -> dict[str, Any]:
        """Return what the encoder says of itself."""
        return self.inner.describe()

    def blocks(self) -> list[nn.Module]:
        """Return the blocks of the encoder."""
        return self.inner.blocks()


def pooled(backbone: Backbone, pool_hw: tuple[int, int] | None) -> Backbone:
    """Return the backbone behind which tokens are averaged to `pool_hw`; itself with None.

    One that reads no sensors has nothing to average, and stays as it is.

    Raises:
        ConfigError: the grid is coarser than that already.
    """
    if pool_hw is None or not backbone.spec.sensors:
        return backbone
    return PooledBackbone(backbone, pool_hw)
