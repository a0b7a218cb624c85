"""Learning-rate schedules as closed forms of the step: resuming needs nothing but the step."""

from __future__ import annotations

import math
from collections.abc import Callable

from experiments.settings import OptimizerConfig
from launcher.errors import ConfigError

RISE_SHARE = 0.3
"""Part of a one-cycle run in which the rate rises (Smith and Topin, 2018; torch's default)."""
RISE_FROM = 1 / 25
"""Factor at which it begins to."""


def lr_factor(config: OptimizerConfig, max_steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rate at each optimizer step.

    It rises linearly over `warmup_steps`, then follows the schedule over what is left of
    `max_steps`; milestones are shares of the whole run.

    Raises:
        ConfigError: the warm-up is as long as the run.
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
        if config.schedule == "step":
            return _after_drops(config, step / max_steps)
        return _fallen(config, min(1.0, (step - warmup) / (max_steps - warmup)))

    return factor


def _after_drops(config: OptimizerConfig, share: float) -> float:
    drops = sum(share >= milestone for milestone in config.milestones)
    return max(config.step_factor**drops, config.min_lr_share)


def _fallen(config: OptimizerConfig, progress: float) -> float:
    """Factor at a share of the steps after the warm-up."""
    lowest = config.min_lr_share
    if config.schedule == "cosine":
        return _cosine(1.0, lowest, progress)
    if config.schedule == "linear":
        return 1.0 + (lowest - 1.0) * progress
    if config.schedule == "one_cycle":
        if progress < RISE_SHARE:
            return _cosine(RISE_FROM, 1.0, progress / RISE_SHARE)
        return _cosine(1.0, lowest, (progress - RISE_SHARE) / (1.0 - RISE_SHARE))
    return 1.0


def _cosine(start: float, end: float, progress: float) -> float:
    """From `start` to `end` along half a cosine."""
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * progress))
