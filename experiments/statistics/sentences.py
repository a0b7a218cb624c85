"""What a comparison says, in words that claim no more than it shows."""

from __future__ import annotations

from experiments.statistics.comparing import Comparison
from experiments.statistics.measures import Measure, measure
from experiments.statistics.table import Cell


def sentence(comparison: Comparison) -> str:
    """One sentence: who is better by how much, or that the two cannot be told apart."""
    shown = measure(comparison.metric)
    a, b = _names(comparison.a, comparison.b)
    where = f" at `{comparison.group}`" if comparison.group else ""
    details = f"({_interval(comparison, shown)}, {_size(comparison)})"
    note = f"; {comparison.note}" if comparison.note else ""
    if comparison.is_distinguishable:
        word = "better" if comparison.a_is_better else "worse"
        by = shown.text(abs(comparison.difference))
        return (
            f"{a} is {word} than {b} by {by} {shown.unit} of {shown.label}{where} {details}{note}"
        )
    by = shown.text(comparison.difference, signed=True)
    return (
        f"{a} and {b} cannot be told apart in {shown.label}{where}: difference {by} {shown.unit}"
        f" {details}{note}"
    )


def p_text(p: float) -> str:
    """`p` with its relation sign, to what a bootstrap can resolve."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _interval(comparison: Comparison, shown: Measure) -> str:
    low, high = comparison.interval
    # "better by 1.2 (0.4 to 2.0)" speaks of sizes, whichever way the difference has its sign.
    if comparison.is_distinguishable and comparison.difference < 0:
        low, high = -high, -low
    return f"{100 * comparison.confidence:g} % interval {shown.text(low)} to {shown.text(high)}"


def _size(comparison: Comparison) -> str:
    p = p_text(comparison.p_adjusted)
    if comparison.family > 1:
        p += f" after Holm over {comparison.family} comparisons"
    ours, theirs = comparison.num_seeds
    if ours != theirs:
        seeds = f"{ours} and {theirs} seeds"
    else:
        seeds = "1 seed" if ours == 1 else f"{ours} seeds"
    return f"{p}, {seeds}, {comparison.num_logs} logs"


def _names(a: Cell, b: Cell) -> tuple[str, str]:
    """Names of two cells; the fraction is told where it differs."""
    if a.fraction == b.fraction:
        return a.arm, b.arm
    return a.in_words, b.in_words
