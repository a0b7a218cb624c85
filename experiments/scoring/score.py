"""Score planned trajectories scene by scene."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.data.assembly import Indices
from experiments.data.frames import Floats
from experiments.data.source import SceneSource
from experiments.scoring.checks import collides, leaves_drivable_area
from experiments.scoring.displacement import (
    as_poses,
    average_displacement,
    final_displacement,
    heading_error,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scores:
    """Values per scene, in the order of the indices scored, and their means."""

    per_scene: dict[str, NDArray[np.float64]]
    """`ade` [m], `fde` [m], `heading_error` [rad], `collides`, `leaves_drivable_area` (0 or 1).

    Without maps there is no `leaves_drivable_area`.
    """

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
    values = {
        "ade": average_displacement(planned, driven),
        "fde": final_displacement(planned, driven),
        "heading_error": heading_error(planned, driven),
        "collides": _collisions(source, indices, planned),
    }
    if source.has_maps:
        values["leaves_drivable_area"] = _departures(source, indices, planned)
    else:
        _log.warning("the data has no maps: whether plans leave the road is not scored")
    return Scores(values)


def _collisions(source: SceneSource, indices: Indices, planned: Floats) -> Floats:
    scenes = zip(planned, indices.tolist(), strict=True)
    return np.array([collides(poses, source.boxes(i)) for poses, i in scenes], np.float64)


def _departures(source: SceneSource, indices: Indices, planned: Floats) -> Floats:
    scenes = zip(planned, indices.tolist(), strict=True)
    left = [leaves_drivable_area(poses, source.pose[i], source.map_of(i)) for poses, i in scenes]
    return np.array(left, np.float64)
