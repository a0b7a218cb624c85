"""Roads without a junction: straight ones and ones that wind."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from shapely import Polygon, union_all

from experiments.data.frames import Floats
from experiments.data.synthetic.layout import (
    EGO_START_M,
    LANE_M,
    PAVEMENT_M,
    Area,
    Kind,
    Layout,
    Marking,
    poses,
    strip,
)
from experiments.data.synthetic.paths import Path, bend, join, line

_PARKING_M = 2.6
"""Width of the strip of parked cars."""
_SIGHT_M = 90.0
"""The road goes on for so long after the drive."""
_INNER_RADIUS_M = 6.5
"""Least radius of the inner edge of the pavement."""
_AREA_EVERY = 3
"""Map polygons take every third node: the chord of 1.5 m is within 2 cm of the arc."""
_MOST_TURN = np.radians(100.0)
"""No road turns further in all, lest it cross itself."""


def _end(path: Path) -> Floats:
    return np.array([path.x[-1], path.y[-1], path.heading[-1]])


def _straight(rng: Generator, length: float) -> Path:
    # Not quite straight: a gentle bend that keeps speed and sight.
    first = line(np.zeros(3), 60.0)
    radius = float(rng.uniform(250.0, 600.0))
    gentle = bend(_end(first), float(rng.choice([-1, 1]) * rng.uniform(0.1, 0.25)), radius)
    return join(first, gentle, line(_end(gentle), max(1.0, length - 60.0 - gentle.length)))


def _winding(rng: Generator, length: float, tightest: float) -> Path:
    parts = [line(np.zeros(3), 48.0 + float(rng.uniform(0.0, 22.0)))]
    side, turned, so_far = float(rng.choice([-1, 1])), 0.0, parts[0].length
    while so_far < length:
        angle = side * float(rng.uniform(0.6, 1.6))
        if abs(turned + angle) > _MOST_TURN:
            side = -side
            continue
        radius = tightest + float(rng.uniform(0.0, 20.0))
        parts.append(bend(_end(parts[-1]), angle, radius))
        parts.append(line(_end(parts[-1]), float(rng.uniform(8.0, 24.0))))
        so_far += parts[-2].length + parts[-1].length
        turned += angle
        side = -side if rng.random() < 0.5 else side
    return join(*parts)


def _reference(rng: Generator, kind: Kind, length: float, half_width: float) -> Path:
    """Draw the line between the two directions; the road beside it does not cross itself."""
    while True:
        tightest = half_width + _INNER_RADIUS_M
        path = _straight(rng, length) if kind == "straight" else _winding(rng, length, tightest)
        if Polygon(strip(path.offset(-half_width), path.offset(half_width))).is_valid:
            return path


def _markings(reference: Path, right: int, left: int, parks: bool) -> tuple[Marking, ...]:
    def at(offset: float) -> Floats:
        return reference.offset(offset).xy()

    inner = [Marking(at(-LANE_M * n), dash=(3.0, 4.5)) for n in range(1, right)]
    inner += [Marking(at(LANE_M * n), dash=(3.0, 4.5)) for n in range(1, left)]
    edge = -LANE_M * right
    return (
        Marking(at(0.0), "yellow", 0.4),
        *inner,
        Marking(at(edge + 0.15), dash=(1.0, 1.0) if parks else None),
        Marking(at(LANE_M * left - 0.15)),
    )


def _areas(reference: Path, right: int, left: int, parks: bool) -> tuple[Area, ...]:
    reference = reference.thin(_AREA_EVERY)
    edges = {n: reference.offset(LANE_M * n) for n in range(-right, left + 1)}
    areas = [
        Area("rb-own", "roadblock", strip(edges[-right], edges[0])),
        Area("rb-oncoming", "roadblock", strip(edges[0], edges[left])),
    ]
    for n in range(right):
        middle = reference.offset(-LANE_M * (n + 0.5))
        ring = strip(edges[-n - 1], edges[-n])
        areas.append(Area(f"lane-own-{n}", "lane", ring, poses(middle)))
    for n in range(left):
        middle = reference.offset(LANE_M * (n + 0.5)).reversed()
        areas.append(
            Area(f"lane-oncoming-{n}", "lane", strip(edges[n], edges[n + 1]), poses(middle))
        )
    if parks:
        outer = reference.offset(-LANE_M * right - _PARKING_M)
        areas.append(Area("parking", "carpark", strip(outer, edges[-right])))
    return tuple(areas)


def corridor(rng: Generator, kind: Kind, reach_m: float) -> Layout:
    """Draw a road of `kind` "straight" or "curve" with one or two lanes each way.

    Args:
        rng: dice.
        kind: shape of the road.
        reach_m: distance that the drive may cover.
    """
    right, left = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    own, parks = int(rng.integers(0, right)), bool(rng.random() < 0.4)
    edge = -LANE_M * right - (_PARKING_M if parks else 0.0)
    half_width = max(-edge, LANE_M * left) + PAVEMENT_M
    reference = _reference(rng, kind, EGO_START_M + reach_m + _SIGHT_M, half_width)
    lanes = [reference.offset(-LANE_M * (n + 0.5)) for n in range(right)]
    areas = _areas(reference, right, left, parks)
    solid = [Polygon(a.ring) for a in areas if a.layer in ("roadblock", "carpark")]
    return Layout(
        kind=kind,
        command="straight",
        areas=areas,
        drivable=union_all(solid),
        markings=_markings(reference, right, left, parks),
        ego=lanes[own],
        route_lane_ids=tuple(f"lane-own-{n}" for n in range(right)),
        route_roadblock_ids=("rb-own",),
        alongside=tuple(lane for n, lane in enumerate(lanes) if n != own),
        oncoming=tuple(reference.offset(LANE_M * (n + 0.5)).reversed() for n in range(left)),
        parking=reference.offset(edge + _PARKING_M / 2) if parks else None,
        pavements=(
            reference.offset(edge - PAVEMENT_M / 2),
            reference.offset(LANE_M * left + PAVEMENT_M / 2).reversed(),
        ),
        verges=(
            reference.offset(edge - PAVEMENT_M),
            reference.offset(LANE_M * left + PAVEMENT_M).reversed(),
        ),
    )
