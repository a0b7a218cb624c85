"""Distances between planned and driven poses. These are displacement errors, not PDM scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from experiments.data.frames import Floats, wrap
from experiments.settings import POSES


def as_poses(poses: ArrayLike, count: int | None = None) -> Floats:
    """Return (N, 8, 3) float64 poses.

    Raises:
        ValueError: another shape, another N than `count`, or a value that is not finite.
    """
    array = np.asarray(poses, np.float64)
    if array.ndim != 3 or array.shape[1:] != (POSES, 3) or count not in (None, len(array)):
        wanted = "N" if count is None else count
        raise ValueError(f"poses have shape {array.shape}, wanted ({wanted}, {POSES}, 3)")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=(1, 2)))
    if len(bad):
        raise ValueError(f"poses of {len(bad)} scenes are not finite, the first is row {bad[0]}")
    return array


def displacements(planned: ArrayLike, driven: ArrayLike) -> Floats:
    """Return the (N, 8) distances [m] between (N, 8, 3) poses of the same instants."""
    planned = as_poses(planned)
    driven = as_poses(driven, len(planned))
    return np.asarray(np.hypot(*np.moveaxis(planned - driven, -1, 0)[:2]), np.float64)


def average_displacement(planned: ArrayLike, driven: ArrayLike) -> Floats:
    """Return the (N,) ADE [m]: mean distance over the 8 poses."""
    return np.asarray(displacements(planned, driven).mean(axis=1), np.float64)


def final_displacement(planned: ArrayLike, driven: ArrayLike) -> Floats:
    """Return the (N,) FDE [m]: distance at the last pose, 4 s ahead."""
    return displacements(planned, driven)[:, -1]


def heading_error(planned: ArrayLike, driven: ArrayLike) -> Floats:
    """Return the (N,) mean absolute difference of headings [rad] over the 8 poses."""
    planned = as_poses(planned)
    driven = as_poses(driven, len(planned))
    return np.asarray(np.abs(wrap(planned[..., 2] - driven[..., 2])).mean(axis=1), np.float64)
