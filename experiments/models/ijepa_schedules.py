"""Learning rate, weight decay and momentum of the I-JEPA pretraining, as functions of the step.

Closed forms of the optimizer step, so that resuming needs nothing but the step. They follow the
released training code, whose first step already is one step into each schedule.
"""

from __future__ import annotations

import math

from experiments.settings import PretrainConfig


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Rise linearly from `lr_start` to `lr`, then fall along a cosine to `lr_final`."""
    warmup = int(config.warmup_share * config.steps)
    done = step + 1
    if done < warmup:
        return config.lr_start + done / warmup * (config.lr - config.lr_start)
    return _cosine(config.lr, config.lr_final, (done - warmup) / max(1, config.steps - warmup))


def weight_decay(config: PretrainConfig, step: int) -> float:
    """Rise along a cosine from `weight_decay` to `weight_decay_final`."""
    return _cosine(config.weight_decay, config.weight_decay_final, (step + 1) / config.steps)


def momentum(config: PretrainConfig, step: int) -> float:
    """Rise linearly from `ema_start` to 1: the target encoder comes to rest at the end."""
    return config.ema_start + (1.0 - config.ema_start) * min(1.0, step / config.steps)


def _cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
