"""Small heads, a vocabulary of arcs, and tokens that say how a drive goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.models.backbone import BackboneSpec
from experiments.models.heads import PlanningHead, build_head
from experiments.settings import HeadConfig
from experiments.settings.head import ANCHORED
from experiments.vocabulary import Vocabulary
from tests.unit.experiments.models import tiny

TOKEN_DIM = 12
GRID_HW = (2, 8)
NAMES = ("mlp", "transformer", "gru", "hydra_mdp", "diffusion")
SPEEDS_MPS = np.linspace(0.0, 14.0, 16)
YAW_RATES_RADPS = np.linspace(-0.12, 0.12, 4)


def spec(grid_hw: tuple[int, int] = GRID_HW) -> BackboneSpec:
    return BackboneSpec(
        name="stub",
        token_dim=TOKEN_DIM,
        grid_hw=grid_hw,
        sensors=frozenset({"image"}),
        input_hw=(48, 192),
    )


def vocabulary() -> Vocabulary:
    """Return 64 arcs: 16 speeds, 4 yaw rates."""
    seconds = np.arange(1, 9) * 0.5
    speed, rate = (a.reshape(-1, 1) for a in np.meshgrid(SPEEDS_MPS, YAW_RATES_RADPS))
    x, y, heading = speed * seconds, speed * rate * seconds**2 / 2, rate * seconds
    return Vocabulary(np.stack([x, y, heading], axis=-1).astype(np.float32), "of no windows")


def config(name: str, **changes: Any) -> HeadConfig:
    sizes: dict[str, Any] = {
        "name": name,
        "hidden_dim": 64,
        "dim": 32,
        "num_heads": 2,
        "ffn_dim": 64,
        "num_layers": 1,
        "vocabulary_size": 64,
    }
    return HeadConfig(**(sizes | changes))


def head(name: str, grid_hw: tuple[int, int] = GRID_HW, **changes: Any) -> PlanningHead:
    anchors = vocabulary() if name in ANCHORED else None
    return build_head(config(name, **changes), spec(grid_hw), anchors)


def tokens(size: int, grid_hw: tuple[int, int] = GRID_HW) -> Tensor:
    return torch.randn(size, grid_hw[0] * grid_hw[1], TOKEN_DIM)


def scenes(size: int = 32) -> tuple[Tensor, dict[str, Tensor]]:
    """Return tokens that say speed and bend of a drive, and a batch with that drive."""
    batch = tiny.batch(size)
    drive = torch.stack([batch["trajectory"][:, -1, 0] / 40, batch["trajectory"][:, -1, 1] / 8], 1)
    return tokens(size) + (drive @ torch.randn(2, TOKEN_DIM))[:, None], batch


def status(size: int = 1, velocity: tuple[float, float] = (6.0, 0.0)) -> Tensor:
    values = torch.zeros(size, 8)
    values[:, 1] = 1.0
    values[:, 4:6] = torch.tensor(velocity)
    return values
