"""Camera images as models see them: left, front and right in one picture, as in NAVSIM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.data.errors import DataError

CAMERAS = ("CAM_L0", "CAM_F0", "CAM_R0")
"""From left to right in the stitched image."""
_FULL_HW = (1080, 1920)
_CROP_ROWS, _CROP_SIDE = 28, 416
"""Pixels cut at 1080 x 1920: top and bottom of all, left and right of the side cameras."""

Pixels = NDArray[np.uint8]


def decode(path: Path) -> Pixels:
    """Return the (H, W, 3) RGB pixels of an image file.

    Raises:
        DataError: the file is missing, torn or no image.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise DataError(f"the camera image `{path}` is missing") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"the camera image `{path}` is torn or no image: {error}") from error


def crop(pixels: Pixels, *, side: bool) -> Pixels:
    """Cut an (H, W, 3) image by NAVSIM's margins, scaled to its size."""
    rows = round(_CROP_ROWS * pixels.shape[0] / _FULL_HW[0])
    columns = round(_CROP_SIDE * pixels.shape[1] / _FULL_HW[1]) if side else 0
    return pixels[rows : pixels.shape[0] - rows, columns : pixels.shape[1] - columns]


def stitch(left: Pixels, front: Pixels, right: Pixels, hw: tuple[int, int]) -> Pixels:
    """Return the (3, H, W) panorama of three equally high images, resized to `hw`."""
    parts = [crop(left, side=True), crop(front, side=False), crop(right, side=True)]
    panorama = np.concatenate(parts, axis=1)
    if panorama.shape[:2] != tuple(hw):
        resized = Image.fromarray(panorama).resize((hw[1], hw[0]), Image.Resampling.BILINEAR)
        panorama = np.asarray(resized)
    return np.ascontiguousarray(panorama.transpose(2, 0, 1))
