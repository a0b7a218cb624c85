"""Scenes in which two arms differ most, for a look at what they do there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from experiments.statistics.aligning import AlignedScores
from experiments.statistics.measures import measure
from experiments.statistics.table import Cell, Floats
from launcher.errors import at_least


class TokenDifference(NamedTuple):
    """How much better `a` is than `b` in one scene, meaned over their seeds, as stored."""

    token: str
    log: str
    gain: float
    """Above 0 where `a` is better, also in errors, where less is."""


def extremes(
    scores: AlignedScores, a: Cell, b: Cell, metric: str, count: int
) -> tuple[list[TokenDifference], list[TokenDifference]]:
    """The `count` scenes where `a` gains most over `b` and those where it loses most.

    The best come largest gain first, the worst largest loss first; equal gains go by token. Scenes
    without a gain are not among the best, nor those without a loss among the worst.

    Raises:
        DataError: there are no such runs or no such metric.
        ConfigError: `count` is below 1, or nothing says which way of `metric` is better.
    """
    at_least("count", count, 1)
    difference = scores.of(a, metric).mean(0) - scores.of(b, metric).mean(0)
    gains = measure(metric).direction * difference
    return _first(scores, gains, count), [
        one._replace(gain=-one.gain) for one in _first(scores, -gains, count)
    ]


def _first(scores: AlignedScores, gains: Floats, count: int) -> list[TokenDifference]:
    order = np.lexsort((scores.tokens, -gains))[:count]
    return [
        TokenDifference(str(scores.tokens[i]), str(scores.logs[i]), float(gains[i]))
        for i in order
        if gains[i] > 0
    ]
