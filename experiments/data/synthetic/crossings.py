"""Crossings for walkers: their stripes, stop lines and map polygons."""

from __future__ import annotations

import numpy as np

from experiments.data.synthetic.layout import (
    ZEBRA_M,
    Area,
    Marking,
    across,
    band,
)
from experiments.data.synthetic.paths import Path

_STROKE_M = 0.55
"""Stripe and gap of a zebra crossing."""
_LINE_M = 0.5
"""Depth of a stop line."""


def zebra_area(name: str, axis: Path, s: float, edges: tuple[float, float]) -> Area:
    """Return the crosswalk on `axis` behind arc length `s`, between the road's two edges [m]."""
    return Area(name, "crosswalk", band(axis, (s + ZEBRA_M[0], s + ZEBRA_M[1]), *edges))


def zebra_markings(
    axis: Path, s: float, edges: tuple[float, float], *, is_lit: bool
) -> list[Marking]:
    """Return the stripes of a crossing and, before a light, the stop line of the ego's side."""
    offsets = np.arange(edges[0] + 0.5, edges[1] - 0.3, 2 * _STROKE_M)
    stripes = []
    for offset in offsets:
        ends = [
            across(axis, s + along, float(offset), float(offset))[0]
            for along in (ZEBRA_M[0], ZEBRA_M[1])
        ]
        stripes.append(Marking(np.array(ends), width=_STROKE_M))
    if is_lit:
        stripes.append(Marking(across(axis, s - 0.8, edges[0] + 0.2, -0.2), width=_LINE_M))
    return stripes


def light_area(name: str, lane: Path, s: float, lane_m: float) -> list[Area]:
    """Return the piece of lane that a light at a crossing closes, and the stop line before it."""
    half, ends = lane_m / 2, (s, s + ZEBRA_M[1] + 0.6)
    middle = lane.at(np.linspace(*ends, 5))
    return [
        Area(name, "lane_connector", band(lane, ends, -half, half), middle),
        stop_line(f"{name}-line", lane, s - 0.8, (-half, half)),
    ]


def stop_line(name: str, axis: Path, s: float, sides: tuple[float, float]) -> Area:
    """Return the map polygon of a stop line across `axis`, between two offsets [m]."""
    return Area(name, "stop_line", band(axis, (s - _LINE_M / 2, s + _LINE_M / 2), *sides))
