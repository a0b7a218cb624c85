"""Parameter groups and optimisers, driven by the config alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from experiments.models.optimizers_schedule import lr_factor
from experiments.settings import OptimizerConfig

__all__ = ["FULL_RATE", "Rate", "build_optimizer", "decay_groups", "lr_factor", "rated_groups"]


@dataclass(frozen=True)
class Rate:
    """How fast parameters learn."""

    name: str
    """What learns so, for curves."""
    scale: float
    """Factor on the learning rate."""


FULL_RATE = Rate("head", 1.0)
"""That of heads, and of everything that no policy slows down."""


def decay_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Split parameters that learn: matrices and kernels decay, vectors (biases, norms) do not."""
    learning = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def rated_groups(
    parameters: Iterable[nn.Parameter],
    config: OptimizerConfig,
    rate_of: Callable[[nn.Parameter], Rate],
) -> list[dict[str, Any]]:
    """Split parameters that learn by their rate, then by whether they decay.

    Each group says its `name` and its `lr_scale`. Parameters of equal scale share a group,
    whatever they are called: a policy that scales nothing has the groups of one that is absent.
    """
    members: dict[float, list[nn.Parameter]] = {}
    names: dict[float, dict[str, None]] = {}
    for parameter in parameters:
        rate = rate_of(parameter)
        members.setdefault(rate.scale, []).append(parameter)
        names.setdefault(rate.scale, {})[rate.name] = None
    return [
        {**group, "lr": config.lr * scale, "lr_scale": scale, "name": "+".join(names[scale])}
        for scale, those in members.items()
        for group in decay_groups(those, config.weight_decay)
    ]


def build_optimizer(
    parameters: Iterable[nn.Parameter],
    config: OptimizerConfig,
    rate_of: Callable[[nn.Parameter], Rate] = lambda _: FULL_RATE,
) -> Optimizer:
    """Build the optimiser over the parameters that require gradients."""
    groups = rated_groups(parameters, config, rate_of)
    if config.name == "sgd":
        return SGD(groups, lr=config.lr, momentum=config.momentum)
    kind: type[Adam | AdamW] = {"adam": Adam, "adamw": AdamW}[config.name]
    return kind(groups, lr=config.lr)
