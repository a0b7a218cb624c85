"""The LiDAR input of NAVSIM's TransFuser: a histogram of points seen from above."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ABOVE_M = 0.2
"""Points at or below this height are ground and are dropped."""
_MOST = 5
"""Counts of a cell are clipped here, then divided by it."""


def histogram(points: NDArray[np.void], size_px: int, range_m: float) -> NDArray[np.float32]:
    """Count points per cell of a square about the ego.

    Args:
        points: records with x, y, z [m] in the ego frame.
        size_px: cells along an edge, P.
        range_m: half the edge [m].

    Returns:
        (1, P, P) in 0..1. Axis 1 runs with x, row 0 at the rear; axis 2 runs with y, column 0
        at the right. The ego is in the middle.
    """
    above = points["z"] > ABOVE_M
    scale = size_px / (2 * range_m)
    row = np.floor((points["x"][above].astype(np.float64) + range_m) * scale).astype(np.int64)
    column = np.floor((points["y"][above].astype(np.float64) + range_m) * scale).astype(np.int64)
    inside = (row >= 0) & (row < size_px) & (column >= 0) & (column < size_px)
    cells = row[inside] * size_px + column[inside]
    counts = np.bincount(cells, minlength=size_px * size_px).reshape(1, size_px, size_px)
    return (np.minimum(counts, _MOST) / _MOST).astype(np.float32)
