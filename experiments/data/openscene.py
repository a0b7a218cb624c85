"""Scenes of NAVSIM: log pickles and sensor blobs in OpenScene's format.

The generated data set is written in the same format and read by this very module.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from experiments.data import bev, images, pcd
from experiments.data.decoded import DecodedSensors
from experiments.data.errors import DataError
from experiments.data.frames import Floats, to_local, wrap
from experiments.data.logs import FrameTable, concatenate, frame_table, read_log
from experiments.data.maps import PolygonMap, read_map
from experiments.data.source import Sample, SceneIndex, Sensor, Traffic
from experiments.settings import COMMANDS, POSES, DataConfig

_log = logging.getLogger(__name__)

T = TypeVar("T")
Rows = NDArray[np.int64]
_KEPT_LOGS = 4
"""Logs and maps kept in memory for scoring, which goes log by log."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where an OpenScene data set lies."""

    logs: Path
    sensors: Path
    maps: Path


class OpenSceneSource:
    """All windows of the logs in a folder; reads every log once, sensor files on demand."""

    def __init__(
        self, config: DataConfig, folders: Folders, kept: DecodedSensors | None = None
    ) -> None:
        """Index all logs below `folders.logs`.

        Args:
            config: sizes and window lengths.
            folders: where logs, sensors and maps lie.
            kept: where decoded sensors are kept; None decodes for this process alone.

        Raises:
            DataError: no logs, or one that is torn, too short or not finite.
        """
        paths = sorted(folders.logs.glob("*.pkl"))
        if not paths:
            raise DataError(f"there is no log (*.pkl) in `{folders.logs}`")
        self._config, self._folders, self._paths = config, folders, paths
        self._kept = kept
        tables = [frame_table(path, read_log(path)) for path in paths]
        _require_length(config, paths, tables)
        self._frames = concatenate(tables)
        lengths = np.array([len(table) for table in tables])
        self._first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self.frame_log = np.repeat(np.arange(len(paths), dtype=np.int32), lengths)
        current = _windows(config, self._first, lengths)
        current = _with_route(current, self._frames, folders)
        self.index = _index(self._frames, self.frame_log, current, [path.stem for path in paths])
        self.status = _status(self._frames, current)
        self.future = _future(self._frames, current)
        self.pose = self._frames.pose[current]
        self.has_maps = folders.maps.is_dir()
        self._logs: OrderedDict[int, list[dict[str, Any]]] = OrderedDict()
        self._maps: OrderedDict[int, PolygonMap] = OrderedDict()

    def load(self, i: int, sensors: frozenset[Sensor]) -> Sample:
        """Read window `i`; see `SceneSource.load`."""
        index, frame = self.index, int(self.index.frame[i])
        return Sample(
            token=index.token[i].decode(),
            log_name=index.log_names[index.log[i]],
            city=index.cities[index.city[i]],
            command=COMMANDS[index.command[i]],
            status=self.status[i],
            future=self.future[i],
            image=self.image(frame) if "image" in sensors else None,
            lidar=self.lidar(frame) if "lidar" in sensors else None,
        )

    def image(self, frame: int) -> NDArray[np.uint8]:
        """Return the stitched (3, H, W) image of row `frame` of the frame table."""
        names = zip(images.CAMERAS, self._frames.cameras[frame], strict=True)
        left, front, right = (
            images.decode(self._sensor_file(frame, name, path)) for name, path in names
        )
        return images.stitch(left, front, right, self._config.image_hw)

    def lidar(self, frame: int) -> NDArray[np.float32]:
        """Return the (1, P, P) LiDAR histogram of row `frame` of the frame table."""
        path = self._sensor_file(frame, "MergedPointCloud", self._frames.lidar[frame])
        config = self._config
        return bev.histogram(pcd.read(path), config.bev_px, config.bev_range_m)

    def decoded(self, sensor: Sensor, frames: NDArray[np.int64]) -> tuple[NDArray[Any], Rows]:
        """Return an array with the decoded `frames`, and the row of each; see `SceneSource`."""
        read: Callable[[int], NDArray[Any]] = self.image if sensor == "image" else self.lidar
        if self._kept is not None:
            return self._kept.rows(sensor, len(self.frame_log), read), frames
        return np.stack([read(frame) for frame in frames.tolist()]), np.arange(len(frames))

    def boxes(self, i: int) -> Traffic:
        """Return annotated objects of window `i`; see `SceneSource.boxes`."""
        log, now = int(self.index.log[i]), int(self.index.frame[i])
        frames = _recall(self._logs, log, lambda: read_log(self._paths[log]))
        row = now - int(self._first[log])
        steps = range(self._config.num_future_frames + 1)
        parts = [self._boxes_at(frames[row + step], now, step) for step in steps]
        return Traffic(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def map_of(self, i: int) -> PolygonMap:
        """Return the map of window `i`'s log; see `SceneSource.map_of`."""
        log = int(self.index.log[i])
        path = self._folders.maps / f"{self.index.log_names[log]}.json"
        return _recall(self._maps, log, lambda: read_map(path))

    def _boxes_at(self, frame: dict[str, Any], now: int, step: int) -> tuple[NDArray[Any], ...]:
        """Return the columns of `Traffic` for one frame, moved to the ego frame of row `now`."""
        there = to_local(self._frames.pose[now + step], self._frames.pose[now])
        anns = frame["anns"]
        boxes = np.asarray(anns["gt_boxes"], np.float64).reshape(-1, 7)
        speeds = np.asarray(anns["gt_velocity_3d"], np.float64).reshape(-1, 3)
        if not (np.isfinite(boxes).all() and np.isfinite(speeds).all()):
            raise DataError(f"annotations of frame `{frame['token']}` are not finite")
        cos, sin = np.cos(there[2]), np.sin(there[2])
        turn = np.array([[cos, sin], [-sin, cos]])
        centre = boxes[:, :2] @ turn + there[:2]
        heading = wrap(boxes[:, 6:] + there[2])
        return (
            np.full(len(boxes), step, np.int64),
            np.concatenate([centre, boxes[:, 3:5], heading], axis=1),
            speeds[:, :2] @ turn,
            np.asarray(anns["gt_names"], dtype=np.str_).reshape(-1),
            np.asarray(anns["track_tokens"], dtype=np.str_).reshape(-1),
        )

    def _sensor_file(self, frame: int, sensor: str, path: str) -> Path:
        if not path:
            token = self._frames.token[frame].decode()
            log = self._paths[self.frame_log[frame]]
            raise DataError(f"frame `{token}` in `{log}` lists no file for {sensor}")
        return self._folders.sensors / str(path)


def _recall(kept: OrderedDict[int, T], key: int, make: Callable[[], T]) -> T:
    """Return `kept[key]`, making it if need be and dropping the oldest beyond a few."""
    if key not in kept:
        kept[key] = make()
        while len(kept) > _KEPT_LOGS:
            kept.popitem(last=False)
    return kept[key]


def _require_length(config: DataConfig, paths: list[Path], tables: list[FrameTable]) -> None:
    window = config.num_history_frames + config.num_future_frames
    for path, table in zip(paths, tables, strict=True):
        if len(table) < window:
            raise DataError(
                f"the log `{path}` has {len(table)} frames, too few for a window of {window}",
                hint="lower data.num_future_frames or take the log out of the folder",
            )


def _windows(config: DataConfig, first: Any, lengths: Any) -> NDArray[np.int64]:
    """Return the rows of the current frames of all windows."""
    window = config.num_history_frames + config.num_future_frames
    starts = [
        np.arange(start, start + length - window + 1, config.frame_interval)
        for start, length in zip(first, lengths, strict=True)
    ]
    return np.concatenate(starts).astype(np.int64) + config.num_history_frames - 1


def _with_route(
    current: NDArray[np.int64], frames: FrameTable, folders: Folders
) -> NDArray[np.int64]:
    """Leave out windows whose current frame has no route, as NAVSIM's scene filters do."""
    kept = current[frames.has_route[current]]
    if len(kept) == 0:
        raise DataError(f"no frame of the logs in `{folders.logs}` has a route")
    if len(kept) < len(current):
        _log.info("%d of %d windows have no route", len(current) - len(kept), len(current))
    return kept


def _index(frames: FrameTable, frame_log: NDArray[np.int32], current: NDArray[np.int64],
           log_names: list[str]) -> SceneIndex:  # fmt: skip
    cities, city = np.unique(frames.city[current], return_inverse=True)
    return SceneIndex(
        token=frames.token[current],
        log=frame_log[current],
        frame=current,
        command=frames.command[current],
        city=city.astype(np.int16),
        log_names=tuple(log_names),
        cities=tuple(str(name) for name in cities),
    )


def _status(frames: FrameTable, current: NDArray[np.int64]) -> NDArray[np.float32]:
    one_hot = np.eye(len(COMMANDS), dtype=np.float32)[frames.command[current]]
    return np.concatenate([one_hot, frames.dynamics[current]], axis=1)


def _future(frames: FrameTable, current: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (N, 8, 3) poses after the current frames, in the current rear-axle frames."""
    steps = np.arange(1, POSES + 1)
    ahead, now = frames.pose[current[:, None] + steps], frames.pose[current]
    local: Floats = np.stack([to_local(a, n) for a, n in zip(ahead, now, strict=True)])
    return local.astype(np.float32)
