"""What a run needs of its data, asked before it is sent: memory, and that it is there. No torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from experiments.data.assembly import Splits, datasets
from experiments.data.cache import folders_of, prepare
from experiments.data.errors import DataError
from experiments.data.filters import filters_of
from experiments.data.keeping import find_index, log_files
from experiments.data.navsim_cache import training_cache_of
from experiments.data.selection import few
from experiments.data.source import Sensor
from experiments.settings import DataConfig

GB = 2**30


def decoded_gb(config: DataConfig, sensors: Iterable[Sensor], num_frames: int) -> float:
    """Return what `cache_decoded` holds for so many frames [GB of 2**30 bytes]."""
    height, width = config.image_hw
    frame_bytes = {"image": 3 * height * width, "lidar": 4 * config.bev_px**2}
    return num_frames * sum(frame_bytes[sensor] for sensor in sensors) / GB


def known_splits(config: DataConfig) -> Splits | None:
    """Return the splits of recorded data whose index is there; None where it has to be built.

    Raises:
        ConfigError: folders, shares or the fraction are wrong.
    """
    folders = folders_of(config, prepare(config))
    return datasets(config) if find_index(config, folders.logs) is not None else None


def require_present(config: DataConfig) -> None:
    """Refuse recorded data that lacks logs, or all files of a log; looks at names of folders only.

    A run would end in the middle of its first epoch. Single files: `launch data check`.

    Raises:
        ConfigError: a folder or a filter is missing.
        DataError: logs, or their folders of sensors or features, are missing; names the first.
    """
    if config.source != "synthetic":
        # All runs of a sweep read the same data: one look is enough for them.
        _require_present(json.dumps({**asdict(config), "synthetic": None}, sort_keys=True))


@lru_cache(maxsize=64)
def _require_present(values: str) -> None:
    config = DataConfig(**{**json.loads(values), "synthetic": DataConfig().synthetic})
    folders = folders_of(config, Path(config.root))
    logs = log_files(config, folders.logs)
    there = {path.stem for path in logs}
    for scenes in filters_of(config).each():
        missing = sorted(set(scenes.log_names or ()) - there)
        if missing:
            raise DataError(
                f"{len(missing)} of the {len(scenes.log_names or ())} logs of `{scenes.name}` are"
                f" not in `{folders.logs}`: {few(missing)}",
                hint="finish the download, or take other scenes with data.filter",
            )
    is_cached = config.source == "navsim_cache"
    folder = training_cache_of(config) if is_cached else folders.sensors
    parts = [""] if is_cached or not config.parts else config.parts
    found = {entry.name for part in parts for entry in _entries(folder / part)}
    bare = [path.stem for path in logs if path.stem not in found]
    if bare:
        raise DataError(
            f"{len(bare)} of {len(logs)} logs have no folder in `{folder}`: {few(bare)}",
            hint="finish the download, or name the logs to read in data.filter",
        )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
