"""Parameter groups, optimisers and learning-rate schedules, driven by the config alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import Adam, AdamW, Optimizer

from experiments.settings import OptimizerConfig
from launcher.errors import ConfigError


def decay_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Split parameters that learn: matrices and kernels decay, vectors (biases, norms) do not."""
    learning = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> Optimizer:
    """Build the optimiser over the parameters that require gradients."""
    groups = decay_groups(parameters, config.weight_decay)
    kind: type[Adam | AdamW] = {"adam": Adam, "adamw": AdamW}[config.name]
    return kind(groups, lr=config.lr)


def lr_factor(config: OptimizerConfig, max_steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rate at each optimizer step.

    It rises linearly over `warmup_steps`, then stays at 1 or falls along a cosine to 0 at
    `max_steps`. A closed form of the step: resuming needs nothing but the step.
    """
    warmup = config.warmup_steps
    if warmup >= max_steps:
        raise ConfigError(
            f"`optimizer.warmup_steps={warmup}` leaves nothing of `trainer.max_steps={max_steps}`",
            hint="warm up for a tenth of the steps or less",
        )

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if config.schedule == "constant":
            return 1.0
        progress = min(1.0, (step - warmup) / (max_steps - warmup))
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    return factor
