"""Which scene of a metric cache lies where."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from experiments.data.errors import DataError
from experiments.data.selection import few
from experiments.scoring.pdm.metric_cache import read_metric_cache
from experiments.scoring.pdm.scene import SceneMetrics
from launcher.errors import ConfigError

_FILE = "metric_cache.pkl"
_LEVELS = 3
"""Folders above a file: log, scenario type, token."""


@dataclass(frozen=True, slots=True)
class MetricCaches:
    """The scenes of a metric cache, by token; nothing is read before it is asked for."""

    folder: Path
    paths: Mapping[str, Path]
    """Token -> file. A file that the metadata lists need not be there."""

    def missing(self, tokens: Iterable[str]) -> list[str]:
        """Return those of `tokens` that have no file, in their order."""
        return [t for t in tokens if t not in self.paths or not self.paths[t].is_file()]

    def require(self, tokens: Iterable[str]) -> None:
        """Refuse a cache that lacks scenes.

        Raises:
            DataError: some of `tokens` have no file; says how many and names the first.
        """
        asked = list(tokens)
        missing = self.missing(asked)
        if missing:
            raise DataError(
                f"{len(missing)} of {len(asked)} scenes are not in the metric cache"
                f" `{self.folder}`: {few(missing)}",
                hint="cache them with NAVSIM v1.1's run_metric_caching.py, or move the metadata"
                " folder away if it lists fewer than there are; a mean over the rest would be"
                " another number",
            )

    def read(self, token: str) -> SceneMetrics:
        """Return a scene; see `read_metric_cache`.

        Raises:
            DataError: it is not in the cache, or its file cannot be used.
        """
        self.require([token])
        return read_metric_cache(self.paths[token])


def open_metric_caches(folder: Path) -> MetricCaches:
    """Find the scenes in the folder of a metric cache.

    Where the devkit has left its `metadata/*.csv`, they are taken from there, which spares
    looking into a hundred thousand folders. The paths in it are those of the machine that wrote
    them; their last four parts are looked for below `folder`.

    Raises:
        ConfigError: it is not a folder.
        DataError: there are no scenes, the metadata is of another form, or a token comes twice.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"the metric cache `{folder}` is not a folder",
            hint=f"it holds <log>/<scenario type>/<token>/{_FILE}, as NAVSIM v1.1 writes them",
        )
    tables = sorted((folder / "metadata").glob("*.csv"))
    found = [p for t in tables for p in _listed(folder, t)] if tables else _walked(folder, _LEVELS)
    paths: dict[str, Path] = {}
    for path in found:
        token = path.parent.name
        if paths.setdefault(token, path) != path:
            raise DataError(f"token `{token}` has two metric caches: `{paths[token]}`, `{path}`")
    if not paths:
        raise DataError(f"there are no metric caches in `{folder}`")
    return MetricCaches(folder, paths)


def _listed(folder: Path, table: Path) -> list[Path]:
    """Return the files that a table of the devkit lists, below `folder`."""
    try:
        header, *lines = table.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"`{table}` is torn or empty: {error}") from error
    if header != "file_name":
        raise DataError(f"`{table}` begins with `{header}`, not with `file_name`")
    found = []
    for line in filter(None, lines):
        parts = PurePosixPath(line).parts[-_LEVELS - 1 :]
        if len(parts) != _LEVELS + 1 or parts[-1] != _FILE or ".." in parts:
            raise DataError(f"`{table}` lists `{line}`, which is no metric cache")
        found.append(folder.joinpath(*parts))
    return found


def _walked(folder: Path, levels: int) -> list[Path]:
    """Return the files `levels` folders below `folder`, in the order of their names."""
    if levels == 0:
        path = folder / _FILE
        return [path] if path.is_file() else []
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir())
    return [path for name in names for path in _walked(folder / name, levels - 1)]
