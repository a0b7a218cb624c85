"""Scenes of the PDM score as scenes to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.data.frames import Floats
from experiments.figures.bev import BevScene

if TYPE_CHECKING:
    from experiments.scoring.pdm.scene import SceneMetrics


def bev_scene(metrics: SceneMetrics, human: Floats | None = None) -> BevScene:
    """The map, the ego and what is there at t = 0, with the (P, 3) poses driven in its frame."""
    here = metrics.tracks.present[:, 0]
    kinds = zip(metrics.tracks.types, here, strict=True)
    return BevScene(
        token=metrics.token,
        ego=metrics.ego.pose,
        polygons=[(polygon.layer, polygon.ring) for polygon in metrics.polygons],
        boxes=np.asarray(metrics.tracks.boxes[here, 0], np.float64).reshape(-1, 5),
        types=[kind for kind, is_here in kinds if is_here],
        human=human,
    )
