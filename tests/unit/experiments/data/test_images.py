from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.data import DataError
from experiments.data.images import crop, decode, stitch


def plain(value: int, hw: tuple[int, int] = (90, 160)) -> np.ndarray:
    return np.full((*hw, 3), value, np.uint8)


def test_full_size_images_are_cropped_by_navsims_margins() -> None:
    pixels = np.zeros((1080, 1920, 3), np.uint8)
    pixels[28:-28, 416:-416] = 1
    assert crop(pixels, side=True).shape == (1024, 1088, 3)
    assert crop(pixels, side=True).min() == 1
    assert crop(pixels, side=False).shape == (1024, 1920, 3)


def test_margins_scale_with_the_image() -> None:
    assert crop(plain(0), side=True).shape == (86, 90, 3)
    assert crop(plain(0), side=False).shape == (86, 160, 3)


def test_cameras_stand_left_front_right() -> None:
    panorama = stitch(plain(10), plain(20), plain(30), (86, 340))
    assert panorama.shape == (3, 86, 340)
    assert panorama[:, 40, [0, 89, 90, 249, 250, 339]].tolist() == [[10, 10, 20, 20, 30, 30]] * 3


def test_panorama_is_resized() -> None:
    assert stitch(plain(1), plain(1), plain(1), (32, 128)).shape == (3, 32, 128)


def test_channels_stay_red_green_blue() -> None:
    red = np.zeros((90, 160, 3), np.uint8)
    red[..., 0] = 200
    assert stitch(red, red, red, (32, 128))[:, 5, 5].tolist() == [200, 0, 0]


def test_a_missing_image_names_itself(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg` is missing"):
        decode(tmp_path / "gone.jpg")


def test_a_truncated_image_names_itself(tmp_path: Path) -> None:
    path = tmp_path / "torn.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"torn\.jpg` is torn"):
        decode(path)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("not an image")
    with pytest.raises(DataError, match=r"text\.jpg"):
        decode(path)
