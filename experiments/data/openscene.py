"""Scenes of NAVSIM: log pickles and sensor blobs in OpenScene's format.

The generated data set is written in the same format and read by this very module.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from experiments.data.decoded import DecodedSensors
from experiments.data.encoded import Encoded
from experiments.data.errors import DataError
from experiments.data.frames import Floats, to_local, wrap
from experiments.data.indexing import LogIndex
from experiments.data.keeping import index_of
from experiments.data.lights import red_lights_of
from experiments.data.logs import read_log
from experiments.data.maps import PolygonMap, read_map
from experiments.data.sensors import image_of, lidar_of
from experiments.data.source import Sample, SceneIndex, Sensor, Target, Traffic
from experiments.data.targets_kept import TARGET_NAMES, kept_targets
from experiments.data.visited import VisitedSensors
from experiments.settings import COMMANDS, DataConfig
from experiments.settings.constants import CAMERAS
from launcher.errors import ConfigError

T = TypeVar("T")
Rows = NDArray[np.int64]
_KEPT_LOGS = 4
"""Logs, maps and boxes kept in memory for scoring, which goes log by log and asks twice."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where an OpenScene data set lies."""

    logs: Path
    sensors: Path
    maps: Path


class OpenSceneSource:
    """All windows of the logs in a folder; maps their index, reads sensor files on demand."""

    def __init__(
        self, config: DataConfig, folders: Folders, kept_below: Path | None = None
    ) -> None:
        """Open the index of all logs below `folders.logs`, building it if nobody has.

        Args:
            config: sizes and window lengths.
            folders: where logs, sensors and maps lie.
            kept_below: where decoded sensors are kept, in a folder of their own; None decodes for
                this process alone.

        Raises:
            ConfigError: the index is not there and can be written nowhere.
            DataError: no logs, or one that is torn, too short or not finite.
        """
        self._config, self._folders = config, folders
        self._index = index_of(config, folders.logs)
        self._kept: DecodedSensors | None = None
        if kept_below is not None:
            self._kept = DecodedSensors.of(config, self.frame_table, kept_below)
        self._logs: OrderedDict[int, list[dict[str, Any]]] = OrderedDict()
        self._maps: OrderedDict[int, PolygonMap] = OrderedDict()
        self._boxes: OrderedDict[int, Traffic] = OrderedDict()
        self._targets: dict[str, NDArray[Any]] = {}
        self._visited: VisitedSensors | None = None

    @property
    def index(self) -> SceneIndex:
        """All windows."""
        return self._index.windows

    @property
    def status(self) -> NDArray[np.float32]:
        """(N, 8) status vectors of all windows."""
        return self._index.status

    @property
    def future(self) -> NDArray[np.float32]:
        """(N, 8, 3) future poses of all windows."""
        return self._index.future

    @property
    def pose(self) -> Floats:
        """(N, 3) global pose of the rear axle at the current frames."""
        return self._index.pose

    @property
    def frame_log(self) -> NDArray[np.int32]:
        """(F,) log of every frame."""
        return self._index.frame_log

    @property
    def log_index(self) -> LogIndex:
        """All of the index, also what only recorded logs have."""
        return self._index

    @property
    def fingerprint(self) -> str:
        """What the data is, as text: the content of generated data, the index of recorded."""
        if self._config.source == "synthetic":
            return f"synthetic {self._folders.logs.parent.name}"
        return f"{self._config.source} {self._index.key}"

    @property
    def frame_table(self) -> str:
        """What each row of the frame table is, as text: filters and lists leave out logs."""
        names = "\n".join(self.index.log_names)
        return f"{self.fingerprint} {hashlib.sha256(names.encode()).hexdigest()}"

    @property
    def has_maps(self) -> bool:
        """Whether maps come with the logs."""
        return self._folders.maps.is_dir()

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

    def image(self, frame: int) -> NDArray[np.uint8] | Encoded:
        """Return the stitched (3, H, W) image of row `frame` of the frame table, or its files."""
        if self._visited is None:
            return self._decoded_image(frame)
        kept: NDArray[np.uint8] = self._visited.image.read(frame, self._decoded_image)
        return kept

    def _decoded_image(self, frame: int) -> NDArray[np.uint8] | Encoded:
        config, first = self._config, frame * len(CAMERAS)
        paths = [
            self._sensor_file(frame, name, self._index.cameras[first + n])
            for n, name in enumerate(CAMERAS)
            if name in config.cameras
        ]
        return image_of(paths, config)

    def lidar(self, frame: int) -> NDArray[np.float32]:
        """Return the (1, P, P) LiDAR histogram of row `frame` of the frame table."""
        if self._visited is None:
            return self._decoded_lidar(frame)
        return self._visited.lidar.read(frame, self._decoded_lidar)

    def _decoded_lidar(self, frame: int) -> NDArray[np.float32]:
        path = self._sensor_file(frame, "MergedPointCloud", self._index.lidar[frame])
        return lidar_of(path, self._config)

    def decoded(self, sensor: Sensor, frames: NDArray[np.int64]) -> tuple[NDArray[Any], Rows]:
        """Return an array with the decoded `frames`, and the row of each; see `SceneSource`."""
        read: Callable[[int], Any] = self.image if sensor == "image" else self.lidar
        if self._kept is not None:
            return self._kept_rows(self._kept, sensor, read), frames
        first = read(int(frames[0]))
        # Filled in place: a list of them all would be there twice while it is stacked.
        rows = np.empty((len(frames), *first.shape), first.dtype)
        for row, frame in enumerate(frames.tolist()):
            rows[row] = read(frame) if row else first
        return rows, np.arange(len(frames))

    def _kept_rows(
        self, kept: DecodedSensors, sensor: Sensor, read: Callable[[int], Any]
    ) -> NDArray[Any]:
        try:
            return kept.rows(sensor, len(self.frame_log), read)
        except OSError as error:
            raise ConfigError(
                f"decoded sensors cannot be kept in `{kept.folder}`: {error.strerror or error}",
                hint="make room, or decode at each visit: data.cache_decoded=false",
            ) from error

    def prepare_sensors(self) -> None:
        """Open what is kept of decoded sensors on this node; see `SceneSource`."""
        if self._visited is None:
            self._visited = VisitedSensors.of(
                self._config, self.frame_table, self._folders.sensors, len(self.frame_log)
            )

    def prepare_targets(self, wanted: Iterable[Target]) -> None:
        """Make the arrays that `targets` reads, if nobody has; see `SceneSource`."""
        self._targets = kept_targets(self, self._config, wanted)

    def targets(self, i: int, wanted: Iterable[Target]) -> dict[str, NDArray[Any]]:
        """Return auxiliary targets of window `i`; see `SceneSource.targets`."""
        names = [name for target in wanted for name in TARGET_NAMES[target]]
        if not set(names) <= set(self._targets):
            self.prepare_targets(wanted)
        frame = int(self.index.frame[i])
        return {name: self._targets[name][frame].copy() for name in names}

    def objects(self, frame: int) -> Traffic:
        """Return annotated objects at row `frame` of the frame table, in its ego frame."""
        return Traffic(*self._boxes_at(self.recorded(frame), frame, 0))

    def recorded(self, frame: int) -> dict[str, Any]:
        """Return row `frame` of the frame table as its log has it; DataError for a torn log."""
        log = int(self.frame_log[frame])
        frames = _recall(self._logs, log, lambda: read_log(self._log_path(log)))
        return frames[frame - int(self._index.first[log])]

    def map_at(self, frame: int) -> PolygonMap:
        """Return the map of the log of a frame; DataError without one."""
        return self._map_of_log(int(self.frame_log[frame]))

    def boxes(self, i: int) -> Traffic:
        """Return annotated objects of window `i`; see `SceneSource.boxes`."""
        return _recall(self._boxes, i, lambda: self._boxes_of(i))

    def _boxes_of(self, i: int) -> Traffic:
        log, now = int(self.index.log[i]), int(self.index.frame[i])
        frames = _recall(self._logs, log, lambda: read_log(self._log_path(log)))
        row = now - int(self._index.first[log])
        steps = range(self._config.num_future_frames + 1)
        parts = [self._boxes_at(frames[row + step], now, step) for step in steps]
        return Traffic(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def map_of(self, i: int) -> PolygonMap:
        """Return the map of window `i`'s log; see `SceneSource.map_of`."""
        return self._map_of_log(int(self.index.log[i]))

    def red_lights(self, i: int) -> frozenset[str]:
        """Return what red lights close now; see `SceneSource.red_lights`."""
        log, now = int(self.index.log[i]), int(self.index.frame[i])
        frames = _recall(self._logs, log, lambda: read_log(self._log_path(log)))
        return red_lights_of(frames[now - int(self._index.first[log])], self._log_path(log))

    def _map_of_log(self, log: int) -> PolygonMap:
        path = self._folders.maps / f"{self.index.log_names[log]}.json"
        return _recall(self._maps, log, lambda: read_map(path))

    def _boxes_at(self, frame: dict[str, Any], now: int, step: int) -> tuple[NDArray[Any], ...]:
        """Return the columns of `Traffic` for one frame, moved to the ego frame of row `now`."""
        pose = self._index.frame_pose
        there = to_local(pose[now + step], pose[now])
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

    @property
    def sensor_folder(self) -> Path:
        """Where the files of the sensors lie."""
        return self._folders.sensors

    def sensor_paths(self, frame: int, sensor: Sensor) -> list[Path]:
        """Return the files that a sensor of a frame is read from, whether or not they are there.

        Where the log lists none, the path says so and is that of no file.
        """
        if sensor == "image":
            first = frame * len(CAMERAS)
            listed = [
                (camera, self._index.cameras[first + n])
                for n, camera in enumerate(CAMERAS)
                if camera in self._config.cameras
            ]
        else:
            listed = [("MergedPointCloud", self._index.lidar[frame])]
        token = self._index.frame_token[frame].decode()
        return [
            self._folders.sensors / (path or f"(frame {token} lists no file for {name})")
            for name, path in listed
        ]

    def _sensor_file(self, frame: int, sensor: str, path: str) -> Path:
        if not path:
            token = self._index.frame_token[frame].decode()
            log = self._log_path(int(self.frame_log[frame]))
            raise DataError(f"frame `{token}` in `{log}` lists no file for {sensor}")
        return self._folders.sensors / path

    def _log_path(self, log: int) -> Path:
        part = self._index.log_parts[log]
        return self._folders.logs / part / f"{self.index.log_names[log]}.pkl"


def _recall(kept: OrderedDict[int, T], key: int, make: Callable[[], T]) -> T:
    """Return `kept[key]`, making it if need be and dropping the oldest beyond a few."""
    if key not in kept:
        kept[key] = make()
        while len(kept) > _KEPT_LOGS:
            kept.popitem(last=False)
    return kept[key]
