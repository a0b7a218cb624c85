"""A GPU decodes images ahead of those who read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from experiments.data import DataError
from experiments.data.decoding import EncodedImages, collate
from experiments.data.encoded import Encoded, Panorama
from experiments.data.images import read_panorama
from experiments.settings.constants import CAMERAS
from tests.unit.experiments.data.test_decoding import photo

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
pytest.importorskip("torchcodec.decoders")
PANORAMA = Panorama(tuple(CAMERAS), (256, 1024))
CYCLES = 400_000_000
"""A fifth of a second."""


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> list[list[Path]]:
    folder = tmp_path_factory.mktemp("photos")
    return [
        [photo(folder / f"{n}-{c}.jpg", (1080, 1920), 3 * n + c) for c in range(3)]
        for n in range(6)
    ]


def read(windows: list[list[Path]]) -> list[Encoded]:
    return [Encoded.read(paths, PANORAMA) for paths in windows]


def test_pixels_are_nearly_those_of_the_host(windows: list[list[Path]]) -> None:
    found = EncodedImages(read(windows)).to("cuda").cpu().int().numpy()
    expected = [read_panorama(paths, CAMERAS, PANORAMA.hw, scaled=False) for paths in windows]
    difference = np.abs(found - np.stack(expected).astype(int))
    assert difference.mean() < 0.2
    assert difference.max() <= 2


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_that_pins_gives_images_on_the_gpu(
    windows: list[list[Path]], num_workers: int
) -> None:
    items: Any = [{"image": one, "index": n} for n, one in enumerate(read(windows))]
    loader: DataLoader[Any] = DataLoader(
        items, batch_size=2, collate_fn=collate, pin_memory=True, num_workers=num_workers
    )
    batches = list(loader)
    assert all(batch["image"].is_cuda and batch["index"].is_pinned() for batch in batches)
    whole = EncodedImages(read(windows)).to("cuda")
    assert torch.equal(torch.cat([batch["image"] for batch in batches]), whole)


def test_images_that_are_still_read_are_not_overwritten(windows: list[list[Path]]) -> None:
    (first, second) = (EncodedImages(read(windows[n : n + 1])) for n in (0, 1))
    expected = first.to("cuda").long().sum().item()
    second.to("cuda")
    image = first.to("cuda")
    torch.cuda._sleep(CYCLES)
    total = image.long().sum()
    del image
    for _ in range(3):
        second.to("cuda")
    assert total.item() == expected


def test_a_file_that_is_no_jpeg_inside_names_itself(
    windows: list[list[Path]], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 nothing \xff\xd9")
    with pytest.raises(DataError, match=r"broken\.jpg` is torn or no JPEG"):
        EncodedImages(read([[*windows[0][:2], broken]])).to("cuda")
