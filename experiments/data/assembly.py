"""From a config to a source and its splits, ready for datasets, heads and scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.data.cache import folders_of, prepare
from experiments.data.decoded import DecodedSensors
from experiments.data.openscene import OpenSceneSource
from experiments.data.source import SceneIndex, SceneSource
from experiments.data.split import label_fraction, split_logs, strata_of, tokens_sha256
from experiments.settings import COMMANDS, DataConfig

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Splits:
    """A source and the windows of each part. Only `train` shrinks with the label fraction."""

    source: SceneSource
    train: Indices
    """Windows whose labels may be learnt from."""
    val: Indices
    test: Indices
    train_frames: Indices
    """All frames of all training logs, whatever the label fraction; for pretraining."""
    train_logs: tuple[str, ...]
    """Logs behind `train`."""
    val_logs: tuple[str, ...]
    test_logs: tuple[str, ...]
    num_train_logs_available: int
    """Training logs at a label fraction of 1."""
    train_tokens_sha256: str
    val_tokens_sha256: str
    test_tokens_sha256: str

    def summary(self) -> dict[str, int | str]:
        """Return what a run's record should say about its data."""
        return {
            "train_logs": len(self.train_logs),
            "train_logs_available": self.num_train_logs_available,
            "val_logs": len(self.val_logs),
            "test_logs": len(self.test_logs),
            "train_tokens": len(self.train),
            "val_tokens": len(self.val),
            "test_tokens": len(self.test),
            "train_tokens_sha256": self.train_tokens_sha256,
            "val_tokens_sha256": self.val_tokens_sha256,
            "test_tokens_sha256": self.test_tokens_sha256,
        }


def open_source(config: DataConfig) -> OpenSceneSource:
    """Prepare the data and index all its windows; raises ConfigError or DataError."""
    root = prepare(config)
    kept = DecodedSensors.of(config, root) if config.source == "synthetic" else None
    return OpenSceneSource(config, folders_of(config, root), kept)


def _log_strata(index: SceneIndex) -> dict[str, str]:
    """Return the stratum of every log that has a window."""
    names, cities, commands = [], [], []
    for log in np.unique(index.log):
        rows = index.log == log
        names.append(index.log_names[log])
        cities.append(index.cities[index.city[rows][0]])
        commands.append(frozenset(COMMANDS[c] for c in np.unique(index.command[rows])))
    return strata_of(cities, commands, names)


def datasets(config: DataConfig) -> Splits:
    """Prepare the data of `config`, index it, split it and apply the label fraction.

    Raises:
        ConfigError: folders, shares or the fraction are wrong.
        DataError: a log is torn, too short or not finite.
    """
    source = open_source(config)
    index, strata = source.index, _log_strata(source.index)
    split = split_logs(
        strata, seed=config.split_seed, val_share=config.val_share, test_share=config.test_share
    )
    available = {name: strata[name] for name in split.train}
    labelled = label_fraction(available, config.fraction, config.subset_seed)
    train, val, test = (
        _rows_of(index.log_names, index.log, logs) for logs in (labelled, split.val, split.test)
    )
    return Splits(
        source=source,
        train=train,
        val=val,
        test=test,
        train_frames=_rows_of(index.log_names, source.frame_log, split.train),
        train_logs=labelled,
        val_logs=split.val,
        test_logs=split.test,
        num_train_logs_available=len(split.train),
        train_tokens_sha256=_tokens_sha256(index, train),
        val_tokens_sha256=_tokens_sha256(index, val),
        test_tokens_sha256=_tokens_sha256(index, test),
    )


def _tokens_sha256(index: SceneIndex, rows: Indices) -> str:
    return tokens_sha256(token.decode() for token in index.token[rows])


def _rows_of(names: tuple[str, ...], log: NDArray[np.int32], wanted: Iterable[str]) -> Indices:
    chosen = set(wanted)
    member = np.array([name in chosen for name in names])
    return np.flatnonzero(member[log])
