"""A mean with its interval and its seeds as a small picture for a line of a table."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from experiments.statistics import Summary, measure

_WIDTH, _HEIGHT = 132.0, 18.0
_MARGIN = 5.0

Scale = tuple[float, float]
"""Shown values at the two ends."""


def scale_of(summaries: Sequence[Summary]) -> Scale:
    """The common scale of a column: from the least end of an interval to the largest."""
    values = [value for summary in summaries for value in _values(summary)]
    low, high = min(values), max(values)
    room = (high - low) * 0.04 or 0.5
    return low - room, high + room


def points_svg(summary: Summary, scale: Scale) -> Markup:
    """Interval as a line, seeds as dots, the mean as a bar, on the scale of the column."""
    shown = measure(summary.metric)
    middle = _HEIGHT / 2
    parts = [f'<line class="axis" x1="0" x2="{_WIDTH:g}" y1="{middle:g}" y2="{middle:g}"/>']
    if summary.interval is not None:
        low, high = (_place(end * shown.scale, scale) for end in summary.interval)
        parts.append(
            f'<line class="interval" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:g}"'
            f' y2="{middle:g}"/>'
        )
    parts += [
        f'<circle cx="{_place(value * shown.scale, scale):.1f}" cy="{middle:g}" r="2.4"/>'
        for value in summary.seeds.values()
    ]
    mean = _place(summary.mean * shown.scale, scale)
    parts.append(f'<line class="mean" x1="{mean:.1f}" x2="{mean:.1f}" y1="2.5" y2="15.5"/>')
    seeds = ", ".join(f"seed {seed}: {shown.text(v)}" for seed, v in summary.seeds.items())
    return Markup(
        f'<svg class="points" width="{_WIDTH:g}" height="{_HEIGHT:g}"'
        f' viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img"><title>{seeds}</title>'
        f"{''.join(parts)}</svg>"
    )


def _values(summary: Summary) -> list[float]:
    ends = [] if summary.interval is None else list(summary.interval)
    scale = measure(summary.metric).scale
    return [value * scale for value in (*summary.seeds.values(), *ends)]


def _place(value: float, scale: Scale) -> float:
    low, high = scale
    return _MARGIN + (value - low) / (high - low) * (_WIDTH - 2 * _MARGIN)
