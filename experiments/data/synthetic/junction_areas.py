"""What is on the map and painted on the ground at a junction: lanes, pavements, lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from shapely import LineString, Polygon

from experiments.data.frames import Floats
from experiments.data.synthetic.crossings import stop_line, zebra_area, zebra_markings
from experiments.data.synthetic.layout import (
    PAVEMENT_M,
    Area,
    Colour,
    Marking,
    across,
    poses,
    strip,
)
from experiments.data.synthetic.paths import Path, join, line, turn
from experiments.data.synthetic.towns import Town

_OVERLAP_M = 0.1
"""Arms reach this far into the intersection, so that no gap opens between the polygons."""
_AREA_EVERY = 4
"""Centrelines of lanes take every fourth node."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A road that leaves the junction; its axis points away from the centre."""

    name: str
    angle: float
    mouth: float
    length: float
    """From the centre of the junction; `mouth` of it belong to the junction."""
    lane_m: float
    """Width of its two lanes."""

    def axis(self) -> Path:
        """Line between its two directions, from the mouth outwards."""
        out = np.array([np.cos(self.angle), np.sin(self.angle)])
        start = out * (self.mouth - _OVERLAP_M)
        return line(np.array([*start, self.angle]), self.length - self.mouth)

    def entry(self) -> Path:
        """Lane into the junction, ending at its mouth."""
        lane = self.axis().offset(self.lane_m / 2).reversed()
        return line(lane.at(0.0), lane.length - _OVERLAP_M)

    def start(self) -> Floats:
        """Pose at which the lane out of the junction starts."""
        return self.axis().offset(-self.lane_m / 2).at(_OVERLAP_M)


def connect(entry: Path, arm: Arm) -> Path:
    """Return the path from the end of lane `entry` through the junction to the end of `arm`."""
    here, there = entry.at(entry.length), arm.start()
    angle = (there[2] - here[2] + np.pi) % (2 * np.pi) - np.pi
    gap = there[:2] - here[:2]
    if abs(angle) < 1e-6:
        through = line(here, float(np.hypot(*gap)))
    else:
        through = turn(here, float(angle), float(np.hypot(*gap) / (2 * np.cos(angle / 2))))
    return join(through, line(through.at(through.length), arm.length - arm.mouth))


def _arm_areas(arm: Arm) -> list[Area]:
    axis = arm.axis()
    axis = axis.thin(_AREA_EVERY)
    width = arm.lane_m
    right, left = axis.offset(-width), axis.offset(width)
    out, into = axis.offset(-width / 2), axis.offset(width / 2).reversed()
    rings = {"out": _ends(strip(right, axis)), "in": _ends(strip(axis, left))}
    lanes = {"out": poses(out), "in": poses(into)}
    areas = []
    for way, ring in rings.items():
        areas.append(Area(f"rb-{arm.name}-{way}", "roadblock", ring))
        areas.append(Area(f"lane-{arm.name}-{way}", "lane", ring, lanes[way]))
    return areas


def _ends(ring: Floats) -> Floats:
    """Return the four corners of a straight strip."""
    middle = len(ring) // 2
    return ring[[0, middle - 1, middle, -1]]


def _connectors(arms: dict[str, Arm]) -> list[Area]:
    areas = []
    for source in arms.values():
        for target in arms.values():
            if source is target:
                continue
            entry = source.entry()
            whole = connect(entry, target)
            part = whole.s <= whole.length - (target.length - target.mouth) + 1e-6
            path = Path(*(getattr(whole, name)[part] for name in Path.__slots__)).thin(2)
            half = source.lane_m / 2
            ring = strip(path.offset(-half), path.offset(half))
            name = f"connector-{source.name}-{target.name}"
            areas.append(Area(name, "lane_connector", ring, poses(path)))
    return areas


def arm_markings(arm: Arm, town: Town, zebra: bool) -> list[Marking]:
    """Return what is painted on an arm, with a crossing for walkers if `zebra`."""
    axis, stop = arm.axis(), _line_m(zebra)
    body = line(axis.at(stop), axis.length - stop)
    inner = Marking(across(axis, stop, 0.3, arm.lane_m - 0.15), width=0.5)
    lines = [Marking(body.xy(), _centre_colour(town), 0.3, town.centre_dash), inner]
    if town.edges:
        edge = arm.lane_m - 0.15
        lines += [Marking(axis.offset(edge).xy()), Marking(axis.offset(-edge).xy())]
    if zebra:
        lines += zebra_markings(axis, 0.0, (-arm.lane_m, arm.lane_m), is_lit=False)
    return lines


def _centre_colour(town: Town) -> Colour:
    return "yellow" if town.centre == "yellow" else "white"


def _line_m(zebra: bool) -> float:
    """Return the distance of stop lines from the mouth."""
    return 4.5 if zebra else 0.6


def _walkways(arms: dict[str, Arm], drivable: Polygon) -> list[Area]:
    """Return the pavements: the rim of the road, cut where the arms leave it."""
    rim = drivable.buffer(PAVEMENT_M, quad_segs=4).difference(drivable)
    for arm in arms.values():
        out = np.array([np.cos(arm.angle), np.sin(arm.angle)])
        end = LineString([out * (arm.length - 1.0), out * (arm.length + 5.0)])
        rim = rim.difference(end.buffer(arm.lane_m + PAVEMENT_M + 1.0, cap_style="flat"))
    pieces = sorted(rim.geoms, key=lambda piece: piece.bounds)
    return [
        Area(f"walkway-{n}", "walkway", np.array(piece.exterior.coords)[:-1])
        for n, piece in enumerate(pieces)
    ]


def _crosswalks(arms: dict[str, Arm], zebra: bool) -> list[Area]:
    """Return crosswalks, if there are any, and the stop lines of the lanes into the junction."""
    areas = []
    for arm in arms.values():
        axis, width = arm.axis(), arm.lane_m
        areas.append(stop_line(f"stop-{arm.name}", axis, _line_m(zebra), (0.3, width)))
        if zebra:
            areas.append(zebra_area(f"zebra-{arm.name}", axis, 0.0, (-width, width)))
    return areas


def all_areas(
    arms: dict[str, Arm], drivable: Polygon, middle: Polygon, zebra: bool
) -> tuple[Area, ...]:
    """Return the map of a junction: its `middle`, the lanes of all arms and those in between."""
    return (
        Area("junction", "intersection", np.array(middle.exterior.coords)[:-1]),
        *(area for arm in arms.values() for area in _arm_areas(arm)),
        *_connectors(arms),
        *_walkways(arms, drivable),
        *_crosswalks(arms, zebra),
    )
