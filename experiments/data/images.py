"""Camera images as models see them: left, front and right in one picture, as in NAVSIM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.data.errors import DataError
from experiments.settings.constants import CAMERAS

_FULL_HW = (1080, 1920)
_CROP_ROWS, _CROP_SIDE = 28, 416
"""Pixels cut at 1080 x 1920: top and bottom of all, left and right of the side cameras."""
_SHRINKS = (8, 4, 2)
"""By what a JPEG decoder can make an image smaller while it decodes."""

Pixels = NDArray[np.uint8]
Places = NDArray[np.int64]


def decode(path: Path, cameras: Sequence[str] = CAMERAS, smallest_hw: tuple[int, int] | None = None
           ) -> Pixels:  # fmt: skip
    """Return the (H, W, 3) RGB pixels of an image file.

    Args:
        path: A JPEG, or another image.
        cameras: What the panorama is made of, if it may be made smaller.
        smallest_hw: Size of the panorama below which a JPEG is not made smaller while it is
            decoded; None decodes all pixels.

    Raises:
        DataError: the file is missing, torn or no image.
    """
    try:
        with Image.open(path) as image:
            if smallest_hw is not None:
                width, height = image.size
                shrink = shrinking((height, width), cameras, smallest_hw)
                image.draft("RGB", (width // shrink, height // shrink))
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise DataError(f"the camera image `{path}` is missing") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"the camera image `{path}` is torn or no image: {error}") from error


def shrinking(image_hw: tuple[int, int], cameras: Sequence[str], smallest_hw: tuple[int, int]
              ) -> int:  # fmt: skip
    """Return the most, of 1, 2, 4 and 8, by which images of a panorama may shrink.

    The panorama keeps at least `smallest_hw`. At 1080 x 1920 that of three cameras is 1024 x 4096,
    so that 256 x 1024 is a quarter of it to the pixel.
    """
    for shrink in _SHRINKS:
        height, width = (-(-size // shrink) for size in image_hw)
        panorama = [margins((height, width), side=camera != "CAM_F0") for camera in cameras]
        rows = height - 2 * panorama[0][0]
        columns = sum(width - 2 * cut for _, cut in panorama)
        if rows >= smallest_hw[0] and columns >= smallest_hw[1]:
            return shrink
    return 1


def margins(hw: tuple[int, int], *, side: bool) -> tuple[int, int]:
    """Return the rows at top and bottom, and the columns at each side, that NAVSIM cuts off."""
    rows = round(_CROP_ROWS * hw[0] / _FULL_HW[0])
    return rows, round(_CROP_SIDE * hw[1] / _FULL_HW[1]) if side else 0


def crop(pixels: Pixels, *, side: bool) -> Pixels:
    """Cut an (H, W, 3) image by NAVSIM's margins, scaled to its size."""
    height, width = pixels.shape[:2]
    rows, columns = margins((height, width), side=side)
    return pixels[rows : height - rows, columns : width - columns]


def resize(pixels: Pixels, hw: tuple[int, int]) -> Pixels:
    """Return an (H, W, 3) image in another size, as NAVSIM resizes: bilinearly, no antialiasing.

    Each new pixel is a mean of the 4 old ones next to its centre, however many it covers. Weights
    are multiples of 2**-11, as in OpenCV's `resize` (INTER_LINEAR), whose pixels these are up to
    the rounding of some of its builds.
    """
    top, bottom, down = neighbours(pixels.shape[0], hw[0])
    left, right, across = neighbours(pixels.shape[1], hw[1])
    across = across[:, None]

    def row_means(rows: Places) -> NDArray[np.int32]:
        of_rows = pixels[rows]
        before, behind = (of_rows[:, places].astype(np.int32) for places in (left, right))
        return before * (ONE - across) + behind * across

    down = down[:, None, None]
    sums = row_means(top) * (ONE - down) + row_means(bottom) * down
    return ((sums + ONE * ONE // 2) >> 2 * BITS).astype(np.uint8)


BITS = 11
ONE = 1 << BITS
"""Of weights, which are integers."""


def neighbours(size_in: int, size_out: int) -> tuple[Places, Places, NDArray[np.int32]]:
    """Return the old places before and behind each new one, and the weight of that behind.

    Weights are multiples of 1 / ONE.
    """
    centres = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
    before = np.clip(np.floor(centres), 0, size_in - 1).astype(np.int64)
    weights = np.round(np.clip(centres - before, 0.0, 1.0) * ONE).astype(np.int32)
    return before, np.minimum(before + 1, size_in - 1), weights


def stitch(images: Sequence[Pixels], cameras: Sequence[str], hw: tuple[int, int]) -> Pixels:
    """Return the (3, H, W) panorama of equally high images of `cameras`, resized to `hw`."""
    parts = [
        crop(image, side=camera != "CAM_F0") for image, camera in zip(images, cameras, strict=True)
    ]
    panorama = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    if panorama.shape[:2] != tuple(hw):
        panorama = resize(panorama, hw)
    return np.ascontiguousarray(panorama.transpose(2, 0, 1))


def read_panorama(paths: Sequence[Path], cameras: Sequence[str], hw: tuple[int, int], *,
                  scaled: bool) -> Pixels:  # fmt: skip
    """Return the (3, H, W) panorama of image files, one for each of `cameras`.

    Args:
        paths: The files.
        cameras: From left to right.
        hw: Size of the panorama [px].
        scaled: Whether JPEGs may shrink while they are decoded; see `data.decode`.

    Raises:
        DataError: a file is missing, torn or no image, or they differ in height.
    """
    smallest = hw if scaled else None
    images = [decode(path, cameras, smallest) for path in paths]
    if len({image.shape[0] for image in images}) > 1:
        raise differing(paths, [image.shape[:2] for image in images])
    return stitch(images, cameras, hw)


def differing(paths: Sequence[Path | str], sizes: Sequence[tuple[int, ...]]) -> DataError:
    """Return what tells that the images of a window cannot be laid side by side."""
    seen = ", ".join(
        f"`{path}` {hw[0]} x {hw[1]} px" for path, hw in zip(paths, sizes, strict=True)
    )
    return DataError(f"the camera images of a window differ in size: {seen}")
