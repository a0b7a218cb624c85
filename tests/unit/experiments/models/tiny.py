"""Configs and batches small enough for one CPU core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from experiments.models import PlanningModule, build_planning
from experiments.settings import (
    BackboneConfig,
    DataConfig,
    ExperimentConfig,
    FinetuneConfig,
    HeadConfig,
    OptimizerConfig,
    PretrainConfig,
    TrainerConfig,
)

IMAGE_HW = (48, 192)
BEV_PX = 64
GRID_HW = (4, 16)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of pixels in [0, 1], written down here once more on purpose."""


def transfuser(**changes: Any) -> BackboneConfig:
    sizes: dict[str, Any] = {
        "stage_blocks": (1, 1, 1, 1),
        "stage_channels": (8, 16, 32, 64),
        "fusion_layers": 1,
        "fusion_heads": 2,
        "image_anchors_hw": (2, 6),
        "bev_anchors_hw": (4, 4),
    }
    return BackboneConfig(**(sizes | changes))


def ijepa(**changes: Any) -> BackboneConfig:
    sizes: dict[str, Any] = {
        "name": "ijepa",
        "patch_px": 12,
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
        "mlp_ratio": 2.0,
        "pretrain": PretrainConfig(steps=40, predictor_dim=16, predictor_depth=1, lr=3e-3),
    }
    return BackboneConfig(**(sizes | changes))


def planning(
    backbone: BackboneConfig, policy: str = "full", *, seed: int = 0, **optimizer: Any
) -> PlanningModule:
    torch.manual_seed(seed)
    return build_planning(
        ExperimentConfig(
            data=DataConfig(image_hw=IMAGE_HW, bev_px=BEV_PX),
            backbone=backbone,
            head=HeadConfig(hidden_dim=64),
            finetune=FinetuneConfig(policy=policy),
            optimizer=OptimizerConfig(**({"lr": 1e-3} | optimizer)),
            trainer=TrainerConfig(max_steps=30),
        )
    )


def batch(size: int = 8, *, seed: int = 1) -> dict[str, Tensor]:
    """Scenes with a meaning: the drive is fast if the image is bright, bends with the LiDAR."""
    draw = torch.Generator().manual_seed(seed)
    bright = torch.rand(size, generator=draw)
    left = torch.rand(size, generator=draw)
    noise = torch.rand(size, 3, *IMAGE_HW, generator=draw)
    image = (255 * (0.7 * bright[:, None, None, None] + 0.3 * noise)).to(torch.uint8)
    lidar = torch.rand(size, 1, BEV_PX, BEV_PX, generator=draw)
    lidar[..., : BEV_PX // 2] *= left[:, None, None, None]
    seconds = torch.arange(1, 9) * 0.5
    x = (2.0 + 8.0 * bright)[:, None] * seconds
    y = (left - 0.5)[:, None] * seconds**2
    heading = torch.atan2((left - 0.5)[:, None] * 2 * seconds, (2.0 + 8.0 * bright)[:, None])
    status = torch.zeros(size, 8)
    status[:, 1], status[:, 4] = 1.0, 5.0
    trajectory = torch.stack([x, y, heading], dim=-1)
    return {
        "image": image,
        "lidar": lidar,
        "status": status,
        "trajectory": trajectory,
        "index": torch.arange(size),
    }


def loader(*seeds: int, size: int = 8) -> DataLoader[dict[str, Tensor]]:
    """Yield the batches of these seeds; its own generator, as an iterator draws a seed of it."""
    batches = [batch(size, seed=seed) for seed in seeds]
    return DataLoader(batches, batch_size=None, generator=torch.Generator())  # type: ignore[arg-type]


def step(optimizer: Optimizer, loss: Tensor) -> float:
    """Take one step down the loss; return what it was."""
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    return loss.item()


def trainer(**changes: Any) -> Trainer:
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**(quiet | changes))


def fit(module: LightningModule, *, num_batches: int = 4, **changes: Any) -> Trainer:
    run = trainer(**changes)
    run.fit(module, loader(*range(num_batches)))
    return run


def resume(module: LightningModule, checkpoint: Path, *, max_steps: int) -> None:
    """Go on after two of four batches; Lightning fetches a resumed epoch from its start."""
    trainer(max_steps=max_steps).fit(
        module, loader(2, 3, 2, 3), ckpt_path=checkpoint, weights_only=True
    )
