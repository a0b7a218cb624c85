"""The mean of some runs, how the seeds lie around it, and its interval."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.statistics.aligning import AlignedScores
from experiments.statistics.measures import measure
from experiments.statistics.resampling import (
    Bootstrap,
    Interval,
    Term,
    interval,
    limits_note,
    resample,
)
from experiments.statistics.table import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One metric of one cell.

    Attributes:
        mean: Over tokens and seeds.
        std: Sample standard deviation of the seeds' means; None with one seed.
        seeds: Seed -> its mean over the tokens.
        interval: Of the mean, over seeds and logs; None where there is one of each.
        note: What the interval does not cover, and tokens left out; may be empty.
    """

    cell: Cell
    metric: str
    mean: float
    std: float | None
    seeds: dict[int, float]
    interval: Interval | None
    confidence: float
    num_logs: int
    num_tokens: int
    note: str

    def sentence(self) -> str:
        """The summary in words."""
        shown = measure(self.metric)
        spread = "" if self.std is None else f" +- {shown.text(self.std)}"
        seeds = "1 seed" if len(self.seeds) == 1 else f"{len(self.seeds)} seeds"
        ends = (
            "no interval"
            if self.interval is None
            else f"{100 * self.confidence:g} % interval {shown.text(self.interval.low)} to"
            f" {shown.text(self.interval.high)}"
        )
        note = f" ({self.note})" if self.note else ""
        return (
            f"{self.cell.in_words} has {shown.label}"
            f" {shown.text(self.mean)}{spread} {shown.unit} ({ends}, {seeds},"
            f" {self.num_logs} logs, {self.num_tokens} tokens){note}"
        )


def summarise(
    scores: AlignedScores, cell: Cell, metric: str, bootstrap: Bootstrap | None = None
) -> Summary:
    """Mean, spread and interval of `metric` over the runs of `cell`.

    Raises:
        DataError: there are no such runs or no such metric.
    """
    bootstrap = bootstrap or Bootstrap()
    sums, counts = scores.log_sums(cell, metric)
    means = sums.sum(1) / counts.sum()
    several = len(means) > 1 or len(counts) > 1
    drawn = resample([Term(1.0, sums)], counts, bootstrap) if several else None
    return Summary(
        cell=cell,
        metric=metric,
        mean=float(means.mean()),
        std=float(means.std(ddof=1)) if len(means) > 1 else None,
        seeds=dict(zip(scores.seeds(cell), means.tolist(), strict=True)),
        interval=None if drawn is None else interval(drawn, bootstrap),
        confidence=bootstrap.confidence,
        num_logs=len(counts),
        num_tokens=int(counts.sum()),
        note=limits_note([len(means)], len(counts), scores.note),
    )
