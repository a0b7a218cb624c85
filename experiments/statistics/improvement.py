"""How often one arm beats another, whatever by how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from experiments.statistics.aligning import AlignedScores
from experiments.statistics.measures import measure
from experiments.statistics.resampling import (
    Bootstrap,
    Interval,
    interval,
    log_means,
    require_two_logs,
)
from experiments.statistics.table import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Improvement:
    """Probabilities that a run of `a` beats one of `b`; ties count half.

    Attributes:
        over_runs: Of the score over all tokens, for a random seed of each: U / (Sa Sb) of Mann and
            Whitney. It has no interval: the pairs of seeds are few.
        over_logs: Of the score on one log, for a random log and a random seed of each; each log
            counts the same (Agarwal et al. 2021, with logs as tasks).
        interval: Of `over_logs`, over logs.
    """

    a: Cell
    b: Cell
    metric: str
    over_runs: float
    over_logs: float
    interval: Interval
    num_pairs: int
    num_logs: int


def probability_of_improvement(
    scores: AlignedScores, a: Cell, b: Cell, metric: str, bootstrap: Bootstrap | None = None
) -> Improvement:
    """Estimate how often runs of `a` beat runs of `b` by `metric`.

    Raises:
        DataError: there are no such runs or metric, or all tokens are of one log.
        ConfigError: nothing says which way of `metric` is better.
    """
    bootstrap = bootstrap or Bootstrap()
    direction = measure(metric).direction
    ours, counts = scores.log_sums(a, metric)
    theirs, _ = scores.log_sums(b, metric)
    require_two_logs(counts)
    ours, theirs = direction * ours, direction * theirs
    # Division by the same counts on both sides would change no comparison, but split ties.
    wins = (np.sign(ours[:, None] - theirs[None]) + 1) / 2
    by_log = wins.mean((0, 1))
    drawn = log_means(by_log[:, None], np.ones(len(counts)), bootstrap)[:, 0]
    won = stats.mannwhitneyu(ours.sum(1), theirs.sum(1)).statistic
    pairs = len(ours) * len(theirs)
    low, high = interval(drawn, bootstrap)
    return Improvement(
        a=a,
        b=b,
        metric=metric,
        over_runs=float(won / pairs),
        over_logs=float(by_log.mean()),
        interval=Interval(max(0.0, low), min(1.0, high)),
        num_pairs=pairs,
        num_logs=len(counts),
    )
