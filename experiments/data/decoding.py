"""Batches of camera images that a GPU decodes: `data.decode=gpu`.

Dataloader processes read bytes only. The thread of the dataloader that would pin a batch decodes it
(nvJPEG, through torchcodec), ahead of the training and beside what the GPU does for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from experiments.data.encoded import Encoded, Panorama
from experiments.data.errors import DataError
from experiments.data.images import BITS, ONE, differing, margins, neighbours
from launcher.errors import ConfigError

_AT_ONCE = 96
"""Images that are decoded in one call, whole windows of 1, 2 or 3 cameras. One of full size takes
6 MB, twice."""


class EncodedImages:
    """Files of a batch of windows; `to` makes images of them."""

    def __init__(self, windows: Sequence[Encoded]) -> None:
        self.panorama = windows[0].panorama
        self.paths = [path for window in windows for path in window.paths]
        files = [file for window in windows for file in window.files]
        self.sizes = [len(file) for file in files]
        # One tensor travels from a process faster than many.
        self.content = torch.frombuffer(bytearray().join(files), dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.paths) // len(self.panorama.cameras)

    def pin_memory(self, *_: Any) -> Tensor:
        """Return the images, on the current GPU: the dataloader calls it where it would pin."""
        return self.to(torch.device("cuda", torch.cuda.current_device()))

    def to(self, device: torch.device | str, **_: Any) -> Tensor:
        """Return uint8 (B, 3, H, W) on a GPU, to be used on its default stream.

        The pixels are those of `data.decode=full` but for the rounding of another decoder.

        Raises:
            ConfigError: `device` is no GPU, or torchcodec is not installed.
            DataError: a file is torn.
        """
        device = torch.device(device)
        if device.type != "cuda":
            raise ConfigError(
                f"`data.decode=gpu` decodes images on a GPU, but this run is on {device.type}",
                hint="ask for a GPU (resources.gpus=1), or use data.decode=full",
            )
        stream = _stream(device)
        with torch.cuda.stream(stream):
            images = panoramas(self, device)
            images.record_stream(torch.cuda.default_stream(device))
            done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            done.record()
        done.synchronize()
        return images


def collate(items: Sequence[Any]) -> Any:
    """Make a batch of dicts, as torch does; images that are files stay files."""
    first = items[0]
    if isinstance(first, Encoded):
        return EncodedImages(items)
    if isinstance(first, dict):
        return {name: collate([item[name] for item in items]) for name in first}
    return default_collate(list(items))


def panoramas(batch: EncodedImages, device: torch.device) -> Tensor:
    """Decode on `device`, which may be the CPU; uint8 (B, 3, H, W).

    Raises:
        ConfigError: torchcodec is not installed.
        DataError: a file is torn, or the images of a window differ in size.
    """
    files = torch.split(batch.content, batch.sizes)
    cameras = len(batch.panorama.cameras)
    parts = []
    for first in range(0, len(files), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        images = _decoded(files[some], batch.paths[some], device)
        is_one_size = len({image.shape for image in images}) == 1
        stride = len(images) if is_one_size else cameras
        for n in range(0, len(images), cameras):
            sizes = [image.shape[1:] for image in images[n : n + cameras]]
            if len(set(sizes)) > 1:
                raise differing(batch.paths[first + n : first + n + cameras], sizes)
        for n in range(0, len(images), stride):
            parts.append(stitched(images[n : n + stride], batch.panorama))
    return torch.cat(parts)


def stitched(images: list[Tensor], panorama: Panorama) -> Tensor:
    """Panoramas (B, 3, H, W) of B x C images of one size, pixel for pixel as `images.stitch` makes.

    In few operations for all of them, as their thread shares Python's lock with the training.
    """
    height, width = images[0].shape[1:]
    cameras = panorama.cameras
    top, bottom, down = _rows(height, panorama.hw[0], images[0].device)
    left, right, across = _columns((height, width), cameras, panorama.hw[1], images[0].device)
    stacked = torch.stack(images).view(-1, len(cameras), 3, height, width)

    def row_means(rows: Tensor) -> Tensor:
        side_by_side = stacked.index_select(3, rows).permute(0, 2, 3, 1, 4).flatten(3)
        before, behind = (side_by_side.index_select(3, places).int() for places in (left, right))
        return before * (ONE - across) + behind * across

    sums = row_means(top) * (ONE - down) + row_means(bottom) * down
    return ((sums + ONE * ONE // 2) >> 2 * BITS).to(torch.uint8)


@cache
def _rows(height: int, wanted: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of an image behind each of the panorama, above and below it, and the weight of these."""
    cut, _ = margins((height, 1), side=False)
    above, below, weights = neighbours(height - 2 * cut, wanted)
    found = (above + cut, below + cut, weights[:, None])
    return tuple(torch.from_numpy(array).to(device) for array in found)  # type: ignore[return-value]


@cache
def _columns(
    hw: tuple[int, int], cameras: tuple[str, ...], wanted: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """The same for columns, of the whole images side by side."""
    kept = []
    for number, camera in enumerate(cameras):
        _, cut = margins(hw, side=camera != "CAM_F0")
        kept.append(np.arange(cut, hw[1] - cut) + number * hw[1])
    there = np.concatenate(kept)
    before, behind, weights = neighbours(len(there), wanted)
    found = (there[before], there[behind], weights)
    return tuple(torch.from_numpy(array).to(device) for array in found)  # type: ignore[return-value]


def _decoded(files: Sequence[Tensor], paths: Sequence[str], device: torch.device) -> list[Tensor]:
    """Images (3, H, W) of files, all in one call: a GPU has several decoders."""
    decode_jpeg = _decoder()
    try:
        images: list[Tensor] = decode_jpeg(list(files), device=device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        for file, path in zip(files, paths, strict=True):
            try:
                decode_jpeg(file, device=device)
            except RuntimeError as reason:
                raise DataError(
                    f"the camera image `{path}` is torn or no JPEG: {reason}"
                ) from error
        raise
    return images


def _decoder() -> Any:
    try:
        return import_module("torchcodec.decoders").decode_jpeg
    except (ImportError, OSError, RuntimeError) as error:  # one for another torch, or another CUDA
        raise ConfigError(
            f"`data.decode=gpu` needs torchcodec, which cannot be imported: {error}",
            hint="install the one for this torch (pip install torchcodec), or use data.decode=full",
        ) from error


@cache
def _stream(device: torch.device) -> Any:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
