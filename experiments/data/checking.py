"""What of a data set is there: scenes of each part, what filters list, files of sensors."""

from __future__ import annotations

import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.assembly import Indices, Splits, open_source, splits_of, taken_scenes
from experiments.data.checking_facts import PUBLISHED, Published
from experiments.data.filters import filters_of
from experiments.data.navsim_cache import NavsimCacheSource
from experiments.data.openscene import OpenSceneSource
from experiments.data.selection import Parts, Scenes, parts_of
from experiments.data.source import SENSORS, Sensor
from experiments.data.split import drive_of, tokens_sha256
from experiments.settings import DataConfig

_THREADS = 16
"""Files are asked for side by side: a network disk answers each after a while."""
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class PartReport:
    """What is there of a part."""

    logs: int
    drives: int
    tokens: int
    tokens_sha256: str
    published: Published | None
    """What the part has in the published data, if it is such a one."""


@dataclass(frozen=True, slots=True)
class FilterReport:
    """What is there of what a filter lists."""

    name: str
    logs_listed: int | None
    logs_missing: int
    tokens_listed: int | None
    tokens_found: int
    tokens_sha256: str | None
    """Of the tokens that are listed, whether or not they are there."""
    published: Published | None
    missing: tuple[str, ...]
    """The first logs and tokens that are not there."""


@dataclass(frozen=True, slots=True)
class FilesReport:
    """The files of the sensors, or of the cache, that the windows of all parts need."""

    files: int
    missing: int
    empty: int
    size_bytes: int
    examples: tuple[str, ...]
    """The first that are missing or empty."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that a check found."""

    source: str
    split: str
    fraction: float
    fraction_unit: str
    labelled: PartReport
    """What is left of `train` at the label fraction."""
    empty_strata: tuple[str, ...]
    shared_drives: tuple[str, ...]
    """Drives of which logs are in more than one part: they look alike, though no log is shared."""
    cities: dict[str, int]
    """Windows of all parts in each city."""
    parts: dict[str, PartReport]
    filters: dict[str, FilterReport]
    files: dict[str, FilesReport]

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing, and published parts have as much as was published."""
        whole = not any(f.logs_missing or f.missing for f in self.filters.values())
        files = not any(f.missing or f.empty for f in self.files.values())
        return whole and files and not self.deviations()

    def deviations(self) -> list[str]:
        """Return a sentence for each count that differs from the published one."""
        found = [
            _deviation(f"filter {f.name}", f.published, f.logs_listed, f.tokens_listed)
            for f in self.filters.values()
        ]
        found += [_deviation(k, p.published, p.logs, p.tokens) for k, p in self.parts.items()]
        return [sentence for sentence in found if sentence is not None]


def _deviation(
    what: str, published: Published | None, logs: int | None, tokens: int | None
) -> str | None:
    if published is None or (logs, tokens) == (published.logs, published.tokens):
        return None
    return (
        f"{what}: {logs or 0:,} logs and {tokens or 0:,} tokens;"
        f" {published.logs:,} and {published.tokens:,} were published"
    )


def check(config: DataConfig, sensors: Collection[Sensor] = SENSORS) -> Report:
    """Look at all data of a config; what filters list and is missing is counted, not refused.

    Raises:
        ConfigError: a folder, a filter or a share is wrong, or nothing of a part is there.
        DataError: a log is torn, too short or not finite.
    """
    filters = filters_of(config)
    source = open_source(config)
    taken = taken_scenes(config, source, filters)
    parts = parts_of(source.index, config, filters, taken)
    splits = splits_of(config, source, parts)
    rows = np.concatenate([rows for _, rows in parts.items()])
    named = _published_parts(config)
    return Report(
        source=config.source,
        split=config.split,
        fraction=config.fraction,
        fraction_unit=str(splits.summary()["fraction_unit"]),
        labelled=_part(splits, splits.train, None),
        empty_strata=splits.empty_strata,
        shared_drives=_shared_drives(source, parts),
        cities={
            city: int((source.index.city[rows] == code).sum())
            for code, city in enumerate(source.index.cities)
        },
        parts={name: _part(splits, part, named.get(name)) for name, part in parts.items()},
        filters={f"data.{key}": _filter(scenes) for key, scenes in taken.items()},
        files=_files(source, rows, sensors),
    )


def _published_parts(config: DataConfig) -> dict[str, Published]:
    """Return what was published of the parts; `navtrain` is divided by the devkit's lists."""
    if config.split != "navsim":
        return {}
    names = {"test": config.test_filter}
    if config.filter == "navtrain" and not config.split_files:
        names |= {"train": "navtrain/train", "val": "navtrain/val"}
    return {part: PUBLISHED[name] for part, name in names.items() if name in PUBLISHED}


def _part(splits: Splits, rows: Indices, published: Published | None) -> PartReport:
    index = splits.source.index
    logs = [index.log_names[log] for log in np.unique(index.log[rows])]
    tokens = (token.decode() for token in index.token[rows])
    drives = len({drive_of(name) for name in logs})
    return PartReport(len(logs), drives, len(rows), tokens_sha256(tokens), published)


def _filter(scenes: Scenes) -> FilterReport:
    asked = scenes.filter
    return FilterReport(
        name=asked.name,
        logs_listed=None if asked.log_names is None else len(asked.log_names),
        logs_missing=len(scenes.missing_logs),
        tokens_listed=None if asked.tokens is None else len(asked.tokens),
        tokens_found=len(scenes.rows),
        tokens_sha256=None if asked.tokens is None else tokens_sha256(asked.tokens),
        published=PUBLISHED.get(asked.name),
        missing=(*scenes.missing_logs[:_SHOWN], *scenes.missing_tokens[:_SHOWN]),
    )


def _shared_drives(source: OpenSceneSource, parts: Parts) -> tuple[str, ...]:
    index = source.index
    drives = [
        {drive_of(index.log_names[log]) for log in np.unique(index.log[rows])}
        for _, rows in parts.items()
    ]
    train, val, test = drives
    return tuple(sorted((train & val) | (train & test) | (val & test)))


def _files(
    source: OpenSceneSource, rows: Indices, sensors: Collection[Sensor]
) -> dict[str, FilesReport]:
    if isinstance(source, NavsimCacheSource):
        if not sensors:
            return {}
        files = [source.files_of(int(row)) for row in rows]
        return {
            kind: _stat_all([pair[n] for pair in files], source.cache)
            for n, kind in enumerate(("features", "targets"))
        }
    frames = source.index.frame[rows].tolist()
    return {
        sensor: _stat_all(
            [path for frame in frames for path in source.sensor_paths(frame, sensor)],
            source.sensor_folder,
        )
        for sensor in sensors
    }


def _stat_all(paths: list[Path], below: Path) -> FilesReport:
    with ThreadPoolExecutor(_THREADS) as pool:
        sizes = list(pool.map(_size, paths, chunksize=256))
    bad = [path for path, size in zip(paths, sizes, strict=True) if not size]
    return FilesReport(
        files=len(paths),
        missing=sum(size is None for size in sizes),
        empty=sum(size == 0 for size in sizes),
        size_bytes=sum(size or 0 for size in sizes),
        examples=tuple(_shown(path, below) for path in bad[:_SHOWN]),
    )


def _shown(path: Path, below: Path) -> str:
    return str(path.relative_to(below)) if path.is_relative_to(below) else str(path)


def _size(path: Path) -> int | None:
    """Return the size of a file; None where there is none."""
    try:
        return os.stat(path).st_size if path.name else None  # noqa: PTH116 half as fast otherwise
    except OSError:
        return None


def as_json(report: Report) -> dict[str, Any]:
    """Return plain values of a report."""
    return {
        **asdict(report),
        "is_complete": report.is_complete,
        "deviations": report.deviations(),
    }
