"""Which windows train, validate and test: filters and lists of logs, or shares of the drives.

The tokens of a filter are applied here, whatever the source is. NAVSIM's own loader of cached
features ignores them (navsim/planning/training/dataset.py, CacheOnlyDataset), so that a run on a
tenth of the labels would train on all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.data.errors import DataError
from experiments.data.filters import Filters, LogLists, SceneFilter
from experiments.data.source import SceneIndex
from experiments.data.split import drive_of, split_logs, strata_of
from experiments.settings import COMMANDS, DataConfig
from launcher.errors import ConfigError

Indices = NDArray[np.int64]
_FEW = 3


@dataclass(frozen=True, slots=True)
class Parts:
    """Rows of the source's index; no log is in two parts."""

    train: Indices
    val: Indices
    test: Indices

    def items(self) -> tuple[tuple[str, Indices], ...]:
        """Name and rows of each part."""
        return (("train", self.train), ("val", self.val), ("test", self.test))


@dataclass(frozen=True, slots=True)
class Scenes:
    """What a filter takes of a source, and what of it the source lacks."""

    filter: SceneFilter
    rows: Indices
    missing_logs: tuple[str, ...]
    missing_tokens: tuple[str, ...]

    def require_whole(self) -> None:
        """Raise DataError unless all logs and tokens that the filter lists are there."""
        asked = self.filter
        for what, missing, listed, hint in (
            ("logs", self.missing_logs, asked.log_names, "finish the download of the logs"),
            (
                "tokens",
                self.missing_tokens,
                asked.tokens,
                "they are in no window of these logs: another part of the data, or frames without"
                " a route or too near to the end of a log",
            ),
        ):
            if missing:
                raise DataError(
                    f"the filter `{asked.name}` lists {len(listed or ())} {what}, and"
                    f" {len(missing)} of them are not in the data: {few(missing)}",
                    hint=hint + "; `launch data check` says more",
                )


def few(names: Iterable[str]) -> str:
    """Return the first few names for a message."""
    names = list(names)
    return ", ".join(f"`{name}`" for name in names[:_FEW]) + (", ..." if names[_FEW:] else "")


def scenes_of(index: SceneIndex, frame_log: NDArray[np.int32], asked: SceneFilter,
              config: DataConfig) -> Scenes:  # fmt: skip
    """Return what a filter takes: logs, then every so many windows, then tokens, then the first.

    That is the order of NAVSIM's filter_scenes, but logs run in the order of their names.
    """
    mask = np.ones(len(index), np.bool_)
    missing_logs: tuple[str, ...] = ()
    if asked.log_names is not None:
        missing_logs = tuple(sorted(set(asked.log_names) - set(index.log_names)))
        mask &= in_logs(index, asked.log_names)
    first = np.searchsorted(frame_log, np.arange(len(index.log_names)))
    start = index.frame - first[index.log] - (config.num_history_frames - 1)
    mask &= start % asked.stride == 0
    missing_tokens: tuple[str, ...] = ()
    if asked.tokens is not None:
        listed = np.array([token.encode() for token in asked.tokens], "S")
        listed.sort()
        mask &= _among(index.token, listed)
        found = np.sort(index.token[mask])
        missing_tokens = tuple(token.decode() for token in listed[~_among(listed, found)])
    rows = np.flatnonzero(mask)[: asked.max_scenes]
    return Scenes(asked, rows, missing_logs, missing_tokens)


def _among(values: NDArray[np.bytes_], ordered: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """Return which values are among the ordered ones."""
    if len(ordered) == 0:
        return np.zeros(len(values), np.bool_)
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    there: NDArray[np.bool_] = ordered[place] == values
    return there


def in_logs(index: SceneIndex, logs: Iterable[str]) -> NDArray[np.bool_]:
    """Return which windows are of these logs."""
    chosen = set(logs)
    return np.array([name in chosen for name in index.log_names], np.bool_)[index.log]


def log_strata(index: SceneIndex, rows: Indices) -> dict[str, str]:
    """Return the stratum of every log that has one of these windows."""
    return _strata(index, rows, index.log[rows], index.log_names)


def unit_strata(index: SceneIndex, rows: Indices, unit: str) -> tuple[dict[str, str], Any]:
    """Return the stratum of every unit of these windows, and the name of each window's unit.

    Args:
        index: all windows.
        rows: windows.
        unit: `log`, `drive` or `token`.
    """
    if unit == "token":
        names = np.char.decode(index.token[rows])
        cities = np.array(index.cities)[index.city[rows]]
        commands = np.array(COMMANDS)[index.command[rows]]
        strata = zip(names.tolist(), cities.tolist(), commands.tolist(), strict=True)
        return {name: f"{city}/{command}" for name, city, command in strata}, names
    of_log = [name if unit == "log" else drive_of(name) for name in index.log_names]
    names, number = np.unique(of_log, return_inverse=True)
    groups = number.astype(np.int32)[index.log[rows]]
    return _strata(index, rows, groups, tuple(names.tolist())), names[groups]


def _strata(
    index: SceneIndex, rows: Indices, groups: NDArray[np.int32], names: tuple[str, ...]
) -> dict[str, str]:
    """Return the stratum of every group of windows."""
    found, cities, commands = [], [], []
    city, command = index.city[rows], index.command[rows]
    for group in np.unique(groups):
        mine = groups == group
        found.append(names[group])
        cities.append(index.cities[city[mine][0]])
        commands.append(frozenset(COMMANDS[c] for c in np.unique(command[mine])))
    return strata_of(cities, commands, found)


def parts_of(index: SceneIndex, config: DataConfig, filters: Filters,
             taken: dict[str, Scenes]) -> Parts:  # fmt: skip
    """Divide the windows that filters take.

    Args:
        index: all windows.
        config: how they are divided.
        filters: those of the config.
        taken: what each filter takes, by the name of its key.

    Raises:
        ConfigError: shares or lists leave nothing, or a log would be in two parts.
    """
    main = taken["filter"].rows if "filter" in taken else np.arange(len(index))
    test = taken["test_filter"].rows if "test_filter" in taken else None
    if config.split == "random":
        return _drawn(index, config, main)
    if config.split == "custom":
        assert test is not None
        parts = Parts(main, taken["val_filter"].rows, test)
    else:
        assert filters.lists is not None
        parts = _listed(index, filters.lists, main, test)
    _refuse_empty(config, parts)
    _refuse_shared_logs(index, parts)
    return parts


def _drawn(index: SceneIndex, config: DataConfig, rows: Indices) -> Parts:
    split = split_logs(
        log_strata(index, rows),
        seed=config.split_seed,
        val_share=config.val_share,
        test_share=config.test_share,
    )
    train, val, test = (
        rows[in_logs(index, logs)[rows]] for logs in (split.train, split.val, split.test)
    )
    return Parts(train, val, test)


def _listed(index: SceneIndex, lists: LogLists, rows: Indices, test: Indices | None) -> Parts:
    known = lists.train | lists.val | lists.test
    unlisted = sorted({index.log_names[log] for log in np.unique(index.log[rows])} - known)
    if unlisted:
        raise ConfigError(
            f"{len(unlisted)} logs are in none of the lists of `data.split_files`: {few(unlisted)}",
            hint="list them, or leave them out with data.filter",
        )
    train, val, listed_test = (
        rows[in_logs(index, logs)[rows]] for logs in (lists.train, lists.val, lists.test)
    )
    return Parts(train, val, listed_test if test is None else test)


def _refuse_empty(config: DataConfig, parts: Parts) -> None:
    for name, rows in parts.items():
        if len(rows) == 0:
            raise ConfigError(
                f"`data.split={config.split}` leaves no window for {name}",
                hint="look at data.filter, data.test_filter and data.split_files;"
                " `launch data check` counts what each takes",
            )


def _refuse_shared_logs(index: SceneIndex, parts: Parts) -> None:
    logs = {name: set(np.unique(index.log[rows]).tolist()) for name, rows in parts.items()}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = sorted(index.log_names[log] for log in logs[one] & logs[other])
        if shared:
            raise ConfigError(
                f"{len(shared)} logs would be in {one} and in {other}: {few(shared)}",
                hint="windows of one log look alike, so filters must differ by whole logs",
            )
