"""Log pickles of OpenScene: read with care, turned into arrays with one row per frame."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.data.errors import DataError
from experiments.data.frames import Floats, yaw_of
from experiments.data.images import CAMERAS

_SAFE = {
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


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in _SAFE.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it refers to `{module}.{name}`, which no log needs")


@dataclass(frozen=True, slots=True)
class FrameTable:
    """Frames of one or more logs as arrays of F rows."""

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
    """Return the arrays of one log; raises DataError for a missing key or a non-finite value."""
    try:
        quaternions = np.array([f["ego2global_rotation"] for f in frames], np.float64)
        places = np.array([f["ego2global_translation"] for f in frames], np.float64)
        commands = np.array([f["driving_command"] for f in frames]).reshape(len(frames), 4)
        table = FrameTable(
            token=np.array([f["token"] for f in frames], dtype="S"),
            timestamp_us=np.array([f["timestamp"] for f in frames], np.int64),
            pose=np.concatenate([places[:, :2], yaw_of(quaternions)[:, None]], axis=1),
            dynamics=np.array([f["ego_dynamic_state"] for f in frames], np.float32).reshape(-1, 4),
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


def concatenate(tables: list[FrameTable]) -> FrameTable:
    """Return the frames of several logs in one table."""
    columns = {
        field.name: np.concatenate([getattr(table, field.name) for table in tables])
        for field in fields(FrameTable)
    }
    return FrameTable(**columns)
