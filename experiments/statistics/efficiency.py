"""How many labels an arm needs: its curve over the label fraction, and where it meets a level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from experiments.data.errors import DataError
from experiments.statistics.aligning import AlignedScores
from experiments.statistics.measures import measure
from experiments.statistics.resampling import (
    Bootstrap,
    Interval,
    Term,
    interval,
    limits_note,
    resample,
    resample_jointly,
)
from experiments.statistics.summaries import Summary, summarise
from experiments.statistics.table import Cell, Floats

AT_SMALLEST = 0.0
"""Fraction needed where the smallest fraction of the curve is at the level already."""
NOT_REACHED = math.inf
"""Fraction needed where no fraction of the curve is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FractionNeeded:
    """Smallest label fraction at which a curve reaches a level; also the ends of its interval.

    Values are fractions, AT_SMALLEST or NOT_REACHED.
    """

    value: float
    interval: Interval
    confidence: float
    smallest: float
    """Ends of the curve: nothing is said beyond them."""
    largest: float

    def text(self) -> str:
        """The answer in words."""
        low, high = (self._end(end) for end in self.interval)
        ends = f"{100 * self.confidence:g} % interval {low} to {high}"
        if self.value == AT_SMALLEST:
            smallest = f"{100 * self.smallest:.3g} % of the labels"
            return f"already reached at the smallest fraction, {smallest} ({ends})"
        if self.value == NOT_REACHED:
            return f"not reached with {100 * self.largest:.3g} % of the labels ({ends})"
        return f"reached at {100 * self.value:.0f} % of the labels ({ends})"

    def _end(self, end: float) -> str:
        if end == AT_SMALLEST:
            return f"at most {100 * self.smallest:.3g} %"
        return "not reached" if end == NOT_REACHED else f"{100 * end:.0f} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Label efficiency of one arm by one metric.

    Attributes:
        points: Summary at each fraction, ascending.
        level: Mean of the cell that is to be reached.
        area: Mean of the curve over the logarithm of the fraction, in the unit of the metric;
            comparable between arms of equal fractions only.
        note: What the intervals do not cover, and tokens left out; may be empty.
    """

    arm: str
    metric: str
    points: tuple[Summary, ...]
    reference: Cell
    level: float
    needed: FractionNeeded
    area: float
    area_interval: Interval
    note: str

    def sentence(self) -> str:
        """The fraction needed, in words."""
        shown = measure(self.metric)
        note = f"; {self.note}" if self.note else ""
        return (
            f"{self.arm} against the {shown.label} of {self.reference.in_words}"
            f" ({shown.text(self.level)} {shown.unit}): {self.needed.text()}{note}"
        )


def label_efficiency(
    scores: AlignedScores,
    arm: str,
    metric: str,
    reference: Cell,
    *,
    bootstrap: Bootstrap | None = None,
) -> Efficiency:
    """Describe the curve of `arm` and find where it reaches the mean of `reference`.

    All points and the reference are resampled together, on the same logs.

    Raises:
        DataError: the arm has fewer than two fractions; there are no such runs or metric.
        ConfigError: nothing says which way of `metric` is better.
    """
    bootstrap = bootstrap or Bootstrap()
    fractions = scores.fractions(arm)
    if len(fractions) < 2:
        raise DataError(
            f"`{arm}` was run at {len(fractions)} label fractions; a curve needs two or more"
        )
    on_curve = [Cell(arm, fraction) for fraction in fractions]
    # The reference may lie on the curve, and must then be the same draw.
    cells = list(dict.fromkeys([*on_curve, reference]))
    sums, counts = _sums(scores, cells, metric)
    means = np.array([part.sum() / len(part) / counts.sum() for part in sums])
    drawn = resample_jointly(sums, counts, bootstrap)
    at = cells.index(reference)
    direction = measure(metric).direction
    values = np.vstack([means, drawn]) * direction
    found = fractions_needed(fractions, values[:, : len(fractions)], values[:, at])
    weights = area_weights(fractions)
    area_terms = [Term(weight, part) for weight, part in zip(weights, sums, strict=False)]
    return Efficiency(
        arm=arm,
        metric=metric,
        points=tuple(summarise(scores, cell, metric, bootstrap) for cell in on_curve),
        reference=reference,
        level=float(means[at]),
        needed=FractionNeeded(
            value=float(found[0]),
            interval=interval(found[1:], bootstrap),
            confidence=bootstrap.confidence,
            smallest=fractions[0],
            largest=fractions[-1],
        ),
        area=float(weights @ means[: len(fractions)]),
        area_interval=interval(resample(area_terms, counts, bootstrap), bootstrap),
        note=limits_note([len(part) for part in sums], len(counts), scores.note),
    )


def fractions_needed(fractions: Sequence[float], curves: ArrayLike, levels: ArrayLike) -> Floats:
    """Smallest fraction at which each of (B, P) curves reaches its level of (B,); more is better.

    Between two fractions a curve is a straight line over the logarithm of the fraction. A curve
    that reaches the level, falls below it and reaches it again counts from the first time.
    """
    curves, levels = np.asarray(curves, np.float64), np.asarray(levels, np.float64)
    reached = curves >= levels[:, None]
    after = reached.argmax(1)
    before = np.maximum(after - 1, 0)
    rows = np.arange(len(curves))
    low, high = curves[rows, before], curves[rows, after]
    # Where the smallest fraction does it or none does, the share is not used.
    rise = np.where(high > low, high - low, 1.0)
    share = (levels - low) / rise
    logs = np.log(fractions)
    crossing = np.exp(logs[before] + share * (logs[after] - logs[before]))
    inside = np.where(reached[:, 0], AT_SMALLEST, crossing)
    found: Floats = np.where(reached.any(1), inside, NOT_REACHED)
    return found


def area_weights(fractions: Sequence[float]) -> Floats:
    """Weights of the points in the mean of their curve over the logarithm of the fraction.

    The trapezoidal rule, divided by the width; they sum to 1.
    """
    steps = np.diff(np.log(fractions))
    weights = np.zeros(len(fractions))
    weights[:-1] += steps / 2
    weights[1:] += steps / 2
    normalised: Floats = weights / steps.sum()
    return normalised


def _sums(scores: AlignedScores, cells: Sequence[Cell], metric: str) -> tuple[list[Floats], Floats]:
    found = [scores.log_sums(cell, metric) for cell in cells]
    counts = found[0][1]
    if len(counts) == 1 and all(len(sums) == 1 for sums, _ in found):
        raise DataError("one log and one seed each: a curve has no interval")
    return [sums for sums, _ in found], counts
