"""Score planned trajectories scene by scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.data.assembly import Indices
from experiments.data.source import SceneSource
from experiments.scoring.checks import collides, leaves_drivable_area
from experiments.scoring.displacement import (
    as_poses,
    average_displacement,
    final_displacement,
    heading_error,
)


@dataclass(frozen=True, slots=True)
class Scores:
    """Values per scene, in the order of the indices scored, and their means."""

    per_scene: dict[str, NDArray[np.float64]]
    """`ade` [m], `fde` [m], `heading_error` [rad], `collides`, `leaves_drivable_area` (0 or 1)."""

    @property
    def means(self) -> dict[str, float]:
        """The mean of each value over all scenes."""
        return {name: float(values.mean()) for name, values in self.per_scene.items()}


def score(source: SceneSource, indices: Indices, poses: ArrayLike) -> Scores:
    """Score (N, 8, 3) local poses planned for the N windows `indices` of `source`.

    Raises:
        ValueError: no scenes, poses of another shape, or poses that are not finite.
        DataError: a log or a map is missing.
    """
    indices = np.asarray(indices, np.int64)
    if len(indices) == 0:
        raise ValueError("there are no scenes to score")
    planned = as_poses(poses, len(indices))
    driven = source.future[indices]
    hits = np.zeros(len(indices))
    leaves = np.zeros(len(indices))
    for n, i in enumerate(indices.tolist()):
        hits[n] = collides(planned[n], source.boxes(i))
        leaves[n] = leaves_drivable_area(planned[n], source.pose[i], source.map_of(i))
    return Scores(
        {
            "ade": average_displacement(planned, driven),
            "fde": final_displacement(planned, driven),
            "heading_error": heading_error(planned, driven),
            "collides": hits,
            "leaves_drivable_area": leaves,
        }
    )
