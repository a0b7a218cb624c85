"""Sensor files of a frame, decoded as a config says.

What is kept of decoded sensors is of the present code if this file and those it calls are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.data import bev, images, pcd
from experiments.data.encoded import Encoded, Panorama
from experiments.settings import DataConfig


def image_of(paths: Sequence[Path], config: DataConfig) -> NDArray[np.uint8] | Encoded:
    """Return the stitched (3, H, W) image of files, one for each of `data.cameras`.

    With `data.decode=gpu` it is the files themselves. Raises DataError: see `read_panorama`.
    """
    if config.decode == "gpu":
        return Encoded.read(paths, Panorama(tuple(config.cameras), config.image_hw))
    scaled = config.decode == "scaled"
    return images.read_panorama(paths, config.cameras, config.image_hw, scaled=scaled)


def lidar_of(path: Path, config: DataConfig) -> NDArray[np.float32]:
    """Return the (1, P, P) histogram of a point cloud; raises DataError."""
    return bev.histogram(pcd.read(path), config.bev_px, config.bev_range_m)
