"""Weights of hydra_mdp: of its scores when it chooses, and of its loss terms."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True)
class LogSumWeights:
    """Weights of `head.rule=log_sum` (Hydra-MDP, arXiv 2406.06978).

    A trajectory scores i log S_im + n log S_nc + d log S_dac + w log(t S_ttc + e S_ep +
    c S_comfort + l S_lk). The paper searched i in 0.01..0.1, n and d in 0.1..1, w in 1..10; the
    defaults are those that GTRS drives with, the inner ones those of the PDM score.
    """

    imitation: float = 0.03
    nc: float = 0.1
    dac: float = 0.9
    weighted: float = 6.0
    """Of the logarithm of the sum of what follows."""
    ttc: float = 5.0
    ep: float = 5.0
    comfort: float = 2.0
    lk: float = 0.0

    @property
    def is_weighted(self) -> bool:
        """Whether the four logarithms count differently."""
        return len({self.imitation, self.nc, self.dac, self.weighted}) > 1


@dataclass(kw_only=True)
class AdditiveWeights:
    """Weights of `head.rule=additive`: S_im (n S_nc + d S_dac + t S_ttc + e S_ep + l S_lk)."""

    nc: float = 0.2
    dac: float = 0.3
    ttc: float = 0.2
    ep: float = 0.2
    comfort: float = 0.0
    lk: float = 0.1

    @property
    def is_weighted(self) -> bool:
        """Whether the scores that count do so differently."""
        return len({weight for weight in vars(self).values() if weight}) > 1


@dataclass(kw_only=True)
class HydraLossWeights:
    """Weights of the loss terms of hydra_mdp; those of the metrics are GTRS'."""

    imitation: float = 1.0
    nc: float = 3.0
    dac: float = 3.0
    ttc: float = 4.0
    ep: float = 2.0
    """With `head.ep_loss=mse` GTRS takes 50, because squared errors are small."""
    comfort: float = 1.0
    lk: float = 2.0
