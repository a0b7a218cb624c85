"""Where a camera of a recorded frame is and how it projects, for pictures with plans in them.

OpenScene gives `sensor2lidar` and `cam_intrinsic` for each camera of each frame. The LiDAR frame is
taken as the ego frame (rear axle on the ground, x forward, y left, z up) and the lens as without
distortion, both as NAVSIM's devkit does where it projects boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.data import images
from experiments.data.errors import DataError
from experiments.data.frames import Floats
from experiments.data.openscene import OpenSceneSource
from experiments.settings.constants import CAMERAS
from launcher.errors import one_of

_KEYS = {
    "sensor2lidar_rotation": (3, 3),
    "sensor2lidar_translation": (3,),
    "cam_intrinsic": (3, 3),
}
_TOLERANCE = 1e-3
"""By which a rotation may miss being one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A pinhole camera, its axes x right, y down, z forward.

    Attributes:
        rotation: (3, 3) from the camera to the ego frame.
        translation: (3,) of the camera in the ego frame [m].
        intrinsic: (3, 3) focal lengths and principal point [px].

    Raises:
        DataError: a value has another shape, is not finite, or is no rotation.
    """

    rotation: Floats
    translation: Floats
    intrinsic: Floats

    def __post_init__(self) -> None:
        for (key, shape), values in zip(_KEYS.items(), self._values(), strict=True):
            if values.shape != shape or not np.isfinite(values).all():
                raise DataError(f"`{key}` is not {shape} finite numbers: {values.tolist()}")
        if np.abs(self.rotation @ self.rotation.T - np.eye(3)).max() > _TOLERANCE:
            raise DataError(f"`sensor2lidar_rotation` is no rotation: {self.rotation.tolist()}")

    def _values(self) -> tuple[Floats, Floats, Floats]:
        return self.rotation, self.translation, self.intrinsic

    def project(self, points: ArrayLike) -> tuple[Floats, Floats]:
        """Project (N, 3) points of the ego frame.

        Returns:
            (N, 2) columns and rows [px], 0 at the left and upper edge of the image, and (N,) depths
            [m]. Where the depth is not above 0 the place means nothing.
        """
        offset = np.asarray(points, np.float64) - self.translation
        right, down, depth = (offset @ self.rotation).T
        seen = np.stack([right, down, depth]) / np.where(depth == 0, np.nan, depth)
        return (self.intrinsic @ seen)[:2].T, depth


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraView:
    """What one camera saw, and how.

    Attributes:
        token: Of the window.
        pixels: (H, W, 3) uint8 RGB.
        calibration: For these pixels.
    """

    token: str
    pixels: NDArray[np.uint8]
    calibration: Calibration


def camera_view(source: OpenSceneSource, i: int, camera: str = "CAM_F0") -> CameraView:
    """Read the image and the calibration of a camera at the current frame of window `i`.

    Raises:
        ConfigError: `camera` is none of those that are read.
        DataError: the image is missing or torn, or the log has no usable calibration of it.
    """
    one_of("camera", camera, CAMERAS)
    frame = int(source.index.frame[i])
    token = source.index.token[i].decode()
    try:
        calibration = calibration_of(source.recorded(frame), camera)
    except DataError as error:
        raise DataError(f"frame `{token}`, {camera}: {error.message}", hint=error.hint) from error
    listed = source.log_index.cameras[frame * len(CAMERAS) + CAMERAS.index(camera)]
    if not listed:
        raise DataError(f"frame `{token}` lists no file for {camera}")
    pixels = images.decode(source.sensor_folder / listed)
    return CameraView(token=token, pixels=pixels, calibration=calibration)


def calibration_of(frame: dict[str, Any], camera: str) -> Calibration:
    """Return the calibration of a camera in a frame of a log.

    Raises:
        DataError: it lacks a value, or one is not what it should be.
    """
    entry = frame["cams"].get(camera, {})
    missing = [key for key in _KEYS if key not in entry]
    if missing:
        raise DataError(f"the log has no {', '.join(f'`{key}`' for key in missing)}")
    try:
        rotation, translation, intrinsic = (np.array(entry[key], np.float64) for key in _KEYS)
    except (TypeError, ValueError) as error:
        raise DataError(f"the calibration is not made of numbers: {error}") from error
    return Calibration(rotation=rotation, translation=translation, intrinsic=intrinsic)
