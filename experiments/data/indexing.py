"""The index of recorded logs: built once for a data set, then mapped by all who read it.

Reading the logs of NAVSIM takes minutes and each reader would hold the result for itself. So the
first one writes it into a file, and all ranks and workers of a node share its pages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.data.columns import Columns, open_columns
from experiments.data.errors import DataError
from experiments.data.frames import Floats, to_local
from experiments.data.logs import FrameTable
from experiments.data.source import SceneIndex
from experiments.data.spools import Spools, Texts
from experiments.settings import COMMANDS, POSES, DataConfig
from experiments.settings.constants import CAMERAS

Rows = NDArray[np.int64]
NamedTables = Iterable[tuple[Path, FrameTable]]

_CODE = ("columns.py", "frames.py", "indexing.py", "logs.py", "spools.py")
"""What an index is made by; a change of any makes another one."""
_WINDOWS = ("token", "log", "frame", "command", "city", "status", "future", "pose")
_FRAMES = ("frame_token", "frame_pose", "frame_log", "first")
_TEXTS = ("cameras", "lidar")


@dataclass(frozen=True, slots=True)
class LogIndex:
    """All windows and frames of a data set, as mapped arrays."""

    columns: Columns
    key: str
    windows: SceneIndex
    status: NDArray[np.float32]
    """(N, 8) of each window, as in `Sample.status`."""
    future: NDArray[np.float32]
    """(N, 8, 3) of each window, as in `Sample.future`."""
    pose: Floats
    """(N, 3) global pose of the rear axle at the current frame of each window."""
    frame_token: NDArray[np.bytes_]
    frame_pose: Floats
    """(F, 3) global pose of the rear axle."""
    frame_log: NDArray[np.int32]
    """(F,) position in `windows.log_names`."""
    first: Rows
    """(L,) first frame of each log."""
    cameras: Texts
    """Path of each of the CAMERAS of each frame, below the sensor folder; empty if not listed."""
    lidar: Texts
    """Path of the merged point cloud of each frame; empty if not listed."""

    @property
    def log_parts(self) -> tuple[str, ...]:
        """The one of `data.parts` that each log is in; empty without parts."""
        return tuple(self.columns.facts["log_parts"])

    @property
    def num_without_route(self) -> int:
        """Windows that were left out, because their current frame has no route."""
        return int(self.columns.facts["num_without_route"])

    def __reduce__(self) -> tuple[Any, ...]:
        # A process that is not forked maps the file too, instead of being sent a copy.
        return open_index, (self.columns.path, self.key)


def key_of(config: DataConfig, logs: list[Path]) -> str:
    """Return what an index depends on, as hex sha256: logs, windows and the code.

    Raises:
        OSError: a log vanished.
    """
    windows = [config.num_history_frames, config.num_future_frames, config.frame_interval]
    kind = [windows, config.has_route, config.parts, POSES, COMMANDS, CAMERAS]
    digest = hashlib.sha256(json.dumps(kind).encode())
    for name in _CODE:
        digest.update((Path(__file__).parent / name).read_bytes())
    for path in logs:
        status = path.stat()
        part = path.parent.name if config.parts else ""
        digest.update(f"\0{part}\0{path.name}\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return digest.hexdigest()


def open_index(path: Path, key: str) -> LogIndex:
    """Map the index at `path`.

    Raises:
        FileNotFoundError: it is not there.
        TornError: it is damaged, or the index of something else.
    """
    columns = open_columns(path, key)
    texts = [f"{name}.{part}" for name in _TEXTS for part in ("end", "text")]
    arrays = columns.arrays(*_WINDOWS, *_FRAMES, *texts)
    windows = SceneIndex(
        **{name: arrays[name] for name in ("token", "log", "frame", "command", "city")},
        log_names=tuple(columns.facts["log_names"]),
        cities=tuple(columns.facts["cities"]),
    )
    return LogIndex(
        columns=columns,
        key=key,
        windows=windows,
        **{name: arrays[name] for name in ("status", "future", "pose", *_FRAMES)},
        cameras=Texts(arrays["cameras.end"], arrays["cameras.text"]),
        lidar=Texts(arrays["lidar.end"], arrays["lidar.text"]),
    )


def write_index(path: Path, key: str, config: DataConfig, tables: NamedTables) -> None:
    """Index the frames of logs, one log in memory at a time.

    Args:
        path: the file to write, which appears whole or not at all.
        key: what `key_of` says of the logs.
        config: lengths of windows.
        tables: path and frames of each log.

    Raises:
        DataError: a log is too short, or none has a route.
        OSError: the folder cannot be written, or is full.
    """
    with Spools(path.parent) as spools:
        builder = _Builder(config, spools)
        for log, table in tables:
            builder.add(log, table)
        spools.write(path, key, builder.finish())


class _Builder:
    """Appends log after log; keeps only names, and tokens until the longest is known."""

    def __init__(self, config: DataConfig, spools: Spools) -> None:
        self._config, self._spools = config, spools
        self._log_names: list[str] = []
        self._log_parts: list[str] = []
        self._tokens: list[NDArray[np.bytes_]] = []
        self._frame_tokens: list[NDArray[np.bytes_]] = []
        self._cities: list[NDArray[np.int16]] = []
        self._city_codes: dict[str, int] = {}
        self._num_frames = self._num_without_route = 0

    def add(self, path: Path, table: FrameTable) -> None:
        """Take one log."""
        _require_length(self._config, path, table)
        windows = _windows(self._config, len(table))
        current = windows[table.has_route[windows]] if self._config.has_route else windows
        part = path.parent.name if self._config.parts else ""
        log = len(self._log_names)
        append, append_texts = self._spools.append, self._spools.append_texts
        append("log", np.full(len(current), log, np.int32))
        append("frame", current + self._num_frames)
        append("command", table.command[current])
        append("status", _status(table, current))
        append("future", _future(table, current))
        append("pose", table.pose[current])
        append("frame_pose", table.pose)
        append("frame_log", np.full(len(table), log, np.int32))
        append("first", np.array([self._num_frames], np.int64))
        append_texts("cameras", _below(part, table.cameras.ravel()))
        append_texts("lidar", _below(part, table.lidar))
        self._cities.append(self._codes(table.city[current]))
        self._tokens.append(table.token[current])
        self._frame_tokens.append(table.token)
        self._log_names.append(path.stem)
        self._log_parts.append(part)
        self._num_frames += len(table)
        self._num_without_route += len(windows) - len(current)

    def _codes(self, cities: NDArray[np.str_]) -> NDArray[np.int16]:
        codes = self._city_codes
        return np.array([codes.setdefault(str(city), len(codes)) for city in cities], np.int16)

    def finish(self) -> dict[str, Any]:
        """Append what depends on all logs; returns the facts to store."""
        tokens = np.concatenate(self._tokens)
        if len(tokens) == 0:
            raise DataError(
                f"no frame of the {len(self._log_names)} logs has a route",
                hint="windows start where `roadblock_ids` is not empty, as in NAVSIM's filters;"
                " data.has_route=false takes them all",
            )
        cities = sorted(self._city_codes)
        place = np.array([cities.index(city) for city in self._city_codes], np.int16)
        self._spools.append("token", tokens)
        self._spools.append("frame_token", np.concatenate(self._frame_tokens))
        self._spools.append("city", place[np.concatenate(self._cities)])
        return {
            "log_names": self._log_names,
            "log_parts": self._log_parts,
            "cities": cities,
            "num_without_route": self._num_without_route,
        }


def _below(part: str, paths: NDArray[np.str_]) -> Iterator[str]:
    """Yield sensor paths, which logs give below the folder of their part."""
    for path in paths.tolist():
        yield f"{part}/{path}" if part and path else path


def _require_length(config: DataConfig, path: Path, table: FrameTable) -> None:
    window = config.num_history_frames + config.num_future_frames
    if len(table) < window:
        raise DataError(
            f"the log `{path}` has {len(table)} frames, too few for a window of {window}",
            hint="take it out of the folder, or name the logs to read in data.filter",
        )


def _windows(config: DataConfig, num_frames: int) -> Rows:
    """Return the rows of the current frames of all windows of a log."""
    window = config.num_history_frames + config.num_future_frames
    starts = np.arange(0, num_frames - window + 1, config.frame_interval, dtype=np.int64)
    return starts + config.num_history_frames - 1


def _status(frames: FrameTable, current: Rows) -> NDArray[np.float32]:
    one_hot = np.eye(len(COMMANDS), dtype=np.float32)[frames.command[current]]
    return np.concatenate([one_hot, frames.dynamics[current]], axis=1)


def _future(frames: FrameTable, current: Rows) -> NDArray[np.float32]:
    """Return (N, 8, 3) poses after the current frames, in the current rear-axle frames."""
    steps = np.arange(1, POSES + 1)
    ahead, now = frames.pose[current[:, None] + steps], frames.pose[current]
    local = np.empty(ahead.shape, np.float32)
    for row, (poses, origin) in enumerate(zip(ahead, now, strict=True)):
        local[row] = to_local(poses, origin)
    return local
