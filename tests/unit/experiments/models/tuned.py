"""Planners under a fine-tuning policy of which every field counts."""

from __future__ import annotations

from typing import Any

import torch

from experiments.models.finetune_optimizer import configure
from experiments.models.planning import PlanningModule, build_planning
from experiments.settings import (
    BackboneConfig,
    DataConfig,
    ExperimentConfig,
    FinetuneConfig,
    HeadConfig,
    OptimizerConfig,
    TrainerConfig,
)
from tests.unit.experiments.models import tiny


def planner(
    backbone: BackboneConfig, policy: FinetuneConfig, *, seed: int = 0, **optimizer: Any
) -> PlanningModule:
    torch.manual_seed(seed)
    module = build_planning(
        ExperimentConfig(
            data=DataConfig(image_hw=tiny.IMAGE_HW, bev_px=tiny.BEV_PX),
            backbone=backbone,
            head=HeadConfig(hidden_dim=16),
            finetune=policy,
            optimizer=OptimizerConfig(**({"lr": 1e-3} | optimizer)),
            trainer=TrainerConfig(max_steps=30),
        )
    )
    return module


def configured(module: PlanningModule) -> dict[str, Any]:
    """What the module's optimiser and schedule are to be."""
    return configure(
        module.backbone,
        module.head,
        finetune=module.finetune_config,
        optimizer=module.optimizer_config,
        max_steps=module.max_steps,
    )
