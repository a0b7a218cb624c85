"""Fixed two-dimensional sine-cosine positions of a patch grid (MAE, I-JEPA)."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_PERIOD = 10000.0


def sincos_positions(
    dim: int, grid_hw: tuple[int, int], *, trained_hw: tuple[int, int] | None = None
) -> Tensor:
    """Return the table (1, rows * columns, dim), row by row.

    The first half of the channels encodes the column, the second half the row; each half is
    sines, then cosines, of position / 10000^(2i / half). That is the order of the official
    I-JEPA checkpoints.

    Args:
        dim: Channels, a multiple of 4.
        grid_hw: Rows and columns.
        trained_hw: The grid that weights were trained on, if another one: positions are then
            stretched to its extent (pixel centres aligned), as interpolating its table does.
    """
    rows, columns = (
        _axis(size, trained) for size, trained in zip(grid_hw, trained_hw or grid_hw, strict=True)
    )
    by_column = _sincos(columns, dim // 2).repeat(len(rows), 1)
    by_row = _sincos(rows, dim // 2).repeat_interleave(len(columns), dim=0)
    return torch.cat([by_column, by_row], dim=1).float().unsqueeze(0)


def _axis(size: int, trained: int) -> Tensor:
    centres = torch.arange(size, dtype=torch.float64) + 0.5
    return centres * (trained / size) - 0.5


def _sincos(position: Tensor, dim: int) -> Tensor:
    exponent = torch.arange(dim // 2, dtype=torch.float64) / (dim / 2)
    angle = position[:, None] / MAX_PERIOD ** exponent[None, :]
    return torch.cat([angle.sin(), angle.cos()], dim=1)
