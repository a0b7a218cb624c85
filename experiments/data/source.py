"""What any source of scenes offers: an index without sensor data, and samples on demand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from experiments.data.encoded import Encoded
from experiments.data.frames import Floats
from experiments.data.maps import PolygonMap

Sensor = Literal["image", "lidar"]
SENSORS: tuple[Sensor, ...] = ("image", "lidar")
STATUS = {"command": slice(0, 4), "velocity": slice(4, 6), "acceleration": slice(6, 8)}
"""Where what stands in a status vector. The order is TransFuser's; agents of NAVSIM differ."""
Target = Literal["agents", "bev_semantics", "teacher"]
"""What a loss may read besides the human trajectory; see `PlanningDataset`."""


@dataclass(frozen=True, slots=True)
class SceneIndex:
    """One row per window, as arrays, so that forked workers share them.

    A window is `num_history_frames + num_future_frames` consecutive frames of one log; its
    current frame is the last of the history, and that frame's token names the window.
    """

    token: NDArray[np.bytes_]
    """(N,) 16 hex digits."""
    log: NDArray[np.int32]
    """(N,) position in `log_names`."""
    frame: NDArray[np.int64]
    """(N,) row of the current frame in the source's frame table."""
    command: NDArray[np.int8]
    """(N,) position in COMMANDS."""
    city: NDArray[np.int16]
    """(N,) position in `cities`."""
    log_names: tuple[str, ...]
    cities: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.token)


@dataclass(frozen=True, slots=True)
class Sample:
    """One window, ready for a model. Arrays of sensors that were not asked for are None."""

    token: str
    log_name: str
    city: str
    command: str
    status: NDArray[np.float32]
    """(8,) one-hot command (4), vx, vy [m/s], ax, ay [m/s^2] in the ego frame."""
    future: NDArray[np.float32]
    """(8, 3) x, y [m], heading [rad] of the rear axle every 0.5 s, in the current ego frame."""
    image: NDArray[np.uint8] | Encoded | None = None
    """(3, H, W) RGB, left, front and right camera side by side; their files with
    `data.decode=gpu`."""
    lidar: NDArray[np.float32] | None = None
    """(1, P, P) bird's-eye-view histogram in 0..1; rows run forward, columns to the left."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Annotated objects of a window in the ego frame of its current frame, one row each.

    `step` 0 is now, `step` k is k * 0.5 s later; the same object has the same `track`.
    """

    step: NDArray[np.int64]
    """(M,)"""
    box: NDArray[np.float64]
    """(M, 5) centre x, y, length, width [m], heading [rad]."""
    velocity: NDArray[np.float64]
    """(M, 2) [m/s] along the axes of the current ego frame."""
    kind: NDArray[np.str_]
    """(M,) OpenScene class, such as "vehicle"."""
    track: NDArray[np.str_]
    """(M,)"""

    def at(self, step: int) -> Traffic:
        """Return the objects at one step."""
        rows = self.step == step
        return Traffic(
            self.step[rows], self.box[rows], self.velocity[rows], self.kind[rows], self.track[rows]
        )


class SceneSource(Protocol):
    """Windows of recorded drives; indices run over `index`."""

    @property
    def index(self) -> SceneIndex:
        """All windows."""

    @property
    def status(self) -> NDArray[np.float32]:
        """(N, 8) status vectors of all windows, as in `Sample.status`."""

    @property
    def future(self) -> NDArray[np.float32]:
        """(N, 8, 3) future poses of all windows, as in `Sample.future`."""

    @property
    def pose(self) -> Floats:
        """(N, 3) global pose of the rear axle at the current frames."""

    @property
    def frame_log(self) -> NDArray[np.int32]:
        """(F,) log of every frame, also of those that are no window's current frame."""

    @property
    def fingerprint(self) -> str:
        """What the data is, as text; another for other scenes, sensors or targets."""

    @property
    def has_maps(self) -> bool:
        """Whether maps come with the logs; NAVSIM's own data has none of this project's form."""

    def load(self, i: int, sensors: frozenset[Sensor]) -> Sample:
        """Read window `i`; raises DataError for a missing or torn sensor file."""

    def image(self, frame: int) -> NDArray[np.uint8] | Encoded:
        """Return the stitched (3, H, W) image of any frame; its files with `data.decode=gpu`."""

    def decoded(
        self, sensor: Sensor, frames: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return an array with the decoded `frames`, and the row in it of each.

        The array may be shared with other processes, and hold more; it is not to be written.
        """

    def prepare_sensors(self) -> None:
        """Open what is kept of decoded sensors on this node: asked once, before they are read.

        Raises:
            ConfigError: `data.decoded_dir` cannot be used.
        """

    def prepare_targets(self, wanted: Iterable[Target]) -> None:
        """Make sure that `targets` will answer, and quickly: asked once, before windows are read.

        Raises:
            ConfigError: the source cannot have one of them, such as maps it does not come with.
            DataError: what they are made from is torn.
        """

    def targets(self, i: int, wanted: Iterable[Target]) -> dict[str, NDArray[Any]]:
        """Return what auxiliary losses learn from window `i`, at its current frame.

        "agents" gives `agent_states` float32 (30, 5) x, y, heading, length, width of the nearest
        vehicles and `agent_labels` bool (30,); "bev_semantics" gives `bev_semantics` uint8
        (P / 2, P), classes of the ground ahead in the orientation of `Sample.lidar`. What a
        teacher says is no matter of the source.
        """

    def boxes(self, i: int) -> Traffic:
        """Return annotated objects of window `i`, now and at all its future frames."""

    def map_of(self, i: int) -> PolygonMap:
        """Return the map of window `i`'s log in global coordinates; DataError without one."""

    def red_lights(self, i: int) -> frozenset[str]:
        """Return the lane connectors that a red light closes at window `i`'s current frame.

        Empty where the source records no lights. Raises DataError for a torn log.
        """
