"""The noise of a truncated diffusion (DiffusionDrive, arXiv 2411.15139) and its removal (DDIM)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from experiments.models.heads.exact import Exact
from experiments.settings.head import DiffusionConfig

NUM_STEPS = 1000
BETAS = (1e-4, 0.02)
"""First and last variance of the linear schedule of DDPM (arXiv 2006.11239)."""
UNITS = (25.0, 25.0, 2.0)
"""x, y [m] and heading [rad] of one unit of noise."""
LONGEST_PERIOD = 10000.0


class Noise(Exact):
    """Adds noise of the first steps of the schedule to poses, and takes steps back.

    x_t = sqrt(a_t) x + sqrt(1 - a_t) noise, in units of 25 m and 2 rad, with a_t the product of
    1 - beta up to step t. At step 49 the noise has a deviation of about 4.3 m per pose.
    """

    kept: Tensor
    units: Tensor

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        beta = torch.linspace(*BETAS, NUM_STEPS, dtype=torch.float64)
        kept = torch.cumprod(1.0 - beta, dim=0)[: config.truncated_at].float()
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("units", torch.tensor(UNITS), persistent=False)
        last = config.truncated_at
        self.times = [last * (config.steps - n) // config.steps - 1 for n in range(config.steps)]
        """Steps of a plan, from the noisiest on, e.g. 49 and 24."""

    def random_times(self, batch_size: int) -> Tensor:
        """Draw a step (B,) for each sample."""
        return torch.randint(len(self.kept), (batch_size,), device=self.kept.device)

    def add(self, poses: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Return poses (B, V, 8, 3) with noise of the same shape, as of step `time` (B,)."""
        signal, deviation = self._factors(time)
        return signal * poses + deviation * self.units * noise

    def back(self, noised: Tensor, clean: Tensor, time: Tensor, earlier: Tensor) -> Tensor:
        """Return what `noised` at `time` was at an `earlier` step if `clean` is what it hides."""
        signal, deviation = self._factors(time)
        noise = (noised - signal * clean) / (deviation * self.units)
        return self.add(clean, noise, earlier)

    def _factors(self, time: Tensor) -> tuple[Tensor, Tensor]:
        kept = self.kept[time].view(-1, 1, 1, 1)
        return kept.sqrt(), (1.0 - kept).sqrt()


class TimeEmbedding(Exact):
    """Steps of the schedule as sines and cosines, then a linear layer."""

    frequencies: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        exponent = torch.arange(dim // 2) / (dim // 2)
        frequencies = torch.exp(-math.log(LONGEST_PERIOD) * exponent)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.project = nn.Linear(dim, dim)

    def forward(self, time: Tensor) -> Tensor:
        """Return (B, D) of steps (B,)."""
        angle = time[:, None].float() * self.frequencies
        waves = torch.cat([angle.sin(), angle.cos()], dim=1)
        embedded: Tensor = self.project(waves.to(self.project.weight.dtype))
        return embedded
