"""A small generated world for tests, and copies of it that may be damaged."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.data import prepare
from experiments.data.cache import folders_of
from experiments.data.logs import read_log
from experiments.data.openscene import OpenSceneSource
from experiments.settings import DataConfig, SyntheticConfig

SMALL = SyntheticConfig(seed=3, num_logs=6, frames_per_log=16, camera_hw=(45, 80))
"""All kinds of road, and too few logs for a process of their own."""
WINDOWS_PER_LOG = 3


def small_config(root: Path) -> DataConfig:
    """Return a config of the small world below `root`."""
    return DataConfig(root=str(root), synthetic=SMALL, image_hw=(32, 128), bev_px=64)


def copy_logs(config: DataConfig, target: Path, num_logs: int = 2) -> DataConfig:
    """Copy the first logs of the small world to `target`, as recorded data."""
    source = prepare(config)
    for folder in ("navsim_logs", "maps"):
        (target / folder).mkdir(parents=True)
        for path in sorted((source / folder).iterdir())[:num_logs]:
            shutil.copy(path, target / folder)
    for path in sorted((source / "sensor_blobs").iterdir())[:num_logs]:
        shutil.copytree(path, target / "sensor_blobs" / path.name)
    return replace(config, source="openscene", root=str(target))


def open_copy(config: DataConfig, kept: Path | None = None) -> OpenSceneSource:
    """Index recorded data."""
    return OpenSceneSource(config, folders_of(config, Path(config.root)), kept)


def first_log(config: DataConfig) -> Path:
    """Return the path of the first log pickle."""
    return sorted((Path(config.root) / "navsim_logs").iterdir())[0]


def edit_log(path: Path, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the frames of a log in place."""
    frames = pickle.loads(path.read_bytes())
    edit(frames)
    path.write_bytes(pickle.dumps(frames))


def sensor_file(config: DataConfig, frame: int, camera: str) -> Path:
    """Return the path of a camera image of the first log."""
    path: str = read_log(first_log(config))[frame]["cams"][camera]["data_path"]
    return Path(config.root) / "sensor_blobs" / path
