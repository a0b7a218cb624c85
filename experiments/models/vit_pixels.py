"""Pixels as image encoders were trained to see them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.models.backbone import unit_range

STATISTICS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and deviation of each colour channel in [0, 1]."""


class Standardise(nn.Module):
    """uint8 pixels to numbers with the mean and deviation of the training of an encoder.

    The statistics are no state: they belong to the code that reads the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, statistics: str) -> None:
        super().__init__()
        for name, values in zip(("mean", "std"), STATISTICS[statistics], strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor, like: Tensor) -> Tensor:
        """Return (B, 3, H, W) in the dtype of `like`."""
        return unit_range(image, like).sub_(self.mean).div_(self.std)
