"""Optimiser and schedule of a planner under its fine-tuning policy."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from experiments.models.backbone import Backbone
from experiments.models.finetune import backbone_rates, check
from experiments.models.optimizers import FULL_RATE, build_optimizer, lr_factor
from experiments.settings import FinetuneConfig, OptimizerConfig


def configure(
    backbone: Backbone,
    *others: nn.Module,
    finetune: FinetuneConfig,
    optimizer: OptimizerConfig,
    max_steps: int,
) -> dict[str, Any]:
    """Return what `LightningModule.configure_optimizers` returns, checked against the policy.

    Args:
        backbone: As `apply_policy` returned it.
        others: Everything else that learns, such as the head, at the full rate.
        finetune: The policy.
        optimizer: Optimiser and schedule.
        max_steps: Optimizer steps of the training.
    """
    rates = backbone_rates(finetune, backbone)
    parameters = [*backbone.parameters(), *(p for part in others for p in part.parameters())]
    built = build_optimizer(parameters, optimizer, lambda p: rates.get(id(p), FULL_RATE))
    check(finetune, backbone, built)
    schedule = LambdaLR(built, lr_factor(optimizer, max_steps))
    return {"optimizer": built, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
