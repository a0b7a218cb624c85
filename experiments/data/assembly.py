"""From a config to a source and its splits, ready for datasets, heads and scores."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.data.cache import folders_of, prepare
from experiments.data.filters import Filters, filters_of, forget
from experiments.data.fractions import Labelled, label_fraction
from experiments.data.navsim_cache import NavsimCacheSource, training_cache_of
from experiments.data.openscene import OpenSceneSource
from experiments.data.selection import Parts, Scenes, parts_of, scenes_of, unit_strata
from experiments.data.source import SceneIndex, SceneSource
from experiments.data.split import drive_of, tokens_sha256
from experiments.settings import DataConfig

_log = logging.getLogger(__name__)

Indices = NDArray[np.int64]
UNIT_NOTES = {"log": "log", "drive": "drive", "token": "token (not independent)"}
"""How a record names the unit of a label fraction. Neighbouring windows show the same seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """A source and the windows of each part. Only `train` shrinks with the label fraction."""

    source: SceneSource
    train: Indices
    """Windows whose labels may be learnt from."""
    train_available: Indices
    """Those at a label fraction of 1."""
    val: Indices
    test: Indices
    train_frames: Indices
    """All frames of all training logs, whatever the label fraction; for pretraining. Caches hold
    current frames of windows only, so of them it is those."""
    train_logs: tuple[str, ...]
    """Logs behind `train`."""
    val_logs: tuple[str, ...]
    test_logs: tuple[str, ...]
    num_train_logs_available: int
    """Training logs at a label fraction of 1."""
    num_train_drives_available: int
    train_tokens_sha256: str
    val_tokens_sha256: str
    test_tokens_sha256: str
    fraction: float = 1.0
    fraction_unit: str = "log"
    empty_strata: tuple[str, ...] = ()
    """Strata (city/command) of the training data of which `train` has no unit."""

    @property
    def num_train_tokens_available(self) -> int:
        """Training windows at a label fraction of 1."""
        return len(self.train_available)

    @property
    def train_drives(self) -> tuple[str, ...]:
        """Drives behind `train`."""
        return tuple(sorted({drive_of(name) for name in self.train_logs}))

    def summary(self) -> dict[str, int | float | str]:
        """Return what a run's record should say about its data."""
        return {
            "fraction": self.fraction,
            "fraction_unit": UNIT_NOTES[self.fraction_unit],
            "train_logs": len(self.train_logs),
            "train_logs_available": self.num_train_logs_available,
            "train_drives": len(self.train_drives),
            "train_drives_available": self.num_train_drives_available,
            "val_logs": len(self.val_logs),
            "test_logs": len(self.test_logs),
            "train_tokens": len(self.train),
            "train_tokens_available": self.num_train_tokens_available,
            "val_tokens": len(self.val),
            "test_tokens": len(self.test),
            "empty_strata": len(self.empty_strata),
            "train_tokens_sha256": self.train_tokens_sha256,
            "val_tokens_sha256": self.val_tokens_sha256,
            "test_tokens_sha256": self.test_tokens_sha256,
        }


def open_source(config: DataConfig) -> OpenSceneSource:
    """Prepare the data and index all its windows; raises ConfigError or DataError."""
    root = prepare(config)
    folders = folders_of(config, root)
    if config.source == "navsim_cache":
        return NavsimCacheSource(config, folders, training_cache_of(config))
    return OpenSceneSource(config, folders, root.parent if config.source == "synthetic" else None)


def taken_scenes(config: DataConfig, source: SceneSource, filters: Filters) -> dict[str, Scenes]:
    """Return what each filter of a config takes, by the name of its key."""
    named = {"filter": filters.main, "val_filter": filters.val, "test_filter": filters.test}
    return {
        key: scenes_of(source.index, source.frame_log, asked, config)
        for key, asked in named.items()
        if asked is not None
    }


def datasets(config: DataConfig) -> Splits:
    """Prepare the data of `config`, index it, split it and apply the label fraction.

    Raises:
        ConfigError: folders, filters, shares or the fraction are wrong.
        DataError: a log is torn, too short or not finite; logs or tokens that a filter lists are
            not there, or not in the cache of features.
    """
    filters = filters_of(config)
    source = open_source(config)
    taken = taken_scenes(config, source, filters)
    for scenes in taken.values():
        scenes.require_whole()
    parts = parts_of(source.index, config, filters, taken)
    if isinstance(source, NavsimCacheSource):
        source.require_cached(np.concatenate([rows for _, rows in parts.items()]))
    forget()
    return splits_of(config, source, parts)


def splits_of(config: DataConfig, source: SceneSource, parts: Parts) -> Splits:
    """Apply the label fraction to the training part.

    Raises:
        ConfigError: the fraction leaves nothing, or no label of a city.
    """
    index = source.index
    labelled, train = _labelled(config, index, parts.train)
    if labelled.empty:
        _log.info("no labels of the strata %s", ", ".join(labelled.empty))
    available = _logs(index, parts.train)
    is_cached = config.source == "navsim_cache"
    frames = index.frame[parts.train] if is_cached else _frames_of(source, available)
    return Splits(
        source=source,
        train=train,
        train_available=parts.train,
        val=parts.val,
        test=parts.test,
        train_frames=frames,
        train_logs=_logs(index, train),
        val_logs=_logs(index, parts.val),
        test_logs=_logs(index, parts.test),
        num_train_logs_available=len(available),
        num_train_drives_available=len({drive_of(name) for name in available}),
        train_tokens_sha256=_tokens_sha256(index, train),
        val_tokens_sha256=_tokens_sha256(index, parts.val),
        test_tokens_sha256=_tokens_sha256(index, parts.test),
        fraction=config.fraction,
        fraction_unit=config.fraction_unit,
        empty_strata=labelled.empty,
    )


def _labelled(config: DataConfig, index: SceneIndex, rows: Indices) -> tuple[Labelled, Indices]:
    strata, unit_of_row = unit_strata(index, rows, config.fraction_unit)
    labelled = label_fraction(
        strata,
        config.fraction,
        config.subset_seed,
        unit=config.fraction_unit,
        allow_empty=config.allow_empty_strata,
    )
    return labelled, rows[np.isin(unit_of_row, np.array(labelled.names))]


def _logs(index: SceneIndex, rows: Indices) -> tuple[str, ...]:
    return tuple(sorted(index.log_names[log] for log in np.unique(index.log[rows])))


def _frames_of(source: SceneSource, logs: tuple[str, ...]) -> Indices:
    chosen = set(logs)
    member = np.array([name in chosen for name in source.index.log_names])
    return np.flatnonzero(member[source.frame_log])


def _tokens_sha256(index: SceneIndex, rows: Indices) -> str:
    return tokens_sha256(token.decode() for token in index.token[rows])
