"""Roads without a junction: straight ones and ones that wind, with crossings for walkers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from shapely import Polygon, union_all

from experiments.data.frames import Floats
from experiments.data.synthetic.crossings import light_area, zebra_area, zebra_markings
from experiments.data.synthetic.layout import (
    EGO_START_M,
    PAVEMENT_M,
    Area,
    Kind,
    Layout,
    Marking,
    Zebra,
    nearest,
    poses,
    strip,
)
from experiments.data.synthetic.paths import Path, bend, join, line
from experiments.data.synthetic.towns import Town

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
_STRAIGHT_ENOUGH = 0.02
"""Walkers cross where the road bends less than this [1/m]."""
_ZEBRAS = (24.0, 62.0, 100.0, 140.0)
"""About where walkers may cross, from where the drive begins [m]."""


@dataclass(frozen=True, slots=True)
class _Section:
    """The road across: lanes of each direction and the strip of parked cars."""

    lane_m: float
    right: int
    left: int
    parks: bool

    @property
    def right_edge(self) -> float:
        """Offset of the road's right edge from the line between the directions [m]."""
        return -self.lane_m * self.right - (_PARKING_M if self.parks else 0.0)

    @property
    def left_edge(self) -> float:
        """Offset of its left edge [m]."""
        return self.lane_m * self.left


def _end(path: Path) -> Floats:
    return np.array([path.x[-1], path.y[-1], path.heading[-1]])


def _straight(rng: Generator, length: float) -> Path:
    # Not quite straight: a gentle bend that keeps speed and sight.
    first = line(np.zeros(3), 60.0)
    radius = float(rng.uniform(250.0, 600.0))
    gentle = bend(_end(first), float(rng.choice([-1, 1]) * rng.uniform(0.1, 0.25)), radius)
    return join(first, gentle, line(_end(gentle), max(1.0, length - 60.0 - gentle.length)))


def _winding(rng: Generator, town: Town, length: float, tightest: float) -> Path:
    parts = [line(np.zeros(3), 48.0 + float(rng.uniform(0.0, 22.0)))]
    side, turned, so_far = float(rng.choice([-1, 1])), 0.0, parts[0].length
    while so_far < length:
        angle = side * float(rng.uniform(0.6, 1.6))
        if abs(turned + angle) > _MOST_TURN:
            side = -side
            continue
        radius = tightest + float(rng.uniform(0.0, town.spread_m))
        parts.append(bend(_end(parts[-1]), angle, radius))
        parts.append(line(_end(parts[-1]), float(rng.uniform(*town.gap_m))))
        so_far += parts[-2].length + parts[-1].length
        turned += angle
        side = -side if rng.random() < 0.5 else side
    return join(*parts)


def _reference(rng: Generator, town: Town, kind: Kind, length: float, half: float) -> Path:
    """Draw the line between the two directions; the road beside it does not cross itself."""
    while True:
        if kind == "straight":
            path = _straight(rng, length)
        else:
            path = _winding(rng, town, length, half + _INNER_RADIUS_M)
        if Polygon(strip(path.offset(-half), path.offset(half))).is_valid:
            return path


def _markings(reference: Path, town: Town, road: _Section) -> list[Marking]:
    def at(offset: float) -> Floats:
        return reference.offset(offset).xy()

    lines = [Marking(at(0.0), "yellow" if town.centre == "yellow" else "white", 0.3)]
    if town.centre_dash is not None:
        lines = [Marking(at(0.0), lines[0].colour, 0.3, town.centre_dash)]
    for n in [*range(-road.right + 1, 0), *range(1, road.left)]:
        lines.append(Marking(at(road.lane_m * n), dash=(3.0, 4.5)))
    if road.parks:
        lines.append(Marking(at(-road.lane_m * road.right + 0.15), dash=(1.0, 1.0)))
    if town.edges:
        lines.append(Marking(at(road.left_edge - 0.15)))
        if not road.parks:
            lines.append(Marking(at(road.right_edge + 0.15)))
    return lines


def _areas(reference: Path, road: _Section) -> list[Area]:
    reference = reference.thin(_AREA_EVERY)
    edges = {n: reference.offset(road.lane_m * n) for n in range(-road.right, road.left + 1)}
    areas = [
        Area("rb-own", "roadblock", strip(edges[-road.right], edges[0])),
        Area("rb-oncoming", "roadblock", strip(edges[0], edges[road.left])),
    ]
    for n in range(road.right):
        middle = reference.offset(-road.lane_m * (n + 0.5))
        ring = strip(edges[-n - 1], edges[-n])
        areas.append(Area(f"lane-own-{n}", "lane", ring, poses(middle)))
    for n in range(road.left):
        middle = reference.offset(road.lane_m * (n + 0.5)).reversed()
        ring = strip(edges[n], edges[n + 1])
        areas.append(Area(f"lane-oncoming-{n}", "lane", ring, poses(middle)))
    right, left = reference.offset(road.right_edge), reference.offset(road.left_edge)
    if road.parks:
        areas.append(Area("parking", "carpark", strip(right, edges[-road.right])))
    outer = reference.offset(road.right_edge - PAVEMENT_M)
    areas.append(Area("walkway-right", "walkway", strip(outer, right)))
    outer = reference.offset(road.left_edge + PAVEMENT_M)
    areas.append(Area("walkway-left", "walkway", strip(left, outer)))
    return areas


def _zebras(
    rng: Generator, town: Town, reference: Path, ego: Path, road: _Section, lit: bool
) -> tuple[Zebra, ...]:
    """Draw where walkers cross, on pieces that are straight; the first has a light if `lit`."""
    found: list[Zebra] = []
    right, left = road.right_edge - PAVEMENT_M / 2, road.left_edge + PAVEMENT_M / 2
    for about in _ZEBRAS:
        s = EGO_START_M + about + float(rng.uniform(-4.0, 14.0))
        has_one = rng.random() < town.zebra or (lit and not found)
        middle, off = nearest(reference, ego.at(s + 2.0))
        ahead = reference.curvature_at(np.arange(middle - 8.0, middle + 6.0))
        if not has_one or np.abs(ahead).max() > _STRAIGHT_ENOUGH:
            continue
        pose = reference.at(middle)
        start = np.array([*(pose[:2] + right * np.array([-np.sin(pose[2]), np.cos(pose[2])])), 0.0])
        start[2] = pose[2] + np.pi / 2
        name = "crossing-light" if lit and not found else None
        found.append(Zebra(s, start, left - right, -right - off, name))
    return tuple(found)


def corridor(
    rng: Generator, town: Town, kind: Kind, reach_m: float, *, lit: bool, merges: bool
) -> Layout:
    """Draw a road of `kind` "straight" or "curve" with one or two lanes each way.

    Args:
        rng: dice.
        town: style of the road.
        kind: shape of the road.
        reach_m: distance that the drive may cover.
        lit: whether the first crossing for walkers has a traffic light.
        merges: whether there must be a place from which a car can cut in.
    """
    right, left = (1 + int(rng.random() < town.wide) for _ in range(2))
    parks = bool(rng.random() < town.parks)
    if merges and right == 1 and not parks:
        right, parks = (2, False) if town.wide > town.parks else (1, True)
    road = _Section(town.lane_m, right, left, parks)
    own = int(rng.integers(0, right))
    half_width = max(-road.right_edge, road.left_edge) + PAVEMENT_M
    reference = _reference(rng, town, kind, EGO_START_M + reach_m + _SIGHT_M, half_width)
    lanes = [reference.offset(-road.lane_m * (n + 0.5)) for n in range(right)]
    areas, markings = _areas(reference, road), _markings(reference, town, road)
    zebras = _zebras(rng, town, reference, lanes[own], road, lit)
    for number, zebra in enumerate(zebras):
        s, _ = nearest(reference, lanes[own].at(zebra.s))
        edges = (road.right_edge, road.left_edge)
        areas.append(zebra_area(f"zebra-{number}", reference, s, edges))
        markings += zebra_markings(reference, s, edges, is_lit=zebra.area_id is not None)
        if zebra.area_id is not None:
            areas += light_area(zebra.area_id, lanes[own], zebra.s, road.lane_m)
    solid = [Polygon(a.ring) for a in areas if a.layer in ("roadblock", "carpark")]
    return Layout(
        kind=kind,
        town=town,
        command="straight",
        areas=tuple(areas),
        drivable=union_all(solid),
        markings=tuple(markings),
        ego=lanes[own],
        route_lane_ids=tuple(f"lane-own-{n}" for n in range(right)),
        route_roadblock_ids=("rb-own",),
        alongside=tuple(lane for n, lane in enumerate(lanes) if n != own),
        oncoming=tuple(reference.offset(road.lane_m * (n + 0.5)).reversed() for n in range(left)),
        parking=reference.offset(road.right_edge + _PARKING_M / 2) if road.parks else None,
        pavements=(
            reference.offset(road.right_edge - PAVEMENT_M / 2),
            reference.offset(road.left_edge + PAVEMENT_M / 2).reversed(),
        ),
        verges=(
            reference.offset(road.right_edge - PAVEMENT_M),
            reference.offset(road.left_edge + PAVEMENT_M).reversed(),
        ),
        zebras=zebras,
    )
