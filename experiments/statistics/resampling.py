"""Bootstrap over logs and seeds, the one that all intervals here come from.

Two things are a draw from many: the logs that are scored, and the seeds of the runs. All runs are
scored on the same logs, so the factors are crossed, not nested: one resample of the logs holds for
all runs at once (a resample of logs for each seed would divide the spread between logs by the
number of seeds, though more seeds bring no new logs).

Logs are drawn with replacement, as whole clusters of tokens. Their statistic is a ratio, the sum
over tokens by the number of tokens, because resamples of logs differ in size.

Seeds are few. Means of three values drawn with replacement never leave the range of the three and
cover a true mean 75 % of the time, so seeds are drawn from Student's t with their sample variance.
Part of that variance is not the seeds' own: two runs with the same true score differ on a finite
set of logs (their interaction with the logs), and the resampled logs carry that part already. It
is estimated from the residuals of the logs and taken out, as in the two-way clustered variance of
Cameron, Gelbach and Miller (2011), and in place of the tripled interaction of drawing both factors
by replacement (Owen 2007). Of d degrees of freedom between seeds only the share 1 - 1/d of it is
taken out: few seeds can lie close together by luck, and taking all of it out would then leave
nothing for the seeds (intervals of two seeds would hold the truth 86 % of the time).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from experiments.data.errors import DataError
from experiments.statistics.table import Floats
from launcher.errors import ConfigError

FEWEST_RESAMPLES = 2_000
FEW_LOGS = 20
"""Below it the resampled logs are too few for more than a rough interval."""
_BLOCK_DRAWS = 2_000_000
"""Draws of logs that are made at a time: 48 MB; no more are kept for each number of logs."""
_LOGS, _LOG_SCALE, _SEEDS = 0, 1, 2
"""Streams of random numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """How to resample.

    Raises:
        ConfigError: fewer than FEWEST_RESAMPLES, or a confidence outside of (0, 1).
    """

    resamples: int = 10_000
    confidence: float = 0.95
    """Share of intervals that hold the truth."""
    seed: int = 0
    """The same seed gives the same numbers to the bit."""

    def __post_init__(self) -> None:
        if self.resamples < FEWEST_RESAMPLES:
            raise ConfigError(
                f"`resamples={self.resamples}` is below {FEWEST_RESAMPLES}: the ends of an"
                " interval would be noise"
            )
        if not 0 < self.confidence < 1:
            raise ConfigError(f"`confidence={self.confidence}` lies outside of (0, 1)")

    def stream(self, kind: int, index: int = 0) -> np.random.Generator:
        """Random numbers of their own for each purpose."""
        return np.random.default_rng([self.seed, kind, index])


class Interval(NamedTuple):
    """Two ends of a confidence interval."""

    low: float
    high: float


class Term(NamedTuple):
    """Runs of one cell in a sum of cells: `weight` times the mean over their seeds."""

    weight: float
    sums: Floats
    """(S, L) sums of a metric over the tokens of each log."""


class Spread(NamedTuple):
    """How much run means vary from seed to seed."""

    total: float
    """Sample variance of the S run means."""
    from_logs: float
    """The part of it that comes from having scored on finitely many logs."""
    seeds: int


def spread(sums: Floats, counts: Floats) -> Spread:
    """How run means vary over the seeds, of (S, L) sums and (L,) numbers of tokens.

    One seed has no spread: both variances are 0. With one log the parts cannot be told apart and
    none of the variance is put down to the logs.
    """
    seeds, logs = sums.shape
    if seeds == 1:
        return Spread(0.0, 0.0, 1)
    means = sums.sum(1) / counts.sum()
    total = float(means.var(ddof=1))
    if logs == 1:
        return Spread(total, 0.0, seeds)
    residuals = sums - sums.mean(0) - counts * (means - means.mean())[:, None]
    variance = np.square(residuals).sum() / (seeds - 1) * logs / (logs - 1)
    return Spread(total, float(variance / counts.sum() ** 2), seeds)


def resample(terms: Sequence[Term], counts: Floats, bootstrap: Bootstrap) -> Floats:
    """Draw (B,) values of a weighted sum of cell means on logs of (L,) token counts.

    Seeds of different terms are drawn independently of each other. With one log or one seed that
    factor is held as it is.
    """
    sums = sum(term.weight * term.sums.mean(0) for term in terms)
    drawn = log_means(np.asarray(sums)[:, None], counts, bootstrap)[:, 0]
    spreads = [(term.weight**2, spread(term.sums, counts)) for term in terms]
    return drawn + _seed_parts(spreads, bootstrap, 0)


def resample_jointly(cells: Sequence[Floats], counts: Floats, bootstrap: Bootstrap) -> Floats:
    """Draw (B, C) means of C cells, each (S, L) sums, on the same resampled logs.

    For what is no sum of cell means; `resample` knows the spread of a sum better than the sum of
    these draws does.
    """
    stacked = np.stack([sums.mean(0) for sums in cells], axis=1)
    drawn = log_means(stacked, counts, bootstrap)
    for index, sums in enumerate(cells):
        drawn[:, index] += _seed_parts([(1.0, spread(sums, counts))], bootstrap, index)
    return drawn


def log_means(sums: Floats, counts: Floats, bootstrap: Bootstrap) -> Floats:
    """Draw (B, K) token means of (L, K) sums by log, logs drawn with replacement.

    The deviations are widened to the unbiased variance and the tails of Student's t of L - 1
    degrees of freedom, which matters below about 30 logs.
    """
    logs = len(counts)
    centre = sums.sum(0) / counts.sum()
    if logs == 1:
        return np.tile(centre, (bootstrap.resamples, 1))
    is_small = bootstrap.resamples * logs <= _BLOCK_DRAWS
    blocks = _kept_weights(bootstrap, logs) if is_small else _weights(bootstrap, logs)
    drawn = np.concatenate([(weights @ sums) / (weights @ counts)[:, None] for weights in blocks])
    freedom = logs - 1
    tails = bootstrap.stream(_LOG_SCALE).chisquare(freedom, bootstrap.resamples) / freedom
    widened: Floats = centre + (drawn - centre) * np.sqrt(logs / freedom / tails)[:, None]
    return widened


def _weights(bootstrap: Bootstrap, logs: int) -> Iterator[Floats]:
    """Draw how often each log is in each resample, block by block of (rows, L)."""
    generator = bootstrap.stream(_LOGS)
    block = max(1, _BLOCK_DRAWS // logs)
    for start in range(0, bootstrap.resamples, block):
        rows = min(block, bootstrap.resamples - start)
        chosen = generator.integers(logs, size=(rows, logs)) + logs * np.arange(rows)[:, None]
        weights = np.bincount(chosen.ravel(), minlength=rows * logs).reshape(rows, logs)
        yield weights.astype(np.float64)


@lru_cache(maxsize=4)
def _kept_weights(bootstrap: Bootstrap, logs: int) -> tuple[Floats, ...]:
    """The same, kept for the next: a report asks hundreds of times for the same draws."""
    return tuple(_weights(bootstrap, logs))


def _seed_parts(
    spreads: Sequence[tuple[float, Spread]], bootstrap: Bootstrap, index: int
) -> Floats:
    """Draw (B,) deviations that other seeds would bring, beyond those of other logs.

    Student's t, with the degrees of freedom of Welch and Satterthwaite. They are those of the
    whole variance between seeds, which is what has been estimated from so few.
    """
    parts = [(weight / s.seeds, s) for weight, s in spreads if s.seeds > 1]
    total = sum(weight * s.total for weight, s in parts)
    if total <= 0:
        return np.zeros(bootstrap.resamples)
    known = 1 - 1 / sum(s.seeds - 1 for _, s in parts)
    own = max(0.0, total - known * sum(weight * s.from_logs for weight, s in parts))
    freedom = total**2 / sum((weight * s.total) ** 2 / (s.seeds - 1) for weight, s in parts)
    drawn = bootstrap.stream(_SEEDS, index).standard_t(freedom, bootstrap.resamples)
    deviations: Floats = np.sqrt(own) * drawn
    return deviations


def interval(drawn: Floats, bootstrap: Bootstrap) -> Interval:
    """Interval between two percentiles of (B,) draws; infinite draws are allowed."""
    tail = (1 - bootstrap.confidence) / 2
    # No interpolation: between a number and infinity there is nothing.
    low, high = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf")
    return Interval(float(low), float(high))


def p_value(drawn: Floats) -> float:
    """Two-sided p value of (B,) draws against zero; never 0, since B draws cannot show that."""
    below, above = np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0)
    return float(min(1.0, 2 * (1 + min(below, above)) / (1 + len(drawn))))


def require_two_logs(counts: Floats) -> None:
    """Refuse to compare on one log.

    Raises:
        DataError: there is one log, so nothing says how other logs would come out.
    """
    if len(counts) < 2:
        raise DataError(
            f"all {int(counts.sum())} tokens are of one log: no interval and no test over logs",
            hint="score the runs on more logs",
        )


def limits_note(seeds: Sequence[int], logs: int, known: str = "") -> str:
    """What an interval cannot say with these numbers of seeds and of logs, then what is `known`."""
    notes = []
    if min(seeds) == 1:
        which = "one seed" if max(seeds) == 1 else "some have one seed"
        notes.append(f"{which}: the interval does not cover other seeds")
    if logs == 1:
        notes.append("one log: the interval does not cover other logs")
    elif logs < FEW_LOGS:
        notes.append(f"only {logs} logs: the interval is rough")
    return "; ".join([*notes, known] if known else notes)
