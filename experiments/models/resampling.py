"""Adaptive average pooling and bilinear resizing as products with constant matrices.

Both are linear and separable, so a row and a column matrix express them exactly. The CUDA
kernels of PyTorch add gradients of adaptive pooling in an unspecified order and refuse to run
under `torch.use_deterministic_algorithms`; matrix products are deterministic everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def pool_matrix(size_in: int, size_out: int) -> Tensor:
    """Return (size_out, size_in) weights of adaptive average pooling along one axis.

    Output i averages the inputs from floor(i * in / out) up to ceil((i + 1) * in / out).
    """
    matrix = torch.zeros(size_out, size_in)
    for i in range(size_out):
        start, stop = i * size_in // size_out, -(-(i + 1) * size_in // size_out)
        matrix[i, start:stop] = 1.0 / (stop - start)
    return matrix


def bilinear_matrix(size_in: int, size_out: int) -> Tensor:
    """Return (size_out, size_in) weights of linear interpolation, corners not aligned."""
    matrix = torch.zeros(size_out, size_in)
    for i in range(size_out):
        position = min(max((i + 0.5) * size_in / size_out - 0.5, 0.0), size_in - 1.0)
        low = int(position)
        high = min(low + 1, size_in - 1)
        matrix[i, low] += 1.0 - (position - low)
        matrix[i, high] += position - low
    return matrix


class Resample(nn.Module):
    """Resample maps (B, C, *hw_in) to (B, C, *hw_out); a plain copy if the sizes agree."""

    rows: Tensor
    columns: Tensor

    def __init__(self, rows: Tensor, columns: Tensor) -> None:
        super().__init__()
        self.is_identity = all(m.shape[0] == m.shape[1] for m in (rows, columns))
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    @classmethod
    def pool(cls, hw_in: tuple[int, int], hw_out: tuple[int, int]) -> Resample:
        """Adaptive average pooling."""
        return cls(pool_matrix(hw_in[0], hw_out[0]), pool_matrix(hw_in[1], hw_out[1]))

    @classmethod
    def bilinear(cls, hw_in: tuple[int, int], hw_out: tuple[int, int]) -> Resample:
        """Bilinear interpolation with corners not aligned."""
        return cls(bilinear_matrix(hw_in[0], hw_out[0]), bilinear_matrix(hw_in[1], hw_out[1]))

    def forward(self, maps: Tensor) -> Tensor:
        """Apply the column matrix, then the row matrix."""
        if self.is_identity:
            return maps
        narrow = maps @ self.columns.T
        return (narrow.transpose(-1, -2) @ self.rows.T).transpose(-1, -2)
