from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.data import DataError
from experiments.data.images import CAMERAS, crop, decode, read_panorama, resize, shrinking, stitch


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
    panorama = stitch([plain(10), plain(20), plain(30)], CAMERAS, (86, 340))
    assert panorama.shape == (3, 86, 340)
    assert panorama[:, 40, [0, 89, 90, 249, 250, 339]].tolist() == [[10, 10, 20, 20, 30, 30]] * 3


def test_panorama_is_resized() -> None:
    assert stitch([plain(1)] * 3, CAMERAS, (32, 128)).shape == (3, 32, 128)


def test_channels_stay_red_green_blue() -> None:
    red = np.zeros((90, 160, 3), np.uint8)
    red[..., 0] = 200
    assert stitch([red] * 3, CAMERAS, (32, 128))[:, 5, 5].tolist() == [200, 0, 0]


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


def saved(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path, "JPEG", quality=95)
    return path


def gradient(hw: tuple[int, int] = (1080, 1920)) -> np.ndarray:
    rows, columns = np.mgrid[: hw[0], : hw[1]]
    channels = [rows * 200 // hw[0], columns * 200 // hw[1], (rows + columns) * 200 // sum(hw)]
    return np.stack(channels, axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("image_hw", "cameras", "smallest_hw", "expected"),
    [
        ((1080, 1920), CAMERAS, (256, 1024), 4),
        ((1080, 1920), CAMERAS, (257, 1024), 2),
        ((1080, 1920), CAMERAS, (512, 2048), 2),
        ((1080, 1920), CAMERAS, (1024, 4096), 1),
        ((1080, 1920), ("CAM_F0",), (224, 224), 4),
        ((90, 160), CAMERAS, (48, 192), 1),
    ],
)
def test_images_shrink_only_as_far_as_the_panorama_allows(
    image_hw: tuple[int, int], cameras: tuple[str, ...], smallest_hw: tuple[int, int], expected: int
) -> None:
    assert shrinking(image_hw, cameras, smallest_hw) == expected


def test_at_full_size_a_scaled_panorama_is_a_quarter_without_a_resize(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", gradient())
    assert decode(path, CAMERAS, (256, 1024)).shape == (270, 480, 3)
    full = read_panorama([path] * 3, CAMERAS, (256, 1024), scaled=False).astype(int)
    scaled = read_panorama([path] * 3, CAMERAS, (256, 1024), scaled=True).astype(int)
    assert scaled.shape == full.shape == (3, 256, 1024)
    assert 0 < np.abs(scaled - full).mean() < 1.0
    seams = np.r_[272 - 3 : 272 + 3, 752 - 3 : 752 + 3]
    assert np.abs(np.delete(scaled - full, seams, axis=2)).max() <= 3


def test_one_camera_is_a_panorama_of_its_own(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", gradient())
    image = read_panorama([path], ["CAM_F0"], (224, 224), scaled=True)
    assert image.shape == (3, 224, 224)
    assert abs(int(image[1, 112, 112]) - 100) < 4


def test_a_truncated_image_is_refused_however_it_is_decoded(tmp_path: Path) -> None:
    path = saved(tmp_path / "torn.jpg", gradient())
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DataError, match=r"torn\.jpg` is torn"):
        decode(path, CAMERAS, (256, 1024))


def test_a_quarter_is_the_mean_of_the_four_pixels_in_the_middle() -> None:
    """That is what OpenCV makes of NAVSIM's 1024 x 4096 panorama, to the bit."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 3), dtype=np.uint8)
    middle = np.stack([pixels[i::4, j::4] for i in (1, 2) for j in (1, 2)]).astype(int)
    assert np.array_equal(resize(pixels, (4, 8)), (middle.sum(axis=0) + 2) // 4)


def test_resizing_keeps_edges_and_plain_colours() -> None:
    assert resize(plain(255), (33, 47)).min() == 255
    ramp = np.arange(0, 250, 10, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    wider = resize(ramp, (1, 50))[0, :, 0].astype(int)
    assert (wider[0], wider[-1]) == (0, 240)
    assert (np.diff(wider) >= 0).all()
    assert np.array_equal(resize(ramp, (1, 25)), ramp)
