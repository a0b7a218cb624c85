"""Driving scenes: generated or recorded, split, and served as arrays or tensors.

Importing this package does not import torch; the torch datasets are in
`experiments.data.dataset`.
"""

from experiments.data.assembly import Splits, datasets, open_source
from experiments.data.cache import prepare
from experiments.data.errors import DataError
from experiments.data.maps import MapPolygon, PolygonMap
from experiments.data.source import Sample, SceneIndex, SceneSource, Sensor, Traffic

__all__ = [
    "DataError",
    "MapPolygon",
    "PolygonMap",
    "Sample",
    "SceneIndex",
    "SceneSource",
    "Sensor",
    "Splits",
    "Traffic",
    "datasets",
    "open_source",
    "prepare",
]
