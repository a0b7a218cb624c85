"""Photometric variation of training images, drawn for each visit of a sample.

It happens on whole batches, where the model is. What is drawn depends on the seed, the optimizer
step and the sample, never on workers, ranks or how often a training was interrupted.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.replay import replayed
from experiments.settings import ExperimentConfig

BRIGHTNESS, CONTRAST, SATURATION, CHANNEL = 0.25, 0.25, 0.25, 0.06
"""Largest relative change of all light, of its spread, of colours, and of one colour's light."""
_LUMA = (0.299, 0.587, 0.114)
"""Share of red, green and blue in the brightness of a pixel (ITU-R BT.601)."""
_DOMAIN = 0x70686F74
"""Keeps these draws apart from all others of the same seed."""
_AT_ONCE = 16
"""Images that are held as float32 at once."""


class Photometric(pl.Callback):
    """Varies `image` uint8 (B, 3, H, W) of each training batch."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Replace the images of the batch."""
        factors = draw(self.seed, trainer.global_step, batch["index"])
        batch["image"] = vary(batch["image"], factors)


def photometric(config: ExperimentConfig) -> list[pl.Callback]:
    """Return the callbacks that `data.augmentation` stands for; none without."""
    is_on = config.data.augmentation == "photometric"
    return [Photometric(config.trainer.seed)] if is_on else []


def draw(seed: int, step: int, samples: NDArray[np.int64]) -> Tensor:
    """Return factors float32 (B, 6) of a visit: brightness, contrast, saturation, red, green, blue.

    Args:
        seed: Of the training.
        step: Optimizer step at which the samples are visited.
        samples: (B,) what identifies each of them.
    """
    widths = np.array([BRIGHTNESS, CONTRAST, SATURATION, CHANNEL, CHANNEL, CHANNEL])
    drawn = [
        np.random.default_rng((_DOMAIN, seed, step, sample)).uniform(-widths, widths)
        for sample in samples.tolist()
    ]
    return torch.from_numpy(1.0 + np.stack(drawn)).float()


def vary(image: Tensor, factors: Tensor) -> Tensor:
    """Return images uint8 (B, 3, H, W) in other light.

    Each is multiplied by brightness and channel factors; colours move away from grey by the
    saturation, pixels away from the mean brightness of their image by the contrast.
    """
    if image.is_cuda:
        factors = factors.pin_memory()  # a copy of other memory waits for all that the GPU does
    factors = factors.to(image.device, non_blocking=True)
    (varied,) = replayed(_vary, [image, factors, _luma(image.device)])
    return varied


@cache
def _luma(device: torch.device) -> Tensor:
    return torch.tensor(_LUMA, device=device)


def _vary(image: Tensor, factors: Tensor, luma: Tensor) -> tuple[Tensor]:
    parts = zip(torch.split(image, _AT_ONCE), torch.split(factors, _AT_ONCE), strict=True)
    return (torch.cat([_varied(some, of_some, luma) for some, of_some in parts]),)


def _varied(image: Tensor, factors: Tensor, luma: Tensor) -> Tensor:
    brightness, contrast, saturation, channels = torch.split(factors, [1, 1, 1, 3], dim=1)
    light = torch.diag_embed(brightness * channels)
    colours = saturation[..., None] * torch.eye(3, device=image.device)
    colours = colours + (1 - saturation[..., None]) * luma.expand(3, 3)
    pixels = image.float()
    grey = (pixels.mean(dim=(2, 3)) * brightness * channels) @ luma
    offset = ((1 - contrast[:, 0]) * grey)[:, None, None]
    matrix = contrast[..., None] * (colours @ light)
    varied = torch.baddbmm(offset, matrix, pixels.flatten(2))
    return varied.round_().clamp_(0, 255).to(torch.uint8).view_as(image)
