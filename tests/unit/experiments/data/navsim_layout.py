"""What NAVSIM would put on disk for the small world: filters, lists of logs, feature caches."""

from __future__ import annotations

import gzip
import pickle
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from experiments.data.openscene import OpenSceneSource
from experiments.data.source import SENSORS
from experiments.settings import DataConfig


def write_yaml(path: Path, **entries: Any) -> str:
    """Write a table; returns the path as a config says it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(entries))
    return str(path)


def write_filter(path: Path, **entries: Any) -> str:
    """Write a scene filter as the devkit's are, with these values instead of its own."""
    usual = {
        "_target_": "navsim.common.dataclasses.SceneFilter",
        "_convert_": "all",
        "num_history_frames": 4,
        "num_future_frames": 10,
        "frame_interval": 1,
        "has_route": True,
        "max_scenes": None,
        "log_names": None,
        "tokens": None,
    }
    return write_yaml(path, **{**usual, **entries})


def tokens_of(source: OpenSceneSource, log: str | None = None) -> list[str]:
    """Tokens of all windows, or of those of a log, in the order of the index."""
    index = source.index
    rows = range(len(index))
    return [index.token[i].decode() for i in rows if log in (None, index.log_names[index.log[i]])]


def features_of(source: OpenSceneSource, i: int) -> dict[str, Any]:
    """What TransFuser's feature builder caches of a window."""
    sample = source.load(i, frozenset(SENSORS))
    assert sample.image is not None
    assert sample.lidar is not None
    return {
        "camera_feature": torch.from_numpy(sample.image).float() / 255,
        "lidar_feature": torch.from_numpy(sample.lidar),
        "status_feature": torch.from_numpy(sample.status.copy()),
    }


def targets_of(source: OpenSceneSource, i: int, bev_px: int) -> dict[str, Any]:
    """What TransFuser's target builder caches of a window; objects and classes are made up."""
    random = np.random.default_rng(i)
    classes = random.integers(0, 7, (bev_px // 2, bev_px))
    labels = random.random(30) < 0.5
    states = random.normal(size=(30, 5)).astype(np.float32) * labels[:, None]
    return {
        # As in NAVSIM: the trajectory is of doubles, and torch.Tensor() makes classes floats.
        "trajectory": torch.from_numpy(source.future[i].astype(np.float64)),
        "agent_states": torch.from_numpy(states),
        "agent_labels": torch.from_numpy(labels),
        "bev_semantic_map": torch.Tensor(classes),
    }


def dump(path: Path, table: Any) -> None:
    """Write a file of a cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wb", compresslevel=1) as file:
        pickle.dump(table, file)


def write_cache(config: DataConfig, source: OpenSceneSource, rows: Iterable[int]) -> DataConfig:
    """Cache windows below `data.root`; returns the config that reads them."""
    root = Path(config.root) / "training_cache"
    index = source.index
    for i in rows:
        folder = root / index.log_names[index.log[i]] / index.token[i].decode()
        dump(folder / "transfuser_feature.gz", features_of(source, i))
        dump(folder / "transfuser_target.gz", targets_of(source, i, config.bev_px))
    return replace(config, source="navsim_cache")


def into_parts(config: DataConfig, parts: Sequence[str]) -> DataConfig:
    """Move the logs of recorded data, and their sensors, into sub-folders in turn."""
    root = Path(config.root)
    for folder in ("navsim_logs", "sensor_blobs"):
        for n, path in enumerate(sorted((root / folder).iterdir())):
            part = root / folder / parts[n % len(parts)]
            part.mkdir(exist_ok=True)
            shutil.move(path, part / path.name)
    return replace(config, parts=list(parts))
