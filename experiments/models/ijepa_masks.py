"""Multi-block masks of I-JEPA: what the context encoder sees and what must be predicted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from experiments.settings import PretrainConfig
from launcher.errors import ConfigError

MIN_CONTEXT_SHARE = 0.04
"""Least share of the grid that must stay visible: 10 of 256 patches, as published."""
MAX_TRIES = 1000


@dataclass(frozen=True)
class BlockMasks:
    """Patch indices, row by row, shared by all images of a batch."""

    context: Tensor
    """(K,) visible patches, ascending; disjoint from every target."""
    targets: Tensor
    """(T, M) patches of T target blocks of one size; blocks may overlap each other."""

    def to(self, device: torch.device) -> BlockMasks:
        """Move to the device of the tokens."""
        return BlockMasks(self.context.to(device), self.targets.to(device))


def sample_masks(
    config: PretrainConfig, grid_hw: tuple[int, int], generator: Generator
) -> BlockMasks:
    """Draw target blocks and a context block, and take the targets out of the context.

    The size of the targets is drawn once, their places separately. The context block has the
    aspect of the grid, which on a square grid is the published unit aspect. Draws that leave
    too little context are repeated.
    """
    least = max(1, int(MIN_CONTEXT_SHARE * grid_hw[0] * grid_hw[1]))
    for _ in range(MAX_TRIES):
        target_hw = _block_hw(config.target_scale, config.target_aspect, grid_hw, generator)
        targets = [_block(target_hw, grid_hw, generator) for _ in range(config.num_targets)]
        square = grid_hw[0] / grid_hw[1]
        context_hw = _block_hw(config.context_scale, (square, square), grid_hw, generator)
        context = _block(context_hw, grid_hw, generator)
        for target in targets:
            context = context & ~target
        if int(context.sum()) >= least:
            return BlockMasks(_indices(context), torch.stack([_indices(t) for t in targets]))
    raise ConfigError(
        f"no mask leaves {least} of {grid_hw[0]} x {grid_hw[1]} patches visible",
        hint="lower backbone.pretrain.target_scale or num_targets, or use a smaller patch_px",
    )


def _block_hw(
    scale: tuple[float, float],
    aspect: tuple[float, float],
    grid_hw: tuple[int, int],
    generator: Generator,
) -> tuple[int, int]:
    """Draw rows and columns of a block; `aspect` is rows over columns, in patches."""
    area = grid_hw[0] * grid_hw[1] * _uniform(scale, generator)
    ratio = _uniform(aspect, generator)
    rows, columns = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    return min(max(rows, 1), grid_hw[0]), min(max(columns, 1), grid_hw[1])


def _block(block_hw: tuple[int, int], grid_hw: tuple[int, int], generator: Generator) -> Tensor:
    """Place a block uniformly; return a boolean map of the grid."""
    top, left = (
        int(torch.randint(0, grid - size + 1, (), generator=generator))
        for grid, size in zip(grid_hw, block_hw, strict=True)
    )
    block = torch.zeros(grid_hw, dtype=torch.bool)
    block[top : top + block_hw[0], left : left + block_hw[1]] = True
    return block


def _uniform(bounds: tuple[float, float], generator: Generator) -> float:
    share = float(torch.rand((), generator=generator))
    return bounds[0] + share * (bounds[1] - bounds[0])


def _indices(block: Tensor) -> Tensor:
    return block.flatten().nonzero().squeeze(1)
