"""How hydra_mdp makes one score of an anchor's scores."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from experiments.settings import HeadConfig

WEIGHTED = ("ttc", "ep", "comfort", "lk")
"""Metrics that `log_sum` adds before it takes the logarithm, as the PDM score does."""


def total_score(config: HeadConfig, imitation: Tensor, metrics: Mapping[str, Tensor]) -> Tensor:
    """Return the scores (B, V) by which an anchor is chosen.

    Args:
        config: Rule and weights. Without a teacher only imitation counts.
        imitation: (B, V) logits over anchors.
        metrics: (B, V) logits of each metric that is learnt.
    """
    if not config.metrics:
        return functional.log_softmax(imitation, dim=-1)
    if config.rule == "additive":
        return functional.softmax(imitation, dim=-1) * _sum(_additive(config), metrics)
    weights = config.log_sum
    score = weights.imitation * functional.log_softmax(imitation, dim=-1)
    score = score + weights.nc * functional.logsigmoid(metrics["nc"])
    score = score + weights.dac * functional.logsigmoid(metrics["dac"])
    return score + weights.weighted * torch.log(_sum(_log_sum(config), metrics))


def formula(config: HeadConfig) -> str:
    """Return the rule as it is applied, for the record."""
    if not config.metrics:
        return "S_im (no teacher, so head.rule is not used)"
    if config.rule == "additive":
        return f"S_im ({_written(_additive(config))})"
    w = config.log_sum
    outer = f"{w.imitation:g} log S_im + {w.nc:g} log S_nc + {w.dac:g} log S_dac"
    return f"{outer} + {w.weighted:g} log({_written(_log_sum(config))})"


def _additive(config: HeadConfig) -> dict[str, float]:
    weights = config.additive
    return {m: getattr(weights, m) for m in config.metrics if getattr(weights, m)}


def _log_sum(config: HeadConfig) -> dict[str, float]:
    weights = config.log_sum
    return {m: getattr(weights, m) for m in config.metrics if m in WEIGHTED and getattr(weights, m)}


def _sum(weights: Mapping[str, float], metrics: Mapping[str, Tensor]) -> Tensor:
    terms = [weight * torch.sigmoid(metrics[name]) for name, weight in weights.items()]
    return torch.stack(terms).sum(dim=0)


def _written(weights: Mapping[str, float]) -> str:
    return " + ".join(f"{weight:g} S_{name}" for name, weight in weights.items())
