"""Which parameters of a backbone learn, and how fast. Policies act on structure, never on names."""

from __future__ import annotations

from collections.abc import Mapping

from torch.optim import Optimizer

from experiments.models.backbone import Backbone
from experiments.models.finetune_frozen import (
    FrozenBackbone,
    PartlyFrozenBackbone,
    frozen_digest,
    frozen_parameters,
    whole_backbone,
)
from experiments.models.finetune_layout import Layout
from experiments.models.optimizers import Rate
from experiments.settings import FinetuneConfig

__all__ = [
    "FrozenBackbone",
    "PartlyFrozenBackbone",
    "apply_policy",
    "backbone_rates",
    "check",
    "frozen_digest",
    "frozen_parameters",
    "whole_backbone",
]


def apply_policy(config: FinetuneConfig, backbone: Backbone) -> Backbone:
    """Return the backbone as `config.policy` wants it.

    Raises:
        ConfigError: `last_n` of more blocks than there are.
    """
    if config.policy == "frozen":
        return FrozenBackbone(backbone)
    if config.policy == "last_n":
        return PartlyFrozenBackbone(backbone, config.blocks)
    backbone.requires_grad_(True)
    return backbone


def backbone_rates(config: FinetuneConfig, backbone: Backbone) -> dict[int, Rate]:
    """Return the rate of each parameter of the backbone that learns, by the parameter's id.

    With `layerwise_decay` and n blocks, block i (from 0) learns at layer_decay**(n - i), the stem
    at layer_decay**(n + 1), the tail as fast as the head, all of them times `lr_scale`.
    """
    if config.policy != "layerwise_decay":
        rate = Rate("backbone", config.lr_scale)
        return {id(p): rate for p in backbone.parameters()}
    layout = Layout(backbone)
    last = layout.num_blocks + 1
    names = ["stem", *(f"block_{i:02d}" for i in range(layout.num_blocks)), "tail"]
    return {
        id(p): Rate(names[depth], config.lr_scale * config.layer_decay ** (last - depth))
        for p, depth in layout.parameters()
    }


def check(config: FinetuneConfig, backbone: Backbone, optimizer: Optimizer) -> None:
    """Raise RuntimeError unless gradients, modes and optimiser are what the policy plans.

    May be called after construction and after any step.
    """
    held = [p for group in optimizer.param_groups for p in group["params"]]
    scales = {
        id(p): group.get("lr_scale", 1.0)
        for group in optimizer.param_groups
        for p in group["params"]
    }
    problems = ["a parameter is in two groups"] if len(scales) < len(held) else []
    problems += _wrong_kind(config, backbone)
    problems += _frozen_problems(backbone, scales)
    problems += _learning_problems(config, backbone, scales)
    if problems:
        raise RuntimeError(f"finetune.policy={config.policy} is broken: {'; '.join(problems)}")


def _wrong_kind(config: FinetuneConfig, backbone: Backbone) -> list[str]:
    if config.policy == "frozen":
        if not isinstance(backbone, FrozenBackbone):
            return ["the backbone is not frozen"]
        if backbone.state_dict():
            return ["the wrapper has parameters or buffers of its own"]
    elif config.policy == "last_n" and not isinstance(backbone, PartlyFrozenBackbone):
        return ["the first blocks are not frozen"]
    return []


def _frozen_problems(backbone: Backbone, scales: Mapping[int, float]) -> list[str]:
    whole = whole_backbone(backbone)
    frozen = {id(p) for p in frozen_parameters(backbone)}
    problems = [
        f"`{name}` learns"
        for name, p in whole.named_parameters()
        if id(p) in frozen and (p.requires_grad or p.grad is not None or id(p) in scales)
    ]
    own = {id(module) for module in backbone.modules()}
    return problems + [
        f"`{name or 'backbone'}` is in training mode"
        for name, module in whole.named_modules()
        if module.training and id(module) not in own
    ]


def _learning_problems(
    config: FinetuneConfig, backbone: Backbone, scales: Mapping[int, float]
) -> list[str]:
    if config.policy == "frozen":
        return []
    rates = backbone_rates(config, backbone)
    problems = []
    for name, p in backbone.named_parameters():
        if not p.requires_grad or id(p) not in scales:
            problems.append(f"`{name}` does not learn")
        elif scales[id(p)] != rates[id(p)].scale:
            problems.append(
                f"`{name}` learns at {scales[id(p)]:g} of the rate, not {rates[id(p)].scale:g}"
            )
    return problems
