"""A scene and a plan that can be drawn."""

from typing import Any

import numpy as np

from experiments.figures.bev import BevPlan, BevScene


def scene(**changed: Any) -> BevScene:
    values: dict[str, Any] = {
        "token": "t1",
        "ego": np.array([100.0, 50.0, np.pi / 2]),
        "polygons": [("lane", np.array([[98.0, 0.0], [102.0, 0.0], [102.0, 99.0], [98.0, 99.0]]))],
        "boxes": np.array([[97.0, 70.0, np.pi / 2, 5.0, 2.0]]),
        "types": ("vehicle",),
        "human": np.array([[2.0 * i, 0.0, 0.0] for i in range(1, 9)]),
    }
    return BevScene(**values | changed)


def plan(run: str = "a", **changed: Any) -> BevPlan:
    poses = np.array([[3.0 * i, 0.1 * i, 0.0] for i in range(1, 9)])
    values = {"anchors": np.stack([poses, poses * 1.1]), "anchor_scores": np.array([0.2, 0.9])}
    return BevPlan(run=run, poses=poses, **values | changed)
