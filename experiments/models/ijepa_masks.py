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
MAX_SIZES = 50
"""Draws of block sizes before it is said that none fits."""
MAX_PLACES = 20
"""Draws of places for blocks of one size."""


@dataclass(frozen=True)
class BlockMasks:
    """Patch indices, row by row of the grid, for each image of a batch."""

    context: Tensor
    """(B, K) visible patches, ascending; disjoint from every target of the image."""
    targets: Tensor
    """(B, T, M) patches of T target blocks of one size; blocks may overlap each other."""

    def rows(self, first: int, count: int) -> BlockMasks:
        """Return the masks of some consecutive images."""
        part = slice(first, first + count)
        return BlockMasks(self.context[part], self.targets[part])

    def to(self, device: torch.device) -> BlockMasks:
        """Move to the device of the tokens."""
        return BlockMasks(self.context.to(device), self.targets.to(device))


def sample_masks(
    config: PretrainConfig, grid_hw: tuple[int, int], generator: Generator, num_images: int
) -> BlockMasks:
    """Draw target blocks and a context block per image; take the targets out of the context.

    As published, the sizes of the blocks are drawn once for the batch and their places for each
    image, and places that leave too little context are drawn again. All images then show as many
    patches as the one that has fewest left; the others lose patches at random. (The released code
    drops those nearest to the bottom.) The context block has the aspect of the grid, which on a
    square grid is the published unit aspect.

    Raises:
        ConfigError: no blocks of these sizes leave enough context.
    """
    least = max(1, int(MIN_CONTEXT_SHARE * grid_hw[0] * grid_hw[1]))
    square = grid_hw[0] / grid_hw[1]
    for _ in range(MAX_SIZES):
        target_hw = _block_hw(config.target_scale, config.target_aspect, grid_hw, generator)
        context_hw = _block_hw(config.context_scale, (square, square), grid_hw, generator)
        shape = (num_images, config.num_targets)
        targets = _blocks(target_hw, grid_hw, shape, generator)
        visible = _blocks(context_hw, grid_hw, (num_images,), generator) & ~targets.any(dim=1)
        for _ in range(MAX_PLACES):
            poor = (visible.sum(dim=1) < least).nonzero().squeeze(1)
            if len(poor) == 0:
                return BlockMasks(_keep_fewest(visible, generator), _indices(targets))
            again = _blocks(target_hw, grid_hw, (len(poor), config.num_targets), generator)
            targets[poor] = again
            places = _blocks(context_hw, grid_hw, (len(poor),), generator)
            visible[poor] = places & ~again.any(dim=1)
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


def _blocks(
    block_hw: tuple[int, int],
    grid_hw: tuple[int, int],
    shape: tuple[int, ...],
    generator: Generator,
) -> Tensor:
    """Place blocks uniformly; return boolean maps (*shape, N) of the grid."""
    covered = []
    for block, grid in zip(block_hw, grid_hw, strict=True):
        first = torch.randint(0, grid - block + 1, (*shape, 1), generator=generator)
        along = torch.arange(grid)
        covered.append((along >= first) & (along < first + block))
    rows, columns = covered
    return (rows.unsqueeze(-1) & columns.unsqueeze(-2)).flatten(-2)


def _uniform(bounds: tuple[float, float], generator: Generator) -> float:
    share = float(torch.rand((), generator=generator))
    return bounds[0] + share * (bounds[1] - bounds[0])


def _keep_fewest(visible: Tensor, generator: Generator) -> Tensor:
    """Return (B, K) visible patches, K being the least number that any image has."""
    fewest = int(visible.sum(dim=1).min())
    lot = torch.rand(visible.shape, generator=generator).masked_fill(~visible, -1.0)
    return lot.topk(fewest, dim=1).indices.sort(dim=1).values


def _indices(blocks: Tensor) -> Tensor:
    """Return the patches (..., M) of maps (..., N) that all cover M."""
    return blocks.nonzero()[:, -1].view(*blocks.shape[:-1], -1)
