"""Junctions of two-lane roads: crossroads and T-junctions with rounded kerbs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from shapely import MultiPoint, Polygon, union_all

from experiments.data.frames import Floats
from experiments.data.synthetic.layout import (
    EGO_START_M,
    LANE_M,
    PAVEMENT_M,
    Area,
    Command,
    Crossing,
    Layout,
    Marking,
    poses,
    strip,
)
from experiments.data.synthetic.paths import Path, join, line, turn

_LEAST_ARM_M = 120.0
"""Least length of an arm from the centre."""
_FIRST_SIGHT_M = (14.0, 44.0)
"""Distance of the ego's rear axle from the junction's mouth when the drive begins."""
_OVERLAP_M = 0.1
"""Arms reach this far into the intersection, so that no gap opens between the polygons."""
_AREA_EVERY = 4
"""Centrelines of lanes take every fourth node."""
_STROKE_M = 0.5
"""Stripe and gap of a zebra crossing."""


@dataclass(frozen=True, slots=True)
class _Arm:
    """A road that leaves the junction; its axis points away from the centre."""

    name: str
    angle: float
    mouth: float
    length: float
    """From the centre of the junction; `mouth` of it belong to the junction."""

    def axis(self) -> Path:
        out = np.array([np.cos(self.angle), np.sin(self.angle)])
        start = out * (self.mouth - _OVERLAP_M)
        return line(np.array([*start, self.angle]), self.length - self.mouth)

    def entry(self) -> Path:
        """Lane into the junction, ending at its mouth."""
        lane = self.axis().offset(LANE_M / 2).reversed()
        return line(lane.at(0.0), lane.length - _OVERLAP_M)

    def start(self) -> Floats:
        """Pose at which the lane out of the junction starts."""
        return self.axis().offset(-LANE_M / 2).at(_OVERLAP_M)


def _connect(entry: Path, arm: _Arm) -> Path:
    """Return the path from the end of lane `entry` through the junction to the end of `arm`."""
    here, there = entry.at(entry.length), arm.start()
    angle = (there[2] - here[2] + np.pi) % (2 * np.pi) - np.pi
    gap = there[:2] - here[:2]
    if abs(angle) < 1e-6:
        through = line(here, float(np.hypot(*gap)))
    else:
        through = turn(here, float(angle), float(np.hypot(*gap) / (2 * np.cos(angle / 2))))
    return join(through, line(through.at(through.length), arm.length - arm.mouth))


def _arms(rng: Generator, command: Command, kerb_radius: float, reach_m: float) -> dict[str, _Arm]:
    skew = float(rng.uniform(-0.25, 0.25))
    angles = {"back": np.pi, "left": np.pi / 2 + skew, "straight": 0.0, "right": skew - np.pi / 2}
    spare = [name for name in ("left", "straight", "right") if name != command]
    if rng.random() < 0.4:
        del angles[spare[int(rng.integers(len(spare)))]]
    # The kerbs of the sharpest corner end at the mouths.
    sharpest = np.pi / 2 - abs(skew)
    mouth = (LANE_M + kerb_radius) / np.tan(sharpest / 2)
    length = max(_LEAST_ARM_M, reach_m + 20.0)
    return {name: _Arm(name, float(angle), float(mouth), length) for name, angle in angles.items()}


def _surface(arms: dict[str, _Arm], kerb_radius: float) -> tuple[Polygon, Polygon]:
    """Return all drivable ground and the intersection in its middle."""
    strips, mouths = [], []
    for arm in arms.values():
        out = np.array([np.cos(arm.angle), np.sin(arm.angle)])
        left = np.array([-out[1], out[0]]) * LANE_M
        back, end, mouth = -out * LANE_M, out * arm.length, out * arm.mouth
        strips.append(Polygon([back - left, end - left, end + left, back + left]))
        mouths += [mouth - left, mouth + left]
    # Closing (grow, then shrink) rounds the concave corners with the kerb radius.
    ground = union_all(strips).buffer(kerb_radius, quad_segs=12).buffer(-kerb_radius, quad_segs=12)
    drivable = union_all([ground, *strips])
    return drivable, drivable.intersection(MultiPoint(np.array(mouths)).convex_hull)


def _arm_areas(arm: _Arm) -> list[Area]:
    axis = arm.axis()
    axis = axis.thin(_AREA_EVERY)
    right, left = axis.offset(-LANE_M), axis.offset(LANE_M)
    out, into = axis.offset(-LANE_M / 2), axis.offset(LANE_M / 2).reversed()
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


def _connectors(arms: dict[str, _Arm]) -> list[Area]:
    areas = []
    for source in arms.values():
        for target in arms.values():
            if source is target:
                continue
            entry = source.entry()
            whole = _connect(entry, target)
            part = whole.s <= whole.length - (target.length - target.mouth) + 1e-6
            path = Path(*(getattr(whole, name)[part] for name in Path.__slots__)).thin(2)
            ring = strip(path.offset(-LANE_M / 2), path.offset(LANE_M / 2))
            name = f"connector-{source.name}-{target.name}"
            areas.append(Area(name, "lane_connector", ring, poses(path)))
    return areas


def _arm_markings(arm: _Arm, zebra: bool) -> list[Marking]:
    axis = arm.axis()
    edge, stop = LANE_M - 0.15, 4.5 if zebra else 0.6
    body = line(axis.at(stop), axis.length - stop)
    lines = [
        Marking(body.xy(), "yellow", 0.4),
        Marking(axis.offset(edge).xy()),
        Marking(axis.offset(-edge).xy()),
        Marking(
            np.stack([axis.offset(0.3).at(stop)[:2], axis.offset(edge).at(stop)[:2]]), width=0.5
        ),
    ]
    if zebra:
        stripes = np.arange(-edge + 0.4, edge, 2 * _STROKE_M)
        for offset in stripes:
            ends = axis.offset(float(offset)).at(np.array([0.8, 3.4]))[:, :2]
            lines.append(Marking(ends, width=_STROKE_M))
    return lines


def _shift(path: Path, by: float, length: float) -> Path:
    """Return the outer edge `by` metres from the axis, without the first metres at the mouth."""
    return line(path.offset(by).at(PAVEMENT_M + 1.0), length)


def _approach(rng: Generator, entry: Path) -> Path:
    """Return the end of lane `entry`: the ego starts EGO_START_M along it."""
    distance = EGO_START_M + float(rng.uniform(*_FIRST_SIGHT_M))
    return line(entry.at(entry.length - distance), distance)


def _roadside(arms: dict[str, _Arm]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the middles of the pavements, and their outer edges with the road to the left."""
    axes = [arm.axis() for arm in arms.values()]
    length, edge = axes[0].length - PAVEMENT_M - 1.0, LANE_M + PAVEMENT_M
    middles = [
        _shift(axis, side * (edge - PAVEMENT_M / 2), length) for axis in axes for side in (1, -1)
    ]
    right = [_shift(axis, -edge, length) for axis in axes]
    left = [_shift(axis, edge, length).reversed() for axis in axes]
    return tuple(middles), (*right, *left)


def _all_areas(arms: dict[str, _Arm], middle: Polygon) -> tuple[Area, ...]:
    return (
        Area("junction", "intersection", np.array(middle.exterior.coords)[:-1]),
        *(area for arm in arms.values() for area in _arm_areas(arm)),
        *_connectors(arms),
    )


def junction(rng: Generator, command: Command, reach_m: float) -> Layout:
    """Draw a junction, with its centre at the origin, at which the ego takes `command`.

    Args:
        rng: dice.
        command: where the ego goes.
        reach_m: distance that the drive may cover.
    """
    kerb_radius = float(rng.uniform(7.0, 10.0))
    arms = _arms(rng, command, kerb_radius, reach_m)
    drivable, middle = _surface(arms, kerb_radius)
    approach = _approach(rng, arms["back"].entry())
    after = _connect(approach, arms[command])
    zebra, connector = bool(rng.random() < 0.5), f"connector-back-{command}"
    pavements, verges = _roadside(arms)
    sides = [name for name in ("left", "right") if name in arms]
    return Layout(
        kind="junction",
        command=command,
        areas=_all_areas(arms, middle),
        drivable=drivable,
        markings=tuple(m for arm in arms.values() for m in _arm_markings(arm, zebra)),
        ego=join(approach, after),
        route_lane_ids=("lane-back-in", connector, f"lane-{command}-out"),
        route_roadblock_ids=("rb-back-in", f"rb-{command}-out"),
        oncoming=_through(arms, "straight", "back"),
        cross=tuple(path for name in sides for path in _through(arms, name, _opposite(name))),
        pavements=pavements,
        verges=verges,
        crossing=Crossing(
            enters_s=approach.length,
            leaves_s=approach.length + after.length - (arms[command].length - arms[command].mouth),
            connector_id=connector,
            radius=arms["back"].mouth,
        ),
    )


def _opposite(name: str) -> str:
    return {"left": "right", "right": "left", "straight": "back"}[name]


def _through(arms: dict[str, _Arm], source: str, target: str) -> tuple[Path, ...]:
    """Return the path straight over the junction, if both arms exist."""
    if source not in arms or target not in arms:
        return ()
    entry = arms[source].entry()
    return (join(entry, _connect(entry, arms[target])),)
