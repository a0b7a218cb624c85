"""The figures of a report, in each format that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from experiments.figures.efficiency import efficiency_curves
from experiments.figures.forest import forest
from experiments.figures.heatmap import heatmap
from experiments.reporting.analysis import Analysis
from experiments.statistics import Cell, measure

_COLUMN_SHARES = 7
"""So many columns of a heatmap fit beside another figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A figure that can be drawn.

    Attributes:
        name: Of its files, without a suffix.
        caption: What it shows, below it on the page.
        alternative: The same in a few words, for who cannot see it.
        draw: Suffix -> content of a file.
        on_page: Suffix of what the page shows.
        files: Suffixes of what lies beside the page.
        is_wide: Whether it needs the whole width of the page.
    """

    name: str
    caption: str
    alternative: str
    draw: Callable[[str], bytes]
    on_page: str = "svg"
    files: tuple[str, ...] = ("pdf", "svg")
    is_wide: bool = False


def score_drawings(analysis: Analysis) -> Iterator[Drawing]:
    """Figures of the scores: those for which there are numbers."""
    level = f"{100 * analysis.bootstrap.confidence:g} %"
    label = measure(analysis.metric).label
    if analysis.curves:
        reference = analysis.curves[0].reference
        yield Drawing(
            name="label_efficiency",
            caption=f"{label} over the label fraction: mean over seeds, {level} intervals over logs"
            f" and seeds, each seed a dot. Dashed: {reference.arm} at"
            f" {100 * reference.fraction:g} %; below, the fraction at which each other arm reaches"
            " it, with its interval (an arrow: beyond the fractions that were run).",
            alternative=f"{label} over the label fraction for each arm",
            draw=lambda suffix: efficiency_curves(analysis.curves, suffix),
        )
    families = {
        "differences": (analysis.against, f"Paired differences to {analysis.reference}"),
        "differences_to_ego_status": (analysis.looking, "Paired differences to the ego status"),
        "differences_by_metric": (
            tuple(one for one in analysis.parts if _is_gain(one.metric)),
            f"Paired differences to {analysis.reference} in the other metrics",
        ),
    }
    for name, (family, what) in families.items():
        if family:
            yield Drawing(
                name=name,
                caption=f"{what}, {level} intervals. A filled square holds after Holm over"
                f" {family[0].family} comparisons (blue: better, orange: worse), a hollow circle"
                " cannot be told from none.",
                alternative=what,
                draw=lambda suffix, family=family: forest(family, suffix),  # type: ignore[misc]
            )
    yield from _heatmap(analysis)


def _heatmap(analysis: Analysis) -> Iterator[Drawing]:
    """All shares of all arms, each at its largest fraction."""
    shares = [name for name in analysis.metrics if _is_share(name)]
    most: dict[str, Cell] = {cell.arm: cell for cell in analysis.cells()}
    if len(shares) < 2 or len(most) < 2:
        return
    arms = list(most)
    is_wide = len(shares) > _COLUMN_SHARES
    means = [[analysis.summaries[cell, name].mean for name in shares] for cell in most.values()]
    yield Drawing(
        name="metrics",
        caption=f"All shares at the largest label fraction of each arm [points]; the colour is the"
        f" gain over {analysis.reference}.",
        alternative="All metrics of all arms",
        draw=lambda suffix: heatmap(
            arms, shares, means, suffix, reference=arms.index(analysis.reference)
        ),
        is_wide=is_wide,
    )


def _is_share(metric: str) -> bool:
    return measure(metric).unit == "points"


def _is_gain(metric: str) -> bool:
    """Whether it can share a forest plot: told in points, and more of it is better."""
    return _is_share(metric) and measure(metric).higher_is_better
