"""Is one arm better than another? Differences on identical tokens, tested as a family."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from experiments.data.errors import DataError
from experiments.statistics.aligning import AlignedScores, Grouping
from experiments.statistics.measures import measure
from experiments.statistics.resampling import (
    Bootstrap,
    Interval,
    Term,
    interval,
    limits_note,
    p_value,
    require_two_logs,
    resample,
)
from experiments.statistics.table import Cell, Floats

Seeds = Literal["crossed", "paired"]
"""How the seeds of two arms belong together.

Crossed: seed 1 of one arm has nothing to do with seed 1 of the other, which holds for the initial
weights and the order of batches of unlike models, and is cautious where they do share something.
Paired: run by run they share what makes seeds differ, such as the subset of the labels; needs the
same seeds on both sides, and leaves fewer degrees of freedom (2 for 3 seeds, where crossed has 4).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The difference `a` - `b` in one metric, as stored (not in shown units).

    Attributes:
        group: Name of the city or command that it is restricted to, or empty.
        p: Two-sided p value of this comparison alone.
        p_adjusted: After Holm over the family; equal to `p` in a family of one.
        family: Number of comparisons in the family.
        num_seeds: Of `a` and of `b`.
        note: What the interval does not cover, and tokens left out; may be empty.
    """

    a: Cell
    b: Cell
    metric: str
    group: str = ""
    difference: float
    interval: Interval
    confidence: float
    p: float
    p_adjusted: float
    family: int = 1
    num_seeds: tuple[int, int]
    num_logs: int
    num_tokens: int
    note: str = ""

    @property
    def is_distinguishable(self) -> bool:
        """Whether the p value after Holm is below what the confidence leaves."""
        return self.p_adjusted < 1 - self.confidence

    @property
    def a_is_better(self) -> bool:
        """Whether the difference, of whatever size, is for the better."""
        return self.difference * measure(self.metric).direction > 0


def compare(
    scores: AlignedScores,
    a: Cell,
    b: Cell,
    metric: str,
    *,
    bootstrap: Bootstrap | None = None,
    seeds: Seeds = "crossed",
) -> Comparison:
    """Compare two cells by a paired bootstrap, clustered by log, of their difference.

    Raises:
        DataError: `a` is `b`; there are no such runs; all tokens are of one log; seeds are to be
            paired and differ.
        ConfigError: nothing says which way of `metric` is better.
    """
    bootstrap = bootstrap or Bootstrap()
    measure(metric)
    if a == b:
        raise DataError(f"`{a.arm}` at fraction {a.fraction:g} is compared with itself")
    ours, counts = scores.log_sums(a, metric)
    theirs, _ = scores.log_sums(b, metric)
    require_two_logs(counts)
    drawn = resample(_terms(scores, a, b, ours, theirs, seeds), counts, bootstrap)
    p = p_value(drawn)
    num_seeds = (len(ours), len(theirs))
    return Comparison(
        a=a,
        b=b,
        metric=metric,
        difference=float((ours.mean(0) - theirs.mean(0)).sum() / counts.sum()),
        interval=interval(drawn, bootstrap),
        confidence=bootstrap.confidence,
        p=p,
        p_adjusted=p,
        num_seeds=num_seeds,
        num_logs=len(counts),
        num_tokens=int(counts.sum()),
        note=limits_note(num_seeds, len(counts), scores.note),
    )


def compare_family(
    scores: AlignedScores,
    pairs: Iterable[tuple[Cell, Cell]],
    metrics: Sequence[str],
    *,
    bootstrap: Bootstrap | None = None,
    seeds: Seeds = "crossed",
) -> tuple[Comparison, ...]:
    """Compare each pair by each metric, with Holm's correction over all of them.

    Raises:
        DataError: as `compare`, or there is nothing to compare.
    """
    return as_family(
        compare(scores, a, b, metric, bootstrap=bootstrap, seeds=seeds)
        for a, b in pairs
        for metric in metrics
    )


def compare_groups(
    scores: AlignedScores,
    a: Cell,
    b: Cell,
    metric: str,
    by: Grouping,
    *,
    bootstrap: Bootstrap | None = None,
    seeds: Seeds = "crossed",
) -> tuple[tuple[Comparison, ...], tuple[str, ...]]:
    """Compare two cells in each city or at each command, with Holm over those.

    Returns:
        The comparisons, and the names of groups that lie in one log and so cannot be tested.

    Raises:
        DataError: as `compare`, or all groups lie in one log each.
    """
    groups = scores.groups(by)
    single = tuple(name for name, part in groups.items() if len(np.unique(part.logs)) == 1)
    compared = [
        replace(compare(part, a, b, metric, bootstrap=bootstrap, seeds=seeds), group=name)
        for name, part in groups.items()
        if name not in single
    ]
    return as_family(compared), single


def as_family(comparisons: Iterable[Comparison]) -> tuple[Comparison, ...]:
    """The same comparisons, with their p values adjusted to each other.

    Raises:
        DataError: there are none.
    """
    found = tuple(comparisons)
    if not found:
        raise DataError("there is nothing to compare")
    adjusted = holm([comparison.p for comparison in found])
    return tuple(
        replace(comparison, p_adjusted=float(p), family=len(found))
        for comparison, p in zip(found, adjusted, strict=True)
    )


def holm(p_values: ArrayLike) -> Floats:
    """P values after the step-down correction of Holm (1979), in the order given.

    The k-th smallest of m is multiplied by m - k + 1, and none is smaller than one before it.
    """
    given = np.asarray(p_values, np.float64)
    order = np.argsort(given, kind="stable")
    stepped = given[order] * np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return adjusted


def _terms(
    scores: AlignedScores, a: Cell, b: Cell, ours: Floats, theirs: Floats, seeds: Seeds
) -> list[Term]:
    if seeds == "crossed":
        return [Term(1.0, ours), Term(-1.0, theirs)]
    if scores.seeds(a) != scores.seeds(b):
        raise DataError(
            f"seeds cannot be paired: `{a.arm}` has {scores.seeds(a)}, `{b.arm}` has"
            f" {scores.seeds(b)}",
            hint="run the missing seeds, or compare with crossed seeds",
        )
    return [Term(1.0, ours - theirs)]
