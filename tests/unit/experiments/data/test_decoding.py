"""Images that a GPU decodes; here the CPU decodes the same files in its place."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from experiments.data import DataError, datasets
from experiments.data.dataset import FrameDataset, PlanningDataset
from experiments.data.decoding import EncodedImages, collate, panoramas, stitched
from experiments.data.encoded import Encoded, Panorama
from experiments.data.images import read_panorama, stitch
from experiments.settings import DataConfig
from experiments.settings.constants import CAMERAS
from launcher.errors import ConfigError
from tests.unit.experiments.data.worlds import SMALL

PANORAMA = Panorama(tuple(CAMERAS), (32, 128))
CPU = torch.device("cpu")


def photo(path: Path, hw: tuple[int, int] = (90, 160), seed: int = 0) -> Path:
    """A JPEG of blobs in all colours."""
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 16, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(hw[::-1], Image.Resampling.BICUBIC).save(path, subsampling=2)
    return path


def window(folder: Path, number: int, hw: tuple[int, int] = (90, 160)) -> list[Path]:
    return [photo(folder / f"{number}-{c}.jpg", hw, 3 * number + c) for c in range(3)]


@pytest.mark.parametrize("cameras", [CAMERAS, ["CAM_F0"], ["CAM_F0", "CAM_R0"]])
@pytest.mark.parametrize("hw", [(32, 128), (256, 1024), (50, 77), (86, 340), (1024, 4096)])
@pytest.mark.parametrize("size", [(90, 160), (1080, 1920), (123, 211)])
def test_images_are_stitched_as_on_the_host(
    cameras: list[str], hw: tuple[int, int], size: tuple[int, int]
) -> None:
    draws = np.random.default_rng(0)
    pixels = [draws.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in cameras * 2]
    first, second = pixels[: len(cameras)], pixels[len(cameras) :]
    expected = np.stack([stitch(first, cameras, hw), stitch(second, cameras, hw)])
    on_device = [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in pixels]
    found = stitched(on_device, Panorama(tuple(cameras), hw))
    assert torch.equal(found, torch.from_numpy(expected))


def test_the_panorama_is_that_of_full_decoding(tmp_path: Path) -> None:
    windows = [window(tmp_path, n) for n in range(40)]  # more than are held at a time
    batch = EncodedImages([Encoded.read(paths, PANORAMA) for paths in windows])
    assert len(batch) == 40
    found = panoramas(batch, CPU)
    expected = [read_panorama(p, CAMERAS, PANORAMA.hw, scaled=False) for p in windows]
    assert found.shape == (40, 3, 32, 128)
    assert found.dtype == torch.uint8
    difference = found.int() - torch.from_numpy(np.stack(expected)).int()
    assert difference.abs().max() <= 1  # two builds of one decoder


def test_one_camera_alone_is_a_panorama(tmp_path: Path) -> None:
    path = photo(tmp_path / "front.jpg")
    alone = Panorama(("CAM_F0",), (22, 22))
    found = panoramas(EncodedImages([Encoded.read([path], alone)]), CPU)
    expected = read_panorama([path], ["CAM_F0"], (22, 22), scaled=False)
    assert (found[0].int() - torch.from_numpy(expected).int()).abs().max() <= 1


def test_images_of_a_window_that_differ_in_size_are_named(tmp_path: Path) -> None:
    paths = window(tmp_path, 0)
    photo(paths[2], (180, 320))
    told = rf"differ in size: `{paths[0]}` 90 x 160 px, .*, `{paths[2]}` 180 x 320 px"
    with pytest.raises(DataError, match=told):
        panoramas(EncodedImages([Encoded.read(paths, PANORAMA)]), CPU)
    with pytest.raises(DataError, match=told):
        read_panorama(paths, CAMERAS, PANORAMA.hw, scaled=False)


def test_an_image_that_its_exif_turns_is_refused(tmp_path: Path) -> None:
    """torchcodec turns it, Pillow does not."""
    path, exif = tmp_path / "turned.jpg", Image.Exif()
    for orientation in (1, 3):
        exif[0x0112] = orientation
        Image.new("RGB", (160, 90)).save(path, exif=exif)
        if orientation == 1:
            assert Encoded.read([path], PANORAMA).files
    with pytest.raises(DataError, match=r"turned.jpg` is turned by its EXIF orientation"):
        Encoded.read([path], PANORAMA)


@pytest.mark.parametrize("padding", [b"\n", b"\0\0", b"\r\n"])
def test_padding_behind_an_image_is_none_of_it(tmp_path: Path, padding: bytes) -> None:
    path = photo(tmp_path / "padded.jpg")
    path.write_bytes(path.read_bytes() + padding)
    assert Encoded.read([path], PANORAMA).files


def test_windows_of_several_sizes_keep_their_order(tmp_path: Path) -> None:
    sizes = [(90, 160), (180, 320), (90, 160)]
    read = [Encoded.read(window(tmp_path, n, hw), PANORAMA) for n, hw in enumerate(sizes)]
    alone = [panoramas(EncodedImages([one]), CPU) for one in read]
    assert torch.equal(panoramas(EncodedImages(read), CPU), torch.cat(alone))


def test_files_that_are_no_whole_jpeg_are_refused(tmp_path: Path) -> None:
    path = photo(tmp_path / "camera.jpg")
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 100)
    Encoded.read([path], PANORAMA)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"camera\.jpg` is torn: its end"):
        Encoded.read([path], PANORAMA)
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    with pytest.raises(DataError, match=r"image\.png` is torn or no JPEG"):
        Encoded.read([tmp_path / "image.png"], PANORAMA)
    with pytest.raises(DataError, match=r"gone\.jpg` is missing"):
        Encoded.read([tmp_path / "gone.jpg"], PANORAMA)
    with pytest.raises(DataError, match="cannot be read"):
        Encoded.read([tmp_path], PANORAMA)


def test_a_file_that_cannot_be_decoded_names_itself(tmp_path: Path) -> None:
    paths = window(tmp_path, 0)
    paths[1].write_bytes(b"\xff\xd8 nothing \xff\xd9")
    with pytest.raises(DataError, match=r"0-1\.jpg` is torn or no JPEG"):
        panoramas(EncodedImages([Encoded.read(paths, PANORAMA)]), CPU)


def test_without_torchcodec_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = EncodedImages([Encoded.read(window(tmp_path, 0), PANORAMA)])
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    with pytest.raises(ConfigError, match="needs torchcodec") as error:
        panoramas(batch, CPU)
    assert "pip install torchcodec" in str(error.value.hint)


def encoded_config(root: Path, **more: Any) -> DataConfig:
    return DataConfig(root=str(root), synthetic=SMALL, decode="gpu", **more)


def test_batches_of_windows_come_as_files_from_processes(tmp_path: Path) -> None:
    splits = datasets(encoded_config(tmp_path))
    windows = PlanningDataset(splits.source, splits.train[:5], ("image", "lidar"))
    loader: DataLoader[Any] = DataLoader(windows, batch_size=5, num_workers=1, collate_fn=collate)
    (batch,) = loader
    assert isinstance(batch["image"], EncodedImages)
    assert batch["lidar"].shape == (5, 1, 256, 256)
    assert batch["index"].tolist() == splits.train[:5].tolist()
    expected = PlanningDataset(
        datasets(DataConfig(root=str(tmp_path), synthetic=SMALL)).source,
        splits.train[:5],
        ["image"],
    )
    found = panoramas(batch["image"], CPU)
    for n in range(5):
        assert (found[n].int() - expected[n]["image"].int()).abs().max() <= 1


def test_frames_come_as_files_too(tmp_path: Path) -> None:
    splits = datasets(encoded_config(tmp_path))
    frames = FrameDataset(splits.source, splits.train_frames[:3])
    assert len(collate([frames[n] for n in range(3)])) == 3


def test_a_cpu_does_not_take_the_place_of_the_gpu(tmp_path: Path) -> None:
    batch = EncodedImages([Encoded.read(window(tmp_path, 0), PANORAMA)])
    with pytest.raises(ConfigError, match="on a GPU, but this run is on cpu"):
        batch.to("cpu", non_blocking=True)


def test_other_batches_are_torchs_own() -> None:
    items = [{"a": torch.tensor(n), "b": {"c": float(n)}} for n in range(2)]
    batch = collate(items)
    assert batch["a"].tolist() == [0, 1]
    assert batch["b"]["c"].tolist() == [0.0, 1.0]


def test_images_are_decoded_at_each_visit_or_once() -> None:
    with pytest.raises(ConfigError, match=r"data.decode=gpu.*data.cache_decoded.*two answers"):
        DataConfig(decode="gpu", cache_decoded=True)
