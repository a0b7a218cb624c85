"""Log pickles of OpenScene: read with care, turned into arrays with one row per frame."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.data.errors import DataError
from experiments.data.frames import Floats, yaw_of
from experiments.settings.constants import CAMERAS

SAFE_GLOBALS = {
    "numpy": {"ndarray", "dtype"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
    "_codecs": {"encode"},
    "builtins": {"bytearray", "complex", "frozenset", "set", "slice", "range"},
    "collections": {"OrderedDict"},
}
"""All that a log of plain values and arrays needs; anything else could run code."""

_KEYS = (
    "token",
    "timestamp",
    "map_location",
    "roadblock_ids",
    "ego2global_translation",
    "ego2global_rotation",
    "ego_dynamic_state",
    "driving_command",
    "cams",
    "anns",
)
"""What is read of every frame. `lidar_path` may be missing: not everyone downloads LiDAR."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in SAFE_GLOBALS.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it refers to `{module}.{name}`, which no log needs")


@dataclass(frozen=True, slots=True)
class FrameTable:
    """Frames of one log as arrays of F rows."""

    token: NDArray[np.bytes_]
    timestamp_us: NDArray[np.int64]
    pose: Floats
    """(F, 3) x, y [m], yaw [rad] of the rear axle in the global frame."""
    dynamics: NDArray[np.float32]
    """(F, 4) vx, vy [m/s], ax, ay [m/s^2] in the ego frame."""
    command: NDArray[np.int8]
    has_route: NDArray[np.bool_]
    city: NDArray[np.str_]
    cameras: NDArray[np.str_]
    """(F, 3) paths of the CAMERAS images below the sensor folder; empty if not listed."""
    lidar: NDArray[np.str_]
    """(F,) path of the merged point cloud; empty if not listed."""

    def __len__(self) -> int:
        return len(self.token)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the frames of a log pickle that holds nothing but plain values and arrays.

    Raises:
        DataError: the file is missing, torn, empty or holds other things.
    """
    try:
        frames = _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise DataError(f"cannot read the log `{path}`: {error.strerror}") from error
    except Exception as error:  # a torn pickle raises almost anything
        raise DataError(f"the log `{path}` is torn or no log pickle: {error}") from error
    if not isinstance(frames, list) or not frames:
        raise DataError(f"the log `{path}` is not a list of frames")
    return frames


def frame_table(path: Path, frames: list[dict[str, Any]]) -> FrameTable:
    """Return the arrays of one log.

    Raises:
        DataError: a key is missing, a value is of another type or shape, or is not finite.
    """
    _require_keys(path, frames)
    try:
        quaternions = np.array([f["ego2global_rotation"] for f in frames], np.float64)
        places = np.array([f["ego2global_translation"] for f in frames], np.float64)
        commands = np.array([f["driving_command"] for f in frames]).reshape(len(frames), 4)
        dynamics = np.array([f["ego_dynamic_state"] for f in frames], np.float32)
        table = FrameTable(
            token=np.array([f["token"] for f in frames], dtype="S"),
            timestamp_us=np.array([f["timestamp"] for f in frames], np.int64),
            pose=np.concatenate([places[:, :2], _yaws(quaternions)[:, None]], axis=1),
            dynamics=dynamics.reshape(len(frames), 4),
            command=commands.argmax(1).astype(np.int8),
            has_route=np.array([len(f["roadblock_ids"]) > 0 for f in frames]),
            city=np.array([f["map_location"] for f in frames]),
            cameras=np.array([[_camera(f, name) for name in CAMERAS] for f in frames]),
            lidar=np.array([f.get("lidar_path") or "" for f in frames]),
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise DataError(f"the log `{path}` does not have OpenScene's form: {error!r}") from error
    _check(path, table, commands)
    return table


def _require_keys(path: Path, frames: list[Any]) -> None:
    """Refuse another version of the format: OpenScene's raw metadata, nuPlan's own, a newer one."""
    for number, frame in enumerate(frames):
        if not isinstance(frame, dict):
            raise DataError(f"frame {number} of the log `{path}` is a {type(frame).__name__}")
        missing = [key for key in _KEYS if key not in frame]
        if missing:
            raise DataError(
                f"the log `{path}` is of another version of the format: frame {number} has no"
                f" {', '.join(f'`{key}`' for key in missing)}",
                hint="logs of OpenScene v1.1 are read, as NAVSIM offers them (navsim_logs)",
            )
        if not isinstance(frame["token"], str):
            raise DataError(
                f"the token of frame {number} in `{path}` is not text: {frame['token']!r}"
            )
        if not isinstance(frame["timestamp"], int | np.integer):
            raise DataError(
                f"the timestamp of frame `{frame['token']}` in `{path}` is no whole number of"
                f" microseconds: {frame['timestamp']!r}"
            )


def _yaws(quaternions: Floats) -> Floats:
    """Return the yaw of each; not a number where a part is infinite, of which arctan2 makes one."""
    yaws = yaw_of(quaternions)
    return np.where(np.isfinite(quaternions).all(axis=1), yaws, np.nan)


def _camera(frame: dict[str, Any], name: str) -> str:
    return str(frame["cams"].get(name, {}).get("data_path") or "")


def _check(path: Path, table: FrameTable, commands: NDArray[Any]) -> None:
    for what, values in (("pose", table.pose), ("ego_dynamic_state", table.dynamics)):
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            token = table.token[bad[0]].decode()
            raise DataError(f"the {what} of frame `{token}` in `{path}` is not finite")
    bad = np.flatnonzero((commands.sum(1) != 1) | (commands.max(1) != 1))
    if len(bad):
        token = table.token[bad[0]].decode()
        raise DataError(f"the driving_command of frame `{token}` in `{path}` is not one-hot")
    gaps = np.abs(np.diff(table.timestamp_us) - 500_000)
    if np.any(gaps > 100_000):
        token = table.token[int(np.argmax(gaps)) + 1].decode()
        raise DataError(f"frame `{token}` in `{path}` is not 0.5 s after the one before")
