"""The PDM score of NAVSIM v1.1, computed for many plans at once.

`score` judges plans in a `SceneMetrics`, which is built from JSON, from synthetic scenes or from
NAVSIM's metric caches; `preflight` proves on the machine at hand that it does so rightly.
"""

from experiments.scoring.pdm.preflight import preflight
from experiments.scoring.pdm.scene import EgoState, MapPolygon, SceneMetrics, Tracks
from experiments.scoring.pdm.score import (
    METRIC_VERSION,
    Scores,
    score,
    score_scenes,
    scorer_sha,
)

__all__ = [
    "METRIC_VERSION",
    "EgoState",
    "MapPolygon",
    "SceneMetrics",
    "Scores",
    "Tracks",
    "preflight",
    "score",
    "score_scenes",
    "scorer_sha",
]
