"""Junctions of two-lane roads: crossroads and T-junctions with rounded kerbs."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from shapely import MultiPoint, Polygon, union_all

from experiments.data.synthetic.junction_areas import Arm, all_areas, arm_markings, connect
from experiments.data.synthetic.layout import (
    EGO_START_M,
    PAVEMENT_M,
    ZEBRA_M,
    Command,
    Crossing,
    Layout,
    Zebra,
    across,
)
from experiments.data.synthetic.paths import Path, join, line
from experiments.data.synthetic.towns import Town

_LEAST_ARM_M = 120.0
"""Least length of an arm from the centre."""
_FIRST_SIGHT_M = (18.0, 70.0)
"""Distance of the ego's rear axle from the junction's mouth when the drive begins."""


def _arms(
    rng: Generator, town: Town, command: Command, kerb_radius: float, reach_m: float
) -> dict[str, Arm]:
    skew = float(rng.uniform(-0.25, 0.25))
    angles = {"back": np.pi, "left": np.pi / 2 + skew, "straight": 0.0, "right": skew - np.pi / 2}
    spare = [name for name in ("left", "straight", "right") if name != command]
    if rng.random() < town.tee:
        del angles[spare[int(rng.integers(len(spare)))]]
    # The kerbs of the sharpest corner end at the mouths.
    sharpest = np.pi / 2 - abs(skew)
    mouth = (town.lane_m + kerb_radius) / np.tan(sharpest / 2)
    length = max(_LEAST_ARM_M, reach_m + 20.0)
    return {
        name: Arm(name, float(angle), float(mouth), length, town.lane_m)
        for name, angle in angles.items()
    }


def _surface(arms: dict[str, Arm], kerb_radius: float) -> tuple[Polygon, Polygon]:
    """Return all drivable ground and the intersection in its middle."""
    strips, mouths = [], []
    for arm in arms.values():
        out = np.array([np.cos(arm.angle), np.sin(arm.angle)])
        left = np.array([-out[1], out[0]]) * arm.lane_m
        back, end, mouth = -out * arm.lane_m, out * arm.length, out * arm.mouth
        strips.append(Polygon([back - left, end - left, end + left, back + left]))
        mouths += [mouth - left, mouth + left]
    # Closing (grow, then shrink) rounds the concave corners with the kerb radius.
    ground = union_all(strips).buffer(kerb_radius, quad_segs=12).buffer(-kerb_radius, quad_segs=12)
    drivable = union_all([ground, *strips])
    return drivable, drivable.intersection(MultiPoint(np.array(mouths)).convex_hull)


def _shift(path: Path, by: float, length: float) -> Path:
    """Return the outer edge `by` metres from the axis, without the first metres at the mouth."""
    return line(path.offset(by).at(PAVEMENT_M + 1.0), length)


def _approach(rng: Generator, entry: Path) -> Path:
    """Return the end of lane `entry`: the ego starts EGO_START_M along it."""
    distance = EGO_START_M + float(rng.uniform(*_FIRST_SIGHT_M))
    return line(entry.at(entry.length - distance), distance)


def _roadside(arms: dict[str, Arm], lane_m: float) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the middles of the pavements, and their outer edges with the road to the left."""
    axes = [arm.axis() for arm in arms.values()]
    length, edge = axes[0].length - PAVEMENT_M - 1.0, lane_m + PAVEMENT_M
    middles = [
        _shift(axis, side * (edge - PAVEMENT_M / 2), length) for axis in axes for side in (1, -1)
    ]
    right = [_shift(axis, -edge, length) for axis in axes]
    left = [_shift(axis, edge, length).reversed() for axis in axes]
    return tuple(middles), (*right, *left)


def _exit_zebra(arm: Arm, leaves_s: float) -> Zebra:
    """Return the crossing over the arm by which the ego leaves."""
    kerb = arm.lane_m + PAVEMENT_M / 2
    middle = (ZEBRA_M[0] + ZEBRA_M[1]) / 2
    start = np.append(across(arm.axis(), middle, -kerb, kerb)[0], arm.angle + np.pi / 2)
    return Zebra(leaves_s, start, 2 * kerb, kerb - arm.lane_m / 2)


def junction(rng: Generator, town: Town, command: Command, reach_m: float) -> Layout:
    """Draw a junction, with its centre at the origin, at which the ego takes `command`.

    Args:
        rng: dice.
        town: style of the roads.
        command: where the ego goes.
        reach_m: distance that the drive may cover.
    """
    kerb_radius = float(rng.uniform(*town.kerb_m))
    arms = _arms(rng, town, command, kerb_radius, reach_m)
    drivable, middle = _surface(arms, kerb_radius)
    approach = _approach(rng, arms["back"].entry())
    after = connect(approach, arms[command])
    zebra, connector = bool(rng.random() < town.zebra), f"connector-back-{command}"
    pavements, verges = _roadside(arms, town.lane_m)
    sides = [name for name in ("left", "right") if name in arms]
    leaves_s = approach.length + after.length - (arms[command].length - arms[command].mouth)
    return Layout(
        kind="junction",
        town=town,
        command=command,
        areas=all_areas(arms, drivable, middle, zebra),
        drivable=drivable,
        markings=tuple(m for arm in arms.values() for m in arm_markings(arm, town, zebra)),
        ego=join(approach, after),
        route_lane_ids=("lane-back-in", connector, f"lane-{command}-out"),
        route_roadblock_ids=("rb-back-in", f"rb-{command}-out"),
        oncoming=_through(arms, "straight", "back"),
        cross=tuple(path for name in sides for path in _through(arms, name, _opposite(name))),
        pavements=pavements,
        verges=verges,
        zebras=(_exit_zebra(arms[command], leaves_s),) if zebra else (),
        crossing=Crossing(
            enters_s=approach.length,
            leaves_s=leaves_s,
            connector_id=connector,
            radius=arms["back"].mouth,
        ),
    )


def _opposite(name: str) -> str:
    return {"left": "right", "right": "left", "straight": "back"}[name]


def _through(arms: dict[str, Arm], source: str, target: str) -> tuple[Path, ...]:
    """Return the path straight over the junction, if both arms exist."""
    if source not in arms or target not in arms:
        return ()
    entry = arms[source].entry()
    return (join(entry, connect(entry, arms[target])),)
